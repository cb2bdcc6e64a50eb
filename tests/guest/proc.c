/* /proc: what it says must agree with what the calls say; its text differs from system to system and is not compared. */
#include "check.h"
#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <sys/vfs.h>

static char *slurp(const char *path, size_t *length)
{
    static char text[1 << 20];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    size_t used = 0;
    ssize_t got;
    while (used < sizeof(text) - 1 && (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    text[used] = 0;
    if (length)
        *length = used;
    return text;
}

/* A number after a name at the start of a line of a text. */
static long number_after(const char *text, const char *name)
{
    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, strlen(name)) == 0)
            return strtol(at + strlen(name), NULL, 10);
    }
    return -1;
}

static void self(void)
{
    char target[64] = { 0 }, number[64];
    snprintf(number, sizeof(number), "%d", getpid());
    MUST(readlink("/proc/self", target, sizeof(target) - 1));
    say("self is the process: %d", strcmp(target, number) == 0);
    memset(target, 0, sizeof(target));
    MUST(readlink("/proc/thread-self", target, sizeof(target) - 1));
    say("thread-self has the process in it: %d", strncmp(target, number, strlen(number)) == 0);
    struct statfs data;
    MUST(statfs("/proc", &data));
    say("type %#lx", (long)data.f_type);
    say("nobody: %s", err(open("/proc/999999/stat", O_RDONLY)));
    say("create: %s", err(open("/proc/new", O_CREAT | O_WRONLY, 0600)));
    say("mkdir: %s", err(mkdir("/proc/new", 0700)));
}

static void links(void)
{
    char target[4096] = { 0 }, cwd[4096];
    MUST(chdir("/usr"));
    MUST(readlink("/proc/self/cwd", target, sizeof(target) - 1));
    say("cwd: %d", strcmp(target, getcwd(cwd, sizeof(cwd))) == 0);
    memset(target, 0, sizeof(target));
    MUST(readlink("/proc/self/exe", target, sizeof(target) - 1));
    say("exe: %d", strcmp(target, check_arguments[0]) == 0);
    struct stat a, b;
    MUST(stat("/proc/self/exe", &a));
    MUST(stat(check_arguments[0], &b));
    say("exe is the file: %d", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    memset(target, 0, sizeof(target));
    MUST(readlink("/proc/self/root", target, sizeof(target) - 1));
    say("root: %s", target);
    say("through cwd: %s", err(open("/proc/self/cwd/bin", O_RDONLY)));
    say("through root: %s", err(open("/proc/self/root/usr", O_RDONLY)));
}

static void descriptors(void)
{
    char path[64], target[256] = { 0 };
    int fd = (int)MUST(open("/tmp/file", O_RDWR | O_CREAT, 0600));
    MUST(write(fd, "12345", 5));
    MUST(dup2(fd, 99));
    MUST(readlink("/proc/self/fd/99", target, sizeof(target) - 1));
    say("file: %s", target);
    MUST(unlink("/tmp/file"));
    memset(target, 0, sizeof(target));
    MUST(readlink("/proc/self/fd/99", target, sizeof(target) - 1));
    say("removed: %s", target);
    int p[2];
    MUST(pipe(p));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
    memset(target, 0, sizeof(target));
    MUST(readlink(path, target, sizeof(target) - 1));
    say("pipe: %.6s", target);
    say("closed: %s", err(readlink("/proc/self/fd/98", target, sizeof(target))));
    int again = (int)MUST(open("/proc/self/fd/99", O_RDONLY));
    char buffer[8] = { 0 };
    say("open anew: %ld", (long)read(again, buffer, 7));
    say("text: %s", buffer);
    struct stat a, b;
    MUST(stat("/proc/self/fd/99", &a));
    MUST(fstat(fd, &b));
    say("same file: %d", a.st_ino == b.st_ino);
    DIR *list = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0, found = 0;
    while ((entry = readdir(list))) {
        count += entry->d_name[0] != '.';
        found += strcmp(entry->d_name, "99") == 0;
    }
    int open_ones = 0;
    for (int i = 0; i < 1024; i++)
        open_ones += fcntl(i, F_GETFD) >= 0;
    say("listed as many as are open: %d, 99 once: %d", count == open_ones, found);
    char *text = slurp("/proc/self/fdinfo/99", NULL);
    say("fdinfo: position %ld", text ? number_after(text, "pos:") : -1);
}

static void maps(void)
{
    char *at = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(at + 4096, 4096, PROT_READ));
    char *text = slurp("/proc/self/maps", NULL);
    if (!text) {
        say("missing");
        return;
    }
    unsigned long last = 0;
    int ordered = 1, parsed = 1, heap = 0, stack = 0, vdso = 0, program = 0, inner = 0;
    sbrk(4096);
    text = slurp("/proc/self/maps", NULL);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long start, end, offset, inode;
        char rights[8], device[16], name[256] = "";
        if (sscanf(line, "%lx-%lx %7s %lx %15s %lu %255[^\n]", &start, &end, rights, &offset, device, &inode, name) < 6)
            parsed = 0;
        ordered &= start >= last && start < end;
        last = end;
        heap += strcmp(name, "[heap]") == 0;
        stack += strcmp(name, "[stack]") == 0 && (unsigned long)&text >= start && (unsigned long)&text < end;
        vdso += strcmp(name, "[vdso]") == 0;
        program += strcmp(name, check_arguments[0]) == 0 && inode != 0;
        inner += start == (unsigned long)at + 4096 && end == (unsigned long)at + 8192 && strcmp(rights, "r--p") == 0;
    }
    say("parsed %d, ordered %d, heap %d, stack %d, vdso %d, program %d, own mapping %d", parsed, ordered, heap > 0,
        stack, vdso, program > 0, inner);
}

