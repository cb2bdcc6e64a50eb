/* POSIX message queues. */
#include "check.h"
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <dirent.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>

static mqd_t make(const char *name, int flags, long messages, long bytes)
{
    struct mq_attr attr = { .mq_maxmsg = messages, .mq_msgsize = bytes };
    return mq_open(name, flags | O_CREAT, 0640, &attr);
}

static void show(mqd_t queue, const char *what)
{
    struct mq_attr attr;
    memset(&attr, 0xff, sizeof(attr));
    if (mq_getattr(queue, &attr) < 0) {
        say("%s: %s", what, err(-1));
        return;
    }
    say("%s: flags %#lx max %ld size %ld now %ld", what, attr.mq_flags, attr.mq_maxmsg, attr.mq_msgsize, attr.mq_curmsgs);
}

static const char *take(mqd_t queue)
{
    static char text[256];
    char buffer[128];
    unsigned priority = 77;
    ssize_t got = mq_receive(queue, buffer, sizeof(buffer), &priority);
    if (got < 0)
        return err(-1);
    snprintf(text, sizeof(text), "%u:%.*s", priority, (int)got, buffer);
    return text;
}

static void names(void)
{
    say("missing: %s", err(mq_open("/none", O_RDWR)));
    say("only a slash: %s", err(mq_open("/", O_RDWR | O_CREAT, 0600, 0)));
    say("slash inside: %s", err(mq_open("/a/b", O_RDWR | O_CREAT, 0600, 0)));
    say("dots: %s %s", err(mq_open("/.", O_RDWR)), err(mq_open("/..", O_RDWR)));
    char longest[300] = "/";
    memset(longest + 1, 'x', 256);
    say("too long: %s", err(mq_open(longest, O_RDWR | O_CREAT, 0600, 0)));
    longest[256] = 0;
    mqd_t queue = mq_open(longest, O_RDWR | O_CREAT, 0600, 0);
    say("longest: %s", err(queue));
    show(queue, "defaults");
    say("unlink: %s", err(mq_unlink(longest)));
    say("again: %s", err(mq_unlink(longest)));
    show(queue, "still open");
    say("bad: %s %s", err(mq_unlink("/a/b")), err(mq_unlink("/none")));
    umask(022);
    queue = (mqd_t)MUST(mq_open("/q", O_RDONLY | O_CREAT | O_EXCL, 0777, 0));
    struct stat st;
    MUST(fstat(queue, &st));
    say("mode %o uid %u links %lu size %ld", st.st_mode, st.st_uid, (unsigned long)st.st_nlink, (long)st.st_size);
    say("exclusive: %s", err(mq_open("/q", O_RDWR | O_CREAT | O_EXCL, 0600, 0)));
    say("both: %s", err(mq_open("/q", O_RDWR | O_WRONLY)));
    say("descriptor flags %d, status %#x", fcntl(queue, F_GETFD), fcntl(queue, F_GETFL));
    mqd_t other = (mqd_t)MUST(mq_open("/q", O_WRONLY | O_NONBLOCK));
    say("status %#x", fcntl(other, F_GETFL));
    say("read the wrong way: %s", take(other));
    say("write the wrong way: %s", err(mq_send(queue, "x", 1, 0)));
    int file = open("/dev/null", O_RDWR);
    say("no queue: %s %s", err(mq_send(file, "x", 1, 0)), err(mq_getattr(file, &(struct mq_attr){ 0 })));
    char path[64], target[64] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", queue);
    MUST(readlink(path, target, sizeof(target) - 1));
    say("link %s", target);
    MUST(mq_unlink("/q"));
}

static void limits(void)
{
    say("no messages: %s", err(make("/q", O_RDWR, 0, 8)));
    say("no bytes: %s", err(make("/q", O_RDWR, 8, 0)));
    say("negative: %s", err(make("/q", O_RDWR, -1, 8)));
    say("too many: %s", err(make("/q", O_RDWR, 65537, 8)));
    say("too long: %s", err(make("/q", O_RDWR, 1, (16 << 20) + 1)));
    struct rlimit limit = { 1000, 1000 };
    MUST(setrlimit(RLIMIT_MSGQUEUE, &limit));
    say("beyond the limit: %s", err(make("/q", O_RDWR, 1, 905)));
    mqd_t queue = make("/q", O_RDWR, 1, 904);
    say("at the limit: %s", err(queue));
    say("one more: %s", err(make("/r", O_RDWR, 1, 1)));
    MUST(mq_unlink("/q"));
    say("still: %s", err(make("/r", O_RDWR, 1, 1)));
    MUST(mq_close(queue));
    say("again: %s", err(make("/r", O_RDWR, 1, 1)));
    MUST(mq_unlink("/r"));
    say("bad attributes: %s", err(syscall(SYS_mq_open, "r", O_RDWR | O_CREAT, 0600, (void *)8)));
}

