/* Filters of system calls. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define STATEMENT(code, k) ((struct sock_filter){ (code), 0, 0, (k) })
#define BRANCH(code, k, yes, no) ((struct sock_filter){ (code), (yes), (no), (k) })
#define FIELD(field) (unsigned)offsetof(struct seccomp_data, field)
/* Calls that no library makes by itself. */
#define VICTIM SYS_getpgid

static int seccomp(unsigned operation, unsigned flags, void *argument)
{
    return (int)syscall(SYS_seccomp, operation, flags, argument);
}

/* A filter that gives this result for one call, and allows all others. */
static int one_call(unsigned flags, long call, unsigned result)
{
    struct sock_filter code[] = {
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
        BRANCH(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        STATEMENT(BPF_RET | BPF_K, result),
        STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { COUNT(code), code };
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void no_new_privs(void)
{
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static const char *status_line(const char *name)
{
    static char line[128];
    char *at = strstr(get("/proc/self/status"), name);
    if (!at)
        return "none";
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
    for (char *c = line; *c; c++)
        if (*c == '\t')
            *c = ' ';
    return line;
}

static void arguments(void)
{
    say("operation: %s", err(seccomp(99, 0, 0)));
    say("strict with flags: %s", err(seccomp(SECCOMP_SET_MODE_STRICT, 1, 0)));
    say("strict with argument: %s", err(seccomp(SECCOMP_SET_MODE_STRICT, 0, (void *)8)));
    say("bad flags: %s", err(seccomp(SECCOMP_SET_MODE_FILTER, 1u << 20, 0)));
    say("bad pointer: %s", err(seccomp(SECCOMP_SET_MODE_FILTER, 0, (void *)8)));
    say("flags that do not go together: %s %s", err(one_call(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER, VICTIM, 0)),
        err(one_call(1 << 5, VICTIM, 0)));
    unsigned actions[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_USER_NOTIF,
                           SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x10000, SECCOMP_RET_ERRNO | 1 };
    for (size_t i = 0; i < COUNT(actions); i++)
        say("action %#x: %s", actions[i], err(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &actions[i])));
    struct seccomp_notif_sizes sizes;
    MUST(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
    say("sizes %u %u %u", sizes.seccomp_notif, sizes.seccomp_notif_resp, sizes.seccomp_data);
    say("prctl: %s %d", err(prctl(PR_SET_SECCOMP, 7, 0, 0, 0)), prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    say("%s", status_line("Seccomp:"));
    say("%s", status_line("Seccomp_filters:"));
    pid_t child = fork();
    if (child == 0) {
        MUST(setresuid(1000, 1000, 1000));
        say("without privilege: %s", err(one_call(0, VICTIM, SECCOMP_RET_ALLOW)));
        no_new_privs();
        say("with no_new_privs: %s", err(one_call(0, VICTIM, SECCOMP_RET_ALLOW)));
        _exit(0);
    }
    reap(child);
    say("%s", get("/proc/sys/kernel/seccomp/actions_avail"));
}

static const char *checked(const struct sock_filter *code, unsigned short count)
{
    struct sock_fprog program = { count, (struct sock_filter *)code };
    return err(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* What the checker says of one instruction, which is never reached. */
static void instruction(const char *what, unsigned short code, unsigned char jt, unsigned char jf, unsigned k)
{
    struct sock_filter end = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_filter filter[] = { end, { code, jt, jf, k }, end };
    say("%s: %s", what, checked(filter, 3));
}

static void checker(void)
{
    no_new_privs();
    struct sock_filter allow = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    static struct sock_filter many[4097];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = allow;
    say("none: %s", checked(&allow, 0));
    say("too many: %s", checked(many, 4097));
    say("many: %s", checked(many, 4096));
    instruction("load", BPF_LD | BPF_W | BPF_ABS, 0, 0, 60);
    instruction("load behind the end", BPF_LD | BPF_W | BPF_ABS, 0, 0, 64);
    instruction("load unaligned", BPF_LD | BPF_W | BPF_ABS, 0, 0, 3);
    instruction("load a byte", BPF_LD | BPF_B | BPF_ABS, 0, 0, 0);
    instruction("load indirect", BPF_LD | BPF_W | BPF_IND, 0, 0, 0);
    instruction("length", BPF_LD | BPF_W | BPF_LEN, 0, 0, 0);
    instruction("index length", BPF_LDX | BPF_W | BPF_LEN, 0, 0, 0);
    instruction("header length", BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0);
    instruction("divide by zero", BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0);
    instruction("divide by the index", BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0);
    instruction("modulo", BPF_ALU | BPF_MOD | BPF_K, 0, 0, 3);
    instruction("exclusive or", BPF_ALU | BPF_XOR | BPF_K, 0, 0, 3);
    instruction("shift by 32", BPF_ALU | BPF_LSH | BPF_K, 0, 0, 32);
    instruction("shift by 31", BPF_ALU | BPF_RSH | BPF_K, 0, 0, 31);
    instruction("negate", BPF_ALU | BPF_NEG, 0, 0, 0);
    instruction("read scratch", BPF_LD | BPF_MEM, 0, 0, 0);
    instruction("write scratch", BPF_ST, 0, 0, 15);
    instruction("write behind scratch", BPF_STX, 0, 0, 16);
    instruction("jump to the end", BPF_JMP | BPF_JA, 0, 0, 0);
    instruction("jump behind the end", BPF_JMP | BPF_JA, 0, 0, 1);
    instruction("branch behind the end", BPF_JMP | BPF_JSET | BPF_K, 1, 0, 0);
    instruction("else behind the end", BPF_JMP | BPF_JSET | BPF_K, 0, 1, 0);
    instruction("return index", BPF_RET | BPF_X, 0, 0, 0);
    instruction("return accumulator", BPF_RET | BPF_A, 0, 0, 0);
    instruction("unknown", 0xff, 0, 0, 0);
    struct sock_filter endless = STATEMENT(BPF_LD | BPF_IMM, 0);
    say("no return: %s", checked(&endless, 1));
}

static void results(void)
{
    no_new_privs();
    MUST(one_call(0, VICTIM, SECCOMP_RET_ERRNO | ENOTTY));
    say("error: %s", err(syscall(VICTIM, 0)));
    MUST(one_call(0, VICTIM, SECCOMP_RET_ERRNO | 0));
    say("zero: %ld", syscall(VICTIM, 0));
    MUST(one_call(0, VICTIM, SECCOMP_RET_ERRNO | EXDEV));
    say("the newest counts: %s", err(syscall(VICTIM, 0)));
    MUST(one_call(0, SYS_getsid, SECCOMP_RET_ERRNO | 0xffff));
    long largest = syscall(SYS_getsid, 0);
    say("largest: %ld %d", largest, errno);
    MUST(one_call(0, SYS_getpriority, SECCOMP_RET_TRACE | 3));
    say("trace: %s", err(syscall(SYS_getpriority, 0, 0)));
    MUST(one_call(0, SYS_getuid, SECCOMP_RET_LOG));
    say("log: %ld", syscall(SYS_getuid));
    MUST(one_call(0, SYS_getuid, SECCOMP_RET_USER_NOTIF));
    say("nobody listens: %s", err(syscall(SYS_getuid)));
    say("%s", status_line("Seccomp:"));
    say("%s", status_line("Seccomp_filters:"));
    say("%s", status_line("NoNewPrivs:"));
    say("mode %d", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    say("strict: %s", err(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0)));
    pid_t child = fork();
    if (child == 0) {
        say("in a child: %s", err(syscall(VICTIM, 0)));
        execl("/bin/grep", "grep", "Seccomp_filters", "/proc/self/status", (char *)0);
        _exit(1);
    }
    say("after exec: %s", reap(child));
}

/* A filter of the arguments: the result depends on the second one. */
static void data(void)
{
    no_new_privs();
    struct sock_filter code[] = {
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(arch)),
        BRANCH(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
        BRANCH(BPF_JMP | BPF_JEQ | BPF_K, VICTIM, 0, 7),
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1]) + 4),
        STATEMENT(BPF_ST, 2),
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1])),
        STATEMENT(BPF_LDX | BPF_MEM, 2),
        STATEMENT(BPF_ALU | BPF_ADD | BPF_X, 0),
        STATEMENT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
        STATEMENT(BPF_RET | BPF_A, 0),
        STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { COUNT(code), code };
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    for (unsigned long i = 1; i < 4; i++) {
        syscall(VICTIM, 0, i | (10 * i) << 32);
        say("%lu: %d", i, errno);
    }
}

static siginfo_t trapped;
static long trapped_rax;


static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    trapped = *info;
    ucontext_t *user = context;
    trapped_rax = user->uc_mcontext.gregs[REG_RAX];
    user->uc_mcontext.gregs[REG_RAX] = 4711;
    trapped.si_errno += (void *)user->uc_mcontext.gregs[REG_RIP] == info->si_call_addr ? 0 : 10000;
}

static void trap(void)
{
    no_new_privs();
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
    sigaction(SIGSYS, &action, 0);
    MUST(one_call(0, VICTIM, SECCOMP_RET_TRAP | 17));
    say("result %ld", syscall(VICTIM, 0));
    say("signal %d code %d errno %d call %d arch %#x rax %d", trapped.si_signo, trapped.si_code, trapped.si_errno,
        trapped.si_syscall == VICTIM, trapped.si_arch, trapped_rax == VICTIM);
    pid_t child = fork();
    if (child == 0) {
        sigset_t set;
        sigfillset(&set);
        sigprocmask(SIG_BLOCK, &set, 0);
        syscall(VICTIM, 0);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    say("blocked: %d", WTERMSIG(status));
}

static void *killed_thread(void *argument)
{
    (void)argument;
    syscall(VICTIM, 0);
    say("not reached");
    return 0;
}

static int term(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void kill_actions(void)
{
    no_new_privs();
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGSYS, &ignore, 0);
    unsigned actions[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, 0x12340000 };
    for (size_t i = 0; i < COUNT(actions); i++) {
        pid_t child = fork();
        if (child == 0) {
            MUST(one_call(0, VICTIM, actions[i]));
            syscall(VICTIM, 0);
            _exit(1);
        }
        say("alone %#x: %d", actions[i], term(child));
        child = fork();
        if (child == 0) {
            MUST(one_call(0, VICTIM, actions[i]));
            pthread_t thread;
            pthread_create(&thread, 0, killed_thread, 0);
            sleep_ms(100);
            _exit(5);
        }
        say("in a thread %#x: %d", actions[i], term(child));
    }
}

static void strict(void)
{
    pid_t child = fork();
    if (child == 0) {
        MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
        if (write(1, "strict: write\n", 14) < 0)
            _exit(1);
        syscall(SYS_exit, 3);
    }
    say("exit: %d", term(child));
    child = fork();
    if (child == 0) {
        MUST(seccomp(SECCOMP_SET_MODE_STRICT, 0, 0));
        syscall(SYS_getpid);
        syscall(SYS_exit, 3);
    }
    say("getpid: %d", term(child));
    child = fork();
    if (child == 0) {
        MUST(seccomp(SECCOMP_SET_MODE_STRICT, 0, 0));
        syscall(SYS_exit_group, 3);
    }
    say("exit_group: %d", term(child));
}

static volatile int stage;
static volatile int other_tid;

static void *synced(void *argument)
{
    other_tid = (int)syscall(SYS_gettid);
    if (argument) {
        no_new_privs();
        MUST(one_call(0, SYS_getsid, SECCOMP_RET_ALLOW));
    }
    stage = 1;
    while (stage < 2)
        sleep_ms(1);
    say("the other: %s nnp %d", err(syscall(VICTIM, 0)), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
}

static void sync_threads(void)
{
    no_new_privs();
    pthread_t thread;
    stage = 0;
    pthread_create(&thread, 0, synced, 0);
    while (stage < 1)
        sleep_ms(1);
    say("without: %s", err(one_call(0, SYS_getsid, SECCOMP_RET_ALLOW)));
    say("with: %s", err(one_call(SECCOMP_FILTER_FLAG_TSYNC, VICTIM, SECCOMP_RET_ERRNO | ENOTTY)));
    stage = 2;
    pthread_join(thread, 0);
    stage = 0;
    pthread_create(&thread, 0, synced, (void *)1);
    while (stage < 1)
        sleep_ms(1);
    say("diverged: %d", one_call(SECCOMP_FILTER_FLAG_TSYNC, VICTIM, SECCOMP_RET_ERRNO | EXDEV) == other_tid);
    say("by error: %s", err(one_call(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, VICTIM, SECCOMP_RET_ERRNO | EXDEV)));
    stage = 2;
    pthread_join(thread, 0);
}

static int receive(int listener, struct seccomp_notif *request)
{
    memset(request, 0, sizeof(*request));
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request);
}

static int answer(int listener, unsigned long long id, long long value, int error, unsigned flags)
{
    struct seccomp_notif_resp response = { id, value, error, flags };
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void on_signal(int signal)
{
    (void)signal;
}

static void notification(void)
{
    no_new_privs();
    int listener = one_call(SECCOMP_FILTER_FLAG_NEW_LISTENER, VICTIM, SECCOMP_RET_USER_NOTIF);
    say("listener: %s, flags %d", err(listener), fcntl(listener, F_GETFD));
    char path[64], target[64] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", listener);
    MUST(readlink(path, target, sizeof(target) - 1));
    say("link %s", target);
    say("a second one: %s", err(one_call(SECCOMP_FILTER_FLAG_NEW_LISTENER, VICTIM, SECCOMP_RET_USER_NOTIF)));
    struct pollfd entry = { .fd = listener, .events = POLLIN | POLLOUT };
    say("poll %d", poll(&entry, 1, 0));
    pid_t child = fork();
    if (child == 0) {
        close(listener);
        say("value %ld", syscall(VICTIM, 77, 88));
        say("error %s", err(syscall(VICTIM, 0)));
        say("continued %d", syscall(VICTIM, 0) == getpgrp());
        long fd = syscall(VICTIM, 0);
        char text[8] = "";
        say("descriptor %s, %ld bytes: %s", err(fd), (long)read((int)fd, text, 5), text);
        fd = syscall(VICTIM, 0);
        say("descriptor %ld, flags %d", fd, fcntl((int)fd, F_GETFD));
        struct sigaction action = { .sa_handler = on_signal };
        sigaction(SIGUSR1, &action, 0);
        say("interrupted %s", err(syscall(VICTIM, 1)));
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, 0);
        say("restarted %ld", syscall(VICTIM, 2));
        say("closed %s", err(syscall(VICTIM, 0)));
        _exit(0);
    }
    struct seccomp_notif request;
    struct seccomp_notif garbage;
    memset(&garbage, 1, sizeof(garbage));
    say("garbage: %s", err(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &garbage)));
    say("poll %d", poll(&entry, 1, 5000));
    say("poll %#x", entry.revents);
    MUST(receive(listener, &request));
    say("pid %d nr %d arch %#x args %llu %llu ip %d", request.pid == (unsigned)child, request.data.nr == VICTIM, request.data.arch,
        request.data.args[0], request.data.args[1], request.data.instruction_pointer != 0);
    say("poll %d", poll(&entry, 1, 0));
    say("poll %#x", entry.revents);
    say("valid: %s", err(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id)));
    say("bad flags: %s", err(answer(listener, request.id, 0, 0, 2)));
    say("continue with a value: %s", err(answer(listener, request.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)));
    say("unknown: %s", err(answer(listener, request.id + 100, 1, 0, 0)));
    MUST(answer(listener, request.id, 4711, 0, 0));
    MUST(receive(listener, &request));
    MUST(answer(listener, request.id, 5, -ENOTTY, 0));
    MUST(receive(listener, &request));
    MUST(answer(listener, request.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    int p[2];
    MUST(pipe(p));
    MUST(write(p[1], "hello", 5));
    MUST(receive(listener, &request));
    struct seccomp_notif_addfd add = { .id = request.id, .srcfd = (unsigned)p[0], .newfd = 3 };
    say("number without flag: %s", err(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add)));
    add.newfd = 0;
    int fd = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    say("added: %s", err(fd));
    MUST(answer(listener, request.id, fd, 0, 0));
    MUST(receive(listener, &request));
    add = (struct seccomp_notif_addfd){ request.id, SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND, (unsigned)p[1], 200, O_CLOEXEC };
    int added = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    MUST(receive(listener, &request));
    say("added: %d", added);
    kill(child, SIGUSR1);
    sleep_ms(50);
    say("gone: %s %s", err(answer(listener, request.id, 0, 0, 0)), err(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id)));
    MUST(receive(listener, &request));
    say("next: %llu", request.data.args[0]);
    kill(child, SIGUSR1);
    sleep_ms(50);
    MUST(receive(listener, &request));
    say("again: %llu", request.data.args[0]);
    MUST(answer(listener, request.id, 9, 0, 0));
    MUST(receive(listener, &request));
    close(listener);
    reap(child);
}

