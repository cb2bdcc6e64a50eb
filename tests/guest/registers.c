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

/* All 512 bits, the upper sixteen registers and the masks, of which only AVX-512 knows. */
struct widest {
    uint64_t low[8], high[8];
    uint64_t mask, other_mask;
};

static void spoil_widest(int number)
{
    (void)number;
    __asm__ volatile("vpxorq %%zmm2, %%zmm2, %%zmm2; vpternlogd $0xff, %%zmm29, %%zmm29, %%zmm29; kxorw %%k1, %%k1, %%k1; kxorw %%k7, %%k7, %%k7"
                     : : : "xmm2", "memory");
    hits++;
}

/* Loads the state, makes one call, and tells how many words of it are as they were. */
static int widest_kept(const struct widest *in, long number, long first, long second, long third, long fourth)
{
    struct widest out = { 0 };
    register long r10 __asm__("r10") = fourth;
    __asm__ volatile("vmovdqu64 %[low], %%zmm2; vmovdqu64 %[high], %%zmm29; kmovw %[mask], %%k1; kmovw %[other], %%k7; syscall; "
                     "vmovdqu64 %%zmm2, %[low_out]; vmovdqu64 %%zmm29, %[high_out]; kmovw %%k1, %[mask_out]; kmovw %%k7, %[other_out]"
                     : [low_out] "=m"(out.low), [high_out] "=m"(out.high), [mask_out] "+m"(out.mask),
                       [other_out] "+m"(out.other_mask), "+a"(number)
                     : [low] "m"(in->low), [high] "m"(in->high), [mask] "m"(in->mask), [other] "m"(in->other_mask), "D"(first),
                       "S"(second), "d"(third), "r"(r10)
                     : "rcx", "r11", "xmm2", "memory");
    const uint64_t *was = (const uint64_t *)in, *is = (const uint64_t *)&out;
    int kept = 0;
    for (size_t i = 0; i < sizeof(out) / sizeof(*is); i++)
        kept += was[i] == is[i];
    return kept;
}

static void widest_in_children(void)
{
    for (int child = 0; child < 4; child++) {
        if (fork() == 0) {
            struct widest own = { .mask = (uint64_t)(0x11 + child), .other_mask = (uint64_t)(0x7700 + child) };
            struct timespec pause = { 0, 100000 };
            for (uint64_t i = 0; i < 8; i++) {
                own.low[i] = i * 0x0101010101010101 + (uint64_t)child;
                own.high[i] = ~own.low[i];
            }
            int good = 0;
            for (int i = 0; i < 200; i++)
                good += widest_kept(&own, i % 2 ? SYS_nanosleep : SYS_sched_yield, (long)&pause, 0, 0, 0) == 18;
            _exit(good == 200 ? 0 : 1);
        }
    }
    int good = 0, status;
    while (wait(&status) > 0)
        good += status == 0;
    say("children that kept it: %d", good);
}

static void widest_state(void)
{
    if (!__builtin_cpu_supports("avx512f")) {
        say("no AVX-512");
        return;
    }
    handle(SIGUSR1, spoil_widest);
    struct widest in = { .mask = 0xa5c3, .other_mask = 0x1234 };
    for (uint64_t i = 0; i < 8; i++) {
        in.low[i] = 0x1122334455667788 * (i + 1);
        in.high[i] = 0x8877665544332211 ^ i << 40;
    }
    say("over a handler: %d", widest_kept(&in, SYS_kill, getpid(), SIGUSR1, 0, 0));
    say("over a call: %d", widest_kept(&in, SYS_getppid, 0, 0, 0, 0));
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("over a call that touches a new page: %d", widest_kept(&in, SYS_getcwd, (long)page, 4096, 0, 0));
    say("hits: %d", hits);
    widest_in_children();
}

CHECK_MAIN(CASE(fault_signals), CASE(changed_registers), CASE(vector_state), CASE(registers_survive_calls),
           CASE(widest_state))
