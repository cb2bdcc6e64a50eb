/* Access control lists (acl(5)) on tmpfs, as extended attributes: their form, the mode, inheritance, and who gets what. */
#include "check.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum { OWNER = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 0x10, OTHER = 0x20 };

struct entry {
    uint16_t tag, may;
    uint32_t id;
};

struct list {
    uint32_t version;
    struct entry entries[16];
};

#define NONE 0xffffffffu
#define LIST(...) ((struct entry[]){ __VA_ARGS__ }), sizeof((struct entry[]){ __VA_ARGS__ }) / sizeof(struct entry)

static int set(const char *path, const char *name, const struct entry *entries, size_t count)
{
    struct list list = { .version = 2 };
    memcpy(list.entries, entries, count * sizeof(*entries));
    return lsetxattr(path, name, &list, 4 + count * sizeof(*entries), 0);
}

static const char *list_of(const char *path, const char *name)
{
    static char text[512];
    struct list list;
    ssize_t size = lgetxattr(path, name, &list, sizeof(list));
    if (size < 0)
        return err(size);
    int used = snprintf(text, sizeof(text), "%zd bytes, version %u:", size, list.version);
    for (int i = 0; i < (int)((size - 4) / 8); i++) {
        struct entry *entry = &list.entries[i];
        used += snprintf(text + used, sizeof(text) - (size_t)used, " %x:%d:%o", entry->tag, (int)entry->id, entry->may);
    }
    return text;
}

static unsigned mode_of(const char *path)
{
    struct stat data;
    MUST(lstat(path, &data));
    return data.st_mode;
}

static void show(const char *what, const char *path)
{
    say("%s: mode %o, access %s", what, mode_of(path), list_of(path, ACCESS));
    if (S_ISDIR(mode_of(path)))
        say("%s: default %s", what, list_of(path, DEFAULT));
}

/* A tmpfs of its own, as the working directory. */
static void fresh(void)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mkdir("/tmp/acl", 0755);
    MUST(mount("none", "/tmp/acl", "tmpfs", 0, NULL));
    MUST(chdir("/tmp/acl"));
    umask(022);
}

#define FULL                                                                                                             \
    LIST({ OWNER, 7, NONE }, { USER, 6, 1001 }, { USER, 4, 1002 }, { GROUP_OBJ, 5, NONE }, { GROUP, 7, 2001 },            \
         { MASK, 6, NONE }, { OTHER, 1, NONE })
#define PLAIN LIST({ OWNER, 6, NONE }, { GROUP_OBJ, 4, NONE }, { OTHER, 0, NONE })

