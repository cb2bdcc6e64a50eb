/* Measures operations from the inside: `bench NAME ITERATIONS` prints the nanoseconds that one operation took on average.
 * Without arguments it prints the names. Files are made in the working directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A file of the host's that a sandbox sees through its host file system. */
#define HOST_FILE "/usr/bin/perl"

static char buffer[65536];
static const char *own_path;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long check(long result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Each benchmark returns the nanoseconds that all its iterations took. */
typedef double benchmark(long iterations);

static double bench_getpid(long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++)
        syscall(SYS_getpid);
    return now() - start;
}

static double bench_clock(long iterations)
{
    struct timespec time;
    double start = now();
    for (long i = 0; i < iterations; i++)
        clock_gettime(CLOCK_MONOTONIC, &time);
    return now() - start;
}

static int own_file(size_t size)
{
    int fd = (int)check(open("bench_file", O_RDWR | O_CREAT | O_TRUNC, 0600), "bench_file");
    for (size_t done = 0; done < size; done += sizeof(buffer))
        check(write(fd, buffer, sizeof(buffer)), "write");
    return fd;
}

static double reads(int fd, size_t size, long iterations)
{
    check(pread(fd, buffer, size, 0), "pread");
    double start = now();
    for (long i = 0; i < iterations; i++)
        if (pread(fd, buffer, size, 0) != (ssize_t)size)
            fail("pread");
    return now() - start;
}

static double writes(int fd, size_t size, long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++)
        if (pwrite(fd, buffer, size, 0) != (ssize_t)size)
            fail("pwrite");
    return now() - start;
}

static int host_file(void)
{
    return (int)check(open(HOST_FILE, O_RDONLY), HOST_FILE);
}

static double bench_read_1(long n) { return reads(own_file(65536), 1, n); }
static double bench_read_4k(long n) { return reads(own_file(65536), 4096, n); }
static double bench_read_64k(long n) { return reads(own_file(65536), 65536, n); }
static double bench_write_1(long n) { return writes(own_file(65536), 1, n); }
static double bench_write_4k(long n) { return writes(own_file(65536), 4096, n); }
static double bench_write_64k(long n) { return writes(own_file(65536), 65536, n); }
static double bench_host_read_1(long n) { return reads(host_file(), 1, n); }
static double bench_host_read_4k(long n) { return reads(host_file(), 4096, n); }
static double bench_host_read_64k(long n) { return reads(host_file(), 65536, n); }

static double bench_fstat(long iterations)
{
    struct stat data;
    int fd = own_file(1);
    double start = now();
    for (long i = 0; i < iterations; i++)
        check(fstat(fd, &data), "fstat");
    return now() - start;
}

static double stats(const char *path, long iterations)
{
    struct stat data;
    check(stat(path, &data), path);
    double start = now();
    for (long i = 0; i < iterations; i++)
        stat(path, &data);
    return now() - start;
}

static double bench_stat(long iterations)
{
    close(own_file(1));
    return stats("bench_file", iterations);
}

static double bench_host_stat(long iterations) { return stats("/usr/share/doc/base-files/copyright", iterations); }

static double opens(const char *path, long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++)
        close((int)check(open(path, O_RDONLY), path));
    return now() - start;
}

static double bench_open_close(long iterations)
{
    close(own_file(1));
    return opens("bench_file", iterations);
}

static double bench_host_open_close(long iterations) { return opens(HOST_FILE, iterations); }

static double bench_create_unlink(long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++) {
        close((int)check(open("bench_new", O_WRONLY | O_CREAT | O_EXCL, 0600), "create"));
        check(unlink("bench_new"), "unlink");
    }
    return now() - start;
}

static double bench_pipe(long iterations)
{
    int p[2];
    check(pipe(p), "pipe");
    double start = now();
    for (long i = 0; i < iterations; i++) {
        check(write(p[1], buffer, 1), "write");
        check(read(p[0], buffer, 1), "read");
    }
    return now() - start;
}

static double bench_ping_pong(long iterations)
{
    int to[2], back[2];
    check(pipe(to), "pipe");
    check(pipe(back), "pipe");
    pid_t child = (pid_t)check(fork(), "fork");
    if (child == 0) {
        close(to[1]);
        while (read(to[0], buffer, 1) == 1)
            check(write(back[1], buffer, 1), "write");
        _exit(0);
    }
    double start = now();
    for (long i = 0; i < iterations; i++) {
        check(write(to[1], buffer, 1), "write");
        check(read(back[0], buffer, 1), "read");
    }
    double end = now();
    close(to[1]);
    waitpid(child, NULL, 0);
    return end - start;
}

