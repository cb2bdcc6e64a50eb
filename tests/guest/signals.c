/* Signals: handlers, masks, flags, alternate stacks, restart, queues, faults, floating point state. */
#include "check.h"
#include <sys/time.h>
#include <pthread.h>
#include <sys/prctl.h>

static volatile int hits, last_signal, last_code, last_value, last_on_stack;
static volatile pid_t last_sender;

static void count(int number)
{
    last_signal = number;
    hits++;
}

static void inform(int number, siginfo_t *info, void *context)
{
    (void)context;
    last_signal = number;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
    last_sender = info->si_pid;
    hits++;
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
    MUST(sigaction(number, &action, NULL));
}

static void handle_info(int number, int flags)
{
    struct sigaction action = { .sa_sigaction = inform, .sa_flags = SA_SIGINFO | flags };
    MUST(sigaction(number, &action, NULL));
}

static sigset_t set_of(int number)
{
    sigset_t set;
    sigemptyset(&set);
    if (number)
        sigaddset(&set, number);
    return set;
}

static void mask(int how, int number)
{
    sigset_t set = set_of(number);
    MUST(sigprocmask(how, &set, NULL));
}

static void handlers_run(void)
{
    handle(SIGUSR1, count, 0);
    raise(SIGUSR1);
    say("hits %d, last %d", hits, last_signal);
    kill(getpid(), SIGUSR1);
    say("hits %d", hits);
    struct sigaction old;
    MUST(sigaction(SIGUSR1, NULL, &old));
    say("still set: %d", old.sa_handler == count);
    handle(SIGUSR2, count, SA_RESETHAND);
    raise(SIGUSR2);
    MUST(sigaction(SIGUSR2, NULL, &old));
    say("reset: %d", old.sa_handler == SIG_DFL);
}

static void errors(void)
{
    struct sigaction action = { .sa_handler = count }, old;
    say("SIGKILL: %s", err(sigaction(SIGKILL, &action, NULL)));
    say("SIGSTOP: %s", err(sigaction(SIGSTOP, &action, NULL)));
    say("read SIGKILL: %s", err(sigaction(SIGKILL, NULL, &old)));
    say("zero: %s", err(sigaction(0, &action, NULL)));
    say("65: %s", err(sigaction(65, &action, NULL)));
    say("kill 65: %s", err(kill(getpid(), 65)));
    say("kill -1: %s", err(kill(getpid(), -1)));
    say("kill nobody: %s", err(kill(999999, SIGTERM)));
    say("probe: %s", err(kill(getpid(), 0)));
    say("tgkill: %s", err(syscall(SYS_tgkill, getpid(), getpid(), 0)));
    say("tgkill of another group: %s", err(syscall(SYS_tgkill, getppid(), getpid(), 0)));
    say("tgkill zero: %s", err(syscall(SYS_tgkill, 0, getpid(), 0)));
    say("bad how: %s", err(sigprocmask(17, &(sigset_t){ 0 }, NULL)));
    say("bad set size: %s", err(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &old, NULL, 4)));
    say("bad action size: %s", err(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &old, 16)));
}

static void masks(void)
{
    handle(SIGUSR1, count, 0);
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    say("blocked: %d", hits);
    sigset_t pending;
    MUST(sigpending(&pending));
    say("pending: %d %d", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    mask(SIG_UNBLOCK, SIGUSR1);
    say("delivered once: %d", hits);
    sigset_t all, now;
    sigfillset(&all);
    MUST(sigprocmask(SIG_SETMASK, &all, NULL));
    MUST(sigprocmask(SIG_SETMASK, NULL, &now));
    say("never blocked: %d %d, others: %d", sigismember(&now, SIGKILL), sigismember(&now, SIGSTOP),
        sigismember(&now, SIGTERM));
    pid_t child = fork();
    if (child == 0) {
        MUST(sigprocmask(SIG_SETMASK, NULL, &now));
        say("inherited: %d", sigismember(&now, SIGTERM));
        MUST(sigpending(&pending));
        say("pending is not: %d", sigismember(&pending, SIGUSR1));
        _exit(0);
    }
    raise(SIGUSR1);
    say("child: %s", reap(child));
    handle(SIGUSR1, SIG_IGN, 0);
    MUST(sigpending(&pending));
    say("ignoring discards: %d", sigismember(&pending, SIGUSR1));
}

static volatile int depth, deepest, blocked_inside, other_blocked_inside;

static void nest(int number)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    blocked_inside = sigismember(&now, number);
    other_blocked_inside = sigismember(&now, SIGUSR2);
    depth++;
    if (depth > deepest)
        deepest = depth;
    if (hits++ < 3)
        raise(number);
    depth--;
}

