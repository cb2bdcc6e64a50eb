/* Pseudo-terminals: the line discipline, modes, job control, hang-ups. */
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

/* Escapes what a terminal shows. */
static const char *shown(const char *data, long length)
{
    static char text[1024];
    size_t used = 0;
    if (length < 0)
        return strerrorname_np(errno);
    for (long i = 0; i < length && used < sizeof(text) - 5; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (byte >= ' ' && byte < 127)
            text[used++] = (char)byte;
        else
            used += (size_t)sprintf(text + used, "\\%02x", byte);
    }
    text[used] = 0;
    return text;
}

static const char *read_from(int fd)
{
    static char data[512];
    return shown(data, read(fd, data, sizeof(data)));
}

static int open_master(void)
{
    int master = (int)MUST(posix_openpt(O_RDWR | O_NOCTTY));
    MUST(grantpt(master));
    MUST(unlockpt(master));
    return master;
}

static int open_slave(int master, int flags)
{
    return open(ptsname(master), flags);
}

/* Types keys and shows what comes back on both sides without waiting. */
static void press(int master, int slave, const char *keys)
{
    MUST(write(master, keys, strlen(keys)));
    fcntl(master, F_SETFL, O_NONBLOCK);
    fcntl(slave, F_SETFL, O_NONBLOCK);
    char quoted[128];
    snprintf(quoted, sizeof(quoted), "%s", shown(keys, (long)strlen(keys)));
    sleep_ms(5);
    const char *screen = read_from(master);
    char first[512];
    snprintf(first, sizeof(first), "%s", screen);
    say("%s -> screen %s, program %s", quoted, first, read_from(slave));
}

static void lines(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    press(master, slave, "hello\n");
    press(master, slave, "hellp\x7fo\n");
    press(master, slave, "one two\x17three\n");
    press(master, slave, "gone\x15kept\n");
    press(master, slave, "a\tb\x7f\x7f\n");
    press(master, slave, "\x01\x7fx\n");
    press(master, slave, "part");
    press(master, slave, "\x04");
    press(master, slave, "\x04");
    press(master, slave, "\x16\x03\n");
    press(master, slave, "abc\x12\n");
    press(master, slave, "cr\r");
    press(master, slave, "two\nlines\n");
    say("rest: %s", read_from(slave));
    struct termios settings;
    MUST(tcgetattr(slave, &settings));
    settings.c_lflag &= ~(tcflag_t)ECHO;
    settings.c_oflag &= ~(tcflag_t)OPOST;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    press(master, slave, "silent\n");
    MUST(write(slave, "raw\n", 4));
    say("raw output: %s", read_from(master));
}

static void output_modes(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    struct termios settings;
    MUST(write(slave, "a\n\tb\r\n", 6));
    say("default: %s", read_from(master));
    MUST(tcgetattr(slave, &settings));
    settings.c_oflag |= XTABS;
    MUST(tcsetattr(slave, TCSADRAIN, &settings));
    MUST(write(slave, "ab\tc\n", 5));
    say("tabs: %s", read_from(master));
    settings.c_oflag = OPOST | OCRNL;
    MUST(tcsetattr(slave, TCSADRAIN, &settings));
    MUST(write(slave, "a\rb\n", 4));
    say("ocrnl: %s", read_from(master));
    settings.c_oflag = OPOST | OLCUC | ONLCR;
    MUST(tcsetattr(slave, TCSADRAIN, &settings));
    MUST(write(slave, "abc\n", 4));
    say("upper: %s", read_from(master));
}

