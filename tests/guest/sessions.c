/* Process groups and sessions, death signals, descriptors of processes, scheduling. */
#include "check.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void describe(const siginfo_t *info, pid_t child)
{
    say("signal %d code %d status %d child %d uid %d", info->si_signo, info->si_code, info->si_status,
        info->si_pid == child, info->si_uid);
}

static void process_groups(void)
{
    pid_t self = getpid();
    say("own group: %s", err(setpgid(0, 0)));
    say("leader: %d", getpgrp() == self && getpgid(0) == self);
    pid_t first = fork();
    if (first == 0) {
        for (;;)
            pause();
    }
    pid_t second = fork();
    if (second == 0) {
        for (;;)
            pause();
    }
    say("inherited: %d", getpgid(first) == self);
    say("move: %s", err(setpgid(first, first)));
    say("join: %s", err(setpgid(second, first)));
    say("joined: %d", getpgid(second) == first);
    say("to no group: %s", err(setpgid(second, 999999)));
    say("negative: %s", err(setpgid(second, -1)));
    say("of a stranger: %s", err(setpgid(getppid(), 0)));
    say("of nobody: %s", err(getpgid(999999)));
    say("kill the group: %s", err(kill(-first, SIGTERM)));
    int status;
    say("wait for the group: %d", (int)MUST(waitpid(-first, &status, 0)) > 0);
    say("and again: %d", (int)MUST(waitpid(-first, &status, 0)) > 0);
    say("empty: %s", err(waitpid(-first, &status, 0)));
    say("kill an empty group: %s", err(kill(-first, 0)));
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sleep", "sleep", "20", NULL);
        _exit(127);
    }
    sleep_ms(300);
    say("after exec: %s", err(setpgid(child, child)));
    kill(child, SIGKILL);
    reap(child);
}

static void sessions(void)
{
    pid_t child = fork();
    if (child == 0) {
        pid_t self = getpid();
        say("setsid: %d", setsid() == self);
        say("session %d, group %d", getsid(0) == self, getpgrp() == self);
        say("again: %s", err(setsid()));
        say("leader leaves its group: %s", err(setpgid(0, 0)));
        pid_t inner = fork();
        if (inner == 0) {
            say("inherited: %d", getsid(0) == self);
            say("group of another session: %s", err(setpgid(0, getppid() == self ? 1 : 0)));
            _exit(0);
        }
        reap(inner);
        say("no controlling terminal: %s", err(open("/dev/tty", O_RDWR)));
        _exit(0);
    }
    say("child: %s", reap(child));
    say("of nobody: %s", err(getsid(999999)));
}

static void resource_usage(void)
{
    struct rusage usage;
    pid_t child = fork();
    if (child == 0) {
        long until = now_ms() + 50;
        while (now_ms() < until) {
        }
        _exit(0);
    }
    int status;
    say("wait4: %d", wait4(child, &status, 0, &usage) == child);
    say("children: %s", err(getrusage(RUSAGE_CHILDREN, &usage)));
    say("self: %s", err(getrusage(RUSAGE_SELF, &usage)));
    say("bad kind: %s", err(getrusage(77, &usage)));
}

static void names_and_death_signals(void)
{
    char name[32] = { 0 };
    MUST(prctl(PR_SET_NAME, "a name that is too long"));
    MUST(prctl(PR_GET_NAME, name));
    say("name: %s", name);
    int death = -1;
    MUST(prctl(PR_GET_PDEATHSIG, &death));
    say("death signal: %d", death);
    say("bad: %s", err(prctl(PR_SET_PDEATHSIG, 1000)));
    int pipes[2];
    MUST(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        pid_t inner = fork();
        if (inner == 0) {
            MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
            close(pipes[0]);
            MUST(write(pipes[1], "r", 1));
            for (;;)
                pause();
        }
        char byte;
        MUST(read(pipes[0], &byte, 1));
        _exit(0);
    }
    reap(child);
    close(pipes[1]);
    char byte;
    say("end of file when it died: %ld", (long)read(pipes[0], &byte, 1));
    say("dumpable: %d", prctl(PR_GET_DUMPABLE));
    say("unknown: %s", err(prctl(123456)));
}

static void process_descriptors(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    int fd = (int)MUST(syscall(SYS_pidfd_open, child, 0));
    say("close on exec: %d", fcntl(fd, F_GETFD));
    say("of nobody: %s", err(syscall(SYS_pidfd_open, 999999, 0)));
    say("bad flag: %s", err(syscall(SYS_pidfd_open, child, 1)));
    say("send: %s", err(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
    siginfo_t info = { 0 };
    MUST(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
    describe(&info, child);
    say("send to the dead: %s", err(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
}

static void scheduling(void)
{
    cpu_set_t set;
    say("affinity: %s", err(sched_getaffinity(0, sizeof(set), &set)));
    say("too small: %s", err(syscall(SYS_sched_getaffinity, 0, 1, &set)));
    say("policy: %d", sched_getscheduler(0));
    say("nice: %d", getpriority(PRIO_PROCESS, 0));
    say("nicer: %d", nice(5));
    say("now: %d", getpriority(PRIO_PROCESS, 0));
    say("yield: %s", err(sched_yield()));
    say("priorities: %d %d %d %d", sched_get_priority_min(SCHED_OTHER), sched_get_priority_max(SCHED_OTHER),
        sched_get_priority_min(SCHED_FIFO), sched_get_priority_max(SCHED_FIFO));
    say("bad policy: %s", err(sched_get_priority_max(77)));
}

CHECK_MAIN(CASE(process_groups), CASE(sessions), CASE(resource_usage), CASE(names_and_death_signals),
           CASE(process_descriptors), CASE(scheduling))
