/* F_SETLEASE of fcntl(2): who gets one, who is told, who waits. */
#include "check.h"
#include <sys/prctl.h>

static volatile sig_atomic_t count, last_fd, last_code;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    count++;
    last_fd = info->si_fd;
    last_code = info->si_code;
}

static void catch(int number)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    sigaction(number, &action, NULL);
}

static void wait_for_signal(void)
{
    for (int i = 0; i < 200 && count == 0; i++)
        sleep_ms(10);
}

static int lease(int fd, int kind)
{
    return fcntl(fd, F_SETLEASE, kind);
}

static void rules(void)
{
    own_directory();
    put("file", "text");
    int reader = (int)MUST(open("file", O_RDONLY));
    say("none: %d", fcntl(reader, F_GETLEASE));
    say("unlock none: %s", err(lease(reader, F_UNLCK)));
    say("read: %s", err(lease(reader, F_RDLCK)));
    say("is: %d", fcntl(reader, F_GETLEASE));
    int copy = dup(reader);
    say("of a copy: %d", fcntl(copy, F_GETLEASE));
    close(copy);
    say("owner: %d", fcntl(reader, F_GETOWN) == getpid());
    int second = (int)MUST(open("file", O_RDONLY));
    say("of another: %d", fcntl(second, F_GETLEASE));
    say("read by two: %s", err(lease(second, F_RDLCK)));
    say("write beside: %s", err(lease(second, F_WRLCK)));
    say("unlock: %s", err(lease(second, F_UNLCK)));
    close(second);
    say("nobody else: %s", err(lease(reader, F_UNLCK)));
    close(reader);
    int writer = (int)MUST(open("file", O_RDWR));
    say("read of a writer: %s", err(lease(writer, F_RDLCK)));
    say("write: %s", err(lease(writer, F_WRLCK)));
    say("is: %d", fcntl(writer, F_GETLEASE));
    say("unknown: %s", err(lease(writer, 7)));
    say("directory: %s", err(lease((int)MUST(open(".", O_RDONLY)), F_RDLCK)));
    int pipes[2];
    MUST(pipe(pipes));
    say("pipe: %s", err(lease(pipes[0], F_RDLCK)));
    close(writer);
    pid_t child = fork();
    if (child == 0) {
        MUST(setresuid(65534, 65534, 65534));
        say("of others: %s", err(lease((int)MUST(open("file", O_RDONLY)), F_RDLCK)));
        _exit(0);
    }
    reap(child);
}

static void broken(int kind, int flags, int answer, int signal)
{
    catch(SIGIO);
    catch(SIGUSR1);
    int holder = (int)MUST(open("file", O_RDONLY));
    MUST(lease(holder, kind));
    if (signal)
        MUST(fcntl(holder, F_SETSIG, signal));
    count = 0;
    pid_t child = fork();
    if (child == 0) {
        close(holder);
        say("at once: %s", err(open("file", flags | O_NONBLOCK)));
        long start = now_ms();
        say("waits: %s", err(open("file", flags)));
        say("long: %d", now_ms() - start >= 150);
        _exit(0);
    }
    wait_for_signal();
    if (signal)
        say("code %d, its number %d", last_code, last_fd == holder);
    sleep_ms(300);
    say("asked for: %d", fcntl(holder, F_GETLEASE));
    if (answer >= 0)
        MUST(lease(holder, answer));
    else
        close(holder);
    say("child: %s", reap(child));
    if (answer >= 0)
        say("left: %d, owner %d", fcntl(holder, F_GETLEASE), fcntl(holder, F_GETOWN) == getpid());
    close(holder);
}

static void breaking(void)
{
    own_directory();
    put("file", "text");
    broken(F_RDLCK, O_WRONLY, F_UNLCK, 0);
    broken(F_WRLCK, O_RDONLY, F_RDLCK, SIGUSR1);
    broken(F_WRLCK, O_RDWR, F_UNLCK, SIGUSR1);
    broken(F_WRLCK, O_RDONLY, -1, 0);
}

static void harmless(void)
{
    own_directory();
    put("file", "text");
    catch(SIGIO);
    int holder = (int)MUST(open("file", O_RDONLY));
    MUST(lease(holder, F_RDLCK));
    say("reader: %s", err(open("file", O_RDONLY)));
    struct stat status;
    say("stat: %s", err(stat("file", &status)));
    say("told: %d", count);
    pid_t child = fork();
    if (child == 0) {
        say("truncate: %s", err(truncate("file", 0)));
        _exit(0);
    }
    wait_for_signal();
    say("told: %d", count);
    MUST(lease(holder, F_UNLCK));
    say("child: %s", reap(child));
    say("interrupted: %s", err(0));
    MUST(lease(holder, F_RDLCK));
    child = fork();
    if (child == 0) {
        catch(SIGALRM);
        alarm(1);
        say("open: %s", err(open("file", O_WRONLY)));
        _exit(0);
    }
    say("child: %s", reap(child));
}

CHECK_MAIN(CASE(rules), CASE(breaking), CASE(harmless))