static void status(void)
{
    MUST(prctl(PR_SET_NAME, "renamed"));
    umask(0123);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    signal(SIGUSR2, SIG_IGN);
    char *text = slurp("/proc/self/status", NULL);
    if (!text) {
        say("missing");
        return;
    }
    say("process %d, parent %d, threads %ld", number_after(text, "Pid:") == getpid(),
        number_after(text, "PPid:") == getppid(), number_after(text, "Threads:"));
    say("group %d", number_after(text, "Tgid:") == getpid());
    say("user %ld, group %ld", number_after(text, "Uid:"), number_after(text, "Gid:"));
    say("memory: %d %d", number_after(text, "VmSize:") > 0, number_after(text, "VmRSS:") > 0);
    char *blocked = strstr(text, "SigBlk:"), *pending = strstr(text, "SigPnd:"), *ignored = strstr(text, "SigIgn:");
    char *name = strstr(text, "Name:"), *state = strstr(text, "State:"), *mask = strstr(text, "Umask:");
    say("name %.7s", name ? name + 6 : "?");
    say("state %.1s", state ? state + 7 : "?");
    say("umask %.4s", mask ? mask + 7 : "?");
    say("blocked %.16s", blocked ? blocked + 8 : "?");
    say("pending %.16s", pending ? pending + 8 : "?");
    say("ignored has it: %d", ignored && (strtoul(ignored + 8, NULL, 16) >> (SIGUSR2 - 1) & 1));
}

