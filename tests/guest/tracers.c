/* Tracing: who traces whom, what is told of, and what tracers wait for. */
#include "tracee.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

static void nothing(void)
{
}

static void executes(void)
{
    char *arguments[] = { "/bin/true", NULL };
    execv(arguments[0], arguments);
}

static void raise_usr1(void)
{
    raise(SIGUSR1);
    raise(SIGUSR2);
    union sigval value = { .sival_int = 5 };
    sigqueue(getpid(), SIGRTMIN, value);
}

static void errors(void)
{
    say("no tracee: %s", err(trace(PTRACE_CONT, getppid(), 0, 0)));
    say("no process: %s", err(trace(PTRACE_ATTACH, 99999999, 0, 0)));
    say("itself: %s", err(trace(PTRACE_ATTACH, getpid(), 0, 0)));
    pid_t child = tracee(nothing);
    say("again: %s", err(trace(PTRACE_ATTACH, child, 0, 0)));
    say("unknown request: %s", err(trace(0x9999, child, 0, 0)));
    say("no signal: %s", err(trace(PTRACE_CONT, child, 0, 1000)));
    say("options: %s", err(trace(PTRACE_SETOPTIONS, child, 0, 1 << 30)));
    say("interrupt: %s", err(trace(PTRACE_INTERRUPT, child, 0, 0)));
    say("listen: %s", err(trace(PTRACE_LISTEN, child, 0, 0)));
    say("seize: %s", err(trace(PTRACE_SEIZE, child, 1, 0)));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    say("gone: %s", err(trace(PTRACE_CONT, child, 0, 0)));
    child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    say("seize with an address: %s", err(trace(PTRACE_SEIZE, child, 1, 0)));
    say("seize with bad options: %s", err(trace(PTRACE_SEIZE, child, 0, 1 << 30)));
    say("seize: %s", err(trace(PTRACE_SEIZE, child, 0, 0)));
    say("running: %s", err(trace(PTRACE_CONT, child, 0, 0)));
    kill(child, SIGKILL);
    say("%s", next_stop(child));
}

static void strangers_may_not_trace(void)
{
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        for (;;)
            pause();
    }
    pid_t other = (pid_t)MUST(fork());
    if (other == 0) {
        MUST(setresgid(1000, 1000, 1000));
        MUST(setresuid(1000, 1000, 1000));
        say("of root: %s", err(trace(PTRACE_ATTACH, child, 0, 0)));
        char buffer[8];
        struct iovec vector = { buffer, 8 };
        say("memory: %s", err(process_vm_readv(child, &vector, 1, &vector, 1, 0)));
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/mem", child);
        say("file: %s", err(open(path, O_RDONLY)));
        _exit(0);
    }
    say("%s", reap(other));
    kill(child, SIGKILL);
    reap(child);
}

static void forks_and_execs(void)
{
    if (fork() == 0)
        _exit(3);
    wait(NULL);
    if (vfork() == 0)
        _exit(4);
    wait(NULL);
    executes();
}

static void events_are_told(void)
{
    pid_t child = tracee(forks_and_execs);
    unsigned long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT |
                            PTRACE_O_TRACEVFORKDONE | GOOD;
    MUST(trace(PTRACE_SETOPTIONS, child, 0, options));
    trace(PTRACE_CONT, child, 0, 0);
    pid_t grandchild = 0;
    for (int ended = 0; !ended;) {
        const char *text = next_stop(child);
        unsigned long message = 0;
        if (trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&message) < 0) {
            say("%s", text);
            break;
        }
        int forked = strstr(text, "fork") != NULL;
        if (forked && !strstr(text, "done"))
            grandchild = (pid_t)message;
        if (forked)
            say("%s message of the child %d", text, message == (unsigned long)grandchild);
        else if (strstr(text, "exec"))
            say("%s own number %d", text, message == (unsigned long)child);
        else
            say("%s message %#lx", text, message);
        if (forked && !strstr(text, "done")) {
            say("grandchild: %s", next_stop(grandchild));
            trace(PTRACE_CONT, grandchild, 0, 0);
            if (strstr(text, "vfork"))
                trace(PTRACE_CONT, child, 0, 0);
            say("grandchild: %s", next_stop(grandchild));
            trace(PTRACE_CONT, grandchild, 0, 0);
            say("grandchild: %s", next_stop(grandchild));
            if (strstr(text, "vfork"))
                continue;
        }
        int chld = strncmp(text, "stop 17 ", 8) == 0;
        trace(PTRACE_CONT, child, 0, chld ? SIGCHLD : 0);
    }
}

