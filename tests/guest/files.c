/* Open files: flags, positions, descriptors, attributes, sparse files, vectors. */
#include "check.h"
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <sys/ioctl.h>
#include <utime.h>
#include <sys/time.h>

static long size_of(const char *path)
{
    struct stat data;
    return stat(path, &data) < 0 ? -errno : (long)data.st_size;
}

static unsigned mode_of(const char *path)
{
    struct stat data;
    return lstat(path, &data) < 0 ? 0 : data.st_mode;
}

static void open_flags(void)
{
    own_directory();
    say("missing: %s", err(open("a", O_RDONLY)));
    say("create: %s", err(open("a", O_WRONLY | O_CREAT, 0640)));
    say("mode: %o", mode_of("a"));
    say("create again: %s", err(open("a", O_WRONLY | O_CREAT, 0600)));
    say("exclusive: %s", err(open("a", O_WRONLY | O_CREAT | O_EXCL, 0600)));
    put("a", "0123456789");
    say("truncate: %s", err(open("a", O_WRONLY | O_TRUNC)));
    say("size: %ld", size_of("a"));
    say("directory for writing: %s", err(open(".", O_WRONLY)));
    say("directory to create: %s", err(open(".", O_RDONLY | O_CREAT, 0600)));
    say("O_DIRECTORY of a file: %s", err(open("a", O_RDONLY | O_DIRECTORY)));
    say("O_DIRECTORY and O_CREAT: %s", err(open("nope", O_RDONLY | O_DIRECTORY | O_CREAT, 0600)));
    say("below a file: %s", err(open("a/b", O_RDONLY)));
    say("create below a missing directory: %s", err(open("x/b", O_CREAT | O_WRONLY, 0600)));
    say("empty name: %s", err(open("", O_RDONLY)));
    say("O_TMPFILE: %s", err(open(".", O_TMPFILE | O_RDWR, 0600)));
    say("O_TMPFILE read-only: %s", err(open(".", O_TMPFILE | O_RDONLY, 0600)));
    MUST(symlink("missing", "dangling"));
    say("create through a dangling link: %s", err(open("dangling", O_WRONLY | O_CREAT, 0600)));
    say("made its target: %ld", size_of("missing"));
    MUST(unlink("missing"));
    say("exclusive through a dangling link: %s", err(open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0600)));
    int fd = (int)MUST(open("a", O_RDONLY));
    say("write to read-only: %s", err(write(fd, "x", 1)));
    say("ftruncate of read-only: %s", err(ftruncate(fd, 1)));
    fd = (int)MUST(open("a", O_WRONLY));
    char byte;
    say("read of write-only: %s", err(read(fd, &byte, 1)));
    fd = (int)MUST(open("a", O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC));
    say("F_GETFL: %#o", fcntl(fd, F_GETFL));
    say("F_GETFD: %d", fcntl(fd, F_GETFD));
    fd = (int)MUST(open("a", O_PATH));
    say("O_PATH F_GETFL: %#o", fcntl(fd, F_GETFL));
    say("O_PATH read: %s", err(read(fd, &byte, 1)));
    say("O_PATH fstat: %s", err(fstat(fd, &(struct stat){ 0 })));
    say("O_PATH ioctl: %s", err(ioctl(fd, FIONREAD, &(int){ 0 })));
}