static void stat_line(void)
{
    char *text = slurp("/proc/self/stat", NULL);
    if (!text) {
        say("missing");
        return;
    }
    int pid, parent, group, session;
    char name[64], state;
    int fields = sscanf(text, "%d (%63[^)]) %c %d %d %d", &pid, name, &state, &parent, &group, &session);
    say("fields %d: process %d, name %s, state %c, parent %d, group %d, session %d", fields, pid == getpid(), name, state,
        parent == getppid(), group == getpgrp(), session == getsid(0));
    int count = 0;
    for (char *at = strrchr(text, ')'); *at; at++)
        count += *at == ' ';
    say("count: %d", count + 1);
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", child);
    for (int i = 0; i < 200; i++) {
        text = slurp(path, NULL);
        if (text && sscanf(text, "%d (%63[^)]) %c", &pid, name, &state) == 3 && state == 'S')
            break;
        sleep_ms(5);
    }
    say("sleeping child: %c", state);
    kill(child, SIGSTOP);
    int status;
    waitpid(child, &status, WUNTRACED);
    text = slurp(path, NULL);
    sscanf(text ? text : "", "%d (%63[^)]) %c", &pid, name, &state);
    say("stopped child: %c", state);
    kill(child, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    text = slurp(path, NULL);
    sscanf(text ? text : "", "%d (%63[^)]) %c", &pid, name, &state);
    say("dead child: %c", state);
    reap(child);
    say("reaped: %s", err(open(path, O_RDONLY)));
}

static void texts(void)
{
    size_t length = 0;
    char *text = slurp("/proc/self/cmdline", &length);
    say("cmdline: %d, ended %d", text && strcmp(text, check_arguments[0]) == 0, text && text[length - 1] == 0);
    text = slurp("/proc/self/comm", NULL);
    say("comm: %s", text ? strtok(text, "\n") : "?");
    int fd = open("/proc/self/comm", O_WRONLY);
    say("write comm: %ld", (long)write(fd, "other", 5));
    char name[32] = { 0 };
    prctl(PR_GET_NAME, name);
    say("name: %s", name);
    text = slurp("/proc/self/environ", &length);
    say("environ: %d", text != NULL && (length == 0 || memmem(text, length, "PATH=", 5) != NULL));
    text = slurp("/proc/self/auxv", &length);
    say("auxv: %d", text && length % 16 == 0 && length > 100);
    text = slurp("/proc/self/statm", NULL);
    long size = 0, resident = 0;
    say("statm: %d", text && sscanf(text, "%ld %ld", &size, &resident) == 2);
    say("sizes: %d", size > resident && resident > 0);
    text = slurp("/proc/self/limits", NULL);
    say("limits: %d", text && strstr(text, "Max open files") != NULL);
    text = slurp("/proc/self/mounts", NULL);
    say("mounts: %d", text && strstr(text, " /proc proc ") != NULL);
    text = slurp("/proc/self/mountinfo", NULL);
    say("mountinfo: %d", text && strstr(text, " /proc ") != NULL && strstr(text, " - proc ") != NULL);
}

static void system_texts(void)
{
    char *text = slurp("/proc/meminfo", NULL);
    say("meminfo: %d %d", text && number_after(text, "MemTotal:") > 0, text && number_after(text, "MemAvailable:") > 0);
    text = slurp("/proc/cpuinfo", NULL);
    int processors = 0;
    for (char *at = text; at && (at = strstr(at, "processor\t")); at++)
        processors++;
    say("cpuinfo: %d", processors == sysconf(_SC_NPROCESSORS_ONLN));
    text = slurp("/proc/stat", NULL);
    say("stat: %d %d", text && strncmp(text, "cpu ", 4) == 0, text && number_after(text, "btime ") > 1000000000);
    text = slurp("/proc/uptime", NULL);
    double up = 0, idle = 0;
    say("uptime: %d", text && sscanf(text, "%lf %lf", &up, &idle) == 2);
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    say("agrees with the clock: %d", up - (double)boot.tv_sec < 2 && (double)boot.tv_sec - up < 2);
    text = slurp("/proc/loadavg", NULL);
    float loads[3];
    int running, all, last;
    say("loadavg: %d",
        text && sscanf(text, "%f %f %f %d/%d %d", &loads[0], &loads[1], &loads[2], &running, &all, &last) == 6);
    text = slurp("/proc/version", NULL);
    say("version: %d", text && strncmp(text, "Linux version ", 14) == 0);
    text = slurp("/proc/filesystems", NULL);
    say("filesystems: %d %d", text && strstr(text, "tmpfs") != NULL, text && strstr(text, "proc") != NULL);
    const char *numbers[] = { "/proc/sys/kernel/pid_max", "/proc/sys/kernel/ngroups_max", "/proc/sys/kernel/cap_last_cap",
                              "/proc/sys/fs/pipe-max-size", "/proc/sys/vm/overcommit_memory" };
    for (size_t i = 0; i < COUNT(numbers); i++) {
        text = slurp(numbers[i], NULL);
        say("%s: %d", numbers[i], text && text[0] >= '0' && text[0] <= '9');
    }
    text = slurp("/proc/sys/kernel/ostype", NULL);
    say("ostype: %s", text ? strtok(text, "\n") : "?");
    text = slurp("/proc/sys/kernel/random/uuid", NULL);
    say("uuid: %d", text && strlen(text) == 37);
    text = slurp("/proc/sys/kernel/random/boot_id", NULL);
    say("boot_id: %d", text && strlen(text) == 37);
}

static void listing(void)
{
    char own[32];
    snprintf(own, sizeof(own), "%d", getpid());
    DIR *list = opendir("/proc");
    struct dirent *entry;
    int found = 0, text_files = 0;
    while ((entry = readdir(list))) {
        found += strcmp(entry->d_name, own) == 0;
        text_files += strcmp(entry->d_name, "meminfo") == 0;
    }
    say("own directory: %d, meminfo: %d", found, text_files);
    list = opendir("/proc/self/task");
    int tasks = 0;
    while (list && (entry = readdir(list)))
        tasks += entry->d_name[0] != '.';
    say("threads: %d", tasks);
    struct stat data;
    MUST(stat("/proc/self", &data));
    say("mode %o, owner %d", data.st_mode, data.st_uid);
    MUST(stat("/proc/self/stat", &data));
    say("mode %o, size %ld", data.st_mode, (long)data.st_size);
}

/* The names at the start of the lines of a text. */
static void names(const char *what, char *text)
{
    if (!text) {
        say("%s: missing", what);
        return;
    }
    char list[2048] = "";
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t length = strcspn(line, ":"), used = strlen(list);
        if (line[length] == ':' && used + length + 2 < sizeof(list))
            snprintf(list + used, sizeof(list) - used, " %.*s", (int)length, line);
    }
    say("%s:%s", what, list);
}

