/* Mount namespaces and propagation (mount_namespaces(7)): what each namespace sees, in /proc/self/mountinfo to the field. */
#include "check.h"

#include <sched.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/statfs.h>

static char base[4096];

/* An empty private tmpfs as the working directory of the case. */
static void arena(void)
{
    own_directory();
    MUST((long)getcwd(base, sizeof(base)) > 0 ? 0 : -1);
    MUST(mount("arena", base, "tmpfs", 0, NULL));
    MUST(mount(NULL, base, NULL, MS_PRIVATE, NULL));
    MUST(chdir(base));
}

static void directories(const char *names)
{
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", names);
    for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "))
        MUST(mkdir(name, 0755));
}

struct line {
    int id, parent;
    char root[256], place[512], flags[128], fields[256], rest[256];
};

static struct line lines[128];

/* The mounts of `path` in the arena. */
static int read_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    char text[4096];
    int count = 0;
    while (count < 128 && fgets(text, sizeof(text), file)) {
        struct line *line = &lines[count];
        char *dash = strstr(text, " - ");
        int used = 0;
        if (!dash || sscanf(text, "%d %d %*s %255s %511s %127s%n", &line->id, &line->parent, line->root, line->place,
                            line->flags, &used) != 5)
            continue;
        char *place = strstr(line->place, base);
        char *rest = place ? place + strlen(base) : NULL;
        if (!rest || (strcmp(base, "/") && *rest && *rest != '/'))
            continue;
        memmove(line->place, rest, strlen(rest) + 1);
        *dash = 0;
        snprintf(line->fields, sizeof(line->fields), "%s", text + used);
        snprintf(line->rest, sizeof(line->rest), "%s", dash + 3);
        count++;
    }
    fclose(file);
    return count;
}

static int by_place(const void *one, const void *other)
{
    return strcmp(((const struct line *)one)->place, ((const struct line *)other)->place);
}

/* Numbers of groups are given anew in the order in which they are seen: others on the machine may get one that was free for a while. */
static int groups[64], group_count;

static int group(int number)
{
    for (int i = 0; i < group_count; i++)
        if (groups[i] == number)
            return i + 1;
    groups[group_count++] = number;
    return group_count;
}

static void show_of(const char *what, const char *path)
{
    char text[4000] = "";
    int count = read_lines(path);
    qsort(lines, (size_t)(count < 0 ? 0 : count), sizeof(lines[0]), by_place);
    group_count = 0;
    for (int i = 0; i < count; i++) {
        char *out = text + strlen(text);
        const char *over = "";
        for (int j = 0; j < count; j++)
            if (lines[j].id == lines[i].parent && !strcmp(lines[j].place, lines[i].place))
                over = " over";
        snprintf(out, 200, " [%s %s%s", lines[i].place[0] ? lines[i].place : "/", lines[i].root, over);
        for (char *field = strtok(lines[i].fields, " "); field; field = strtok(NULL, " ")) {
            char *colon = strchr(field, ':');
            out = text + strlen(text);
            if (colon)
                snprintf(out, 100, " %.*s:%d", (int)(colon - field), field, group(atoi(colon + 1)));
            else
                snprintf(out, 100, " %s", field);
        }
        strcat(text, "]");
    }
    say("%s:%s", what, text);
}

static void show(const char *what)
{
    show_of(what, "/proc/self/mountinfo");
}

static void link_of(pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
    ssize_t length = readlink(path, text, size - 1);
    text[length < 0 ? 0 : length] = 0;
}

static int pipes[2][2];

/* Lets the other process go on, or waits for it. */
static void tell(int which)
{
    MUST(write(pipes[which][1], "x", 1));
}

static void await(int which)
{
    char byte;
    MUST(read(pipes[which][0], &byte, 1) == 1 ? 0 : -1);
}