static void raw_reads(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    struct termios settings;
    MUST(tcgetattr(slave, &settings));
    say("initial: %o %o %o %o min %d time %d", settings.c_iflag, settings.c_oflag, settings.c_cflag,
        settings.c_lflag, settings.c_cc[VMIN], settings.c_cc[VTIME]);
    cfmakeraw(&settings);
    MUST(tcsetattr(slave, TCSANOW, &settings));
    MUST(write(master, "\x03q\r", 3));
    say("raw: %s", read_from(slave));
    settings.c_cc[VMIN] = 0;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    say("nothing there: %s", read_from(slave));
    settings.c_cc[VTIME] = 1;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    say("nothing for a while: %s", read_from(slave));
    settings.c_cc[VMIN] = 3;
    settings.c_cc[VTIME] = 0;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    if (fork() == 0) {
        for (int i = 0; i < 3; i++) {
            sleep_ms(20);
            MUST(write(master, "xyz" + i, 1));
        }
        _exit(0);
    }
    say("three bytes: %s", read_from(slave));
    wait(NULL);
    settings.c_cc[VMIN] = 3;
    settings.c_cc[VTIME] = 1;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    MUST(write(master, "ab", 2));
    say("two and a pause: %s", read_from(slave));
    struct pollfd poller = { .fd = slave, .events = POLLIN | POLLOUT };
    poll(&poller, 1, 0);
    say("poll: %x", poller.revents);
    MUST(write(master, "z", 1));
    poll(&poller, 1, 0);
    say("poll with a byte: %x", poller.revents);
    int count;
    MUST(ioctl(slave, FIONREAD, &count));
    say("FIONREAD %d", count);
    MUST(tcflush(slave, TCIFLUSH));
    MUST(ioctl(slave, FIONREAD, &count));
    say("flushed %d", count);
}

static void ends(void)
{
    int master = open_master();
    struct pollfd poller = { .fd = master, .events = POLLIN | POLLOUT };
    poll(&poller, 1, 0);
    say("master before a slave: %x", poller.revents);
    int slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    struct stat status;
    MUST(fstat(slave, &status));
    say("slave: mode %o major %u", status.st_mode & ~077, major(status.st_rdev));
    MUST(fstat(master, &status));
    say("master: type %o device %u:%u", status.st_mode & S_IFMT, major(status.st_rdev), minor(status.st_rdev));
    say("isatty %d %d, ttyname %d", isatty(master), isatty(slave),
        ttyname(slave) != NULL && strcmp(ttyname(slave), ptsname(master)) == 0);
    MUST(write(slave, "last", 4));
    close(slave);
    say("what was written: %s", read_from(master));
    say("then: %s", read_from(master));
    poll(&poller, 1, 0);
    say("poll without slave: %x", poller.revents);
    slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    poll(&poller, 1, 0);
    say("poll with a new one: %x", poller.revents);
    char name[64];
    snprintf(name, sizeof(name), "%s", ptsname(master));
    close(master);
    say("slave without master: read %s, write %s", read_from(slave), err(write(slave, "x", 1)));
    struct termios settings;
    say("tcgetattr: %s", err(tcgetattr(slave, &settings)));
    poller.fd = slave;
    poll(&poller, 1, 0);
    say("poll: %x", poller.revents);
    say("name: %s", err(access(name, F_OK)));
    master = (int)MUST(posix_openpt(O_RDWR));
    say("locked: %s", err(open_slave(master, O_RDWR | O_NOCTTY)));
    int locked = -1;
    MUST(ioctl(master, TIOCGPTLCK, &locked));
    say("TIOCGPTLCK %d", locked);
    MUST(unlockpt(master));
    int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    say("TIOCGPTPEER: %s, flags %d", err(peer), fcntl(peer, F_GETFD));
}

static void sizes(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    struct winsize size = { 25, 80, 1, 2 };
    struct winsize got;
    MUST(ioctl(slave, TIOCGWINSZ, &got));
    say("at first %d %d", got.ws_row, got.ws_col);
    MUST(ioctl(master, TIOCSWINSZ, &size));
    MUST(ioctl(slave, TIOCGWINSZ, &got));
    say("set %d %d %d %d", got.ws_row, got.ws_col, got.ws_xpixel, got.ws_ypixel);
    int number = -1;
    MUST(ioctl(slave, TIOCGETD, &number));
    say("discipline %d", number);
    say("strange ioctl: %s", err(ioctl(slave, 0x54ff, 0)));
    say("TIOCMGET: %s", err(ioctl(slave, TIOCMGET, &number)));
    say("TIOCGPTN of the slave: %s", err(ioctl(slave, TIOCGPTN, &number)));
    say("lseek: %s", err(lseek(slave, 0, SEEK_SET)));
    say("TIOCGPGRP of a stranger: %s", err(ioctl(slave, TIOCGPGRP, &number)));
    say("of the master: %s %d", err(ioctl(master, TIOCGPGRP, &number)), number);
    say("TIOCGSID: %s", err(ioctl(slave, TIOCGSID, &number)));
}