static void sizes_of_areas(void)
{
    char *at = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 1, 4 * 4096);
    MUST(mprotect(at, 4 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    MUST(madvise(at, 4 * 4096, MADV_NOHUGEPAGE));
    char start[32], *text = slurp("/proc/self/smaps", NULL);
    snprintf(start, sizeof(start), "%lx-", (unsigned long)at);
    char *own = text ? strstr(text, start) : NULL;
    if (own) {
        say("size %ld, resident %ld, private %ld, anonymous %ld, page %ld", number_after(own, "Size:"),
            number_after(own, "Rss:"), number_after(own, "Private_Dirty:"), number_after(own, "Anonymous:"),
            number_after(own, "KernelPageSize:"));
        char *next = strstr(own, "VmFlags:");
        if (next && (next = strchr(next, '\n')))
            *next = 0;
        names("smaps", strchr(own, '\n'));
    } else {
        say("not found");
    }
    text = slurp("/proc/self/smaps_rollup", NULL);
    char *head = text ? strchr(text, '\n') : NULL;
    if (head) {
        *head = 0;
        say("rollup: %d", strstr(text, "---p 00000000 00:00 0 ") && strstr(text, "[rollup]"));
        names("smaps_rollup", head + 1);
    }
}

static void timers(void)
{
    int id;
    struct sigevent event = { .sigev_notify = SIGEV_NONE, .sigev_signo = SIGUSR2 };
    event.sigev_value.sival_ptr = (void *)0x1234;
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    MUST(syscall(SYS_timer_create, CLOCK_REALTIME, &event, &id));
    event.sigev_notify = SIGEV_SIGNAL;
    MUST(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, &event, &id));
    event.sigev_notify = SIGEV_THREAD;
    MUST(syscall(SYS_timer_create, CLOCK_BOOTTIME, &event, &id));
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    MUST(syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &id));
    char *text = slurp("/proc/self/timers", NULL);
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        char *dot = strncmp(line, "notify:", 7) == 0 ? strrchr(line, '.') : NULL;
        if (dot) {
            say("own number %d", atoi(dot + 1) == getpid());
            *dot = 0;
        }
        say("%s", line);
    }
    say("of a thread: %s", err(open("/proc/thread-self/timers", O_RDONLY)));
}

