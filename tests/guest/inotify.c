/* Watching files: which events come, in which order, with which names; the queue; what is refused. */
#include "check.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/xattr.h>

static const struct {
    uint32_t bit;
    const char *name;
} bits[] = {
    { IN_ACCESS, "ACCESS" },
    { IN_MODIFY, "MODIFY" },
    { IN_ATTRIB, "ATTRIB" },
    { IN_CLOSE_WRITE, "CLOSE_WRITE" },
    { IN_CLOSE_NOWRITE, "CLOSE_NOWRITE" },
    { IN_OPEN, "OPEN" },
    { IN_MOVED_FROM, "MOVED_FROM" },
    { IN_MOVED_TO, "MOVED_TO" },
    { IN_CREATE, "CREATE" },
    { IN_DELETE, "DELETE" },
    { IN_DELETE_SELF, "DELETE_SELF" },
    { IN_MOVE_SELF, "MOVE_SELF" },
    { IN_UNMOUNT, "UNMOUNT" },
    { IN_Q_OVERFLOW, "Q_OVERFLOW" },
    { IN_IGNORED, "IGNORED" },
    { IN_ISDIR, "ISDIR" },
};

/* Prints all that is queued. Cookies are told by how they relate to the last one. */
static void show(int fd, const char *after)
{
    static char buffer[65536] __attribute__((aligned(8)));
    static uint32_t last_cookie;
    ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count < 0) {
        say("%s: %s", after, err(-1));
        return;
    }
    for (char *at = buffer; at < buffer + count;) {
        struct inotify_event *event = (struct inotify_event *)at;
        char text[512] = "";
        for (size_t i = 0; i < COUNT(bits); i++)
            if (event->mask & bits[i].bit) {
                strcat(text, " ");
                strcat(text, bits[i].name);
            }
        const char *cookie = !event->cookie ? "" : event->cookie == last_cookie ? " same cookie" : " new cookie";
        last_cookie = event->cookie;
        say("%s: %d%s [%s] %u%s", after, event->wd, text, event->len ? event->name : "", event->len, cookie);
        at += sizeof(*event) + event->len;
    }
}

