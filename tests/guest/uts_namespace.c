/* UTS namespaces (uts_namespaces(7)): made by clone and unshare, seen in uname and /proc/[pid]/ns/uts. */
#include "check.h"

#include <sched.h>
#include <sys/utsname.h>

static char stack[64 << 10];

static const char *node(void)
{
    static struct utsname names;
    return uname(&names) == 0 ? names.nodename : "none";
}

/* The link of the namespace, or "?". */
static void link_of(pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
    ssize_t length = readlink(path, text, size - 1);
    text[length < 0 ? 0 : length] = 0;
}

static int child(void *argument)
{
    (void)argument;
    char own[64], parent[64];
    link_of(getpid(), own, sizeof(own));
    link_of(getppid(), parent, sizeof(parent));
    say("child has one of its own: %d", strcmp(own, parent) != 0);
    int set = sethostname("inner", 5);
    say("sethostname: %d, now %s", set, node());
    return 0;
}

static void cloned(void)
{
    if (unshare(CLONE_NEWUTS) != 0 || sethostname("outer", 5) != 0) {
        say("errno %d", errno);
        return;
    }
    pid_t pid = clone(child, stack + sizeof(stack), CLONE_NEWUTS | SIGCHLD, NULL);
    int status = -1;
    waitpid(pid, &status, 0);
    say("status %d, here %s", status, node());
}

static void unshared(void)
{
    char before[64], after[64];
    link_of(getpid(), before, sizeof(before));
    say("unshare: %d", unshare(CLONE_NEWUTS));
    link_of(getpid(), after, sizeof(after));
    say("form: %d, changed: %d", strncmp(after, "uts:[", 5), strcmp(before, after) != 0);
    pid_t pid = fork();
    if (pid == 0) {
        char own[64];
        link_of(getpid(), own, sizeof(own));
        say("fork shares it: %d", strcmp(own, after) == 0);
        sethostname("forked", 6);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    say("name set by the child: %s", node());
}

static void refused(void)
{
    int result = unshare(CLONE_PARENT);
    say("unknown flag: %d, %s", result, strerror(errno));
    say("files and directories: %d", unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM));
    if (setresuid(1000, 1000, 1000) != 0) {
        say("setresuid: errno %d", errno);
    }
    result = unshare(CLONE_NEWUTS);
    say("without privileges: %d, %s", result, strerror(errno));
}

CHECK_MAIN(CASE(cloned), CASE(unshared), CASE(refused))
