/* Wild pointers: each pointer argument of each call in turn is one that points nowhere, and the call must fail with the
 * same error as on Linux, or succeed where Linux does not look at it. */
#include "check.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>

/* Null, the first page, the last byte of a mapping with nothing behind it, a page without rights, a read-only page, the
 * end of the user's half, not canonical, and the kernel's half. */
enum { BAD = 8 };
static unsigned long bad[BAD];
static const char *bad_names[BAD] = { "null", "low", "edge", "none", "read-only", "top", "hole", "kernel" };

static int scratch_file, directory, pipe_read, pipe_write, epoll, timer_descriptor, event_descriptor;
static char good[8192] __attribute__((aligned(4096)));

struct call {
    const char *name;
    long number;
    long arguments[6];
    /* Which arguments are pointers that are to be tried. */
    unsigned pointers;
    /* Addresses that a call may not be tried with, as bits, because what it does with them depends on what it finds there,
     * or on how much it copies at a time. */
    unsigned not_with;
};

#define G ((long)good)
#define P(n) (1U << (n))
#define READ_ONLY (1U << 4)
#define EDGE (1U << 2)
#define CALL(name, ...) { #name, SYS_##name, __VA_ARGS__ }

static void prepare(void)
{
    char *area = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST((long)area);
    munmap(area + 4096, 4096);
    MUST(mprotect(area + 2 * 4096, 4096, PROT_NONE));
    MUST(mprotect(area + 3 * 4096, 4096, PROT_READ));
    bad[0] = 0;
    bad[1] = 8;
    area[4095] = 'x';
    bad[2] = (unsigned long)area + 4095;
    bad[3] = (unsigned long)area + 2 * 4096;
    bad[4] = (unsigned long)area + 3 * 4096;
    bad[5] = 0x7ffffffff000UL - 1;
    bad[6] = 0x8000000000000000UL;
    bad[7] = 0xffffffffff000000UL;
    scratch_file = (int)MUST(open("/tmp", O_TMPFILE | O_RDWR, 0600));
    MUST(write(scratch_file, good, sizeof(good)));
    MUST(lseek(scratch_file, 0, SEEK_SET));
    directory = (int)MUST(open("/usr", O_RDONLY));
    int p[2];
    MUST(pipe2(p, O_NONBLOCK));
    pipe_read = p[0];
    pipe_write = p[1];
    MUST(write(pipe_write, good, 1000));
    epoll = (int)MUST(epoll_create1(0));
    timer_descriptor = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    event_descriptor = (int)MUST(eventfd(5, EFD_NONBLOCK));
}

/* Tries one call in a child, which may not come back. */
static void try_call(const struct call *call)
{
    for (int argument = 0; argument < 6; argument++) {
        if (!(call->pointers & P(argument)))
            continue;
        char line[300] = "";
        for (int i = 0; i < BAD; i++) {
            if (call->not_with & (1U << i))
                continue;
            int report[2];
            MUST(pipe(report));
            pid_t child = fork();
            if (child == 0) {
                long a[6];
                memcpy(a, call->arguments, sizeof(a));
                a[argument] = (long)bad[i];
                long result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
                int error = result < 0 ? errno : 0;
                _exit(write(report[1], &error, sizeof(error)) == sizeof(error) ? 0 : 1);
            }
            close(report[1]);
            int error = -1;
            if (read(report[0], &error, sizeof(error)) != sizeof(error))
                error = -1;
            close(report[0]);
            const char *end = reap(child);
            if (error == 0)
                end = "ok";
            else if (error > 0)
                end = strerrorname_np(error);
            snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s %s", bad_names[i], end ? end : "?");
        }
        say("%s argument %d:%s", call->name, argument, line);
    }
}

static void try_all(const struct call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        try_call(&calls[i]);
}