static void small_texts(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    char *text = slurp("/proc/thread-self/children", NULL);
    say("children: %d", text && atoi(text) == child && text[strlen(text) - 1] == ' ');
    MUST(kill(child, SIGKILL));
    reap(child);
    text = slurp("/proc/thread-self/children", NULL);
    say("no children: %zu", text ? strlen(text) : 99);
    say("children of a process: %s", err(open("/proc/self/children", O_RDONLY)));
    MUST(personality(ADDR_NO_RANDOMIZE));
    const char *names_of[] = { "wchan", "personality", "loginuid", "sessionid" };
    for (size_t i = 0; i < COUNT(names_of); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/%s", names_of[i]);
        text = slurp(path, NULL);
        say("%s: [%s]", names_of[i], text ? text : "missing");
    }
    text = slurp("/proc/self/syscall", NULL);
    say("syscall: %d", text && text[strlen(text) - 1] == '\n');
    text = slurp("/proc/self/io", NULL);
    names("io", text);
}

/* Whoever runs the system may have changed the values: compared are how many there are, and what sort they are. */
static void settings(void)
{
    static const char *const paths[] = {
        "fs/aio-max-nr", "fs/aio-nr", "fs/dentry-state", "fs/dir-notify-enable", "fs/file-max", "fs/file-nr",
        "fs/inode-nr", "fs/inode-state", "fs/inotify/max_queued_events", "fs/inotify/max_user_instances",
        "fs/inotify/max_user_watches", "fs/lease-break-time", "fs/leases-enable", "fs/mqueue/msg_default",
        "fs/mqueue/msg_max", "fs/mqueue/msgsize_default", "fs/mqueue/msgsize_max", "fs/mqueue/queues_max", "fs/nr_open",
        "fs/overflowgid", "fs/overflowuid", "fs/pipe-max-size", "fs/pipe-user-pages-hard", "fs/pipe-user-pages-soft",
        "fs/protected_fifos", "fs/protected_hardlinks", "fs/protected_regular", "fs/protected_symlinks",
        "fs/suid_dumpable", "kernel/auto_msgmni", "kernel/cap_last_cap", "kernel/core_uses_pid",
        "kernel/msg_next_id", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/ngroups_max", "kernel/pid_max",
        "kernel/printk", "kernel/randomize_va_space", "kernel/sched_rr_timeslice_ms", "kernel/sched_rt_period_us",
        "kernel/sched_rt_runtime_us", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
        "kernel/sysctl_writes_strict", "kernel/tainted", "kernel/threads-max", "net/core/rmem_default",
        "net/core/rmem_max", "net/core/somaxconn", "net/core/wmem_default", "net/core/wmem_max",
        "net/unix/max_dgram_qlen", "vm/admin_reserve_kbytes", "vm/dirty_background_bytes", "vm/dirty_background_ratio",
        "vm/dirty_bytes", "vm/dirty_expire_centisecs", "vm/dirty_ratio", "vm/dirty_writeback_centisecs",
        "vm/legacy_va_layout", "vm/max_map_count", "vm/memfd_noexec", "vm/min_free_kbytes", "vm/mmap_min_addr",
        "vm/oom_kill_allocating_task", "vm/overcommit_kbytes", "vm/overcommit_memory", "vm/overcommit_ratio",
        "vm/page-cluster", "vm/panic_on_oom", "vm/swappiness", "vm/user_reserve_kbytes", "vm/vfs_cache_pressure",
    };
    for (size_t i = 0; i < COUNT(paths); i++) {
        char path[96];
        snprintf(path, sizeof(path), "/proc/sys/%s", paths[i]);
        char *text = slurp(path, NULL);
        if (!text) {
            say("%s: missing", paths[i]);
            continue;
        }
        int numbers = 0, others = 0, lines = 0;
        for (char *at = text; *at; at++)
            lines += *at == '\n';
        for (char *word = strtok(text, "\t\n"); word; word = strtok(NULL, "\t\n")) {
            size_t digits = strspn(word + (*word == '-'), "0123456789");
            if (digits && !word[(*word == '-') + digits])
                numbers++;
            else
                others++;
        }
        say("%s: %d numbers, %d others, %d lines", paths[i], numbers, others, lines);
    }
}