static void read_and_write(void)
{
    own_directory();
    char buffer[64] = { 0 };
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    say("write: %ld", (long)write(fd, "hello world", 11));
    say("at: %ld", (long)lseek(fd, 0, SEEK_CUR));
    say("read at the end: %ld", (long)read(fd, buffer, 10));
    say("back: %ld", (long)lseek(fd, -5, SEEK_END));
    say("read: %ld", (long)read(fd, buffer, 10));
    say("bytes: %.5s", buffer);
    say("pread: %ld", (long)pread(fd, buffer, 5, 0));
    say("bytes: %.5s, at: %ld", buffer, (long)lseek(fd, 0, SEEK_CUR));
    say("pwrite: %ld", (long)pwrite(fd, "J", 1, 0));
    say("at: %ld", (long)lseek(fd, 0, SEEK_CUR));
    say("before the start: %s", err(lseek(fd, -1, SEEK_SET)));
    say("bad whence: %s", err(lseek(fd, 0, 17)));
    say("pread at a negative offset: %s", err(pread(fd, buffer, 1, -1)));
    say("pread past the end: %ld", (long)pread(fd, buffer, 1, 1000));
    say("read of nothing: %ld", (long)read(fd, buffer, 0));
    say("write of nothing: %ld", (long)write(fd, buffer, 0));
    say("read of a directory: %s", err(read(open(".", O_RDONLY), buffer, 1)));
    say("bad descriptor: %s", err(read(500, buffer, 1)));
    say("negative descriptor: %s", err(write(-1, buffer, 1)));
    say("seek on a pipe: %s", ({ int p[2]; MUST(pipe(p)); err(lseek(p[0], 0, SEEK_SET)); }));
    say("pread on a pipe: %s", ({ int p[2]; MUST(pipe(p)); err(pread(p[0], buffer, 1, 0)); }));
    say("far seek: %ld", (long)lseek(fd, 1L << 40, SEEK_SET));
    say("read there: %ld", (long)read(fd, buffer, 1));
}

static void append(void)
{
    own_directory();
    put("a", "start");
    int fd = (int)MUST(open("a", O_WRONLY | O_APPEND));
    MUST(lseek(fd, 0, SEEK_SET));
    MUST(write(fd, "+1", 2));
    say("at: %ld", (long)lseek(fd, 0, SEEK_CUR));
    say("pwrite appends too: %ld", (long)pwrite(fd, "+2", 2, 0));
    say("text: %s", get("a"));
    MUST(fcntl(fd, F_SETFL, 0));
    MUST(lseek(fd, 0, SEEK_SET));
    MUST(write(fd, "S", 1));
    say("after F_SETFL: %s", get("a"));
}

static void vectors(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    char x[4] = { 0 }, y[8] = { 0 };
    struct iovec out[3] = { { "abc", 3 }, { NULL, 0 }, { "defgh", 5 } };
    struct iovec in[2] = { { x, 3 }, { y, 7 } };
    say("writev: %ld", (long)writev(fd, out, 3));
    MUST(lseek(fd, 0, SEEK_SET));
    say("readv: %ld", (long)readv(fd, in, 2));
    say("bytes: %s %s", x, y);
    say("pwritev: %ld", (long)pwritev(fd, out, 3, 4));
    memset(y, 0, sizeof(y));
    say("preadv: %ld", (long)preadv(fd, in, 2, 5));
    say("bytes: %s %s", x, y);
    say("no vectors: %s", err(readv(fd, in, 0)));
    say("too many: %s", err(readv(fd, in, 1025)));
    say("negative count: %s", err(writev(fd, out, -1)));
    struct iovec huge = { x, (size_t)-1 };
    say("negative length: %s", err(readv(fd, &huge, 1)));
    say("preadv2 with an unknown flag: %s", err(preadv2(fd, in, 2, 0, 0x1000)));
    say("preadv2 at the position: %s", err(preadv2(fd, in, 2, -1, 0)));
}