static void order(void)
{
    mqd_t queue = (mqd_t)MUST(make("/order", O_RDWR | O_NONBLOCK, 5, 100));
    say("empty: %s", take(queue));
    MUST(mq_send(queue, "low", 3, 1));
    MUST(mq_send(queue, "high", 4, 32767));
    MUST(mq_send(queue, "low again", 9, 1));
    MUST(mq_send(queue, "", 0, 5));
    MUST(mq_send(queue, "lowest", 6, 0));
    say("full: %s", err(mq_send(queue, "x", 1, 0)));
    say("priority: %s", err(mq_send(queue, "x", 1, 32768)));
    say("too long: %s", err(mq_send(queue, "x", 101, 0)));
    char small[50];
    say("too short: %s", err(mq_receive(queue, small, sizeof(small), 0)));
    show(queue, "full");
    struct stat st;
    char text[100] = "";
    MUST(read(queue, text, 99));
    text[strcspn(text, "\n")] = '|';
    say("%s", text);
    MUST(fstat(queue, &st));
    for (int i = 0; i < 6; i++)
        say("%s", take(queue));
    say("bad pointer: %s", err(syscall(SYS_mq_timedsend, queue, (void *)8, 5, 0, 0)));
    say("bad time: %s", err(mq_timedsend(queue, "x", 1, 0, &(struct timespec){ 0, -1 })));
    struct mq_attr set = { .mq_flags = 0, .mq_maxmsg = 99 }, old;
    MUST(mq_setattr(queue, &set, &old));
    say("old flags %#lx", old.mq_flags);
    show(queue, "blocking");
    set.mq_flags = O_APPEND;
    say("bad flags: %s", err(mq_setattr(queue, &set, 0)));
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 30000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_sec++;
        soon.tv_nsec -= 1000000000;
    }
    long start = now_ms();
    char buffer[100];
    say("time-out: %s", err(mq_timedreceive(queue, buffer, 100, 0, &soon)));
    say("long enough: %d", now_ms() - start >= 29);
    for (int i = 0; i < 5; i++)
        MUST(mq_send(queue, "x", 1, 0));
    say("past: %s", err(mq_timedsend(queue, "x", 1, 0, &(struct timespec){ 1, 0 })));
    MUST(mq_unlink("/order"));
}

static void blocking(void)
{
    mqd_t queue = (mqd_t)MUST(make("/block", O_RDWR, 2, 100));
    pid_t child = fork();
    if (child == 0) {
        say("got %s", take(queue));
        _exit(0);
    }
    sleep_ms(30);
    MUST(mq_send(queue, "hello", 5, 3));
    reap(child);
    MUST(mq_send(queue, "a", 1, 0));
    MUST(mq_send(queue, "b", 1, 0));
    child = fork();
    if (child == 0) {
        say("sent: %s", err(mq_send(queue, "c", 1, 9)));
        _exit(0);
    }
    sleep_ms(30);
    show(queue, "one waits");
    const char *taken = take(queue);
    reap(child);
    say("%s", taken);
    say("%s", take(queue));
    say("%s", take(queue));
    MUST(mq_unlink("/block"));
}

static void on_signal(int signal)
{
    (void)signal;
}

static void interrupted(void)
{
    mqd_t queue = (mqd_t)MUST(make("/intr", O_RDWR, 2, 100));
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, 0);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, 0);
    pid_t child = fork();
    if (child == 0) {
        say("interrupted: %s", take(queue));
        say("restarted: %s", take(queue));
        _exit(0);
    }
    sleep_ms(50);
    kill(child, SIGUSR1);
    sleep_ms(50);
    kill(child, SIGUSR2);
    sleep_ms(50);
    MUST(mq_send(queue, "x", 1, 1));
    reap(child);
    MUST(mq_unlink("/intr"));
}

static volatile siginfo_t told;

static void on_message(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    memcpy((void *)&told, info, sizeof(told));
}

