/* File systems by descriptor: fsopen(2), fspick(2), fsconfig(2), fsmount(2). */
#include "check.h"

#include <sys/mount.h>
#include <sys/statfs.h>

static int configuration;

static void messages(void)
{
    char text[512];
    ssize_t length;
    while ((length = read(configuration, text, sizeof(text) - 1)) > 0) {
        text[length] = 0;
        if (text[length - 1] == '\n')
            text[length - 1] = 0;
        say("  message: %s", text);
    }
    if (length == 0 || errno != ENODATA)
        say("  read: %s", err(length));
}

static void set(int command, const char *name, const char *value, int extra)
{
    say("%d %s=%s: %s", command, name ? name : "NULL", value ? value : "NULL",
        err(fsconfig(configuration, (unsigned)command, name, value, extra)));
    messages();
}

static const char *line_of(const char *place)
{
    static char text[1024];
    FILE *file = fopen("/proc/self/mountinfo", "r");
    char line[2048], target[1024], flags[256], type[64], source[256], rest[512];
    strcpy(text, "none");
    while (file && fgets(line, sizeof(line), file)) {
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*d %*d %*s %*s %1023s %255s", target, flags) != 2 || strcmp(target, place))
            continue;
        if (sscanf(dash, " - %63s %255s %511s", type, source, rest) == 3)
            snprintf(text, sizeof(text), "%s %s %s %.2s", flags, type, source, rest);
    }
    if (file)
        fclose(file);
    return text;
}

static const char *below(const char *name)
{
    static char text[4200];
    char here[4096];
    snprintf(text, sizeof(text), "%s/%s", getcwd(here, sizeof(here)) ? here : "", name);
    return text;
}