static void forms(void)
{
    fresh();
    put("f", "text");
    MUST(mkdir("d", 0755));
    MUST(symlink("f", "l"));
    show("at first", "f");
    show("directory", "d");
    say("full: %s", err(set("f", ACCESS, FULL)));
    show("full", "f");
    say("plain: %s", err(set("f", ACCESS, PLAIN)));
    show("plain", "f");
    say("default of a file: %s", err(set("f", DEFAULT, FULL)));
    say("none as default of a file: %s", err(lsetxattr("f", DEFAULT, "", 0, 0)));
    say("of a link: %s, %s", err(set("l", ACCESS, FULL)), list_of("l", ACCESS));
    struct {
        const char *name;
        struct entry entries[6];
        size_t count;
    } wrong[] = {
        { "no others", { { OWNER, 7, NONE }, { GROUP_OBJ, 5, NONE } }, 2 },
        { "no mask", { { OWNER, 7, NONE }, { USER, 5, 7 }, { GROUP_OBJ, 5, NONE }, { OTHER, 0, NONE } }, 4 },
        { "disorder", { { GROUP_OBJ, 7, NONE }, { OWNER, 5, NONE }, { OTHER, 0, NONE } }, 3 },
        { "twice", { { OWNER, 7, NONE }, { OWNER, 7, NONE }, { GROUP_OBJ, 5, NONE }, { OTHER, 0, NONE } }, 4 },
        { "more", { { OWNER, 7, NONE }, { GROUP_OBJ, 5, NONE }, { OTHER, 0, NONE }, { OTHER, 0, NONE } }, 4 },
        { "permission", { { OWNER, 8, NONE }, { GROUP_OBJ, 5, NONE }, { OTHER, 0, NONE } }, 3 },
        { "tag", { { 3, 7, NONE }, { GROUP_OBJ, 5, NONE }, { OTHER, 0, NONE } }, 3 },
        { "nobody", { { OWNER, 7, NONE }, { USER, 5, NONE }, { GROUP_OBJ, 5, NONE }, { MASK, 7, NONE }, { OTHER, 0, NONE } }, 5 },
        { "id where there is none", { { OWNER, 7, 3 }, { GROUP_OBJ, 5, 4 }, { MASK, 7, 5 }, { OTHER, 0, 6 } }, 4 },
        { "same user twice", { { OWNER, 7, NONE }, { USER, 5, 3 }, { USER, 6, 3 }, { GROUP_OBJ, 5, NONE }, { MASK, 7, NONE }, { OTHER, 0, 6 } }, 6 },
        { "no entry", { { 0 } }, 0 },
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        say("%s: %s, %s", wrong[i].name, err(set("f", ACCESS, wrong[i].entries, wrong[i].count)),
            err(set("d", DEFAULT, wrong[i].entries, wrong[i].count)));
        show(wrong[i].name, "f");
    }
    struct list list = { .version = 1 };
    say("version: %s", err(setxattr("f", ACCESS, &list, 4, 0)));
    list.version = 2;
    say("half: %s", err(setxattr("f", ACCESS, &list, 3, 0)));
    say("rest: %s", err(setxattr("f", ACCESS, &list, 9, 0)));
    say("other name: %s", err(setxattr("f", "system.posix_acl_other", &list, 4, 0)));
    char value[256];
    MUST(set("f", ACCESS, FULL));
    say("length: %zd", getxattr("f", ACCESS, NULL, 0));
    say("too small: %s", err(getxattr("f", ACCESS, value, 10)));
    say("flags: %s", err(setxattr("f", ACCESS, value, (size_t)getxattr("f", ACCESS, value, 256), XATTR_CREATE)));
    say("flags: %s", err(setxattr("d", ACCESS, value, (size_t)getxattr("f", ACCESS, value, 256), XATTR_REPLACE)));
}

static void names_and_removal(void)
{
    fresh();
    MUST(mkdir("d", 0750));
    MUST(set("d", ACCESS, FULL));
    MUST(set("d", DEFAULT, FULL));
    MUST(setxattr("d", "user.x", "1", 1, 0));
    char names[256];
    ssize_t length = listxattr("d", names, sizeof(names));
    for (char *name = names; name < names + length; name += strlen(name) + 1)
        say("%s", name);
    show("both", "d");
    say("remove: %s", err(removexattr("d", ACCESS)));
    show("without", "d");
    say("again: %s", err(removexattr("d", ACCESS)));
    say("remove: %s", err(removexattr("d", DEFAULT)));
    say("again: %s", err(removexattr("d", DEFAULT)));
    show("without both", "d");
    MUST(set("d", DEFAULT, PLAIN));
    show("plain default", "d");
    say("none: %s", err(setxattr("d", DEFAULT, NULL, 0, 0)));
    show("taken away", "d");
}

static void modes(void)
{
    fresh();
    put("f", "text");
    MUST(set("f", ACCESS, FULL));
    static const mode_t tried[] = { 0777, 0600, 0640, 0007, 04751, 0 };
    for (size_t i = 0; i < COUNT(tried); i++) {
        MUST(chmod("f", tried[i]));
        show("chmod", "f");
    }
    MUST(chown("f", 1001, 2001));
    show("chown", "f");
    MUST(chmod("f", 06777));
    MUST(chown("f", 5, 5));
    show("set-id bits", "f");
    MUST(chmod("f", 02777));
    MUST(set("f", ACCESS, PLAIN));
    show("set-group-id", "f");
    struct stat before, after;
    MUST(stat("f", &before));
    sleep_ms(20);
    MUST(set("f", ACCESS, FULL));
    MUST(stat("f", &after));
    say("ctime changes: %d, mtime: %d", memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)) != 0,
        memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) != 0);
}

