/* Files that are executed and files that are written: ETXTBSY. */
#include "check.h"

/* Copies this program. */
static void copy_self(const char *path)
{
    int from = (int)MUST(open("/proc/self/exe", O_RDONLY));
    int to = (int)MUST(open(path, O_WRONLY | O_CREAT | O_EXCL, 0755));
    char buffer[65536];
    ssize_t count;
    while ((count = read(from, buffer, sizeof(buffer))) > 0)
        MUST(write(to, buffer, (size_t)count));
    close(from);
    close(to);
}

/* What becomes of a child that executes the file. */
static const char *run(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        execl(path, path, "nothing", NULL);
        _exit(errno == ETXTBSY ? 50 : errno);
    }
    return reap(child);
}

static void written(void)
{
    own_directory();
    copy_self("program");
    say("closed: %s", run("./program"));
    int writer = (int)MUST(open("program", O_WRONLY));
    say("written: %s", run("./program"));
    int second = (int)MUST(open("program", O_RDWR));
    close(writer);
    say("written by another: %s", run("./program"));
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
    close(second);
    say("mapped for writing: %s", run("./program"));
    munmap(map, 4096);
    say("unmapped: %s", run("./program"));
    int reader = (int)MUST(open("program", O_RDONLY));
    say("read: %s", run("./program"));
    int path = (int)MUST(open("program", O_PATH));
    say("O_PATH: %s", run("./program"));
    close(reader);
    close(path);
    put("script", "#!./program\n");
    MUST(chmod("script", 0755));
    say("script: %s", run("./script"));
    writer = (int)MUST(open("script", O_WRONLY));
    say("written script: %s", run("./script"));
    close(writer);
    writer = (int)MUST(open("program", O_WRONLY));
    say("script of a written interpreter: %s", run("./script"));
    close(writer);
}

static void executed(void)
{
    own_directory();
    copy_self("program");
    int ready[2], done[2];
    MUST(pipe(ready));
    MUST(pipe(done));
    pid_t child = fork();
    if (child == 0) {
        dup2(ready[1], 10);
        dup2(done[0], 11);
        execl("./program", "./program", "waiter", NULL);
        _exit(1);
    }
    close(ready[1]);
    char byte;
    MUST(read(ready[0], &byte, 1));
    say("open for writing: %s", err(open("program", O_WRONLY)));
    say("open for both: %s", err(open("program", O_RDWR)));
    say("open for reading: %s", err(open("program", O_RDONLY)));
    say("open to truncate: %s", err(open("program", O_RDONLY | O_TRUNC)));
    say("create: %s", err(open("program", O_WRONLY | O_CREAT, 0600)));
    say("truncate: %s", err(truncate("program", 0)));
    say("access: %s", err(access("program", W_OK)));
    say("chmod: %s", err(chmod("program", 0700)));
    say("link: %s", err(link("program", "other")));
    say("open of the other name: %s", err(open("other", O_WRONLY)));
    say("again: %s", run("./program"));
    say("rename: %s", err(rename("other", "third")));
    say("unlink: %s", err(unlink("program")));
    say("open of the third name: %s", err(open("third", O_WRONLY)));
    write(done[1], "x", 1);
    say("child: %s", reap(child));
    say("open after that: %s", err(open("third", O_WRONLY)));
}

/* Runs until it is told to end; the descriptors are the parent's. Does nothing when it is a case of its own. */
static void waiter(void)
{
    if (fcntl(10, F_GETFD) < 0)
        return;
    char byte = 'x';
    if (write(10, &byte, 1) == 1 && read(11, &byte, 1) == 1)
        _exit(0);
}

static void unnamed(void)
{
    own_directory();
    copy_self("program");
    int from = (int)MUST(open("program", O_RDONLY));
    int memory = (int)MUST(memfd_create("x", 0));
    char buffer[65536];
    ssize_t count;
    while ((count = read(from, buffer, sizeof(buffer))) > 0)
        MUST(write(memory, buffer, (size_t)count));
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", memory);
    say("memory file: %s", run(name));
    int writer = (int)MUST(open(name, O_WRONLY));
    say("memory file that is open for writing: %s", run(name));
    close(writer);
    say("and closed: %s", run(name));
}

CHECK_MAIN(CASE(written), CASE(executed), CASE(waiter), CASE(unnamed))
