/* execve: arguments, environment, scripts, wrong and hostile files. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/resource.h>

/* Runs a program in a child and says how it ended; the error where it cannot be run. */
static void run(const char *what, const char *path, char *const argv[], char *const envp[])
{
    pid_t child = fork();
    if (child == 0) {
        execve(path, argv, envp);
        say("%s: %s", what, err(-1));
        _exit(0);
    }
    const char *end = reap(child);
    if (strcmp(end, "exit 0") != 0)
        say("%s: ends with %s", what, end);
}

static char *no_environment[] = { NULL };

static void run_plain(const char *what, const char *path)
{
    char *argv[] = { (char *)path, "no_case", NULL };
    run(what, path, argv, no_environment);
}

/* Prints arguments and environment of this very program. */
static void show_arguments(void)
{
    int count = 0;
    for (char **at = check_arguments; *at; at++)
        count++;
    if (count < 3)
        return;
    say("count %d, third %.20s, last %.20s length %ld", count, check_arguments[2], check_arguments[count - 1],
        (long)strlen(check_arguments[count - 1]));
    count = 0;
    for (char **at = environ; *at; at++)
        count++;
    say("environment %d %.20s", count, count ? environ[0] : "");
}

static void copy_program(const char *to, mode_t mode)
{
    int from = (int)MUST(open(check_arguments[0], O_RDONLY));
    int fd = (int)MUST(open(to, O_WRONLY | O_CREAT | O_TRUNC, mode));
    static char buffer[65536];
    ssize_t got;
    while ((got = read(from, buffer, sizeof(buffer))) > 0)
        MUST(write(fd, buffer, (size_t)got));
    close(from);
    close(fd);
}

static void arguments(void)
{
    char *few[] = { check_arguments[0], "show_arguments", "a", "", "last one", NULL };
    char *variables[] = { "ONE=1", "TWO", NULL };
    run("few", check_arguments[0], few, variables);
    char *many[5000];
    for (int i = 0; i < 4999; i++)
        many[i] = "x";
    many[0] = check_arguments[0];
    many[1] = "show_arguments";
    many[4999] = NULL;
    run("many", check_arguments[0], many, no_environment);
    char *large = malloc(131072 + 1);
    memset(large, 'l', 131072);
    large[131071] = 0;
    char *one[] = { check_arguments[0], "show_arguments", large, NULL };
    run("131071 bytes", check_arguments[0], one, no_environment);
    large[131071] = 'l';
    large[131072] = 0;
    run("131072 bytes", check_arguments[0], one, no_environment);
    char *same[200];
    large[131071] = 0;
    for (int i = 0; i < 199; i++)
        same[i] = large;
    same[0] = check_arguments[0];
    same[199] = NULL;
    run("26 MB", check_arguments[0], same, no_environment);
    char *none[] = { NULL };
    run("bad vector", check_arguments[0], (char **)8, no_environment);
    run("bad string", check_arguments[0], (char *[]){ check_arguments[0], (char *)8, NULL }, no_environment);
    run("bad environment", check_arguments[0], few, (char **)8);
    run("no arguments, missing program", "/no/such", none, no_environment);
}

