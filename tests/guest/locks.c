/* Advisory locks: what blocks what, waiting, deadlocks, who loses locks when. */
#include "check.h"
#include <pthread.h>
#include <sys/file.h>

static long record(int fd, int command, int type, long start, long length)
{
    struct flock lock = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
    return fcntl(fd, command, &lock);
}

static const char *held(int fd, int command, int type, long start, long length)
{
    static char text[4][128];
    static int next;
    struct flock lock = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
    if (fcntl(fd, command, &lock) < 0)
        return err(-1);
    char *out = text[next++ % 4];
    const char *names[] = { "read", "write", "none" };
    snprintf(out, 128, "%s %ld+%ld %s", names[lock.l_type % 3], (long)lock.l_start, (long)lock.l_len,
             lock.l_type == F_UNLCK ? "" : lock.l_pid == getppid() ? "parent" : lock.l_pid == -1 ? "description" : "other");
    return out;
}

/* Runs a function in a child and waits for it. */
static void in_child(void (*run)(int), int fd)
{
    pid_t child = fork();
    if (child == 0) {
        run(fd);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Waits until that process sleeps. */
static void until_asleep(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    for (int i = 0; i < 500; i++) {
        int fd = open(path, O_RDONLY);
        ssize_t count = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[count < 0 ? 0 : count] = 0;
        char *state = strrchr(text, ')');
        if (state && state[2] == 'S')
            return;
        sleep_ms(10);
    }
    say("not asleep");
}

static void arguments(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    int reader = (int)MUST(open("a", O_RDONLY)), writer = (int)MUST(open("a", O_WRONLY));
    int path = (int)MUST(open("a", O_PATH));
    int neither = (int)MUST(open("a", 3));
    say("flock of O_PATH: %s", err(flock(path, LOCK_SH)));
    say("flock with nothing: %s", err(flock(fd, 0)));
    say("flock with both: %s", err(flock(fd, LOCK_SH | LOCK_EX)));
    say("flock with both, bad descriptor: %s", err(flock(999, LOCK_SH | LOCK_EX)));
    say("flock without access: %s", err(flock(neither, LOCK_SH)));
    say("unlock without access: %s", err(flock(neither, LOCK_UN)));
    say("unlock of nothing: %s", err(flock(fd, LOCK_UN)));
    say("exclusive of read-only: %s", err(flock(reader, LOCK_EX | LOCK_NB)));
    flock(reader, LOCK_UN);
    say("write lock of read-only: %s", err(record(reader, F_SETLK, F_WRLCK, 0, 0)));
    say("read lock of write-only: %s", err(record(writer, F_SETLK, F_RDLCK, 0, 0)));
    say("read lock of O_PATH: %s", err(record(path, F_SETLK, F_RDLCK, 0, 0)));
    say("bad type: %s", err(record(fd, F_SETLK, 7, 0, 0)));
    say("F_GETLK unlock: %s", err(record(fd, F_GETLK, F_UNLCK, 0, 0)));
    say("negative start: %s", err(record(fd, F_SETLK, F_WRLCK, -1, 1)));
    say("negative length: %s", err(record(fd, F_SETLK, F_WRLCK, 10, -11)));
    say("negative length: %s", err(record(fd, F_SETLK, F_WRLCK, 10, -10)));
    say("overflow: %s", err(record(fd, F_SETLK, F_WRLCK, INT64_MAX, 2)));
    say("largest: %s", err(record(fd, F_SETLK, F_WRLCK, INT64_MAX, 1)));
    say("bad pointer: %s", err(fcntl(fd, F_SETLK, 8)));
    struct flock lock = { .l_type = F_WRLCK, .l_pid = 1 };
    say("OFD with a pid: %s", err(fcntl(fd, F_OFD_SETLK, &lock)));
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = 9 };
    say("bad whence: %s", err(fcntl(fd, F_SETLK, &lock)));
    MUST(ftruncate(fd, 100));
    MUST(lseek(fd, 50, SEEK_SET));
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = -50, .l_len = 10 };
    say("from here: %s", err(fcntl(fd, F_SETLK, &lock)));
    lock = (struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -101, .l_len = 10 };
    say("before the start: %s", err(fcntl(fd, F_SETLK, &lock)));
}