static void network(void)
{
    static const char *const tables[] = { "tcp", "udp", "raw", "tcp6", "udp6", "unix", "route", "arp", "dev" };
    for (size_t i = 0; i < COUNT(tables); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/net/%s", tables[i]);
        char *text = slurp(path, NULL), *end = text ? strchr(text, '\n') : NULL;
        if (end)
            *end = 0;
        say("%s: [%s]", tables[i], text ? text : "missing");
    }
}

/* How a task is scheduled, as stat and status show it. */
static void scheduling(void)
{
    for (int round = 0; round < 4; round++) {
        struct sched_param parameters = { .sched_priority = round == 2 ? 7 : 0 };
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(0, &cpus);
        switch (round) {
        case 0:
            MUST(setpriority(PRIO_PROCESS, 0, 0));
            break;
        case 1:
            MUST(setpriority(PRIO_PROCESS, 0, 7));
            break;
        case 2:
            MUST(sched_setscheduler(0, SCHED_RR, &parameters));
            MUST(sched_setaffinity(0, sizeof(cpus), &cpus));
            break;
        default:
            MUST(sched_setscheduler(0, SCHED_BATCH, &parameters));
            MUST(prctl(PR_SET_TIMERSLACK, 70000));
        }
        char *text = slurp("/proc/self/stat", NULL);
        int field = 1;
        for (char *word = text ? strtok(text, " ") : NULL; word; word = strtok(NULL, " "), field++)
            if (field == 18 || field == 19 || field == 40 || field == 41)
                say("field %d: %s", field, word);
        text = slurp("/proc/self/status", NULL);
        for (char *line = text ? strtok(text, "\n") : NULL; line && round == 2; line = strtok(NULL, "\n"))
            if (strncmp(line, "Cpus_allowed", 12) == 0)
                say("%s", line);
        text = slurp("/proc/self/timerslack_ns", NULL);
        if (round != 2)
            say("slack: %s", text ? strtok(text, "\n") : "missing");
    }
    char *text = slurp("/proc/self/oom_score", NULL);
    say("score: %d", text && atoi(text) >= 600 && atoi(text) <= 1000);
    put("/proc/self/oom_score_adj", "500");
    text = slurp("/proc/self/oom_score", NULL);
    say("rather: %d", text && atoi(text) >= 990 && atoi(text) <= 1300);
    text = slurp("/proc/self/cpuset", NULL);
    say("cpuset: %d", text && text[0] == '/');
    say("of a task: %s %s", err(open("/proc/thread-self/timerslack_ns", O_RDONLY)),
        err(open("/proc/thread-self/mountstats", O_RDONLY)));
    text = slurp("/proc/cgroups", NULL);
    say("cgroups: [%s]", text ? strtok(text, "\n") : "missing");
    text = slurp("/proc/tty/drivers", NULL);
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n"))
        if (strstr(line, " /dev/pt") || strstr(line, " 5 "))
            say("%s", line);
}

