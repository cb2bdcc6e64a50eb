/* Files of /proc about processes: their forms, and what must be equal everywhere. */
#include "check.h"
#include <sys/mount.h>
#include <sys/personality.h>

static char *slurp(const char *path)
{
    static char text[1 << 20];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    size_t used = 0;
    ssize_t got;
    while (used < sizeof(text) - 1 && (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    text[used] = 0;
    return text;
}

static long spew(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    long result = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

static void smaps(void)
{
    char *text = slurp("/proc/self/smaps_rollup");
    if (!text) {
        say("missing");
        return;
    }
    char *line = strtok(text, "\n");
    say("head: %d, column %ld", strstr(line, "---p 00000000 00:00 0 ") != NULL, (long)(strstr(line, "[rollup]") - line));
    long rss = 0, anon = 0;
    while ((line = strtok(NULL, "\n"))) {
        char name[32];
        long size;
        if (sscanf(line, "%31[^:]: %ld kB", name, &size) != 2)
            continue;
        say("%s, %zu wide", name, strlen(line));
        rss = strcmp(name, "Rss") == 0 ? size : rss;
        anon = strcmp(name, "Anonymous") == 0 ? size : anon;
    }
    say("sizes: %d %d", rss > 0, anon > 0 && anon <= rss);
}

static void personalities(void)
{
    char *text = slurp("/proc/self/personality");
    say("at first: %s", text ? strtok(text, "\n") : "?");
    personality(ADDR_NO_RANDOMIZE);
    text = slurp("/proc/self/personality");
    say("changed: %s", text ? strtok(text, "\n") : "?");
}

static void badness(void)
{
    const char *path = "/proc/self/oom_score_adj";
    char *text = slurp(path);
    say("at first: %ld", text ? strtol(text, NULL, 10) : -9999);
    say("write: %s", err(spew(path, "321\n")));
    text = slurp(path);
    say("read: %s", text ? strtok(text, "\n") : "?");
    pid_t child = fork();
    if (child == 0) {
        text = slurp(path);
        _exit(text && strtol(text, NULL, 10) == 321);
    }
    int status;
    waitpid(child, &status, 0);
    say("inherited: %d", WEXITSTATUS(status));
    say("too much: %s", err(spew(path, "1001")));
    say("no number: %s", err(spew(path, "many")));
    say("back: %s", err(spew(path, "0")));
    MUST(setresuid(1000, 1000, 1000));
    say("lower without privilege: %s", err(spew(path, "-6")));
}

static void children(void)
{
    char path[64], expected[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    char *text = slurp(path);
    say("at first: '%s'", text ? text : "?");
    pid_t first = fork();
    if (first == 0) {
        pause();
        _exit(0);
    }
    pid_t second = fork();
    if (second == 0) {
        pause();
        _exit(0);
    }
    snprintf(expected, sizeof(expected), "%d %d ", first, second);
    text = slurp(path);
    say("two: %d", text && strcmp(text, expected) == 0);
    say("of a process: %s", err(open("/proc/self/children", O_RDONLY)));
    kill(first, SIGKILL);
    kill(second, SIGKILL);
    reap(first);
    reap(second);
    text = slurp(path);
    say("at last: '%s'", text ? text : "?");
}

static void mounts(void)
{
    char *text = slurp("/proc/self/mountstats");
    say("mountstats: %d", text && strstr(text, " mounted on /proc with fstype proc\n") != NULL);
}

static void head_of(const char *path)
{
    char *text = slurp(path), *end = text ? strchr(text, '\n') : NULL;
    say("%s: %ld wide, '%.40s'", path, text && end ? (long)(end - text) : -1, text ? strtok(text, "\n") : "?");
}

static void network(void)
{
    const char *files[] = { "tcp", "tcp6", "udp", "udp6", "raw", "unix", "dev", "route", "arp" };
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/net/%s", files[i]);
        head_of(path);
    }
    char target[32] = { 0 };
    readlink("/proc/net", target, sizeof(target) - 1);
    say("link: %s", target);
    char *text = slurp("/proc/self/net/dev");
    say("loopback: %d", text && strstr(text, "\n    lo:") != NULL);
}

static void global(void)
{
    char *text = slurp("/proc/interrupts");
    say("interrupts: %d", text && strncmp(text, "           CPU0       ", 22) == 0);
    text = slurp("/proc/vmstat");
    say("vmstat: %d", text && strncmp(text, "nr_free_pages ", 14) == 0 && strstr(text, "\npgfault ") != NULL);
    const char *files[] = { "/proc/devices", "/proc/partitions", "/proc/swaps", "/proc/diskstats", "/proc/consoles" };
    for (size_t i = 0; i < COUNT(files); i++)
        say("%s: %s", files[i], slurp(files[i]) ? "there" : "?");
}

static void modes(void)
{
    const char *files[] = { "smaps", "smaps_rollup", "maps",   "pagemap",       "syscall", "stack",  "personality", "mountstats",
                            "net",   "environ",      "cgroup", "oom_score_adj", "loginuid", "wchan", "auxv",        "mem" };
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[64];
        struct stat data = { 0 };
        snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
        const char *result = err(stat(path, &data));
        say("%s: %s, mode %o", files[i], result, data.st_mode);
    }
}

static void subset(void)
{
    mkdir("/tmp/proc", 0755);
    MUST(mount("proc", "/tmp/proc", "proc", 0, "subset=pid"));
    const char *files[] = { "self/stat", "thread-self/comm", "1/stat", "meminfo", "sys", "net", "uptime" };
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/tmp/proc/%s", files[i]);
        say("%s: %s", files[i], err(access(path, F_OK)));
    }
    char *text = slurp("/proc/self/mounts");
    say("shown: %d", text && strstr(text, " /tmp/proc proc rw,relatime,subset=pid 0 0\n") != NULL);
    MUST(umount("/tmp/proc"));
    say("unknown: %s", err(mount("proc", "/tmp/proc", "proc", 0, "subset=all")));
}

CHECK_MAIN(CASE(smaps), CASE(personalities), CASE(badness), CASE(children), CASE(mounts), CASE(network), CASE(global),
           CASE(modes), CASE(subset))