static void inheritance(void)
{
    fresh();
    MUST(mkdir("d", 0755));
    MUST(set("d", DEFAULT, FULL));
    umask(077);
    int fd = (int)MUST(open("d/open", O_CREAT | O_RDWR, 0666));
    close(fd);
    show("open", "d/open");
    MUST(mkdir("d/mkdir", 0777));
    show("mkdir", "d/mkdir");
    MUST(mkdir("d/mkdir/below", 0750));
    show("below", "d/mkdir/below");
    MUST(mknod("d/fifo", S_IFIFO | 0666, 0));
    show("fifo", "d/fifo");
    MUST(mknod("d/special", S_IFREG | 04711, 0));
    show("mknod", "d/special");
    MUST(symlink("x", "d/link"));
    say("link: mode %o, %s", mode_of("d/link"), list_of("d/link", ACCESS));
    int sock = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "d/socket" };
    MUST(bind(sock, (struct sockaddr *)&address, sizeof(address)));
    show("socket", "d/socket");
    fd = (int)MUST(open("d", O_TMPFILE | O_RDWR, 0666));
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MUST(linkat(AT_FDCWD, path, AT_FDCWD, "d/unnamed", AT_SYMLINK_FOLLOW));
    show("unnamed", "d/unnamed");
    MUST(close(open("d/none", O_CREAT | O_RDWR, 0)));
    show("no mode", "d/none");
    MUST(set("d", DEFAULT, PLAIN));
    MUST(close(open("d/plain", O_CREAT | O_RDWR, 0777)));
    show("plain", "d/plain");
    MUST(mkdir("d/plain directory", 0777));
    show("plain directory", "d/plain directory");
    MUST(rename("d/open", "moved"));
    show("moved", "moved");
    MUST(link("moved", "linked"));
    show("linked", "linked");
    MUST(removexattr("d", DEFAULT));
    MUST(close(open("d/after", O_CREAT | O_RDWR, 0777)));
    show("without", "d/after");
}

/* What a user with these groups may do with a file. */
static void as(const char *who, uid_t user, gid_t group, size_t count, const gid_t *groups)
{
    pid_t child = fork();
    if (child != 0) {
        reap(child);
        return;
    }
    MUST(setgroups(count, groups));
    MUST(setresgid(group, group, group));
    MUST(setresuid(user, user, user));
    int may_read = open("d/f", O_RDONLY), may_write = open("d/f", O_WRONLY);
    char text[256];
    int used = snprintf(text, sizeof(text), "open %s", may_read < 0 ? err(-1) : "to read");
    used += snprintf(text + used, sizeof(text) - (size_t)used, ", %s", may_write < 0 ? "not to write" : "to write");
    used += snprintf(text + used, sizeof(text) - (size_t)used, ", access %d%d%d", access("d/f", R_OK) == 0,
                     access("d/f", W_OK) == 0, access("d/f", X_OK) == 0);
    used += snprintf(text + used, sizeof(text) - (size_t)used, ", list %s", open("d", O_RDONLY | O_DIRECTORY) < 0 ? "no" : "yes");
    used += snprintf(text + used, sizeof(text) - (size_t)used, ", make %s", err(mkdir("d/new", 0700)));
    rmdir("d/new");
    say("%s: %s", who, text);
    say("%s: set: %s", who, err(set("d/f", ACCESS, PLAIN)));
    say("%s: sees: %s", who, list_of("d", ACCESS));
    _exit(0);
}

static void as_all(void)
{
    gid_t one[] = { 2001 }, both[] = { 2000, 2001 };
    as("owner", 1000, 50, 0, NULL);
    as("first", 1001, 50, 0, NULL);
    as("first, in the group", 1001, 2001, 0, NULL);
    as("second", 1002, 50, 0, NULL);
    as("group of the file", 5, 2000, 0, NULL);
    as("other group", 5, 50, 1, one);
    as("both groups", 5, 50, 2, both);
    as("anybody", 5, 50, 0, NULL);
    as("root", 0, 0, 0, NULL);
}

