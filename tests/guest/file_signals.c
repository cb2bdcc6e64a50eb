/* fcntl(2): who gets signals about a file, and O_ASYNC. */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static volatile sig_atomic_t count, last_code, last_fd, last_signal;
static volatile long last_band;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    count++;
    last_signal = number;
    last_code = info->si_code;
    last_fd = info->si_fd;
    last_band = info->si_band;
}

static void catch(int number)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigaction(number, &action, NULL);
}

static void wait_for_signal(void)
{
    for (int i = 0; i < 100 && count == 0; i++)
        sleep_ms(10);
}

static void report(const char *what, int fd)
{
    wait_for_signal();
    if (last_signal == SIGIO)
        say("%s: %d", what, count > 0);
    else
        say("%s: %d, code %d, band %#lx, its number %d", what, count > 0, last_code, last_band, last_fd == fd);
    count = 0;
}

static void owners(void)
{
    int pipes[2];
    MUST(pipe(pipes));
    struct f_owner_ex owner;
    say("at first: %d, signal %d", fcntl(pipes[0], F_GETOWN), fcntl(pipes[0], F_GETSIG));
    say("me: %s", err(fcntl(pipes[0], F_SETOWN, getpid())));
    say("told: %d", fcntl(pipes[0], F_GETOWN) == getpid());
    say("of a copy: %d", fcntl(dup(pipes[0]), F_GETOWN) == getpid());
    say("of the other end: %d", fcntl(pipes[1], F_GETOWN));
    say("my group: %s", err(fcntl(pipes[0], F_SETOWN, -getpgrp())));
    MUST(fcntl(pipes[0], F_GETOWN_EX, &owner));
    say("told: %d %d", owner.type, owner.pid == getpgrp());
    owner = (struct f_owner_ex){ F_OWNER_TID, gettid() };
    say("my thread: %s", err(fcntl(pipes[0], F_SETOWN_EX, &owner)));
    MUST(fcntl(pipes[0], F_GETOWN_EX, &owner));
    say("told: %d %d", owner.type, owner.pid == gettid());
    owner.type = 3;
    say("bad type: %s", err(fcntl(pipes[0], F_SETOWN_EX, &owner)));
    say("nobody: %s", err(fcntl(pipes[0], F_SETOWN, 0x3ffffff)));
    say("no group: %s", err(fcntl(pipes[0], F_SETOWN, -0x3ffffff)));
    say("free: %s", err(fcntl(pipes[0], F_SETOWN, 0)));
    say("signal: %s", err(fcntl(pipes[0], F_SETSIG, SIGUSR1)));
    say("told: %d", fcntl(pipes[0], F_GETSIG) == SIGUSR1);
    say("bad signal: %s", err(fcntl(pipes[0], F_SETSIG, 65)));
    uid_t users[2] = { 7, 7 };
    say("users: %s", err(fcntl(pipes[0], 17 /* F_GETOWNER_UIDS */, users)));
    say("are %d %d", (int)users[0], (int)users[1]);
    say("bad pointer: %s", err(fcntl(pipes[0], F_SETOWN_EX, (void *)8)));
}

static void which_files(void)
{
    int on = 1, pipes[2], sockets[2];
    MUST(pipe(pipes));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    int file = (int)MUST(open("/tmp/file", O_RDWR | O_CREAT, 0600)), null = open("/dev/null", O_RDWR);
    const int all[] = { pipes[0], sockets[0], file, null };
    for (size_t i = 0; i < COUNT(all); i++) {
        say("O_ASYNC %zu: %s", i, err(fcntl(all[i], F_SETFL, O_ASYNC)));
        say("is set %zu: %d", i, (fcntl(all[i], F_GETFL) & O_ASYNC) != 0);
        MUST(fcntl(all[i], F_SETFL, 0));
        say("is set %zu: %d", i, (fcntl(all[i], F_GETFL) & O_ASYNC) != 0);
        say("FIOASYNC %zu: %s", i, err(ioctl(all[i], FIOASYNC, &on)));
    }
}

static void readiness(void)
{
    int pipes[2], sockets[2];
    char buffer[16];
    catch(SIGIO);
    catch(SIGUSR1);
    MUST(pipe(pipes));
    MUST(fcntl(pipes[0], F_SETOWN, getpid()));
    MUST(fcntl(pipes[0], F_SETFL, O_ASYNC));
    MUST(write(pipes[1], "x", 1));
    report("pipe", pipes[0]);
    MUST(fcntl(pipes[0], F_SETSIG, SIGUSR1));
    MUST(write(pipes[1], "x", 1));
    report("pipe, another signal", pipes[0]);
    close(pipes[1]);
    wait_for_signal();
    say("end: %d", count > 0);
    count = 0;
    MUST(fcntl(pipes[0], F_SETFL, 0));
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets));
    MUST(fcntl(sockets[0], F_SETOWN, getpid()));
    MUST(fcntl(sockets[0], F_SETSIG, SIGUSR1));
    MUST(fcntl(sockets[0], F_SETFL, O_ASYNC));
    MUST(write(sockets[1], "x", 1));
    report("socket", sockets[0]);
    MUST(fcntl(sockets[0], F_SETFL, 0));
    MUST(read(sockets[0], buffer, sizeof(buffer)));
    count = 0;
    MUST(write(sockets[1], "x", 1));
    sleep_ms(50);
    say("not any more: %d", count);
}

