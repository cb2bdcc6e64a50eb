/* getrlimit(2): each limit is told, inherited and enforced. */
#include "check.h"
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/times.h>

static void limit(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit both = { soft, hard };
    MUST(setrlimit(resource, &both));
}

static long soft_of(int resource)
{
    struct rlimit both;
    MUST(getrlimit(resource, &both));
    return (long)both.rlim_cur;
}

static void burn(void)
{
    for (;;) {
        for (volatile int i = 0; i < 1000000; i++) {
        }
    }
}

static volatile sig_atomic_t xcpu;

static void on_xcpu(int number)
{
    (void)number;
    xcpu++;
}

static void processor_time_kills(void)
{
    pid_t child = fork();
    if (child == 0) {
        limit(RLIMIT_CPU, 1, 2);
        burn();
    }
    say("soft: %s", reap(child));
    child = fork();
    if (child == 0) {
        signal(SIGXCPU, SIG_IGN);
        limit(RLIMIT_CPU, 1, 2);
        /* The child of the child inherits the limit, and has its own time. */
        pid_t grandchild = fork();
        if (grandchild == 0)
            burn();
        _exit(strcmp(reap(grandchild), "signal 9") == 0 ? 7 : 8);
    }
    say("hard, inherited: %s", reap(child));
}

static void processor_time_warns(void)
{
    signal(SIGXCPU, on_xcpu);
    limit(RLIMIT_CPU, 1, 10);
    while (xcpu < 2)
        for (volatile int i = 0; i < 100000; i++) {
        }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    long used = usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 + usage.ru_stime.tv_sec * 1000
        + usage.ru_stime.tv_usec / 1000;
    say("twice after two seconds: %d", used >= 1900 && used < 2500);
    say("limit now: %ld", soft_of(RLIMIT_CPU));
    limit(RLIMIT_CPU, 10, 10);
    say("zero: %s", err(setrlimit(RLIMIT_CPU, &(struct rlimit){ 0, 10 })));
    say("told: %ld", soft_of(RLIMIT_CPU));
}

/* A child that runs for so many milliseconds with a real-time policy, waiting shortly now and then or not. */
static void run_in_real_time(long soft, long hard, long milliseconds, long pause_each)
{
    signal(SIGXCPU, on_xcpu);
    limit(RLIMIT_RTTIME, soft < 0 ? RLIM_INFINITY : (rlim_t)soft, hard < 0 ? RLIM_INFINITY : (rlim_t)hard);
    struct timespec pause = { 0, 1000000 }, now, begin, last;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    last = begin;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 >= milliseconds)
            break;
        if (pause_each && (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 >= pause_each) {
            nanosleep(&pause, NULL);
            last = now;
        }
    }
    _exit(10 + xcpu);
}

static void real_time(void)
{
    struct sched_param parameter = { 1 };
    if (sched_setscheduler(0, SCHED_FIFO, &parameter) < 0) {
        say("no real-time policy here");
        return;
    }
    if (fork() == 0)
        run_in_real_time(100000, -1, 400, 0);
    int status;
    wait(&status);
    say("soft: %s", status_text(status));
    if (fork() == 0)
        run_in_real_time(100000, 250000, 2000, 0);
    wait(&status);
    say("hard: %s", status_text(status));
    if (fork() == 0)
        run_in_real_time(200000, 200000, 500, 20);
    wait(&status);
    say("waits: %s", status_text(status));
    if (fork() == 0) {
        parameter.sched_priority = 0;
        MUST(sched_setscheduler(0, SCHED_OTHER, &parameter));
        run_in_real_time(50000, 100000, 200, 0);
    }
    wait(&status);
    say("other policy: %s", status_text(status));
    limit(RLIMIT_RTTIME, 100000, 200000);
    if (fork() == 0)
        burn();
    wait(&status);
    say("inherited, no handler: %s", status_text(status));
    say("told: %ld", soft_of(RLIMIT_RTTIME));
}

static volatile sig_atomic_t xfsz;

static void on_xfsz(int number)
{
    (void)number;
    xfsz++;
}