static void reading_and_writing(void)
{
    prepare();
    const struct call calls[] = {
        CALL(read, { scratch_file, 0, 100 }, P(1), 0),
        CALL(read, { pipe_read, 0, 100 }, P(1), EDGE),
        CALL(read, { event_descriptor, 0, 8 }, P(1), 0),
        CALL(write, { scratch_file, 0, 100 }, P(1), 0),
        CALL(write, { pipe_write, 0, 100 }, P(1), EDGE),
        CALL(pread64, { scratch_file, 0, 100, 0 }, P(1), 0),
        CALL(pwrite64, { scratch_file, 0, 100, 0 }, P(1), 0),
        CALL(readv, { scratch_file, 0, 1 }, P(1), READ_ONLY),
        CALL(writev, { scratch_file, 0, 1 }, P(1), READ_ONLY),
        CALL(preadv, { scratch_file, 0, 1, 0, 0 }, P(1), READ_ONLY),
        CALL(pwritev, { scratch_file, 0, 1, 0, 0 }, P(1), READ_ONLY),
        CALL(sendfile, { pipe_write, scratch_file, 0, 10 }, P(2), 1),
        CALL(copy_file_range, { scratch_file, 0, scratch_file, 0, 1, 0 }, P(1), 1 | READ_ONLY),
        CALL(splice, { scratch_file, 0, pipe_write, 0, 1, 0 }, P(1), 1),
        CALL(getdents64, { directory, 0, 4000 }, P(1), 0),
        CALL(pipe, { 0 }, P(0), 0),
        CALL(pipe2, { 0, 0 }, P(0), 0),
        CALL(getrandom, { 0, 100, 0 }, P(0), EDGE),
        CALL(ioctl, { pipe_read, 0x541b, 0 }, P(2), 0),
    };
    try_all(calls, COUNT(calls));
}

