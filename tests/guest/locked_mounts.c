/* Mounts in a mount namespace of a less privileged user namespace (mount_namespaces(7), "Restrictions on mount namespaces"). */
#include "check.h"
#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#define USER 1000

static void store(const char *path, const char *text)
{
    int fd = (int)MUST(open(path, O_WRONLY));
    MUST(write(fd, text, strlen(text)));
    close(fd);
}

/* A tree with a mount that hides a file, one that is read-only, nosuid, nodev, noexec and noatime, and one that is shared. */
static void prepare(void)
{
    own_directory();
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(mount("t", ".", "tmpfs", 0, "mode=777"));
    char path[256];
    MUST(chdir(getcwd(path, sizeof(path))));
    static const char *const names[] = { "top", "top/hidden", "tight", "shared", "place", "put", "mine" };
    for (size_t i = 0; i < COUNT(names); i++) {
        MUST(mkdir(names[i], 0777));
        MUST(chmod(names[i], 0777));
    }
    MUST(mount("top", "top", "tmpfs", 0, "mode=777"));
    MUST(mkdir("top/hidden", 0777));
    put("top/hidden/secret", "x");
    MUST(mount("cover", "top/hidden", "tmpfs", 0, "mode=777"));
    unsigned long tight = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME;
    MUST(mount("tight", "tight", "tmpfs", tight, "mode=777"));
    MUST(mount("shared", "shared", "tmpfs", 0, "mode=777"));
    MUST(mount(NULL, "shared", NULL, MS_SHARED, NULL));
    MUST(mkdir("shared/in", 0777));
    MUST(mkdir("shared/out", 0777));
}

static void become_root_of_another(void)
{
    MUST(setgroups(0, NULL));
    MUST(setresgid(USER, USER, USER));
    MUST(setresuid(USER, USER, USER));
    MUST(prctl(PR_SET_DUMPABLE, 1));
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    store("/proc/self/setgroups", "deny");
    store("/proc/self/uid_map", "0 1000 1");
    store("/proc/self/gid_map", "0 1000 1");
    char path[256];
    MUST(chdir(getcwd(path, sizeof(path))));
}