static void nesting(void)
{
    handle(SIGUSR1, nest, 0);
    raise(SIGUSR1);
    say("plain: hits %d deepest %d blocked %d", hits, deepest, blocked_inside);
    hits = deepest = 0;
    handle(SIGUSR1, nest, SA_NODEFER);
    raise(SIGUSR1);
    say("SA_NODEFER: hits %d deepest %d blocked %d", hits, deepest, blocked_inside);
    hits = 10;
    struct sigaction action = { .sa_handler = nest, .sa_mask = set_of(SIGUSR2) };
    MUST(sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
    say("sa_mask: %d", other_blocked_inside);
    sigset_t now;
    MUST(sigprocmask(SIG_SETMASK, NULL, &now));
    say("restored: %d %d", sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2));
}

static void details(void)
{
    handle_info(SIGUSR1, 0);
    kill(getpid(), SIGUSR1);
    say("kill: code %d, from self %d", last_code, last_sender == getpid());
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
    say("tgkill: code %d, from self %d", last_code, last_sender == getpid());
    union sigval value = { .sival_int = 4711 };
    MUST(sigqueue(getpid(), SIGUSR1, value));
    say("sigqueue: code %d, value %d", last_code, last_value);
    siginfo_t info = { .si_signo = SIGUSR1, .si_code = -60 };
    info.si_value.sival_int = 5;
    say("own code: %s", err(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info)));
    say("seen: code %d value %d", last_code, last_value);
    info.si_code = SI_KERNEL;
    say("kernel's code to the parent: %s", err(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info)));
    handle_info(SIGCHLD, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(5);
    reap(child);
    say("SIGCHLD: code %d, from the child %d", last_code, last_sender == child);
    handle_info(SIGALRM, 0);
    alarm(0);
    struct itimerspec soon = { .it_value = { 0, 1000000 } };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    event.sigev_value.sival_int = 99;
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    int before = hits;
    MUST(timer_settime(timer, 0, &soon, NULL));
    while (hits == before)
        sleep_ms(1);
    say("timer: code %d, value %d", last_code, last_value);
}

static int order[64], order_length;

static void note(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (order_length < 64)
        order[order_length++] = number * 100 + info->si_value.sival_int;
}

static void real_time_queue(void)
{
    struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
    sigfillset(&action.sa_mask);
    int first = SIGRTMIN, second = SIGRTMIN + 3;
    MUST(sigaction(first, &action, NULL));
    MUST(sigaction(second, &action, NULL));
    MUST(sigaction(SIGUSR1, &action, NULL));
    sigset_t all;
    sigfillset(&all);
    MUST(sigprocmask(SIG_SETMASK, &all, NULL));
    for (int i = 0; i < 3; i++) {
        MUST(sigqueue(getpid(), second, (union sigval){ .sival_int = i }));
        MUST(sigqueue(getpid(), first, (union sigval){ .sival_int = i }));
        MUST(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = i }));
    }
    sigset_t none = set_of(0);
    MUST(sigprocmask(SIG_SETMASK, &none, NULL));
    /* Each handler blocks the others, so they run one after the other, the lowest number first. */
    for (int i = 0; i < order_length; i++)
        say("%d: %d value %d", i, order[i] / 100 - (order[i] / 100 >= first ? first - 1000 : 0), order[i] % 100);
}

