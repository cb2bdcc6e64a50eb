/* Control groups of version 2, as far as they need no controller: on many hosts those belong to version 1. */
#include "check.h"
#include <sys/mount.h>

#define ROOT "/tmp/cgroups"

static char *slurp(const char *path)
{
    static char text[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got < 0 ? 0 : got] = 0;
    return text;
}

static long spew(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    if (fd < 0)
        return -1;
    long result = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

static const char *own_group(pid_t pid)
{
    static char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    char *text = slurp(path), *at = text ? strstr(text, "0::") : NULL;
    return at ? strtok(at, "\n") : "?";
}

/* Mounts the tree and makes a group of this test's own. */
static const char *start(void)
{
    static char group[64];
    mkdir(ROOT, 0755);
    MUST(mount("cgroups", ROOT, "cgroup2", 0, NULL));
    snprintf(group, sizeof(group), ROOT "/test%d", getpid());
    MUST(mkdir(group, 0755));
    return group;
}

static void finish(const char *group)
{
    for (int i = 0; i < 100 && rmdir(group) < 0 && errno == EBUSY; i++)
        sleep_ms(10);
    say("group is gone: %s", err(access(group, F_OK)));
    MUST(umount(ROOT));
}

static const char *in(const char *group, const char *file)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", group, file);
    return path;
}

static pid_t child_in(const char *group, void (*run)(void))
{
    pid_t child = fork();
    if (child == 0) {
        if (spew(in(group, "cgroup.procs"), "0") < 0)
            _exit(9);
        run();
        _exit(0);
    }
    char *text, number[16];
    snprintf(number, sizeof(number), "%d\n", child);
    for (int i = 0; i < 500 && !((text = slurp(in(group, "cgroup.procs"))) && strcmp(text, number) == 0); i++)
        sleep_ms(2);
    return child;
}

static void wait_forever(void)
{
    for (;;)
        pause();
}

static void tree(void)
{
    const char *group = start();
    const char *files[] = { "cgroup.controllers", "cgroup.events", "cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.stat",
                            "cgroup.subtree_control", "cgroup.threads", "cgroup.type", "cpu.stat", "cgroup.max.depth" };
    for (size_t i = 0; i < COUNT(files); i++) {
        struct stat data;
        const char *there = err(stat(in(group, files[i]), &data));
        say("%s: %s, in root %s", files[i], there, err(access(in(ROOT, files[i]), F_OK)));
    }
    say("type %s", strtok(slurp(in(group, "cgroup.type")), "\n"));
    say("events %s", slurp(in(group, "cgroup.events")));
    say("again: %s", err(mkdir(group, 0755)));
    say("file: %s", err(open(in(group, "new"), O_CREAT | O_WRONLY, 0644)));
    say("remove a file: %s", err(unlink(in(group, "cgroup.procs"))));
    char below[80];
    snprintf(below, sizeof(below), "%s/below", group);
    MUST(mkdir(below, 0755));
    say("with a group below: %s", err(rmdir(group)));
    char *text = slurp(in(group, "cgroup.stat"));
    say("descendants: %d", text && strstr(text, "nr_descendants 1\n") != NULL);
    MUST(rmdir(below));
    say("unknown controller: %s", err(spew(in(group, "cgroup.subtree_control"), "+nonsense")));
    say("bad process: %s", err(spew(in(group, "cgroup.procs"), "many")));
    say("no process: %s", err(spew(in(group, "cgroup.procs"), "4000000")));
    finish(group);
}

static void members(void)
{
    const char *group = start();
    pid_t child = child_in(group, wait_forever);
    char expected[64], number[16];
    snprintf(expected, sizeof(expected), "0::%s", group + strlen(ROOT));
    say("named in proc: %d", strcmp(own_group(child), expected) == 0);
    say("events %s", slurp(in(group, "cgroup.events")));
    say("remove: %s", err(rmdir(group)));
    snprintf(number, sizeof(number), "%d\n", child);
    say("threads: %d", strcmp(slurp(in(group, "cgroup.threads")), number) == 0);
    say("back: %s", err(spew(in(ROOT, "cgroup.procs"), number)));
    say("nobody: '%s'", slurp(in(group, "cgroup.procs")));
    say("move: %s", err(spew(in(group, "cgroup.procs"), number)));
    say("kill, 2: %s", err(spew(in(group, "cgroup.kill"), "2")));
    say("kill: %s", err(spew(in(group, "cgroup.kill"), "1")));
    int status;
    waitpid(child, &status, 0);
    say("killed: %d", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    say("read kill: %s", err((long)(slurp(in(group, "cgroup.kill")) ? 0 : -1)));
    finish(group);
}

static volatile long *counter;

static void count(void)
{
    for (;;)
        ++*counter;
}

static void frozen(void)
{
    const char *group = start();
    counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = child_in(group, count);
    while (*counter == 0)
        sleep_ms(1);
    say("freeze: %s", err(spew(in(group, "cgroup.freeze"), "1")));
    char *text = NULL;
    for (int i = 0; i < 500 && !((text = slurp(in(group, "cgroup.events"))) && strstr(text, "frozen 1")); i++)
        sleep_ms(2);
    say("events %s", text);
    sleep_ms(20);
    long before = *counter;
    sleep_ms(50);
    say("stands still: %d", *counter == before);
    say("thaw: %s", err(spew(in(group, "cgroup.freeze"), "0")));
    for (int i = 0; i < 500 && *counter == before; i++)
        sleep_ms(2);
    say("goes on: %d", *counter != before);
    text = slurp(in(group, "cpu.stat"));
    long used = 0;
    sscanf(text ? text : "", "usage_usec %ld", &used);
    say("time counts: %d", used > 1000);
    say("freeze: %s", err(spew(in(group, "cgroup.freeze"), "1")));
    kill(child, SIGKILL);
    say("end: %s", reap(child));
    finish(group);
}

CHECK_MAIN(CASE(tree), CASE(members), CASE(frozen))