static void attaching_and_detaching(void)
{
    int pipes[2];
    MUST(pipe(pipes));
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        char byte;
        close(pipes[1]);
        say("read %zd", read(pipes[0], &byte, 1));
        _exit(5);
    }
    close(pipes[0]);
    sleep_ms(50);
    say("attach: %s", err(trace(PTRACE_ATTACH, child, 0, 0)));
    say("%s", next_stop(child));
    /* The read was interrupted and will be made again. */
    say("orig_rax %ld rax %ld", (long)reg(child, USER(regs.orig_rax)), (long)reg(child, USER(regs.rax)));
    siginfo_t info;
    say("stopped by %s", err(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info)));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", child);
    const char *text = get(path);
    int tracer = 0;
    char state = 0;
    sscanf(strstr(text, "State:"), "State: %c", &state);
    sscanf(strstr(text, "TracerPid:"), "TracerPid: %d", &tracer);
    say("state %c tracer %d", state, tracer == getpid());
    say("detach: %s", err(trace(PTRACE_DETACH, child, 0, 0)));
    sleep_ms(20);
    text = get(path);
    sscanf(strstr(text, "State:"), "State: %c", &state);
    sscanf(strstr(text, "TracerPid:"), "TracerPid: %d", &tracer);
    say("state %c tracer %d", state, tracer);
    MUST(write(pipes[1], "x", 1));
    say("%s", reap(child));
}

static void sleeps_long(void)
{
    struct timespec time = { 0, 300000000 };
    long start = now_ms();
    int result = nanosleep(&time, NULL);
    long took = now_ms() - start;
    say("slept %d in time %d", result, took >= 300 && took < 3000);
}

static void seizing_and_interrupting(void)
{
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        sleeps_long();
        for (;;)
            pause();
    }
    sleep_ms(50);
    say("seize: %s", err(trace(PTRACE_SEIZE, child, 0, GOOD)));
    say("interrupt: %s", err(trace(PTRACE_INTERRUPT, child, 0, 0)));
    say("%s", next_stop(child));
    siginfo_t info;
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("signal %d code %#x", info.si_signo, info.si_code);
    say("rax %ld", (long)reg(child, USER(regs.rax)));
    say("listen: %s", err(trace(PTRACE_LISTEN, child, 0, 0)));
    say("interrupt: %s", err(trace(PTRACE_INTERRUPT, child, 0, 0)));
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, 0);
    sleep_ms(400);
    kill(child, SIGSTOP);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, SIGSTOP);
    say("%s", next_stop(child));
    say("no information: %s", err(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info)));
    say("code %#x", info.si_code);
    say("listen: %s", err(trace(PTRACE_LISTEN, child, 0, 0)));
    kill(child, SIGCONT);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, SIGCONT);
    kill(child, SIGTERM);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, SIGTERM);
    say("%s", next_stop(child));
}

static void stops_of_the_group(void)
{
    pid_t child = tracee(sleeps_long);
    trace(PTRACE_CONT, child, 0, SIGSTOP);
    say("%s", next_stop(child));
    siginfo_t info;
    say("of the group: %s", err(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info)));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void tracing_anothers_child(void)
{
    int pipes[2];
    MUST(pipe(pipes));
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        char byte;
        close(pipes[1]);
        if (read(pipes[0], &byte, 1) < 0)
            _exit(1);
        _exit(6);
    }
    pid_t tracer = (pid_t)MUST(fork());
    if (tracer == 0) {
        say("attach: %s", err(trace(PTRACE_ATTACH, child, 0, 0)));
        say("tracer: %s", next_stop(child));
        trace(PTRACE_CONT, child, 0, 0);
        if (write(pipes[1], "x", 1) < 0)
            _exit(1);
        sleep_ms(100);
        say("tracer: %s", next_stop(child));
        _exit(0);
    }
    close(pipes[0]);
    sleep_ms(70);
    int status;
    say("parent: not yet %d", waitpid(child, &status, WNOHANG) == 0);
    say("tracer: %s", reap(tracer));
    say("parent: %s", reap(child));
}

static void tracer_ends(unsigned long options)
{
    int pipes[2];
    MUST(pipe(pipes));
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        char byte;
        close(pipes[1]);
        if (read(pipes[0], &byte, 1) < 0)
            _exit(1);
        _exit(6);
    }
    pid_t tracer = (pid_t)MUST(fork());
    if (tracer == 0) {
        MUST(trace(PTRACE_SEIZE, child, 0, options));
        MUST(trace(PTRACE_INTERRUPT, child, 0, 0));
        next_stop(child);
        _exit(0);
    }
    say("tracer: %s", reap(tracer));
    if (write(pipes[1], "x", 1) < 0)
        say("no reader");
    say("child: %s", reap(child));
}

static void tracer_that_ends_lets_go(void)
{
    tracer_ends(0);
}

