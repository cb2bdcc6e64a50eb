/* overlayfs: what is seen through the layers, what changes leave on them, and what cannot be done. */
#include "check.h"
#include <dirent.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define OPTIONS "redirect_dir=off,index=off,metacopy=off,"

static void compare_names(const char **names, int count)
{
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if (strcmp(names[i], names[j]) > 0) {
                const char *other = names[i];
                names[i] = names[j];
                names[j] = other;
            }
}

/* Prints everything below a directory. */
static void show(const char *what, const char *path)
{
    DIR *directory = opendir(path);
    if (!directory) {
        say("%s: %s", what, err(-1));
        return;
    }
    const char *names[256];
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(directory)) && count < 256)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            names[count++] = strdup(entry->d_name);
    closedir(directory);
    compare_names(names, count);
    if (count == 0)
        say("%s: empty", what);
    for (int i = 0; i < count; i++) {
        char name[4096], label[4096], value[64] = "";
        snprintf(name, sizeof(name), "%s/%s", path, names[i]);
        snprintf(label, sizeof(label), "%s/%s", what, names[i]);
        struct stat stat;
        if (lstat(name, &stat) < 0) {
            say("%s: %s", label, err(-1));
            continue;
        }
        ssize_t length = lgetxattr(name, "trusted.overlay.opaque", value, sizeof(value) - 1);
        snprintf(value + (length > 0 ? length : 0), 16, "%s", length >= 0 ? " opaque" : "");
        if (S_ISDIR(stat.st_mode)) {
            say("%s: directory %o uid %d %s", label, stat.st_mode & 07777, stat.st_uid, value);
            show(label, name);
        } else if (S_ISREG(stat.st_mode)) {
            say("%s: file %o uid %d links %d \"%s\"", label, stat.st_mode & 07777, stat.st_uid, (int)stat.st_nlink, get(name));
        } else if (S_ISLNK(stat.st_mode)) {
            char target[256] = "";
            ssize_t size = readlink(name, target, sizeof(target) - 1);
            say("%s: link to %.*s", label, (int)size, target);
        } else if (S_ISCHR(stat.st_mode)) {
            say("%s: device %d:%d", label, major(stat.st_rdev), minor(stat.st_rdev));
        } else {
            say("%s: type %o mode %o", label, stat.st_mode & S_IFMT, stat.st_mode & 07777);
        }
    }
}

/* An empty tmpfs as working directory, with directories for layers. */
static void prepare(void)
{
    own_directory();
    MUST(mkdir("t", 0755));
    MUST(mount("tmpfs", "t", "tmpfs", 0, "mode=755"));
    MUST(chdir("t"));
    const char *names[] = { "one", "two", "upper", "work", "m" };
    for (size_t i = 0; i < COUNT(names); i++)
        MUST(mkdir(names[i], 0755));
}

static void assemble(void)
{
    MUST(mount("overlay", "m", "overlay", 0, OPTIONS "lowerdir=one:two,upperdir=upper,workdir=work"));
}

/* Whiteouts may be kept there to be linked to. */
static void show_work(void)
{
    DIR *directory = opendir("work/work");
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_type != DT_CHR && entry->d_name[0] != '.')
            say("left in work: type %d", entry->d_type);
    if (directory)
        closedir(directory);
}

static void finish(void)
{
    MUST(umount("m"));
    show("upper", "upper");
    show("one", "one");
    show_work();
}

