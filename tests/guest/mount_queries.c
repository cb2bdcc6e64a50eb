/* What there is to tell of mounts: statmount(2), listmount(2), the unique numbers of statx(2). */
#include "check.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#ifndef SYS_statmount
#define SYS_statmount 457
#define SYS_listmount 458
#endif
#define UNIQUE 0x4000u

struct request {
    uint32_t size, fd;
    uint64_t id, param, ns;
};

struct answer {
    uint32_t size, options;
    uint64_t mask;
    uint32_t major, minor;
    uint64_t magic;
    uint32_t sb_flags, type;
    uint64_t id, parent;
    uint32_t old_id, old_parent;
    uint64_t attributes, propagation, group, master, from;
    uint32_t root, point;
    uint64_t ns;
    uint32_t subtype, source, option_count, option_array, security_count, security_array;
    uint64_t supported;
    uint32_t maps[4];
    uint64_t spare[43];
    char text[4096];
};

static struct answer answer;
static uint64_t list[256];

static struct statx status_of(const char *path, unsigned mask)
{
    struct statx status = { 0 };
    MUST(statx(AT_FDCWD, path, 0, mask, &status));
    return status;
}

static uint64_t unique(const char *path)
{
    return status_of(path, UNIQUE).stx_mnt_id;
}

static long ask(uint64_t id, uint64_t param, size_t size)
{
    struct request request = { .size = 24, .id = id, .param = param };
    memset(&answer, 0, sizeof(answer));
    return syscall(SYS_statmount, &request, &answer, size, 0);
}

static long mounts_below(uint64_t id, uint64_t last, size_t count, unsigned flags)
{
    struct request request = { .size = 24, .id = id, .param = last };
    return syscall(SYS_listmount, &request, list, count, flags);
}

static char base[4096];

static void arena(void)
{
    own_directory();
    MUST((long)getcwd(base, sizeof(base)) > 0 ? 0 : -1);
    MUST(mkdir("a b", 0755));
    MUST(mount("the,sou rce", "a b", "tmpfs", MS_NOSUID, "size=1m,mode=700"));
    MUST(mount(NULL, "a b", NULL, MS_PRIVATE, NULL));
}

static void numbers(void)
{
    arena();
    struct statx old = status_of("a b", 0x1000), new = status_of("a b", UNIQUE), both = status_of("a b", 0x5000);
    say("old: %#x, new: %#x, both: %#x", old.stx_mask & 0x5000, new.stx_mask & 0x5000, both.stx_mask & 0x5000);
    say("both is new: %d, others differ: %d", both.stx_mnt_id == new.stx_mnt_id, old.stx_mnt_id != new.stx_mnt_id);
    say("large: %d", new.stx_mnt_id > 1ULL << 31);
    struct statx inside = status_of("a b/.", UNIQUE);
    say("one mount, one number: %d", inside.stx_mnt_id == new.stx_mnt_id);
    MUST(umount2("a b", 0));
    MUST(mount("again", "a b", "tmpfs", 0, NULL));
    say("never again: %d", unique("a b") > new.stx_mnt_id);
}