static void try_records(int fd)
{
    say("child 0: %s", held(fd, F_GETLK, F_RDLCK, 0, 5));
    say("child 15: %s", held(fd, F_GETLK, F_RDLCK, 15, 1));
    say("child write 15: %s", held(fd, F_GETLK, F_WRLCK, 15, 1));
    say("child 30: %s", held(fd, F_GETLK, F_RDLCK, 30, 1));
    say("child 40: %s", held(fd, F_GETLK, F_RDLCK, 40, 0));
    say("child all: %s", held(fd, F_GETLK, F_WRLCK, 0, 0));
    say("child sets: %s", err(record(fd, F_SETLK, F_RDLCK, 12, 1)));
    say("child sets: %s", err(record(fd, F_SETLK, F_WRLCK, 12, 1)));
    say("child sets: %s", err(record(fd, F_OFD_SETLK, F_WRLCK, 0, 1)));
    say("child closes another: %s", err(close((int)MUST(open("a", O_RDONLY)))));
}

static void records(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    say("write 0-10: %s", err(record(fd, F_SETLK, F_WRLCK, 0, 10)));
    say("read 10-20: %s", err(record(fd, F_SETLK, F_RDLCK, 10, 10)));
    say("write 45-: %s", err(record(fd, F_SETLK, F_WRLCK, 45, 0)));
    say("own: %s", held(fd, F_GETLK, F_WRLCK, 0, 0));
    in_child(try_records, fd);
    say("unlock 2-4: %s", err(record(fd, F_SETLK, F_UNLCK, 2, 2)));
    in_child(try_records, fd);
    close(MUST(dup(fd)));
    in_child(try_records, fd);
}

static void try_ofd(int fd)
{
    say("inherited is own: %s", held(fd, F_OFD_GETLK, F_WRLCK, 0, 0));
    int other = (int)MUST(open("a", O_RDWR));
    say("other: %s", held(other, F_OFD_GETLK, F_WRLCK, 0, 0));
    say("other record: %s", held(other, F_GETLK, F_WRLCK, 0, 0));
    say("set: %s", err(record(other, F_OFD_SETLK, F_WRLCK, 5, 1)));
    say("record: %s", err(record(fd, F_SETLK, F_WRLCK, 5, 1)));
}

static void descriptions(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    say("set: %s", err(record(fd, F_OFD_SETLK, F_WRLCK, 0, 10)));
    in_child(try_ofd, fd);
    int copy = (int)MUST(dup(fd));
    close(fd);
    in_child(try_ofd, copy);
    close(copy);
    fd = (int)MUST(open("a", O_RDWR));
    in_child(try_ofd, fd);
}