/* What /proc/net/unix tells of a socket, without its address and number. */
static void socket_line(const char *what, int fd)
{
    struct stat data;
    MUST(fstat(fd, &data));
    char *text = slurp("/proc/net/unix", NULL);
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        char fields[64], *colon = strchr(line, ':');
        long number = 0;
        int end = 0;
        if (colon && sscanf(colon, ": %*s %63[0-9A-F ] %n", fields, &end) == 1) {
            char *last = strrchr(fields, ' ');
            for (; last && last[1] == 0; last = strrchr(fields, ' '))
                *last = 0;
            number = last ? atol(last + 1) : 0;
            for (; last && last >= fields && *last == ' '; last--)
                *last = 0;
            if (number == (long)data.st_ino) {
                say("%s: [%s] [%s]", what, fields, colon + end);
                return;
            }
        }
    }
    say("%s: not found", what);
}

static void unix_sockets(void)
{
    int pair[2], datagram = (int)MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), listener = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)),
        packets = (int)MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0)), client = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    struct sockaddr_un place = { .sun_family = AF_UNIX, .sun_path = "/tmp/zz socket" }, name = { .sun_family = AF_UNIX };
    memcpy(name.sun_path, "\0zz\0name", 8);
    MUST(bind(listener, (struct sockaddr *)&place, sizeof(place)));
    MUST(listen(listener, 3));
    MUST(bind(datagram, (struct sockaddr *)&name, (socklen_t)(sizeof(sa_family_t) + 8)));
    MUST(connect(client, (struct sockaddr *)&place, sizeof(place)));
    int accepted = (int)MUST(accept(listener, NULL, NULL));
    socket_line("listener", listener);
    socket_line("datagram", datagram);
    socket_line("packets", packets);
    socket_line("pair", pair[0]);
    socket_line("client", client);
    socket_line("accepted", accepted);
}

/* When a process was started, by what all clocks say. */
static void start_time(void)
{
    char *text = slurp("/proc/self/stat", NULL);
    long start = -1;
    int field = 1;
    for (char *word = text ? strtok(text, " ") : NULL; word; word = strtok(NULL, " "), field++)
        if (field == 22)
            start = atol(word) / sysconf(_SC_CLK_TCK);
    struct timespec up, now;
    clock_gettime(CLOCK_BOOTTIME, &up);
    clock_gettime(CLOCK_REALTIME, &now);
    say("started just now: %d", start >= up.tv_sec - 30 && start <= up.tv_sec + 1);
    text = slurp("/proc/stat", NULL);
    char *boot = text ? strstr(text, "\nbtime ") : NULL;
    long difference = boot ? now.tv_sec - up.tv_sec - atol(boot + 7) : 99;
    say("boot time: %d", difference >= -2 && difference <= 2);
    struct sysinfo system;
    MUST(sysinfo(&system));
    say("uptime: %d", system.uptime >= up.tv_sec && system.uptime <= up.tv_sec + 2);
    double loads[3] = { -1, -1, -1 };
    say("loads: %d %d", getloadavg(loads, 3), loads[0] >= 0 && loads[1] >= 0 && loads[2] >= 0);
}

CHECK_MAIN(CASE(self), CASE(links), CASE(descriptors), CASE(maps), CASE(status), CASE(stat_line), CASE(texts),
           CASE(system_texts), CASE(listing), CASE(sizes_of_areas), CASE(timers), CASE(small_texts), CASE(settings), CASE(network),
           CASE(scheduling), CASE(unix_sockets), CASE(start_time))