static void wait_for_signals(void)
{
    sigset_t set = set_of(SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    siginfo_t info;
    struct timespec none = { 0, 0 };
    say("nothing there: %s", err(sigtimedwait(&set, &info, &none)));
    MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 1 }));
    MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 2 }));
    raise(SIGUSR1);
    say("first: %d", sigwaitinfo(&set, &info) == SIGUSR1);
    for (int i = 0; i < 2; i++) {
        MUST(sigwaitinfo(&set, &info));
        say("then: value %d code %d", info.si_value.sival_int, info.si_code);
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(20);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    say("blocking: %d", sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == child);
    reap(child);
    struct timespec bad = { 0, -1 };
    say("bad time: %s", err(sigtimedwait(&set, &info, &bad)));
    handle(SIGUSR2, count, 0);
    child = fork();
    if (child == 0) {
        sleep_ms(100);
        kill(parent, SIGUSR2);
        _exit(0);
    }
    say("interrupted: %s", err(sigwaitinfo(&set, &info)));
    reap(child);
}

static void suspend(void)
{
    handle(SIGUSR1, count, 0);
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    sigset_t none = set_of(0), now;
    say("sigsuspend: %s", err(sigsuspend(&none)));
    say("hits: %d", hits);
    MUST(sigprocmask(SIG_SETMASK, NULL, &now));
    say("mask is back: %d", sigismember(&now, SIGUSR1));
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(20);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    say("waiting: %s", err(sigsuspend(&none)));
    reap(child);
    child = fork();
    if (child == 0) {
        for (;;) {
            sleep_ms(100);
            kill(parent, SIGUSR1);
        }
    }
    mask(SIG_UNBLOCK, SIGUSR1);
    say("pause: %s", err(pause()));
    kill(child, SIGKILL);
    reap(child);
}

/* Reads from an empty pipe; a child first sends a signal, then writes a byte. */
static void interrupted_read(const char *what, int number, int flags)
{
    int pipes[2];
    MUST(pipe(pipes));
    handle(number, count, flags);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(100);
        kill(parent, number);
        sleep_ms(50);
        MUST(write(pipes[1], "x", 1));
        _exit(0);
    }
    char byte;
    int before = hits;
    ssize_t got = read(pipes[0], &byte, 1);
    say("%s: %s, hits %d", what, got < 0 ? err(-1) : "a byte", hits - before);
    reap(child);
    close(pipes[0]);
    close(pipes[1]);
}

static void restart(void)
{
    interrupted_read("without SA_RESTART", SIGUSR1, 0);
    interrupted_read("with SA_RESTART", SIGUSR1, SA_RESTART);
    handle(SIGUSR1, SIG_IGN, 0);
    interrupted_read("SIGWINCH, handled", SIGWINCH, 0);
    signal(SIGUSR2, SIG_IGN);
    int pipes[2];
    MUST(pipe(pipes));
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(20);
        kill(parent, SIGUSR2);
        kill(parent, SIGURG);
        sleep_ms(20);
        MUST(write(pipes[1], "x", 1));
        _exit(0);
    }
    char byte;
    say("ignored signals do not interrupt: %ld", (long)read(pipes[0], &byte, 1));
    reap(child);
    child = fork();
    if (child == 0) {
        MUST(read(pipes[0], &byte, 1));
        _exit(byte == 'y' ? 0 : 1);
    }
    sleep_ms(20);
    kill(child, SIGSTOP);
    int status;
    MUST(waitpid(child, &status, WUNTRACED));
    kill(child, SIGCONT);
    sleep_ms(20);
    MUST(write(pipes[1], "y", 1));
    say("stop and continue do not interrupt a read: %s", reap(child));
}

static void interrupted_sleep(void)
{
    handle(SIGUSR1, count, SA_RESTART);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(100);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    struct timespec time = { 5, 0 }, left = { 0, 0 };
    say("nanosleep: %s", err(nanosleep(&time, &left)));
    say("remaining: %d", left.tv_sec == 4);
    reap(child);
    child = fork();
    if (child == 0) {
        struct timespec rest = { 0, 150000000 };
        long start = now_ms();
        int result = nanosleep(&rest, &left);
        _exit(result == 0 && now_ms() - start >= 145 ? 0 : 1);
    }
    sleep_ms(30);
    kill(child, SIGSTOP);
    sleep_ms(20);
    kill(child, SIGCONT);
    say("a stop does not end it: %s", reap(child));
}

