/* Many things at once: what must hold after threads and processes got into each other's way. */
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

static int children_end_well(int count)
{
    int good = 0, status;
    for (int i = 0; i < count; i++)
        good += wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return good;
}

static void run_children(int count, void (*work)(int number))
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0) {
            work(i);
            _exit(0);
        }
    }
}

static void create_and_remove(int number)
{
    char name[64], other[64];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "f%d_%d", number, i);
        snprintf(other, sizeof(other), "g%d_%d", number, i);
        close((int)MUST(open(name, O_CREAT | O_EXCL | O_WRONLY, 0600)));
        MUST(rename(name, other));
        MUST(link(other, name));
        MUST(unlink(other));
        MUST(unlink(name));
    }
}

static void one_directory(void)
{
    own_directory();
    run_children(6, create_and_remove);
    say("children: %d", children_end_well(6));
    say("empty: %s", (chdir("/"), err(rmdir("/tmp/case_one_directory"))));
}

static void move_directories(int number)
{
    char from[32], to[32];
    for (int i = 0; i < 300; i++) {
        snprintf(from, sizeof(from), "%c/d", "abc"[(number + i) % 3]);
        snprintf(to, sizeof(to), "%c/d", "abc"[(number + i + 1) % 3]);
        if (rename(from, to) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
            _exit(1);
        open("a/d/../../b/d", O_RDONLY);
        if (i % 50 == 49)
            close_range(3, ~0U, 0);
    }
}

static void directories_on_the_move(void)
{
    own_directory();
    MUST(mkdir("a", 0755));
    MUST(mkdir("b", 0755));
    MUST(mkdir("c", 0755));
    MUST(mkdir("a/d", 0755));
    run_children(4, move_directories);
    say("children: %d", children_end_well(4));
    int found = 0;
    struct stat data;
    found += stat("a/d", &data) == 0;
    found += stat("b/d", &data) == 0;
    found += stat("c/d", &data) == 0;
    say("directories: %d", found);
}

static void after_exec(void)
{
}

static void exec_self(int number)
{
    (void)number;
    execl(check_arguments[0], check_arguments[0], "after_exec", NULL);
    _exit(1);
}

static void many_execs(void)
{
    run_children(40, exec_self);
    say("children: %d", children_end_well(40));
}

static void *end_at_once(void *argument)
{
    return argument;
}

static void *make_threads(void *argument)
{
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, end_at_once, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return argument;
}

static void exit_while_threads_start(void)
{
    int good = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0) {
            pthread_t thread;
            for (int j = 0; j < 4; j++)
                pthread_create(&thread, NULL, make_threads, NULL);
            if (i % 2)
                sleep_ms(1);
            _exit(0);
        }
        int status;
        good += waitpid(child, &status, 0) == child && status == 0;
    }
    say("ended well: %d", good);
}

static void exec_while_threads_start(void)
{
    int good = 0;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0) {
            pthread_t thread;
            for (int j = 0; j < 4; j++)
                pthread_create(&thread, NULL, make_threads, NULL);
            exec_self(0);
        }
        int status;
        good += waitpid(child, &status, 0) == child && status == 0;
    }
    say("ended well: %d", good);
}

static void kill_while_threads_start(void)
{
    int good = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0) {
            pthread_t thread;
            for (int j = 0; j < 4; j++)
                pthread_create(&thread, NULL, make_threads, NULL);
            for (;;)
                pause();
        }
        sleep_ms(i % 4);
        kill(child, SIGKILL);
        int status;
        good += waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    say("killed: %d", good);
}

static atomic_int hits;

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    atomic_fetch_add(&hits, 1);
    getppid();
    errno = saved;
}

static atomic_int stop;

static void *work_under_signals(void *argument)
{
    long rounds = 0, wrong = 0;
    int p[2];
    if (pipe(p) < 0)
        return (void *)1L;
    while (!atomic_load(&stop)) {
        char byte = (char)rounds, back = 0;
        while (write(p[1], &byte, 1) < 0 && errno == EINTR) {
        }
        while (read(p[0], &back, 1) < 0 && errno == EINTR) {
        }
        wrong += byte != back;
        volatile double x = (double)rounds * 1.5;
        wrong += x / 1.5 != (double)rounds;
        rounds++;
    }
    close(p[0]);
    close(p[1]);
    (void)argument;
    return (void *)wrong;
}