static void hang_up(void)
{
    no_new_privs();
    int pair[2];
    MUST(pipe(pair));
    int listener = -1;
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    reap(child);
    /* A thread with a filter of its own hands its listener over by their common table. */
    pthread_t thread;
    void *listen(void *argument)
    {
        *(int *)argument = one_call(SECCOMP_FILTER_FLAG_NEW_LISTENER, VICTIM, SECCOMP_RET_USER_NOTIF);
        return 0;
    }
    pthread_create(&thread, 0, listen, &listener);
    pthread_join(thread, 0);
    struct pollfd entry = { .fd = listener, .events = POLLIN };
    say("poll %d", poll(&entry, 1, 5000));
    say("hung up %d", (entry.revents & POLLHUP) != 0);
}

static void chain(void)
{
    no_new_privs();
    static struct sock_filter many[4096];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { COUNT(many), many };
    int count = 0;
    while (seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
        count++;
    say("%d, then %s", count, err(-1));
    say("%s", status_line("Seccomp_filters:"));
    /* The rest in small pieces. */
    struct sock_filter small[] = {
        BRANCH(BPF_JMP | BPF_JSET | BPF_K, 0x80000000, 1, 2), STATEMENT(BPF_MISC | BPF_TAX, 0),
        BRANCH(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 1),           STATEMENT(BPF_ALU | BPF_NEG, 0),
        BRANCH(BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0),           STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        STATEMENT(BPF_ALU | BPF_DIV | BPF_X, 0),              STATEMENT(BPF_RET | BPF_A, 0),
    };
    program = (struct sock_fprog){ COUNT(small), small };
    for (count = 0; seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) == 0;)
        count++;
    say("%d, then %s", count, err(-1));
}

CHECK_MAIN(CASE(arguments), CASE(checker), CASE(results), CASE(data), CASE(trap), CASE(kill_actions), CASE(strict),
           CASE(sync_threads), CASE(notification), CASE(hang_up), CASE(chain))