static void descriptors(void)
{
    own_directory();
    put("a", "0123456789");
    int fd = (int)MUST(open("a", O_RDONLY));
    int twin = (int)MUST(dup(fd));
    say("lowest free: %d", twin - fd);
    char byte;
    MUST(read(twin, &byte, 1));
    say("shared position: %ld", (long)lseek(fd, 0, SEEK_CUR));
    int other = (int)MUST(open("a", O_RDONLY));
    say("own position: %ld", (long)lseek(other, 0, SEEK_CUR));
    say("dup2: %d", dup2(fd, 50));
    say("dup2 of itself: %d", dup2(50, 50));
    say("dup2 of a bad one: %s", err(dup2(49, 49)));
    say("dup3 of itself: %s", err(dup3(50, 50, 0)));
    say("dup3: %d", dup3(fd, 51, O_CLOEXEC));
    say("its flag: %d, of the other: %d", fcntl(51, F_GETFD), fcntl(50, F_GETFD));
    say("dup3 with a bad flag: %s", err(dup3(fd, 52, O_APPEND)));
    say("F_DUPFD: %d", fcntl(fd, F_DUPFD, 100));
    say("F_DUPFD_CLOEXEC: %d", fcntl(fd, F_DUPFD_CLOEXEC, 100));
    say("its flag: %d", fcntl(101, F_GETFD));
    say("F_DUPFD beyond the limit: %s", err(fcntl(fd, F_DUPFD, 1 << 30)));
    say("close: %s", err(close(50)));
    say("close again: %s", err(close(50)));
    say("close_range: %s", err(close_range(51, 200, 0)));
    say("closed: %s", err(fcntl(100, F_GETFD)));
    say("close_range backwards: %s", err(close_range(9, 8, 0)));
    say("F_SETFD: %s", err(fcntl(fd, F_SETFD, FD_CLOEXEC)));
    say("F_GETFD: %d %d", fcntl(fd, F_GETFD), fcntl(twin, F_GETFD));
    say("bad command: %s", err(fcntl(fd, 9999, 0)));
    close(0);
    say("zero is free: %d", open("a", O_RDONLY));
}