static void *with_signal_blocked(void *argument)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    *(volatile pid_t *)argument = gettid();
    sleep_ms(300);
    sigset_t pending;
    sigpending(&pending);
    say("pending for the thread: %d", sigismember(&pending, SIGIO));
    return NULL;
}

static void whom(void)
{
    int pipes[2];
    catch(SIGIO);
    MUST(pipe(pipes));
    MUST(fcntl(pipes[0], F_SETFL, O_ASYNC));
    MUST(write(pipes[1], "x", 1));
    sleep_ms(50);
    say("without an owner: %d", count);
    volatile pid_t tid = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, with_signal_blocked, (void *)&tid);
    while (tid == 0)
        sleep_ms(1);
    struct f_owner_ex owner = { F_OWNER_TID, tid };
    MUST(fcntl(pipes[0], F_SETOWN_EX, &owner));
    MUST(write(pipes[1], "x", 1));
    sleep_ms(50);
    say("for a thread: %d", count);
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        MUST(fcntl(pipes[0], F_SETOWN, -getpid()));
        count = 0;
        MUST(write(pipes[1], "x", 1));
        wait_for_signal();
        _exit(count > 0);
    }
    say("for a group: %s", reap(child));
    child = fork();
    if (child == 0) {
        MUST(setresuid(65534, 65534, 65534));
        MUST(fcntl(pipes[0], F_SETOWN, getppid()));
        MUST(write(pipes[1], "x", 1));
        _exit(0);
    }
    count = 0;
    reap(child);
    sleep_ms(50);
    say("set by one who may not: %d", count);
}

static void expect(const char *what)
{
    for (int i = 0; i < 5 && count == 0; i++)
        sleep_ms(10);
    say("%s: %s", what, count > 0 ? "told" : "not told");
    count = 0;
}

static void directories(void)
{
    own_directory();
    MUST(mkdir("d", 0755));
    MUST(mkdir("other", 0755));
    catch(SIGIO);
    catch(SIGUSR1);
    int directory = (int)MUST(open("d", O_RDONLY | O_DIRECTORY));
    say("once: %s", err(fcntl(directory, F_NOTIFY, DN_CREATE)));
    say("owner: %d", fcntl(directory, F_GETOWN) == getpid());
    put("d/one", "1");
    expect("made");
    put("d/two", "2");
    expect("made again");
    MUST(fcntl(directory, F_SETSIG, SIGUSR1));
    say("often: %s", err(fcntl(directory, F_NOTIFY, DN_DELETE | DN_MULTISHOT)));
    MUST(unlink("d/one"));
    expect("removed");
    say("code %d, band %#lx, its number %d", last_code, last_band, last_fd == directory);
    MUST(unlink("d/two"));
    expect("removed again");
    put("d/three", "3");
    expect("made");
    say("more: %s", err(fcntl(directory, F_NOTIFY, DN_MODIFY | DN_ATTRIB | DN_ACCESS | DN_MULTISHOT)));
    put("d/three", "33");
    expect("written");
    MUST(chmod("d/three", 0600));
    expect("attributes");
    get("d/three");
    expect("read");
    MUST(rename("d/three", "other/three"));
    expect("moved away");
    say("none: %s", err(fcntl(directory, F_NOTIFY, 0)));
    MUST(rename("other/three", "d/three"));
    expect("moved back");
    say("moved in: %s", err(fcntl(directory, F_NOTIFY, DN_CREATE | DN_MULTISHOT)));
    MUST(rename("d/three", "other/three"));
    expect("moved away");
    MUST(rename("other/three", "d/three"));
    expect("moved back");
    MUST(fcntl(directory, F_NOTIFY, 0));
    MUST(fcntl(directory, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
    MUST(rename("d/three", "d/four"));
    expect("renamed");
    MUST(unlink("d/four"));
    expect("removed");
    MUST(close(directory));
    put("d/five", "5");
    expect("after close");
    say("no directory: %s", err(fcntl((int)MUST(open("d/five", O_RDONLY)), F_NOTIFY, DN_CREATE)));
}

CHECK_MAIN(CASE(owners), CASE(which_files), CASE(readiness), CASE(whom), CASE(directories))
