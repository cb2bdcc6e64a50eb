/* fork, vfork, clone, exit, wait4, waitid, orphans, process groups, sessions. */
#include "check.h"
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void exit_codes(void)
{
    int codes[] = { 0, 1, 127, 255, 256, 511, -1 };
    for (size_t i = 0; i < COUNT(codes); i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(codes[i]);
        say("exit(%d): %s", codes[i], reap(child));
    }
    int signals[] = { SIGKILL, SIGTERM, SIGUSR1, SIGABRT };
    for (size_t i = 0; i < COUNT(signals); i++) {
        pid_t child = fork();
        if (child == 0) {
            raise(signals[i]);
            _exit(0);
        }
        say("raise(%d): %s", signals[i], reap(child));
    }
}

static void identity(void)
{
    pid_t self = getpid();
    pid_t child = fork();
    if (child == 0) {
        say("parent is the forker: %d", getppid() == self);
        say("own number: %d", getpid() != self && getpid() == syscall(SYS_gettid));
        _exit(0);
    }
    say("child: %s", reap(child));
    say("number is kept: %d", getpid() == self);
}

static void wait_errors(void)
{
    int status;
    say("no children: %s", err(wait(&status)));
    say("no such child: %s", err(waitpid(getppid(), &status, 0)));
    say("bad options: %s", err(waitpid(-1, &status, 0x1000)));
    say("smallest group: %s", err(waitpid(INT32_MIN, &status, 0)));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    say("not yet: %d", waitpid(child, &status, WNOHANG));
    say("bad status pointer: %s", (kill(child, SIGKILL), err(syscall(SYS_wait4, child, (void *)8, 0, NULL))));
    say("reaped all the same: %s", err(waitpid(child, &status, 0)));
    say("waitid no option: %s", err(waitid(P_ALL, 0, NULL, 0)));
    say("waitid bad kind: %s", err(waitid(77, 0, NULL, WEXITED)));
    say("waitid no children: %s", err(waitid(P_ALL, 0, NULL, WEXITED)));
    say("waitid bad number: %s", err(waitid(P_PID, 0, NULL, WEXITED)));
}

static void describe(const siginfo_t *info, pid_t child)
{
    say("signal %d code %d status %d child %d uid %d", info->si_signo, info->si_code, info->si_status,
        info->si_pid == child, info->si_uid);
}

static void waitid_details(void)
{
    siginfo_t info = { 0 };
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    say("leave it: %s", err(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT)));
    describe(&info, child);
    memset(&info, 0, sizeof(info));
    say("take it: %s", err(waitid(P_PID, (id_t)child, &info, WEXITED)));
    describe(&info, child);
    child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    memset(&info, 0xff, sizeof(info));
    say("running: %s", err(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG)));
    say("cleared: %d %d", info.si_signo, info.si_pid);
    kill(child, SIGSTOP);
    say("stopped: %s", err(waitid(P_PID, (id_t)child, &info, WSTOPPED)));
    describe(&info, child);
    kill(child, SIGCONT);
    say("continued: %s", err(waitid(P_PID, (id_t)child, &info, WCONTINUED)));
    describe(&info, child);
    kill(child, SIGKILL);
    say("killed: %s", err(waitid(P_PID, (id_t)child, &info, WEXITED)));
    describe(&info, child);
}

static void stop_and_continue(void)
{
    int status, pipes[2];
    MUST(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        MUST(setpgid(0, 0));
        raise(SIGSTOP);
        MUST(read(pipes[0], &byte, 1));
        raise(SIGTSTP);
        _exit(3);
    }
    MUST(waitpid(child, &status, WUNTRACED));
    say("first: %s", status_text(status));
    say("reported once: %d", waitpid(child, &status, WUNTRACED | WNOHANG));
    kill(child, SIGCONT);
    MUST(waitpid(child, &status, WCONTINUED));
    say("then: %s", status_text(status));
    MUST(write(pipes[1], "x", 1));
    MUST(waitpid(child, &status, WUNTRACED));
    say("second: %s", status_text(status));
    kill(child, SIGKILL);
    say("killed while stopped: %s", reap(child));
    child = fork();
    if (child == 0) {
        MUST(setsid());
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
        _exit(4);
    }
    say("an orphaned group does not stop: %s", reap(child));
}