static void seen_through(void)
{
    prepare();
    MUST(mkdir("one/d", 0700));
    MUST(mkdir("two/d", 0755));
    put("one/d/both", "one");
    put("two/d/both", "two");
    put("two/d/below", "below");
    put("two/d/gone", "gone");
    MUST(mknod("one/d/gone", S_IFCHR, 0));
    MUST(mkdir("one/opaque", 0755));
    MUST(setxattr("one/opaque", "trusted.overlay.opaque", "y", 1, 0));
    put("one/opaque/new", "new");
    MUST(mkdir("two/opaque", 0755));
    put("two/opaque/old", "old");
    put("one/file", "file");
    MUST(mkdir("two/file", 0755));
    MUST(mkdir("one/directory", 0755));
    put("two/directory", "text");
    MUST(symlink("nowhere", "two/link"));
    MUST(mkfifo("two/fifo", 0600));
    assemble();
    show("merged", "m");
    struct stat stat1;
    MUST(stat("m/d", &stat1));
    say("links of a merged directory: %d", (int)stat1.st_nlink);
    say("whiteout: %s", err(open("m/d/gone", O_RDONLY)));
    say("mark: %s", err(getxattr("m/opaque", "trusted.overlay.opaque", NULL, 0)));
    char list[256];
    say("listed marks: %zd", listxattr("m/opaque", list, sizeof(list)));
    say("setting a mark: %s", err(setxattr("m/opaque", "trusted.overlay.opaque", "y", 1, 0)));
    say("removing a mark: %s", err(removexattr("m/opaque", "trusted.overlay.other")));
    ssize_t length = listxattr("m/opaque", list, sizeof(list));
    say("listed marks: %zd %s", length, length > 0 ? list : "");
    struct statfs fs;
    MUST(statfs("m", &fs));
    say("magic: %lx", (long)fs.f_type);
    finish();
}

static void copied_up(void)
{
    prepare();
    MUST(mkdir("one/a", 0750));
    MUST(mkdir("one/a/b", 0711));
    MUST(chown("one/a/b", 3, 4));
    put("one/a/b/f", "0123456789");
    MUST(chmod("one/a/b/f", 04755));
    MUST(chown("one/a/b/f", 5, 6));
    MUST(chmod("one/a/b/f", 04755));
    MUST(setxattr("one/a/b/f", "trusted.color", "red", 3, 0));
    MUST(setxattr("one/a/b", "trusted.shape", "round", 5, 0));
    struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
    MUST(utimensat(AT_FDCWD, "one/a/b/f", times, 0));
    MUST(utimensat(AT_FDCWD, "one/a/b", times, 0));
    assemble();
    struct stat before, after;
    MUST(stat("m/a/b/f", &before));
    int reader = (int)MUST(open("m/a/b/f", O_RDONLY));
    MUST(chmod("m/a/b/f", 0604));
    MUST(stat("m/a/b/f", &after));
    say("same number: %d, same device: %d", before.st_ino == after.st_ino, before.st_dev == after.st_dev);
    say("mode %o uid %d gid %d mtime %ld.%ld", after.st_mode, after.st_uid, after.st_gid, (long)after.st_mtim.tv_sec, after.st_mtim.tv_nsec);
    MUST(stat("m/a/b", &after));
    say("directory: mode %o uid %d gid %d mtime %ld.%ld", after.st_mode, after.st_uid, after.st_gid, (long)after.st_mtim.tv_sec, after.st_mtim.tv_nsec);
    char value[16] = "";
    say("attribute: %zd %s", getxattr("m/a/b/f", "trusted.color", value, sizeof(value)), value);
    memset(value, 0, sizeof(value));
    say("attribute of directory: %zd %s", getxattr("m/a/b", "trusted.shape", value, sizeof(value)), value);
    int writer = (int)MUST(open("m/a/b/f", O_WRONLY));
    say("write: %zd", pwrite(writer, "ab", 2, 0));
    char data[16] = "";
    say("read by who had it open: %zd %s", pread(reader, data, sizeof(data) - 1, 0), data);
    close(reader);
    close(writer);
    say("below: %s", get("one/a/b/f"));
    finish();
}

static void truncated(void)
{
    prepare();
    put("one/f", "0123456789");
    put("one/g", "0123456789");
    put("one/h", "0123456789");
    assemble();
    say("truncate: %s", err(truncate("m/f", 4)));
    say("f: %s", get("m/f"));
    int fd = (int)MUST(open("m/g", O_WRONLY | O_TRUNC));
    say("write: %zd", write(fd, "x", 1));
    close(fd);
    say("g: %s", get("m/g"));
    fd = (int)MUST(open("m/h", O_RDWR | O_APPEND));
    say("append: %zd", write(fd, "x", 1));
    close(fd);
    say("h: %s", get("m/h"));
    finish();
}