static void attributes(void)
{
    own_directory();
    put("a", "12345");
    struct stat data;
    MUST(stat("a", &data));
    say("mode %o, links %ld, size %ld, block size %ld", data.st_mode, (long)data.st_nlink, (long)data.st_size,
        (long)data.st_blksize);
    say("owner %d:%d", data.st_uid, data.st_gid);
    int fd = (int)MUST(open("a", O_RDWR));
    struct stat again;
    MUST(fstat(fd, &again));
    say("same inode: %d", data.st_ino == again.st_ino && data.st_dev == again.st_dev);
    say("fchmod: %s", err(fchmod(fd, 04751)));
    say("mode: %o", mode_of("a"));
    say("chmod: %s", err(chmod("a", 0)));
    say("mode: %o", mode_of("a"));
    say("chmod of a missing file: %s", err(chmod("b", 0)));
    say("chown: %s", err(chown("a", 12, 34)));
    MUST(stat("a", &data));
    say("owner %d:%d", data.st_uid, data.st_gid);
    say("fchown of the group: %s", err(fchown(fd, -1, 56)));
    MUST(stat("a", &data));
    say("owner %d:%d", data.st_uid, data.st_gid);
    MUST(chmod("a", 06755));
    MUST(chown("a", 1, 1));
    say("chown clears set-id bits: %o", mode_of("a"));
    MUST(symlink("a", "link"));
    say("lchown: %s", err(lchown("link", 7, 7)));
    MUST(lstat("link", &data));
    say("link: mode %o owner %d size %ld", data.st_mode, data.st_uid, (long)data.st_size);
    MUST(stat("link", &data));
    say("through the link: owner %d", data.st_uid);
    say("fstatat of nothing: %s", err(fstatat(fd, "", &data, 0)));
    say("fstatat AT_EMPTY_PATH: %s", err(fstatat(fd, "", &data, AT_EMPTY_PATH)));
    say("fstatat with a bad flag: %s", err(fstatat(fd, "a", &data, 0x8000)));
    struct statx more;
    say("statx: %s", err(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS, &more)));
    say("statx: mode %o size %ld mask %d", more.stx_mode, (long)more.stx_size,
        (more.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    mode_t old = umask(027);
    say("umask: %o", old);
    close(open("masked", O_CREAT | O_WRONLY, 0777));
    say("masked: %o", mode_of("masked"));
    MUST(mkdir("masked_directory", 0777));
    say("masked directory: %o", mode_of("masked_directory"));
    say("umask: %o", umask(0177777));
    say("umask: %o", umask(0));
}

static void times(void)
{
    own_directory();
    put("a", "1");
    struct timespec both[2] = { { 1000, 123 }, { 2000, 456 } };
    say("utimensat: %s", err(utimensat(AT_FDCWD, "a", both, 0)));
    struct stat data;
    MUST(stat("a", &data));
    say("times %ld.%09ld %ld.%09ld", data.st_atim.tv_sec, data.st_atim.tv_nsec, data.st_mtim.tv_sec,
        data.st_mtim.tv_nsec);
    both[0].tv_nsec = UTIME_OMIT;
    both[1].tv_sec = 3000;
    say("omit: %s", err(utimensat(AT_FDCWD, "a", both, 0)));
    MUST(stat("a", &data));
    say("times %ld %ld", data.st_atim.tv_sec, data.st_mtim.tv_sec);
    both[1].tv_nsec = UTIME_NOW;
    say("now: %s", err(utimensat(AT_FDCWD, "a", both, 0)));
    MUST(stat("a", &data));
    say("near the clock: %d", data.st_mtim.tv_sec >= time(NULL) - 10 && data.st_mtim.tv_sec <= time(NULL) + 1);
    both[1].tv_nsec = 2000000000;
    say("bad nanoseconds: %s", err(utimensat(AT_FDCWD, "a", both, 0)));
    say("missing: %s", err(utimensat(AT_FDCWD, "b", NULL, 0)));
    struct utimbuf seconds = { 11, 22 };
    say("utime: %s", err(utime("a", &seconds)));
    struct timeval micro[2] = { { 33, 44 }, { 55, 66 } };
    say("utimes: %s", err(utimes("a", micro)));
    MUST(stat("a", &data));
    say("times %ld.%09ld %ld.%09ld", data.st_atim.tv_sec, data.st_atim.tv_nsec, data.st_mtim.tv_sec,
        data.st_mtim.tv_nsec);
    int fd = (int)MUST(open("a", O_WRONLY));
    MUST(write(fd, "x", 1));
    MUST(stat("a", &data));
    say("a write changes it: %d", data.st_mtim.tv_sec > 1000000);
    MUST(utimes("a", micro));
    MUST(chmod("a", 0600));
    MUST(stat("a", &data));
    say("chmod changes the status time alone: %d %ld", data.st_ctim.tv_sec > 1000000, data.st_mtim.tv_sec);
    MUST(utimes(".", micro));
    MUST(unlink("a"));
    MUST(stat(".", &data));
    say("unlink changes the directory: %d", data.st_mtim.tv_sec > 1000000);
}

static void sparse(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    MUST(pwrite(fd, "x", 1, 1 << 20));
    say("size: %ld", size_of("a"));
    struct stat data;
    MUST(fstat(fd, &data));
    say("few blocks: %d", data.st_blocks * 512 < 65536);
    char buffer[16] = "yyyyyyyy";
    say("hole: %ld", (long)pread(fd, buffer, 8, 1000));
    say("its bytes: %d", buffer[0] | buffer[7]);
    say("SEEK_DATA: %ld", (long)lseek(fd, 0, SEEK_DATA));
    say("SEEK_HOLE: %ld", (long)lseek(fd, 0, SEEK_HOLE));
    say("SEEK_HOLE from the data: %ld", (long)lseek(fd, 1 << 20, SEEK_HOLE));
    say("SEEK_DATA past the end: %s", err(lseek(fd, 2 << 20, SEEK_DATA)));
    say("truncate: %s", err(ftruncate(fd, 100)));
    say("grow: %s", err(ftruncate(fd, 5000)));
    MUST(pread(fd, buffer, 1, 4999));
    say("size: %ld, last byte: %d", size_of("a"), buffer[0]);
    say("negative: %s", err(ftruncate(fd, -1)));
    say("truncate by name: %s", err(truncate("a", 7)));
    say("size: %ld", size_of("a"));
    say("truncate of a directory: %s", err(truncate(".", 7)));
    say("truncate of a missing file: %s", err(truncate("b", 7)));
    say("fallocate: %s", err(fallocate(fd, 0, 0, 8192)));
    say("size: %ld", size_of("a"));
    say("keep size: %s", err(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000)));
    say("size: %ld", size_of("a"));
    MUST(pwrite(fd, "0123456789", 10, 0));
    say("punch: %s", err(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 4)));
    MUST(pread(fd, buffer, 10, 0));
    say("bytes: %c%c %d %d %c", buffer[0], buffer[1], buffer[2], buffer[5], buffer[6]);
    say("no length: %s", err(fallocate(fd, 0, 0, 0)));
    say("punch without keeping: %s", err(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1)));
}

