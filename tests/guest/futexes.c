/* futex(2) by itself: wait, wake, bitset, requeue, timeouts, wait_multiple of robust lists. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_int word, other, woken, waiting;

static long futex(void *address, int operation, int value, const void *timeout, void *address2, int value3)
{
    return syscall(SYS_futex, address, operation, value, timeout, address2, value3);
}

static void errors(void)
{
    struct timespec none = { 0, 0 }, bad = { 0, 1000000000 };
    say("value differs: %s", err(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0)));
    say("no time: %s", err(futex(&word, FUTEX_WAIT, 0, &none, NULL, 0)));
    say("bad time: %s", err(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0)));
    say("bad address: %s", err(futex((void *)16, FUTEX_WAIT, 0, NULL, NULL, 0)));
    say("odd address: %s", err(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0)));
    say("wake of nobody: %ld", futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    say("private wake: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    say("no bits: %s", err(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0)));
    say("wake no bits: %s", err(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0)));
    say("unknown: %s", err(futex(&word, 100, 0, NULL, NULL, 0)));
    say("requeue of another value: %s", err(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 5)));
    say("negative requeue: %s", err(futex(&word, FUTEX_REQUEUE, -1, (void *)1, &other, 0)));
    say("bad timeout pointer: %s", err(futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0)));
    say("odd wake: %s", err(futex((char *)&word + 2, FUTEX_WAKE, 1, NULL, NULL, 0)));
}

static void timeouts(void)
{
    struct timespec time = { 0, 30000000 };
    long start = now_ms();
    say("relative: %s", err(futex(&word, FUTEX_WAIT, 0, &time, NULL, 0)));
    say("not early: %d", now_ms() - start >= 29);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    start = now_ms();
    say("absolute: %s", err(futex(&word, FUTEX_WAIT_BITSET, 0, &until, NULL, -1)));
    say("not early: %d", now_ms() - start >= 990);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec -= 1;
    say("already past: %s",
        err(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &until, NULL, -1)));
    say("clock flag on a wake: %s", err(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)));
}

struct wish {
    atomic_int *address;
    int operation, bits;
};

static void *wait_for_wake(void *argument)
{
    const struct wish *wish = argument;
    atomic_fetch_add(&waiting, 1);
    long result = futex(wish->address, wish->operation, 0, NULL, NULL, wish->bits);
    if (result == 0)
        atomic_fetch_add(&woken, wish->bits);
    return NULL;
}

static void start_waiters(pthread_t *threads, int count, struct wish *wishes, int each)
{
    atomic_store(&waiting, 0);
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, wait_for_wake, &wishes[each ? i : 0]);
    while (atomic_load(&waiting) < count)
        sched_yield();
    sleep_ms(100);
}

static void wake_some(void)
{
    pthread_t threads[4];
    struct wish wish = { &word, FUTEX_WAIT_PRIVATE, 1 };
    start_waiters(threads, 4, &wish, 0);
    say("wake 1: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    say("wake 2: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0));
    say("wake all: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    say("nobody is left: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("woken: %d", atomic_load(&woken));
}

static void bit_sets(void)
{
    pthread_t threads[3];
    struct wish wishes[] = { { &word, FUTEX_WAIT_BITSET, 1 },
                             { &word, FUTEX_WAIT_BITSET, 2 },
                             { &word, FUTEX_WAIT_BITSET, 4 } };
    start_waiters(threads, 3, wishes, 1);
    say("wake 2: %ld", futex(&word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 2));
    pthread_join(threads[1], NULL);
    say("bits: %d", atomic_load(&woken));
    say("wake 8: %ld", futex(&word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 8));
    say("plain wake: %ld", futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));
    pthread_join(threads[0], NULL);
    pthread_join(threads[2], NULL);
    say("bits: %d", atomic_load(&woken));
}

static void requeue(void)
{
    pthread_t threads[5];
    struct wish wish = { &word, FUTEX_WAIT_PRIVATE, 1 };
    start_waiters(threads, 5, &wish, 0);
    say("wake 1, move 3: %ld",
        futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)3, &other, 0));
    say("left: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    say("moved: %ld", futex(&other, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    say("woken: %d", atomic_load(&woken));
}

static void wake_operation(void)
{
    pthread_t threads[2];
    struct wish wishes[] = { { &word, FUTEX_WAIT_PRIVATE, 1 }, { &other, FUTEX_WAIT_PRIVATE, 10 } };
    start_waiters(threads, 2, wishes, 1);
    int operation = FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0);
    say("both: %ld", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, operation));
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    say("woken: %d, value %d", atomic_load(&woken), atomic_load(&other));
    operation = FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 100);
    say("none: %ld", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &other, operation));
    say("value %d", atomic_load(&other));
}

static void between_processes(void)
{
    atomic_int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        atomic_store(&shared[1], 1);
        while (atomic_load(&shared[0]) == 0)
            futex(&shared[0], FUTEX_WAIT, 0, NULL, NULL, 0);
        _exit(atomic_load(&shared[0]));
    }
    while (atomic_load(&shared[1]) == 0)
        sched_yield();
    sleep_ms(50);
    atomic_store(&shared[0], 5);
    futex(&shared[0], FUTEX_WAKE, 1, NULL, NULL, 0);
    say("child: %s", reap(child));
    int fd = (int)MUST(open("/tmp/futex", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 4096));
    atomic_int *first = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    atomic_int *second = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    child = fork();
    if (child == 0) {
        atomic_store(&first[1], 1);
        while (atomic_load(&first[0]) == 0)
            futex(&first[0], FUTEX_WAIT, 0, NULL, NULL, 0);
        _exit(atomic_load(&first[0]));
    }
    while (atomic_load(&first[1]) == 0)
        sched_yield();
    sleep_ms(50);
    atomic_store(&second[0], 6);
    futex(&second[0], FUTEX_WAKE, 1, NULL, NULL, 0);
    say("another mapping of the file: %s", reap(child));
}

static void on_signal(int number)
{
    (void)number;
}

static void interrupted(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, NULL);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            sleep_ms(100);
            kill(parent, SIGUSR1);
        }
    }
    say("by a handler: %s", err(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0)));
    kill(child, SIGKILL);
    reap(child);
}

static pthread_mutex_t *robust;

static void *die_holding(void *argument)
{
    pthread_mutex_lock(robust);
    return argument;
}

static void robust_locks(void)
{
    pthread_mutexattr_t attributes;
    robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(robust, &attributes);
    pthread_t thread;
    pthread_create(&thread, NULL, die_holding, NULL);
    pthread_join(thread, NULL);
    say("after a thread: %s", strerrorname_np(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(robust);
        raise(SIGKILL);
    }
    reap(child);
    say("after a process: %s", strerrorname_np(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    say("consistent again: %d", pthread_mutex_lock(robust));
    void *head = NULL;
    size_t length = 0;
    say("get_robust_list: %s", err(syscall(SYS_get_robust_list, 0, &head, &length)));
    say("length %ld", (long)length);
    say("bad length: %s", err(syscall(SYS_set_robust_list, head, 3)));
}

static void cleared_thread_number(void)
{
    pthread_t thread;
    say("set_tid_address: %d", syscall(SYS_set_tid_address, &word) == syscall(SYS_gettid));
    pthread_create(&thread, NULL, die_holding, (robust = &(pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER, NULL));
    pthread_join(thread, NULL);
    say("joined: 1");
}

CHECK_MAIN(CASE(errors), CASE(timeouts), CASE(wake_some), CASE(bit_sets), CASE(requeue), CASE(wake_operation),
           CASE(between_processes), CASE(interrupted), CASE(robust_locks), CASE(cleared_thread_number))
