/* Tracing: stops, registers, memory and steps. */
#include "tracee.h"

static void nothing(void)
{
}

static void quiet_calls(void)
{
    syscall(SYS_getpgid, 0);
    syscall(SYS_getsid, -5);
}

static void executes(void)
{
    char *arguments[] = { "/bin/true", NULL };
    execv(arguments[0], arguments);
}

static void exec_traps(void)
{
    pid_t child = tracee(executes);
    trace(PTRACE_CONT, child, 0, 0);
    say("first: %s", next_stop(child));
    siginfo_t info;
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("signal %d code %d from the tracee %d", info.si_signo, info.si_code, info.si_pid == child);
    trace(PTRACE_CONT, child, 0, 0);
    say("then: %s", next_stop(child));
}

static void raise_usr1(void)
{
    raise(SIGUSR1);
    raise(SIGUSR2);
    union sigval value = { .sival_int = 5 };
    sigqueue(getpid(), SIGRTMIN, value);
}

static void signals_pass_the_tracer(void)
{
    pid_t child = tracee(raise_usr1);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    siginfo_t info;
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("code %d", info.si_code);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    trace(PTRACE_CONT, child, 0, SIGWINCH);
    int status;
    MUST(waitpid(child, &status, 0));
    say("real-time: %d", WIFSTOPPED(status) && WSTOPSIG(status) == SIGRTMIN);
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("value %d code %d", info.si_int, info.si_code);
    trace(PTRACE_CONT, child, 0, SIGTERM);
    say("%s", next_stop(child));
}

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)context;
    say("handler: %d code %d value %d", signal, info->si_code, info->si_int);
}

static void handles(void)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    raise(SIGUSR1);
}

static void signal_information_can_be_changed(void)
{
    pid_t child = tracee(handles);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGUSR2;
    info.si_code = SI_QUEUE;
    info.si_int = 99;
    say("set: %s", err(trace(PTRACE_SETSIGINFO, child, 0, (unsigned long)&info)));
    trace(PTRACE_CONT, child, 0, SIGUSR2);
    say("%s", next_stop(child));
}

static void shows_call(pid_t child)
{
    struct __ptrace_syscall_info info;
    unsigned long message = 0;
    memset(&info, 0x55, sizeof(info));
    long size = trace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), (unsigned long)&info);
    trace(PTRACE_GETEVENTMSG, child, 0, (unsigned long)&message);
    say("info: size %ld op %d arch %#x message %lu rip is %d", size, info.op, info.arch, message,
        info.instruction_pointer == reg(child, USER(regs.rip)));
    if (info.op == OP_ENTRY)
        say("entry: %llu(%lld)", (unsigned long long)info.entry.nr, (long long)info.entry.args[0]);
    if (info.op == OP_EXIT)
        say("exit: %d error %d", info.exit.rval > 0 ? 1 : (int)info.exit.rval, info.exit.is_error);
}