static void unlinked_stay_open(void)
{
    own_directory();
    put("a", "still here");
    int fd = (int)MUST(open("a", O_RDWR));
    MUST(unlink("a"));
    struct stat data;
    MUST(fstat(fd, &data));
    char buffer[32] = { 0 };
    say("links: %ld, read: %ld", (long)data.st_nlink, (long)read(fd, buffer, 30));
    say("bytes: %s", buffer);
    say("open: %s", err(open("a", O_RDONLY)));
    put("a", "another");
    say("old one: %ld", (long)pread(fd, buffer, 30, 0));
    int hidden = (int)MUST(open(".", O_TMPFILE | O_RDWR, 0600));
    MUST(write(hidden, "t", 1));
    char link_path[64];
    snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", hidden);
    say("give it a name: %s", err(linkat(AT_FDCWD, link_path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW)));
    say("named: %s", get("named"));
}

static void whole_file_copies(void)
{
    own_directory();
    put("a", "copy this text");
    int from = (int)MUST(open("a", O_RDONLY));
    int to = (int)MUST(open("b", O_RDWR | O_CREAT, 0600));
    off_t offset = 5;
    say("sendfile: %ld", (long)sendfile(to, from, &offset, 4));
    say("offset: %ld, text: %s", (long)offset, get("b"));
    say("sendfile at the position: %ld", (long)sendfile(to, from, NULL, 100));
    say("text: %s", get("b"));
    int target = (int)MUST(open("c", O_RDWR | O_CREAT, 0600));
    loff_t in = 0, out = 2;
    say("copy_file_range: %ld", (long)copy_file_range(from, &in, target, &out, 4, 0));
    say("size: %ld", size_of("c"));
    int pipes[2];
    MUST(pipe(pipes));
    in = 5;
    say("splice into a pipe: %ld", (long)splice(from, &in, pipes[1], NULL, 4, 0));
    char buffer[8] = { 0 };
    say("read: %ld", (long)read(pipes[0], buffer, 7));
    say("bytes: %s", buffer);
    say("splice of two files: %s", err(splice(from, NULL, to, NULL, 4, 0)));
}

static void advisory_locks(void)
{
    own_directory();
    put("a", "0123456789");
    int fd = (int)MUST(open("a", O_RDWR));
    int other = (int)MUST(open("a", O_RDWR));
    say("flock: %s", err(flock(fd, LOCK_EX)));
    say("second description: %s", err(flock(other, LOCK_EX | LOCK_NB)));
    say("unlock: %s", err(flock(fd, LOCK_UN)));
    say("shared twice: %s", err(flock(fd, LOCK_SH)));
    say("shared twice: %s", err(flock(other, LOCK_SH | LOCK_NB)));
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3 };
    say("F_SETLK: %s", err(fcntl(fd, F_SETLK, &range)));
    pid_t child = fork();
    if (child == 0) {
        struct flock mine = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4, .l_len = 10 };
        say("of another process: %s", err(fcntl(fd, F_SETLK, &mine)));
        MUST(fcntl(fd, F_GETLK, &mine));
        say("F_GETLK: type %d start %ld length %ld by the parent %d", mine.l_type, (long)mine.l_start,
            (long)mine.l_len, mine.l_pid == getppid());
        mine = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1 };
        say("beside it: %s", err(fcntl(fd, F_SETLK, &mine)));
        _exit(0);
    }
    say("child: %s", reap(child));
    close(other);
    child = fork();
    if (child == 0) {
        struct flock mine = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0 };
        say("closing any descriptor let them go: %s", err(fcntl(fd, F_SETLK, &mine)));
        _exit(0);
    }
    say("child: %s", reap(child));
}