static void names(void)
{
    prepare();
    strcpy(good, "/tmp");
    const struct call calls[] = {
        CALL(open, { 0, O_RDONLY }, P(0), 0),
        CALL(openat, { AT_FDCWD, 0, O_RDONLY }, P(1), 0),
        CALL(openat2, { AT_FDCWD, G, 0, 24 }, P(1) | P(2), READ_ONLY),
        CALL(creat, { 0, 0600 }, P(0), 0),
        CALL(stat, { G, G }, P(0) | P(1), 0),
        CALL(lstat, { G, G }, P(0) | P(1), 0),
        CALL(fstat, { scratch_file, 0 }, P(1), 0),
        CALL(newfstatat, { AT_FDCWD, G, G, 0 }, P(1) | P(2), 0),
        CALL(statx, { AT_FDCWD, G, 0, 0x7ff, G }, P(1) | P(4), 1),
        CALL(statfs, { G, G }, P(0) | P(1), 0),
        CALL(fstatfs, { scratch_file, 0 }, P(1), 0),
        CALL(access, { 0, F_OK }, P(0), 0),
        CALL(faccessat, { AT_FDCWD, 0, F_OK }, P(1), 0),
        CALL(faccessat2, { AT_FDCWD, 0, F_OK, 0 }, P(1), 0),
        CALL(mkdir, { 0, 0700 }, P(0), EDGE),
        CALL(mkdirat, { AT_FDCWD, 0, 0700 }, P(1), EDGE),
        CALL(rmdir, { 0 }, P(0), 0),
        CALL(unlink, { 0 }, P(0), 0),
        CALL(unlinkat, { AT_FDCWD, 0, 0 }, P(1), 0),
        CALL(rename, { G, G }, P(0) | P(1), 0),
        CALL(renameat, { AT_FDCWD, G, AT_FDCWD, G }, P(1) | P(3), 0),
        CALL(renameat2, { AT_FDCWD, G, AT_FDCWD, G, 0 }, P(1) | P(3), 0),
        CALL(link, { G, G }, P(0) | P(1), 0),
        CALL(linkat, { AT_FDCWD, G, AT_FDCWD, G, 0 }, P(1) | P(3), 0),
        CALL(symlink, { G, G }, P(0) | P(1), EDGE),
        CALL(symlinkat, { G, AT_FDCWD, G }, P(0) | P(2), EDGE),
        CALL(readlink, { 0, G, 100 }, P(0), 0),
        CALL(readlinkat, { AT_FDCWD, 0, G, 100 }, P(1), 0),
        CALL(chdir, { 0 }, P(0), 0),
        CALL(chroot, { 0 }, P(0), 0),
        CALL(getcwd, { 0, 100 }, P(0), 0),
        CALL(chmod, { 0, 0700 }, P(0), 0),
        CALL(fchmodat, { AT_FDCWD, 0, 0700 }, P(1), 0),
        CALL(chown, { 0, 1, 1 }, P(0), 0),
        CALL(lchown, { 0, 1, 1 }, P(0), 0),
        CALL(fchownat, { AT_FDCWD, 0, 1, 1, 0 }, P(1), 0),
        CALL(truncate, { 0, 0 }, P(0), 0),
        CALL(mknod, { 0, S_IFREG | 0600, 0 }, P(0), EDGE),
        CALL(mknodat, { AT_FDCWD, 0, S_IFREG | 0600, 0 }, P(1), EDGE),
        CALL(utime, { G, G }, P(0) | P(1), READ_ONLY),
        CALL(utimes, { G, G }, P(0) | P(1), READ_ONLY),
        CALL(utimensat, { AT_FDCWD, G, 0, 0 }, P(2), READ_ONLY),
        CALL(getxattr, { 0, G, G, 10 }, P(0), 0),
        CALL(setxattr, { 0, G, G, 10, 0 }, P(0), 0),
        CALL(listxattr, { 0, G, 10 }, P(0), 0),
        CALL(execve, { 0, 0, 0 }, P(0), 0),
        CALL(execve, { (long)"/no/such", 0, 0 }, P(1), 1 | READ_ONLY),
        CALL(execveat, { AT_FDCWD, 0, 0, 0, 0 }, P(1), 0),
        CALL(memfd_create, { 0, 0 }, P(0), 0),
        CALL(fcntl, { scratch_file, F_GETLK, 0 }, P(2), READ_ONLY),
        CALL(fcntl, { scratch_file, F_SETLK, 0 }, P(2), READ_ONLY),
    };
    try_all(calls, COUNT(calls));
}