static void whole(void)
{
    own_directory();
    int first = (int)MUST(open("a", O_RDWR | O_CREAT, 0600)), second = (int)MUST(open("a", O_RDWR));
    say("shared: %s", err(flock(first, LOCK_SH)));
    say("shared: %s", err(flock(second, LOCK_SH)));
    say("upgrade: %s", err(flock(first, LOCK_EX | LOCK_NB)));
    say("lost by that: %s", err(flock(second, LOCK_EX | LOCK_NB)));
    say("records are apart: %s", err(record(first, F_SETLK, F_WRLCK, 0, 0)));
    close(second);
    say("closed: %s", err(flock(first, LOCK_EX | LOCK_NB)));
    int copy = (int)MUST(dup(first));
    close(first);
    second = (int)MUST(open("a", O_RDWR));
    say("kept by a copy: %s", err(flock(second, LOCK_SH | LOCK_NB)));
    pid_t child = fork();
    if (child == 0) {
        close(copy);
        say("child waits: %s", err(flock(second, LOCK_SH)));
        _exit(0);
    }
    until_asleep(child);
    clock_t before = clock();
    sleep_ms(200);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", child);
    unsigned long user = 0, system = 0;
    FILE *stat = fopen(path, "r");
    MUST(fscanf(stat, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2 ? 0 : -1);
    fclose(stat);
    say("and is idle: %s", user + system < 8 && clock() - before < 100000 ? "yes" : "no");
    say("parent lets go");
    close(copy);
    waitpid(child, NULL, 0);
}

static void on_alarm(int number)
{
    (void)number;
}

static void waits(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    MUST(record(fd, F_SETLK, F_WRLCK, 0, 10));
    pid_t child = fork();
    if (child == 0) {
        say("child waits: %s", err(record(fd, F_SETLKW, F_WRLCK, 5, 10)));
        say("child again: %s", held(fd, F_GETLK, F_WRLCK, 0, 0));
        _exit(0);
    }
    until_asleep(child);
    say("parent shrinks");
    MUST(record(fd, F_SETLK, F_UNLCK, 5, 5));
    waitpid(child, NULL, 0);
    child = fork();
    if (child == 0) {
        struct sigaction action = { .sa_handler = on_alarm };
        sigaction(SIGALRM, &action, NULL);
        pid_t killer = fork();
        if (killer == 0) {
            until_asleep(getppid());
            kill(getppid(), SIGALRM);
            _exit(0);
        }
        say("interrupted: %s", err(record(fd, F_SETLKW, F_WRLCK, 0, 10)));
        waitpid(killer, NULL, 0);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void deadlock(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    int ready[2], go[2];
    MUST(pipe(ready));
    MUST(pipe(go));
    pid_t children[2];
    char byte;
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            /* Child i holds byte i and wants byte i + 1, the parent holds byte 2 and wants byte 0. */
            MUST(record(fd, F_SETLK, F_WRLCK, i, 1));
            MUST(write(ready[1], "x", 1));
            MUST(read(go[0], &byte, 1));
            say("child: %s", err(record(fd, F_SETLKW, F_WRLCK, i + 1, 1)));
            _exit(0);
        }
    }
    MUST(record(fd, F_SETLK, F_WRLCK, 2, 1));
    MUST(read(ready[0], &byte, 1));
    MUST(read(ready[0], &byte, 1));
    MUST(write(go[1], "xx", 2));
    until_asleep(children[0]);
    until_asleep(children[1]);
    say("parent: %s", err(record(fd, F_SETLKW, F_RDLCK, 0, 1)));
    say("without waiting: %s", err(record(fd, F_SETLK, F_RDLCK, 0, 1)));
    MUST(record(fd, F_SETLK, F_UNLCK, 2, 1));
    waitpid(children[1], NULL, 0);
    waitpid(children[0], NULL, 0);
    say("now: %s", err(record(fd, F_SETLKW, F_WRLCK, 0, 3)));
}

static int waiting_fd;

static void *close_it(void *data)
{
    pid_t *self = data;
    until_asleep(*self);
    close(waiting_fd);
    return NULL;
}

static void closed_while_waiting(void)
{
    own_directory();
    int fd = (int)MUST(open("a", O_RDWR | O_CREAT, 0600));
    MUST(record(fd, F_SETLK, F_WRLCK, 0, 10));
    pid_t child = fork();
    if (child == 0) {
        pid_t self = getpid();
        waiting_fd = fd;
        pthread_t thread;
        pthread_create(&thread, NULL, close_it, &self);
        say("closed meanwhile: %s", err(record(fd, F_SETLKW, F_WRLCK, 0, 1)));
        sleep_ms(100);
        int again = (int)MUST(open("a", O_RDWR));
        say("own: %s", held(again, F_GETLK, F_WRLCK, 0, 0));
        pid_t grandchild = fork();
        if (grandchild == 0) {
            say("left behind: %s", held(again, F_GETLK, F_WRLCK, 0, 0));
            _exit(0);
        }
        waitpid(grandchild, NULL, 0);
        _exit(0);
    }
    until_asleep(child);
    sleep_ms(300);
    MUST(record(fd, F_SETLK, F_UNLCK, 0, 10));
    waitpid(child, NULL, 0);
}

CHECK_MAIN(CASE(arguments), CASE(records), CASE(descriptions), CASE(whole), CASE(waits), CASE(deadlock),
           CASE(closed_while_waiting))