static void file_systems(void)
{
    own_directory();
    struct statfs data;
    say("statfs: %s", err(statfs("/tmp", &data)));
    say("type %#lx, block size %ld, longest name %ld", (long)data.f_type, (long)data.f_bsize, (long)data.f_namelen);
    int fd = (int)MUST(open(".", O_RDONLY));
    say("fstatfs: %s", err(fstatfs(fd, &data)));
    say("missing: %s", err(statfs("/tmp/nowhere", &data)));
    say("fsync: %s", err(fsync(fd)));
    say("fdatasync of a bad descriptor: %s", err(fdatasync(700)));
    int available = 0;
    put("a", "12345");
    int file = (int)MUST(open("a", O_RDONLY));
    say("FIONREAD: %s", err(ioctl(file, FIONREAD, &available)));
    say("available: %d", available);
    say("terminal ioctl of a file: %s", err(ioctl(file, 0x5401, &available)));
    say("isatty: %d", isatty(file));
}

static void devices(void)
{
    char buffer[32];
    int null = (int)MUST(open("/dev/null", O_RDWR));
    say("null: %ld %ld", (long)read(null, buffer, 8), (long)write(null, buffer, 8));
    memset(buffer, 1, sizeof(buffer));
    int zero = (int)MUST(open("/dev/zero", O_RDWR));
    say("zero: %ld", (long)read(zero, buffer, 8));
    say("its byte: %d", buffer[7]);
    int full = (int)MUST(open("/dev/full", O_RDWR));
    say("full: %s", err(write(full, buffer, 8)));
    say("full read: %ld", (long)read(full, buffer, 8));
    int random = (int)MUST(open("/dev/urandom", O_RDONLY));
    say("urandom: %ld", (long)read(random, buffer, 32));
    struct stat data;
    MUST(fstat(null, &data));
    say("null is a character device %#lx mode %o", (long)data.st_rdev, data.st_mode);
    MUST(fstat(zero, &data));
    say("zero is %#lx", (long)data.st_rdev);
    say("seek on null: %ld", (long)lseek(null, 100, SEEK_SET));
    say("truncating open of null: %s", err(open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600)));
}

static void size_limit(void)
{
    own_directory();
    signal(SIGXFSZ, SIG_IGN);
    struct { unsigned long now, most; } limit = { 1000, 1000000 };
    MUST(syscall(SYS_prlimit64, 0, 1, &limit, NULL));
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    char buffer[2000] = { 0 };
    say("up to the limit: %ld", (long)write(fd, buffer, 2000));
    say("beyond: %s", err(write(fd, buffer, 1)));
    say("truncate beyond: %s", err(ftruncate(fd, 2000)));
    signal(SIGXFSZ, SIG_DFL);
    pid_t child = fork();
    if (child == 0) {
        if (write(fd, buffer, 1) < 0)
            _exit(1);
        _exit(0);
    }
    say("default action: %s", reap(child));
}

static void extended_attributes(void)
{
    own_directory();
    put("a", "");
    char buffer[64] = { 0 };
    say("set: %s", err(setxattr("a", "user.colour", "blue", 4, 0)));
    say("get: %s", err(getxattr("a", "user.missing", buffer, 60)));
}

CHECK_MAIN(CASE(open_flags), CASE(read_and_write), CASE(append), CASE(vectors), CASE(descriptors), CASE(attributes),
           CASE(times), CASE(sparse), CASE(unlinked_stay_open), CASE(whole_file_copies), CASE(advisory_locks),
           CASE(file_systems), CASE(devices), CASE(size_limit), CASE(extended_attributes))
