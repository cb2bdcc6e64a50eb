/* Maps the file that is named, says "ready", waits for a line, and then uses what is left of the mapping: the host shrinks
 * the file to nothing in between. */
#include "../check.h"

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int fd = (int)MUST(open(argv[1], O_RDONLY));
    char *shared = mmap(NULL, 4 * 4096, PROT_READ, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (shared == MAP_FAILED || private == MAP_FAILED)
        return 3;
    say("before: %c %c", shared[0], private[3 * 4096]);
    say("ready");
    char line[16];
    MUST(read(0, line, sizeof(line)));
    int null = (int)MUST(open("/tmp/out", O_WRONLY | O_CREAT, 0600));
    say("write from it: %s", err(write(null, shared + 4096, 10)));
    say("stat with a name in it: %s", err(access(shared + 4096, F_OK)));
    pid_t child = fork();
    if (child == 0) {
        (void)*(volatile char *)(shared + 4096);
        _exit(0);
    }
    say("touch shared: %s", reap(child));
    child = fork();
    if (child == 0) {
        (void)*(volatile char *)(private + 3 * 4096);
        _exit(0);
    }
    say("touch private: %s", reap(child));
    return 0;
}
