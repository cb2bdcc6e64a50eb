/* Users, groups, capabilities, resource limits, names of the system. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void users(const char *what)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    MUST(getresuid(&r, &e, &s));
    MUST(getresgid(&gr, &ge, &gs));
    say("%s: %d %d %d, %d %d %d", what, r, e, s, gr, ge, gs);
}

/* The capability sets, as far as these names go. */
static void capabilities(const char *what)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    MUST(syscall(SYS_capget, &header, data));
    int names[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT };
    char text[3][COUNT(names) + 1];
    memset(text, 0, sizeof(text));
    for (size_t i = 0; i < COUNT(names); i++) {
        text[0][i] = data[0].effective >> names[i] & 1 ? '1' : '0';
        text[1][i] = data[0].permitted >> names[i] & 1 ? '1' : '0';
        text[2][i] = data[0].inheritable >> names[i] & 1 ? '1' : '0';
    }
    say("%s: effective %s permitted %s inheritable %s", what, text[0], text[1], text[2]);
}

static void as_root(void)
{
    users("at first");
    say("setreuid: %s", err(setreuid(1, 2)));
    users("setreuid");
    say("back: %s", err(setuid(0)));
    say("seteuid to the real: %s", err(seteuid(1)));
    users("seteuid");
}

static void saved_ids(void)
{
    MUST(setresgid(10, 20, 30));
    MUST(setresuid(1, 2, 3));
    users("setresuid");
    say("effective to saved: %s", err(seteuid(3)));
    users("now");
    say("to a foreign one: %s", err(seteuid(4)));
    say("all to a foreign one: %s", err(setresuid(5, -1, -1)));
    say("setuid to the real one: %s", err(setuid(1)));
    users("now");
    say("setgid to the saved one: %s", err(setgid(30)));
    users("now");
    say("setgroups: %s", err(setgroups(0, NULL)));
}

static void drop_for_good(void)
{
    capabilities("root");
    MUST(setgroups(0, NULL));
    MUST(setgid(100));
    MUST(setuid(100));
    users("dropped");
    capabilities("dropped");
    say("back: %s", err(setuid(0)));
    say("dumpable: %d", prctl(PR_GET_DUMPABLE) != 1);
}

static void effective_alone(void)
{
    MUST(seteuid(100));
    capabilities("effective dropped");
    MUST(seteuid(0));
    capabilities("and back");
    MUST(prctl(PR_SET_KEEPCAPS, 1));
    MUST(setuid(100));
    capabilities("kept");
    say("keepcaps: %d", prctl(PR_GET_KEEPCAPS));
}

static void groups(void)
{
    gid_t list[3] = { 5, 6, 5 }, got[8];
    say("set: %s", err(setgroups(3, list)));
    int count = getgroups(8, got);
    say("count: %d: %d %d %d", count, got[0], got[1], got[2]);
    say("count alone: %d", getgroups(0, NULL));
    say("too small: %s", err(getgroups(2, got)));
    say("too many: %s", err(setgroups(70000, list)));
    say("bad pointer: %s", err(syscall(SYS_setgroups, 3, 8)));
    say("negative: %s", err(syscall(SYS_getgroups, -1, got)));
}

static void file_system_ids(void)
{
    say("at first: %d", setfsuid(50));
    say("then: %d", setfsuid(-1));
    setfsgid(60);
    say("group: %d", setfsgid(-1));
    MUST(setuid(100));
    setfsuid(7);
    say("foreign: %d", setfsuid(-1));
}

static void other_processes(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    pid_t other = fork();
    if (other == 0) {
        MUST(setgid(100));
        MUST(setuid(100));
        say("signal to root: %s", err(kill(child, SIGTERM)));
        say("probe root: %s", err(kill(child, 0)));
        say("to itself: %s", err(kill(getpid(), 0)));
        say("nice down: %s", err(setpriority(PRIO_PROCESS, 0, -5)));
        say("its limits: %s", err(prlimit(child, RLIMIT_NOFILE, NULL, &(struct rlimit){ 0 })));
        _exit(0);
    }
    say("other: %s", reap(other));
    kill(child, SIGKILL);
    reap(child);
}