static void arguments(void)
{
    own_directory();
    say("unknown type: %s", err(fsopen("nosuchfs", 0)));
    say("unknown flag: %s", err(fsopen("tmpfs", 2)));
    say("bad pointer: %s", err(syscall(SYS_fsopen, 8, 0)));
    configuration = (int)MUST(fsopen("tmpfs", FSOPEN_CLOEXEC));
    say("flags: %#x %d", fcntl(configuration, F_GETFL), fcntl(configuration, F_GETFD));
    char path[64], link[128];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", configuration);
    ssize_t length = readlink(path, link, sizeof(link) - 1);
    link[length < 0 ? 0 : length] = 0;
    say("link: %s", link);
    char byte = 0;
    say("write: %s", err(write(configuration, &byte, 1)));
    say("lseek: %s", err(lseek(configuration, 0, SEEK_SET)));
    int other = (int)MUST(open("/dev/null", O_RDWR));
    say("no descriptor: %s", err(fsconfig(99, FSCONFIG_SET_FLAG, "ro", NULL, 0)));
    say("negative: %s", err(fsconfig(-1, FSCONFIG_SET_FLAG, "ro", NULL, 0)));
    say("other file: %s", err(fsconfig(other, FSCONFIG_SET_FLAG, "ro", NULL, 0)));
    set(99, NULL, NULL, 0);
    set(FSCONFIG_SET_FLAG, NULL, NULL, 0);
    set(FSCONFIG_SET_FLAG, "ro", "x", 0);
    set(FSCONFIG_SET_FLAG, "ro", NULL, 1);
    set(FSCONFIG_SET_STRING, "size", NULL, 0);
    set(FSCONFIG_SET_BINARY, "size", "abc", 0);
    set(FSCONFIG_SET_BINARY, "size", "abc", 2 << 20);
    set(FSCONFIG_SET_BINARY, "size", "abc", 3);
    set(FSCONFIG_SET_PATH, "size", "/", -1);
    set(FSCONFIG_SET_PATH, "size", "/", AT_FDCWD);
    set(FSCONFIG_SET_PATH, "size", "", AT_FDCWD);
    set(FSCONFIG_SET_PATH_EMPTY, "size", "", AT_FDCWD);
    set(FSCONFIG_SET_FD, "size", NULL, 99);
    set(FSCONFIG_SET_FD, "size", NULL, other);
    set(FSCONFIG_CMD_CREATE, "x", NULL, 0);
    set(FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 1);
    char *text = calloc(1, 400);
    memset(text, 'x', 300);
    say("long name: %s", err(fsconfig(configuration, FSCONFIG_SET_FLAG, text, NULL, 0)));
    say("long value: %s", err(fsconfig(configuration, FSCONFIG_SET_STRING, "size", text, 0)));
    say("bad name: %s", err(syscall(SYS_fsconfig, configuration, FSCONFIG_SET_FLAG, 8, NULL, 0)));
    say("fsmount of nothing: %s", err(fsmount(configuration, 0, 0)));
    say("fsmount with flags: %s", err(fsmount(configuration, 2, 0)));
    say("fsmount of another: %s", err(fsmount(other, 0, 0)));
    say("fsmount of none: %s", err(fsmount(99, 0, 0)));
    MUST(setresuid(1000, 1000, 1000));
    say("fsopen: %s", err(fsopen("tmpfs", 0)));
    say("fspick: %s", err(fspick(AT_FDCWD, "/", 0)));
    say("fsmount: %s", err(fsmount(configuration, 0, 0)));
    set(FSCONFIG_SET_STRING, "size", "1m", 0);
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

static void parameters(void)
{
    own_directory();
    configuration = (int)MUST(fsopen("tmpfs", 0));
    set(FSCONFIG_SET_STRING, "nonsense", "1", 0);
    set(FSCONFIG_SET_FLAG, "nonsense", NULL, 0);
    set(FSCONFIG_SET_STRING, "size", "zz", 0);
    set(FSCONFIG_SET_FLAG, "size", NULL, 0);
    set(FSCONFIG_SET_STRING, "mode", "9", 0);
    set(FSCONFIG_SET_STRING, "huge", "sometimes", 0);
    set(FSCONFIG_SET_STRING, "", "x", 0);
    set(FSCONFIG_SET_STRING, "ro", "1", 0);
    set(FSCONFIG_SET_FLAG, "rw", NULL, 0);
    set(FSCONFIG_SET_FLAG, "source", NULL, 0);
    set(FSCONFIG_SET_STRING, "source", "first", 0);
    set(FSCONFIG_SET_STRING, "source", "second", 0);
    for (int i = 0; i < 10; i++) {
        char name[4] = { 'x', (char)('0' + i), 0 };
        fsconfig(configuration, FSCONFIG_SET_STRING, name, "1", 0);
    }
    char few[8];
    say("short read: %s", err(read(configuration, few, sizeof(few))));
    messages();
    const char *types[] = { "sysfs", "devpts", "mqueue", "devtmpfs" };
    for (size_t i = 0; i < COUNT(types); i++) {
        configuration = (int)MUST(fsopen(types[i], 0));
        set(FSCONFIG_SET_STRING, "nonsense", "1", 0);
    }
}

static void life(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    configuration = (int)MUST(fsopen("tmpfs", 0));
    set(FSCONFIG_SET_STRING, "size", "64k", 0);
    set(FSCONFIG_SET_STRING, "mode", "0700", 0);
    set(FSCONFIG_SET_STRING, "source", "mine", 0);
    set(FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    set(FSCONFIG_SET_STRING, "size", "1m", 0);
    say("two times: %s", err(fsmount(configuration, 0, MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME)));
    int mounted = (int)MUST(fsmount(configuration, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME));
    say("flags: %#x %d", fcntl(mounted, F_GETFL), fcntl(mounted, F_GETFD));
    say("again: %s", err(fsmount(configuration, 0, 0)));
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    struct stat data;
    MUST(fstat(mounted, &data));
    say("mode: %o", data.st_mode);
    say("create in it: %s", err(mkdirat(mounted, "inside", 0755)));
    say("attach: %s", err(move_mount(mounted, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH)));
    say("line: %s", line_of(below("a")));
    say("inside: %s", err(access("a/inside", F_OK)));
    struct statfs fs;
    MUST(statfs("a", &fs));
    say("size: %lu", (unsigned long)(fs.f_blocks * (unsigned long)fs.f_bsize));
    set(FSCONFIG_SET_STRING, "size", "128k", 0);
    set(FSCONFIG_SET_FLAG, "ro", NULL, 0);
    set(FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
    MUST(statfs("a", &fs));
    say("size: %lu", (unsigned long)(fs.f_blocks * (unsigned long)fs.f_bsize));
    say("create: %s", err(mkdir("a/more", 0755)));
    say("line: %s", line_of(below("a")));
    close(configuration);
    say("pick of no mount: %s", err(fspick(AT_FDCWD, "a/inside", 0)));
    say("pick of nothing: %s", err(fspick(AT_FDCWD, "missing", 0)));
    say("pick with flags: %s", err(fspick(AT_FDCWD, "a", 0x80)));
    configuration = (int)MUST(fspick(mounted, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC));
    set(FSCONFIG_SET_STRING, "size", "x", 0);
    set(FSCONFIG_SET_FLAG, "rw", NULL, 0);
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    say("fsmount: %s", err(fsmount(configuration, 0, 0)));
    set(FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
    say("create: %s", err(mkdir("a/more", 0755)));
    int fd = (int)MUST(open("a/file", O_CREAT | O_WRONLY, 0644));
    set(FSCONFIG_SET_FLAG, "ro", NULL, 0);
    set(FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
    close(fd);
    set(FSCONFIG_SET_FLAG, "ro", NULL, 0);
    close(mounted);
    say("umount: %s", err(umount2("a", 0)));
}

static void not_attached(void)
{
    own_directory();
    configuration = (int)MUST(fsopen("tmpfs", 0));
    set(FSCONFIG_SET_FLAG, "ro", NULL, 0);
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    int mounted = (int)MUST(fsmount(configuration, 0, MOUNT_ATTR_RDONLY));
    say("create in it: %s", err(mkdirat(mounted, "inside", 0755)));
    close(mounted);
    configuration = (int)MUST(fsopen("proc", 0));
    set(FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    mounted = (int)MUST(fsmount(configuration, 0, 0));
    say("proc: %s", err(faccessat(mounted, "self/status", F_OK, 0)));
    int file = (int)MUST(openat(mounted, "self/comm", O_RDONLY));
    close(mounted);
    close(configuration);
    char text[16];
    say("file outlives it: %s", err(read(file, text, sizeof(text))));
    int failing = (int)MUST(fsopen("overlay", 0));
    configuration = failing;
    say("without layers: %s", err(fsconfig(failing, FSCONFIG_CMD_CREATE, NULL, NULL, 0)));
    say("mount of nothing: %s", err(fsmount(failing, 0, 0)));
    say("too late: %s", err(fsconfig(failing, FSCONFIG_SET_STRING, "source", "x", 0)));
}

CHECK_MAIN(CASE(arguments), CASE(parameters), CASE(life), CASE(not_attached))
