/* Clocks, sleeping, timers, and the vDSO. */
#include "check.h"
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/times.h>

static long long nanoseconds(struct timespec time)
{
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void clocks_advance(void)
{
    clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI,
                           CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID,
                           CLOCK_THREAD_CPUTIME_ID };
    for (size_t i = 0; i < COUNT(clocks); i++) {
        struct timespec a, b, raw;
        int backwards = 0;
        MUST(clock_gettime(clocks[i], &a));
        for (int j = 0; j < 500; j++) {
            MUST(clock_gettime(clocks[i], &b));
            MUST(syscall(SYS_clock_gettime, clocks[i], &raw));
            backwards += nanoseconds(b) < nanoseconds(a);
            if (i != 5 && i != 6)
                backwards += nanoseconds(raw) < nanoseconds(b);
            a = b;
        }
        say("clock %d: backwards %d, near the raw call %d", clocks[i], backwards,
            llabs(nanoseconds(raw) - nanoseconds(b)) < 1000000000LL);
    }
    struct timespec time;
    say("unknown clock: %s", err(clock_gettime(55, &time)));
    say("negative clock: %s", err(syscall(SYS_clock_gettime, -1, &time)));
    say("bad pointer: %s", err(syscall(SYS_clock_gettime, 1, 8)));
    say("resolution: %s", err(clock_getres(CLOCK_MONOTONIC, &time)));
    say("%ld %ld", (long)time.tv_sec, time.tv_nsec);
    say("resolution without a pointer: %s", err(clock_getres(CLOCK_MONOTONIC, NULL)));
    say("set the monotonic clock: %s", err(clock_settime(CLOCK_MONOTONIC, &time)));
}

static void clocks_agree(void)
{
    struct timeval micro;
    struct timespec real;
    time_t seconds = time(NULL);
    MUST(gettimeofday(&micro, NULL));
    MUST(clock_gettime(CLOCK_REALTIME, &real));
    say("time and gettimeofday: %d", micro.tv_sec - seconds <= 1);
    say("gettimeofday and clock: %d", real.tv_sec - micro.tv_sec <= 1);
    say("raw time: %d", syscall(SYS_time, &seconds) - real.tv_sec <= 1);
    say("after 2020: %d", real.tv_sec > 1577836800);
    struct tms used;
    say("times: %d", times(&used) != (clock_t)-1);
    int cpu = sched_getcpu();
    say("cpu: %d", cpu >= 0 && cpu < 4096);
    struct timezone zone = { 1, 1 };
    MUST(syscall(SYS_gettimeofday, &micro, &zone));
    say("zone: %d", zone.tz_dsttime);
}

static void sleeping(void)
{
    long start = now_ms();
    struct timespec time = { 0, 30000000 }, left;
    say("nanosleep: %s", err(nanosleep(&time, &left)));
    say("not early: %d", now_ms() - start >= 29);
    time.tv_nsec = 1000000000;
    say("bad nanoseconds: %s", err(nanosleep(&time, NULL)));
    time.tv_nsec = -1;
    say("negative nanoseconds: %s", err(nanosleep(&time, NULL)));
    time = (struct timespec){ -1, 0 };
    say("negative seconds: %s", err(nanosleep(&time, NULL)));
    say("bad pointer: %s", err(syscall(SYS_nanosleep, 8, NULL)));
    MUST(clock_gettime(CLOCK_MONOTONIC, &time));
    time.tv_nsec += 30000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    start = now_ms();
    say("until: %d", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));
    say("not early: %d", now_ms() - start >= 28);
    say("in the past: %d", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &(struct timespec){ 1, 0 }, NULL));
    say("thread clock: %d", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){ 1, 0 }, NULL));
    say("unknown clock: %d", clock_nanosleep(77, 0, &(struct timespec){ 0, 0 }, NULL));
}

static volatile int ticks;

static void on_tick(int number)
{
    (void)number;
    ticks++;
}

static void interval_timers(void)
{
    signal(SIGALRM, on_tick);
    alarm(0);
    struct itimerval time = { { 0, 10000 }, { 0, 10000 } }, old;
    MUST(setitimer(ITIMER_REAL, &time, NULL));
    while (ticks < 5)
        sleep_ms(1);
    MUST(getitimer(ITIMER_REAL, &old));
    say("interval: %ld", (long)old.it_interval.tv_usec);
    memset(&time, 0, sizeof(time));
    MUST(setitimer(ITIMER_REAL, &time, &old));
    int before = ticks;
    sleep_ms(30);
    say("disarmed: %d", ticks - before <= 1);
    say("bad timer: %s", err(setitimer(9, &time, NULL)));
    time.it_value.tv_usec = 1000000;
    say("bad time: %s", err(setitimer(ITIMER_REAL, &time, NULL)));
    say("alarm: %u", alarm(100));
    say("the rest of it: %u", alarm(0));
    say("then none: %u", alarm(0));
    signal(SIGVTALRM, on_tick);
    signal(SIGPROF, on_tick);
    time = (struct itimerval){ { 0, 0 }, { 0, 5000 } };
    ticks = 0;
    MUST(setitimer(ITIMER_VIRTUAL, &time, NULL));
    while (ticks == 0) {
    }
    say("virtual: %d", ticks);
    ticks = 0;
    MUST(setitimer(ITIMER_PROF, &time, NULL));
    while (ticks == 0) {
    }
    say("profile: %d", ticks);
}

