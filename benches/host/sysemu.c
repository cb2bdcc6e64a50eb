/* The bare cost of a system call under PTRACE_SYSEMU: a child calls getpid in a loop, and its tracer, on the same CPU,
 * gets and sets its registers at each call. `sysemu ITERATIONS` prints the nanoseconds of one round trip. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    long iterations = argc > 1 ? atol(argv[1]) : 10000;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    check(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
    pid_t child = fork();
    check(child, "fork");
    if (child == 0) {
        check(ptrace(PTRACE_TRACEME, 0, NULL, NULL), "PTRACE_TRACEME");
        raise(SIGSTOP);
        for (;;)
            syscall(SYS_getpid);
    }
    int status;
    check(waitpid(child, &status, 0), "waitpid");
    check(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD), "PTRACE_SETOPTIONS");
    struct user_regs_struct registers;
    double start = 0;
    for (long i = -100; i < iterations; i++) {
        if (i == 0)
            start = now();
        check(ptrace(PTRACE_SYSEMU, child, NULL, NULL), "PTRACE_SYSEMU");
        check(waitpid(child, &status, __WALL), "waitpid");
        check(ptrace(PTRACE_GETREGS, child, NULL, &registers), "PTRACE_GETREGS");
        registers.rax = (unsigned long long)child;
        check(ptrace(PTRACE_SETREGS, child, NULL, &registers), "PTRACE_SETREGS");
    }
    printf("%.1f\n", (now() - start) / (double)iterations);
    kill(child, SIGKILL);
    waitpid(child, &status, __WALL);
    return 0;
}