static int start(void)
{
    return (int)MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

static void arguments(void)
{
    own_directory();
    put("file", "x");
    MUST(symlink("file", "link"));
    say("unknown flags: %s", err(inotify_init1(1)));
    int fd = (int)MUST(inotify_init());
    say("no mask: %s", err(inotify_add_watch(fd, ".", 0)));
    say("unknown bits alone: %s", err(inotify_add_watch(fd, ".", 0x00010000)));
    say("bad descriptor: %s", err(inotify_add_watch(999, ".", IN_OPEN)));
    say("wrong descriptor: %s", err(inotify_add_watch(1, ".", IN_OPEN)));
    say("wrong descriptor, missing: %s", err(inotify_add_watch(1, "missing", IN_OPEN)));
    say("add and create: %s", err(inotify_add_watch(fd, ".", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE)));
    say("missing: %s", err(inotify_add_watch(fd, "missing", IN_OPEN)));
    say("empty: %s", err(inotify_add_watch(fd, "", IN_OPEN)));
    say("bad path: %s", err(inotify_add_watch(fd, (char *)8, IN_OPEN)));
    say("only directories: %s", err(inotify_add_watch(fd, "file", IN_OPEN | IN_ONLYDIR)));
    say("first: %d", inotify_add_watch(fd, "file", IN_OPEN));
    say("through a link: %d", inotify_add_watch(fd, "link", IN_OPEN));
    say("the link: %d", inotify_add_watch(fd, "link", IN_OPEN | IN_DONT_FOLLOW));
    say("create: %s", err(inotify_add_watch(fd, "file", IN_OPEN | IN_MASK_CREATE)));
    say("remove: %s", err(inotify_rm_watch(fd, 1)));
    say("remove again: %s", err(inotify_rm_watch(fd, 1)));
    say("remove zero: %s", err(inotify_rm_watch(fd, 0)));
    say("remove of a wrong descriptor: %s", err(inotify_rm_watch(1, 1)));
    say("remove of a bad descriptor: %s", err(inotify_rm_watch(999, 1)));
    say("numbers are not used again: %d", inotify_add_watch(fd, "file", IN_OPEN));
    say("write: %s", err(write(fd, "x", 1)));
    say("pread: %s", err(pread(fd, (char[64]){ 0 }, 64, 0)));
    say("lseek: %s", err(lseek(fd, 0, SEEK_SET)));
    char link[64] = "";
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MUST(readlink(path, link, sizeof(link) - 1));
    say("link: %s", link);
    say("flags: %#x %#x", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    int second = (int)MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    say("flags: %#x %#x", fcntl(second, F_GETFL), fcntl(second, F_GETFD));
    MUST(chmod("file", 0));
    MUST(setresuid(1000, 1000, 1000));
    say("may not be read: %s", err(inotify_add_watch(fd, "file", IN_OPEN)));
}

static void contents(void)
{
    own_directory();
    put("file", "text");
    MUST(mkdir("inner", 0755));
    int fd = start();
    MUST(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "file", IN_ALL_EVENTS));
    show(fd, "nothing");
    char bytes[64];
    int file = (int)MUST(open("file", O_RDWR));
    show(fd, "open");
    MUST(read(file, bytes, 2));
    MUST(read(file, bytes, 2));
    MUST(read(file, bytes, 2));
    show(fd, "read");
    MUST(write(file, "x", 1));
    show(fd, "write");
    MUST(pwrite(file, "x", 0, 0));
    show(fd, "write of nothing");
    MUST(ftruncate(file, 2));
    show(fd, "ftruncate");
    MUST(posix_fallocate(file, 0, 100) ? -1 : 0);
    show(fd, "fallocate");
    MUST(fsync(file));
    MUST(fchmod(file, 0600));
    show(fd, "fchmod");
    int again = dup(file);
    close(again);
    show(fd, "close of a duplicate");
    close(file);
    show(fd, "close");
    file = (int)MUST(open("file", O_RDONLY));
    close(file);
    show(fd, "open and close");
    file = (int)MUST(open("file", O_WRONLY | O_TRUNC));
    close(file);
    show(fd, "truncating open");
    file = (int)MUST(open("file", O_PATH));
    close(file);
    show(fd, "O_PATH");
    MUST(truncate("file", 10));
    show(fd, "truncate");
    int directory = (int)MUST(open(".", O_RDONLY | O_DIRECTORY));
    show(fd, "open of the directory");
    MUST(syscall(SYS_getdents64, directory, bytes, 64));
    show(fd, "getdents");
    close(directory);
    show(fd, "close of the directory");
    directory = (int)MUST(open("inner", O_RDONLY | O_DIRECTORY));
    close(directory);
    show(fd, "directory inside");
}

static void attributes(void)
{
    own_directory();
    put("file", "text");
    int fd = start();
    MUST(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "file", IN_ALL_EVENTS));
    MUST(chmod("file", 0600));
    show(fd, "chmod");
    MUST(chown("file", 1, 1));
    show(fd, "chown");
    struct timespec times[2] = { { 1, 0 }, { 2, 0 } };
    MUST(utimensat(AT_FDCWD, "file", times, 0));
    show(fd, "both times");
    times[0].tv_nsec = UTIME_OMIT;
    MUST(utimensat(AT_FDCWD, "file", times, 0));
    show(fd, "modification");
    times[0].tv_nsec = 0;
    times[1].tv_nsec = UTIME_OMIT;
    MUST(utimensat(AT_FDCWD, "file", times, 0));
    show(fd, "access");
    MUST(chmod(".", 0700));
    show(fd, "directory");
}