static void unshared(void)
{
    arena();
    directories("a b");
    MUST(pipe(pipes[0]));
    MUST(pipe(pipes[1]));
    char before[64], after[64];
    link_of(getpid(), before, sizeof(before));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(chdir("a"));
        say("unshare: %s", err(unshare(CLONE_NEWNS)));
        link_of(getpid(), after, sizeof(after));
        say("form: %d, changed: %d", strncmp(after, "mnt:[", 5), strcmp(before, after) != 0);
        char here[4096];
        say("cwd stays: %d", getcwd(here, sizeof(here)) && strstr(here, "/a") != NULL);
        say("mount: %s", err(mount("inner", ".", "tmpfs", 0, NULL)));
        say("mount: %s", err(mount("inner", "../b", "tmpfs", 0, NULL)));
        put("../b/inside", "1");
        show("inner");
        tell(0);
        await(1);
        say("outer mount seen: %s", err(access("../b/outer", F_OK)));
        say("inner stays: %s", err(access("../b/inside", F_OK)));
        _exit(0);
    }
    await(0);
    link_of(pid, after, sizeof(after));
    say("other: %d", strcmp(before, after) != 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
    show_of("of the child", path);
    show("outer");
    say("inner mount seen: %s", err(access("b/inside", F_OK)));
    MUST(mount("outer", "b", "tmpfs", 0, NULL));
    put("b/outer", "1");
    tell(1);
    waitpid(pid, NULL, 0);
    show("after");
    say("umount: %s", err(umount2("b", 0)));
}

static char stack[64 << 10];

static int cloned_child(void *argument)
{
    (void)argument;
    MUST(mount("inner", "a", "tmpfs", 0, NULL));
    show("child");
    say("umount of the arena: %s", err(umount2(base, MNT_DETACH)));
    show("child");
    return 0;
}

static void cloned(void)
{
    arena();
    directories("a");
    int status = -1;
    pid_t pid = clone(cloned_child, stack + sizeof(stack), CLONE_NEWNS | SIGCHLD, NULL);
    waitpid(pid, &status, 0);
    say("status %d", status);
    show("parent");
    say("with CLONE_FS: %s", err(clone(cloned_child, stack + sizeof(stack), CLONE_NEWNS | CLONE_FS | SIGCHLD, NULL)));
    MUST(setresuid(1000, 1000, 1000));
    say("without privilege: %s", err(unshare(CLONE_NEWNS)));
}

/* What is mounted in another namespace does not keep a name there. */
static void removed(void)
{
    arena();
    directories("a b c");
    put("f", "x");
    MUST(pipe(pipes[0]));
    MUST(pipe(pipes[1]));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount("x", "a", "tmpfs", 0, NULL));
        MUST(mkdir("a/deep", 0755));
        MUST(mount("x", "a/deep", "tmpfs", 0, NULL));
        MUST(mount("f", "f", NULL, MS_BIND, NULL));
        MUST(mount("x", "b", "tmpfs", 0, NULL));
        MUST(mount("x", "c", "tmpfs", 0, NULL));
        say("busy here: %s", err(rmdir("a")));
        tell(0);
        await(1);
        show("after");
        say("gone: %s", err(access("a", F_OK)));
        say("moved: %s", err(access("d", F_OK)));
        _exit(0);
    }
    await(0);
    say("rmdir: %s", err(rmdir("a")));
    say("unlink: %s", err(unlink("f")));
    say("rename: %s", err(rename("b", "d")));
    directories("e");
    say("rename over: %s", err(rename("e", "c")));
    tell(1);
    waitpid(pid, NULL, 0);
}