static void packets(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    int on = 1;
    MUST(ioctl(master, TIOCPKT, &on));
    MUST(write(slave, "data", 4));
    say("data: %s", read_from(master));
    MUST(tcflush(slave, TCIOFLUSH));
    say("flush: %s", read_from(master));
    MUST(tcflow(slave, TCOOFF));
    say("stop: %s", read_from(master));
    fcntl(slave, F_SETFL, O_NONBLOCK);
    say("stopped write: %s", err(write(slave, "x", 1)));
    MUST(tcflow(slave, TCOON));
    say("start: %s", read_from(master));
    struct termios settings;
    MUST(tcgetattr(slave, &settings));
    settings.c_iflag &= ~(tcflag_t)IXON;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    say("no flow control: %s", read_from(master));
}

static volatile sig_atomic_t last_signal;

static void note(int signal)
{
    last_signal = signal;
}

static void signals(void)
{
    int master = open_master();
    int ready[2];
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        MUST(setsid());
        say("no terminal: %s", err(open("/dev/tty", O_RDWR)));
        int slave = (int)MUST(open_slave(master, O_RDWR));
        close(master);
        int tty = (int)MUST(open("/dev/tty", O_RDWR));
        pid_t group = -1, session = -1;
        MUST(ioctl(slave, TIOCGPGRP, &group));
        MUST(ioctl(tty, TIOCGSID, &session));
        say("foreground %d, session %d", group == getpid(), session == getpid());
        say("again: %s", err(ioctl(slave, TIOCSCTTY, 0)));
        say("no such group: %s", err(tcsetpgrp(slave, 99999)));
        for (int signal = 1; signal < 32; signal++)
            if (signal != SIGCHLD && signal != SIGSEGV)
                sigaction(signal, &(struct sigaction){ .sa_handler = note }, NULL);
        static const char keys[] = "ixzw";
        for (int i = 0; keys[i]; i++) {
            last_signal = 0;
            MUST(write(ready[1], keys + i, 1));
            while (last_signal == 0)
                usleep(1000);
            say("signal %d", last_signal);
        }
        last_signal = 0;
        MUST(write(ready[1], "c", 1));
        while (last_signal == 0)
            usleep(1000);
        say("hang-up: signal %d", last_signal == SIGCONT || last_signal == SIGHUP);
        say("then: %s", read_from(slave));
        say("/dev/tty: %s", err(open("/dev/tty", O_RDWR)));
        _exit(0);
    }
    char what;
    while (read(ready[0], &what, 1) == 1) {
        struct winsize size = { 10, 20, 0, 0 };
        switch (what) {
        case 'i': MUST(write(master, "\x03", 1)); break;
        case 'x': MUST(write(master, "\x1c", 1)); break;
        case 'z': MUST(write(master, "\x1a", 1)); break;
        case 'w': MUST(ioctl(master, TIOCSWINSZ, &size)); break;
        case 'c': say("screen: %s", read_from(master)); close(master); break;
        }
        if (what == 'c')
            break;
    }
    int status = 0;
    waitpid(child, &status, 0);
    say("status %x", status);
}

