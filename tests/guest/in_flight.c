/* Files in messages between UNIX domain sockets, and sockets that only hold each other. */
#include "check.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Sends descriptors with one byte. */
static int send_files(int socket, const int *files, int count)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
    struct iovec part = { "x", 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control };
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){ CMSG_LEN((size_t)count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(header), files, (size_t)count * sizeof(int));
    return (int)sendmsg(socket, &message, 0);
}

static int receive_file(int socket)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    if (recvmsg(socket, &message, 0) < 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int file = -1;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&file, CMSG_DATA(header), sizeof(file));
    return file;
}

/* Whether the other end of a pipe goes away soon. The end of any socket makes the kernel look for those that are unreachable. */
static const char *ends(int pipe)
{
    close((int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)));
    struct pollfd entry = { .fd = pipe, .events = POLLIN };
    return poll(&entry, 1, 3000) == 1 && (entry.revents & POLLHUP) ? "gone" : "there";
}

static const char *stays(int pipe)
{
    struct pollfd entry = { .fd = pipe, .events = POLLIN };
    return poll(&entry, 1, 100) == 1 ? "gone" : "there";
}

static void own_messages(void)
{
    int pair[2], p[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST(pipe(p));
    MUST(send_files(pair[0], (int[]){ pair[0], pair[1], p[1] }, 3));
    close(p[1]);
    close(pair[0]);
    say("still reachable: %s", stays(p[0]));
    close(pair[1]);
    say("unreachable: %s", ends(p[0]));
}

static void each_other(void)
{
    int one[2], two[2], p[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, one));
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, two));
    MUST(pipe(p));
    MUST(send_files(one[0], (int[]){ two[1], p[1] }, 2));
    MUST(send_files(two[0], (int[]){ one[1] }, 1));
    close(p[1]);
    close(one[1]);
    close(two[1]);
    close(two[0]);
    say("half: %s", ends(p[0]));
    close(one[0]);
    MUST(pipe(p));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, one));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, two));
    MUST(send_files(one[0], (int[]){ two[1], p[1] }, 2));
    MUST(send_files(two[0], (int[]){ one[1] }, 1));
    close(p[1]);
    close(two[1]);
    close(two[0]);
    say("one is held: %s", stays(p[0]));
    int back = receive_file(one[1]);
    say("received: %s", err(back));
    close(receive_file(back));
    close(one[0]);
    close(one[1]);
    close(back);
    say("gone: %s", ends(p[0]));
}

static void not_accepted(void)
{
    int listener = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)), p[2];
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "in_flight_%d", getpid());
    MUST(pipe(p));
    MUST(bind(listener, (struct sockaddr *)&name, sizeof(name)));
    MUST(listen(listener, 5));
    MUST(connect(client, (struct sockaddr *)&name, sizeof(name)));
    MUST(send_files(client, (int[]){ listener, p[1] }, 2));
    close(p[1]);
    close(client);
    say("listens: %s", stays(p[0]));
    close(listener);
    say("gone: %s", ends(p[0]));
}

static void nested(void)
{
    int p[2];
    MUST(pipe(p));
    int inner = p[1], depth = 0;
    for (; depth < 20000; depth++) {
        int pair[2];
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        if (send_files(pair[0], &inner, 1) < 0) {
            say("depth %d: %s", depth, err(-1));
            break;
        }
        close(inner);
        close(pair[0]);
        inner = pair[1];
    }
    say("depth %d, %s", depth, stays(p[0]));
    close(inner);
    say("closed: %s", ends(p[0]));
}

static void peeked(void)
{
    int pair[2], p[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST(pipe(p));
    MUST(send_files(pair[0], (int[]){ p[1] }, 1));
    close(p[1]);
    char control[64], byte;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    MUST(recvmsg(pair[1], &message, MSG_PEEK));
    int file;
    memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(file));
    say("peeked: %s", err(file));
    close(file);
    say("still in the message: %s", stays(p[0]));
    MUST(read(pair[1], &byte, 1));
    say("dropped by read: %s", ends(p[0]));
}

/* Cycles that come and go beside messages that matter. */
static void churn(void)
{
    int keep[2], p[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, keep));
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 300; i++) {
            int pair[2];
            MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
            MUST(send_files(pair[0], pair, 2));
            close(pair[0]);
            close(pair[1]);
        }
        _exit(0);
    }
    int good = 0;
    for (int i = 0; i < 300; i++) {
        int pair[2];
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        MUST(send_files(pair[0], (int[]){ keep[0] }, 1));
        MUST(send_files(keep[0], &pair[1], 1));
        close(pair[1]);
        int back = receive_file(keep[1]);
        int again = receive_file(back);
        MUST(pipe(p));
        good += back >= 0 && again >= 0 && write(again, "y", 1) == 1 && read(keep[1], (char[1]){ 0 }, 1) == 1;
        close(p[0]);
        close(p[1]);
        close(again);
        close(back);
        close(pair[0]);
    }
    reap(child);
    say("%d of 300", good);
}

CHECK_MAIN(CASE(own_messages), CASE(each_other), CASE(not_accepted), CASE(nested), CASE(peeked), CASE(churn))