static void signal_storm(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMIN, &action, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work_under_signals, NULL);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 1000; i++) {
            while (sigqueue(parent, SIGRTMIN, (union sigval){ .sival_int = i }) < 0 && errno == EAGAIN)
                sleep_ms(1);
            kill(parent, SIGUSR1);
        }
        _exit(0);
    }
    say("sender: %s", reap(child));
    for (int i = 0; i < 500 && atomic_load(&hits) < 1000; i++)
        sleep_ms(10);
    atomic_store(&stop, 1);
    long wrong = 0;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)(intptr_t)result;
    }
    say("every queued signal came: %d, wrong: %ld", atomic_load(&hits) >= 1000, wrong);
}

static void *open_and_close(void *argument)
{
    long wrong = 0;
    for (int i = 0; i < 500; i++) {
        int fd = open("/dev/zero", O_RDONLY);
        char byte = 1;
        if (fd < 0 || read(fd, &byte, 1) != 1 || byte != 0)
            wrong++;
        int twin = dup(fd);
        wrong += close(fd) < 0;
        wrong += close(twin) < 0;
    }
    (void)argument;
    return (void *)wrong;
}

static void one_descriptor_table(void)
{
    pthread_t threads[6];
    long wrong = 0;
    int before = dup(0);
    close(before);
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, open_and_close, NULL);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)(intptr_t)result;
    }
    say("wrong: %ld, lowest free as before: %d", wrong, dup(0) == before);
}

static char *shared_area;

static void *fault_and_protect(void *argument)
{
    long number = (long)(intptr_t)argument, wrong = 0;
    for (int i = 0; i < 300; i++) {
        char *page = shared_area + number * 65536 + (i % 16) * 4096;
        *page = (char)i;
        wrong += *page != (char)i;
        if (i % 16 == 15 && madvise(shared_area + number * 65536, 65536, MADV_DONTNEED) == 0)
            wrong += *page != 0;
        if (i % 7 == 0) {
            mprotect(page, 4096, PROT_READ);
            (void)*(volatile char *)page;
            mprotect(page, 4096, PROT_READ | PROT_WRITE);
        }
    }
    return (void *)wrong;
}

static void memory_and_forks(void)
{
    /* The ninth part is that of the children: no thread changes its protection. */
    shared_area = mmap(NULL, 9 * 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t threads[8];
    for (intptr_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, fault_and_protect, (void *)i);
    memset(shared_area + 8 * 65536, 'p', 65536);
    int good = 0;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        MUST(child);
        if (child == 0) {
            char *own = shared_area + 8 * 65536;
            memset(own, 'c', 65536);
            _exit(own[65535] == 'c' ? 0 : 1);
        }
        int status;
        good += waitpid(child, &status, 0) == child && status == 0;
    }
    long wrong = 0;
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)(intptr_t)result;
    }
    say("children: %d, wrong: %ld", good, wrong);
}

static void append_lines(int number)
{
    int fd = (int)MUST(open("log", O_WRONLY | O_APPEND | O_CREAT, 0600));
    char line[32];
    for (int i = 0; i < 200; i++) {
        int length = snprintf(line, sizeof(line), "%d %03d ..........\n", number, i);
        if (write(fd, line, (size_t)length) != length)
            _exit(1);
    }
}

static void appends_do_not_overlap(void)
{
    own_directory();
    run_children(5, append_lines);
    say("children: %d", children_end_well(5));
    FILE *file = fopen("log", "r");
    int lines = 0, ordered = 1, number, index, last[5] = { -1, -1, -1, -1, -1 };
    while (file && fscanf(file, "%d %d ..........\n", &number, &index) == 2 && number < 5) {
        ordered &= index == last[number] + 1;
        last[number] = index;
        lines++;
    }
    say("lines: %d, in order: %d", lines, ordered);
}

static void orphan_tree(int number)
{
    (void)number;
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            if (fork() == 0) {
                sleep_ms(5);
                _exit(0);
            }
            _exit(0);
        }
    }
}

static void orphans_everywhere(void)
{
    run_children(15, orphan_tree);
    say("children: %d", children_end_well(15));
    sleep_ms(50);
    say("no more: %s", err(waitpid(-1, NULL, WNOHANG)));
}

CHECK_MAIN(CASE(one_directory), CASE(directories_on_the_move), CASE(after_exec), CASE(many_execs),
           CASE(exit_while_threads_start), CASE(exec_while_threads_start), CASE(kill_while_threads_start),
           CASE(signal_storm), CASE(one_descriptor_table), CASE(memory_and_forks), CASE(appends_do_not_overlap),
           CASE(orphans_everywhere))
