/* Priority-inheritance futexes and the newer calls: ownership, its hand-over, requeueing to it, dead owners, futex_waitv. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
enum { wake_call = 454, wait_call = 455, requeue_call = 456, small_u32 = 2, private_flag = 128 };
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static atomic_uint *word, *other, *step;

static long futex(void *address, int operation, long value, const void *timeout, void *address2, int value3)
{
    return syscall(SYS_futex, address, operation, value, timeout, address2, value3);
}

static void set_up(void)
{
    word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    other = word + 16;
    step = word + 32;
}

/* The word without the number, which is not the same on each system. */
static const char *bits(unsigned value, unsigned tid)
{
    static char text[64];
    unsigned number = value & FUTEX_TID_MASK;
    snprintf(text, sizeof(text), "%s%s%s", number == 0 ? "nobody" : number == tid ? "me" : "other",
             value & FUTEX_WAITERS ? " waiters" : "", value & FUTEX_OWNER_DIED ? " died" : "");
    return text;
}

static const char *mine(atomic_uint *address)
{
    return bits(atomic_load(address), (unsigned)gettid());
}

static void wait_for_step(unsigned value)
{
    while (atomic_load(step) != value)
        sched_yield();
    sleep_ms(60);
}

static void alone(void)
{
    set_up();
    struct timespec past = { 1, 0 };
    say("lock: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("word: %s", mine(word));
    say("again: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("try: %s", err(futex(word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
    say("unlock: %s", err(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
    say("word: %s", mine(word));
    say("unlock again: %s", err(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
    say("lock 2: %s", err(futex(word, FUTEX_LOCK_PI2, 0, &past, NULL, 0)));
    atomic_store(word, 0x3ffffff0);
    say("nobody's number: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("word: %s", mine(word));
    say("tried: %s", err(futex(word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
    atomic_store(word, FUTEX_OWNER_DIED);
    say("left: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("word: %s", mine(word));
    atomic_store(word, 0);
    say("odd address: %s", err(futex((char *)word + 2, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("bad address: %s", err(futex((void *)64, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("bad unlock: %s", err(futex((void *)64, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
    struct timespec bad = { 0, -1 };
    say("bad time: %s", err(futex(word, FUTEX_LOCK_PI, 0, &bad, NULL, 0)));
    say("clock flag: %s", err(futex(word, FUTEX_TRYLOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)));
}

static void between_processes(void)
{
    set_up();
    MUST(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        struct timespec past = { 1, 0 };
        say("taken: %s", err(futex(word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
        say("word: %s", bits(atomic_load(word), (unsigned)parent));
        say("past: %s", err(futex(word, FUTEX_LOCK_PI, 0, &past, NULL, 0)));
        say("not mine: %s", err(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
        atomic_store(step, 1);
        say("got it: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
        say("word: %s", mine(word));
        say("unlock: %s", err(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
        _exit(0);
    }
    wait_for_step(1);
    say("word: %s", mine(word));
    say("plain wake: %s", err(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0)));
    say("plain requeue: %s", err(futex(word, FUTEX_REQUEUE, 0, (void *)1, other, 0)));
    /* The child speaks as soon as it owns it. */
    long result = futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
    say("child: %s", reap(child));
    say("unlock: %s", err(result));
    say("word: %s", mine(word));
}

/* The owner dies without a robust list. */
static void death(void)
{
    set_up();
    pid_t child = fork();
    if (child == 0) {
        MUST(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
        atomic_store(step, 1);
        sleep_ms(300);
        raise(SIGKILL);
    }
    wait_for_step(1);
    say("inherited: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    say("word: %s", mine(word));
    say("unlock: %s", err(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
    reap(child);
    child = fork();
    if (child == 0) {
        MUST(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
        _exit(0);
    }
    reap(child);
    say("nobody waited: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
}

static void *second_of_two(void *argument)
{
    MUST(futex(other, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    atomic_store(step, 1);
    say("second: %s", err(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    MUST(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    MUST(futex(other, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return argument;
}

static void circle(void)
{
    set_up();
    MUST(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    pthread_t thread;
    pthread_create(&thread, NULL, second_of_two, NULL);
    wait_for_step(1);
    say("circle: %s", err(futex(other, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    MUST(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    pthread_join(thread, NULL);
    say("words: %s", mine(word));
    say("words: %s", mine(other));
}

static void *wait_requeue(void *argument)
{
    atomic_fetch_add(step, 1);
    long result = futex(word, FUTEX_WAIT_REQUEUE_PI, 0, NULL, other, 0);
    if (result < 0) {
        say("waiter: %s", err(result));
        return argument;
    }
    if ((atomic_load(other) & FUTEX_TID_MASK) != (unsigned)gettid())
        say("waiter does not own it");
    atomic_fetch_add(step, 1);
    MUST(futex(other, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return argument;
}

static void requeue(void)
{
    set_up();
    pthread_t threads[4];
    struct timespec past = { 1, 0 };
    say("same: %s", err(futex(word, FUTEX_WAIT_REQUEUE_PI, 0, NULL, word, 0)));
    say("value: %s", err(futex(word, FUTEX_WAIT_REQUEUE_PI, 1, NULL, other, 0)));
    say("past: %s", err(futex(word, FUTEX_WAIT_REQUEUE_PI, 0, &past, other, 0)));
    say("nobody: %ld", futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)5, other, 0));
    say("wake 2: %s", err(futex(word, FUTEX_CMP_REQUEUE_PI, 2, (void *)5, other, 0)));
    say("same: %s", err(futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)5, word, 0)));
    say("value: %s", err(futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)5, other, 7)));
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, wait_requeue, NULL);
    wait_for_step(4);
    say("wake: %s", err(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0)));
    say("plain requeue: %s", err(futex(word, FUTEX_CMP_REQUEUE, 0, (void *)1, other, 0)));
    say("elsewhere: %s", err(futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, other + 1, 0)));
    say("one: %ld", futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)0, other, 0));
    wait_for_step(5);
    MUST(futex(other, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    say("two: %ld", futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, other, 0));
    say("word: %s", mine(other));
    say("last: %ld", futex(word, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, other, 0));
    say("steps: %u", atomic_load(step));
    MUST(futex(other, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("steps: %u", atomic_load(step));
    say("word: %s", mine(other));
}

static pthread_mutex_t *mutex;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int count;

static void *add_many(void *argument)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(mutex);
        int old = count;
        if (i % 50 == 0)
            sched_yield();
        count = old + 1;
        pthread_mutex_unlock(mutex);
    }
    pthread_mutex_lock(mutex);
    while (count < 4 * 500)
        pthread_cond_wait(&condition, mutex);
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(mutex);
    return argument;
}

static void make_mutex(int kind, int robust)
{
    pthread_mutexattr_t attributes;
    mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_settype(&attributes, kind);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (robust)
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    say("init: %d", pthread_mutex_init(mutex, &attributes));
}

static void mutexes(void)
{
    pthread_t threads[4];
    make_mutex(PTHREAD_MUTEX_ERRORCHECK, 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, add_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("count: %d", count);
    struct timespec past = { 1, 0 };
    pthread_mutex_lock(mutex);
    say("own: %s", strerrorname_np(pthread_mutex_lock(mutex)));
    pid_t child = fork();
    if (child == 0) {
        say("busy: %s", strerrorname_np(pthread_mutex_trylock(mutex)));
        say("timed: %s", strerrorname_np(pthread_mutex_timedlock(mutex, &past)));
        say("not mine: %s", strerrorname_np(pthread_mutex_unlock(mutex)));
        _exit(0);
    }
    reap(child);
    pthread_mutex_unlock(mutex);
}

static void *die_holding(void *argument)
{
    pthread_mutex_lock(mutex);
    return argument;
}

static void robust_mutexes(void)
{
    make_mutex(PTHREAD_MUTEX_NORMAL, 1);
    pthread_t thread;
    pthread_create(&thread, NULL, die_holding, NULL);
    pthread_join(thread, NULL);
    say("after a thread: %s", strerrorname_np(pthread_mutex_lock(mutex)));
    say("consistent: %d", pthread_mutex_consistent(mutex));
    pthread_mutex_unlock(mutex);
    set_up();
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        atomic_store(step, 1);
        sleep_ms(300);
        raise(SIGKILL);
    }
    wait_for_step(1);
    say("waiting for a process: %s", strerrorname_np(pthread_mutex_lock(mutex)));
    say("consistent: %d", pthread_mutex_consistent(mutex));
    pthread_mutex_unlock(mutex);
    reap(child);
    say("lock: %d", pthread_mutex_lock(mutex));
    pthread_mutex_unlock(mutex);
}

static void wait_many(void)
{
    set_up();
    struct futex_waitv waiters[3];
    memset(waiters, 0, sizeof(waiters));
    for (int i = 0; i < 3; i++)
        waiters[i] = (struct futex_waitv){ .uaddr = (uintptr_t)(word + 40 + i), .flags = small_u32 };
    struct timespec past = { 1, 0 };
    say("past: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, &past, CLOCK_MONOTONIC)));
    say("past: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, &past, CLOCK_REALTIME)));
    say("clock: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, &past, CLOCK_BOOTTIME)));
    say("none: %s", err(syscall(SYS_futex_waitv, waiters, 0, 0, NULL, 0)));
    say("many: %s", err(syscall(SYS_futex_waitv, waiters, 129, 0, NULL, 0)));
    say("flags: %s", err(syscall(SYS_futex_waitv, waiters, 3, 1, NULL, 0)));
    waiters[1].val = 1;
    say("value: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, NULL, 0)));
    waiters[1].val = 0;
    waiters[2].flags = 0;
    say("size: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, NULL, 0)));
    waiters[2].flags = small_u32;
    waiters[2].__reserved = 1;
    say("reserved: %s", err(syscall(SYS_futex_waitv, waiters, 3, 0, NULL, 0)));
    waiters[2].__reserved = 0;
    pid_t child = fork();
    if (child == 0) {
        atomic_store(step, 1);
        _exit((int)syscall(SYS_futex_waitv, waiters, 3, 0, NULL, 0));
    }
    wait_for_step(1);
    say("wake: %ld", futex(word + 41, FUTEX_WAKE, 5, NULL, NULL, 0));
    say("child: %s", reap(child));
}

static void newer_calls(void)
{
    set_up();
    struct timespec past = { 1, 0 };
    say("past: %s", err(syscall(wait_call, word, 0L, 1L, small_u32, &past, CLOCK_MONOTONIC)));
    say("value: %s", err(syscall(wait_call, word, 5L, 1L, small_u32, NULL, CLOCK_MONOTONIC)));
    say("mask: %s", err(syscall(wait_call, word, 0L, 0L, small_u32, NULL, CLOCK_MONOTONIC)));
    say("wide mask: %s", err(syscall(wait_call, word, 0L, 1L << 32, small_u32, NULL, CLOCK_MONOTONIC)));
    say("size: %s", err(syscall(wait_call, word, 0L, 1L, 0, NULL, CLOCK_MONOTONIC)));
    say("flag: %s", err(syscall(wait_call, word, 0L, 1L, small_u32 | 64, NULL, CLOCK_MONOTONIC)));
    say("nobody: %ld", syscall(wake_call, word, 1L, 1, small_u32 | private_flag));
    say("no mask: %s", err(syscall(wake_call, word, 0L, 1, small_u32)));
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            atomic_fetch_add(step, 1);
            _exit(syscall(wait_call, word, 0L, 3L, small_u32, NULL, CLOCK_MONOTONIC) < 0);
        }
    }
    wait_for_step(2);
    say("none: %ld", syscall(wake_call, word, 3L, 0, small_u32));
    say("other mask: %ld", syscall(wake_call, word, 4L, 2, small_u32));
    struct futex_waitv pair[2];
    memset(pair, 0, sizeof(pair));
    pair[0] = (struct futex_waitv){ .uaddr = (uintptr_t)word, .flags = small_u32 };
    pair[1] = (struct futex_waitv){ .uaddr = (uintptr_t)other, .flags = small_u32 };
    pair[0].val = 9;
    say("requeue of another value: %s", err(syscall(requeue_call, pair, 0, 1, 1)));
    pair[0].val = 0;
    say("requeue flags: %s", err(syscall(requeue_call, pair, 1, 1, 1)));
    say("requeue: %ld", syscall(requeue_call, pair, 0, 1, 5));
    say("moved: %ld", syscall(wake_call, other, 1L, 5, small_u32));
    for (int i = 0; i < 2; i++)
        say("child: %s", reap(children[i]));
}

CHECK_MAIN(CASE(alone), CASE(between_processes), CASE(death), CASE(circle), CASE(requeue), CASE(mutexes),
           CASE(robust_mutexes), CASE(wait_many), CASE(newer_calls))
