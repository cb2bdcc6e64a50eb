/* Sleeps and timers by processor time, timers for one thread, timer slack, the flags of timerfds. */
#include "check.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>

static volatile int stop_burning;

static void *burn(void *argument)
{
    while (!stop_burning) {
    }
    return argument;
}

static void burn_ms(clockid_t clock, long ms)
{
    struct timespec start, now;
    clock_gettime(clock, &start);
    do
        clock_gettime(clock, &now);
    while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static long used_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleeps(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, burn, NULL);
    long before = used_ms(CLOCK_PROCESS_CPUTIME_ID);
    say("relative: %d", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &(struct timespec){ 0, 50000000 }, NULL));
    say("not early: %d", used_ms(CLOCK_PROCESS_CPUTIME_ID) - before >= 50);
    long until = used_ms(CLOCK_PROCESS_CPUTIME_ID) + 60;
    struct timespec time = { until / 1000, until % 1000 * 1000000 };
    say("absolute: %d", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &time, NULL));
    say("not early: %d", used_ms(CLOCK_PROCESS_CPUTIME_ID) >= until);
    say("past: %d", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &(struct timespec){ 0, 1 }, NULL));
    clockid_t clock;
    pthread_getcpuclockid(thread, &clock);
    before = used_ms(clock);
    say("of a thread: %d", clock_nanosleep(clock, 0, &(struct timespec){ 0, 30000000 }, NULL));
    say("not early: %d", used_ms(clock) - before >= 30);
    pthread_getcpuclockid(pthread_self(), &clock);
    say("of oneself: %d", clock_nanosleep(clock, 0, &(struct timespec){ 0, 30000000 }, NULL) == EINVAL);
    say("CLOCK_THREAD_CPUTIME_ID: %s",
        strerrorname_np(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){ 0, 1 }, NULL)));
    stop_burning = 1;
    pthread_join(thread, NULL);
}

static volatile sig_atomic_t count, value, code;
static volatile pid_t taken_by;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    value = info->si_value.sival_int;
    code = info->si_code;
    taken_by = gettid();
    /* Last, since another thread may wait for it. */
    count++;
}

static void catch(int number)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    sigaction(number, &action, NULL);
}

static volatile pid_t other_thread;

static void *wait_here(void *argument)
{
    other_thread = gettid();
    while (!stop_burning)
        sleep_ms(5);
    return argument;
}

static void for_one_thread(void)
{
    catch(SIGUSR1);
    pthread_t thread;
    pthread_create(&thread, NULL, wait_here, NULL);
    while (other_thread == 0)
        sleep_ms(1);
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
    event.sigev_value.sival_int = 42;
    event._sigev_un._tid = other_thread;
    timer_t timer;
    say("create: %s", err(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    struct itimerspec setting = { { 0, 0 }, { 0, 20000000 } };
    say("set: %s", err(timer_settime(timer, 0, &setting, NULL)));
    for (int i = 0; i < 200 && count == 0; i++)
        sleep_ms(5);
    say("told: %d, value %d, code %d, the right one %d", count, value, code, taken_by == other_thread);
    event._sigev_un._tid = 0x3ffffff;
    say("nobody: %s", err(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    event._sigev_un._tid = getppid();
    say("of another process: %s", err(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    stop_burning = 1;
    pthread_join(thread, NULL);
}

static void by_processor_time(void)
{
    catch(SIGUSR2);
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
    static const clockid_t clocks[] = { CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID };
    for (size_t i = 0; i < COUNT(clocks); i++) {
        timer_t timer;
        say("create: %s", err(timer_create(clocks[i], &event, &timer)));
        struct itimerspec setting = { { 0, 20000000 }, { 0, 20000000 } };
        count = 0;
        sleep_ms(100);
        say("nothing used: %d", count);
        say("set: %s", err(timer_settime(timer, 0, &setting, NULL)));
        burn_ms(clocks[i], 110);
        say("told: %d", count >= 1 && count <= 6);
        setting = (struct itimerspec){ 0 };
        say("stop: %s", err(timer_settime(timer, 0, &setting, NULL)));
        count = 0;
        burn_ms(clocks[i], 50);
        say("told no more: %d", count);
        timer_delete(timer);
    }
}

static void *show_slack(void *argument)
{
    say("slack of a thread: %d", prctl(PR_GET_TIMERSLACK));
    return argument;
}

static void slack(void)
{
    say("slack: %d", prctl(PR_GET_TIMERSLACK));
    say("set: %s", err(prctl(PR_SET_TIMERSLACK, 12345UL)));
    say("is: %d", prctl(PR_GET_TIMERSLACK));
    pthread_t thread;
    pthread_create(&thread, NULL, show_slack, NULL);
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_TIMERSLACK, 777UL);
        prctl(PR_SET_TIMERSLACK, 0UL);
        _exit(prctl(PR_GET_TIMERSLACK) == 12345);
    }
    say("the default of a child is its parent's: %s", reap(child));
    say("reset: %s", err(prctl(PR_SET_TIMERSLACK, 0UL)));
    say("is: %d", prctl(PR_GET_TIMERSLACK));
}

static void timerfd_flags(void)
{
    int wall = (int)MUST(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
    int monotonic = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    struct itimerspec setting = { { 0, 0 }, { 1L << 33, 0 } };
    uint64_t expired;
    int both = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    say("wall: %s", err(timerfd_settime(wall, both, &setting, NULL)));
    say("read: %s", err(read(wall, &expired, sizeof(expired))));
    say("monotonic: %s", err(timerfd_settime(monotonic, both, &setting, NULL)));
    say("relative: %s", err(timerfd_settime(wall, TFD_TIMER_CANCEL_ON_SET, &setting, NULL)));
    say("unknown: %s", err(timerfd_settime(wall, 4, &setting, NULL)));
    say("processor time: %s", err(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0)));
}

CHECK_MAIN(CASE(sleeps), CASE(for_one_thread), CASE(by_processor_time), CASE(slack), CASE(timerfd_flags))