static void tracer_that_ends_kills(void)
{
    tracer_ends(PTRACE_O_EXITKILL);
}

static void blocked_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    union sigval value = { .sival_int = 1 };
    sigqueue(getpid(), SIGRTMIN, value);
    value.sival_int = 2;
    sigqueue(getpid(), SIGRTMIN, value);
    syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
    raise(SIGWINCH);
}

static void queues_and_masks(void)
{
    pid_t child = tracee(blocked_signals);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    siginfo_t infos[4];
    struct __ptrace_peeksiginfo_args args = { 0, PTRACE_PEEKSIGINFO_SHARED, 4 };
    long count = trace(PTRACE_PEEKSIGINFO, child, (unsigned long)&args, (unsigned long)infos);
    say("shared %ld: %d %d", count, infos[0].si_int, infos[1].si_int);
    args.flags = 0;
    count = trace(PTRACE_PEEKSIGINFO, child, (unsigned long)&args, (unsigned long)infos);
    say("own %ld: %d", count, infos[0].si_signo);
    args.off = 5;
    say("beyond: %ld", trace(PTRACE_PEEKSIGINFO, child, (unsigned long)&args, (unsigned long)infos));
    args.flags = 2;
    say("flags: %s", err(trace(PTRACE_PEEKSIGINFO, child, (unsigned long)&args, (unsigned long)infos)));
    unsigned long mask = 0;
    say("mask: %s", err(trace(PTRACE_GETSIGMASK, child, 8, (unsigned long)&mask)));
    say("blocked %#lx", mask);
    say("size: %s", err(trace(PTRACE_GETSIGMASK, child, 4, (unsigned long)&mask)));
    mask = 1ul << (SIGUSR1 - 1);
    say("set: %s", err(trace(PTRACE_SETSIGMASK, child, 8, (unsigned long)&mask)));
    trace(PTRACE_CONT, child, 0, 0);
    int status;
    MUST(waitpid(child, &status, 0));
    say("unblocked: %d", WIFSTOPPED(status) && WSTOPSIG(status) == SIGRTMIN);
    kill(child, SIGKILL);
    say("%s", next_stop(child));
}

static void waiting_knows_tracees(void)
{
    pid_t child = tracee(raise_usr1);
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    trace(PTRACE_CONT, child, 0, 0);
    say("keep: %s", err(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOWAIT)));
    say("code %d status %d signal %d", info.si_code, info.si_status, info.si_signo);
    say("take: %s", err(waitid(P_ALL, 0, &info, WSTOPPED | WEXITED)));
    int status;
    say("once: %d", waitpid(child, &status, WNOHANG | __WALL));
    say("own tracees: %d", waitpid(-1, &status, WNOHANG | __WNOTHREAD));
    kill(child, SIGKILL);
    say("%s", next_stop(child));
    say("none: %s", err(waitpid(-1, &status, __WALL)));
}

static void killing_a_stopped_tracee(void)
{
    pid_t child = tracee(nothing);
    kill(child, SIGKILL);
    say("%s", next_stop(child));
    say("%s", next_stop(child));
}

static void *short_thread(void *argument)
{
    (void)argument;
    syscall(SYS_exit, 9);
    return NULL;
}

static void starts_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, short_thread, NULL);
    pthread_join(thread, NULL);
    sleep_ms(100);
}

static void threads_are_told(void)
{
    pid_t child = tracee(starts_a_thread);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXIT));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    unsigned long thread = 0;
    MUST(trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&thread));
    say("thread: %s", next_stop((pid_t)thread));
    trace(PTRACE_CONT, child, 0, 0);
    trace(PTRACE_CONT, (pid_t)thread, 0, 0);
    say("thread: %s", next_stop((pid_t)thread));
    unsigned long code = 0;
    MUST(trace(PTRACE_GETEVENTMSG, (pid_t)thread, 0, (unsigned long)&code));
    say("code %#lx", code);
    trace(PTRACE_CONT, (pid_t)thread, 0, 0);
    say("thread: %s", next_stop((pid_t)thread));
    say("leader: %s", next_stop(child));
    trace(PTRACE_CONT, child, 0, 0);
    say("leader: %s", next_stop(child));
}

static void *executing_thread(void *argument)
{
    (void)argument;
    executes();
    return NULL;
}

static void executes_in_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, executing_thread, NULL);
    for (;;)
        pause();
}

