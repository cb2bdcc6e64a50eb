/* The tree of mounts: tmpfs, binds, moves, remounts, what is busy, changing the root. */
#include "check.h"
#include <sys/mount.h>
#include <sys/statfs.h>

static int mounts_at(const char *place)
{
    FILE *file = fopen("/proc/self/mounts", "r");
    char line[4096], target[2048];
    int found = 0;
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "%*s %2047s", target) == 1 && !strcmp(target, place))
            found++;
    if (file)
        fclose(file);
    return found;
}

static const char *options_at(const char *place)
{
    static char options[2048];
    FILE *file = fopen("/proc/self/mounts", "r");
    char line[4096], target[2048], text[2048];
    strcpy(options, "none");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "%*s %2047s %*s %2047s", target, text) == 2 && !strcmp(target, place))
            strcpy(options, text);
    if (file)
        fclose(file);
    return options;
}

static const char *here(void)
{
    static char text[4096];
    return getcwd(text, sizeof(text)) ? text : "none";
}

static const char *below(const char *name)
{
    static char text[8][4200];
    static int next;
    char *place = text[next++ % 8];
    snprintf(place, 4200, "%s/%s", here(), name);
    return place;
}

static void arguments(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    put("file", "x");
    say("unknown type: %s", err(mount("x", "a", "nosuchfs", 0, NULL)));
    say("no type: %s", err(mount("x", "a", NULL, 0, NULL)));
    say("bad type pointer: %s", err(mount("x", "a", (char *)8, 0, NULL)));
    say("bad data pointer: %s", err(mount("x", "a", "tmpfs", 0, (void *)8)));
    say("bad target pointer: %s", err(mount("x", (char *)8, "tmpfs", 0, NULL)));
    say("missing target: %s", err(mount("x", "missing", "tmpfs", 0, NULL)));
    say("empty target: %s", err(mount("x", "", "tmpfs", 0, NULL)));
    say("file as target: %s", err(mount("x", "file", "tmpfs", 0, NULL)));
    say("bad option: %s", err(mount("x", "a", "tmpfs", 0, "nonsense=1")));
    say("bind without source: %s", err(mount(NULL, "a", NULL, MS_BIND, NULL)));
    say("bind of nothing: %s", err(mount("", "a", NULL, MS_BIND, NULL)));
    say("bind of missing: %s", err(mount("missing", "a", NULL, MS_BIND, NULL)));
    say("bind of file on directory: %s", err(mount("file", "a", NULL, MS_BIND, NULL)));
    say("bind of directory on file: %s", err(mount("a", "file", NULL, MS_BIND, NULL)));
    say("remount of no mount: %s", err(mount("x", "a", NULL, MS_REMOUNT, NULL)));
    say("bind remount of no mount: %s", err(mount("x", "a", NULL, MS_REMOUNT | MS_BIND, NULL)));
    say("move of no mount: %s", err(mount("a", "file", NULL, MS_MOVE, NULL)));
    say("private of no mount: %s", err(mount(NULL, "a", NULL, MS_PRIVATE, NULL)));
    say("two propagations: %s", err(mount(NULL, "/", NULL, MS_PRIVATE | MS_SLAVE, NULL)));
    say("MS_NOUSER: %s", err(mount("x", "a", "tmpfs", 1UL << 31, NULL)));
    say("umount of no mount: %s", err(umount2("a", 0)));
    say("umount of missing: %s", err(umount2("missing", 0)));
    say("umount with unknown flags: %s", err(umount2("a", 16)));
    say("umount with unknown flags of missing: %s", err(umount2("missing", 16)));
    say("old magic: %s", err(mount("x", "a", "tmpfs", 0xc0ed0000, NULL)));
    say("umount: %s", err(umount2("a", 0)));
    char *page = malloc(8192);
    memset(page, 'x', 8191);
    page[8191] = 0;
    say("long type: %s", err(mount("x", "a", page, 0, NULL)));
    say("long source: %s", err(mount(page, "a", "tmpfs", 0, NULL)));
}

static void privileges(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    MUST(setresuid(1000, 1000, 1000));
    say("mount: %s", err(mount("x", "a", "tmpfs", 0, NULL)));
    say("mount of unknown: %s", err(mount("x", "a", "nosuchfs", 0, NULL)));
    say("mount on missing: %s", err(mount("x", "missing", "tmpfs", 0, NULL)));
    say("umount: %s", err(umount2("a", 0)));
    say("umount of missing: %s", err(umount2("missing", 0)));
    say("pivot_root of missing: %s", err(syscall(SYS_pivot_root, "missing", "missing")));
}

