/* Trees of mounts by descriptor: open_tree(2), move_mount(2), mount_setattr(2). */
#include "check.h"

#include <sys/mount.h>
#include <sched.h>
#include <sys/mount.h>

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x200
#endif
#define SET_GROUP 0x100
#define RECURSIVE 0x8000


static int attach(int fd, const char *path)
{
    return move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

static int set_attributes(const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
    struct mount_attr attributes = { .attr_set = set, .attr_clr = clear, .propagation = propagation };
    return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof(attributes));
}

static char base[4096];

static void arena(void)
{
    own_directory();
    MUST((long)getcwd(base, sizeof(base)) > 0 ? 0 : -1);
    MUST(mount("arena", base, "tmpfs", 0, NULL));
    MUST(mount(NULL, base, NULL, MS_PRIVATE, NULL));
    MUST(chdir(base));
    for (const char *name = "abcdef"; *name; name++) {
        char text[2] = { *name, 0 };
        MUST(mkdir(text, 0755));
    }
    put("file", "x");
}

/* The mounts of the arena: place, flags, propagation; numbers of groups by order of appearance. */
static void show(const char *what)
{
    FILE *file = fopen("/proc/self/mountinfo", "r");
    static char line[4096];
    char text[3500] = "", place[1024], flags[256];
    int groups[32], count = 0;
    while (file && fgets(line, sizeof(line), file)) {
        int used = 0;
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*d %*d %*s %*s %1023s %255s%n", place, flags, &used) != 2)
            continue;
        size_t length = strlen(base);
        if (strncmp(place, base, length) || (place[length] && place[length] != '/'))
            continue;
        *dash = 0;
        char *out = text + strlen(text);
        snprintf(out, 300, " [%s %s", place[length] ? place + length : "/", flags);
        for (char *field = strtok(line + used, " "); field; field = strtok(NULL, " ")) {
            char *colon = strchr(field, ':');
            int index = 0, number = colon ? atoi(colon + 1) : 0;
            out = text + strlen(text);
            while (index < count && groups[index] != number)
                index++;
            if (index == count && count < 32)
                groups[count++] = number;
            snprintf(out, 64, " %.*s:%d", colon ? (int)(colon - field) : (int)strlen(field), field, colon ? index + 1 : 0);
        }
        strcat(text, "]");
    }
    if (file)
        fclose(file);
    say("%s:%s", what, text);
}

static void open_trees(void)
{
    arena();
    say("unknown flag: %s", err(open_tree(AT_FDCWD, "a", 2)));
    say("recursive without clone: %s", err(open_tree(AT_FDCWD, "a", RECURSIVE)));
    say("missing: %s", err(open_tree(AT_FDCWD, "missing", OPEN_TREE_CLONE)));
    say("bad descriptor: %s", err(open_tree(99, "", AT_EMPTY_PATH)));
    int fd = (int)MUST(open_tree(AT_FDCWD, "a", OPEN_TREE_CLOEXEC));
    say("flags: %#x, %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    char byte;
    say("read: %s", err(read(fd, &byte, 1)));
    say("create: %s", err(close(openat(fd, "new", O_CREAT | O_WRONLY, 0644))));
    say("seen: %s", err(access("a/new", F_OK)));
    close(fd);
    say("a file: %s", err(fd = open_tree(AT_FDCWD, "file", 0)));
    close(fd);
    MUST(mount("x", "b", "tmpfs", 0, NULL));
    MUST(mkdir("b/in", 0755));
    MUST(mount("y", "b/in", "tmpfs", 0, NULL));
    put("b/in/deep", "deep");
    fd = (int)MUST(open_tree(AT_FDCWD, "b", OPEN_TREE_CLONE));
    say("flags: %#x, %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    show("not shown");
    say("alone: %s", err(faccessat(fd, "in/deep", F_OK, 0)));
    char link[4096], path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, link, sizeof(link) - 1);
    link[length < 0 ? 0 : length] = 0;
    say("link: %s", link);
    say("dotdot: %s", err(faccessat(fd, "../in", F_OK, 0)));
    close(fd);
    fd = (int)MUST(open_tree(AT_FDCWD, "b", OPEN_TREE_CLONE | RECURSIVE));
    say("with all: %s", err(faccessat(fd, "in/deep", F_OK, 0)));
    say("umount of the original: %s", err(umount2("b", MNT_DETACH)));
    say("still there: %s", err(faccessat(fd, "in/deep", F_OK, 0)));
    say("mount in it: %s", err(fchdir(fd) | mount("z", "in", "tmpfs", 0, NULL)));
    MUST(chdir(base));
    say("attach: %s", err(attach(fd, "c")));
    show("attached");
    say("again: %s", err(attach(fd, "d")));
    show("moved");
    close(fd);
    show("stays");
    MUST(mount(NULL, "d", NULL, MS_UNBINDABLE, NULL));
    say("unbindable: %s", err(open_tree(AT_FDCWD, "d", OPEN_TREE_CLONE)));
    fd = (int)MUST(open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | RECURSIVE));
    say("left out: %s", err(faccessat(fd, "d/in", F_OK, 0)));
    MUST(setresuid(1000, 1000, 1000));
    say("without privilege: %s", err(open_tree(AT_FDCWD, "c", OPEN_TREE_CLONE)));
    say("without clone: %s", err(close(open_tree(AT_FDCWD, "c", 0))));
    say("move: %s", err(attach(fd, "c")));
    say("attributes: %s", err(set_attributes("d", 0, MOUNT_ATTR_RDONLY, 0, 0)));
}