static void all(void)
{
    arena();
    say("all: %s", err(ask(unique("a b"), ~0ULL, sizeof(answer))));
    say("mask: %#lx, supported: %#lx", (unsigned long)answer.mask, (unsigned long)answer.supported);
    say("strings: %s %s %s", answer.text + answer.type, answer.text + answer.root, answer.text + answer.source);
    say("point: %d", strstr(answer.text + answer.point, "/a b") != NULL);
    say("options: %.19s", answer.text + answer.options);
    say("first option: %s", answer.text + answer.option_array);
    say("starts: %u %u %u, empty: %u %u", answer.type, answer.root, answer.point, answer.subtype, answer.security_array);
    struct stat data;
    MUST(stat("a b", &data));
    say("device: %d", answer.major == major(data.st_dev) && answer.minor == minor(data.st_dev));
    say("magic: %#lx, flags: %#x", (unsigned long)answer.magic, answer.sb_flags);
    struct statx old = status_of("a b", 0x1000), above = status_of(".", 0x1000);
    say("numbers: %d %d %d %d", answer.id == unique("a b"), answer.parent == unique("."), answer.old_id == old.stx_mnt_id,
        answer.old_parent == above.stx_mnt_id);
    say("attributes: %#lx, propagation: %#lx", (unsigned long)answer.attributes, (unsigned long)answer.propagation);
    say("groups: %d %d %d", (int)answer.group, (int)answer.master, (int)answer.from);
    say("namespace: %d", answer.ns != 0);
    for (int bit = 0; bit < 17; bit++) {
        if (bit == 7 || bit == 10 || bit == 4)
            continue;
        long result = ask(unique("a b"), 1ULL << bit, sizeof(answer));
        say("bit %d: %s %u %#lx", bit, err(result), answer.size, (unsigned long)answer.mask);
    }
    MUST(mount(NULL, "a b", NULL, MS_REMOUNT | MS_RDONLY | MS_NOATIME | MS_NODIRATIME, NULL));
    MUST(ask(unique("a b"), 3, sizeof(answer)));
    say("attributes: %#lx, flags: %#x", (unsigned long)answer.attributes, answer.sb_flags);
    MUST(mount(NULL, "a b", NULL, MS_REMOUNT | MS_BIND | MS_STRICTATIME, NULL));
    MUST(ask(unique("a b"), 3, sizeof(answer)));
    say("attributes: %#lx, flags: %#x", (unsigned long)answer.attributes, answer.sb_flags);
}

static void propagation(void)
{
    arena();
    MUST(mkdir("b", 0755));
    MUST(mkdir("c", 0755));
    MUST(mount(NULL, "a b", NULL, MS_SHARED, NULL));
    MUST(mount("a b", "b", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "b", NULL, MS_SLAVE, NULL));
    MUST(mount("b", "c", NULL, MS_BIND, NULL));
    MUST(mount(NULL, "c", NULL, MS_SHARED, NULL));
    MUST(ask(unique("a b"), 6, sizeof(answer)));
    uint64_t first = answer.group;
    say("shared: %#lx %d %d %d", (unsigned long)answer.propagation, first != 0, answer.master != 0, answer.from != 0);
    MUST(ask(unique("b"), 6, sizeof(answer)));
    say("slave: %#lx %d %d %d", (unsigned long)answer.propagation, answer.group != 0, answer.master == first, answer.from == first);
    MUST(ask(unique("c"), 6, sizeof(answer)));
    say("both: %#lx %d %d", (unsigned long)answer.propagation, answer.group != 0 && answer.group != first, answer.master == first);
    MUST(mount(NULL, "c", NULL, MS_UNBINDABLE, NULL));
    MUST(ask(unique("c"), 6, sizeof(answer)));
    say("unbindable: %#lx", (unsigned long)answer.propagation);
}

static void answered(const char *what, size_t size, long result)
{
    say("%s in %zu: %s %u", what, size, err(result), answer.size);
}

