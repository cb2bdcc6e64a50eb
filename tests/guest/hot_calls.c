/* Calls made so often from one place that a sandbox may make them faster: nothing but the speed may change. */
#include "check.h"
#include <pthread.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { OFTEN = 3000 };

static void own_code(void)
{
    /* mov eax, NUMBER; syscall; ret, behind enough padding. */
    unsigned char code[128];
    memset(code, 0x90, sizeof code);
    const unsigned char call[] = {0xb8, SYS_getpid, 0, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code + 80, call, sizeof call);
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    long (*function)(void) = (long (*)(void))(page + 80);
    long own = getpid(), parent = getppid();
    int right = 0;
    for (int i = 0; i < OFTEN; i++) {
        right += function() == own;
    }
    say("calls from a page of its own: %d right", right);
    MUST(mprotect(page, 4096, PROT_READ | PROT_WRITE));
    say("the code is as it was: %d", memcmp(page, code, sizeof code) == 0);
    page[81] = SYS_getppid;
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    right = 0;
    for (int i = 0; i < OFTEN; i++) {
        right += function() == parent;
    }
    say("after a change: %d right", right);
    unsigned char *moved = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, page + (64 << 20));
    say("moved: %d", moved == page + (64 << 20));
    function = (long (*)(void))(moved + 80);
    right = 0;
    for (int i = 0; i < OFTEN; i++) {
        right += function() == parent;
    }
    say("after a move: %d right, call still there: %d", right, moved[85] == 0x0f && moved[86] == 0x05);
    pid_t child = fork();
    if (child == 0) {
        int wrong = 0;
        for (int i = 0; i < OFTEN; i++) {
            wrong += function() != getppid();
        }
        _exit(wrong != 0);
    }
    int status;
    waitpid(child, &status, 0);
    say("in a child: %d", WEXITSTATUS(status));
    munmap(moved, 4096);
}

/* Code that makes the call NUMBER, after many calls. */
static long (*often_called(int number))(void)
{
    unsigned char code[128];
    memset(code, 0x90, sizeof code);
    const unsigned char call[] = {0xb8, (unsigned char)number, 0, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code + 80, call, sizeof call);
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    long (*function)(void) = (long (*)(void))(page + 80);
    for (int i = 0; i < OFTEN; i++)
        function();
    return function;
}

static long (*own_process)(void), (*own_thread)(void);

static void *ids_in_thread(void *argument)
{
    long wrong = 0;
    (void)argument;
    for (int i = 0; i < OFTEN; i++)
        wrong += own_process() != syscall(SYS_getpid) || own_thread() != syscall(SYS_gettid) || own_thread() == own_process();
    return (void *)wrong;
}

static void ids(void)
{
    own_process = often_called(SYS_getpid);
    own_thread = often_called(SYS_gettid);
    say("own: %d %d", own_process() == syscall(SYS_getpid), own_thread() == syscall(SYS_gettid));
    pid_t child = fork();
    if (child == 0)
        _exit(own_process() != syscall(SYS_getpid) || own_thread() != own_process());
    int status;
    waitpid(child, &status, 0);
    say("in a child: %d", WEXITSTATUS(status));
    pid_t shared = vfork();
    if (shared == 0)
        _exit(own_process() != syscall(SYS_getpid) || own_thread() != own_process());
    waitpid(shared, &status, 0);
    say("after vfork: %d, still: %d", WEXITSTATUS(status), own_process() == syscall(SYS_getpid));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, ids_in_thread, NULL);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        say("in a thread: %ld wrong", (long)wrong);
    }
}

static atomic_int filtered_state;

static void *watch_ids(void *argument)
{
    (void)argument;
    while (filtered_state == 0)
        own_process();
    long result = own_process();
    say("in another thread: %ld", result);
    return NULL;
}

static void filtered(void)
{
    own_process = often_called(SYS_getpid);
    pthread_t thread;
    pthread_create(&thread, NULL, watch_ids, NULL);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT(code), code};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
    say("after a filter: %ld", own_process());
    sleep_ms(5);
    filtered_state = 1;
    pthread_join(thread, NULL);
}

static volatile sig_atomic_t ticks;

static void tick(int number)
{
    (void)number;
    ticks++;
}

static void under_signals(void)
{
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int ends[2];
    MUST(pipe(ends));
    long sum = 0;
    for (int round = 0; ticks < 300; round++) {
        unsigned char byte = (unsigned char)round, back = 0;
        if (write(ends[1], &byte, 1) != 1 || read(ends[0], &back, 1) != 1 || back != byte) {
            say("round %d went wrong", round);
            break;
        }
        sum += back == byte;
    }
    struct itimerval none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &none, NULL);
    say("under signals: %s", sum > 300 ? "all bytes came" : "too few rounds");
}

static void *in_thread(void *argument)
{
    long tid = syscall(SYS_gettid), wrong = 0;
    (void)argument;
    for (int i = 0; i < OFTEN; i++) {
        wrong += syscall(SYS_gettid) != tid;
        /* All six arguments. */
        wrong += syscall(SYS_mmap, 0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -1 || errno != EINVAL;
    }
    return (void *)wrong;
}

static void in_threads(void)
{
    for (int round = 0; round < 3; round++) {
        pthread_t threads[6];
        long wrong = 0;
        for (int i = 0; i < 6; i++) {
            pthread_create(&threads[i], NULL, in_thread, NULL);
        }
        for (int i = 0; i < 6; i++) {
            void *result;
            pthread_join(threads[i], &result);
            wrong += (long)result;
        }
        say("in threads: %ld wrong", wrong);
    }
}

static void after_vfork(void)
{
    static int right;
    static int round;
    for (round = 0; round < 50; round++) {
        pid_t child = vfork();
        if (child == 0) {
            for (int j = 0; j < 50; j++) {
                getppid();
            }
            _exit(7);
        }
        int status;
        for (int j = 0; j < 50; j++) {
            getppid();
        }
        waitpid(child, &status, 0);
        right += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    say("after vfork: %d right", right);
}

static void with_another_base(void)
{
    /* A base that nobody knows, and the old one again. */
    unsigned long base, other = 0x1234000;
    MUST(syscall(SYS_arch_prctl, 0x1003, &base));
    long parent = getppid(), right = 0;
    for (int i = 0; i < OFTEN; i++) {
        long result;
        if (i % 2) {
            __asm__ volatile("wrfsbase %1\n\tmov $110, %%eax\n\tsyscall\n\twrfsbase %2"
                             : "=&a"(result) : "r"(other), "r"(base) : "rcx", "r11", "memory");
        } else {
            __asm__ volatile("mov $110, %%eax\n\tsyscall" : "=&a"(result) : : "rcx", "r11", "memory");
        }
        right += result == parent;
    }
    say("with another base: %ld right", right);
}

CHECK_MAIN(CASE(own_code), CASE(ids), CASE(filtered), CASE(under_signals), CASE(in_threads), CASE(after_vfork), CASE(with_another_base))
