/* What is counted of tasks: /proc/[pid]/io, schedstat, switches, and the sums in /proc/stat. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct counts {
    long rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled;
    /* How long the text was. */
    long length;
};

static struct counts counts_of(const char *path)
{
    char text[512];
    struct counts counts = { 0 };
    int fd = (int)MUST(open(path, O_RDONLY));
    counts.length = MUST(read(fd, text, sizeof(text) - 1));
    close(fd);
    text[counts.length] = 0;
    int got = sscanf(text,
                     "rchar: %ld\nwchar: %ld\nsyscr: %ld\nsyscw: %ld\nread_bytes: %ld\nwrite_bytes: %ld\n"
                     "cancelled_write_bytes: %ld\n",
                     &counts.rchar, &counts.wchar, &counts.syscr, &counts.syscw, &counts.read_bytes, &counts.write_bytes,
                     &counts.cancelled);
    if (got != 7)
        say("%d fields: %s", got, text);
    return counts;
}

/* What was counted since, without the look itself. */
static void tell(const char *what, struct counts before, struct counts now)
{
    say("%s: %ld bytes in %ld reads, %ld in %ld writes", what, now.rchar - before.rchar - before.length,
        now.syscr - before.syscr - 1, now.wchar - before.wchar, now.syscw - before.syscw);
}

static const char own[] = "/proc/thread-self/io";

#define COUNTED(what, ...)                                                                                                      \
    do {                                                                                                                        \
        struct counts before = counts_of(own);                                                                                  \
        __VA_ARGS__;                                                                                                            \
        tell(what, before, counts_of(own));                                                                                     \
    } while (0)

static void calls(void)
{
    static char data[8192];
    int zero = (int)MUST(open("/dev/zero", O_RDONLY)), file = (int)MUST(open("/tmp/counted", O_CREAT | O_RDWR | O_TRUNC, 0600));
    int pipes[2], sockets[2], write_only = (int)MUST(open("/tmp/counted", O_WRONLY)), directory = (int)MUST(open("/", O_RDONLY));
    MUST(pipe(pipes));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    struct iovec vectors[2] = { { data, 10 }, { data, 20 } };
    COUNTED("nothing", (void)0);
    COUNTED("read", read(zero, data, 100); read(zero, data, 200));
    COUNTED("write", write(file, data, 5000));
    COUNTED("pread", pread(file, data, 50, 7));
    COUNTED("pwrite", pwrite(file, data, 60, 7));
    COUNTED("readv", readv(zero, vectors, 2));
    COUNTED("writev", writev(file, vectors, 2));
    COUNTED("preadv", preadv(file, vectors, 2, 0));
    COUNTED("end of file", pread(file, data, 10, 100000));
    COUNTED("not for reading", read(write_only, data, 10));
    COUNTED("no descriptor", read(-1, data, 10));
    COUNTED("bad address", read(zero, (void *)8, 10));
    COUNTED("pipe", write(pipes[1], data, 30); read(pipes[0], data, 30));
    COUNTED("sockets", write(sockets[1], data, 30); read(sockets[0], data, 100));
    COUNTED("messages", send(sockets[1], data, 30, 0); recv(sockets[0], data, 100, 0));
    off_t offset = 0;
    COUNTED("sendfile", sendfile(pipes[1], file, &offset, 40); read(pipes[0], data, 40));
    loff_t from = 0, to = 9000;
    COUNTED("copy_file_range", copy_file_range(file, &from, file, &to, 70, 0));
    COUNTED("getdents", syscall(SYS_getdents64, directory, data, sizeof(data)));
    COUNTED("stat", struct stat status; fstat(file, &status));
}

static void *reads(void *argument)
{
    char data[1000];
    int zero = open("/dev/zero", O_RDONLY);
    for (int i = 0; i < 5; i++)
        if (read(zero, data, sizeof(data)) < 0)
            return argument;
    close(zero);
    return NULL;
}

/* A process has what its tasks and the children that it has waited for have counted. */
static void sums(void)
{
    struct counts before = counts_of("/proc/self/io");
    pthread_t thread;
    pthread_create(&thread, NULL, reads, NULL);
    pthread_join(thread, NULL);
    struct counts middle = counts_of("/proc/self/io");
    say("thread: at least 5000 bytes: %d", middle.rchar - before.rchar >= 5000 && middle.syscr - before.syscr >= 6);
    pid_t child = fork();
    if (child == 0) {
        reads(NULL);
        _exit(0);
    }
    reap(child);
    struct counts after = counts_of("/proc/self/io"), task = counts_of(own);
    say("child: %ld bytes, %ld reads", after.rchar - middle.rchar - middle.length, after.syscr - middle.syscr - 1);
    say("the task alone has less: %d", task.rchar < after.rchar);
    say("a child begins at zero: %d", (child = fork()) != 0 || counts_of("/proc/self/io").rchar == 0);
    if (child == 0)
        _exit(0);
    reap(child);
}

static long number_behind(const char *path, const char *key)
{
    char text[8192];
    int fd = (int)MUST(open(path, O_RDONLY));
    long got = MUST(read(fd, text, sizeof(text) - 1));
    close(fd);
    text[got] = 0;
    char *at = *key ? strstr(text, key) : text;
    return at ? atol(at + strlen(key)) : -1;
}

static void switches(void)
{
    long before = number_behind("/proc/self/status", "\nvoluntary_ctxt_switches:");
    for (int i = 0; i < 10; i++)
        sleep_ms(1);
    long after = number_behind("/proc/self/status", "\nvoluntary_ctxt_switches:");
    say("slept: %d", before >= 0 && after >= before + 10);
    long time = number_behind("/proc/self/schedstat", ""), until = now_ms() + 50;
    while (now_ms() < until) {
    }
    long used = number_behind("/proc/self/schedstat", "") - time;
    say("ran: %d", used > 5000000 && used < 5000000000);
    long all = number_behind("/proc/stat", "\nctxt ");
    for (int i = 0; i < 10; i++)
        sleep_ms(1);
    say("in all: %d", number_behind("/proc/stat", "\nctxt ") >= all + 10);
}

/* What all processors did for programs, whatever their nice values. */
static long busy_ticks(void)
{
    long user = -1, nice = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file) {
        if (fscanf(file, "cpu %ld %ld", &user, &nice) != 2)
            user = -1;
        fclose(file);
    }
    return user + nice;
}

static void system_sums(void)
{
    long before = number_behind("/proc/stat", "\nprocesses "), user, nice, kernel, idle;
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        reap(child);
    }
    say("processes: %d", number_behind("/proc/stat", "\nprocesses ") >= before + 5);
    say("running: %d", number_behind("/proc/stat", "\nprocs_running ") >= 1);
    long busy = busy_ticks(), until = now_ms() + 300;
    while (now_ms() < until) {
    }
    say("user time grows: %d", busy_ticks() > busy);
    FILE *file = fopen("/proc/stat", "r");
    int fields = file ? fscanf(file, "cpu %ld %ld %ld %ld", &user, &nice, &kernel, &idle) : 0;
    say("fields: %d, idle %d", fields, fields == 4 && idle >= 0);
    if (file)
        fclose(file);
}

CHECK_MAIN(CASE(calls), CASE(sums), CASE(switches), CASE(system_sums))