static void file_size(void)
{
    own_directory();
    signal(SIGXFSZ, on_xfsz);
    limit(RLIMIT_FSIZE, 1000, 2000);
    int fd = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    static char data[4096];
    say("across: %ld", (long)write(fd, data, sizeof(data)));
    say("beyond: %s, signals %d", err(write(fd, data, 1)), xfsz);
    say("pwrite beyond: %s, signals %d", err(pwrite(fd, data, 1, 5000)), xfsz);
    say("ftruncate: %s, signals %d", err(ftruncate(fd, 1001)), xfsz);
    say("truncate: %s, signals %d", err(truncate("file", 1001)), xfsz);
    say("fallocate: %s, signals %d", err(fallocate(fd, 0, 0, 1001)), xfsz);
    say("within: %s", err(ftruncate(fd, 1000)));
    int pipes[2];
    MUST(pipe(pipes));
    say("pipe: %ld", (long)write(pipes[1], data, 3000));
    say("splice: %s, signals %d", err(splice(pipes[0], NULL, fd, &(loff_t){ 1000 }, 10, 0)), xfsz);
    signal(SIGXFSZ, SIG_DFL);
    pid_t child = fork();
    if (child == 0) {
        lseek(fd, 1000, SEEK_SET);
        _exit((int)write(fd, data, 1));
    }
    say("default: %s", reap(child));
}

static void descriptors(void)
{
    limit(RLIMIT_NOFILE, 10, 4096);
    int fd, last = -1;
    while ((fd = dup(0)) >= 0)
        last = fd;
    say("dup: %s, last %d", err(-1), last);
    say("dup2: %s", err(dup2(0, 10)));
    say("dup2 of itself: %s", err(dup2(9, 9)));
    say("F_DUPFD: %s", err(fcntl(0, F_DUPFD, 10)));
    say("pipe: %s", err(pipe((int[2]){ 0, 0 })));
    say("open: %s", err(open("/dev/null", O_RDONLY)));
    struct pollfd polled[11] = { 0 };
    for (int i = 0; i < 11; i++)
        polled[i].fd = -1;
    say("poll of 10: %s", err(poll(polled, 10, 0)));
    say("poll of 11: %s", err(poll(polled, 11, 0)));
    say("too many: %s", err(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 10, 1L << 31 })));
}

static void memory(void)
{
    long before = soft_of(RLIMIT_AS);
    say("address space at first: %ld", before);
    limit(RLIMIT_AS, 64 << 20, RLIM_INFINITY);
    say("mmap: %s", mmap(NULL, 65 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? err(-1) : "ok");
    char *pages = mmap(NULL, 8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("smaller: %d", pages != MAP_FAILED);
    say("mremap: %s", mremap(pages, 8 << 20, 70 << 20, MREMAP_MAYMOVE) == MAP_FAILED ? err(-1) : "ok");
    limit(RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY);
    limit(RLIMIT_DATA, 16 << 20, RLIM_INFINITY);
    say("brk: %d", brk((char *)sbrk(0) + (17 << 20)));
    say("data mmap: %s",
        mmap(NULL, 17 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? err(-1) : "ok");
    say("shared mmap: %s",
        mmap(NULL, 17 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? err(-1) : "ok");
    say("mprotect: %s", err(mprotect(mmap(NULL, 17 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 17 << 20,
                                     PROT_READ | PROT_WRITE)));
}

static int recurse(int depth)
{
    volatile char room[4096];
    room[0] = (char)depth;
    if (depth > 0)
        room[1] = (char)recurse(depth - 1);
    return room[0] + room[1];
}

static void stack(void)
{
    pid_t child = fork();
    if (child == 0) {
        limit(RLIMIT_STACK, 256 << 10, RLIM_INFINITY);
        _exit(recurse(32) & 0);
    }
    say("128 KiB of 256: %s", reap(child));
    child = fork();
    if (child == 0) {
        limit(RLIMIT_STACK, 256 << 10, RLIM_INFINITY);
        _exit(recurse(100) & 0);
    }
    say("400 KiB of 256: %s", reap(child));
}

static void become_nobody(void)
{
    MUST(setresgid(65534, 65534, 65534));
    MUST(setresuid(65534, 65534, 65534));
}

static void locked_memory(void)
{
    limit(RLIMIT_MEMLOCK, 16 << 10, 16 << 10);
    char *pages = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("privileged: %s", err(mlock(pages, 64 << 10)));
    munlockall();
    become_nobody();
    say("too much: %s", err(mlock(pages, 32 << 10)));
    say("enough: %s", err(mlock(pages, 16 << 10)));
    say("the same again: %s", err(mlock(pages, 16 << 10)));
    say("more: %s", err(mlock(pages + (16 << 10), 4096)));
    say("MAP_LOCKED: %s",
        mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED ? err(-1) : "ok");
    say("all: %s", err(mlockall(MCL_CURRENT)));
    munlockall();
    int segment = (int)MUST(shmget(IPC_PRIVATE, 64 << 10, 0600));
    say("SHM_LOCK: %s", err(shmctl(segment, SHM_LOCK, NULL)));
    shmctl(segment, IPC_RMID, NULL);
    say("raise: %s", err(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 16 << 10, 17 << 10 })));
    limit(RLIMIT_MEMLOCK, 0, 0);
    say("none: %s", err(mlock(pages, 4096)));
}

static void processes(void)
{
    become_nobody();
    limit(RLIMIT_NPROC, 0, 0);
    say("fork: %s", err(fork()));
}

static void signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    become_nobody();
    limit(RLIMIT_SIGPENDING, 0, 0);
    say("real-time: %s", err(sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 })));
    say("usual: %s", err(kill(getpid(), SIGUSR1)));
    timer_t timer;
    say("timer: %s", err(timer_create(CLOCK_MONOTONIC, NULL, &timer)));
}

