/* What the programs that trace have in common. */
#ifndef TRACEE_H
#define TRACEE_H

#include "check.h"
#include <elf.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#define GOOD PTRACE_O_TRACESYSGOOD
#define OP_ENTRY 1
#define OP_EXIT 2
#define USER(field) offsetof(struct user, field)

static long trace(int request, pid_t pid, unsigned long address, unsigned long data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

/* What waiting for a tracee gives, events by name. */
static const char *stop_text(int status)
{
    static const char *const events[] = { "none", "fork", "vfork", "clone", "exec", "vfork done", "exit", "seccomp" };
    static char text[96];
    int event = status >> 16;
    if (!WIFSTOPPED(status))
        return status_text(status);
    const char *name = event == PTRACE_EVENT_STOP ? "stop" : event < 8 ? events[event] : "other";
    snprintf(text, sizeof(text), "stop %d event %s", WSTOPSIG(status), name);
    return text;
}

__attribute__((unused)) static const char *next_stop(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, __WALL) < 0)
        return err(-1);
    return stop_text(status);
}

__attribute__((unused)) static unsigned long reg(pid_t pid, size_t offset)
{
    unsigned long value = 0;
    MUST(trace(PTRACE_PEEKUSER, pid, offset, (unsigned long)&value));
    return value;
}

/* A child that is traced and has stopped itself, and then runs `body`. */
__attribute__((unused)) static pid_t tracee(void (*body)(void))
{
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        MUST(trace(PTRACE_TRACEME, 0, 0, 0));
        raise(SIGSTOP);
        body();
        _exit(7);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    return child;
}

#endif