static void calls_stop_twice(void)
{
    pid_t child = tracee(quiet_calls);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, GOOD));
    for (int i = 0; i < 5; i++) {
        MUST(trace(PTRACE_SYSCALL, child, 0, 0));
        say("%s", next_stop(child));
        if (i == 4)
            break;
        shows_call(child);
        say("orig_rax %ld", (long)reg(child, USER(regs.orig_rax)));
    }
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void calls_without_the_mark(void)
{
    pid_t child = tracee(quiet_calls);
    MUST(trace(PTRACE_SYSCALL, child, 0, 0));
    say("%s", next_stop(child));
    shows_call(child);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void asks_for_result(void)
{
    say("result %ld", syscall(SYS_getpgid, 12345678));
    say("result %d", syscall(SYS_getpgid, 0) > 0);
}

static void calls_can_be_changed(void)
{
    pid_t child = tracee(asks_for_result);
    MUST(trace(PTRACE_SETOPTIONS, child, 0, GOOD));
    MUST(trace(PTRACE_SYSCALL, child, 0, 0));
    next_stop(child);
    /* No call at all, with a result of the tracer's. */
    MUST(trace(PTRACE_POKEUSER, child, USER(regs.orig_rax), -1));
    MUST(trace(PTRACE_SYSCALL, child, 0, 0));
    next_stop(child);
    say("skipped: %ld", (long)reg(child, USER(regs.rax)));
    MUST(trace(PTRACE_POKEUSER, child, USER(regs.rax), 4711));
    MUST(trace(PTRACE_SYSCALL, child, 0, 0));
    next_stop(child);
    say("a write: %d", reg(child, USER(regs.orig_rax)) == SYS_write);
    MUST(trace(PTRACE_CONT, child, 0, 0));
    say("%s", next_stop(child));
}

static void emulated_calls_are_not_made(void)
{
    pid_t child = tracee(asks_for_result);
    MUST(trace(PTRACE_SYSEMU, child, 0, 0));
    say("%s", next_stop(child));
    say("number %ld", (long)reg(child, USER(regs.orig_rax)));
    MUST(trace(PTRACE_POKEUSER, child, USER(regs.rax), 5));
    MUST(trace(PTRACE_CONT, child, 0, 0));
    say("%s", next_stop(child));
}

static void registers_have_limits(void)
{
    pid_t child = tracee(nothing);
    struct user_regs_struct regs, again;
    MUST(trace(PTRACE_GETREGS, child, 0, (unsigned long)&regs));
    say("cs %#llx ss %#llx ds %#llx", regs.cs, regs.ss, regs.ds);
    say("eflags of the system %d", (regs.eflags & 0x202) == 0x202);
    struct user_regs_struct bad = regs;
    bad.cs = 0x10;
    say("kernel code: %s", err(trace(PTRACE_SETREGS, child, 0, (unsigned long)&bad)));
    bad = regs;
    bad.fs_base = ~0ul;
    say("kernel base: %s", err(trace(PTRACE_SETREGS, child, 0, (unsigned long)&bad)));
    bad = regs;
    bad.eflags = ~0ul;
    say("all flags: %s", err(trace(PTRACE_SETREGS, child, 0, (unsigned long)&bad)));
    MUST(trace(PTRACE_GETREGS, child, 0, (unsigned long)&again));
    say("flags taken %#llx", again.eflags ^ (regs.eflags & ~0x55dd5ull));
    MUST(trace(PTRACE_SETREGS, child, 0, (unsigned long)&regs));
    /* The kernel's structure has two words more than the library's. */
    say("peek last: %s", err(trace(PTRACE_PEEKUSER, child, sizeof(struct user) + 8, (unsigned long)&again)));
    say("peek outside: %s", err(trace(PTRACE_PEEKUSER, child, sizeof(struct user) + 16, (unsigned long)&again)));
    say("peek unaligned: %s", err(trace(PTRACE_PEEKUSER, child, 4, (unsigned long)&again)));
    say("poke between: %s", err(trace(PTRACE_POKEUSER, child, USER(u_tsize), 1)));
    struct iovec vector = { &again, sizeof(again) };
    memset(&again, 0, sizeof(again));
    say("set: %s", err(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, (unsigned long)&vector)));
    say("length %zu same %d", vector.iov_len, memcmp(&again, &regs, sizeof(regs)) == 0);
    vector.iov_len = 24;
    say("part: %s %zu", err(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, (unsigned long)&vector)), vector.iov_len);
    vector.iov_len = 23;
    say("odd: %s", err(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, (unsigned long)&vector)));
    say("unknown: %s", err(trace(PTRACE_GETREGSET, child, 0x7777, (unsigned long)&vector)));
    trace(PTRACE_KILL, child, 0, 0);
    say("%s", next_stop(child));
}

static void spin_with_xmm(void)
{
    double value = 1.5;
    __asm__ volatile("movsd %0, %%xmm7\n\tint3\n\tmovsd %%xmm7, %0" : "+m"(value) : : "xmm7", "memory");
    say("xmm7 %.2f", value);
}

static void extended_state_can_be_changed(void)
{
    static unsigned char area[16384] __attribute__((aligned(64)));
    pid_t child = tracee(spin_with_xmm);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    struct user_fpregs_struct fp;
    MUST(trace(PTRACE_GETFPREGS, child, 0, (unsigned long)&fp));
    double seen;
    memcpy(&seen, (char *)fp.xmm_space + 7 * 16, sizeof(seen));
    say("xmm7 %.2f mxcsr %#x cwd %#x", seen, fp.mxcsr, fp.cwd);
    struct iovec vector = { area, sizeof(area) };
    say("extended: %s", err(trace(PTRACE_GETREGSET, child, NT_X86_XSTATE, (unsigned long)&vector)));
    unsigned long components, present;
    memcpy(&components, area + 464, 8);
    memcpy(&present, area + 512, 8);
    say("length %zu components %#lx sse %d", vector.iov_len, components, (present & 2) != 0);
    seen = 2.25;
    memcpy(area + 160 + 7 * 16, &seen, sizeof(seen));
    say("set: %s", err(trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, (unsigned long)&vector)));
    MUST(trace(PTRACE_GETFPREGS, child, 0, (unsigned long)&fp));
    memcpy(&seen, (char *)fp.xmm_space + 7 * 16, sizeof(seen));
    say("now %.2f", seen);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

