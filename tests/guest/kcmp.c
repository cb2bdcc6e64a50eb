/* kcmp(2): what tasks share. */
#include "check.h"
#include <linux/kcmp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/sem.h>

static long compare(pid_t one, pid_t two, int type, unsigned long first, unsigned long second)
{
    return syscall(SYS_kcmp, one, two, type, first, second);
}

/* The order of what differs is not the same each time. */
static const char *same(long result)
{
    if (result < 0)
        return err(result);
    return result == 0 ? "same" : result < 3 ? "other" : "unordered";
}

static void all(pid_t other)
{
    static const char *names[] = { "VM", "FILES", "FS", "SIGHAND", "IO", "SYSVSEM" };
    for (int i = 0; i < 6; i++)
        say("%s: %s", names[i], same(compare(getpid(), other, KCMP_VM + i, 0, 0)));
}

static volatile pid_t thread_id;

static void *wait_long(void *argument)
{
    thread_id = gettid();
    for (;;)
        pause();
    return argument;
}

static void of_myself(void)
{
    all(getpid());
}

static void of_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, wait_long, NULL);
    while (thread_id == 0)
        sched_yield();
    all(thread_id);
}

static void of_a_child(void)
{
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    all(child);
    long there = compare(getpid(), child, KCMP_VM, 0, 0), back = compare(child, getpid(), KCMP_VM, 0, 0);
    say("order: %d", there + back == 3);
    say("same file: %s", same(compare(getpid(), child, KCMP_FILE, 1, 1)));
    kill(child, SIGKILL);
    say("a zombie: %d", compare(getpid(), child, KCMP_FILES, 0, 0) >= -1);
    reap(child);
    say("nobody: %s", err(compare(getpid(), child, KCMP_VM, 0, 0)));
}

static char stack[65536];

static int child_main(void *argument)
{
    (void)argument;
    for (;;)
        pause();
    return 0;
}

static void of_clones(void)
{
    static const int flags[] = { CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_VM | CLONE_SIGHAND, CLONE_SYSVSEM };
    int set = (int)MUST(semget(IPC_PRIVATE, 1, 0600));
    struct sembuf up = { 0, 1, SEM_UNDO };
    MUST(semop(set, &up, 1));
    for (size_t i = 0; i < COUNT(flags); i++) {
        pid_t child = clone(child_main, stack + sizeof(stack), flags[i] | SIGCHLD, NULL);
        say("clone %zu", i);
        all(child);
        kill(child, SIGKILL);
        reap(child);
    }
    semctl(set, 0, IPC_RMID);
}

static void files(void)
{
    int one = open("/dev/null", O_RDONLY), two = open("/dev/null", O_RDONLY), copy = dup(one);
    say("dup: %s", same(compare(getpid(), getpid(), KCMP_FILE, (unsigned)one, (unsigned)copy)));
    say("opened twice: %s", same(compare(getpid(), getpid(), KCMP_FILE, (unsigned)one, (unsigned)two)));
    say("bad: %s", err(compare(getpid(), getpid(), KCMP_FILE, (unsigned)one, 1000)));
    int epoll = epoll_create1(0), pipes[2];
    MUST(pipe(pipes));
    struct epoll_event event = { .events = EPOLLIN };
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event));
    struct kcmp_epoll_slot slot = { (unsigned)epoll, (unsigned)pipes[0], 0 };
    unsigned long at = (unsigned long)&slot;
    say("watched: %s", same(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[0], at)));
    say("not that: %s", same(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[1], at)));
    slot.toff = 1;
    say("only one: %s", err(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[0], at)));
    slot.efd = (unsigned)one;
    say("no epoll: %s", err(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[0], at)));
    slot.efd = 1000;
    say("no file: %s", err(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[0], at)));
    say("no slot: %s", err(compare(getpid(), getpid(), KCMP_EPOLL_TFD, (unsigned)pipes[0], 8)));
    say("unknown: %s", err(compare(getpid(), getpid(), 8, 0, 0)));
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        MUST(setresuid(65534, 65534, 65534));
        say("not allowed: %s", err(compare(getpid(), parent, KCMP_VM, 0, 0)));
        _exit(0);
    }
    reap(child);
}

CHECK_MAIN(CASE(of_myself), CASE(of_a_thread), CASE(of_a_child), CASE(of_clones), CASE(files))
