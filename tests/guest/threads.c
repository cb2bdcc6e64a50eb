/* Threads through the C library: creation, locks, conditions, storage of their own. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static void *add_one(void *argument)
{
    return (void *)((intptr_t)argument + 1);
}

static void create_and_join(void)
{
    pthread_t threads[64];
    long sum = 0;
    for (intptr_t i = 0; i < 64; i++)
        if (pthread_create(&threads[i], NULL, add_one, (void *)i) != 0)
            say("cannot create %ld", (long)i);
    for (int i = 0; i < 64; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (intptr_t)result;
    }
    say("sum: %ld", sum);
}

static void one_after_the_other(void)
{
    long sum = 0;
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        void *result;
        if (pthread_create(&thread, NULL, add_one, NULL) != 0) {
            say("cannot create %d", i);
            return;
        }
        pthread_join(thread, &result);
        sum += (intptr_t)result;
    }
    say("sum: %ld", sum);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *count_locked(void *argument)
{
    (void)argument;
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void mutual_exclusion(void)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, count_locked, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    say("counter: %ld", counter);
}

static atomic_long atomic_counter;

static void *count_atomic(void *argument)
{
    (void)argument;
    for (int i = 0; i < 100000; i++)
        atomic_fetch_add(&atomic_counter, 1);
    return NULL;
}

static void atomics(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count_atomic, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("counter: %ld", atomic_load(&atomic_counter));
}

static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static int queue[4], queue_length;

static void *produce(void *argument)
{
    (void)argument;
    for (int i = 1; i <= 2000; i++) {
        pthread_mutex_lock(&mutex);
        while (queue_length == 4)
            pthread_cond_wait(&emptied, &mutex);
        queue[queue_length++] = i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void conditions(void)
{
    pthread_t producers[2];
    long sum = 0;
    for (int i = 0; i < 2; i++)
        pthread_create(&producers[i], NULL, produce, NULL);
    for (int i = 0; i < 4000; i++) {
        pthread_mutex_lock(&mutex);
        while (queue_length == 0)
            pthread_cond_wait(&filled, &mutex);
        sum += queue[--queue_length];
        pthread_cond_broadcast(&emptied);
        pthread_mutex_unlock(&mutex);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(producers[i], NULL);
    say("sum: %ld", sum);
}

static void timed_condition(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    long before = now_ms();
    pthread_mutex_lock(&mutex);
    int result = pthread_cond_timedwait(&filled, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    say("timed out: %d, not early: %d", result == ETIMEDOUT, now_ms() - before >= 18);
}

static __thread int own = 1;

static void *use_own(void *argument)
{
    for (int i = 0; i < 100; i++) {
        own += (int)(intptr_t)argument;
        sched_yield();
    }
    return (void *)(intptr_t)own;
}

static void thread_storage(void)
{
    pthread_t threads[8];
    long results[8];
    for (intptr_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, use_own, (void *)i);
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        results[i] = (intptr_t)result;
    }
    say("own: %ld %ld %ld, main: %d", results[0], results[1], results[7], own);
}

static pthread_barrier_t barrier;
static atomic_int phases[10];

static void *step_together(void *argument)
{
    long wrong = 0;
    (void)argument;
    for (int i = 0; i < 10; i++) {
        atomic_fetch_add(&phases[i], 1);
        pthread_barrier_wait(&barrier);
        wrong += atomic_load(&phases[i]) != 64;
    }
    return (void *)wrong;
}

static void barriers(void)
{
    pthread_t threads[64];
    long wrong = 0;
    pthread_barrier_init(&barrier, NULL, 64);
    for (int i = 0; i < 64; i++)
        pthread_create(&threads[i], NULL, step_together, NULL);
    for (int i = 0; i < 64; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (intptr_t)result;
    }
    say("out of step: %ld", wrong);
}

static sem_t ping, pong;

static void *answer(void *argument)
{
    (void)argument;
    for (int i = 0; i < 1000; i++) {
        sem_wait(&ping);
        counter++;
        sem_post(&pong);
    }
    return NULL;
}

static void semaphores(void)
{
    pthread_t thread;
    counter = 0;
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    pthread_create(&thread, NULL, answer, NULL);
    for (int i = 0; i < 1000; i++) {
        sem_post(&ping);
        sem_wait(&pong);
    }
    pthread_join(thread, NULL);
    say("turns: %ld", counter);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long pair[2];

static void *read_pair(void *argument)
{
    long torn = 0;
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        pthread_rwlock_rdlock(&rwlock);
        torn += pair[0] != pair[1];
        pthread_rwlock_unlock(&rwlock);
    }
    return (void *)torn;
}

static void readers_and_writer(void)
{
    pthread_t threads[4];
    long torn = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_pair, NULL);
    for (int i = 0; i < 500; i++) {
        pthread_rwlock_wrlock(&rwlock);
        pair[0]++;
        sched_yield();
        pair[1]++;
        pthread_rwlock_unlock(&rwlock);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        torn += (intptr_t)result;
    }
    say("torn: %ld", torn);
}

static void *sleep_long(void *argument)
{
    (void)argument;
    sleep(100);
    return NULL;
}

static void cancellation(void)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, sleep_long, NULL);
    sleep_ms(10);
    say("cancel: %d", pthread_cancel(thread));
    pthread_join(thread, &result);
    say("cancelled: %d", result == PTHREAD_CANCELED);
}

static atomic_int hits;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&hits, 1);
}

static void *wait_for_hits(void *argument)
{
    (void)argument;
    while (atomic_load(&hits) < 50)
        sched_yield();
    return NULL;
}

static void signals_to_threads(void)
{
    pthread_t thread;
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, wait_for_hits, NULL);
    for (int i = 0; i < 50; i++) {
        int before = atomic_load(&hits);
        pthread_kill(thread, SIGUSR1);
        while (atomic_load(&hits) == before)
            sched_yield();
    }
    pthread_join(thread, NULL);
    say("hits: %d", atomic_load(&hits));
}

static void *fork_from_thread(void *argument)
{
    (void)argument;
    pid_t child = fork();
    if (child == 0)
        _exit(getpid() == syscall(SYS_gettid) ? 21 : 22);
    say("child: %s", reap(child));
    return NULL;
}

static void forks_in_threads(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, fork_from_thread, NULL);
    pthread_join(thread, NULL);
    counter = 0;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count_locked, NULL);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        int status;
        waitpid(child, &status, 0);
        if (status != 0)
            say("child %d: %s", i, status_text(status));
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("counter: %ld", counter);
}

static void *map_and_unmap(void *argument)
{
    long wrong = 0;
    for (int i = 0; i < 200; i++) {
        char *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            return (void *)1000L;
        memset(at, (int)(intptr_t)argument, 65536);
        wrong += at[65535] != (char)(intptr_t)argument;
        munmap(at, 65536);
    }
    return (void *)wrong;
}

static void memory_from_many_threads(void)
{
    pthread_t threads[8];
    long wrong = 0;
    for (intptr_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, map_and_unmap, (void *)(i + 1));
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (intptr_t)result;
    }
    say("wrong: %ld", wrong);
}

CHECK_MAIN(CASE(create_and_join), CASE(one_after_the_other), CASE(mutual_exclusion), CASE(atomics), CASE(conditions),
           CASE(timed_condition), CASE(thread_storage), CASE(barriers), CASE(semaphores), CASE(readers_and_writer),
           CASE(cancellation), CASE(signals_to_threads), CASE(forks_in_threads), CASE(memory_from_many_threads))