static void a_thread_executes(void)
{
    pid_t child = tracee(executes_in_a_thread);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | GOOD));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    unsigned long thread = 0, old = 0;
    MUST(trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&thread));
    say("thread: %s", next_stop((pid_t)thread));
    trace(PTRACE_CONT, child, 0, 0);
    trace(PTRACE_CONT, (pid_t)thread, 0, 0);
    say("%s", next_stop(child));
    MUST(trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&old));
    say("old number %d", old == thread);
    say("gone: %s", err(trace(PTRACE_CONT, (pid_t)thread, 0, 0)));
    MUST(trace(PTRACE_SYSCALL, child, 0, 0));
    say("%s", next_stop(child));
    say("result %ld of %ld", (long)reg(child, USER(regs.rax)), (long)reg(child, USER(regs.orig_rax)));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void asks_the_tracer(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 0x1234),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { COUNT(code), code };
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    for (int i = 0; i < 4; i++) {
        long result = syscall(SYS_getpgid, 0);
        say("call %d: %s", i, result == 77 ? "of the tracer" : err(result));
    }
}

static void filters_ask_the_tracer(void)
{
    pid_t child = tracee(asks_the_tracer);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESECCOMP | GOOD));
    for (int i = 0; i < 4; i++) {
        trace(PTRACE_CONT, child, 0, 0);
        say("%s", next_stop(child));
        unsigned long message = 0;
        MUST(trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&message));
        struct __ptrace_syscall_info info;
        long size = trace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), (unsigned long)&info);
        say("message %#lx size %ld op %d call %llu data %#x", message, size, info.op,
            (unsigned long long)info.seccomp.nr, info.seccomp.ret_data);
        if (i == 1) {
            MUST(trace(PTRACE_POKEUSER, child, USER(regs.orig_rax), -1));
            MUST(trace(PTRACE_POKEUSER, child, USER(regs.rax), 77));
        }
        if (i == 2)
            MUST(trace(PTRACE_POKEUSER, child, USER(regs.orig_rax), SYS_getsid));
        if (i == 3)
            MUST(trace(PTRACE_SETOPTIONS, child, 0, 0));
    }
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    asks_the_tracer();
}

static void reads_nothing(void)
{
    int pipes[2];
    char byte;
    MUST(pipe(pipes));
    say("read %s", err(read(pipes[0], &byte, 1)));
}

static void interrupted_calls_can_be_given_up(void)
{
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        reads_nothing();
        _exit(4);
    }
    sleep_ms(50);
    MUST(trace(PTRACE_SEIZE, child, 0, 0));
    for (int i = 0; i < 2; i++) {
        MUST(trace(PTRACE_INTERRUPT, child, 0, 0));
        say("%s", next_stop(child));
        say("call %ld result %ld", (long)reg(child, USER(regs.orig_rax)), (long)reg(child, USER(regs.rax)));
        if (i == 1) {
            MUST(trace(PTRACE_POKEUSER, child, USER(regs.orig_rax), -1));
            MUST(trace(PTRACE_POKEUSER, child, USER(regs.rax), -EINTR));
        }
        MUST(trace(PTRACE_CONT, child, 0, 0));
        sleep_ms(20);
    }
    say("%s", next_stop(child));
}

static void detaching_with_a_signal(void)
{
    pid_t child = tracee(nothing);
    say("no signal: %s", err(trace(PTRACE_DETACH, child, 0, 1000)));
    say("detach: %s", err(trace(PTRACE_DETACH, child, 0, SIGTERM)));
    say("%s", reap(child));
}

static void children_that_are_shared(void)
{
    long child = syscall(SYS_clone, CLONE_PTRACE | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(1);
    int status;
    waitpid((pid_t)child, &status, 0);
    child = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(2);
    waitpid((pid_t)child, &status, 0);
}

static void clone_flags_decide(void)
{
    pid_t child = tracee(children_that_are_shared);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL));
    trace(PTRACE_CONT, child, 0, 0);
    int status;
    pid_t other = (pid_t)MUST(waitpid(-1, &status, __WALL));
    say("another %d: %s", other != child, stop_text(status));
    MUST(trace(PTRACE_SETOPTIONS, child == other ? child : other, 0, 0));
    trace(PTRACE_CONT, other, 0, 0);
    say("another: %s", next_stop(other));
    say("%s", next_stop(child));
    MUST(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEFORK));
    trace(PTRACE_CONT, child, 0, SIGCHLD);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

CHECK_MAIN(CASE(errors), CASE(strangers_may_not_trace), CASE(events_are_told), CASE(attaching_and_detaching),
           CASE(seizing_and_interrupting), CASE(stops_of_the_group), CASE(tracing_anothers_child),
           CASE(tracer_that_ends_lets_go), CASE(tracer_that_ends_kills), CASE(queues_and_masks),
           CASE(waiting_knows_tracees), CASE(killing_a_stopped_tracee), CASE(threads_are_told),
           CASE(a_thread_executes), CASE(filters_ask_the_tracer), CASE(interrupted_calls_can_be_given_up),
           CASE(detaching_with_a_signal), CASE(clone_flags_decide))