static void posix_timers(void)
{
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    signal(SIGUSR1, on_tick);
    say("create: %s", err(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    struct itimerspec time = { { 0, 5000000 }, { 0, 5000000 } };
    say("set: %s", err(timer_settime(timer, 0, &time, NULL)));
    while (ticks < 3)
        sleep_ms(1);
    say("overrun: %d", timer_getoverrun(timer) >= 0);
    say("get: %s", err(timer_gettime(timer, &time)));
    say("interval: %ld", time.it_interval.tv_nsec);
    say("delete: %s", err(timer_delete(timer)));
    say("bad clock: %s", err(timer_create(77, &event, &timer)));
    event.sigev_signo = 100;
    say("bad signal: %s", err(timer_create(CLOCK_MONOTONIC, &event, &timer)));
}

/* Looks a function up in the dynamic symbols of the vDSO. */
static void *vdso_function(const char *wanted)
{
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!base)
        return NULL;
    const Elf64_Ehdr *header = (const void *)base;
    const Elf64_Phdr *segments = (const void *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    long shift = 0;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD && !shift)
            shift = (long)base - (long)segments[i].p_vaddr + (long)segments[i].p_offset;
        if (segments[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(base + segments[i].p_offset);
    }
    const Elf64_Sym *symbols = NULL;
    const char *names = NULL;
    const uint32_t *hash = NULL, *gnu = NULL;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        const void *at = (const void *)(shift + (long)dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = at;
        else if (dynamic->d_tag == DT_STRTAB)
            names = at;
        else if (dynamic->d_tag == DT_HASH)
            hash = at;
        else if (dynamic->d_tag == DT_GNU_HASH)
            gnu = at;
    }
    if (!symbols || !names || (!hash && !gnu))
        return NULL;
    uint32_t count = hash ? hash[1] : 64;
    for (uint32_t i = 1; i < count; i++)
        if (symbols[i].st_shndx != SHN_UNDEF && strcmp(names + symbols[i].st_name, wanted) == 0)
            return (void *)(shift + (long)symbols[i].st_value);
    return NULL;
}

static void vdso(void)
{
    say("there: %d", getauxval(AT_SYSINFO_EHDR) != 0);
    int (*clock)(clockid_t, struct timespec *) = vdso_function("__vdso_clock_gettime");
    int (*day)(struct timeval *, void *) = vdso_function("__vdso_gettimeofday");
    time_t (*seconds)(time_t *) = vdso_function("__vdso_time");
    int (*cpu)(unsigned *, unsigned *, void *) = vdso_function("__vdso_getcpu");
    say("functions: %d %d %d %d", clock != NULL, day != NULL, seconds != NULL, cpu != NULL);
    if (!clock || !day || !seconds || !cpu)
        return;
    struct timespec time, raw;
    struct timeval micro;
    say("clock_gettime: %d", clock(CLOCK_MONOTONIC, &time));
    MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &raw));
    long long apart = nanoseconds(raw) - nanoseconds(time);
    say("near the call and not after it: %d", apart >= 0 && apart < 1000000000);
    say("unknown clock: %d", clock(55, &time));
    say("gettimeofday: %d", day(&micro, NULL));
    MUST(syscall(SYS_clock_gettime, CLOCK_REALTIME, &raw));
    say("near: %d", raw.tv_sec - micro.tv_sec <= 1);
    say("time: %d", raw.tv_sec - seconds(NULL) <= 1);
    unsigned number = 9999;
    say("getcpu: %d, %d", cpu(&number, NULL, NULL), number < 4096);
    int backwards = 0;
    long long last = 0;
    for (int i = 0; i < 100000; i++) {
        clock(CLOCK_MONOTONIC, &time);
        backwards += nanoseconds(time) < last;
        last = nanoseconds(time);
    }
    say("backwards: %d", backwards);
}

static void auxiliary_vector(void)
{
    say("page size: %ld", (long)getauxval(AT_PAGESZ));
    say("clock ticks: %ld", (long)getauxval(AT_CLKTCK));
    say("secure: %ld", (long)getauxval(AT_SECURE));
    say("ids: %ld %ld %ld %ld", (long)getauxval(AT_UID), (long)getauxval(AT_EUID), (long)getauxval(AT_GID),
        (long)getauxval(AT_EGID));
    say("program header size: %ld", (long)getauxval(AT_PHENT));
    say("base of a static program: %ld", (long)getauxval(AT_BASE));
    say("platform: %s", (const char *)getauxval(AT_PLATFORM));
    say("random bytes: %d", getauxval(AT_RANDOM) != 0);
    say("file name is the argument: %d", strcmp((const char *)getauxval(AT_EXECFN), check_arguments[0]) == 0);
    say("entry: %d", getauxval(AT_ENTRY) != 0);
    say("minimal signal stack: %d", getauxval(AT_MINSIGSTKSZ) >= 2048);
}

CHECK_MAIN(CASE(clocks_advance), CASE(clocks_agree), CASE(sleeping), CASE(interval_timers), CASE(posix_timers),
           CASE(vdso), CASE(auxiliary_vector))