static void processes(void)
{
    prepare();
    const struct call calls[] = {
        CALL(wait4, { -1, 0, WNOHANG, 0 }, P(1) | P(3), 0),
        CALL(waitid, { P_ALL, 0, 0, WEXITED | WNOHANG, 0 }, P(2) | P(4), 0),
        CALL(set_tid_address, { 0 }, P(0), 0),
        CALL(set_robust_list, { 0, 24 }, P(0), 0),
        CALL(get_robust_list, { 0, G, 0 }, P(1) | P(2), 0),
        CALL(clone3, { 0, 88 }, P(0), READ_ONLY),
        CALL(getresuid, { G, G, 0 }, P(0) | P(1) | P(2), 0),
        CALL(getresgid, { G, G, 0 }, P(0) | P(1) | P(2), 0),
        CALL(getgroups, { 100, 0 }, P(1), 0xff & ~(1U << 1)),
        CALL(setgroups, { 2, 0 }, P(1), READ_ONLY | EDGE),
        CALL(capget, { 0, G }, P(0), READ_ONLY),
        CALL(getrlimit, { 7, 0 }, P(1), 0),
        CALL(setrlimit, { 4, 0 }, P(1), READ_ONLY),
        CALL(prlimit64, { 0, 7, 0, 0 }, P(3), 0),
        CALL(getrusage, { 0, 0 }, P(1), 0),
        CALL(times, { 0 }, P(0), 0),
        CALL(uname, { 0 }, P(0), 0),
        CALL(sysinfo, { 0 }, P(0), 0),
        CALL(sethostname, { 0, 4 }, P(0), READ_ONLY),
        CALL(prctl, { PR_GET_NAME, 0 }, P(1), 0),
        CALL(prctl, { PR_SET_NAME, 0 }, P(1), READ_ONLY),
        CALL(prctl, { PR_GET_PDEATHSIG, 0 }, P(1), 0),
        CALL(sched_getaffinity, { 0, 128, 0 }, P(2), 0),
        CALL(sched_setaffinity, { 0, 128, 0 }, P(2), READ_ONLY),
        CALL(sched_getparam, { 0, 0 }, P(1), 0),
        CALL(getcpu, { 0, 0, 0 }, P(0) | P(1), 0),
        CALL(rt_sigaction, { SIGUSR1, 0, 0, 8 }, P(1) | P(2), READ_ONLY),
        CALL(rt_sigprocmask, { SIG_BLOCK, 0, 0, 8 }, P(1) | P(2), READ_ONLY),
        CALL(rt_sigpending, { 0, 8 }, P(0), 0),
        CALL(rt_sigsuspend, { 0, 8 }, P(0), READ_ONLY),
        CALL(rt_sigtimedwait, { 0, 0, G, 8 }, P(0), 0),
        CALL(rt_sigqueueinfo, { 1, SIGUSR1, 0 }, P(2), READ_ONLY),
        CALL(sigaltstack, { 0, 0 }, P(0) | P(1), READ_ONLY),
        CALL(arch_prctl, { 0x1003, 0 }, P(1), 0),
        CALL(futex, { 0, 0, 1, 0 }, P(0), READ_ONLY | EDGE),
        CALL(futex, { G, 0, 0, 0 }, P(3), 1 | READ_ONLY),
        CALL(mincore, { G, 4096, 0 }, P(2), EDGE),
    };
    try_all(calls, COUNT(calls));
}

static void time_and_waiting(void)
{
    prepare();
    const struct call calls[] = {
        CALL(clock_gettime, { CLOCK_MONOTONIC, 0 }, P(1), 0),
        CALL(clock_getres, { CLOCK_MONOTONIC, 0 }, P(1), 0),
        CALL(gettimeofday, { 0, 0 }, P(0) | P(1), 0),
        CALL(time, { 0 }, P(0), 0),
        CALL(nanosleep, { 0, 0 }, P(0), READ_ONLY),
        CALL(clock_nanosleep, { CLOCK_MONOTONIC, 0, 0, 0 }, P(2), READ_ONLY),
        CALL(setitimer, { 0, 0, 0 }, P(1) | P(2), READ_ONLY),
        CALL(getitimer, { 0, 0 }, P(1), 0),
        CALL(timer_create, { CLOCK_MONOTONIC, 0, G }, P(1), READ_ONLY),
        CALL(timer_create, { CLOCK_MONOTONIC, 0, 0 }, P(2), 0),
        CALL(timerfd_settime, { timer_descriptor, 0, 0, 0 }, P(2), READ_ONLY),
        CALL(timerfd_gettime, { timer_descriptor, 0 }, P(1), 0),
        CALL(poll, { 0, 1, 0 }, P(0), READ_ONLY),
        CALL(ppoll, { 0, 0, 0, 0, 8 }, P(2), 1 | READ_ONLY | EDGE),
        CALL(select, { 1, 0, 0, 0, G }, P(1) | P(2) | P(3), READ_ONLY | EDGE),
        CALL(select, { 0, 0, 0, 0, 0 }, P(4), 1 | READ_ONLY),
        CALL(epoll_ctl, { epoll, 1, pipe_read, 0 }, P(3), READ_ONLY),
        CALL(epoll_wait, { epoll, 0, 1, 0 }, P(1), 0),
        CALL(signalfd4, { -1, 0, 8, 0 }, P(1), READ_ONLY),
    };
    memset(good, 0, 64);
    try_all(calls, COUNT(calls));
}

CHECK_MAIN(CASE(reading_and_writing), CASE(names), CASE(processes), CASE(time_and_waiting))
