/* What the guest programs share.
 *
 * A program is a list of cases. Each runs in a process of its own and prints lines "case: text", which must be the same
 * on every Linux. A case that dies or takes too long is reported as such and does not stop the others. Arguments name the
 * cases to run; without any, all are run in order. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct check_case {
    const char *name;
    void (*run)(void);
};

#define CASE(function) { #function, function }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *check_name = "main";
/* The arguments of the program, for cases that run it anew. */
static char **check_arguments __attribute__((unused));

/* Prints one line of the running case, in one write. */
__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
    char line[4096];
    int used = snprintf(line, sizeof(line), "%s: ", check_name);
    va_list list;
    va_start(list, format);
    int more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, list);
    va_end(list);
    used += more;
    if (used > (int)sizeof(line) - 2)
        used = (int)sizeof(line) - 2;
    line[used++] = '\n';
    if (write(1, line, (size_t)used) < 0)
        _exit(99);
}

/* The name of the error that a call ended with, "ok" where it did not fail. */
__attribute__((unused)) static const char *err(long result)
{
    if (result >= 0)
        return "ok";
    const char *name = strerrorname_np(errno);
    return name ? name : "unknown error";
}

/* Ends the case where a call that it builds on fails. */
#define MUST(call) must((long)(call), #call, __LINE__)
__attribute__((unused)) static long must(long result, const char *what, int line)
{
    if (result == -1) {
        say("line %d: %s: %s", line, what, err(-1));
        _exit(98);
    }
    return result;
}

/* A status of wait(2) in words. */
__attribute__((unused)) static const char *status_text(int status)
{
    static char text[64];
    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
    else if (WIFSTOPPED(status))
        snprintf(text, sizeof(text), "stopped %d", WSTOPSIG(status));
    else if (WIFCONTINUED(status))
        snprintf(text, sizeof(text), "continued");
    else
        snprintf(text, sizeof(text), "status %#x", status);
    return text;
}

/* Waits for a child and puts its status in words. */
__attribute__((unused)) static const char *reap(pid_t child)
{
    int status = 0;
    pid_t got;
    do
        got = waitpid(child, &status, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err(-1) : status_text(status);
}

__attribute__((unused)) static void sleep_ms(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {
    }
}

__attribute__((unused)) static long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Makes a file of that text, replacing one that is there. */
__attribute__((unused)) static void put(const char *path, const char *text)
{
    int fd = (int)MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    size_t length = strlen(text);
    if (write(fd, text, length) != (ssize_t)length)
        say("short write to %s", path);
    close(fd);
}

/* What a file holds, at most 4095 bytes. */
__attribute__((unused)) static const char *get(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return err(-1);
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length < 0)
        return err(-1);
    text[length] = 0;
    return text;
}

/* A fresh directory for the running case, which becomes the working directory. */
__attribute__((unused)) static void own_directory(void)
{
    char path[256];
    snprintf(path, sizeof(path), "/tmp/case_%s", check_name);
    MUST(mkdir(path, 0755));
    MUST(chdir(path));
}

static int check_run(const struct check_case *one)
{
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        check_name = one->name;
        alarm(30);
        one->run();
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            perror("waitpid");
            return 1;
        }
    }
    check_name = one->name;
    if (status != 0)
        say("ends with %s", status_text(status));
    check_name = "main";
    return status != 0;
}

__attribute__((unused)) static int check_main(int argc, char **argv, const struct check_case *cases, size_t count)
{
    int failed = 0;
    check_arguments = argv;
    for (size_t i = 0; i < count; i++) {
        int wanted = argc < 2;
        for (int j = 1; j < argc; j++)
            wanted |= strcmp(argv[j], cases[i].name) == 0;
        if (wanted)
            failed |= check_run(&cases[i]);
    }
    return failed;
}

#define CHECK_MAIN(...)                                                   \
    int main(int argc, char **argv)                                       \
    {                                                                     \
        static const struct check_case cases[] = { __VA_ARGS__ };         \
        return check_main(argc, argv, cases, COUNT(cases));               \
    }

#endif
