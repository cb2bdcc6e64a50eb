/* Random changes of trees of mounts, from fixed seeds: what each answers, and what is mounted where, shared with whom. */
#include "check.h"

#include <sched.h>
#include <sys/mount.h>

#define RECURSIVE 0x8000

static uint64_t state;

static unsigned pick(unsigned below)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % below;
}

static char base[4096];

/* One of the directories: up to three levels of a, b, c. */
static const char *place(void)
{
    static char text[4][64];
    static int next;
    char *path = text[next++ % 4];
    unsigned depth = 1 + pick(3);
    path[0] = 0;
    for (unsigned i = 0; i < depth; i++)
        sprintf(path + strlen(path), "%s%c", i ? "/" : "", 'a' + pick(3));
    return path;
}

static void grow(const char *top, int depth)
{
    char path[256];
    for (char c = 'a'; c < 'd'; c++) {
        snprintf(path, sizeof(path), "%s/%c", top, c);
        mkdir(path, 0755);
        if (depth > 1)
            grow(path, depth - 1);
    }
}

struct line {
    int id, parent;
    char place[2000], root[200], fields[200];
};

static struct line lines[2048];

static int by_place(const void *one, const void *other)
{
    return strcmp(((const struct line *)one)->place, ((const struct line *)other)->place);
}

/* The way to a mount, over those that it is on: each has one of its own. */
static void way_to(int index, int count, char *text, size_t size)
{
    for (int i = 0; i < count; i++)
        if (lines[i].id == lines[index].parent && i != index)
            way_to(i, count, text, size);
    size_t used = strlen(text);
    snprintf(text + used, size - used, "|%s", lines[index].place);
}

static int groups[4096], group_count;

static int group_of(int number)
{
    for (int i = 0; i < group_count; i++)
        if (groups[i] == number)
            return i;
    groups[group_count % 4096] = number;
    return group_count++;
}

/* A line for each mount, in an order that all kernels have; or their number and a sum of the text. */
static void show(const char *path, const char *who, int all)
{
    FILE *file = fopen(path, "r");
    static char line[4096];
    int count = 0;
    size_t length = strlen(base);
    while (file && count < 2048 && fgets(line, sizeof(line), file)) {
        struct line *one = &lines[count];
        char target[1024], *dash = strstr(line, " - ");
        int used = 0;
        if (!dash || sscanf(line, "%d %d %*s %199s %1023s %*s%n", &one->id, &one->parent, one->root, target, &used) != 4)
            continue;
        if (strncmp(target, base, length) || (target[length] && target[length] != '/'))
            continue;
        *dash = 0;
        snprintf(one->place, sizeof(one->place), "%s", target + length);
        snprintf(one->fields, sizeof(one->fields), "%s", line + used);
        count++;
    }
    if (file)
        fclose(file);
    static struct line sorted[2048];
    for (int i = 0; i < count; i++) {
        sorted[i] = lines[i];
        sorted[i].place[0] = 0;
        way_to(i, count, sorted[i].place, sizeof(sorted[i].place));
    }
    memcpy(lines, sorted, sizeof(struct line) * (size_t)count);
    qsort(lines, (size_t)count, sizeof(lines[0]), by_place);
    group_count = 0;
    uint64_t sum = 14695981039346656037ULL;
    for (int i = 0; i < count; i++) {
        char text[4096];
        snprintf(text, sizeof(text), "%s %s", lines[i].place, lines[i].root);
        char *more = NULL;
        for (char *field = strtok_r(lines[i].fields, " ", &more); field; field = strtok_r(NULL, " ", &more)) {
            char *colon = strchr(field, ':');
            if (colon)
                sprintf(text + strlen(text), " %.*s:%d", (int)(colon - field), field, group_of(atoi(colon + 1)));
            else
                sprintf(text + strlen(text), " %s", field);
        }
        if (all)
            say("  %s %s", who, text);
        for (char *byte = text; *byte; byte++)
            sum = (sum ^ (unsigned char)*byte) * 1099511628211ULL;
    }
    if (!all)
        say("  %s: %d mounts, %#lx", who, count, (unsigned long)sum);
}

static int mounts_here(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "r");
    static char line[4096];
    int count = 0;
    while (file && fgets(line, sizeof(line), file))
        count += strstr(line, base) != NULL;
    if (file)
        fclose(file);
    return count;
}

