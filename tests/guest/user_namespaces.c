/* User namespaces (user_namespaces(7)): maps, what ids look like on both sides, and where capabilities count. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define USER 1000
#define GROUP 1001

/* Writes a file in one call; the result is that of the call, or of opening. */
static const char *store(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return err(fd);
    const char *result = err(write(fd, text, strlen(text)));
    close(fd);
    return result;
}

static void show(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (length < 0) {
        say("%s: %s", path, err(-1));
        return;
    }
    text[length] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        say("%s: [%s]", path, line);
    if (length == 0)
        say("%s: empty", path);
    close(fd);
}

static void become_user(void)
{
    gid_t groups[] = { 7, GROUP };
    MUST(setgroups(2, groups));
    MUST(setresgid(GROUP, GROUP, GROUP));
    MUST(setresuid(USER, USER, USER));
    /* Its files in /proc are its own again. */
    MUST(prctl(PR_SET_DUMPABLE, 1));
}

static void ids(const char *when)
{
    uid_t u[3];
    gid_t g[3], groups[16];
    MUST(getresuid(&u[0], &u[1], &u[2]));
    MUST(getresgid(&g[0], &g[1], &g[2]));
    int count = getgroups(16, groups);
    say("%s: uid %u %u %u gid %u %u %u groups %d: %u %u", when, u[0], u[1], u[2], g[0], g[1], g[2], count,
        count > 0 ? groups[0] : 0, count > 1 ? groups[1] : 0);
}

static void capabilities(const char *when)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    MUST(syscall(SYS_capget, &header, data));
    say("%s: effective %d permitted %d inheritable %d securebits %d", when, data[0].effective != 0,
        data[0].permitted != 0, data[0].inheritable != 0, prctl(PR_GET_SECUREBITS));
}

/* A directory in which everybody may make files. */
static void open_directory(void)
{
    own_directory();
    MUST(chmod(".", 0777));
}