static void capability_calls(void)
{
    struct __user_cap_header_struct header = { 0x12345678, 0 };
    struct __user_cap_data_struct data[2];
    say("unknown version: %s", err(syscall(SYS_capget, &header, data)));
    say("told: %d", header.version == _LINUX_CAPABILITY_VERSION_3);
    say("without data: %s", err(syscall(SYS_capget, &header, NULL)));
    header.pid = 999999;
    say("of nobody: %s", err(syscall(SYS_capget, &header, data)));
    header.pid = 0;
    MUST(syscall(SYS_capget, &header, data));
    data[0].effective &= ~(1U << CAP_KILL);
    say("lower: %s", err(syscall(SYS_capset, &header, data)));
    capabilities("lowered");
    data[0].permitted &= ~(1U << CAP_KILL);
    MUST(syscall(SYS_capset, &header, data));
    data[0].permitted |= 1U << CAP_KILL;
    say("raise again: %s", err(syscall(SYS_capset, &header, data)));
    say("bounding: %d", prctl(PR_CAPBSET_READ, CAP_KILL));
    say("drop: %s", err(prctl(PR_CAPBSET_DROP, CAP_CHOWN)));
    say("bounding: %d", prctl(PR_CAPBSET_READ, CAP_CHOWN));
    say("unknown: %s", err(prctl(PR_CAPBSET_READ, 99)));
    say("no new privileges: %d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("set: %s", err(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    say("now: %d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("unset: %s", err(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
}

static void limits(void)
{
    struct rlimit limit, now;
    limit = (struct rlimit){ 100, 200 };
    say("lower: %s", err(setrlimit(RLIMIT_NOFILE, &limit)));
    MUST(getrlimit(RLIMIT_NOFILE, &now));
    say("now: %ld %ld", (long)now.rlim_cur, (long)now.rlim_max);
    limit = (struct rlimit){ 300, 200 };
    say("above the hard limit: %s", err(setrlimit(RLIMIT_NOFILE, &limit)));
    say("unknown: %s", err(getrlimit(77, &limit)));
    say("bad pointer: %s", err(syscall(SYS_getrlimit, RLIMIT_NOFILE, 8)));
    int last = -1, fd;
    while ((fd = dup(1)) >= 0)
        last = fd;
    say("descriptors up to %d, then %s", last, err(fd));
    say("open: %s", err(open("/dev/null", O_RDONLY)));
    say("pipe: %s", err(pipe((int[2]){ 0 })));
    say("dup2 beyond: %s", err(dup2(1, 100)));
    close(50);
    say("again: %d", dup(1));
    pid_t child = fork();
    if (child == 0) {
        MUST(getrlimit(RLIMIT_NOFILE, &now));
        say("inherited: %ld", (long)now.rlim_cur);
        MUST(setuid(100));
        limit = (struct rlimit){ 150, 250 };
        say("raise the hard limit: %s", err(setrlimit(RLIMIT_NOFILE, &limit)));
        limit = (struct rlimit){ 150, 200 };
        say("raise the soft limit: %s", err(setrlimit(RLIMIT_NOFILE, &limit)));
        _exit(0);
    }
    say("child: %s", reap(child));
    limit = (struct rlimit){ 20, 30 };
    say("prlimit: %s", err(prlimit(0, RLIMIT_CORE, &limit, &now)));
    MUST(prlimit(0, RLIMIT_CORE, NULL, &now));
    say("now: %ld %ld", (long)now.rlim_cur, (long)now.rlim_max);
    say("of nobody: %s", err(prlimit(999999, RLIMIT_CORE, NULL, &now)));
}

static void process_limit(void)
{
    /* A user that nobody else is, so that its processes are those started here. */
    pid_t bomb = fork();
    if (bomb == 0) {
        struct rlimit limit = { 30, 30 };
        MUST(setrlimit(RLIMIT_NPROC, &limit));
        MUST(setgid(54321));
        MUST(setuid(54321));
        int count = 0;
        pid_t child;
        while ((child = fork()) >= 0) {
            if (child == 0) {
                for (;;)
                    pause();
            }
            count++;
        }
        say("forks: %d, then %s", count, err(child));
        signal(SIGTERM, SIG_IGN);
        kill(-1, SIGTERM);
        int status, ended = 0;
        while (wait(&status) > 0)
            ended += WIFSIGNALED(status);
        say("ended: %d", ended);
        child = fork();
        if (child == 0)
            _exit(0);
        say("room again: %s", child < 0 ? err(child) : reap(child));
        _exit(0);
    }
    say("bomb: %s", reap(bomb));
}

static void system_names(void)
{
    struct utsname names;
    MUST(uname(&names));
    say("system %s, machine %s", names.sysname, names.machine);
    int major = 0, minor = 0;
    int numbers = sscanf(names.release, "%d.%d", &major, &minor);
    say("release: %d, at least 4: %d", numbers, major >= 4);
    char host[65];
    MUST(gethostname(host, sizeof(host)));
    say("one name: %d", strcmp(host, names.nodename) == 0);
    say("bad pointer: %s", err(syscall(SYS_uname, 8)));
    struct sysinfo info;
    MUST(sysinfo(&info));
    say("memory: %d, free: %d", info.totalram > 0, info.freeram <= info.totalram);
    say("processors: %d", sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    char bytes[300] = { 0 }, zeros[300] = { 0 };
    say("random: %ld", (long)getrandom(bytes, sizeof(bytes), 0));
    say("not zero: %d", memcmp(bytes, zeros, sizeof(bytes)) != 0);
    say("bad flag: %s", err(getrandom(bytes, 1, 0x100)));
    say("bad pointer: %s", err(syscall(SYS_getrandom, 8, 8, 0)));
    pid_t child = fork();
    if (child == 0) {
        MUST(setuid(100));
        say("sethostname: %s", err(sethostname("x", 1)));
        _exit(0);
    }
    reap(child);
}

CHECK_MAIN(CASE(as_root), CASE(saved_ids), CASE(drop_for_good), CASE(effective_alone), CASE(groups),
           CASE(file_system_ids), CASE(other_processes), CASE(capability_calls), CASE(limits),
           CASE(process_limit), CASE(system_names))