static void entries(void)
{
    own_directory();
    int fd = start();
    MUST(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    close((int)MUST(open("file", O_RDWR | O_CREAT, 0600)));
    show(fd, "create");
    MUST(mkdir("directory", 0700));
    show(fd, "mkdir");
    MUST(symlink("file", "symlink"));
    show(fd, "symlink");
    MUST(mknod("fifo", S_IFIFO | 0600, 0));
    show(fd, "mknod");
    MUST(link("file", "a_name_of_exactly_sixteen_characters_twice"));
    show(fd, "link");
    MUST(inotify_add_watch(fd, "file", IN_ALL_EVENTS));
    MUST(link("file", "name_of_15_char"));
    show(fd, "link of a watched file");
    MUST(unlink("name_of_15_char"));
    show(fd, "unlink of a link");
    MUST(unlink("a_name_of_exactly_sixteen_characters_twice"));
    show(fd, "unlink of a link");
    MUST(rename("file", "other"));
    show(fd, "rename");
    MUST(unlink("other"));
    show(fd, "unlink");
    MUST(inotify_add_watch(fd, "directory", IN_ALL_EVENTS));
    MUST(rmdir("directory"));
    show(fd, "rmdir");
    MUST(unlink("symlink"));
    MUST(unlink("fifo"));
    show(fd, "unlink of others");
}

static void renames(void)
{
    own_directory();
    MUST(mkdir("a", 0700));
    MUST(mkdir("b", 0700));
    put("a/one", "1");
    put("a/two", "2");
    put("b/three", "3");
    MUST(mkdir("a/d", 0700));
    int fd = start();
    MUST(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "b", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "a/one", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "b/three", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "a/d", IN_ALL_EVENTS));
    MUST(rename("a/one", "b/one"));
    show(fd, "to another directory");
    MUST(rename("a/d", "b/d"));
    show(fd, "a directory");
    MUST(rename("b/one", "b/three"));
    show(fd, "over another");
    MUST(rename("b/three", "b/three"));
    show(fd, "to itself");
    MUST(syscall(SYS_renameat2, AT_FDCWD, "a/two", AT_FDCWD, "b/three", 2));
    show(fd, "exchange");
    MUST(rename("b/three", "outside"));
    show(fd, "away");
    MUST(rename("outside", "a/back"));
    show(fd, "back");
}

static void removed(void)
{
    own_directory();
    put("file", "text");
    put("second", "text");
    MUST(mkdir("directory", 0700));
    int fd = start();
    MUST(inotify_add_watch(fd, "file", IN_ALL_EVENTS));
    int file = (int)MUST(open("file", O_RDWR));
    show(fd, "open");
    MUST(unlink("file"));
    show(fd, "unlinked while open");
    MUST(write(file, "x", 1));
    show(fd, "write");
    close(file);
    show(fd, "close");
    say("the watch is gone: %s", err(inotify_rm_watch(fd, 1)));
    MUST(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    file = (int)MUST(open("second", O_RDWR));
    MUST(unlink("second"));
    show(fd, "seen from the directory");
    MUST(write(file, "x", 1));
    close(file);
    show(fd, "after its end");
    file = (int)MUST(open("third", O_RDWR | O_CREAT, 0600));
    MUST(unlink("third"));
    show(fd, "third");
    MUST(inotify_add_watch(fd, ".", IN_ALL_EVENTS | IN_EXCL_UNLINK));
    MUST(write(file, "x", 1));
    close(file);
    show(fd, "excluded");
    put("file", "x");
    show(fd, "made anew");
}

static void masks(void)
{
    own_directory();
    put("file", "text");
    int fd = start();
    int watch = (int)MUST(inotify_add_watch(fd, "file", IN_OPEN));
    say("number: %d", watch);
    put("file", "x");
    show(fd, "open alone");
    say("number: %d", inotify_add_watch(fd, "file", IN_MODIFY | IN_MASK_ADD));
    put("file", "x");
    show(fd, "and modify");
    say("number: %d", inotify_add_watch(fd, "file", IN_CLOSE_WRITE));
    put("file", "x");
    show(fd, "close instead");
    MUST(inotify_add_watch(fd, "file", IN_MODIFY | IN_ONESHOT));
    put("file", "x");
    show(fd, "once");
    put("file", "x");
    show(fd, "once only");
    say("number: %d", inotify_add_watch(fd, "file", IN_ALL_EVENTS));
    MUST(inotify_rm_watch(fd, 2));
    show(fd, "removed");
    put("file", "x");
    show(fd, "silent");
    say("number: %d", inotify_add_watch(fd, ".", IN_ONLYDIR));
    put("file", "x");
    show(fd, "flags alone");
}

static void queue(void)
{
    own_directory();
    int fd = start();
    MUST(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE));
    struct pollfd poller = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDNORM };
    int ready = poll(&poller, 1, 0);
    say("poll: %d %#x", ready, poller.revents);
    int waiting = -1;
    MUST(ioctl(fd, FIONREAD, &waiting));
    say("waiting: %d", waiting);
    put("file", "");
    put("a longer name of a file", "");
    ready = poll(&poller, 1, 0);
    say("poll: %d %#x", ready, poller.revents);
    MUST(ioctl(fd, FIONREAD, &waiting));
    say("waiting: %d", waiting);
    char buffer[256];
    say("no room: %s", err(read(fd, buffer, 16)));
    say("no room: %s", err(read(fd, buffer, 31)));
    say("one: %zd", read(fd, buffer, 70));
    say("no room for the next: %s", err(read(fd, buffer, 32)));
    say("next: %zd", read(fd, buffer, 48));
    say("empty: %s", err(read(fd, buffer, 48)));
    for (int i = 0; i < 3; i++) {
        put("same", "");
        unlink("same");
    }
    MUST(ioctl(fd, FIONREAD, &waiting));
    say("waiting: %d", waiting);
    fcntl(fd, F_SETFL, 0);
    show(fd, "blocking");
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        put("late", "");
        _exit(0);
    }
    show(fd, "waited for");
    reap(child);
    alarm(0);
    say("select: %d", poll(&poller, 1, 10));
}

