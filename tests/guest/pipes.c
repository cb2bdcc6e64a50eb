/* Pipes, eventfds, poll, select and epoll. */
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <sys/signalfd.h>

static void splice_to_null(void)
{
    int p[2], null = (int)MUST(open("/dev/null", O_WRONLY));
    MUST(pipe(p));
    MUST(write(p[1], "hello", 5));
    say("splice: %ld", (long)splice(p[0], 0, null, 0, 100, 0));
    MUST(close(p[1]));
    say("end: %ld", (long)splice(p[0], 0, null, 0, 100, 0));
}

/* An event goes to an instance at which somebody waits. */
static void epoll_exclusive(void)
{
    int event = eventfd(0, 0), idle = epoll_create1(0), busy = epoll_create1(0);
    struct epoll_event interest = { .events = EPOLLIN | EPOLLEXCLUSIVE };
    MUST(epoll_ctl(idle, EPOLL_CTL_ADD, event, &interest));
    MUST(epoll_ctl(busy, EPOLL_CTL_ADD, event, &interest));
    say("again: %s", err(epoll_ctl(idle, EPOLL_CTL_MOD, event, &interest)));
    interest.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
    say("once: %s", err(epoll_ctl(idle, EPOLL_CTL_ADD, dup(event), &interest)));
    pid_t child = fork();
    if (child == 0) {
        say("woken: %d", epoll_wait(busy, &interest, 1, 3000));
        _exit(0);
    }
    sleep_ms(50);
    uint64_t one = 1;
    MUST(write(event, &one, sizeof(one)));
    reap(child);
    say("the other sees it too: %d", epoll_wait(idle, &interest, 1, 0));
}

static void basics(void)
{
    int p[2];
    char buffer[64] = { 0 };
    MUST(pipe2(p, O_NONBLOCK));
    say("flags: %#o %#o", fcntl(p[0], F_GETFL), fcntl(p[1], F_GETFL));
    say("empty: %s", err(read(p[0], buffer, 1)));
    say("write: %ld", (long)write(p[1], "hello", 5));
    int available;
    MUST(ioctl(p[0], FIONREAD, &available));
    say("available: %d", available);
    say("read: %ld", (long)read(p[0], buffer, 3));
    say("rest: %ld", (long)read(p[0], buffer + 3, 10));
    say("bytes: %s", buffer);
    say("read of the write end: %s", err(read(p[1], buffer, 1)));
    say("write to the read end: %s", err(write(p[0], buffer, 1)));
    close(p[1]);
    say("end: %ld", (long)read(p[0], buffer, 1));
    say("bad flags: %s", err(pipe2(p, O_APPEND)));
    say("bad pointer: %s", err(pipe((int *)8)));
}

static void capacity(void)
{
    int p[2];
    static char block[4096];
    MUST(pipe2(p, O_NONBLOCK));
    say("size: %d", fcntl(p[0], F_GETPIPE_SZ));
    int count = 0;
    while (write(p[1], block, sizeof(block)) == (ssize_t)sizeof(block))
        count++;
    say("pages: %d, then %s", count, err(-1));
    MUST(read(p[0], block, 100));
    say("a small write needs room for all of it: %s", err(write(p[1], block, 200)));
    say("grow: %d", fcntl(p[0], F_SETPIPE_SZ, 1 << 18));
    say("write: %ld", (long)write(p[1], block, 4096));
    say("shrink below what is in it: %s", err(fcntl(p[0], F_SETPIPE_SZ, 4096)));
    int q[2];
    MUST(pipe(q));
    say("rounded up: %d", fcntl(q[1], F_SETPIPE_SZ, 5000));
    say("size of a file: %s", err(fcntl(open("/dev/null", O_RDONLY), F_GETPIPE_SZ)));
}

static void blocking(void)
{
    int p[2];
    char byte;
    MUST(pipe(p));
    pid_t child = fork();
    if (child == 0) {
        close(p[0]);
        sleep_ms(30);
        MUST(write(p[1], "a", 1));
        sleep_ms(30);
        _exit(0);
    }
    close(p[1]);
    say("waits for a byte: %ld", (long)read(p[0], &byte, 1));
    say("waits for the end: %ld", (long)read(p[0], &byte, 1));
    reap(child);
    MUST(pipe(p));
    child = fork();
    if (child == 0) {
        static char block[300000];
        close(p[0]);
        _exit(write(p[1], block, sizeof(block)) == (ssize_t)sizeof(block) ? 0 : 1);
    }
    close(p[1]);
    static char buffer[10000];
    long sum = 0, got;
    while ((got = read(p[0], buffer, sizeof(buffer))) > 0)
        sum += got;
    say("a large write goes through: %ld, %s", sum, reap(child));
}