static void background(void)
{
    int master = open_master();
    pid_t child = fork();
    if (child == 0) {
        MUST(setsid());
        int slave = (int)MUST(open_slave(master, O_RDWR));
        close(master);
        pid_t job = fork();
        if (job == 0) {
            setpgid(0, 0);
            char byte;
            say("background read: %ld", (long)read(slave, &byte, 1));
            say("got %c", byte);
            struct termios settings;
            MUST(tcgetattr(slave, &settings));
            settings.c_lflag |= TOSTOP;
            say("settings: %s", err(tcsetattr(slave, TCSANOW, &settings)));
            _exit(3);
        }
        setpgid(job, job);
        int status = 0;
        MUST(waitpid(job, &status, WUNTRACED));
        say("stopped by %d", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
        MUST(tcsetpgrp(slave, job));
        MUST(kill(-job, SIGCONT));
        MUST(waitpid(job, &status, WUNTRACED));
        say("ended: %d", WEXITSTATUS(status));
        _exit(4);
    }
    sleep_ms(100);
    MUST(write(master, "k\n", 2));
    int status = 0;
    waitpid(child, &status, 0);
    say("leader: %d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static void orphans_and_ignorers(void)
{
    int master = open_master();
    pid_t child = fork();
    if (child == 0) {
        MUST(setsid());
        int slave = (int)MUST(open_slave(master, O_RDWR));
        pid_t job = fork();
        if (job == 0) {
            setpgid(0, 0);
            signal(SIGTTIN, SIG_IGN);
            char byte;
            say("ignored SIGTTIN: %s", err(read(slave, &byte, 1)));
            struct termios settings;
            tcgetattr(slave, &settings);
            settings.c_lflag |= TOSTOP;
            signal(SIGTTOU, SIG_IGN);
            say("ignored SIGTTOU: %s", err(tcsetattr(slave, TCSANOW, &settings)));
            say("write: %s", err(write(slave, "x", 1)));
            say("TIOCNOTTY: %s", err(ioctl(slave, TIOCNOTTY)));
            say("read as a stranger: %s", err(fcntl(slave, F_SETFL, O_NONBLOCK)));
            say("nothing: %s", err(read(slave, &byte, 1)));
            _exit(0);
        }
        waitpid(job, NULL, 0);
        signal(SIGHUP, SIG_IGN);
        say("leader gives it up: %s", err(ioctl(slave, TIOCNOTTY)));
        say("and has none: %s", err(open("/dev/tty", O_RDWR)));
        say("takes it back: %s", err(ioctl(slave, TIOCSCTTY, 0)));
        say("/dev/tty: %s", err(open("/dev/tty", O_RDWR)));
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void show_poll(const char *what, int fd)
{
    struct pollfd poll_fd = { fd, POLLIN | POLLOUT, 0 };
    int count = poll(&poll_fd, 1, 50);
    say("%s: %d %x", what, count, poll_fd.revents);
}

static void the_leader_ends(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    pid_t child = fork();
    if (child == 0) {
        close(master);
        MUST(setsid());
        MUST(ioctl(slave, TIOCSCTTY, 0));
        MUST(write(slave, "x", 1));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    show_poll("slave", slave);
    show_poll("master", master);
    say("screen: %s", read_from(master));
    MUST(fcntl(slave, F_SETFL, O_NONBLOCK));
    char byte;
    say("read: %s", err(read(slave, &byte, 1)));
    say("write: %s", err(write(slave, "y", 1)));
    say("screen: %s", read_from(master));
    MUST(write(master, "z\n", 2));
    show_poll("slave", slave);
    say("read: %s", err(read(slave, &byte, 1)));
    close(slave);
    sleep_ms(5);
    show_poll("master alone", master);
}

static void flow(void)
{
    int master = open_master(), slave = (int)MUST(open_slave(master, O_RDWR | O_NOCTTY));
    MUST(write(master, "\x13", 1));
    fcntl(slave, F_SETFL, O_NONBLOCK);
    fcntl(master, F_SETFL, O_NONBLOCK);
    sleep_ms(5);
    say("stopped: %s", err(write(slave, "x", 1)));
    MUST(write(master, "\x11", 1));
    sleep_ms(5);
    say("started: %s", err(write(slave, "y", 1)));
    say("screen: %s", read_from(master));
    char block[4096];
    memset(block, 'o', sizeof(block));
    long total = 0, count;
    while ((count = write(slave, block, sizeof(block))) > 0)
        total += count;
    say("full: %s, at least a page %d", strerrorname_np(errno), total >= 4096);
    while ((count = read(master, block, sizeof(block))) > 0)
        total -= count;
    say("all came out: %ld", total);
    memset(block, 'i', sizeof(block));
    write(master, block, sizeof(block));
    write(master, block, sizeof(block));
    MUST(write(master, "\n", 1));
    fcntl(slave, F_SETFL, 0);
    char line[8192];
    say("a long line: %ld", (long)read(slave, line, sizeof(line)));
}

static const struct check_case cases[] = {
    CASE(lines), CASE(output_modes), CASE(raw_reads), CASE(ends), CASE(sizes), CASE(packets), CASE(signals),
    CASE(background), CASE(orphans_and_ignorers), CASE(the_leader_ends), CASE(flow),
};

int main(int count, char **arguments)
{
    return check_main(count, arguments, cases, COUNT(cases));
}