static void rights(void)
{
    fresh();
    MUST(mkdir("d", 0755));
    put("d/f", "text");
    MUST(chown("d/f", 1000, 2000));
    MUST(chown("d", 1000, 2000));
    MUST(set("d", ACCESS, FULL));
    MUST(set("d/f", ACCESS, FULL));
    as_all();
    say("wider mask");
    MUST(chmod("d", 0775));
    MUST(chmod("d/f", 0676));
    as_all();
    say("no mask");
    MUST(chmod("d", 0705));
    as_all();
    MUST(chown("d/f", 1001, 2000));
    MUST(chmod("d", 0777));
    as_all();
}

static void overlay(void)
{
    fresh();
    MUST(mkdir("lower", 0755));
    MUST(mkdir("upper", 0755));
    MUST(mkdir("work", 0755));
    MUST(mkdir("m", 0755));
    MUST(mkdir("lower/d", 0755));
    put("lower/d/f", "text");
    put("lower/d/g", "text");
    MUST(set("lower/d", ACCESS, FULL));
    MUST(set("lower/d", DEFAULT, FULL));
    MUST(set("lower/d/f", ACCESS, FULL));
    MUST(mount("none", "m", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work"));
    show("lower", "m/d");
    show("lower", "m/d/f");
    MUST(chmod("m/d/f", 0640));
    show("copied up", "m/d/f");
    show("upper", "upper/d/f");
    show("directory above", "upper/d");
    MUST(set("m/d/g", ACCESS, FULL));
    show("set", "m/d/g");
    show("still lower", "lower/d/g");
    umask(077);
    MUST(close(open("m/d/new", O_CREAT | O_RDWR, 0666)));
    show("new", "m/d/new");
    MUST(mkdir("m/d/directory", 0777));
    show("new", "m/d/directory");
    char names[256];
    ssize_t length = listxattr("m/d", names, sizeof(names));
    for (char *name = names; name < names + length; name += strlen(name) + 1)
        say("%s", name);
    MUST(removexattr("m/d", DEFAULT));
    show("removed", "m/d");
}

/* Ids are those of the user namespace of whoever asks. */
static void namespaces(void)
{
    fresh();
    put("f", "text");
    MUST(chown("f", 1000, 1000));
    int ready[2], go[2];
    char byte = 0, path[64];
    MUST(pipe(ready));
    MUST(pipe(go));
    pid_t child = fork();
    if (child == 0) {
        MUST(unshare(CLONE_NEWUSER));
        MUST(write(ready[1], &byte, 1));
        MUST(read(go[0], &byte, 1));
        MUST(setresgid(0, 0, 0));
        MUST(setresuid(0, 0, 0));
        say("set: %s", err(set("f", ACCESS, LIST({ OWNER, 6, NONE }, { USER, 5, 3 }, { GROUP_OBJ, 4, NONE }, { GROUP, 4, 2 },
                                                 { MASK, 7, NONE }, { OTHER, 0, NONE }))));
        show("inside", "f");
        say("not there: %s", err(set("f", ACCESS, LIST({ OWNER, 6, NONE }, { USER, 5, 30 }, { GROUP_OBJ, 4, NONE },
                                                       { MASK, 7, NONE }, { OTHER, 0, NONE }))));
        MUST(write(ready[1], &byte, 1));
        MUST(read(go[0], &byte, 1));
        show("of others, inside", "f");
        _exit(0);
    }
    MUST(read(ready[0], &byte, 1));
    snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
    put(path, "0 1000 10\n");
    snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
    put(path, "0 1000 10\n");
    MUST(write(go[1], &byte, 1));
    MUST(read(ready[0], &byte, 1));
    show("outside", "f");
    MUST(set("f", ACCESS, FULL));
    MUST(write(go[1], &byte, 1));
    reap(child);
}

CHECK_MAIN(CASE(forms), CASE(names_and_removal), CASE(modes), CASE(inheritance), CASE(rights), CASE(overlay), CASE(namespaces))
