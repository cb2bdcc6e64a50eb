/* mmap, munmap, mprotect, mremap, brk, madvise, mincore, msync, and the faults of memory. */
#include "faults.h"
#include <sys/resource.h>

static char *map(size_t length, int protection, int flags)
{
    char *at = mmap(NULL, length, protection, flags, -1, 0);
    MUST((long)at);
    return at;
}

static char *anonymous(size_t pages)
{
    return map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

static void map_errors(void)
{
    say("no length: %s", err((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    say("neither shared nor private: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
    say("bad descriptor: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 77, 0)));
    say("odd offset: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 100)));
    say("odd fixed address: %s",
        err((long)mmap((void *)0x10000001, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
    say("whole address space: %s",
        err((long)mmap(NULL, (size_t)1 << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    say("wrapping length: %s", err((long)mmap(NULL, (size_t)-1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    say("fixed beyond the end: %s",
        err((long)mmap((void *)(0x7ffffffff000UL - PAGE), 4 * PAGE, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
    say("munmap no length: %s", err(munmap((void *)0x10000, 0)));
    say("munmap odd address: %s", err(munmap((void *)0x10001, PAGE)));
    say("munmap of nothing: %s", err(munmap((void *)0x7f0000000000UL, PAGE)));
}

static void hint_is_taken(void)
{
    char *at = anonymous(16);
    munmap(at, 16 * PAGE);
    char *again = mmap(at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("hint: %+ld pages", (again - at) / (long)PAGE);
    char *other = mmap(again, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("hint in use gives another: %s", other != again ? "yes" : "no");
    char *odd = mmap(again + 3 * PAGE + 17, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("odd hint is aligned: %s", ((uintptr_t)odd & (PAGE - 1)) == 0 ? "yes" : "no");
}

static void fixed_replaces(void)
{
    char *at = anonymous(8);
    memset(at, 'a', 8 * PAGE);
    char *inner = mmap(at + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    say("same place: %s", inner == at + 2 * PAGE ? "yes" : "no");
    say("bytes: %c %d %d %c", at[2 * PAGE - 1], at[2 * PAGE], at[4 * PAGE - 1], at[4 * PAGE]);
    char *no = mmap(at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    say("noreplace: %s", err((long)no));
    munmap(at + PAGE, PAGE);
    no = mmap(at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    say("noreplace in a hole: %s", no == at + PAGE ? "same place" : "elsewhere");
}

static void unmap_in_the_middle(void)
{
    char *at = anonymous(6);
    at[0] = 'x';
    at[5 * PAGE] = 'y';
    say("munmap: %s", err(munmap(at + 2 * PAGE, 2 * PAGE)));
    say("ends: %c %c", at[0], at[5 * PAGE]);
    touch("hole read", at + 2 * PAGE, at, 0);
    touch("hole write", at + 4 * PAGE - 1, at, 1);
    say("munmap over the hole: %s", err(munmap(at, 6 * PAGE)));
    touch("start after that", at, at, 0);
}

static void protections(void)
{
    char *at = anonymous(4);
    at[PAGE] = 'p';
    say("to none: %s", err(mprotect(at + PAGE, PAGE, PROT_NONE)));
    touch("none read", at + PAGE + 5, at, 0);
    touch("none write", at + PAGE + 6, at, 1);
    touch("before", at + PAGE - 1, at, 1);
    touch("after", at + 2 * PAGE, at, 1);
    say("to read: %s", err(mprotect(at + PAGE, PAGE, PROT_READ)));
    say("kept: %c", at[PAGE]);
    touch("read-only write", at + PAGE, at, 1);
    say("to write: %s", err(mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE)));
    touch("writable write", at + PAGE, at, 1);
    say("odd address: %s", err(mprotect(at + 1, PAGE, PROT_READ)));
    say("unknown protection: %s", err(mprotect(at, PAGE, 0x40)));
    say("no length: %s", err(mprotect(at, 0, PROT_READ)));
    munmap(at + 2 * PAGE, PAGE);
    say("over a hole: %s", err(mprotect(at, 4 * PAGE, PROT_READ)));
    touch("start after a failure over a hole", at, at, 1);
    say("growsdown on a plain mapping: %s", err(mprotect(at, PAGE, PROT_READ | PROT_GROWSDOWN)));
}

static void execute_protection(void)
{
    unsigned char *at = (unsigned char *)anonymous(1);
    at[0] = 0xb8, at[1] = 42, at[2] = at[3] = at[4] = 0, at[5] = 0xc3; /* mov eax, 42; ret */
    int (*function)(void) = (int (*)(void))at;
    catch_faults();
    if (sigsetjmp(fault_exit, 1) == 0)
        say("without: %d", function());
    else
        say("without: signal %d code %d at %+ld", fault_signal, fault_code,
            (long)((unsigned char *)fault_address - at));
    MUST(mprotect(at, PAGE, PROT_READ | PROT_EXEC));
    say("with: %d", function());
    MUST(mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    at[1] = 43;
    say("changed: %d", function());
}

static void null_pointer(void)
{
    touch("null read", (char *)0, 0, 0);
    touch("null write", (char *)8, 0, 1);
    touch("kernel half", (char *)0xffff800000000000UL, (char *)0xffff800000000000UL, 0);
    catch_faults();
    if (sigsetjmp(fault_exit, 1) == 0) {
        (void)*(volatile char *)0x8000000000000000UL;
        say("not canonical: fine");
    } else {
        say("not canonical: signal %d code %d at %p", fault_signal, fault_code, fault_address);
    }
}

/* An address that nothing is mapped at. */
static volatile char *volatile nowhere = (volatile char *)16;

static void default_fault_kills(void)
{
    pid_t child = fork();
    if (child == 0) {
        *nowhere = 1;
        _exit(0);
    }
    say("write to null: %s", reap(child));
    child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_IGN);
        *nowhere = 1;
        _exit(0);
    }
    say("ignored fault: %s", reap(child));
    child = fork();
    if (child == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        sigprocmask(SIG_BLOCK, &set, NULL);
        *nowhere = 1;
        _exit(0);
    }
    say("blocked fault: %s", reap(child));
}

static void fork_copies(void)
{
    char *at = anonymous(64);
    memset(at, 1, 64 * PAGE);
    int to[2], back[2];
    MUST(pipe(to));
    MUST(pipe(back));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        MUST(read(to[0], &byte, 1));
        int sum = 0;
        for (int i = 0; i < 64; i++)
            sum += at[i * PAGE];
        memset(at, 3, 64 * PAGE);
        _exit(sum == 64 ? 0 : 1);
    }
    for (int i = 0; i < 64; i += 2)
        at[i * PAGE] = 2;
    MUST(write(to[1], "g", 1));
    say("child saw the old bytes: %s", reap(child));
    int sum = 0;
    for (int i = 0; i < 64; i++)
        sum += at[i * PAGE];
    say("parent kept its own: %d", sum);
}

static void fork_of_fork_copies(void)
{
    int *at = (int *)anonymous(4);
    *at = 1;
    pid_t child = fork();
    if (child == 0) {
        *at += 10;
        pid_t grandchild = fork();
        if (grandchild == 0) {
            *at += 100;
            _exit(*at == 111 ? 0 : 1);
        }
        int status;
        waitpid(grandchild, &status, 0);
        _exit(*at == 11 && status == 0 ? 0 : 1);
    }
    say("descendants: %s", reap(child));
    say("own: %d", *at);
}

static void shared_over_fork(void)
{
    int *at = (int *)map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    at[0] = 5;
    pid_t child = fork();
    if (child == 0) {
        at[0]++;
        at[PAGE / 4] = 77;
        _exit(0);
    }
    say("child: %s", reap(child));
    say("seen: %d %d", at[0], at[PAGE / 4]);
    say("remapped: %s", err(mprotect(at, PAGE, PROT_READ)));
    child = fork();
    if (child == 0) {
        MUST(munmap(at, PAGE));
        at[PAGE / 4] = 78;
        _exit(0);
    }
    say("child: %s", reap(child));
    say("still there: %d %d", at[0], at[PAGE / 4]);
}

static void remap_grow_and_shrink(void)
{
    char *at = anonymous(4);
    for (int i = 0; i < 4; i++)
        at[i * PAGE] = (char)('a' + i);
    char *again = mremap(at, 4 * PAGE, 2 * PAGE, 0);
    say("shrink in place: %s", again == at ? "yes" : "no");
    touch("cut off", at + 2 * PAGE, at, 0);
    char *block = mmap(at + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    say("blocker: %s", block == at + 2 * PAGE ? "there" : "elsewhere");
    say("grow in place over a mapping: %s", err((long)mremap(at, 2 * PAGE, 4 * PAGE, 0)));
    again = mremap(at, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    say("moved: %s, bytes %c%c %d", again != at ? "yes" : "no", again[0], again[PAGE], again[7 * PAGE]);
    touch("old place", at, at, 0);
    char *target = anonymous(16);
    char *fixed = mremap(again, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + 4 * PAGE);
    say("fixed: %s, bytes %c%c", fixed == target + 4 * PAGE ? "yes" : "no", fixed[0], fixed[PAGE]);
    say("overlapping: %s",
        err((long)mremap(fixed, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed + PAGE)));
    say("fixed without maymove: %s", err((long)mremap(fixed, PAGE, PAGE, MREMAP_FIXED, target)));
    say("to no length: %s", err((long)mremap(fixed, PAGE, 0, MREMAP_MAYMOVE)));
    say("odd address: %s", err((long)mremap(fixed + 1, PAGE, PAGE, MREMAP_MAYMOVE)));
    say("unknown flag: %s", err((long)mremap(fixed, PAGE, PAGE, 0x100)));
    munmap(target, PAGE);
    say("of a hole: %s", err((long)mremap(target, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
}

static void remap_old_size_zero(void)
{
    char *shared = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    shared[0] = 's';
    char *second = mremap(shared, 0, PAGE, MREMAP_MAYMOVE);
    MUST((long)second);
    second[1] = 't';
    say("second view: %c%c", second[0], shared[1]);
    char *private = anonymous(1);
    say("of a private mapping: %s", err((long)mremap(private, 0, PAGE, MREMAP_MAYMOVE)));
}

static void program_break(void)
{
    char *start = sbrk(0);
    say("grow: %s", sbrk(3 * PAGE) == start ? "old end" : "no");
    memset(start, 'b', 3 * PAGE);
    say("byte: %c", start[3 * PAGE - 1]);
    say("shrink: %s", sbrk(-2 * (long)PAGE) == start + 3 * PAGE ? "old end" : "no");
    sbrk(2 * PAGE);
    say("zero again: %d", start[2 * PAGE]);
    say("raw of nonsense keeps it: %s", syscall(SYS_brk, 1) == (long)sbrk(0) ? "yes" : "no");
    struct rlimit limit = { 1 << 20, RLIM_INFINITY };
    MUST(setrlimit(RLIMIT_DATA, &limit));
    say("beyond the limit: %s", err((long)sbrk(16 << 20)));
}

static void advice(void)
{
    char *at = anonymous(8);
    memset(at, 'm', 8 * PAGE);
    say("dontneed: %s", err(madvise(at + PAGE, 2 * PAGE, MADV_DONTNEED)));
    say("zero: %d %d %c", at[PAGE], at[3 * PAGE - 1], at[3 * PAGE]);
    say("willneed: %s", err(madvise(at, 8 * PAGE, MADV_WILLNEED)));
    say("sequential: %s", err(madvise(at, PAGE, MADV_SEQUENTIAL)));
    say("free: %s", err(madvise(at, PAGE, MADV_FREE)));
    say("unknown: %s", err(madvise(at, PAGE, 4711)));
    say("odd address: %s", err(madvise(at + 1, PAGE, MADV_DONTNEED)));
    say("no length: %s", err(madvise(at, 0, MADV_DONTNEED)));
    munmap(at + 4 * PAGE, PAGE);
    say("over a hole: %s", err(madvise(at, 8 * PAGE, MADV_DONTNEED)));
    say("zero after it: %d", at[7 * PAGE]);
    char *shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    shared[0] = 's';
    say("dontneed of shared: %s", err(madvise(shared, PAGE, MADV_DONTNEED)));
    say("keeps it: %c", shared[0]);
    say("remove of shared: %s", err(madvise(shared, PAGE, MADV_REMOVE)));
    say("clears it: %d", shared[0]);
}

static void not_inherited(void)
{
    char *at = anonymous(3);
    memset(at, 'f', 3 * PAGE);
    say("dontfork: %s", err(madvise(at, PAGE, MADV_DONTFORK)));
    say("wipeonfork: %s", err(madvise(at + PAGE, PAGE, MADV_WIPEONFORK)));
    pid_t child = fork();
    if (child == 0) {
        touch("child's first page", at, at, 0);
        say("child's second page: %d", at[PAGE]);
        say("child's third page: %c", at[2 * PAGE]);
        _exit(0);
    }
    say("child: %s", reap(child));
    say("parent: %c%c%c", at[0], at[PAGE], at[2 * PAGE]);
}

static void residence(void)
{
    unsigned char state[4];
    char *at = anonymous(4);
    say("untouched: %s", err(mincore(at, 4 * PAGE, state)));
    say("states: %d%d%d%d", state[0] & 1, state[1] & 1, state[2] & 1, state[3] & 1);
    memset(at, 1, 4 * PAGE);
    say("touched: %s", err(mincore(at, 4 * PAGE, state)));
    say("states: %d%d%d%d", state[0] & 1, state[1] & 1, state[2] & 1, state[3] & 1);
    say("odd address: %s", err(mincore(at + 1, PAGE, state)));
    munmap(at + PAGE, PAGE);
    say("over a hole: %s", err(mincore(at, 4 * PAGE, state)));
    say("bad vector: %s", err(mincore(at, PAGE, (void *)1)));
}

static void synchronise(void)
{
    char *at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    say("sync: %s", err(msync(at, 2 * PAGE, MS_SYNC)));
    say("async: %s", err(msync(at, PAGE, MS_ASYNC)));
    say("both: %s", err(msync(at, PAGE, MS_SYNC | MS_ASYNC)));
    say("unknown: %s", err(msync(at, PAGE, 0x80)));
    say("odd address: %s", err(msync(at + 1, PAGE, MS_SYNC)));
    munmap(at + PAGE, PAGE);
    say("over a hole: %s", err(msync(at, 2 * PAGE, MS_SYNC)));
}

static void grows_down(void)
{
    /* A window with room below, so that nothing else is there. */
    char *window = map(1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
    MUST(munmap(window, 1024 * PAGE));
    char *at = mmap(window + 1000 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    MUST((long)at);
    touch("inside", at, at, 1);
    touch("just below", at - 8, at, 1);
    touch("further below", at - 4 * PAGE, at, 1);
    say("kept: %c", at[-8]);
}

static int depth_sum(int depth)
{
    volatile char block[PAGE];
    block[0] = (char)depth;
    return depth == 0 ? 0 : depth_sum(depth - 1) + block[0] / 128 + 1;
}

static void stack_grows(void)
{
    say("deep recursion: %d", depth_sum(1500));
}

static void stack_overflow(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(depth_sum(1000000));
    say("without a handler: %s", reap(child));
    stack_t other = { .ss_sp = anonymous(16), .ss_size = 16 * PAGE };
    MUST(sigaltstack(&other, NULL));
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(fault_exit, 1) == 0)
        say("%d", depth_sum(1000000));
    else
        say("with one: signal %d code %d", fault_signal, fault_code);
}

static void address_space_limit(void)
{
    struct rlimit limit = { 256 << 20, RLIM_INFINITY };
    MUST(setrlimit(RLIMIT_AS, &limit));
    say("small: %s", err((long)mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    say("large: %s", err((long)mmap(NULL, 512 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    char *at = anonymous(1);
    say("grow beyond: %s", err((long)mremap(at, PAGE, 512 << 20, MREMAP_MAYMOVE)));
}

static void locked_memory(void)
{
    char *at = anonymous(4);
    say("mlock: %s", err(mlock(at, 2 * PAGE)));
    say("munlock: %s", err(munlock(at, 2 * PAGE)));
    munmap(at + PAGE, PAGE);
    say("mlock over a hole: %s", err(mlock(at, 4 * PAGE)));
    say("munlockall: %s", err(munlockall()));
    say("mlockall of nothing: %s", err(mlockall(0)));
}

static void many_mappings(void)
{
    char *at = map(2000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    for (int i = 0; i < 2000; i += 2)
        MUST(mprotect(at + (size_t)i * PAGE, PAGE, PROT_READ));
    for (int i = 1; i < 2000; i += 2)
        at[(size_t)i * PAGE] = (char)i;
    long sum = 0;
    for (int i = 0; i < 2000; i++)
        sum += at[(size_t)i * PAGE];
    for (int i = 0; i < 2000; i += 2)
        MUST(mprotect(at + (size_t)i * PAGE, PAGE, PROT_READ | PROT_WRITE));
    memset(at, 1, 2000 * PAGE);
    say("sum %ld, then %d", sum, at[1999 * PAGE]);
}

static void large_memory(void)
{
    size_t length = 256 << 20;
    char *at = map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    for (size_t i = 0; i < length; i += 1 << 20)
        at[i] = (char)(i >> 20);
    long sum = 0;
    for (size_t i = 0; i < length; i += 1 << 20)
        sum += (unsigned char)at[i];
    say("sum: %ld", sum);
    char *reserved = mmap(NULL, (size_t)64 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    say("reserve 64 GiB: %s", err((long)reserved));
    MUST(mprotect(reserved + ((size_t)40 << 30), PAGE, PROT_READ | PROT_WRITE));
    reserved[(size_t)40 << 30] = 'r';
    say("in the middle: %c", reserved[(size_t)40 << 30]);
}

CHECK_MAIN(CASE(map_errors), CASE(hint_is_taken), CASE(fixed_replaces), CASE(unmap_in_the_middle), CASE(protections),
           CASE(execute_protection), CASE(null_pointer), CASE(default_fault_kills), CASE(fork_copies),
           CASE(fork_of_fork_copies), CASE(shared_over_fork), CASE(remap_grow_and_shrink), CASE(remap_old_size_zero),
           CASE(program_break), CASE(advice), CASE(not_inherited), CASE(residence), CASE(synchronise),
           CASE(grows_down), CASE(stack_grows), CASE(stack_overflow), CASE(address_space_limit), CASE(locked_memory),
           CASE(many_mappings), CASE(large_memory))