static void atomic_writes(void)
{
    int p[2], wrong = 0, blocks = 0;
    char buffer[512];
    MUST(pipe(p));
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            close(p[0]);
            memset(buffer, 'a' + i, sizeof(buffer));
            for (int j = 0; j < 300; j++)
                MUST(write(p[1], buffer, sizeof(buffer)));
            _exit(0);
        }
    }
    close(p[1]);
    while (read(p[0], buffer, sizeof(buffer)) == (ssize_t)sizeof(buffer)) {
        blocks++;
        for (size_t i = 1; i < sizeof(buffer); i++)
            wrong += buffer[i] != buffer[0];
    }
    say("blocks %d, mixed bytes %d", blocks, wrong);
}

static void ping_pong(void)
{
    int to[2], back[2], number = 0;
    MUST(pipe(to));
    MUST(pipe(back));
    pid_t child = fork();
    if (child == 0) {
        close(to[1]);
        while (read(to[0], &number, sizeof(number)) == sizeof(number)) {
            number++;
            MUST(write(back[1], &number, sizeof(number)));
        }
        _exit(0);
    }
    for (int i = 0; i < 1000; i++) {
        MUST(write(to[1], &number, sizeof(number)));
        MUST(read(back[0], &number, sizeof(number)));
    }
    close(to[1]);
    say("number: %d, %s", number, reap(child));
}

static void packets(void)
{
    int p[2];
    char buffer[64] = { 0 };
    MUST(pipe2(p, O_DIRECT | O_NONBLOCK));
    MUST(write(p[1], "first", 5));
    MUST(write(p[1], "second", 6));
    say("read: %ld", (long)read(p[0], buffer, 3));
    say("read: %ld", (long)read(p[0], buffer, 60));
    say("bytes: %s", buffer);
}

static void show_poll(const char *what, int fd, short events)
{
    struct pollfd one = { fd, events, 0x7777 };
    int result = poll(&one, 1, 0);
    say("%s: %d %#x", what, result, one.revents);
}

static void poll_states(void)
{
    int p[2];
    static char block[65536];
    MUST(pipe2(p, O_NONBLOCK));
    show_poll("empty, read", p[0], POLLIN | POLLOUT);
    show_poll("empty, write", p[1], POLLIN | POLLOUT);
    MUST(write(p[1], "x", 1));
    show_poll("byte, read", p[0], POLLIN | POLLRDNORM);
    while (write(p[1], block, sizeof(block)) > 0) {
    }
    show_poll("full, write", p[1], POLLOUT | POLLWRNORM);
    close(p[1]);
    show_poll("writer gone, read", p[0], POLLIN);
    show_poll("nothing wanted", p[0], 0);
    MUST(pipe(p));
    close(p[0]);
    show_poll("reader gone", p[1], POLLOUT);
    show_poll("bad descriptor", 700, POLLIN);
    show_poll("negative descriptor", -5, POLLIN);
    show_poll("file", open("/bin/true", O_RDONLY), POLLIN | POLLOUT | POLLPRI);
    show_poll("null", open("/dev/null", O_RDWR), POLLIN | POLLOUT);
    say("nothing: %d", poll(NULL, 0, 0));
    say("bad pointer: %s", err(poll((void *)8, 1, 0)));
    say("too many: %s", err(poll((void *)8, 0x7fffffff, 0)));
}

static void poll_waits(void)
{
    int p[2];
    MUST(pipe(p));
    struct pollfd one = { p[0], POLLIN, 0 };
    long start = now_ms();
    say("timeout: %d", poll(&one, 1, 40));
    say("not early: %d", now_ms() - start >= 39);
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(40);
        MUST(write(p[1], "x", 1));
        _exit(0);
    }
    say("woken: %d", poll(&one, 1, -1));
    reap(child);
    struct timespec none = { 0, 0 }, bad = { 0, -5 };
    say("ppoll: %d", ppoll(&one, 1, &none, NULL));
    say("bad time: %s", err(ppoll(&one, 1, &bad, NULL)));
}