static void overflow(void)
{
    own_directory();
    int fd = start();
    MUST(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE));
    char name[32];
    for (int i = 0; i < 9000; i++) {
        snprintf(name, sizeof(name), "%d", i);
        close((int)MUST(open(name, O_CREAT | O_WRONLY, 0600)));
        MUST(unlink(name));
    }
    static char buffer[64 * 1024];
    long events = 0, overflows = 0;
    ssize_t count;
    while ((count = read(fd, buffer, sizeof(buffer))) > 0)
        for (char *at = buffer; at < buffer + count;) {
            struct inotify_event *event = (struct inotify_event *)at;
            events++;
            if (event->mask & IN_Q_OVERFLOW) {
                overflows++;
                say("overflow at %ld: %d %#x %u %u", events, event->wd, event->mask, event->cookie, event->len);
            }
            at += sizeof(*event) + event->len;
        }
    say("events: %ld, overflows: %ld", events, overflows);
    put("file", "");
    show(fd, "works again");
}

static void unmounted(void)
{
    own_directory();
    MUST(mkdir("place", 0700));
    MUST(mount("x", "place", "tmpfs", 0, NULL));
    put("place/file", "x");
    int fd = start();
    MUST(inotify_add_watch(fd, "place/file", IN_ALL_EVENTS));
    MUST(umount("place"));
    show(fd, "unmount");
    say("the watch is gone: %s", err(inotify_rm_watch(fd, 1)));
}

static void instances(void)
{
    own_directory();
    put("file", "x");
    int first = start(), second = start();
    MUST(inotify_add_watch(first, "file", IN_OPEN));
    MUST(inotify_add_watch(second, "file", IN_CLOSE_WRITE));
    MUST(inotify_add_watch(second, ".", IN_CLOSE_WRITE));
    put("file", "y");
    show(first, "first");
    show(second, "second");
    close(first);
    put("file", "y");
    show(second, "second alone");
}

static void copies(void)
{
    own_directory();
    put("from", "0123456789");
    put("to", "x");
    int from = (int)MUST(open("from", O_RDONLY)), to = (int)MUST(open("to", O_RDWR));
    int fd = start();
    MUST(inotify_add_watch(fd, "from", IN_ALL_EVENTS));
    MUST(inotify_add_watch(fd, "to", IN_ALL_EVENTS));
    MUST(syscall(SYS_sendfile, to, from, NULL, 5));
    show(fd, "sendfile");
    MUST(syscall(SYS_copy_file_range, from, NULL, to, NULL, 5, 0));
    show(fd, "copy_file_range");
    MUST(setxattr("to", "trusted.x", "y", 1, 0));
    show(fd, "setxattr");
    MUST(removexattr("to", "trusted.x"));
    show(fd, "removexattr");
}

CHECK_MAIN(CASE(arguments), CASE(contents), CASE(attributes), CASE(entries), CASE(renames), CASE(removed), CASE(masks),
           CASE(queue), CASE(overflow), CASE(unmounted), CASE(instances), CASE(copies))