static int entries(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        return -1;
    int count = 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* The optional fields of a mount that ends with name. */
static void propagation(const char *name)
{
    FILE *file = fopen("/proc/self/mountinfo", "r");
    char line[1024];
    while (file && fgets(line, sizeof(line), file)) {
        char target[512] = "", rest[512] = "";
        if (sscanf(line, "%*s %*s %*s %*s %511s %*s %511s", target, rest) < 2)
            continue;
        size_t length = strlen(target), own = strlen(name);
        if (length > own && strcmp(target + length - own, name) == 0) {
            rest[strcspn(rest, ":")] = 0;
            say("%s: %s", name, rest);
        }
    }
    if (file)
        fclose(file);
}

static void inherited(void)
{
    prepare();
    become_root_of_another();
    say("umount of the cover: %s", err(umount("top/hidden")));
    say("umount of the cover, lazily: %s", err(umount2("top/hidden", MNT_DETACH)));
    say("move of the cover: %s", err(mount("top/hidden", "place", NULL, MS_MOVE, NULL)));
    say("bind of what it covers: %s", err(mount("top", "place", NULL, MS_BIND, NULL)));
    say("bind of all: %s", err(mount("top", "place", NULL, MS_BIND | MS_REC, NULL)));
    say("still covered: %d %d", entries("top/hidden"), entries("place/hidden"));
    say("umount of the inner copy: %s", err(umount("place/hidden")));
    say("umount of the copy: %s", err(umount2("place", MNT_DETACH)));
    say("umount of top: %s", err(umount2("top", MNT_DETACH)));
    say("bind of the cover itself: %s", err(mount("top/hidden", "place", NULL, MS_BIND, NULL)));
    say("umount of that: %s", err(umount("place")));
    say("clone of what it covers: %s", err(syscall(SYS_open_tree, AT_FDCWD, "top", 1)));
    say("clone of all: %s", err(syscall(SYS_open_tree, AT_FDCWD, "top", 1 | 0x8000)));
}

static void flags(void)
{
    prepare();
    become_root_of_another();
    unsigned long tight = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME;
    static const struct {
        const char *name;
        unsigned long without;
    } changes[] = { { "nothing", 0 },          { "read-only", MS_RDONLY }, { "nosuid", MS_NOSUID },
                    { "nodev", MS_NODEV },     { "noexec", MS_NOEXEC },    { "noatime", MS_NOATIME } };
    for (size_t i = 0; i < COUNT(changes); i++)
        say("remount without %s: %s", changes[i].name,
            err(mount(NULL, "tight", NULL, MS_REMOUNT | MS_BIND | (tight & ~changes[i].without), NULL)));
    say("relatime: %s",
        err(mount(NULL, "tight", NULL, MS_REMOUNT | MS_BIND | (tight & ~MS_NOATIME) | MS_RELATIME, NULL)));
    say("top read-only: %s", err(mount(NULL, "top", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)));
    say("top writable: %s", err(mount(NULL, "top", NULL, MS_REMOUNT | MS_BIND, NULL)));
    say("top's file system: %s", err(mount(NULL, "top", NULL, MS_REMOUNT | MS_RDONLY, NULL)));
    say("bind: %s", err(mount("tight", "place", NULL, MS_BIND, NULL)));
    say("bind without read-only: %s",
        err(mount(NULL, "place", NULL, MS_REMOUNT | MS_BIND | (tight & ~MS_RDONLY), NULL)));
}

static void own(void)
{
    prepare();
    become_root_of_another();
    say("tmpfs: %s", err(mount("m", "mine", "tmpfs", 0, "mode=755")));
    struct stat data;
    MUST(stat("mine", &data));
    say("belongs to %u %u, mode %o", data.st_uid, data.st_gid, data.st_mode & 07777);
    say("file: %s", err(open("mine/file", O_CREAT | O_WRONLY, 0644)));
    say("remount: %s", err(mount(NULL, "mine", NULL, MS_REMOUNT | MS_RDONLY, NULL)));
    say("file: %s", err(open("mine/other", O_CREAT | O_WRONLY, 0644)));
    say("umount: %s", err(umount("mine")));
    say("uid in the options: %s", err(mount("m", "mine", "tmpfs", 0, "uid=0,gid=0")));
    say("strange uid: %s", err(mount("m", "mine", "tmpfs", 0, "uid=5")));
    say("devtmpfs: %s", err(mount("d", "mine", "devtmpfs", 0, NULL)));
    say("devpts: %s", err(mount("d", "mine", "devpts", 0, "newinstance,ptmxmode=666")));
    int fd = open("mine/ptmx", O_RDWR | O_NOCTTY);
    say("its devices: %s", err(fd));
    say("mqueue: %s", err(mount("q", "mine", "mqueue", 0, NULL)));
    int context = (int)syscall(SYS_fsopen, "tmpfs", 0);
    say("fsopen: %s", err(context));
    say("create: %s", err(syscall(SYS_fsconfig, context, 6, NULL, NULL, 0)));
    say("fsmount: %s", err(syscall(SYS_fsmount, context, 0, 0)));
    int other = (int)syscall(SYS_fsopen, "devtmpfs", 0);
    say("fsopen of another: %s", err(other));
    say("create of another: %s", err(syscall(SYS_fsconfig, other, 6, NULL, NULL, 0)));
}

static void spread(void)
{
    prepare();
    int ready[2], go[2];
    MUST(pipe(ready));
    MUST(pipe(go));
    char byte;
    pid_t child = fork();
    if (child == 0) {
        become_root_of_another();
        propagation("/shared");
        say("own mount: %s", err(mount("i", "shared/in", "tmpfs", 0, NULL)));
        MUST(write(ready[1], "r", 1));
        MUST(read(go[0], &byte, 1));
        struct stat data;
        say("came: %d", stat("shared/out/inner", &data) == 0);
        say("umount of what came: %s", err(umount2("shared/out", MNT_DETACH)));
        say("umount of what came inside: %s", err(umount2("shared/out/inner", MNT_DETACH)));
        _exit(0);
    }
    MUST(read(ready[0], &byte, 1));
    MUST(mkdir("tree", 0777));
    MUST(mount("o", "tree", "tmpfs", 0, "mode=777"));
    MUST(mkdir("tree/inner", 0777));
    MUST(mount("p", "tree/inner", "tmpfs", 0, "mode=777"));
    MUST(mount("tree", "shared/out", NULL, MS_BIND | MS_REC, NULL));
    say("seen outside: %d", entries("shared/in"));
    MUST(write(go[1], "g", 1));
    say("child: %s", reap(child));
}

static void devices(void)
{
    prepare();
    MUST(mknod("null", S_IFCHR | 0666, 0x103));
    MUST(chmod("null", 0666));
    become_root_of_another();
    say("a device of another: %s", err(open("null", O_RDWR)));
    MUST(mount("m", "mine", "tmpfs", 0, NULL));
    say("mknod: %s", err(mknod("mine/null", S_IFCHR | 0666, 0x103)));
    int fd = open("mine/hidden", O_CREAT | O_WRONLY, 0600);
    say("file: %s", err(fd));
    MUST(mount("null", "mine/hidden", NULL, MS_BIND, NULL));
    say("bound: %s", err(open("mine/hidden", O_RDWR)));
}

static void pivoted(void)
{
    prepare();
    become_root_of_another();
    say("pivot into the cover: %s", err(syscall(SYS_pivot_root, "top/hidden", "top/hidden")));
    MUST(mount("m", "mine", "tmpfs", 0, NULL));
    MUST(mkdir("mine/old", 0700));
    MUST(chdir("mine"));
    say("pivot: %s", err(syscall(SYS_pivot_root, ".", "old")));
    MUST(chdir("/"));
    say("umount of the old root: %s", err(umount2("old", MNT_DETACH)));
    say("left: %d", entries("/"));
    say("umount of the new root: %s", err(umount2("/", MNT_DETACH)));
}

CHECK_MAIN(CASE(inherited), CASE(flags), CASE(own), CASE(spread), CASE(devices), CASE(pivoted))