static const char *change(char *what)
{
    static const unsigned long types[] = { MS_SHARED, MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, MS_SLAVE };
    const char *one = place(), *other = place();
    /* Copies of copies grow fast. */
    unsigned kind = mounts_here() > 300 ? 16 : pick(20);
    int tree;
    if (kind < 4) {
        sprintf(what, "mount %s", one);
        int result = mount("x", one, "tmpfs", 0, NULL);
        const char *name = err(result);
        if (result == 0)
            grow(one, 2);
        return name;
    }
    if (kind < 7) {
        sprintf(what, "bind %s %s", one, other);
        return err(mount(one, other, NULL, MS_BIND, NULL));
    }
    if (kind < 9) {
        sprintf(what, "rbind %s %s", one, other);
        return err(mount(one, other, NULL, MS_BIND | MS_REC, NULL));
    }
    if (kind < 11) {
        sprintf(what, "move %s %s", one, other);
        return err(mount(one, other, NULL, MS_MOVE, NULL));
    }
    if (kind < 15) {
        unsigned type = pick(6), recursive = pick(2);
        sprintf(what, "make %#lx %u %s", types[type], recursive, one);
        return err(mount(NULL, one, NULL, types[type] | (recursive ? MS_REC : 0), NULL));
    }
    if (kind < 16) {
        sprintf(what, "umount %s", one);
        return err(umount2(one, 0));
    }
    if (kind < 18) {
        sprintf(what, "lazily %s", one);
        return err(umount2(one, MNT_DETACH));
    }
    sprintf(what, "tree %s %s", one, other);
    tree = open_tree(AT_FDCWD, one, OPEN_TREE_CLONE | (kind == 18 ? RECURSIVE : 0));
    if (tree < 0)
        return err(tree);
    int result = move_mount(tree, "", AT_FDCWD, other, MOVE_MOUNT_F_EMPTY_PATH | (pick(4) ? 0 : 0x200));
    const char *name = err(result);
    close(tree);
    return name;
}

/* Two namespaces take turns; all is private at first. */
static void run(unsigned seed, int steps, int all)
{
    state = seed;
    own_directory();
    MUST((long)getcwd(base, sizeof(base)) > 0 ? 0 : -1);
    MUST(mount("arena", base, "tmpfs", 0, NULL));
    MUST(mount(NULL, base, NULL, MS_PRIVATE, NULL));
    MUST(chdir(base));
    grow(".", 3);
    for (char c = 'a'; c < 'd'; c++) {
        char name[2] = { c, 0 };
        MUST(mount(name, name, NULL, MS_BIND, NULL));
        MUST(mount(NULL, name, NULL, c == 'b' ? MS_PRIVATE : MS_SHARED, NULL));
    }
    int turns[2][2];
    MUST(pipe(turns[0]));
    MUST(pipe(turns[1]));
    pid_t child = fork();
    int self = child == 0;
    if (self) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount(NULL, "c", NULL, MS_SLAVE, NULL));
    }
    if (self)
        MUST(write(turns[1][1], &state, sizeof(state)));
    for (int step = self; step < steps; step += 2) {
        char what[256];
        MUST(read(turns[!self][0], &state, sizeof(state)) == sizeof(state) ? 0 : -1);
        const char *answer = change(what);
        say("%d %s: %s", step, what, answer);
        if (all || step % 10 < 2)
            show("/proc/self/mountinfo", self ? "two" : "one", all);
        MUST(write(turns[self][1], &state, sizeof(state)));
    }
    if (self)
        _exit(0);
    say("end: %s", reap(child));
    show("/proc/self/mountinfo", "one", all);
}

#define SEED(number) static void seed_##number(void) { run(number, number > 100 ? 300 : 200, 0); }
SEED(1)
SEED(2)
SEED(3)
SEED(4)
SEED(5)
SEED(6)
SEED(207)

int main(int argc, char **argv)
{
    static const struct check_case cases[] = { CASE(seed_1), CASE(seed_2), CASE(seed_3), CASE(seed_4),
                                               CASE(seed_5), CASE(seed_6), CASE(seed_207) };
    if (argc >= 4 && !strcmp(argv[1], "seed")) {
        check_name = "seed";
        run((unsigned)atoi(argv[2]), atoi(argv[3]), argc > 4);
        return 0;
    }
    return check_main(argc, argv, cases, COUNT(cases));
}