static void removed(void)
{
    prepare();
    put("one/f", "f");
    put("two/f", "f");
    put("upper/u", "u");
    put("one/u", "u");
    put("upper/alone", "alone");
    MUST(mkdir("one/d", 0755));
    put("one/d/x", "x");
    MUST(mkdir("upper/e", 0755));
    assemble();
    say("unlink: %s", err(unlink("m/f")));
    say("again: %s", err(unlink("m/f")));
    say("unlink of what is above: %s", err(unlink("m/u")));
    say("unlink of what is alone: %s", err(unlink("m/alone")));
    say("rmdir of full: %s", err(rmdir("m/d")));
    say("unlink inside: %s", err(unlink("m/d/x")));
    say("rmdir: %s", err(rmdir("m/d")));
    say("rmdir of upper: %s", err(rmdir("m/e")));
    show("merged", "m");
    MUST(mkdir("m/d", 0755));
    put("m/f", "new");
    say("mkdir over file's whiteout: %s", err(mkdir("m/u", 0700)));
    show("merged", "m");
    int fd = (int)MUST(open("m/f", O_RDWR));
    MUST(unlink("m/f"));
    say("write to what is gone: %zd", write(fd, "x", 1));
    close(fd);
    finish();
}

static void renamed(void)
{
    prepare();
    put("one/f", "f");
    put("one/g", "g");
    put("one/h", "h");
    MUST(mkdir("one/d", 0755));
    put("one/d/x", "x");
    MUST(mkdir("one/empty", 0755));
    MUST(mkdir("upper/u", 0755));
    put("upper/u/y", "y");
    assemble();
    say("file: %s", err(rename("m/f", "m/f2")));
    say("over another: %s", err(rename("m/g", "m/h")));
    say("into a directory from below: %s", err(rename("m/h", "m/d/h")));
    say("directory from below: %s", err(rename("m/d", "m/d2")));
    say("directory from above: %s", err(rename("m/u", "m/u2")));
    say("over a full one: %s", err(rename("m/u2", "m/d")));
    say("over an empty one: %s", err(rename("m/u2", "m/empty")));
    say("file over directory: %s", err(rename("m/f2", "m/empty")));
    say("directory over file: %s", err(rename("m/empty", "m/f2")));
    MUST(mkdir("m/v", 0755));
    MUST(unlink("m/d/x"));
    MUST(unlink("m/d/h"));
    say("over one with whiteouts: %s", err(rename("m/v", "m/d")));
    say("exchange of files: %s", err(renameat2(AT_FDCWD, "m/f2", AT_FDCWD, "m/empty/y", RENAME_EXCHANGE)));
    MUST(mkdir("m/w", 0755));
    say("exchange of directory and file: %s", err(renameat2(AT_FDCWD, "m/w", AT_FDCWD, "m/f2", RENAME_EXCHANGE)));
    say("leaving a whiteout: %s", err(renameat2(AT_FDCWD, "m/w", AT_FDCWD, "m/w2", RENAME_WHITEOUT)));
    say("replacing nothing: %s", err(renameat2(AT_FDCWD, "m/w", AT_FDCWD, "m/w2", RENAME_NOREPLACE)));
    show("merged", "m");
    finish();
}

