/* prctl(PR_SET_MM): what a process says of its parts, and /proc of that. */
#include "check.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static long set(int option, const void *value, unsigned long size)
{
    return prctl(PR_SET_MM, option, value, size, 0);
}

/* Single values are for the privileged, which the root of a container may not be. */
static void drop_privilege(void)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    MUST(syscall(SYS_capget, &header, data));
    data[0].effective &= ~(1U << CAP_SYS_RESOURCE);
    MUST(syscall(SYS_capset, &header, data));
}

/* The parts as they are, as far as the test needs them. */
static void current(struct prctl_mm_map *map)
{
    unsigned long page = (unsigned long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long end = (unsigned long)syscall(SYS_brk, 0);
    *map = (struct prctl_mm_map){
        .start_code = page, .end_code = page + 1, .start_data = page, .end_data = page, .start_brk = end, .brk = end,
        .start_stack = page, .arg_start = page, .arg_end = page, .env_start = page, .env_end = page, .exe_fd = -1U,
    };
}

static void errors(void)
{
    char here;
    drop_privilege();
    say("unknown: %s", err(set(0, &here, 0)));
    say("size: %s", err(set(PR_SET_MM_ARG_START, &here, 1)));
    say("fifth: %s", err(prctl(PR_SET_MM, PR_SET_MM_ARG_START, &here, 0, 1)));
    say("not allowed: %s", err(set(PR_SET_MM_ARG_START, &here, 0)));
    say("not allowed: %s", err(set(PR_SET_MM_AUXV, &here, 0)));
    say("not allowed: %s", err(set(PR_SET_MM_EXE_FILE, &here, 0)));
    unsigned size = 0;
    say("map size: %s", err(set(PR_SET_MM_MAP_SIZE, &size, 0)));
    say("it is %u", size);
    struct prctl_mm_map map = { 0 };
    say("map size: %s", err(set(PR_SET_MM_MAP, &map, 8)));
    say("map zero: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    say("map address: %s", err(set(PR_SET_MM_MAP, (void *)8, sizeof(map))));
}

static void maps(void)
{
    struct prctl_mm_map map;
    current(&map);
    say("as it is: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    map.arg_end = map.arg_start - 1;
    say("turned round: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    current(&map);
    map.end_code = map.start_code;
    say("no code: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    current(&map);
    map.env_start = 1;
    say("low: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    map.env_start = -4096UL;
    say("high: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    current(&map);
    map.auxv_size = 16;
    say("no vector: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    map.auxv = (__u64 *)8;
    say("bad vector: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    map.auxv_size = 1 << 20;
    say("long vector: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    struct rlimit limit = { 4096, RLIM_INFINITY };
    current(&map);
    map.end_data = map.start_data + 8192;
    MUST(setrlimit(RLIMIT_DATA, &limit));
    say("beyond the limit: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
}

static const char *command_line(void)
{
    static char text[256];
    int fd = (int)MUST(open("/proc/self/cmdline", O_RDONLY));
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    for (ssize_t i = 0; i < length; i++)
        if (text[i] == 0)
            text[i] = '|';
    text[length < 0 ? 0 : length] = 0;
    return text;
}

static void arguments(void)
{
    struct prctl_mm_map map;
    current(&map);
    char *page = (char *)map.arg_start;
    memcpy(page, "another\0name\0", 13);
    memcpy(page + 32, "A=bcdef", 8);
    map.arg_end = map.arg_start + 13;
    map.env_start = map.arg_start + 32;
    map.env_end = map.env_start + 8;
    say("set: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    say("command line: %s", command_line());
    say("environment: %s", get("/proc/self/environ"));
}

static void auxiliary(void)
{
    unsigned long vector[4] = { 77, 88, 0, 0 }, read_back[4] = { 0 };
    struct prctl_mm_map map;
    current(&map);
    map.auxv = (void *)vector;
    map.auxv_size = sizeof(vector);
    say("set: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    int fd = (int)MUST(open("/proc/self/auxv", O_RDONLY));
    say("read: %zd", read(fd, read_back, sizeof(read_back)));
    say("is %lu %lu", read_back[0], read_back[1]);
}

static void heap(void)
{
    struct prctl_mm_map map;
    current(&map);
    char *pages = mmap(NULL, 16 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 15 << 12);
    map.start_brk = (unsigned long)pages;
    map.brk = map.start_brk + 4096;
    say("set: %s", err(set(PR_SET_MM_MAP, &map, sizeof(map))));
    say("moved: %d", syscall(SYS_brk, 0) == (long)(pages + 4096));
    say("grows: %d", syscall(SYS_brk, pages + 8192) == (long)(pages + 8192));
    pages[8191] = 1;
}

CHECK_MAIN(CASE(errors), CASE(maps), CASE(arguments), CASE(auxiliary), CASE(heap))