static void propagation_types(void)
{
    arena();
    directories("a b c d e f");
    MUST(mount("a", "a", "tmpfs", 0, NULL));
    show("private");
    say("shared: %s", err(mount(NULL, "a", NULL, MS_SHARED, NULL)));
    show("shared");
    say("again: %s", err(mount(NULL, "a", NULL, MS_SHARED | MS_SILENT, NULL)));
    show("shared");
    say("bind: %s", err(mount("a", "b", NULL, MS_BIND, NULL)));
    show("peers");
    say("slave: %s", err(mount(NULL, "b", NULL, MS_SLAVE, NULL)));
    show("slave");
    say("bind of the slave: %s", err(mount("b", "c", NULL, MS_BIND, NULL)));
    show("two slaves");
    say("shared slave: %s", err(mount(NULL, "c", NULL, MS_SHARED, NULL)));
    show("shared slave");
    say("bind of that: %s", err(mount("c", "d", NULL, MS_BIND, NULL)));
    say("slave of it: %s", err(mount(NULL, "d", NULL, MS_SLAVE, NULL)));
    show("chain");
    say("the middle out: %s", err(mount(NULL, "c", NULL, MS_PRIVATE, NULL)));
    show("shorter chain");
    say("the master alone as slave: %s", err(mount(NULL, "a", NULL, MS_SLAVE, NULL)));
    show("no master");
    say("unbindable: %s", err(mount(NULL, "a", NULL, MS_UNBINDABLE, NULL)));
    show("unbindable");
    say("slave of nothing: %s", err(mount(NULL, "a", NULL, MS_SLAVE, NULL)));
    show("still unbindable");
    say("bind: %s", err(mount("a", "e", NULL, MS_BIND, NULL)));
    say("rbind: %s", err(mount("a", "e", NULL, MS_BIND | MS_REC, NULL)));
    say("from above: %s", err(mount(".", "f", NULL, MS_BIND | MS_REC, NULL)));
    show("without it");
    say("shared: %s", err(mount(NULL, "a", NULL, MS_SHARED, NULL)));
    show("shared");
    say("recursive: %s", err(mount(NULL, ".", NULL, MS_REC | MS_PRIVATE, NULL)));
    show("all private");
    say("recursive: %s", err(mount(NULL, ".", NULL, MS_REC | MS_SHARED, NULL)));
    show("all shared");
    say("two types: %s", err(mount(NULL, ".", NULL, MS_SHARED | MS_PRIVATE, NULL)));
    say("with another flag: %s", err(mount(NULL, ".", NULL, MS_SHARED | MS_RDONLY, NULL)));
    say("not a mount: %s", err(mount(NULL, "a/..", NULL, MS_SHARED, NULL)));
    directories("g");
    say("not a mount: %s", err(mount(NULL, "g", NULL, MS_SHARED, NULL)));
}