static void linked(void)
{
    prepare();
    put("one/f", "f");
    put("one/gone", "gone");
    MUST(mkdir("one/d", 0755));
    assemble();
    say("link: %s", err(link("m/f", "m/d/f2")));
    MUST(unlink("m/gone"));
    say("link over a whiteout: %s", err(link("m/f", "m/gone")));
    struct stat one, other;
    MUST(stat("m/f", &one));
    MUST(stat("m/gone", &other));
    say("same: %d, links %d", one.st_ino == other.st_ino, (int)one.st_nlink);
    put("m/gone", "changed");
    say("f: %s", get("m/f"));
    say("symlink: %s", err(symlink("x", "m/d/s")));
    say("device: %s", err(mknod("m/d/null", S_IFCHR | 0600, makedev(1, 3))));
    say("fifo: %s", err(mkfifo("m/d/p", 0600)));
    say("whiteout: %s", err(mknod("m/d/w", S_IFCHR, 0)));
    int fd = open("m/d", O_TMPFILE | O_RDWR, 0600);
    say("nameless: %s", err(fd));
    if (fd >= 0) {
        char path[64];
        say("write: %zd", write(fd, "data", 4));
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        say("linked: %s", err(linkat(AT_FDCWD, path, AT_FDCWD, "m/d/named", AT_SYMLINK_FOLLOW)));
    }
    finish();
}

static void listed(void)
{
    prepare();
    for (int i = 0; i < 300; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s/d%d", i % 3 ? "one" : "two", i);
        put(name, "x");
    }
    assemble();
    for (int i = 0; i < 300; i += 7) {
        char name[64];
        snprintf(name, sizeof(name), "m/d%d", i);
        MUST(unlink(name));
    }
    DIR *directory = opendir("m");
    int count = 0, wrong = 0;
    long middle = 0;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        struct stat stat;
        char name[300];
        snprintf(name, sizeof(name), "m/%s", entry->d_name);
        count++;
        if (strcmp(entry->d_name, "..") && (lstat(name, &stat) < 0 || stat.st_ino != entry->d_ino))
            wrong++;
        if (count == 100)
            middle = telldir(directory);
    }
    say("%d entries, %d with other numbers", count, wrong);
    seekdir(directory, middle);
    int rest = 0;
    while (readdir(directory))
        rest++;
    say("%d behind the 100th", rest);
    put("m/new", "x");
    rewinddir(directory);
    count = 0;
    while (readdir(directory))
        count++;
    say("%d after one was made", count);
    closedir(directory);
    MUST(umount("m"));
}

static void mapped(void)
{
    prepare();
    put("one/f", "0123456789");
    assemble();
    int fd = (int)MUST(open("m/f", O_RDONLY));
    char *old = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    int writer = (int)MUST(open("m/f", O_RDWR));
    char *new = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    memcpy(new, "ab", 2);
    char *again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    say("mapped before %.10s, written %.10s, mapped later %.10s", old, new, again);
    char data[16] = "";
    say("read %zd %s", pread(fd, data, sizeof(data) - 1, 0), data);
    munmap(old, 4096);
    munmap(new, 4096);
    munmap(again, 4096);
    close(fd);
    close(writer);
    finish();
}

static void sparse(void)
{
    prepare();
    int fd = (int)MUST(open("one/f", O_RDWR | O_CREAT, 0644));
    MUST(ftruncate(fd, 64 << 20));
    MUST(pwrite(fd, "x", 1, 32 << 20));
    close(fd);
    assemble();
    MUST(chmod("m/f", 0600));
    struct stat stat1;
    MUST(stat("m/f", &stat1));
    say("size %ld, blocks below 10,000: %d", (long)stat1.st_size, stat1.st_blocks < 10000);
    char byte = 0;
    fd = (int)MUST(open("m/f", O_RDONLY));
    MUST(pread(fd, &byte, 1, 32 << 20));
    say("byte %c, data at %ld", byte, (long)lseek(fd, 0, SEEK_DATA));
    close(fd);
    MUST(umount("m"));
}

static void full(void)
{
    prepare();
    MUST(mkdir("small", 0755));
    MUST(mount("tmpfs", "small", "tmpfs", 0, "size=64k"));
    MUST(mkdir("small/upper", 0755));
    MUST(mkdir("small/work", 0755));
    int fd = (int)MUST(open("one/f", O_RDWR | O_CREAT, 0644));
    char data[4096];
    memset(data, 'x', sizeof(data));
    for (int i = 0; i < 32; i++)
        MUST(write(fd, data, sizeof(data)));
    close(fd);
    MUST(mount("overlay", "m", "overlay", 0, OPTIONS "lowerdir=one,upperdir=small/upper,workdir=small/work"));
    say("write: %s", err(open("m/f", O_RDWR)));
    say("chmod: %s", err(chmod("m/f", 0600)));
    struct stat stat1;
    MUST(stat("m/f", &stat1));
    say("mode %o size %ld", stat1.st_mode, (long)stat1.st_size);
    show("upper", "small/upper");
    show("work", "small/work/work");
    say("emptied: %s", err(open("m/f", O_RDWR | O_TRUNC)));
    MUST(umount("m"));
}