static void queues(void)
{
    struct mq_attr attributes = { .mq_maxmsg = 8, .mq_msgsize = 512 };
    become_nobody();
    limit(RLIMIT_MSGQUEUE, 4096, 4096);
    say("too much: %s", err(mq_open("/limits", O_RDWR | O_CREAT | O_EXCL, 0600, &attributes)));
    attributes.mq_maxmsg = 2;
    say("enough: %s", err(mq_open("/limits", O_RDWR | O_CREAT | O_EXCL, 0600, &attributes)));
    mq_unlink("/limits");
}

/* A machine may not let its root raise these limits, which are zero at first. */
static void priorities(void)
{
    become_nobody();
    struct sched_param parameter = { 5 };
    limit(RLIMIT_NICE, 0, 0);
    limit(RLIMIT_RTPRIO, 0, 0);
    errno = 0;
    say("nice -5: %s", nice(-5) == -1 && errno ? err(-1) : "ok");
    say("FIFO: %s", err(sched_setscheduler(0, SCHED_FIFO, &parameter)));
    say("raise: %s", err(setrlimit(RLIMIT_RTPRIO, &(struct rlimit){ 5, 5 })));
}

static void told(void)
{
    static const int all[] = { RLIMIT_RSS, RLIMIT_LOCKS, RLIMIT_CORE, RLIMIT_RTTIME };
    for (size_t i = 0; i < COUNT(all); i++) {
        say("set %zu: %s", i, err(setrlimit(all[i], &(struct rlimit){ 12345, 23456 })));
        say("told %zu: %ld", i, soft_of(all[i]));
    }
    say("turned round: %s", err(setrlimit(RLIMIT_CORE, &(struct rlimit){ 3, 2 })));
    say("unknown: %s", err(setrlimit(16, &(struct rlimit){ 3, 2 })));
    pid_t child = fork();
    if (child == 0)
        _exit(soft_of(RLIMIT_LOCKS) == 12345);
    say("inherited: %s", reap(child));
    struct rlimit old, new = { 1, 2 };
    say("prlimit: %s", err(prlimit(getpid(), RLIMIT_CORE, &new, &old)));
    say("old %ld, new %ld", (long)old.rlim_cur, soft_of(RLIMIT_CORE));
    say("no process: %s", err(prlimit(0x3ffffff, RLIMIT_CORE, &new, &old)));
    become_nobody();
    say("of others: %s", err(prlimit(1, RLIMIT_CORE, NULL, &old)));
    say("raise: %s", err(setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 3 })));
}

CHECK_MAIN(CASE(processor_time_kills), CASE(processor_time_warns), CASE(real_time), CASE(file_size), CASE(descriptors), CASE(memory),
           CASE(stack), CASE(locked_memory), CASE(processes), CASE(signals), CASE(queues), CASE(priorities), CASE(told))