static void tmpfs(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    put("a/under", "1");
    say("mount: %s", err(mount("source", "a", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=700")));
    say("options: %.24s", options_at(below("a")));
    struct stat data;
    MUST(stat("a", &data));
    say("mode: %o", data.st_mode);
    say("hidden: %s", err(access("a/under", F_OK)));
    put("a/over", "2");
    struct statfs fs;
    MUST(statfs("a", &fs));
    say("size: %lu", (unsigned long)(fs.f_blocks * (unsigned long)fs.f_bsize));
    say("flags: %#lx", (unsigned long)fs.f_flags);
    say("bigger: %s", err(mount("x", "a", NULL, MS_REMOUNT | MS_NOSUID, "size=128k")));
    MUST(statfs("a", &fs));
    say("size: %lu", (unsigned long)(fs.f_blocks * (unsigned long)fs.f_bsize));
    say("flags: %#lx", (unsigned long)fs.f_flags);
    put("a/large", "x");
    MUST(truncate("a/large", 100000));
    int fd = (int)MUST(open("a/large", O_RDWR));
    say("fill: %s", err(posix_fallocate(fd, 0, 100000) ? -1 : 0));
    close(fd);
    say("too small: %s", err(mount("x", "a", NULL, MS_REMOUNT, "size=8k")));
    say("link over mounts: %s", err(link("a/over", "other")));
    say("rename over mounts: %s", err(rename("a/over", "other")));
    say("rename of a mount point: %s", err(rename("a", "b")));
    say("rmdir of a mount point: %s", err(rmdir("a")));
    MUST(chdir("a"));
    say("busy for the working directory: %s", err(umount2("../a", 0)));
    MUST(chdir(".."));
    fd = (int)MUST(open("a/over", O_RDONLY));
    say("busy for a file: %s", err(umount2("a", 0)));
    close(fd);
    char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd = (int)MUST(open("a/over", O_RDONLY)), 0);
    close(fd);
    say("busy for a mapping: %s", err(umount2("a", 0)));
    munmap(map, 4096);
    say("idle: %s", err(umount2("a", 0)));
    say("shown again: %s", err(access("a/under", F_OK)));
    say("gone: %d", mounts_at(below("a")));
    say("rmdir: %s", err(unlink("a/under") | rmdir("a")));
}

static void stacks(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    put("a/first", "1");
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    put("a/second", "2");
    say("mounts: %d", mounts_at(below("a")));
    say("first: %s", err(access("a/first", F_OK)));
    say("second: %s", err(access("a/second", F_OK)));
    MUST(chdir("a"));
    MUST(mount("x", ".", "tmpfs", 0, NULL));
    say("cwd stays: %s", err(access("second", F_OK)));
    say("umount of the dot is the top one: %s", err(umount2(".", 0)));
    say("busy: %s", err(umount2(".", 0)));
    MUST(chdir(".."));
    say("umount: %s", err(umount2("a", 0)));
    say("first: %s", err(access("a/first", F_OK)));
    MUST(mkdir("a/b", 0755));
    MUST(mount("x", "a/b", "tmpfs", 0, NULL));
    say("with a mount below: %s", err(umount2("a", 0)));
    int fd = (int)MUST(open("a/first", O_RDONLY));
    say("lazily: %s", err(umount2("a", MNT_DETACH)));
    char byte;
    say("still readable: %s", err(read(fd, &byte, 1)));
    say("gone: %d %d", mounts_at(below("a")), mounts_at(below("a/b")));
}

static void binds(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mkdir("a/inner", 0755));
    MUST(mkdir("b", 0755));
    MUST(mkdir("c", 0755));
    put("a/file", "one");
    put("target", "under");
    say("bind: %s", err(mount("a", "b", NULL, MS_BIND, NULL)));
    say("through it: %s", get("b/file"));
    put("b/new", "new");
    say("and back: %s", get("a/new"));
    say("bind of a file: %s", err(mount("a/file", "target", NULL, MS_BIND, NULL)));
    say("file: %s", get("target"));
    say("unlink of a mount point: %s", err(unlink("target")));
    say("link over binds: %s", err(link("b/file", "a/link")));
    say("rename over binds: %s", err(rename("b/file", "a/file2")));
    MUST(mount("x", "a/inner", "tmpfs", 0, NULL));
    put("a/inner/deep", "deep");
    say("not recursive: %s", err(access("b/inner/deep", F_OK)));
    say("recursive: %s", err(mount("a", "c", NULL, MS_BIND | MS_REC, NULL)));
    say("deep: %s", get("c/inner/deep"));
    say("read-only bind: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)));
    say("write: %s", err(open("b/file", O_WRONLY)));
    say("create: %s", err(open("b/x", O_WRONLY | O_CREAT, 0600)));
    say("unlink: %s", err(unlink("b/file")));
    say("mkdir: %s", err(mkdir("b/d", 0700)));
    say("chmod: %s", err(chmod("b/file", 0600)));
    say("access: %s", err(access("b/file", W_OK)));
    say("other side: %s", err(close(open("a/file", O_WRONLY))));
    say("options: %.2s", options_at(below("b")));
    say("writable again: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL)));
    int writer = (int)MUST(open("b/file", O_WRONLY));
    say("read-only with a writer: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)));
    close(writer);
    writer = (int)MUST(open("a/file", O_WRONLY));
    say("read-only with a writer elsewhere: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)));
    close(writer);
    say("writable again: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL)));
    say("write: %s", err(close(open("b/file", O_WRONLY))));
    say("noexec: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC | MS_NODEV | MS_NOSUID | MS_NOATIME, NULL)));
    say("options: %.30s", options_at(below("b")));
    MUST(chmod("a/file", 0755));
    say("execute: %s", err(access("b/file", X_OK)));
    say("nosymfollow: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | 256, NULL)));
    MUST(symlink("file", "a/symlink"));
    say("through a link: %s", err(open("b/symlink", O_RDONLY)));
    say("umount by a link: %s", err(symlink("b", "tob")));
    say("not followed: %s", err(umount2("tob", UMOUNT_NOFOLLOW)));
    say("followed: %s", err(umount2("tob", 0)));
    say("umount: %s", err(umount2("target", 0)));
    say("umount: %s", err(umount2("c", MNT_DETACH)));
    say("bind on itself: %s", err(mount("b", "b", NULL, MS_BIND, NULL)));
    say("mounts: %d", mounts_at(below("b")));
    int fd = (int)MUST(open("c", O_RDONLY | O_DIRECTORY));
    MUST(rmdir("c"));
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    say("on a removed directory: %s", err(mount("x", name, "tmpfs", 0, NULL)));
    int pipes[2];
    MUST(pipe(pipes));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", pipes[0]);
    say("bind of a pipe: %s", err(mount(name, "target", NULL, MS_BIND, NULL)));
}

/* Read-only as a file system concerns all its mounts. */
static void read_only(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mkdir("b", 0755));
    say("mount: %s", err(mount("x", "a", "tmpfs", MS_RDONLY, NULL)));
    say("create: %s", err(mkdir("a/d", 0755)));
    MUST(mount("a", "b", NULL, MS_BIND, NULL));
    say("the mount alone: %s", err(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL)));
    say("create: %s", err(mkdir("b/d", 0755)));
    say("remount: %s", err(mount(NULL, "b", NULL, MS_REMOUNT, NULL)));
    say("create: %s", err(mkdir("b/d", 0755)));
    say("create in the other: %s", err(mkdir("a/e", 0755)));
    say("remount: %s", err(mount(NULL, "a", NULL, MS_REMOUNT, NULL)));
    put("a/file", "x");
    int fd = (int)MUST(open("b/file", O_WRONLY));
    say("with a writer: %s", err(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL)));
    close(fd);
    say("without: %s", err(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL)));
    say("write: %s", err(open("b/file", O_WRONLY)));
    say("options: %.2s %.2s", options_at(below("a")), options_at(below("b")));
    say("same place: %s", err(mount("x", "/proc", "proc", 0, NULL) | umount2("/proc", 0)));
}

static void moves(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mkdir("b", 0755));
    put("file", "x");
    MUST(mount("x", "a", "tmpfs", 0, NULL));
    MUST(mkdir("a/inner", 0755));
    put("a/file", "1");
    MUST(mount("x", "a/inner", "tmpfs", 0, NULL));
    put("a/inner/file", "2");
    say("on a file: %s", err(mount("a", "file", NULL, MS_MOVE, NULL)));
    say("below itself: %s", err(mount("a", "a/inner", NULL, MS_MOVE, NULL)));
    say("move: %s", err(mount("a", "b", NULL, MS_MOVE, NULL)));
    say("old place: %s", err(access("a/file", F_OK)));
    say("new place: %s", get("b/file"));
    say("below: %s", get("b/inner/file"));
    say("root: %s", err(mount("/", "a", NULL, MS_MOVE, NULL)));
    say("inside: %s", err(mount("b/file", "a", NULL, MS_MOVE, NULL)));
    MUST(chdir("b/inner"));
    MUST(mount("..", "../../a", NULL, MS_MOVE, NULL));
    char *slash = strrchr(here(), '/');
    say("cwd: %s", slash ? slash : "none");
    say("cwd: %s", strstr(here(), "/a/inner") ? "moved" : here());
    say("dotdot: %s", get("../file"));
    say("expire with others: %s", err(umount2(".", MNT_EXPIRE | MNT_DETACH)));
    MUST(chdir("../.."));
    say("expire: %s", err(umount2("a/inner", MNT_EXPIRE)));
    say("expire: %s", err(umount2("a/inner", MNT_EXPIRE)));
    say("expire busy: %s", err(umount2("a/inner", MNT_EXPIRE)));
}

static void pivot(void)
{
    own_directory();
    MUST(mkdir("new", 0755));
    say("no mount: %s", err(syscall(SYS_pivot_root, "new", "new")));
    MUST(mount("x", "new", "tmpfs", 0, NULL));
    MUST(mkdir("new/old", 0755));
    MUST(mkdir("beside", 0755));
    put("new/file", "x");
    say("file: %s", err(syscall(SYS_pivot_root, "new/file", "new/old")));
    say("file: %s", err(syscall(SYS_pivot_root, "new", "new/file")));
    say("the root itself: %s", err(syscall(SYS_pivot_root, "/", "new/old")));
    say("beside: %s", err(syscall(SYS_pivot_root, "new", "/proc")));
    say("inside: %s", err(syscall(SYS_pivot_root, "new/old", "new/old")));
    char old[4096], place[4200];
    MUST((long)getcwd(old, sizeof(old)) > 0 ? 0 : -1);
    pid_t child = fork();
    if (child == 0) {
        MUST(chroot("new"));
        say("without a mount as root: %s", err(chdir("/") | syscall(SYS_pivot_root, "/", "/old")));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    int root = (int)MUST(open("/", O_RDONLY | O_DIRECTORY));
    say("pivot: %s", err(syscall(SYS_pivot_root, "new", "new/old")));
    say("new root: %s", err(access("/file", F_OK)));
    snprintf(place, sizeof(place), "/old%s/beside", old);
    say("old root: %s", err(access(place, F_OK)));
    say("cwd: %s", err(access("beside", F_OK)));
    say("cwd: %s", strstr(here(), "/old") ? "below old" : here());
    say("busy: %s", err(umount2("/old", 0)));
    MUST(chdir("/"));
    MUST(fchdir(root));
    say("back: %s", err(syscall(SYS_pivot_root, ".", ".")));
    say("detach: %s", err(umount2(".", MNT_DETACH)));
    say("file: %s", err(access("/file", F_OK)));
}

static void pivot_detach(void)
{
    own_directory();
    MUST(mkdir("new", 0755));
    MUST(mount("x", "new", "tmpfs", 0, NULL));
    put("new/file", "x");
    MUST(chdir("new"));
    say("pivot: %s", err(syscall(SYS_pivot_root, ".", ".")));
    say("detach: %s", err(umount2(".", MNT_DETACH)));
    say("file: %s", err(access("/file", F_OK)));
    say("cwd: %s", here());
    say("proc: %s", err(access("/proc", F_OK)));
    MUST(mkdir("/proc", 0755));
    say("proc: %s", err(mount("proc", "/proc", "proc", 0, NULL)));
    say("mounts: %d %d", mounts_at("/"), mounts_at("/proc"));
    say("umount of the root: %s", err(umount2("/", 0)));
    say("write: %s", err(mkdir("/d", 0700)));
}

static void handles(void)
{
    own_directory();
    put("file", "x");
    struct file_handle *handle = calloc(1, sizeof(*handle) + 128);
    int id;
    handle->handle_bytes = 128;
    int proc = (int)MUST(open("/proc", O_RDONLY));
    say("name_to_handle_at of proc: %s", err(name_to_handle_at(proc, "self", handle, &id, 0)));
    handle->handle_bytes = 1000;
    say("too large: %s", err(open_by_handle_at(AT_FDCWD, handle, O_RDONLY)));
    handle->handle_bytes = 0;
    say("empty: %s", err(open_by_handle_at(AT_FDCWD, handle, O_RDONLY)));
    handle->handle_bytes = 128;
    say("of proc: %s", err(open_by_handle_at(proc, handle, O_RDONLY)));
    say("of nothing: %s", err(open_by_handle_at(999, handle, O_RDONLY)));
    say("bad pointer: %s", err(open_by_handle_at(proc, (void *)8, O_RDONLY)));
    say("bad flags: %s", err(name_to_handle_at(AT_FDCWD, "file", handle, &id, 0x40)));
    say("missing: %s", err(name_to_handle_at(AT_FDCWD, "missing", handle, &id, 0)));
    MUST(setresuid(1000, 1000, 1000));
    say("without privilege: %s", err(open_by_handle_at(proc, handle, O_RDONLY)));
}

/* The last ones change the root of all that follow. */
CHECK_MAIN(CASE(arguments), CASE(privileges), CASE(tmpfs), CASE(stacks), CASE(binds), CASE(read_only), CASE(moves), CASE(handles),
           CASE(pivot), CASE(pivot_detach))
