/* Settings in /proc/sys that can be written (proc_sys(5)): those of namespaces, in namespaces of their own. */
#include "check.h"

#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/utsname.h>

static const char *shown(const char *path)
{
    static char text[256];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return err(-1);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got < 0 ? 0 : got] = 0;
    text[strcspn(text, "\n")] = 0;
    for (char *at = text; *at; at++)
        *at = *at == '\t' ? ' ' : *at;
    return text;
}

static const char *written(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    if (fd < 0)
        return err(-1);
    ssize_t count = write(fd, text, strlen(text));
    const char *result = count < 0 || count == (ssize_t)strlen(text) ? err(count) : "partly";
    close(fd);
    return result;
}

static void change(const char *path, const char *text)
{
    const char *result = written(path, text);
    text = text[strcspn(text, "\n")] ? "..." : text;
    say("%s <- [%s]: %s, now %s", path, text, result, shown(path));
}

static void names(void)
{
    static const char *const paths[] = { "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname" };
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("one", 3));
    MUST(setdomainname("two", 3));
    say("%s", shown(paths[0]));
    say("%s", shown(paths[1]));
    char longest[80];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    static const char *const values[] = { "three\n", "four", "five\nsix", "" };
    for (size_t i = 0; i < COUNT(values); i++) {
        say("write: %s", written(paths[0], values[i]));
        say("now [%s]", shown(paths[0]));
    }
    say("too long: %s", written(paths[0], longest));
    struct utsname uts;
    uname(&uts);
    say("%zu bytes", strlen(uts.nodename));
    say("domain: %s", written(paths[1], "seven\n"));
    uname(&uts);
    say("%s", uts.domainname);
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWUTS));
        say("write: %s", written(paths[0], "inner"));
        say("inside %s", shown(paths[0]));
        _exit(0);
    }
    reap(child);
    say("outside %zu", strlen(shown(paths[0])));
}

/* No other program is disturbed; where there are no such namespaces, none runs. */
static void own_namespace(void)
{
    if (unshare(CLONE_NEWIPC) != 0 && errno != EINVAL)
        say("unshare: %s", err(-1));
}

static void forms(void)
{
    own_namespace();
    const char *path = "/proc/sys/kernel/msgmax";
    static const char *const values[] = { "77\n", " \t78", "010", "0x10", "4k", "abc", "-4", "1_2", "99999999999", "0", "8192" };
    for (size_t i = 0; i < COUNT(values); i++) {
        say("[%s]: %s", values[i][0] == '7' ? "77" : values[i], written(path, values[i]));
        say("now %s", shown(path));
    }
}

static void system_v(void)
{
    own_namespace();
    change("/proc/sys/kernel/shmmax", "8192");
    say("shmget: %s", err(shmget(IPC_PRIVATE, 8193, 0600)));
    say("shmget: %s", err(shmget(IPC_PRIVATE, 8192, 0600)));
    change("/proc/sys/kernel/shmmni", "1");
    say("shmget: %s", err(shmget(IPC_PRIVATE, 100, 0600)));
    change("/proc/sys/kernel/shmmni", "99999");
    change("/proc/sys/kernel/shmmni", "9");
    change("/proc/sys/kernel/shmall", "3");
    say("shmget: %s", err(shmget(IPC_PRIVATE, 4096, 0600)));
    say("shmget: %s", err(shmget(IPC_PRIVATE, 4096, 0600)));
    struct shminfo info;
    MUST(shmctl(0, IPC_INFO, (struct shmid_ds *)&info));
    say("%lu %lu %lu", info.shmmax, info.shmmni, info.shmall);
    change("/proc/sys/kernel/msgmnb", "100");
    int queue = msgget(IPC_PRIVATE, 0600);
    struct {
        long type;
        char text[200];
    } message = { 1, "" };
    say("msgsnd: %s", err(msgsnd(queue, &message, 60, IPC_NOWAIT)));
    say("msgsnd: %s", err(msgsnd(queue, &message, 60, IPC_NOWAIT)));
    change("/proc/sys/kernel/msgmax", "50");
    say("msgsnd: %s", err(msgsnd(queue, &message, 51, IPC_NOWAIT)));
    change("/proc/sys/kernel/msgmni", "1");
    say("msgget: %s", err(msgget(IPC_PRIVATE, 0600)));
    change("/proc/sys/kernel/sem", "3 100");
    say("semget: %s", err(semget(IPC_PRIVATE, 4, 0600)));
    say("semget: %s", err(semget(IPC_PRIVATE, 3, 0600)));
    change("/proc/sys/kernel/sem", "3 100 2 1");
    say("semget: %s", err(semget(IPC_PRIVATE, 3, 0600)));
    change("/proc/sys/kernel/sem", "3 x");
    change("/proc/sys/kernel/sem", "3 100 2 99999");
    static const char *const modes[] = { "kernel/sem", "kernel/shmmax", "kernel/hostname", "fs/mqueue/msg_max", "fs/pipe-max-size" };
    for (size_t i = 0; i < COUNT(modes); i++) {
        char path[64];
        struct stat data;
        snprintf(path, sizeof(path), "/proc/sys/%s", modes[i]);
        MUST(stat(path, &data));
        say("%s: %o %u", modes[i], data.st_mode, data.st_uid);
    }
}

static void queues(void)
{
    own_namespace();
    change("/proc/sys/fs/mqueue/msg_default", "3");
    change("/proc/sys/fs/mqueue/msgsize_default", "200");
    change("/proc/sys/fs/mqueue/msg_max", "0");
    change("/proc/sys/fs/mqueue/msg_max", "65537");
    change("/proc/sys/fs/mqueue/msgsize_max", "127");
    change("/proc/sys/fs/mqueue/msgsize_max", "16777217");
    struct mq_attr attributes;
    mqd_t queue = mq_open("/one", O_CREAT | O_RDWR, 0600, NULL);
    MUST(queue);
    MUST(mq_getattr(queue, &attributes));
    say("%ld %ld", attributes.mq_maxmsg, attributes.mq_msgsize);
    change("/proc/sys/fs/mqueue/msg_max", "2");
    change("/proc/sys/fs/mqueue/queues_max", "1");
    MUST(setresuid(1, 1, 1));
    say("another: %s", err(mq_open("/two", O_CREAT | O_RDWR, 0600, NULL)));
    MUST(access("/proc/sys/fs/mqueue/queues_max", R_OK));
    say("by another user: %s", written("/proc/sys/fs/mqueue/queues_max", "9"));
}

static void orders(void)
{
    say("read: %s", shown("/proc/sys/vm/compact_memory"));
    struct stat data;
    MUST(stat("/proc/sys/vm/drop_caches", &data));
    say("mode %o", data.st_mode);
    say("zero: %s", written("/proc/sys/vm/drop_caches", "0"));
    say("no number: %s", written("/proc/sys/vm/drop_caches", "x"));
    /* Not even root may do what the mode does not say. */
    say("fixed: %s, %s", err(open("/proc/sys/kernel/version", O_WRONLY)), err(access("/proc/sys/kernel/version", W_OK)));
    say("readable: %s, %s", err(open("/proc/sys/kernel/version", O_RDONLY)), err(access("/proc/sys/kernel/version", R_OK)));
    say("program: %s", err(access("/proc/sys/kernel/version", X_OK)));
}

CHECK_MAIN(CASE(names), CASE(forms), CASE(system_v), CASE(queues), CASE(orders))