static void selects(void)
{
    int p[2];
    MUST(pipe(p));
    fd_set in, out;
    FD_ZERO(&in);
    FD_SET(p[0], &in);
    struct timeval none = { 0, 0 };
    say("empty: %d", select(p[0] + 1, &in, NULL, NULL, &none));
    say("cleared: %d", FD_ISSET(p[0], &in) != 0);
    MUST(write(p[1], "x", 1));
    FD_SET(p[0], &in);
    FD_ZERO(&out);
    FD_SET(p[1], &out);
    say("both: %d", select(p[1] + 1, &in, &out, NULL, NULL));
    say("set: %d %d", FD_ISSET(p[0], &in) != 0, FD_ISSET(p[1], &out) != 0);
    FD_ZERO(&in);
    FD_SET(60, &in);
    say("bad descriptor: %s", err(select(61, &in, NULL, NULL, &none)));
    say("negative: %s", err(select(-1, NULL, NULL, NULL, &none)));
    struct timeval time = { 0, 30000 };
    long start = now_ms();
    say("sleep: %d", select(0, NULL, NULL, NULL, &time));
    say("not early: %d, rest: %ld", now_ms() - start >= 29, (long)time.tv_sec + time.tv_usec);
    struct timespec long_time = { 10, 0 };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigemptyset(&set);
    FD_ZERO(&in);
    pid_t child = fork();
    if (child == 0) {
        raise(SIGUSR1);
        pselect(0, NULL, NULL, NULL, &long_time, &set);
        _exit(0);
    }
    say("pselect lets a blocked signal in: %s", reap(child));
}

static void event_counter(void)
{
    int fd = (int)MUST(eventfd(3, EFD_NONBLOCK));
    uint64_t value = 0;
    say("read: %ld", (long)read(fd, &value, 8));
    say("value: %ld", (long)value);
    say("empty: %s", err(read(fd, &value, 8)));
    value = 10;
    MUST(write(fd, &value, 8));
    MUST(write(fd, &value, 8));
    MUST(read(fd, &value, 8));
    say("sum: %ld", (long)value);
    value = UINT64_MAX - 1;
    say("largest: %s", err(write(fd, &value, 8)));
    value = 1;
    say("full: %s", err(write(fd, &value, 8)));
    show_poll("full", fd, POLLIN | POLLOUT);
    value = UINT64_MAX;
    say("too large: %s", err(write(fd, &value, 8)));
    say("short: %s", err(read(fd, &value, 4)));
    fd = (int)MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    MUST(read(fd, &value, 8));
    say("semaphore: %ld", (long)value);
    MUST(read(fd, &value, 8));
    say("semaphore: %ld, then %s", (long)value, err(read(fd, &value, 8)));
    say("bad flag: %s", err(eventfd(0, 0x100000)));
}

static int add(int epoll, int fd, unsigned events, int data)
{
    struct epoll_event event = { events, { .u32 = (unsigned)data } };
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void show_wait(const char *what, int epoll)
{
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, 0);
    unsigned bits = 0, data = 0;
    for (int i = 0; i < count; i++) {
        bits += events[i].events;
        data += events[i].data.u32;
    }
    say("%s: %d events %#x data %u", what, count, bits, data);
}

static void epoll_levels_and_edges(void)
{
    int p[2], e = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
    char byte;
    MUST(pipe2(p, O_NONBLOCK));
    say("add: %s", err(add(e, p[0], EPOLLIN, 1)));
    show_wait("empty", e);
    MUST(write(p[1], "ab", 2));
    show_wait("level", e);
    show_wait("level again", e);
    struct epoll_event event = { EPOLLIN | EPOLLET, { .u32 = 2 } };
    say("modify: %s", err(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &event)));
    show_wait("edge", e);
    show_wait("edge again", e);
    MUST(read(p[0], &byte, 1));
    show_wait("after a read", e);
    MUST(write(p[1], "c", 1));
    show_wait("after a write", e);
    event.events = EPOLLIN | EPOLLONESHOT;
    MUST(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &event));
    show_wait("one shot", e);
    show_wait("one shot again", e);
    MUST(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &event));
    show_wait("armed again", e);
    say("delete: %s", err(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL)));
    show_wait("deleted", e);
    MUST(add(e, p[1], EPOLLOUT | EPOLLIN, 7));
    show_wait("write end", e);
    close(p[0]);
    show_wait("reader gone", e);
    close(p[1]);
    show_wait("closed", e);
}