static void a_gigabyte_of_arguments(void)
{
    /* The same megabyte again and again, very many strings, and one of a gigabyte. */
    size_t size = 1 << 20;
    char *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(text, 'g', size - 1);
    char **vector = malloc(1025 * sizeof(*vector));
    for (int i = 0; i < 1024; i++)
        vector[i] = text;
    vector[1024] = NULL;
    run("long strings", check_arguments[0], vector, no_environment);
    size_t count = (128 << 20) / sizeof(char *);
    char **endless = mmap(NULL, count * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < count - 1; i++)
        endless[i] = "";
    endless[count - 1] = NULL;
    run("very many strings", check_arguments[0], endless, no_environment);
    char *whole = mmap(NULL, 1UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memset(whole, 'w', 1 << 21);
    char *one[] = { check_arguments[0], whole, NULL };
    run("one long string", check_arguments[0], one, no_environment);
}

static void wrong_files(void)
{
    own_directory();
    run_plain("missing", "missing");
    run_plain("directory", ".");
    put("text", "just text\n");
    run_plain("not executable", "text");
    MUST(chmod("text", 0755));
    run_plain("no known format", "text");
    put("empty", "");
    MUST(chmod("empty", 0755));
    run_plain("empty", "empty");
    put("a", "");
    run_plain("below a file", "a/b");
    MUST(symlink("loop", "loop"));
    run_plain("loop", "loop");
    run_plain("empty name", "");
    run("bad name", (char *)8, (char *[]){ "x", NULL }, no_environment);
    copy_program("copy", 0755);
    run("works", "./copy", (char *[]){ "./copy", "show_arguments", "z", NULL }, no_environment);
    MUST(symlink("copy", "link"));
    run("through a link", "./link", (char *[]){ "./link", "show_arguments", "z", NULL }, no_environment);
    pid_t child = fork();
    if (child == 0) {
        MUST(chmod("copy", 0700));
        MUST(setuid(100));
        run_plain("another's", "./copy");
        _exit(0);
    }
    reap(child);
    MUST(mkfifo("fifo", 0755));
    run_plain("fifo", "fifo");
    run_plain("device", "/dev/null");
}

static void scripts(void)
{
    own_directory();
    char text[8192];
    snprintf(text, sizeof(text), "#!%s show_arguments\n", check_arguments[0]);
    put("plain", text);
    MUST(chmod("plain", 0755));
    run("plain", "./plain", (char *[]){ "ignored", "one", "two", NULL }, no_environment);
    snprintf(text, sizeof(text), "#!  %s \t show_arguments and more  \nrest\n", check_arguments[0]);
    put("blanks", text);
    MUST(chmod("blanks", 0755));
    run("one argument with blanks", "./blanks", (char *[]){ "ignored", "one", NULL }, no_environment);
    char *names[] = { "plain", "s1", "s2", "s3", "s4", "s5", "s6" };
    for (int i = 1; i < 7; i++) {
        snprintf(text, sizeof(text), "#!/tmp/case_scripts/%s\n", names[i - 1]);
        put(names[i], text);
        MUST(chmod(names[i], 0755));
        run(names[i], names[i], (char *[]){ "ignored", "last", NULL }, no_environment);
    }
    put("self", "#!/tmp/case_scripts/self\n");
    MUST(chmod("self", 0755));
    run_plain("itself", "./self");
    put("gone", "#!/no/such/interpreter\n");
    MUST(chmod("gone", 0755));
    run_plain("missing interpreter", "./gone");
    put("no", "#!\n");
    MUST(chmod("no", 0755));
    run_plain("no interpreter", "./no");
    put("blank", "#!   \n");
    MUST(chmod("blank", 0755));
    run_plain("blank interpreter", "./blank");
    put("unended", "#!/bin/true");
    MUST(chmod("unended", 0755));
    run_plain("without a newline", "./unended");
    memset(text, 'x', 300);
    memcpy(text, "#!/", 3);
    text[300] = 0;
    put("long", text);
    MUST(chmod("long", 0755));
    run_plain("too long", "./long");
    memset(text + 11, ' ', 289);
    memcpy(text, "#!/bin/true", 11);
    put("padded", text);
    MUST(chmod("padded", 0755));
    run_plain("cut in the argument", "./padded");
    put("textual", "#!/tmp/case_scripts/data\n");
    put("data", "no interpreter of anything\n");
    MUST(chmod("textual", 0755));
    MUST(chmod("data", 0755));
    run_plain("interpreter of no format", "./textual");
}

static void name_of_a_program(void)
{
    own_directory();
    char name[32] = { 0 };
    MUST(prctl(PR_GET_NAME, name));
    say("at first: %s", name);
    copy_program("a_very_long_name_of_a_program", 0755);
    run("copy", "./a_very_long_name_of_a_program", (char *[]){ "x", "own_name", NULL }, no_environment);
}

static void own_name(void)
{
    char name[32] = { 0 };
    MUST(prctl(PR_GET_NAME, name));
    say("%s", name);
}

static void over_exec(void)
{
    int kept = (int)MUST(open("/dev/null", O_RDONLY));
    int closed = (int)MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));
    MUST(dup2(kept, 70));
    MUST(dup3(closed, 71, O_CLOEXEC));
    MUST(chdir("/usr"));
    umask(0123);
    struct rlimit limit = { 77, 177 };
    MUST(setrlimit(RLIMIT_CORE, &limit));
    run("self", check_arguments[0], (char *[]){ check_arguments[0], "what_is_kept", NULL }, no_environment);
}

static void what_is_kept(void)
{
    char cwd[100];
    struct rlimit limit;
    say("kept: %s", err(fcntl(70, F_GETFD)));
    say("closed: %s", err(fcntl(71, F_GETFD)));
    say("directory: %d", strlen(getcwd(cwd, sizeof(cwd))) > 0);
    MUST(getrlimit(RLIMIT_CORE, &limit));
    say("limits: %d", limit.rlim_cur == 77 || limit.rlim_cur == 0 || limit.rlim_cur > 77);
}

static void by_descriptor(void)
{
    own_directory();
    int fd = (int)MUST(open(check_arguments[0], O_RDONLY));
    char *argv[] = { "fd", "show_arguments", "z", NULL };
    pid_t child = fork();
    if (child == 0) {
        execveat(fd, "", argv, no_environment, AT_EMPTY_PATH);
        say("%s", err(-1));
        _exit(1);
    }
    say("execveat of a descriptor: %s", reap(child));
    child = fork();
    if (child == 0) {
        fexecve((int)MUST(open(check_arguments[0], O_PATH)), argv, no_environment);
        say("%s", err(-1));
        _exit(1);
    }
    say("fexecve: %s", reap(child));
    copy_program("copy", 0755);
    int directory = (int)MUST(open(".", O_RDONLY));
    child = fork();
    if (child == 0) {
        execveat(directory, "copy", argv, no_environment, 0);
        _exit(1);
    }
    say("in a directory: %s", reap(child));
    say("empty without the flag: %s", err(execveat(fd, "", argv, no_environment, 0)));
    say("unknown flag: %s", err(execveat(directory, "copy", argv, no_environment, 1)));
    say("bad descriptor: %s", err(execveat(77, "x", argv, no_environment, 0)));
    MUST(symlink("copy", "link"));
    say("no following: %s", err(execveat(directory, "link", argv, no_environment, AT_SYMLINK_NOFOLLOW)));
    put("script", "#!/bin/true\n");
    MUST(chmod("script", 0755));
    int script = (int)MUST(open("script", O_RDONLY | O_CLOEXEC));
    say("script by a closing descriptor: %s", err(execveat(script, "", argv, no_environment, AT_EMPTY_PATH)));
}

CHECK_MAIN(CASE(show_arguments), CASE(arguments), CASE(a_gigabyte_of_arguments), CASE(wrong_files), CASE(scripts),
           CASE(name_of_a_program), CASE(own_name), CASE(over_exec), CASE(what_is_kept), CASE(by_descriptor))