static void moves(void)
{
    arena();
    say("unknown flag: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 0x8000)));
    say("two flags: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", MOVE_MOUNT_BENEATH | SET_GROUP)));
    say("no mount: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 0)));
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    MUST(mkdir("a/in", 0755));
    say("missing target: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "missing", 0)));
    say("missing source: %s", err(move_mount(AT_FDCWD, "missing", AT_FDCWD, "b", 0)));
    say("file: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "file", 0)));
    say("into itself: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "a/in", 0)));
    say("move: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 0)));
    show("moved");
    MUST(symlink("b", "link"));
    say("by a link: %s", err(move_mount(AT_FDCWD, "link", AT_FDCWD, "c", 0)));
    say("followed: %s", err(move_mount(AT_FDCWD, "link", AT_FDCWD, "c", MOVE_MOUNT_F_SYMLINKS)));
    say("to a link: %s", err(symlink("d", "link2") | move_mount(AT_FDCWD, "c", AT_FDCWD, "link2", MOVE_MOUNT_T_SYMLINKS)));
    int from = (int)MUST(open("d", O_PATH)), to = (int)MUST(open("e", O_PATH));
    say("by descriptors: %s", err(move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)));
    say("empty without flag: %s", err(move_mount(from, "", to, "", 0)));
    close(from);
    close(to);
    show("moved");
    int tree = (int)MUST(open_tree(AT_FDCWD, "e", OPEN_TREE_CLONE));
    int other = (int)MUST(open_tree(AT_FDCWD, "e", OPEN_TREE_CLONE));
    say("detached in detached: %s", err(move_mount(other, "", tree, "in", MOVE_MOUNT_F_EMPTY_PATH)));
    say("attached in detached: %s", err(move_mount(AT_FDCWD, "e", tree, "in", 0)));
    say("within itself: %s", err(move_mount(tree, "", tree, "in", MOVE_MOUNT_F_EMPTY_PATH)));
    say("below a detached top: %s", err(move_mount(tree, "in", AT_FDCWD, "a", 0)));
    say("attach: %s", err(attach(tree, "a")));
    show("both");
    close(tree);
    close(other);
    MUST(mount(NULL, base, NULL, MS_SHARED, NULL));
    say("from a shared parent: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 0)));
    tree = (int)MUST(open_tree(AT_FDCWD, "e", OPEN_TREE_CLONE));
    say("detached to a shared parent: %s", err(attach(tree, "b")));
    show("shared");
    close(tree);
}

static void beneath(void)
{
    arena();
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    put("a/top", "1");
    MUST(mount("y", "b", "tmpfs", 0, NULL));
    put("b/below", "1");
    int tree = (int)MUST(open_tree(AT_FDCWD, "b", OPEN_TREE_CLONE));
    say("not a mount: %s", err(move_mount(tree, "", AT_FDCWD, "c", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH)));
    say("the root: %s", err(move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH)));
    say("beneath: %s", err(move_mount(tree, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH)));
    show("two");
    say("on top: %s", err(access("a/top", F_OK)));
    say("umount: %s", err(umount2("a", 0)));
    say("shown: %s", err(access("a/below", F_OK)));
    close(tree);
    say("attached one: %s", err(move_mount(AT_FDCWD, "b", AT_FDCWD, "a", MOVE_MOUNT_BENEATH)));
    show("attached");
}

static void set_groups(void)
{
    arena();
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    MUST(mkdir("a/in", 0755));
    MUST(mount("a", "b", NULL, MS_BIND, NULL));
    MUST(mount("a/in", "c", NULL, MS_BIND, NULL));
    MUST(mount("y", "d", "tmpfs", 0, NULL));
    say("from a private one: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "b", SET_GROUP)));
    MUST(mount(NULL, "a", NULL, MS_SHARED, NULL));
    say("not a mount: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "e", SET_GROUP)));
    say("another file system: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "d", SET_GROUP)));
    say("a part: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "c", SET_GROUP)));
    say("from a part: %s", err(move_mount(AT_FDCWD, "c", AT_FDCWD, "b", SET_GROUP)));
    show("shared");
    say("to a shared one: %s", err(move_mount(AT_FDCWD, "a", AT_FDCWD, "c", SET_GROUP)));
    MUST(mount(NULL, "c", NULL, MS_SLAVE, NULL));
    MUST(mount("a/in", "e", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "e", NULL, MS_PRIVATE, NULL));
    say("from a slave: %s", err(move_mount(AT_FDCWD, "c", AT_FDCWD, "e", SET_GROUP)));
    show("slaves");
}

static void attributes(void)
{
    arena();
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    MUST(mkdir("a/in", 0755));
    MUST(mount("y", "a/in", "tmpfs", 0, NULL));
    struct mount_attr zero = { 0 };
    say("too small: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &zero, 31)));
    say("too large: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &zero, 8192)));
    say("bad pointer: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, 8, 32)));
    say("nothing: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "missing", 0, &zero, 32)));
    say("unknown flag: %s", err(set_attributes("a", 1, MOUNT_ATTR_RDONLY, 0, 0)));
    say("unknown attribute: %s", err(set_attributes("a", 0, 1ULL << 40, 0, 0)));
    say("two propagations: %s", err(set_attributes("a", 0, 0, 0, MS_SHARED | MS_SLAVE)));
    say("not a propagation: %s", err(set_attributes("a", 0, 0, 0, MS_RDONLY)));
    say("not a mount: %s", err(set_attributes("b", 0, MOUNT_ATTR_RDONLY, 0, 0)));
    say("missing: %s", err(set_attributes("missing", 0, MOUNT_ATTR_RDONLY, 0, 0)));
    say("read-only: %s", err(set_attributes("a", 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0)));
    show("one");
    say("more: %s", err(set_attributes("a", RECURSIVE, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY, 0)));
    show("all");
    say("times without clearing: %s", err(set_attributes("a", 0, MOUNT_ATTR_NOATIME, 0, 0)));
    say("times half cleared: %s", err(set_attributes("a", 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NOATIME, 0)));
    say("two times: %s", err(set_attributes("a", 0, MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, 0)));
    say("noatime: %s", err(set_attributes("a", 0, MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME, MOUNT_ATTR__ATIME, 0)));
    show("noatime");
    say("strictatime: %s", err(set_attributes("a", 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME, 0)));
    show("strictatime");
    say("relatime: %s", err(set_attributes("a", 0, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR__ATIME, MS_SHARED)));
    show("relatime");
    int fd = (int)MUST(open("a/in/f", O_CREAT | O_WRONLY, 0644));
    say("with a writer: %s", err(set_attributes("a", RECURSIVE, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE)));
    show("nothing");
    close(fd);
    say("without: %s", err(set_attributes("a", RECURSIVE, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE)));
    show("all");
    int tree = (int)MUST(open_tree(AT_FDCWD, "a", OPEN_TREE_CLONE | RECURSIVE));
    struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
    say("of a detached one: %s", err(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &writable, sizeof(writable))));
    say("inside: %s", err(syscall(SYS_mount_setattr, tree, "in", 0, &writable, sizeof(writable))));
    say("attach: %s", err(attach(tree, "b")));
    show("two");
    struct mount_attr mapped = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = 99 };
    say("mapped to nothing: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "missing", 0, &mapped, sizeof(mapped)) < 0 ? 0 : 0));
    say("only a descriptor: %s", err(syscall(SYS_mount_setattr, AT_FDCWD, "missing", 0, &(struct mount_attr){ .userns_fd = 5 }, 32)));
}

/* Detached trees end with their descriptors, also in other processes. */
static void lifetimes(void)
{
    arena();
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    put("a/f", "1");
    int tree = (int)MUST(open_tree(AT_FDCWD, "a", OPEN_TREE_CLONE));
    int copy = (int)MUST(dup(tree)), file = (int)MUST(openat(tree, "f", O_RDONLY));
    MUST(umount2("a", 0));
    close(tree);
    say("by the copy: %s", err(attach(copy, "b")));
    close(copy);
    say("file: %s", get("b/f"));
    say("busy: %s", err(umount2("b", 0)));
    close(file);
    tree = (int)MUST(open_tree(AT_FDCWD, "b", OPEN_TREE_CLONE));
    file = (int)MUST(openat(tree, "f", O_RDONLY));
    int place = (int)MUST(openat(tree, ".", O_PATH));
    close(tree);
    say("without its tree: %s", err(move_mount(place, "", AT_FDCWD, "c", MOVE_MOUNT_F_EMPTY_PATH)));
    char byte;
    say("still readable: %s", err(read(file, &byte, 1)));
    tree = (int)MUST(open_tree(AT_FDCWD, "b", OPEN_TREE_CLONE));
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWNS));
        say("in another namespace: %s", err(attach(tree, "d")));
        show("there");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    show("here");
    say("once more: %s", err(attach(tree, "d")));
    show("here");
}

CHECK_MAIN(CASE(open_trees), CASE(moves), CASE(beneath), CASE(set_groups), CASE(attributes), CASE(lifetimes))