static void epoll_errors(void)
{
    int p[2], e = (int)MUST(epoll_create1(0));
    MUST(pipe(p));
    MUST(add(e, p[0], EPOLLIN, 1));
    say("twice: %s", err(add(e, p[0], EPOLLIN, 1)));
    say("itself: %s", err(add(e, e, EPOLLIN, 1)));
    say("a file: %s", err(add(e, open("/bin/true", O_RDONLY), EPOLLIN, 1)));
    say("a directory: %s", err(add(e, open("/", O_RDONLY), EPOLLIN, 1)));
    say("bad descriptor: %s", err(add(e, 700, EPOLLIN, 1)));
    say("not an epoll: %s", err(add(p[0], p[1], EPOLLIN, 1)));
    struct epoll_event event = { EPOLLIN, { 0 } };
    say("modify a stranger: %s", err(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &event)));
    say("delete a stranger: %s", err(epoll_ctl(e, EPOLL_CTL_DEL, p[1], NULL)));
    say("unknown operation: %s", err(epoll_ctl(e, 9, p[0], &event)));
    say("bad pointer: %s", err(epoll_ctl(e, EPOLL_CTL_ADD, p[1], (void *)8)));
    say("no room: %s", err(epoll_wait(e, &event, 0, 0)));
    say("bad size: %s", err(epoll_create(0)));
    say("bad flags: %s", err(epoll_create1(1)));
    int second = (int)MUST(epoll_create1(0));
    say("nested: %s", err(add(second, e, EPOLLIN, 9)));
    say("loop: %s", err(add(e, second, EPOLLIN, 9)));
    MUST(write(p[1], "x", 1));
    show_wait("through both", second);
    say("wait on a pipe: %s", err(epoll_wait(p[0], &event, 1, 0)));
}

static void epoll_waits(void)
{
    int p[2], e = (int)MUST(epoll_create1(0));
    struct epoll_event events[4];
    MUST(pipe(p));
    MUST(add(e, p[0], EPOLLIN, 5));
    long start = now_ms();
    say("timeout: %d", epoll_wait(e, events, 4, 30));
    say("not early: %d", now_ms() - start >= 29);
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(30);
        MUST(write(p[1], "x", 1));
        _exit(0);
    }
    say("woken: %d", epoll_wait(e, events, 4, -1));
    reap(child);
    int q[2];
    MUST(pipe(q));
    MUST(add(e, q[1], EPOLLOUT, 6));
    say("at most one: %d", epoll_wait(e, events, 1, 0));
    unsigned first = events[0].data.u32;
    say("then the other: %d", epoll_wait(e, events, 1, 0) == 1 && events[0].data.u32 != first);
    int twin = (int)MUST(dup(p[0]));
    close(p[0]);
    say("a duplicate keeps it: %d", epoll_wait(e, events, 4, 0));
    close(twin);
    say("then it is gone: %d", epoll_wait(e, events, 4, 0));
}

static void timer_descriptors(void)
{
    int fd = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    uint64_t count = 0;
    say("not armed: %s", err(read(fd, &count, 8)));
    struct itimerspec time = { { 0, 10000000 }, { 0, 10000000 } }, now;
    MUST(timerfd_settime(fd, 0, &time, NULL));
    sleep_ms(100);
    show_poll("expired", fd, POLLIN);
    say("read: %ld", (long)read(fd, &count, 8));
    say("several: %d", count >= 5 && count <= 60);
    MUST(timerfd_gettime(fd, &now));
    say("interval: %ld", now.it_interval.tv_nsec);
    memset(&time, 0, sizeof(time));
    MUST(timerfd_settime(fd, 0, &time, &now));
    sleep_ms(20);
    read(fd, &count, 8);
    say("disarmed: %s", err(read(fd, &count, 8)));
    say("short: %s", err(read(fd, &count, 4)));
    say("write: %s", err(write(fd, &count, 8)));
    say("bad clock: %s", err(timerfd_create(77, 0)));
    time.it_value.tv_nsec = -1;
    say("bad time: %s", err(timerfd_settime(fd, 0, &time, NULL)));
    clock_gettime(CLOCK_MONOTONIC, &time.it_value);
    MUST(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
    MUST(fcntl(fd, F_SETFL, 0));
    say("absolute: %ld", (long)read(fd, &count, 8));
    say("count: %ld", (long)count);
}

static void signal_descriptors(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    int fd = (int)MUST(signalfd(-1, &set, SFD_NONBLOCK));
    struct signalfd_siginfo info[2];
    say("nothing: %s", err(read(fd, info, sizeof(info))));
    raise(SIGUSR1);
    MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 33 }));
    show_poll("two", fd, POLLIN);
    say("read: %ld", (long)(read(fd, info, sizeof(info)) / (ssize_t)sizeof(info[0])));
    say("first %d, second value %d code %d", info[0].ssi_signo, info[1].ssi_int, info[1].ssi_code);
    say("short: %s", err(read(fd, info, 10)));
    say("bad flags: %s", err(signalfd(-1, &set, 1)));
}

CHECK_MAIN(CASE(basics), CASE(splice_to_null), CASE(epoll_exclusive), CASE(capacity), CASE(blocking), CASE(atomic_writes), CASE(ping_pong), CASE(packets),
           CASE(poll_states), CASE(poll_waits), CASE(selects), CASE(event_counter), CASE(epoll_levels_and_edges),
           CASE(epoll_errors), CASE(epoll_waits), CASE(timer_descriptors), CASE(signal_descriptors))