/* Runs something in a child. */
static void apart(void (*what)(void))
{
    pid_t child = fork();
    if (child == 0) {
        what();
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    if (status)
        say("child: %s", status_text(status));
}

static void unmapped(void)
{
    become_user();
    MUST(unshare(CLONE_NEWUSER));
    ids("before the map");
    capabilities("before the map");
    show("/proc/self/uid_map");
    show("/proc/self/setgroups");
    say("setuid: %s", err(setuid(0)));
    say("setgroups: %s", err(setgroups(0, NULL)));
    struct stat data;
    MUST(stat("/", &data));
    say("root belongs to %u %u", data.st_uid, data.st_gid);
    say("another below: %s", err(unshare(CLONE_NEWUSER)));
}

static void mapped(void)
{
    become_user();
    int fd = MUST(open("mine", O_CREAT | O_RDWR, 0600));
    MUST(unshare(CLONE_NEWUSER));
    say("gid_map: %s", store("/proc/self/gid_map", "0 1001 1\n"));
    say("setgroups: %s", store("/proc/self/setgroups", "deny"));
    say("setgroups again: %s", store("/proc/self/setgroups", "allow"));
    say("wrong setgroups: %s", store("/proc/self/setgroups", "maybe"));
    say("two users: %s", store("/proc/self/uid_map", "0 1000 2"));
    say("other user: %s", store("/proc/self/uid_map", "0 1 1"));
    say("no map: %s", store("/proc/self/uid_map", "0 x 1"));
    say("uid_map: %s", store("/proc/self/uid_map", "0 1000 1"));
    say("gid_map: %s", store("/proc/self/gid_map", "0 1001 1\n"));
    say("uid_map again: %s", store("/proc/self/uid_map", "0 1000 1"));
    show("/proc/self/uid_map");
    show("/proc/self/gid_map");
    show("/proc/self/setgroups");
    ids("as root");
    capabilities("as root");
    struct stat data;
    MUST(fstat(fd, &data));
    say("mine belongs to %u %u", data.st_uid, data.st_gid);
    MUST(stat("/", &data));
    say("root belongs to %u %u", data.st_uid, data.st_gid);
    say("chown to root: %s", err(fchown(fd, 0, 0)));
    say("chown to another: %s", err(fchown(fd, 1, -1)));
    say("chown to nobody: %s", err(fchown(fd, 65534, -1)));
    say("setuid(1): %s", err(setuid(1)));
    say("setresuid: %s", err(setresuid(0, 0, -1)));
    say("setgroups: %s", err(setgroups(0, NULL)));
    say("setfsuid: %d %d", setfsuid(5), setfsuid(-1));
    say("sethostname: %s", err(sethostname("x", 1)));
    say("chroot: %s", err(chroot("/")));
    say("kill init: %s", err(kill(1, 0)));
    say("mknod: %s", err(mknod("null", S_IFCHR | 0600, 0x103)));
    say("nice: %s", err(nice(-5)));
    say("setrlimit: %s", err(prctl(PR_CAPBSET_DROP, CAP_MKNOD)));
    say("unreadable: %s", err(open("/etc/shadow", O_RDONLY)));
    say("lock: %s", err(fcntl(fd, F_SETLEASE, F_RDLCK)));
}

static void nested(void)
{
    MUST(unshare(CLONE_NEWUSER));
    say("outer: %s", store("/proc/self/uid_map", "0 100000 1000\n5000 5000 10"));
    say("outer: %s", store("/proc/self/gid_map", "0 100000 1000\n"));
    show("/proc/self/uid_map");
    ids("unnamed");
}

/* A child in a new namespace whose maps its parent writes. */
static void by_the_parent(void)
{
    open_directory();
    int go[2], ready[2];
    MUST(pipe(go));
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        MUST(unshare(CLONE_NEWUSER));
        MUST(write(ready[1], "r", 1));
        MUST(read(go[0], &byte, 1));
        ids("mapped by the parent");
        MUST(setresgid(5, 5, 5));
        MUST(setresuid(3, 3, 3));
        ids("changed");
        say("back: %s", err(setuid(0)));
        int fd = MUST(open("theirs", O_CREAT | O_WRONLY, 0644));
        struct stat data;
        MUST(fstat(fd, &data));
        say("theirs belongs to %u %u", data.st_uid, data.st_gid);
        MUST(write(ready[1], "r", 1));
        MUST(read(go[0], &byte, 1));
        _exit(0);
    }
    char byte, path[64];
    MUST(read(ready[0], &byte, 1));
    snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
    say("uid_map: %s", store(path, "0 10000 10\n20 500 1"));
    snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
    say("overlap: %s", store(path, "0 10000 10\n5 500 1"));
    say("gid_map: %s", store(path, "0 20000 10\n"));
    MUST(write(go[1], "g", 1));
    MUST(read(ready[0], &byte, 1));
    struct stat data;
    MUST(stat("theirs", &data));
    say("theirs belongs to %u %u", data.st_uid, data.st_gid);
    char text[4096];
    snprintf(path, sizeof(path), "/proc/%d/status", child);
    int fd = MUST(open(path, O_RDONLY));
    ssize_t length = MUST(read(fd, text, sizeof(text) - 1));
    text[length] = 0;
    char *line = strstr(text, "Uid:");
    if (line)
        say("%.*s", (int)strcspn(line, "\n"), line);
    MUST(write(go[1], "g", 1));
    int status;
    MUST(waitpid(child, &status, 0));
    say("child: %s", status_text(status));
}

static void messages(void)
{
    int pair[2], one = 1;
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)));
    pid_t child = fork();
    if (child == 0) {
        become_user();
        MUST(unshare(CLONE_NEWUSER));
        MUST(send(pair[1], "u", 1, 0));
        store("/proc/self/uid_map", "0 1000 1");
        MUST(send(pair[1], "m", 1, 0));
        struct ucred peer;
        socklen_t size = sizeof(peer);
        MUST(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &peer, &size));
        say("the peer is %u %u", peer.uid, peer.gid);
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    for (int i = 0; i < 2; i++) {
        char byte, control[CMSG_SPACE(sizeof(struct ucred))];
        struct iovec vector = { &byte, 1 };
        struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof(control) };
        MUST(recvmsg(pair[0], &header, 0));
        struct cmsghdr *message = CMSG_FIRSTHDR(&header);
        struct ucred from;
        memcpy(&from, CMSG_DATA(message), sizeof(from));
        say("from %u %u: %c", from.uid, from.gid, byte);
    }
}

static volatile sig_atomic_t sender = -1;

static void note(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    sender = (sig_atomic_t)info->si_uid;
}