static void orphans(void)
{
    int pipes[2];
    MUST(pipe(pipes));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t self = getpid();
    pid_t child = fork();
    if (child == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle)
                sleep_ms(1);
            char byte = getppid() == self ? 'y' : 'n';
            MUST(write(pipes[1], &byte, 1));
            _exit(9);
        }
        _exit(0);
    }
    say("child: %s", reap(child));
    char byte = 0;
    MUST(read(pipes[0], &byte, 1));
    say("came to the subreaper: %c", byte);
    int status;
    MUST(wait(&status));
    say("grandchild: %s", status_text(status));
    say("no more: %s", err(wait(&status)));
}

static void no_zombies(void)
{
    signal(SIGCHLD, SIG_IGN);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    say("ignored SIGCHLD: %s", err(waitpid(child, &status, 0)));
    struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
    sigaction(SIGCHLD, &action, NULL);
    child = fork();
    if (child == 0)
        _exit(0);
    say("SA_NOCLDWAIT: %s", err(waitpid(child, &status, 0)));
}

static void many_children(void)
{
    int sum = 0, status;
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0)
            _exit(i % 100);
    }
    for (int i = 0; i < 200; i++) {
        MUST(wait(&status));
        sum += WEXITSTATUS(status);
    }
    say("sum of codes: %d", sum);
    say("no more: %s", err(wait(&status)));
}

static void deep_chain(void)
{
    int depth = 0;
    for (; depth < 50; depth++) {
        pid_t child = fork();
        MUST(child);
        if (child != 0) {
            int status;
            MUST(waitpid(child, &status, 0));
            if (depth > 0)
                _exit(WEXITSTATUS(status) + 1);
            say("generations: %d", WEXITSTATUS(status) + 1);
            return;
        }
    }
    _exit(0);
}

static void vfork_shares(void)
{
    static volatile int shared;
    pid_t child = vfork();
    if (child == 0) {
        shared = 5;
        _exit(1);
    }
    say("seen: %d, %s", shared, reap(child));
    child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    say("exec: %s", reap(child));
    child = vfork();
    if (child == 0) {
        execl("/no/such/program", "x", NULL);
        shared = errno;
        _exit(127);
    }
    say("failed exec: %d, %s", shared == ENOENT, reap(child));
}

static int clone_memory;

static int clone_child(void *argument)
{
    clone_memory = (int)(intptr_t)argument;
    close(7);
    MUST(chdir("/"));
    umask(077);
    return 6;
}

static void clone_flags(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    char buffer[256];
    MUST(chdir("/tmp"));
    MUST(dup2(1, 7));
    umask(022);
    pid_t child = clone(clone_child, stack + sizeof(stack), SIGCHLD, (void *)1);
    MUST(child);
    say("copy: %s", reap(child));
    say("memory %d, descriptor %s, cwd %s", clone_memory, err(fcntl(7, F_GETFD)), getcwd(buffer, sizeof(buffer)));
    child = clone(clone_child, stack + sizeof(stack), CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, (void *)2);
    MUST(child);
    say("shared: %s", reap(child));
    say("memory %d, descriptor %s, cwd %s", clone_memory, err(fcntl(7, F_GETFD)), getcwd(buffer, sizeof(buffer)));
    say("umask: %o", umask(022));
    child = clone(clone_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK, (void *)3);
    MUST(child);
    say("vfork waits: memory %d", clone_memory);
    int status;
    say("no exit signal, plain wait: %s", err(waitpid(child, &status, 0)));
    MUST(waitpid(child, &status, __WALL));
    say("__WALL: %s", status_text(status));
    say("CLONE_THREAD alone: %s", err(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0)));
    say("CLONE_SIGHAND alone: %s", err(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0)));
    say("CLONE_FS with CLONE_NEWNS: %s", err(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0)));
}