static void note_stack(int number)
{
    char here;
    stack_t now;
    (void)number;
    sigaltstack(NULL, &now);
    last_on_stack = (char *)now.ss_sp <= &here && &here < (char *)now.ss_sp + now.ss_size;
    last_code = now.ss_flags;
    hits++;
    if (hits == 1)
        say("change inside: %s", err(sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL)));
}

static void alternate_stack(void)
{
    static char stack[65536];
    stack_t old, other = { .ss_sp = stack, .ss_size = sizeof(stack) };
    MUST(sigaltstack(NULL, &old));
    say("at first: flags %d", old.ss_flags);
    say("set: %s", err(sigaltstack(&other, NULL)));
    handle(SIGUSR1, note_stack, SA_ONSTACK);
    raise(SIGUSR1);
    say("with SA_ONSTACK: on it %d, flags %d", last_on_stack, last_code);
    handle(SIGUSR1, note_stack, 0);
    raise(SIGUSR1);
    say("without: on it %d, flags %d", last_on_stack, last_code);
    other.ss_size = 100;
    say("too small: %s", err(sigaltstack(&other, NULL)));
    other.ss_flags = 77;
    say("bad flags: %s", err(sigaltstack(&other, NULL)));
    MUST(sigaltstack(NULL, &old));
    say("kept: %d", old.ss_sp == stack && old.ss_size == sizeof(stack));
    pid_t child = fork();
    if (child == 0) {
        MUST(sigaltstack(NULL, &old));
        say("inherited: %d", old.ss_sp == stack);
        _exit(0);
    }
    reap(child);
    other = (stack_t){ .ss_flags = SS_DISABLE };
    say("disable: %s", err(sigaltstack(&other, &old)));
    MUST(sigaltstack(NULL, &old));
    say("flags %d", old.ss_flags);
}

static void default_actions(void)
{
    int numbers[] = { SIGHUP,  SIGINT,  SIGQUIT,   SIGILL,   SIGTRAP, SIGABRT,   SIGBUS,  SIGFPE,  SIGUSR1,
                      SIGSEGV, SIGUSR2, SIGPIPE,   SIGALRM,  SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGURG,
                      SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF,  SIGWINCH, SIGIO,    SIGPWR,  SIGSYS,  34,
                      64 };
    for (size_t i = 0; i < COUNT(numbers); i++) {
        pid_t child = fork();
        if (child == 0) {
            kill(getpid(), numbers[i]);
            _exit(0);
        }
        say("%d: %s", numbers[i], reap(child));
    }
    int stops[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
    for (size_t i = 0; i < COUNT(stops); i++) {
        pid_t child = fork();
        if (child == 0) {
            MUST(setpgid(0, 0)); /* a group that is not orphaned, or it would not stop */
            kill(getpid(), stops[i]);
            _exit(0);
        }
        int status;
        MUST(waitpid(child, &status, WUNTRACED));
        say("%d: %s", stops[i], status_text(status));
        kill(child, SIGCONT);
        say("and then: %s", reap(child));
    }
}

static void broken_pipe(void)
{
    int pipes[2];
    MUST(pipe(pipes));
    close(pipes[0]);
    pid_t child = fork();
    if (child == 0) {
        ssize_t done = write(pipes[1], "x", 1);
        _exit(done == 1 ? 0 : 1);
    }
    say("default: %s", reap(child));
    handle_info(SIGPIPE, 0);
    say("handled: %s", err(write(pipes[1], "x", 1)));
    say("hits %d code %d", hits, last_code);
    handle(SIGPIPE, SIG_IGN, 0);
    say("ignored: %s", err(write(pipes[1], "x", 1)));
}

static void groups_and_stops(void)
{
    MUST(setpgid(0, 0));
    handle(SIGUSR1, count, 0);
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            signal(SIGUSR1, SIG_DFL);
            for (;;)
                pause();
        }
    }
    sleep_ms(50);
    say("kill(0): %s", err(kill(0, SIGUSR1)));
    for (int i = 0; i < 3; i++)
        say("child: %s", reap(children[i]));
    say("self too: %d", hits);
}