static void propagation(void)
{
    arena();
    directories("peer slave chain far private");
    directories("a a/x a/y a/sub a/sub/z");
    MUST(mount("a", "a", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
    MUST(mount("a", "peer", NULL, MS_BIND, NULL));
    MUST(mount("a", "slave", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "slave", NULL, MS_SLAVE, NULL));
    MUST(mount("slave", "chain", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "chain", NULL, MS_SHARED, NULL));
    MUST(mount("chain", "far", NULL, MS_BIND, NULL));
    MUST(mount("a", "private", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "private", NULL, MS_PRIVATE, NULL));
    show("before");
    say("mount: %s", err(mount("x", "a/x", "tmpfs", 0, NULL)));
    show("mounted in a");
    say("mount: %s", err(mount("y", "slave/y", "tmpfs", 0, NULL)));
    show("mounted in the slave");
    say("mount: %s", err(mount("y", "chain/y", "tmpfs", 0, NULL)));
    show("mounted in the chain");
    say("umount: %s", err(umount2("peer/x", 0)));
    show("unmounted in the peer");
    say("mount below others: %s", err(mount("y", "a/y", "tmpfs", 0, NULL)));
    show("mounted in a");
    say("umount: %s", err(umount2("a/y", 0)));
    show("unmounted in a");
    say("bind of a part: %s", err(umount2("private", 0) | mount("a/sub", "private", NULL, MS_BIND, NULL)));
    say("mount in it: %s", err(mount("z", "private/z", "tmpfs", 0, NULL)));
    show("a part");
    say("mount outside: %s", err(mount("x", "a/x", "tmpfs", 0, NULL)));
    show("not in the part");
    int fd = (int)MUST(open("peer/x", O_RDONLY | O_DIRECTORY));
    say("busy in the peer: %s", err(umount2("a/x", 0)));
    close(fd);
    MUST(mkdir("far/x/deep", 0755));
    MUST(mount("deep", "far/x/deep", "tmpfs", 0, NULL));
    show("with a mount of its own");
    say("umount: %s", err(umount2("a/x", 0)));
    show("what has mounts stays");
    say("lazily: %s", err(umount2("far/x", MNT_DETACH)));
    show("gone");
}

static void recursive_binds(void)
{
    arena();
    directories("a b c d");
    MUST(mount("a", "a", "tmpfs", 0, NULL));
    directories("a/x a/y");
    MUST(mount("x", "a/x", "tmpfs", 0, NULL));
    MUST(mkdir("a/x/deep", 0755));
    MUST(mount("deep", "a/x/deep", "tmpfs", 0, NULL));
    MUST(mount("y", "a/y", "tmpfs", 0, NULL));
    MUST(mount(NULL, "a/y", NULL, MS_UNBINDABLE, NULL));
    MUST(mount("b", "b", "tmpfs", 0, NULL));
    MUST(mount(NULL, "b", NULL, MS_SHARED, NULL));
    MUST(mount("b", "c", NULL, MS_BIND, NULL));
    MUST(mkdir("b/in", 0755));
    say("rbind into a shared one: %s", err(mount("a", "b/in", NULL, MS_BIND | MS_REC, NULL)));
    show("copies");
    say("bind of what is inside: %s", err(mount("b", "b/in/y", NULL, MS_BIND | MS_REC, NULL)));
    show("into itself");
    say("lazily: %s", err(umount2("c/in", MNT_DETACH)));
    show("gone");
}

static void moves(void)
{
    arena();
    directories("a b c d");
    MUST(mount("a", "a", "tmpfs", 0, NULL));
    directories("a/x a/y");
    MUST(mount("x", "a/x", "tmpfs", 0, NULL));
    MUST(mount("b", "b", "tmpfs", 0, NULL));
    MUST(mkdir("b/in", 0755));
    MUST(mount(NULL, "b", NULL, MS_SHARED, NULL));
    MUST(mount("b", "c", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "c", NULL, MS_SLAVE, NULL));
    say("into a shared one: %s", err(mount("a", "b/in", NULL, MS_MOVE, NULL)));
    show("moved");
    say("out of a shared one: %s", err(mount("b/in", "a", NULL, MS_MOVE, NULL)));
    say("out of a slave: %s", err(mount("c/in", "a", NULL, MS_MOVE, NULL)));
    show("out of the slave");
    MUST(mount("y", "a/y", "tmpfs", 0, NULL));
    show("more");
    MUST(mount("d", "d", "tmpfs", 0, NULL));
    MUST(mount(NULL, "d", NULL, MS_UNBINDABLE, NULL));
    say("unbindable into a shared one: %s", err(mount("d", "b/in", NULL, MS_MOVE, NULL)));
    say("unbindable into a private one: %s", err(mount("d", "c/in", NULL, MS_MOVE, NULL)));
    show("last");
}

static void namespaces_propagate(void)
{
    arena();
    directories("a a/x s s/x p p/x u u/x");
    for (int i = 0; i < 4; i++) {
        char name[2] = { "aspu"[i], 0 };
        MUST(mount(name, name, NULL, MS_BIND, NULL));
    }
    MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
    MUST(mount(NULL, "s", NULL, MS_SHARED, NULL));
    MUST(mount(NULL, "u", NULL, MS_UNBINDABLE, NULL));
    MUST(pipe(pipes[0]));
    MUST(pipe(pipes[1]));
    pid_t pid = fork();
    if (pid == 0) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount(NULL, "s", NULL, MS_SLAVE, NULL));
        show("child");
        tell(0);
        await(1);
        show("child");
        MUST(mount("x", "a/x", "tmpfs", 0, NULL));
        MUST(umount2("s/x", 0));
        tell(0);
        await(1);
        show("child");
        _exit(0);
    }
    await(0);
    MUST(mount("x", "s/x", "tmpfs", 0, NULL));
    MUST(mount("x", "p/x", "tmpfs", 0, NULL));
    tell(1);
    await(0);
    show("parent");
    MUST(umount2("a/x", 0));
    tell(1);
    waitpid(pid, NULL, 0);
    show("parent");
}

/* A slave shows from where it really receives, if its master cannot be seen. */
static void propagate_from(void)
{
    arena();
    directories("root root/far");
    MUST(mount("root", "root", "tmpfs", 0, NULL));
    directories("root/a root/b root/proc");
    MUST(mount("proc", "root/proc", "proc", 0, NULL));
    MUST(mount("a", "root/a", "tmpfs", 0, NULL));
    MUST(mount(NULL, "root/a", NULL, MS_SHARED, NULL));
    directories("m");
    MUST(mount("root/a", "m", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "m", NULL, MS_SLAVE, NULL));
    MUST(mount(NULL, "m", NULL, MS_SHARED, NULL));
    MUST(mount("m", "root/b", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "root/b", NULL, MS_SLAVE, NULL));
    show("outside");
    MUST(chroot("root"));
    MUST(chdir("/"));
    strcpy(base, "/");
    show("inside");
}