static void clone_three(void)
{
    int parent_tid = 0, pidfd = -1;
    struct clone_args args = { .flags = CLONE_PARENT_SETTID | CLONE_PIDFD, .exit_signal = SIGCHLD,
                               .parent_tid = (uintptr_t)&parent_tid, .pidfd = (uintptr_t)&pidfd };
    long child = syscall(SYS_clone3, &args, sizeof(args));
    if (child == 0)
        _exit(5);
    MUST(child);
    say("parent_tid: %d, pidfd: %d", parent_tid == child, pidfd >= 0);
    siginfo_t info = { 0 };
    say("wait by pidfd: %s", err(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED)));
    describe(&info, (pid_t)child);
    say("too small: %s", err(syscall(SYS_clone3, &args, 8)));
    args.exit_signal = 200;
    say("bad signal: %s", err(syscall(SYS_clone3, &args, sizeof(args))));
    args.exit_signal = 0;
    args.flags = 1UL << 50;
    say("unknown flag: %s", err(syscall(SYS_clone3, &args, sizeof(args))));
    args.flags = 0;
    args.stack = 0x1000;
    say("stack without size: %s", err(syscall(SYS_clone3, &args, sizeof(args))));
    say("bad pointer: %s", err(syscall(SYS_clone3, 8, sizeof(args))));
}

static void *exit_thread(void *argument)
{
    (void)argument;
    _exit(33);
}

static void *quiet_thread(void *argument)
{
    for (;;)
        pause();
    return argument;
}

static void group_exit(void)
{
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        for (int i = 0; i < 5; i++)
            pthread_create(&thread, NULL, quiet_thread, NULL);
        pthread_create(&thread, NULL, exit_thread, NULL);
        for (;;)
            pause();
    }
    say("exit_group from a thread: %s", reap(child));
    child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, quiet_thread, NULL);
        raise(SIGTERM);
        _exit(0);
    }
    say("signal kills all threads: %s", reap(child));
    child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, exit_thread, NULL);
        syscall(SYS_exit, 4);
    }
    say("leader leaves first: %s", reap(child));
}

static void *exec_thread(void *argument)
{
    execv(check_arguments[0], (char *[]){ check_arguments[0], (char *)argument, NULL });
    return NULL;
}

static void after_exec(void)
{
    say("running: %d", getpid() == syscall(SYS_gettid));
}

static void exec_from_a_thread(void)
{
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, quiet_thread, NULL);
        pthread_create(&thread, NULL, exec_thread, "after_exec");
        for (;;)
            pause();
    }
    say("child: %s", reap(child));
}

/* Whoever has waited for a process finds its files closed. */
static void files_are_closed_first(void)
{
    int open_still = 0;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 200; i++) {
        int pipes[2];
        MUST(pipe(pipes));
        pid_t child = fork();
        if (child == 0) {
            if (i % 2)
                pause();
            _exit(0);
        }
        close(pipes[0]);
        kill(child, i % 2 ? SIGKILL : 0);
        reap(child);
        open_still += write(pipes[1], "x", 1) >= 0;
        close(pipes[1]);
    }
    say("open still: %d", open_still);
}

/* CLONE_PIDFD takes one number. */
static void one_pidfd(void)
{
    int free_number = (int)MUST(dup(0));
    close(free_number);
    int pidfd = -1;
    pid_t child = (pid_t)MUST(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0));
    if (child == 0)
        _exit(3);
    say("the next number: %d", pidfd == free_number);
    say("and no other: %d", dup(0) == free_number + 1);
    say("child: %s", reap(child));
}

CHECK_MAIN(CASE(exit_codes), CASE(identity), CASE(wait_errors), CASE(waitid_details), CASE(stop_and_continue),
           CASE(orphans), CASE(no_zombies), CASE(many_children), CASE(deep_chain), CASE(vfork_shares),
           CASE(clone_flags), CASE(clone_three), CASE(group_exit), CASE(after_exec), CASE(exec_from_a_thread),
           CASE(files_are_closed_first), CASE(one_pidfd))