static double bench_mmap_munmap(long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++) {
        void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            fail("mmap");
        check(munmap(at, 65536), "munmap");
    }
    return now() - start;
}

/* One iteration is one page; they are touched in order in areas of 64 MiB. */
static double bench_first_touch(long iterations)
{
    const long pages = 16384;
    double total = 0;
    for (long done = 0; done < iterations;) {
        long count = iterations - done < pages ? iterations - done : pages;
        char *at = mmap(NULL, (size_t)pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            fail("mmap");
        /* Pages of 4 KiB on both sides: a huge page is another thing. */
        madvise(at, (size_t)pages * 4096, MADV_NOHUGEPAGE);
        double start = now();
        for (long i = 0; i < count; i++)
            at[i * 4096] = 1;
        total += now() - start;
        munmap(at, (size_t)pages * 4096);
        done += count;
    }
    return total;
}

static double bench_fork_wait(long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++) {
        pid_t child = (pid_t)check(fork(), "fork");
        if (child == 0)
            _exit(0);
        check(waitpid(child, NULL, 0), "waitpid");
    }
    return now() - start;
}

static double bench_vfork_exec_wait(long iterations)
{
    char *arguments[] = { (char *)own_path, "nothing", "0", NULL }, *environment[] = { NULL };
    double start = now();
    for (volatile long i = 0; i < iterations; i++) {
        pid_t child = (pid_t)check(vfork(), "vfork");
        if (child == 0) {
            execve(own_path, arguments, environment);
            _exit(127);
        }
        int status = 0;
        check(waitpid(child, &status, 0), "waitpid");
        if (status != 0)
            fail("exec");
    }
    return now() - start;
}

static void *nothing(void *argument)
{
    return argument;
}

static double bench_thread(long iterations)
{
    double start = now();
    for (long i = 0; i < iterations; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) != 0)
            fail("pthread_create");
        pthread_join(thread, NULL);
    }
    return now() - start;
}

/* Arithmetic alone: one iteration is a thousand steps. */
static double bench_compute(long iterations)
{
    volatile uint64_t sink;
    uint64_t value = 1;
    double start = now();
    for (long i = 0; i < iterations * 1000; i++)
        value = value * 6364136223846793005ULL + 1442695040888963407ULL;
    sink = value;
    (void)sink;
    return now() - start;
}

static const struct {
    const char *name;
    benchmark *run;
} benchmarks[] = {
    { "getpid", bench_getpid },
    { "clock_gettime", bench_clock },
    { "read_1", bench_read_1 },
    { "read_4k", bench_read_4k },
    { "read_64k", bench_read_64k },
    { "write_1", bench_write_1 },
    { "write_4k", bench_write_4k },
    { "write_64k", bench_write_64k },
    { "host_read_1", bench_host_read_1 },
    { "host_read_4k", bench_host_read_4k },
    { "host_read_64k", bench_host_read_64k },
    { "fstat", bench_fstat },
    { "stat", bench_stat },
    { "host_stat", bench_host_stat },
    { "open_close", bench_open_close },
    { "host_open_close", bench_host_open_close },
    { "create_unlink", bench_create_unlink },
    { "pipe", bench_pipe },
    { "ping_pong", bench_ping_pong },
    { "mmap_munmap_64k", bench_mmap_munmap },
    { "first_touch", bench_first_touch },
    { "fork_wait", bench_fork_wait },
    { "vfork_exec_wait", bench_vfork_exec_wait },
    { "thread_create_join", bench_thread },
    { "compute_1000", bench_compute },
};

int main(int argc, char **argv)
{
    size_t count = sizeof(benchmarks) / sizeof(benchmarks[0]);
    own_path = argv[0];
    if (argc == 1) {
        for (size_t i = 0; i < count; i++)
            puts(benchmarks[i].name);
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "bench NAME ITERATIONS\n");
        return 2;
    }
    long iterations = atol(argv[2]);
    if (strcmp(argv[1], "nothing") == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[1], benchmarks[i].name) == 0 && iterations > 0) {
            printf("%.1f\n", benchmarks[i].run(iterations) / (double)iterations);
            return 0;
        }
    }
    fprintf(stderr, "no benchmark %s, or no number of iterations\n", argv[1]);
    return 2;
}