static void bad_mounts(void)
{
    prepare();
    put("file", "x");
    const char *options[] = {
        "", "lowerdir=one", "lowerdir=missing:two", "lowerdir=file:two", "upperdir=upper,workdir=work",
        "lowerdir=one,upperdir=upper", "lowerdir=one,upperdir=upper,workdir=missing",
        "lowerdir=one,upperdir=upper,workdir=upper", "lowerdir=one:two,nonsense=1", "lowerdir=:one",
        "lowerdir=one,upperdir=file,workdir=work",
    };
    for (size_t i = 0; i < COUNT(options); i++)
        say("\"%s\": %s", options[i], err(mount("overlay", "m", "overlay", 0, options[i])));
    MUST(mount("overlay", "m", "overlay", 0, "lowerdir=one:two"));
    say("making without upper: %s", err(mkdir("m/d", 0755)));
    MUST(umount("m"));
}

static void unprivileged(void)
{
    prepare();
    put("one/mine", "mine");
    MUST(chown("one/mine", 1000, 1000));
    put("one/other", "other");
    MUST(mkdir("one/d", 0755));
    put("one/d/f", "f");
    MUST(mkdir("one/own", 0755));
    MUST(chown("one/own", 1000, 1000));
    put("one/own/f", "f");
    assemble();
    MUST(chown(".", 1000, 1000));
    MUST(setgid(1000));
    MUST(setuid(1000));
    say("own file: %s", err(open("m/mine", O_RDWR)));
    say("other's: %s", err(open("m/other", O_RDWR)));
    say("chmod of other's: %s", err(chmod("m/other", 0666)));
    say("unlink in other's directory: %s", err(unlink("m/d/f")));
    say("unlink in own directory: %s", err(unlink("m/own/f")));
    say("making in own directory: %s", err(mkdir("m/own/d", 0755)));
    say("making a whiteout's name: %s", err(mknod("m/own/f", S_IFREG | 0600, 0)));
    show("merged", "m");
}

static void whiteout_renames(void)
{
    prepare();
    put("one/f", "f");
    MUST(mkdir("one/d", 0755));
    put("two/g", "g");
    say("file: %s", err(renameat2(AT_FDCWD, "one/f", AT_FDCWD, "one/f2", RENAME_WHITEOUT)));
    say("directory: %s", err(renameat2(AT_FDCWD, "one/d", AT_FDCWD, "two/d", RENAME_WHITEOUT)));
    say("over another: %s", err(renameat2(AT_FDCWD, "one/f2", AT_FDCWD, "two/g", RENAME_WHITEOUT)));
    say("with exchange: %s", err(renameat2(AT_FDCWD, "one/f", AT_FDCWD, "two/g", RENAME_WHITEOUT | RENAME_EXCHANGE)));
    show("one", "one");
    show("two", "two");
    say("opening one: %s", err(open("one/f", O_RDONLY)));
    MUST(chmod(".", 0777));
    MUST(setuid(1000));
    say("made without privilege: %s", err(mknod("w", S_IFCHR, 0)));
    say("another device: %s", err(mknod("n", S_IFCHR, makedev(1, 3))));
}

CHECK_MAIN(CASE(seen_through), CASE(copied_up), CASE(truncated), CASE(removed), CASE(renamed), CASE(linked), CASE(listed),
           CASE(mapped), CASE(sparse), CASE(full), CASE(bad_mounts), CASE(unprivileged), CASE(whiteout_renames))
