/* When the time of last access changes: relatime, strictatime, noatime, nodiratime, O_NOATIME. */
#include "check.h"
#include <dirent.h>
#include <sys/mount.h>

/* Sets access and modification times; the time of change is now. */
static void set(const char *path, time_t accessed, time_t modified)
{
    struct timespec times[2] = { { accessed, 0 }, { modified, 0 } };
    MUST(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

/* Whether a path has been accessed since its access time was set to that. */
static const char *since(const char *path, time_t accessed)
{
    struct stat data;
    MUST(lstat(path, &data));
    return data.st_atime == accessed ? "old" : labs(data.st_atime - time(NULL)) < 100 ? "new" : "odd";
}

static void read_all(const char *path, int flags)
{
    char buffer[256];
    int fd = (int)MUST(open(path, O_RDONLY | flags));
    while (MUST(read(fd, buffer, sizeof(buffer))) > 0) {
    }
    close(fd);
}

static void list(const char *path)
{
    char buffer[4096];
    int fd = (int)MUST(open(path, O_RDONLY | O_DIRECTORY));
    while (MUST(syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
    }
    close(fd);
}

#define FUTURE 4000000000

/* What each kind of access does on a mount with such flags. */
static void access_all(const char *what, unsigned long flags)
{
    char buffer[256];
    MUST(mount("x", "place", "tmpfs", flags, NULL));
    put("place/file", "text");
    put("place/empty", "");
    MUST(mkdir("place/directory", 0755));
    MUST(symlink("file", "place/link"));
    set("place/file", 1, 2);
    read_all("place/file", 0);
    say("%s: read: %s", what, since("place/file", 1));
    set("place/file", FUTURE, 2);
    read_all("place/file", 0);
    say("%s: read of what was read in the future: %s", what, since("place/file", FUTURE));
    set("place/empty", 1, 2);
    read_all("place/empty", 0);
    say("%s: read of nothing: %s", what, since("place/empty", 1));
    set("place/file", 1, 2);
    int fd = (int)MUST(open("place/file", O_RDWR));
    say("%s: open: %s", what, since("place/file", 1));
    MUST(read(fd, buffer, 0));
    MUST(pwrite(fd, "x", 1, 0));
    say("%s: read of no bytes and write: %s", what, since("place/file", 1));
    set("place/file", 1, 2);
    MUST(pwrite(fd, "x", 1, 0));
    say("%s: write alone: %s", what, since("place/file", 1));
    void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    say("%s: map: %s", what, since("place/file", 1));
    munmap(map, 4096);
    close(fd);
    set("place/file", 1, 2);
    read_all("place/file", O_NOATIME);
    say("%s: O_NOATIME: %s", what, since("place/file", 1));
    fd = (int)MUST(open("place/file", O_RDONLY));
    MUST(fcntl(fd, F_SETFL, O_NOATIME));
    MUST(read(fd, buffer, 4));
    say("%s: F_SETFL: %s", what, since("place/file", 1));
    MUST(fcntl(fd, F_SETFL, 0));
    MUST(pread(fd, buffer, 4, 0));
    say("%s: and back: %s", what, since("place/file", 1));
    close(fd);
    set("place/directory", 1, 2);
    list("place/directory");
    say("%s: list: %s", what, since("place/directory", 1));
    set("place/link", 1, 2);
    MUST(readlink("place/link", buffer, sizeof(buffer)));
    say("%s: readlink: %s", what, since("place/link", 1));
    set("place/link", 1, 2);
    struct stat data;
    MUST(stat("place/link", &data));
    say("%s: followed: %s", what, since("place/link", 1));
    set("place/file", 1, 2);
    MUST(stat("place/file", &data));
    MUST(access("place/file", R_OK));
    say("%s: stat: %s", what, since("place/file", 1));
    int out = (int)MUST(open("place/empty", O_WRONLY));
    fd = (int)MUST(open("place/file", O_RDONLY));
    MUST(syscall(SYS_sendfile, out, fd, NULL, 4));
    say("%s: sendfile: %s", what, since("place/file", 1));
    close(fd);
    close(out);
    MUST(umount("place"));
}

static void relative(void)
{
    own_directory();
    MUST(mkdir("place", 0755));
    access_all("default", 0);
    access_all("relatime", MS_RELATIME);
    access_all("relatime and strictatime", MS_RELATIME | MS_STRICTATIME);
}

static void strict(void)
{
    own_directory();
    MUST(mkdir("place", 0755));
    access_all("strictatime", MS_STRICTATIME);
}

static void never(void)
{
    own_directory();
    MUST(mkdir("place", 0755));
    access_all("noatime", MS_NOATIME);
    access_all("nodiratime", MS_NODIRATIME);
}

static void read_only(void)
{
    own_directory();
    MUST(mkdir("place", 0755));
    MUST(mount("x", "place", "tmpfs", MS_STRICTATIME, NULL));
    put("place/file", "text");
    set("place/file", 1, 2);
    MUST(mount(NULL, "place", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    read_all("place/file", 0);
    say("read: %s", since("place/file", 1));
    MUST(mount(NULL, "place", NULL, MS_REMOUNT | MS_BIND, NULL));
    read_all("place/file", 0);
    say("writable: %s", since("place/file", 1));
    set("place/file", 1, 2);
    MUST(mount(NULL, "place", NULL, MS_REMOUNT | MS_BIND | MS_NOATIME, NULL));
    read_all("place/file", 0);
    say("noatime: %s", since("place/file", 1));
}

static void owners(void)
{
    own_directory();
    MUST(chmod(".", 0777));
    put("file", "text");
    MUST(chmod("file", 0666));
    MUST(setresuid(1000, 1000, 1000));
    say("of another: %s", err(open("file", O_RDONLY | O_NOATIME)));
    int fd = (int)MUST(open("file", O_RDONLY));
    say("F_SETFL: %s", err(fcntl(fd, F_SETFL, O_NOATIME)));
    put("own", "text");
    say("own: %s", err(open("own", O_RDONLY | O_NOATIME)));
}

CHECK_MAIN(CASE(relative), CASE(strict), CASE(never), CASE(read_only), CASE(owners))
