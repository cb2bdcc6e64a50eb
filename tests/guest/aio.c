/* Asynchronous I/O by the kernel's own calls. */
#include "check.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static long setup(unsigned size, aio_context_t *context)
{
    return syscall(SYS_io_setup, size, context);
}

static long submit(aio_context_t context, long count, struct iocb **requests)
{
    return syscall(SYS_io_submit, context, count, requests);
}

static long get_events(aio_context_t context, long least, long most, struct io_event *events, struct timespec *timeout)
{
    return syscall(SYS_io_getevents, context, least, most, events, timeout);
}

static struct iocb request(int opcode, int fd, void *buffer, size_t length, long long offset)
{
    struct iocb one = { .aio_lio_opcode = (unsigned short)opcode, .aio_fildes = (unsigned)fd };
    one.aio_buf = (uintptr_t)buffer;
    one.aio_nbytes = length;
    one.aio_offset = offset;
    one.aio_data = 1000u + (unsigned)opcode;
    return one;
}

/* Submits one request, and tells of its event. */
static void one(aio_context_t context, const char *what, struct iocb asked)
{
    struct iocb *list[] = { &asked };
    long count = submit(context, 1, list);
    if (count < 0) {
        say("%s: refused: %s", what, err(-1));
        return;
    }
    struct io_event event;
    memset(&event, 0xff, sizeof(event));
    struct timespec soon = { 2, 0 };
    long got = get_events(context, 1, 1, &event, &soon);
    say("%s: %ld %ld: data %lld obj %d res %lld res2 %lld", what, count, got, (long long)event.data,
        event.obj == (uintptr_t)&asked, (long long)event.res, (long long)event.res2);
}

static void contexts(void)
{
    aio_context_t context = 0, used = 5;
    say("none: %s", err(setup(0, &context)));
    say("in use: %s", err(setup(1, &used)));
    say("too many: %s", err(setup(1u << 27, &context)));
    say("bad pointer: %s", err(setup(1, (void *)8)));
    say("setup: %s, %d", err(setup(8, &context)), context != 0);
    say("destroy: %s", err(syscall(SYS_io_destroy, context)));
    say("again: %s", err(syscall(SYS_io_destroy, context)));
    struct io_event event;
    say("events: %s", err(get_events(context, 0, 1, &event, 0)));
    say("submit: %s", err(submit(context, 0, 0)));
}

static void files(void)
{
    own_directory();
    aio_context_t context = 0;
    char buffer[64] = "", other[8] = "";
    MUST(setup(16, &context));
    int fd = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    one(context, "write", request(IOCB_CMD_PWRITE, fd, "hello world", 11, 3));
    one(context, "read", request(IOCB_CMD_PREAD, fd, buffer, 64, 3));
    say("%s", buffer);
    struct iovec parts[2] = { { buffer, 5 }, { other, 6 } };
    one(context, "read parts", request(IOCB_CMD_PREADV, fd, parts, 2, 3));
    say("%.5s|%.6s", buffer, other);
    one(context, "write parts", request(IOCB_CMD_PWRITEV, fd, parts, 2, 100));
    one(context, "end", request(IOCB_CMD_PREAD, fd, buffer, 64, 1000));
    one(context, "sync", request(IOCB_CMD_FSYNC, fd, 0, 0, 0));
    one(context, "data sync", request(IOCB_CMD_FDSYNC, fd, 0, 0, 0));
    one(context, "bad buffer", request(IOCB_CMD_PREAD, fd, (void *)8, 8, 0));
    one(context, "bad descriptor", request(IOCB_CMD_PREAD, 99, buffer, 8, 0));
    one(context, "unknown", request(77, fd, buffer, 8, 0));
    one(context, "nothing", request(IOCB_CMD_NOOP, fd, 0, 0, 0));
    int readable = (int)MUST(open("file", O_RDONLY));
    one(context, "not writable", request(IOCB_CMD_PWRITE, readable, "x", 1, 0));
    struct iocb reserved = request(IOCB_CMD_PREAD, fd, buffer, 8, 0);
    reserved.aio_reserved2 = 1;
    one(context, "reserved", reserved);
    struct iocb first = request(IOCB_CMD_PREAD, fd, buffer, 8, 0), bad = request(IOCB_CMD_PREAD, 99, buffer, 8, 0);
    struct iocb *list[] = { &first, &bad, &first };
    say("stops at the bad one: %ld", submit(context, 3, list));
    say("negative: %s", err(submit(context, -1, list)));
    say("bad list: %s", err(submit(context, 1, (void *)8)));
    struct io_event events[4];
    say("least beyond most: %s", err(get_events(context, 2, 1, events, 0)));
    say("negative: %s", err(get_events(context, -1, 1, events, 0)));
    say("got %ld", get_events(context, 1, 4, events, 0));
    struct timespec now = { 0, 0 }, soon = { 0, 20000000 };
    say("got %ld", get_events(context, 1, 4, events, &now));
    long start = now_ms();
    say("got %ld", get_events(context, 1, 4, events, &soon));
    say("long enough %d", now_ms() - start >= 19);
    pid_t child = fork();
    if (child == 0) {
        say("in a child: %s", err(get_events(context, 0, 1, events, &now)));
        _exit(0);
    }
    reap(child);
    MUST(syscall(SYS_io_destroy, context));
}

static void counters(void)
{
    aio_context_t context = 0;
    MUST(setup(16, &context));
    int counter = eventfd(0, EFD_NONBLOCK), null = (int)MUST(open("/dev/zero", O_RDONLY));
    char buffer[8];
    uint64_t count = 0;
    struct iocb asked = request(IOCB_CMD_PREAD, null, buffer, 8, 0);
    asked.aio_flags = IOCB_FLAG_RESFD;
    asked.aio_resfd = (unsigned)counter;
    one(context, "told", asked);
    MUST(read(counter, &count, sizeof(count)));
    say("count %llu", (unsigned long long)count);
    asked.aio_resfd = (unsigned)null;
    one(context, "no counter", asked);
    MUST(syscall(SYS_io_destroy, context));
}

static void polls(void)
{
    aio_context_t context = 0;
    int p[2];
    MUST(setup(16, &context));
    MUST(pipe(p));
    one(context, "writable", request(IOCB_CMD_POLL, p[1], (void *)POLLOUT, 0, 0));
    struct iocb waits = request(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0), *list[] = { &waits };
    say("submitted %ld", submit(context, 1, list));
    struct io_event event;
    struct timespec now = { 0, 0 };
    say("not yet: %ld", get_events(context, 0, 1, &event, &now));
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(30);
        MUST(write(p[1], "x", 1));
        _exit(0);
    }
    say("got %ld", get_events(context, 1, 1, &event, 0));
    say("events %#llx", (unsigned long long)event.res & POLLIN);
    reap(child);
    MUST(read(p[0], &event, 1));
    say("submitted %ld", submit(context, 1, list));
    say("cancel: %s", err(syscall(SYS_io_cancel, context, &waits, &event)));
    struct timespec soon = { 2, 0 };
    say("cancelled: %ld", get_events(context, 1, 1, &event, &soon));
    say("cancel again: %s", err(syscall(SYS_io_cancel, context, &waits, &event)));
    one(context, "with a length", request(IOCB_CMD_POLL, p[0], (void *)POLLIN, 5, 0));
    say("submitted %ld", submit(context, 1, list));
    MUST(syscall(SYS_io_destroy, context));
    MUST(write(p[1], "x", 1));
}

CHECK_MAIN(CASE(contexts), CASE(files), CASE(counters), CASE(polls))