static void errors(void)
{
    arena();
    uint64_t id = unique("a b");
    for (size_t size = 0; size < 560; size += 40)
        answered("numbers", size, ask(id, 3, size));
    for (size_t size = 504; size < 524; size += 1)
        answered("a type", size, ask(id, 0x20, size));
    struct request good = { .size = 24, .id = id, .param = 3 }, bad;
    say("flags: %s", err(syscall(SYS_statmount, &good, &answer, sizeof(answer), 1)));
    say("bad request: %s", err(syscall(SYS_statmount, 8, &answer, sizeof(answer), 0)));
    say("bad buffer: %s", err(syscall(SYS_statmount, &good, 8, sizeof(answer), 0)));
    bad = good, bad.size = 23;
    say("too small: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    bad = good, bad.size = 5000;
    say("too large: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    uint64_t ids[] = { 0, 1, 1ULL << 31, 0x8fffffff, ~0ULL };
    for (size_t i = 0; i < COUNT(ids); i++)
        say("number %#lx: %s", (unsigned long)ids[i], err(ask(ids[i], 3, sizeof(answer))));
    bad = good, bad.size = 32, bad.fd = 99;
    say("bad descriptor: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    bad.ns = 5;
    say("two namespaces: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    bad.fd = 0, bad.ns = 12345;
    say("no namespace: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    MUST(ask(id, 0x40, sizeof(answer)));
    bad.ns = answer.ns;
    say("own namespace: %s", err(syscall(SYS_statmount, &bad, &answer, sizeof(answer), 0)));
    say("list flags: %s", err(mounts_below(id, 0, 9, 2)));
    say("list of no number: %s", err(mounts_below(5, 0, 9, 0)));
    say("list of a missing one: %s", err(mounts_below(0x8ffffff0, 0, 9, 0)));
    say("list behind no number: %s", err(mounts_below(id, 5, 9, 0)));
    say("too many: %s", err(mounts_below(id, 0, 2000000, 0)));
    good.param = 0;
    say("bad list: %s", err(syscall(SYS_listmount, &(struct request){ .size = 24, .id = ~0ULL }, 8, 9, 0)));
}

static void lists(void)
{
    arena();
    uint64_t outer = unique("a b");
    say("none below: %ld", mounts_below(outer, 0, 9, 0));
    MUST(mkdir("a b/x", 0755));
    MUST(mount("x", "a b/x", "tmpfs", 0, NULL));
    MUST(mkdir("a b/x/y", 0755));
    MUST(mount("y", "a b/x/y", "tmpfs", 0, NULL));
    long count = mounts_below(outer, 0, 9, 0);
    say("below: %ld, %d %d", count, list[0] == unique("a b/x"), list[1] == unique("a b/x/y"));
    say("first: %ld, %d", mounts_below(outer, 0, 1, 0), list[0] == unique("a b/x"));
    say("second: %ld, %d", mounts_below(outer, list[0], 1, 0), list[0] == unique("a b/x/y"));
    say("third: %ld", mounts_below(outer, list[0], 1, 0));
    say("no room: %ld", mounts_below(outer, 0, 0, 0));
    count = mounts_below(outer, 0, 9, 1);
    say("backwards: %ld, %d %d", count, list[0] == unique("a b/x/y"), list[1] == unique("a b/x"));
    say("behind: %ld", mounts_below(outer, list[0], 9, 1));
    count = mounts_below(~0ULL, 0, 256, 0);
    int found = 0;
    for (long i = 0; i < count; i++)
        found += list[i] == unique("/") || list[i] == outer;
    say("all: %d", found);
    MUST(chroot("a b/x"));
    say("outside, privileged: %s", err(ask(outer, 0x1f, sizeof(answer))));
    say("mask: %#lx", (unsigned long)answer.mask);
    say("list outside: %ld", mounts_below(outer, 0, 9, 0));
    say("list of the root: %ld", mounts_below(~0ULL, 0, 9, 0));
    MUST(ask(unique("/"), 0x10, sizeof(answer)));
    say("point of the root: %s", answer.text + answer.point);
    MUST(setresuid(1000, 1000, 1000));
    say("outside: %s, %s", err(ask(outer, 3, sizeof(answer))), err(mounts_below(outer, 0, 9, 0)));
    say("inside: %s", err(ask(unique("/"), 3, sizeof(answer))));
}

/* Copies in another namespace have numbers of their own. */
static void namespaces(void)
{
    arena();
    uint64_t id = unique("a b");
    MUST(ask(id, 0x40, sizeof(answer)));
    uint64_t ns = answer.ns;
    MUST(unshare(CLONE_NEWNS));
    say("the old one: %s", err(ask(id, 0x42, sizeof(answer))));
    say("the new one: %s", err(ask(unique("a b"), 0x42, sizeof(answer))));
    say("differ: %d %d", unique("a b") > id, answer.ns != ns);
}

CHECK_MAIN(CASE(numbers), CASE(all), CASE(propagation), CASE(errors), CASE(lists), CASE(namespaces))