static void pivots(void)
{
    arena();
    MUST(unshare(CLONE_NEWNS));
    directories("new");
    MUST(mount("new", "new", "tmpfs", 0, NULL));
    directories("new/old");
    MUST(mount(NULL, "new", NULL, MS_SHARED, NULL));
    say("shared put_old: %s", err(syscall(SYS_pivot_root, "new", "new/old")));
    MUST(mount(NULL, "new", NULL, MS_PRIVATE, NULL));
    MUST(mount(NULL, base, NULL, MS_SHARED, NULL));
    say("shared parent: %s", err(syscall(SYS_pivot_root, "new", "new/old")));
    MUST(mount(NULL, base, NULL, MS_PRIVATE, NULL));
    MUST(mount(NULL, "/", NULL, MS_SHARED, NULL));
    say("shared root: %s", err(syscall(SYS_pivot_root, "new", "new/old")));
    say("cwd: %s", err(access("new", F_OK)));
    MUST(chdir("/"));
    say("root: %s", err(access("/old", F_OK)));
    say("old: %s", err(umount2("/old", MNT_DETACH)));
    directories("/proc");
    MUST(mount("proc", "/proc", "proc", 0, NULL));
    strcpy(base, "/");
    show("left");
}

static const char *events_of(int fd, int wait)
{
    static char text[64];
    struct pollfd one = { .fd = fd, .events = POLLPRI };
    int count = poll(&one, 1, wait);
    snprintf(text, sizeof(text), "%d %#x", count, (unsigned)one.revents);
    return text;
}

/* Who polls mountinfo hears of changes of the namespace that was shown when it was opened. */
static void polled(void)
{
    arena();
    directories("a b c");
    int file = (int)MUST(open("/proc/self/mountinfo", O_RDONLY)), other = (int)MUST(open("/proc/self/mounts", O_RDONLY));
    say("at first: %s", events_of(file, 0));
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    say("mount: %s", events_of(file, 0));
    say("again: %s", events_of(file, 0));
    say("other: %s", events_of(other, 0));
    MUST(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL));
    say("flags: %s", events_of(file, 0));
    MUST(mount("a", "b", NULL, MS_MOVE, NULL));
    say("move: %s", events_of(file, 0));
    MUST(umount2("b", 0));
    say("umount: %s", events_of(file, 0));
    int epoll = (int)MUST(epoll_create1(0));
    struct epoll_event event = { .events = EPOLLPRI }, got = { 0 };
    say("epoll: %s", err(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event)));
    say("nothing: %d", epoll_wait(epoll, &got, 1, 0));
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        MUST(mount("x", "c", "tmpfs", 0, NULL));
        _exit(0);
    }
    say("waited: %d", epoll_wait(epoll, &got, 1, 5000));
    say("events: %#x", got.events);
    say("nothing more: %d", epoll_wait(epoll, &got, 1, 0));
    reap(child);
    MUST(mount(NULL, "c", NULL, MS_SHARED, NULL));
    MUST(unshare(CLONE_NEWNS));
    MUST(events_of(file, 0) ? 0 : -1);
    MUST(mount("y", "a", "tmpfs", 0, NULL));
    say("of another namespace: %s", events_of(file, 0));
    MUST(mkdir("c/d", 0755));
    MUST(mount("y", "c/d", "tmpfs", 0, NULL));
    say("propagated: %s", events_of(file, 0));
    char text[65536];
    ssize_t length, used = 0;
    while ((length = pread(file, text + used, sizeof(text) - 1 - (size_t)used, used)) > 0)
        used += length;
    text[used] = 0;
    say("shows the old one: %d %d", strstr(text, "case_polled/a ") != NULL, strstr(text, "case_polled/c/d ") != NULL);
    FILE *stats = fopen("/proc/self/mountstats", "r");
    while (stats && fgets(text, sizeof(text), stats))
        if (strstr(text, "case_polled/c/d "))
            say("stats: %.*s", (int)strcspn(text, "\n"), text);
    struct stat data;
    MUST(stat("/proc/self/mountstats", &data));
    say("mode: %o", data.st_mode);
    child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t information;
    MUST(waitid(P_PID, (id_t)child, &information, WEXITED | WNOWAIT));
    snprintf(text, 64, "/proc/%d/mountinfo", child);
    say("of a zombie: %s", err(open(text, O_RDONLY)));
    reap(child);
}

CHECK_MAIN(CASE(unshared), CASE(cloned), CASE(removed), CASE(propagation_types), CASE(propagation), CASE(recursive_binds),
           CASE(moves), CASE(namespaces_propagate), CASE(propagate_from), CASE(polled), CASE(pivots))
