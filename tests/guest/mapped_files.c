/* Files in memory: shared and private mappings, the end of the file, rights; memory as an argument of calls. */
#include "faults.h"
#include <sys/uio.h>

static char *anonymous(size_t pages)
{
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST((long)at);
    return at;
}

static void file_shared(void)
{
    int fd = (int)MUST(open("/tmp/mapped", O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(ftruncate(fd, 2 * PAGE));
    char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST((long)at);
    char byte = 0;
    at[10] = 'm';
    MUST(pread(fd, &byte, 1, 10));
    say("written through memory, read: %c", byte);
    MUST(pwrite(fd, "p", 1, PAGE + 1));
    say("written, seen in memory: %c", at[PAGE + 1]);
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    say("second view: %c", second[1]);
    close(fd);
    at[PAGE + 2] = 'z';
    say("after close: %c", second[2]);
    say("msync: %s", err(msync(at, 2 * PAGE, MS_SYNC)));
    unlink("/tmp/mapped");
    say("after unlink: %c", second[2]);
}

static void file_private(void)
{
    put("/tmp/private", "original");
    int fd = (int)MUST(open("/tmp/private", O_RDWR));
    char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    MUST((long)at);
    say("before: %.8s", at);
    at[0] = 'O';
    say("own: %.8s, file: %s", at, get("/tmp/private"));
    MUST(pwrite(fd, "changed!", 8, 0));
    say("the copied page stays: %.8s", at);
    say("rest of the page: %d", at[8] | at[PAGE - 1]);
}

static void past_the_end_of_file(void)
{
    int fd = (int)MUST(open("/tmp/short", O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(ftruncate(fd, PAGE + 100));
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST((long)at);
    touch("last page", at + PAGE + 200, at, 1);
    touch("past the end", at + 2 * PAGE + 3, at, 0);
    touch("write past the end", at + 3 * PAGE, at, 1);
    MUST(ftruncate(fd, 3 * PAGE));
    touch("after growing", at + 2 * PAGE, at, 1);
    MUST(ftruncate(fd, 10));
    touch("cut off", at + PAGE, at, 0);
    touch("first page", at + 5, at, 1);
    char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    touch("private past the end", private + PAGE, private, 0);
    say("read into it: %s", err(pread(fd, private + PAGE, 10, 0)));
}

static void file_permissions(void)
{
    put("/tmp/permissions", "text");
    int fd = (int)MUST(open("/tmp/permissions", O_RDONLY));
    say("shared write of read-only: %s",
        err((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    char *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    say("shared read: %s", err((long)at));
    say("to write: %s", err(mprotect(at, PAGE, PROT_READ | PROT_WRITE)));
    say("private write: %s", err((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    close(fd);
    fd = (int)MUST(open("/tmp/permissions", O_WRONLY));
    say("of write-only: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0)));
    int directory = (int)MUST(open("/tmp", O_RDONLY));
    say("of a directory: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, directory, 0)));
    int pipes[2];
    MUST(pipe(pipes));
    say("of a pipe: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0)));
    say("huge offset: %s", err((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0x7ffffffffffff000L)));
    int zero = (int)MUST(open("/dev/zero", O_RDWR));
    char *zeros = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    say("of /dev/zero: %s", err((long)zeros));
    zeros[1] = 1;
    say("its bytes: %d %d", zeros[0], zeros[1]);
}

static void system_calls_fault_pages_in(void)
{
    char *at = anonymous(64);
    int zero = (int)MUST(open("/dev/zero", O_RDONLY));
    say("read into untouched memory: %ld", (long)read(zero, at, 64 * PAGE));
    char *other = anonymous(2);
    int pipes[2];
    MUST(pipe(pipes));
    say("write from untouched memory: %ld", (long)write(pipes[1], other, 2 * PAGE));
    MUST(mprotect(at, PAGE, PROT_READ));
    say("read into read-only memory: %s", err(read(zero, at, 10)));
    put("/tmp/bytes", "0123456789");
    int file = (int)MUST(open("/tmp/bytes", O_RDONLY));
    struct iovec parts[2] = { { other, 4 }, { (void *)8, 4 } };
    say("readv with a bad second part: %ld", (long)readv(file, parts, 2));
    say("then the rest: %ld", (long)read(file, other, 100));
}

CHECK_MAIN(CASE(file_shared), CASE(file_private), CASE(past_the_end_of_file), CASE(file_permissions),
           CASE(system_calls_fault_pages_in))
