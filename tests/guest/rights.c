/* Who may do what: access rights, another root, restricted resolution of names. */
#include "check.h"
#include <linux/openat2.h>

static void access_rights(void)
{
    own_directory();
    put("a", "");
    MUST(chmod("a", 0640));
    MUST(mkdir("closed", 0700));
    put("closed/f", "");
    MUST(mkdir("sticky", 0777));
    MUST(chmod("sticky", 01777));
    put("sticky/root", "");
    MUST(mkdir("open", 0777));
    MUST(chmod("open", 0777));
    put("open/root", "");
    MUST(chmod(".", 0755));
    say("root reads: %s", err(access("a", R_OK | W_OK)));
    say("root does not execute: %s", err(access("a", X_OK)));
    say("missing: %s", err(access("b", F_OK)));
    say("bad mode: %s", err(access("a", 8)));
    pid_t child = fork();
    if (child == 0) {
        MUST(setgid(1000));
        MUST(setuid(1000));
        say("exists: %s", err(access("a", F_OK)));
        say("read: %s", err(access("a", R_OK)));
        say("open: %s", err(open("a", O_RDONLY)));
        say("create: %s", err(open("mine", O_CREAT | O_WRONLY, 0600)));
        say("into a closed directory: %s", err(open("closed/f", O_RDONLY)));
        say("stat in it: %s", err(stat("closed/f", &(struct stat){ 0 })));
        say("list it: %s", err(open("closed", O_RDONLY)));
        say("chmod of another's: %s", err(chmod("a", 0666)));
        say("chown of another's: %s", err(chown("a", 1000, -1)));
        say("unlink from a sticky directory: %s", err(unlink("sticky/root")));
        say("unlink from an open directory: %s", err(unlink("open/root")));
        say("create in it: %s", err(open("open/mine", O_CREAT | O_WRONLY, 0200)));
        say("own write-only file: %s", err(open("open/mine", O_RDONLY)));
        say("give it away: %s", err(chown("open/mine", 0, -1)));
        say("own group: %s", err(chown("open/mine", -1, 1000)));
        say("set times to now: %s", err(utimensat(AT_FDCWD, "a", NULL, 0)));
        say("device: %s", err(mknod("open/dev", S_IFCHR | 0600, 0x103)));
        say("fifo: %s", err(mknod("open/fifo", S_IFIFO | 0600, 0)));
        say("chroot: %s", err(chroot("open")));
        _exit(0);
    }
    say("child: %s", reap(child));
}

static void changed_root(void)
{
    own_directory();
    MUST(mkdir("jail", 0755));
    MUST(mkdir("jail/inner", 0755));
    put("jail/file", "in jail");
    put("file", "outside");
    MUST(symlink("/file", "jail/absolute"));
    MUST(symlink("../../../../file", "jail/up"));
    say("chroot: %s", err(chroot("jail")));
    say("cwd stays: %s", get("file"));
    char buffer[256];
    say("getcwd is unreachable: %.13s", syscall(SYS_getcwd, buffer, sizeof(buffer)) < 0 ? err(-1) : buffer);
    MUST(chdir("/"));
    say("root: %s", get("/file"));
    say("dot dot stays: %s", get("/../../file"));
    say("absolute link: %s", get("/absolute"));
    say("link upwards: %s", get("/up"));
    say("getcwd: %s", getcwd(buffer, sizeof(buffer)));
    say("chroot to a file: %s", err(chroot("/file")));
    say("chroot to nothing: %s", err(chroot("/nothing")));
}

static long open2(int at, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = { .flags = flags, .resolve = resolve };
    return syscall(SYS_openat2, at, path, &how, sizeof(how));
}

static void restricted_resolution(void)
{
    own_directory();
    MUST(mkdir("d", 0755));
    MUST(mkdir("d/e", 0755));
    put("d/f", "in d");
    put("f", "above");
    MUST(symlink("../f", "d/out"));
    MUST(symlink("f", "d/in"));
    MUST(symlink("/f", "d/abs"));
    int d = (int)MUST(open("d", O_RDONLY));
    say("plain: %s", err(open2(d, "f", O_RDONLY, 0)));
    say("beneath: %s", err(open2(d, "e/../f", O_RDONLY, RESOLVE_BENEATH)));
    say("beneath, up: %s", err(open2(d, "../f", O_RDONLY, RESOLVE_BENEATH)));
    say("beneath, link out: %s", err(open2(d, "out", O_RDONLY, RESOLVE_BENEATH)));
    say("beneath, absolute: %s", err(open2(d, "/f", O_RDONLY, RESOLVE_BENEATH)));
    say("in root, up: %s", err(open2(d, "../../f", O_RDONLY, RESOLVE_IN_ROOT)));
    say("in root, absolute link: %s", err(open2(d, "abs", O_RDONLY, RESOLVE_IN_ROOT)));
    say("no links: %s", err(open2(d, "in", O_RDONLY, RESOLVE_NO_SYMLINKS)));
    say("no crossing of mounts: %s", err(open2(AT_FDCWD, "/proc/version", O_RDONLY, RESOLVE_NO_XDEV)));
    say("no magic links: %s", err(open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS)));
    say("unknown resolve bit: %s", err(open2(d, "f", O_RDONLY, 0x1000)));
    say("unknown flag: %s", err(open2(d, "f", 1UL << 40, 0)));
    struct open_how how = { .flags = O_RDONLY, .mode = 0600 };
    say("mode without O_CREAT: %s", err(syscall(SYS_openat2, d, "f", &how, sizeof(how))));
    how.mode = 0;
    say("too small: %s", err(syscall(SYS_openat2, d, "f", &how, 8)));
    struct { struct open_how how; uint64_t more; } larger = { { .flags = O_RDONLY }, 0 };
    say("larger with zeros: %s", err(syscall(SYS_openat2, d, "f", &larger, sizeof(larger))));
    larger.more = 1;
    say("larger with something: %s", err(syscall(SYS_openat2, d, "f", &larger, sizeof(larger))));
}

CHECK_MAIN(CASE(access_rights), CASE(changed_root), CASE(restricted_resolution))
