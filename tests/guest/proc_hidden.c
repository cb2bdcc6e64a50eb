/* Who sees which processes in a /proc with hidepid and gid (proc(5)). */
#include "check.h"

#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

static const char place[] = "/tmp/proc";

static int is_listed(const char *directory, pid_t pid)
{
    char name[20];
    snprintf(name, sizeof(name), "%d", pid);
    DIR *listing = opendir(directory);
    if (!listing)
        return -1;
    int found = 0;
    for (struct dirent *entry; (entry = readdir(listing));)
        found += strcmp(entry->d_name, name) == 0;
    closedir(listing);
    return found;
}

/* What the caller can do with the directory of a process, and with what is in it. */
static void look(const char *who, pid_t pid)
{
    char path[100], text[1024];
    struct stat data;
    int used = snprintf(text, sizeof(text), "listed %d", is_listed(place, pid));
#define TRY(what, call) used += snprintf(text + used, sizeof(text) - (size_t)used, ", " what " %s", err(call))
    snprintf(path, sizeof(path), "%s/%d", place, pid);
    TRY("stat", stat(path, &data));
    TRY("open", open(path, O_RDONLY | O_DIRECTORY));
    TRY("name", open(path, O_PATH));
    TRY("exists", access(path, F_OK));
    TRY("readable", access(path, R_OK));
    TRY("searchable", access(path, X_OK));
    TRY("mkdir", mkdir(path, 0700));
    TRY("chdir", chdir(path));
    snprintf(path, sizeof(path), "%s/%d/stat", place, pid);
    TRY("stat of stat", stat(path, &data));
    TRY("open of stat", open(path, O_RDONLY));
    snprintf(path, sizeof(path), "%s/%d/task/%d/stat", place, pid, pid);
    TRY("of the task", open(path, O_RDONLY));
    say("%s: %s", who, text);
    MUST(chdir("/"));
}

static void become(int with_group)
{
    gid_t group = 7;
    MUST(setgroups(with_group, &group));
    MUST(setresgid(5, 5, 5));
    MUST(setresuid(5, 5, 5));
}

/* Looks at a process of root as several users do. */
static void look_as_all(void)
{
    pid_t other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    look("root", other);
    pid_t child = fork();
    if (child == 0) {
        become(1);
        look("member", other);
        _exit(0);
    }
    reap(child);
    child = fork();
    if (child == 0) {
        become(0);
        look("user", other);
        MUST(prctl(PR_SET_DUMPABLE, 0));
        look("itself", getpid());
        _exit(0);
    }
    reap(child);
    char path[100];
    snprintf(path, sizeof(path), "%s/%d", place, other);
    int directory = MUST(open(path, O_RDONLY | O_DIRECTORY));
    child = fork();
    if (child == 0) {
        become(0);
        struct stat data;
        say("open directory: fstat %s, openat %s, fchdir %s", err(fstat(directory, &data)),
            err(openat(directory, "stat", O_RDONLY)), err(fchdir(directory)));
        _exit(0);
    }
    reap(child);
    close(directory);
    kill(other, SIGKILL);
    reap(other);
}

/* The options as they are shown. */
static void shown(void)
{
    char line[512];
    FILE *file = fopen("/proc/self/mountinfo", "r");
    while (file && fgets(line, sizeof(line), file)) {
        char *options = strstr(line, " - ");
        if (strstr(line, " /tmp/proc ") && options)
            say("%.*s", (int)strcspn(options + 3, "\n"), options + 3);
    }
    if (file)
        fclose(file);
}

static void with_options(const char *options)
{
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mkdir(place, 0755);
    MUST(mount("proc", place, "proc", 0, options));
    shown();
    look_as_all();
}

static void off(void)
{
    with_options("hidepid=0,gid=7");
}

static void no_access(void)
{
    with_options("hidepid=1");
}

static void invisible(void)
{
    with_options("hidepid=2");
}

static void ptraceable(void)
{
    with_options("hidepid=ptraceable,gid=7");
}

static void group_no_access(void)
{
    with_options("hidepid=noaccess,gid=7");
}

static void group_invisible(void)
{
    with_options("hidepid=invisible,gid=7,subset=pid");
}

static void changed_later(void)
{
    with_options("");
    static const char *const options[] = { "hidepid=2", "gid=3", "hidepid=3", "hidepid=x", "gid=x", "hidepid=0" };
    for (size_t i = 0; i < COUNT(options); i++) {
        say("%s: %s", options[i], err(mount(NULL, place, NULL, MS_REMOUNT, options[i])));
        shown();
    }
    MUST(mount(NULL, place, NULL, MS_REMOUNT, "hidepid=2,gid=0"));
    look_as_all();
}

CHECK_MAIN(CASE(off), CASE(no_access), CASE(invisible), CASE(ptraceable), CASE(group_no_access), CASE(group_invisible),
           CASE(changed_later))