static void notification(void)
{
    mqd_t queue = (mqd_t)MUST(make("/note", O_RDWR | O_NONBLOCK, 5, 100));
    struct sigaction action = { .sa_sigaction = on_message, .sa_flags = SA_SIGINFO };
    sigaction(SIGUSR1, &action, 0);
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    event.sigev_value.sival_int = 4711;
    say("register: %s", err(mq_notify(queue, &event)));
    say("again: %s", err(mq_notify(queue, &event)));
    pid_t child = fork();
    if (child == 0) {
        say("of another: %s", err(mq_notify(queue, &event)));
        say("removal by another: %s", err(mq_notify(queue, 0)));
        MUST(mq_send(queue, "x", 1, 0));
        _exit(0);
    }
    reap(child);
    say("signal %d code %d value %d pid %d uid %u", told.si_signo, told.si_code, told.si_value.sival_int, told.si_pid == child,
        told.si_uid);
    say("not empty: %s", err(mq_notify(queue, &event)));
    told.si_signo = 0;
    MUST(mq_send(queue, "y", 1, 0));
    say("no signal: %d", told.si_signo);
    say("%s", take(queue));
    say("%s", take(queue));
    MUST(mq_send(queue, "y", 1, 0));
    say("signal: %d", told.si_signo);
    say("%s", take(queue));
    event.sigev_notify = SIGEV_NONE;
    say("none: %s", err(mq_notify(queue, &event)));
    char text[100] = "";
    MUST(pread(queue, text, 99, 0));
    text[30] = 0;
    say("%s", text);
    say("remove: %s %s", err(mq_notify(queue, 0)), err(mq_notify(queue, 0)));
    event.sigev_notify = 9;
    say("bad kind: %s", err(mq_notify(queue, &event)));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 65;
    say("bad signal: %s", err(mq_notify(queue, &event)));
    event.sigev_signo = SIGUSR1;
    mqd_t other = (mqd_t)MUST(mq_open("/note", O_RDONLY));
    MUST(mq_notify(other, &event));
    MUST(mq_close(other));
    say("closing takes it away: %s", err(mq_notify(queue, &event)));
    say("no queue: %s", err(mq_notify(open("/dev/null", O_RDONLY), &event)));
    MUST(mq_notify(queue, 0));
    child = fork();
    if (child == 0) {
        MUST(mq_notify(queue, &event));
        _exit(0);
    }
    reap(child);
    say("the end takes it away: %s", err(mq_notify(queue, &event)));
    MUST(mq_unlink("/note"));
}

static void polling(void)
{
    mqd_t queue = (mqd_t)MUST(make("/poll", O_RDWR, 1, 100));
    struct pollfd entry = { .fd = queue, .events = POLLIN | POLLOUT };
    say("%d %#x", poll(&entry, 1, 0), entry.revents);
    int epoll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(30);
        mq_send(queue, "x", 1, 0);
        _exit(0);
    }
    say("epoll %d", epoll_wait(epoll, &event, 1, 5000));
    say("%d %#x", poll(&entry, 1, 0), entry.revents);
    reap(child);
    MUST(mq_unlink("/poll"));
}

static void rights(void)
{
    mqd_t queue = (mqd_t)MUST(make("/rights", O_RDWR, 1, 100));
    close(queue);
    pid_t child = fork();
    if (child == 0) {
        MUST(setresgid(1000, 1000, 1000));
        MUST(setresuid(1000, 1000, 1000));
        say("open: %s", err(mq_open("/rights", O_RDONLY)));
        say("unlink: %s", err(mq_unlink("/rights")));
        say("own: %s", err(make("/own", O_RDWR, 1, 1)));
        say("too many: %s", err(make("/more", O_RDWR, 11, 1)));
        say("too long: %s", err(make("/more", O_RDWR, 1, 8193)));
        say("unlink: %s", err(mq_unlink("/own")));
        _exit(0);
    }
    reap(child);
    MUST(mq_unlink("/rights"));
}

static void mounted(void)
{
    own_directory();
    MUST(mkdir("queues", 0755));
    MUST(mount("none", "queues", "mqueue", 0, 0));
    struct statfs fs;
    MUST(statfs("queues", &fs));
    say("type %#lx", (unsigned long)fs.f_type);
    struct stat st;
    MUST(stat("queues", &st));
    say("mode %o", st.st_mode);
    mqd_t queue = (mqd_t)MUST(make("/seen", O_RDWR, 3, 100));
    MUST(mq_send(queue, "hello", 5, 3));
    DIR *directory = opendir("queues");
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            say("entry %s", entry->d_name);
    closedir(directory);
    char *text = (char *)get("queues/seen");
    text[strcspn(text, "\n")] = 0;
    say("%s", text);
    int file = (int)MUST(open("queues/seen", O_RDWR));
    char message[100];
    say("received: %ld", (long)mq_receive(file, message, sizeof(message), 0));
    say("write: %s", err(write(file, "x", 1)));
    MUST(close(file));
    MUST(mknod("queues/made", S_IFREG | 0644, 0));
    queue = (mqd_t)MUST(mq_open("/made", O_RDONLY));
    show(queue, "made");
    say("directory: %s", err(mkdir("queues/sub", 0755)));
    say("rename: %s", err(rename("queues/made", "queues/other")));
    say("unlink: %s %s", err(unlink("queues/made")), err(unlink("queues/seen")));
    say("gone: %s", err(mq_open("/seen", O_RDONLY)));
    MUST(umount("queues"));
}

CHECK_MAIN(CASE(names), CASE(limits), CASE(order), CASE(blocking), CASE(interrupted), CASE(notification), CASE(polling),
           CASE(rights), CASE(mounted))