static void kept_over_exec(void)
{
    sigset_t now, pending;
    struct sigaction old;
    MUST(sigprocmask(SIG_SETMASK, NULL, &now));
    MUST(sigpending(&pending));
    say("mask %d, pending %d", sigismember(&now, SIGUSR1), sigismember(&pending, SIGUSR1));
    MUST(sigaction(SIGUSR2, NULL, &old));
    say("ignored stays ignored: %d", old.sa_handler == SIG_IGN);
    MUST(sigaction(SIGTERM, NULL, &old));
    say("a handler becomes the default: %d", old.sa_handler == SIG_DFL);
}

static void over_exec(void)
{
    pid_t child = fork();
    if (child == 0) {
        mask(SIG_BLOCK, SIGUSR1);
        handle(SIGUSR2, SIG_IGN, 0);
        handle(SIGTERM, count, 0);
        raise(SIGUSR1);
        execl(check_arguments[0], check_arguments[0], "kept_over_exec", NULL);
        _exit(127);
    }
    say("child: %s", reap(child));
}

static void *block_and_wait(void *argument)
{
    sigset_t set = set_of(SIGUSR1);
    (void)argument;
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 100 && hits < 20; i++)
        sleep_ms(10);
    return NULL;
}

static void delivered_to_a_willing_thread(void)
{
    pthread_t thread;
    handle(SIGUSR1, count, 0);
    pthread_create(&thread, NULL, block_and_wait, NULL);
    for (int i = 0; i < 20; i++) {
        int before = hits;
        kill(getpid(), SIGUSR1);
        while (hits == before)
            sleep_ms(1);
    }
    pthread_join(thread, NULL);
    say("hits: %d", hits);
}

static void busy_loops_are_interrupted(void)
{
    handle(SIGALRM, count, 0);
    struct itimerspec soon = { .it_value = { 0, 20000000 } };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    MUST(timer_settime(timer, 0, &soon, NULL));
    while (hits == 0) {
    }
    say("hits: %d", hits);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
        }
    }
    sleep_ms(20);
    kill(child, SIGKILL);
    say("child: %s", reap(child));
}

/* Two signals at once, again and again, one of them at any instruction: everything is as before afterwards. */
static void storm(void)
{
    handle(SIGALRM, count, 0);
    handle(SIGUSR1, count, 0);
    long wrong = 0, self = getpid();
    unsigned seed = 1;
    for (int i = 0; i < 3000; i++) {
        struct itimerval soon = { .it_value = { 0, 1 + rand_r(&seed) % 10 } };
        MUST(setitimer(ITIMER_REAL, &soon, NULL));
        register long r12 __asm__("r12") = i, r13 __asm__("r13") = -i, r14 __asm__("r14") = ~i;
        double number = i * 1.5;
        long result;
        __asm__ volatile("syscall"
                         : "=a"(result), "+r"(r12), "+r"(r13), "+r"(r14), "+x"(number)
                         : "a"(SYS_kill), "D"(self), "S"(SIGUSR1)
                         : "rcx", "r11", "memory");
        wrong += result != 0 || r12 != i || r13 != -i || r14 != ~i || number != i * 1.5;
        __asm__ volatile("syscall"
                         : "=a"(result), "+r"(r12), "+r"(r13), "+r"(r14), "+x"(number)
                         : "a"(SYS_getpid)
                         : "rcx", "r11", "memory");
        wrong += result != self || r12 != i || r13 != -i || r14 != ~i || number != i * 1.5;
    }
    sleep_ms(2);
    say("wrong: %ld, hits: %d", wrong, hits >= 3000);
}

CHECK_MAIN(CASE(handlers_run), CASE(errors), CASE(masks), CASE(nesting), CASE(details), CASE(real_time_queue),
           CASE(wait_for_signals), CASE(suspend), CASE(restart), CASE(interrupted_sleep), CASE(alternate_stack),
           CASE(default_actions), CASE(broken_pipe), CASE(groups_and_stops), CASE(kept_over_exec), CASE(over_exec),
           CASE(delivered_to_a_willing_thread), CASE(busy_loops_are_interrupted), CASE(storm))