__attribute__((noinline, noclone)) static int answer(void)
{
    __asm__ volatile("");
    return 42;
}

static void call_answer(void)
{
    say("answer %d", answer());
}

static void breakpoints_are_private(void)
{
    pid_t child = tracee(call_answer);
    unsigned long word = 0;
    unsigned long at = (unsigned long)&answer;
    say("peek: %s", err(trace(PTRACE_PEEKTEXT, child, at, (unsigned long)&word)));
    say("same %d", memcmp(&word, (void *)at, 8) == 0);
    say("poke: %s", err(trace(PTRACE_POKETEXT, child, at, (word & ~0xfful) | 0xcc)));
    say("own code %d", memcmp(&word, (void *)at, 8) == 0 && answer() == 42);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    siginfo_t info;
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("code %#x behind it %d", info.si_code, reg(child, USER(regs.rip)) == at + 1);
    MUST(trace(PTRACE_POKETEXT, child, at, word));
    MUST(trace(PTRACE_POKEUSER, child, USER(regs.rip), at));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void memory_that_is_forbidden(void)
{
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(page, "hidden");
    mprotect(page, 4096, PROT_NONE);
    munmap(page + 4096, 4096);
    pid_t child = tracee(nothing);
    unsigned long word = 0;
    say("peek: %s %.6s", err(trace(PTRACE_PEEKDATA, child, (unsigned long)page, (unsigned long)&word)), (char *)&word);
    say("poke: %s", err(trace(PTRACE_POKEDATA, child, (unsigned long)page, 0x4141414141414141)));
    MUST(trace(PTRACE_PEEKDATA, child, (unsigned long)page, (unsigned long)&word));
    say("now %.8s", (char *)&word);
    say("across: %s", err(trace(PTRACE_PEEKDATA, child, (unsigned long)page + 4092, (unsigned long)&word)));
    say("nothing: %s", err(trace(PTRACE_PEEKDATA, child, (unsigned long)page + 4096, (unsigned long)&word)));
    say("poke nothing: %s", err(trace(PTRACE_POKEDATA, child, (unsigned long)page + 4096, 0)));
    say("poke shared: %s", err(trace(PTRACE_POKEDATA, child, (unsigned long)shared, 1)));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/mem", child);
    int fd = (int)MUST(open(path, O_RDWR));
    char buffer[16] = "";
    say("read %zd %.8s", pread(fd, buffer, 8, (long)page), buffer);
    say("read across %zd", pread(fd, buffer, 16, (long)page + 4088));
    say("read nothing %s", err(pread(fd, buffer, 8, (long)page + 4096)));
    say("write %zd", pwrite(fd, "through", 7, (long)page));
    MUST(trace(PTRACE_PEEKDATA, child, (unsigned long)page, (unsigned long)&word));
    say("now %.8s", (char *)&word);
    mprotect(page, 4096, PROT_READ);
    say("own %.6s", page);
    kill(child, SIGKILL);
    say("%s", next_stop(child));
    say("read of the dead %s", err(pread(fd, buffer, 8, (long)page)));
}

static void few_instructions(void)
{
    __asm__ volatile("int3\n\tnop\n\tmov $39, %%eax\n\tsyscall\n\tnop\n\tnop" : : : "rax", "rcx", "r11", "memory");
}

static void steps_one_by_one(void)
{
    pid_t child = tracee(few_instructions);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    unsigned long before = reg(child, USER(regs.rip));
    for (int i = 0; i < 5; i++) {
        MUST(trace(PTRACE_SINGLESTEP, child, 0, 0));
        const char *text = next_stop(child);
        siginfo_t info;
        MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
        unsigned long now = reg(child, USER(regs.rip));
        say("%s at +%lu code %d address %d trap flag %lu", text, now - before, info.si_code,
            info.si_addr == (void *)now, reg(child, USER(regs.eflags)) & 0x100);
        before = now;
    }
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void handles_and_traps(void)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

static void steps_into_a_handler(void)
{
    pid_t child = tracee(handles_and_traps);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
    trace(PTRACE_SINGLESTEP, child, 0, SIGUSR1);
    say("%s", next_stop(child));
    say("in the handler %d", reg(child, USER(regs.rip)) == (unsigned long)&handler);
    say("flag %lu", reg(child, USER(regs.eflags)) & 0x100);
    siginfo_t info;
    MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
    say("signal %d code %d", info.si_signo, info.si_code);
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static volatile int watched;

static void changes_watched(void)
{
    watched = 1;
    watched = 2;
}

static void debug_registers_watch(void)
{
    pid_t child = tracee(changes_watched);
    say("address: %s", err(trace(PTRACE_POKEUSER, child, USER(u_debugreg[0]), (unsigned long)&watched)));
    say("kernel's: %s", err(trace(PTRACE_POKEUSER, child, USER(u_debugreg[1]), ~0ul)));
    say("none: %s", err(trace(PTRACE_POKEUSER, child, USER(u_debugreg[4]), 1)));
    say("control: %s", err(trace(PTRACE_POKEUSER, child, USER(u_debugreg[7]), 1 | 0xd << 16)));
    for (int i = 0; i < 2; i++) {
        trace(PTRACE_CONT, child, 0, 0);
        say("%s", next_stop(child));
        siginfo_t info;
        MUST(trace(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info));
        unsigned value = (unsigned)0;
        unsigned long word = 0;
        MUST(trace(PTRACE_PEEKDATA, child, (unsigned long)&watched, (unsigned long)&word));
        value = (unsigned)word;
        say("code %d value %u which %lu", info.si_code, value, reg(child, USER(u_debugreg[6])) & 0xf);
        MUST(trace(PTRACE_POKEUSER, child, USER(u_debugreg[6]), 0));
    }
    say("off: %s", err(trace(PTRACE_POKEUSER, child, USER(u_debugreg[7]), 0)));
    trace(PTRACE_CONT, child, 0, 0);
    say("%s", next_stop(child));
}

static void copies_between_processes(void)
{
    static char text[64] = "of the parent";
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        strcpy(text, "of the child!");
        for (;;)
            pause();
    }
    sleep_ms(50);
    char buffer[64] = "";
    struct iovec local[2] = { { buffer, 3 }, { buffer + 10, 20 } };
    struct iovec remote[2] = { { text, 7 }, { text + 7, 7 } };
    say("read %zd", process_vm_readv(child, local, 2, remote, 2, 0));
    say("'%s' '%s'", buffer, buffer + 10);
    strcpy(buffer, "CHILD");
    local[0].iov_len = 5;
    remote[0].iov_base = text + 7;
    remote[0].iov_len = 5;
    say("write %zd", process_vm_writev(child, local, 1, remote, 1, 0));
    remote[0] = (struct iovec){ text, 20 };
    local[0].iov_len = 20;
    say("read %zd '%s'", process_vm_readv(child, local, 1, remote, 1, 0), buffer);
    remote[0].iov_base = (void *)8;
    say("nowhere: %s", err(process_vm_readv(child, local, 1, remote, 1, 0)));
    remote[0].iov_base = (void *)&copies_between_processes;
    say("code: %s", err(process_vm_writev(child, local, 1, remote, 1, 0)));
    say("flags: %s", err(process_vm_readv(child, local, 1, remote, 1, 1)));
    say("too many: %s", err(process_vm_readv(child, local, 5000, remote, 1, 0)));
    say("nobody: %s", err(process_vm_readv(99999999, local, 1, remote, 1, 0)));
    say("nothing: %zd", process_vm_readv(child, local, 0, remote, 1, 0));
    kill(child, SIGKILL);
    reap(child);
}

CHECK_MAIN(CASE(exec_traps), CASE(signals_pass_the_tracer), CASE(signal_information_can_be_changed),
           CASE(calls_stop_twice), CASE(calls_without_the_mark), CASE(calls_can_be_changed),
           CASE(emulated_calls_are_not_made), CASE(registers_have_limits), CASE(extended_state_can_be_changed),
           CASE(breakpoints_are_private), CASE(memory_that_is_forbidden), CASE(steps_one_by_one),
           CASE(steps_into_a_handler), CASE(debug_registers_watch), CASE(copies_between_processes))