static void signals(void)
{
    struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
    MUST(sigaction(SIGUSR1, &action, NULL));
    sigset_t mask, old;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    MUST(sigprocmask(SIG_BLOCK, &mask, &old));
    pid_t child = fork();
    if (child == 0) {
        become_user();
        MUST(unshare(CLONE_NEWUSER));
        store("/proc/self/uid_map", "0 1000 1");
        say("kill the parent: %s", err(kill(getppid(), SIGUSR1)));
        raise(SIGUSR1);
        sigsuspend(&old);
        say("own: %d", sender);
        sigsuspend(&old);
        say("from above: %d", sender);
        _exit(3);
    }
    struct timespec moment = { .tv_nsec = 50000000 };
    nanosleep(&moment, NULL);
    MUST(kill(child, SIGUSR1));
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)child, &info, WEXITED));
    say("child of %u: %d", info.si_uid, info.si_status);
}

static void others(void)
{
    int id = MUST(msgget(IPC_PRIVATE, 0600));
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWUSER));
        struct msqid_ds data;
        say("msgctl: %s", err(msgctl(id, IPC_STAT, &data)));
        MUST(unshare(CLONE_NEWIPC));
        say("in another namespace: %s", err(msgctl(id, IPC_STAT, &data)));
        int own = MUST(msgget(5, IPC_CREAT | 0600));
        say("own: %s", err(msgctl(own, IPC_STAT, &data)));
        MUST(unshare(CLONE_NEWUTS));
        say("sethostname: %s", err(sethostname("inner", 5)));
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    say("outside: %s", err(msgget(5, 0)));
    MUST(msgctl(id, IPC_RMID, NULL));
    char name[65];
    MUST(gethostname(name, sizeof(name)));
    say("host name changed: %d", strcmp(name, "inner") == 0);
}

static void flags(void)
{
    say("with threads: %s", err(syscall(SYS_clone, CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL)));
    say("with fs: %s", err(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS, NULL)));
    say("ipc and undo: %s", err(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM, NULL)));
    own_directory();
    MUST(chroot("."));
    say("in another root: %s", err(unshare(CLONE_NEWUSER)));
}

/* Joining by descriptors of /proc. */
static void joining(void)
{
    int ready[2], go[2];
    MUST(pipe(ready));
    MUST(pipe(go));
    char byte, path[64];
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC));
        MUST(sethostname("joined", 6));
        MUST(write(ready[1], "r", 1));
        MUST(read(go[0], &byte, 1));
        _exit(0);
    }
    MUST(read(ready[0], &byte, 1));
    static const char *const kinds[] = { "user", "uts", "ipc" };
    int fds[3];
    for (int i = 0; i < 3; i++) {
        char own[128] = "", other[128] = "";
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
        MUST(readlink(path, own, sizeof(own) - 1));
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", child, kinds[i]);
        MUST(readlink(path, other, sizeof(other) - 1));
        fds[i] = MUST(open(path, O_RDONLY));
        struct stat data;
        MUST(fstat(fds[i], &data));
        char text[128];
        snprintf(text, sizeof(text), "%s:[%lu]", kinds[i], data.st_ino);
        say("%s: other %d, inode %d, type %#x", kinds[i], strcmp(own, other) != 0, strcmp(text, other) == 0,
            ioctl(fds[i], 0xb703));
        int user = ioctl(fds[i], 0xb701);
        if (user >= 0) {
            MUST(fstat(user, &data));
            say("belongs to type %#x", ioctl(user, 0xb703));
            close(user);
        } else {
            say("belongs to: %s", err(user));
        }
        say("parent: %s", err(ioctl(fds[i], 0xb702)));
        uid_t owner = 77;
        say("owner: %s", err(ioctl(fds[i], 0xb704, &owner)));
        say("owner %u", owner);
        say("unknown request: %s", err(ioctl(fds[i], 0xb7f0)));
    }
    say("wrong kind: %s", err(setns(fds[1], CLONE_NEWIPC)));
    int file = MUST(open("/", O_RDONLY));
    say("no namespace: %s", err(setns(file, 0)));
    say("no descriptor: %s", err(setns(99, 0)));
    char own[64] = "";
    pid_t second = fork();
    if (second == 0) {
        become_user();
        say("uts as a user: %s", err(setns(fds[1], 0)));
        say("user as a user: %s", err(setns(fds[0], 0)));
        _exit(0);
    }
    int status;
    MUST(waitpid(second, &status, 0));
    say("user: %s", err(setns(fds[0], CLONE_NEWUSER)));
    say("user again: %s", err(setns(fds[0], CLONE_NEWUSER)));
    say("uts: %s", err(setns(fds[1], 0)));
    MUST(gethostname(own, sizeof(own)));
    say("name: %s", own);
    capabilities("joined");
    MUST(write(go[1], "g", 1));
    MUST(waitpid(child, &status, 0));
    say("ipc of a process that has ended: %s", err(setns(fds[2], 0)));
}

static void by_pidfd(void)
{
    int ready[2], go[2];
    MUST(pipe(ready));
    MUST(pipe(go));
    char byte;
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWUTS | CLONE_NEWNS));
        MUST(sethostname("by pidfd", 8));
        MUST(write(ready[1], "r", 1));
        MUST(read(go[0], &byte, 1));
        _exit(0);
    }
    MUST(read(ready[0], &byte, 1));
    int fd = MUST(syscall(SYS_pidfd_open, child, 0));
    say("nothing: %s", err(setns(fd, 0)));
    say("unknown: %s", err(setns(fd, CLONE_VM)));
    say("own user: %s", err(setns(fd, CLONE_NEWUSER | CLONE_NEWUTS)));
    say("two: %s", err(setns(fd, CLONE_NEWNS | CLONE_NEWUTS)));
    char name[64] = "", own[64] = "", other[64] = "", path[64];
    MUST(gethostname(name, sizeof(name)));
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", child);
    MUST(readlink(path, other, sizeof(other)));
    MUST(readlink("/proc/self/ns/mnt", own, sizeof(own)));
    say("name %s, same mounts %d", name, strcmp(own, other) == 0);
    MUST(write(go[1], "g", 1));
    int status;
    MUST(waitpid(child, &status, 0));
    say("ended: %s", err(setns(fd, CLONE_NEWUTS)));
}

/* A namespace that a mount keeps. */
static void bound(void)
{
    own_directory();
    MUST(unshare(CLONE_NEWNS | CLONE_NEWUTS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(sethostname("kept", 4));
    close(MUST(open("uts", O_CREAT | O_WRONLY, 0644)));
    close(MUST(open("mnt", O_CREAT | O_WRONLY, 0644)));
    MUST(mkdir("dir", 0755));
    say("bind: %s", err(mount("/proc/self/ns/uts", "uts", NULL, MS_BIND, NULL)));
    say("on a directory: %s", err(mount("/proc/self/ns/uts", "dir", NULL, MS_BIND, NULL)));
    say("own mounts: %s", err(mount("/proc/self/ns/mnt", "mnt", NULL, MS_BIND, NULL)));
    char own[64] = "", root[64] = "", type[64] = "", line[1024];
    MUST(readlink("/proc/self/ns/uts", own, sizeof(own) - 1));
    FILE *file = fopen("/proc/self/mountinfo", "r");
    while (file && fgets(line, sizeof(line), file))
        if (strstr(line, "nsfs"))
            sscanf(line, "%*s %*s %*s %63s %*s %*s - %63s", root, type);
    if (file)
        fclose(file);
    say("type %s, root is the link's text: %d", type, strcmp(root, own) == 0);
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("other", 5));
    int fd = MUST(open("uts", O_RDONLY));
    struct stat data;
    MUST(fstat(fd, &data));
    snprintf(line, sizeof(line), "uts:[%lu]", data.st_ino);
    say("inode %d, mode %o", strcmp(line, own) == 0, data.st_mode);
    say("busy: %s", err(umount("uts")));
    say("setns: %s", err(setns(fd, CLONE_NEWUTS)));
    char name[65];
    MUST(gethostname(name, sizeof(name)));
    say("name %s", name);
    close(fd);
    int ready[2];
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(write(ready[1], "r", 1));
        pause();
    }
    char byte, path[64];
    MUST(read(ready[0], &byte, 1));
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", child);
    say("mounts of another: %s", err(mount(path, "mnt", NULL, MS_BIND, NULL)));
    MUST(kill(child, SIGKILL));
    reap(child);
    fd = MUST(open("mnt", O_RDONLY));
    say("setns: %s", err(setns(fd, CLONE_NEWNS)));
    close(fd);
    say("umount there: %s", err(umount("/tmp/case_bound/uts")));
}

static void separately(void)
{
    open_directory();
    apart(unmapped);
    apart(mapped);
    apart(nested);
}

CHECK_MAIN(CASE(separately), CASE(by_the_parent), CASE(messages), CASE(signals), CASE(others), CASE(flags),
           CASE(joining), CASE(by_pidfd), CASE(bound))
