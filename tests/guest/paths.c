/* Names: directories, links, renames, path resolution, listing. */
#include "check.h"
#include <dirent.h>

static void kind(const char *path)
{
    struct stat data;
    if (lstat(path, &data) < 0)
        say("%s: %s", path, err(-1));
    else
        say("%s: mode %o links %ld", path, data.st_mode, (long)data.st_nlink);
}

static void directories(void)
{
    own_directory();
    say("mkdir: %s", err(mkdir("d", 0750)));
    kind("d");
    say("again: %s", err(mkdir("d", 0750)));
    say("trailing slash: %s", err(mkdir("e/", 0750)));
    say("below nothing: %s", err(mkdir("x/y", 0750)));
    say("dot: %s", err(mkdir(".", 0750)));
    say("nested: %s", err(mkdir("d/f", 02755)));
    kind("d/f");
    kind("d");
    say("rmdir of a full one: %s", err(rmdir("d")));
    say("rmdir of dot: %s", err(rmdir("d/.")));
    say("rmdir of dot dot: %s", err(rmdir("d/..")));
    say("rmdir of the root: %s", err(rmdir("/")));
    put("file", "");
    say("rmdir of a file: %s", err(rmdir("file")));
    say("mkdir over a file: %s", err(mkdir("file", 0700)));
    say("mkdir below a file: %s", err(mkdir("file/d", 0700)));
    say("unlink of a directory: %s", err(unlink("d")));
    say("unlinkat of a directory: %s", err(unlinkat(AT_FDCWD, "d/f", AT_REMOVEDIR)));
    say("unlinkat with a bad flag: %s", err(unlinkat(AT_FDCWD, "d", 1)));
    say("rmdir: %s", err(rmdir("d")));
    kind("d");
    say("set-group-id is inherited: %s", err(mkdir("g", 0755)));
    MUST(chown("g", 0, 44));
    MUST(chmod("g", 02755));
    MUST(mkdir("g/h", 0700));
    kind("g/h");
}

static void working_directory(void)
{
    own_directory();
    char buffer[256];
    MUST(mkdir("a", 0755));
    MUST(mkdir("a/b", 0755));
    say("chdir: %s", err(chdir("a/b")));
    say("getcwd: %s", getcwd(buffer, sizeof(buffer)));
    say("up: %s", err(chdir("../..")));
    say("getcwd: %s", getcwd(buffer, sizeof(buffer)));
    int fd = (int)MUST(open("a", O_RDONLY | O_DIRECTORY));
    say("fchdir: %s", err(fchdir(fd)));
    say("getcwd: %s", getcwd(buffer, sizeof(buffer)));
    say("raw result: %ld", syscall(SYS_getcwd, buffer, sizeof(buffer)));
    say("too small: %ld", syscall(SYS_getcwd, buffer, 3) < 0 ? (long)errno : 0L);
    put("file", "");
    say("chdir to a file: %s", err(chdir("file")));
    say("fchdir to a file: %s", err(fchdir(open("file", O_RDONLY))));
    say("chdir to nothing: %s", err(chdir("nothing")));
    MUST(mkdir("gone", 0755));
    MUST(chdir("gone"));
    MUST(rmdir("../gone"));
    say("getcwd in a removed one: %s", err(syscall(SYS_getcwd, buffer, sizeof(buffer))));
    say("create in it: %s", err(open("x", O_CREAT | O_WRONLY, 0600)));
    say("dot: %s", err(stat(".", &(struct stat){ 0 })));
    say("dot dot: %s", err(chdir("..")));
    say("the root's parent: %s", err(chdir("/../..")));
    say("getcwd: %s", getcwd(buffer, sizeof(buffer)));
}

static void symbolic_links(void)
{
    own_directory();
    char buffer[64] = { 0 };
    put("file", "text");
    MUST(mkdir("d", 0755));
    put("d/inner", "inside");
    say("symlink: %s", err(symlink("file", "l")));
    say("again: %s", err(symlink("file", "l")));
    say("readlink: %ld", (long)readlink("l", buffer, sizeof(buffer)));
    say("target: %s", buffer);
    say("readlink cut short: %ld", (long)readlink("l", buffer, 2));
    say("readlink of a file: %s", err(readlink("file", buffer, 10)));
    say("readlink of no length: %s", err(readlink("l", buffer, 0)));
    say("empty target: %s", err(symlink("", "e")));
    say("through: %s", get("l"));
    say("O_NOFOLLOW: %s", err(open("l", O_RDONLY | O_NOFOLLOW)));
    say("O_NOFOLLOW with O_PATH: %s", err(open("l", O_PATH | O_NOFOLLOW)));
    say("directory link: %s", err(symlink("d", "dl")));
    say("through it: %s", get("dl/inner"));
    say("O_NOFOLLOW in the middle: %s", err(open("dl/inner", O_RDONLY | O_NOFOLLOW)));
    say("O_NOFOLLOW and O_DIRECTORY: %s", err(open("dl", O_RDONLY | O_NOFOLLOW | O_DIRECTORY)));
    say("trailing slash follows: %s", err(open("dl/", O_RDONLY | O_NOFOLLOW | O_DIRECTORY)));
    say("trailing slash of a file link: %s", err(open("l/", O_RDONLY)));
    kind("dl");
    kind("dl/");
    say("loop: %s", err(symlink("loop", "loop")));
    say("open it: %s", err(open("loop", O_RDONLY)));
    say("lstat it: %s", err(lstat("loop", &(struct stat){ 0 })));
    MUST(symlink("two", "one"));
    MUST(symlink("one", "two"));
    say("pair: %s", err(stat("one", &(struct stat){ 0 })));
    char name[16], target[16] = "file";
    for (int i = 0; i < 41; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        MUST(symlink(target, name));
        strcpy(target, name);
    }
    say("40 links: %s", err(open("s39", O_RDONLY)));
    say("41 links: %s", err(open("s40", O_RDONLY)));
    say("absolute: %s", err(symlink("/tmp/case_symbolic_links/file", "abs")));
    say("through it: %s", get("abs"));
    say("dot dot after a link: %s", get("dl/../file"));
    say("rmdir of a link: %s", err(rmdir("dl")));
    say("unlink with a slash: %s", err(unlink("dl/")));
    say("unlink: %s", err(unlink("dl")));
    say("kept: %s", get("d/inner"));
    say("chmod through a link: %s", err(chmod("l", 0600)));
    kind("file");
}

static void hard_links(void)
{
    own_directory();
    put("a", "text");
    say("link: %s", err(link("a", "b")));
    kind("a");
    say("again: %s", err(link("a", "b")));
    say("of a directory: %s", err(link("/tmp", "t")));
    say("of nothing: %s", err(link("none", "t")));
    MUST(symlink("a", "s"));
    say("of a symbolic link: %s", err(link("s", "s2")));
    kind("s2");
    say("following: %s", err(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW)));
    kind("s3");
    put("b", "changed");
    say("one file: %s", get("a"));
    MUST(unlink("a"));
    kind("b");
    say("across file systems: %s", err(link("b", "/dev/shm/b")));
    say("unknown flag: %s", err(linkat(AT_FDCWD, "b", AT_FDCWD, "c", 1)));
    say("below a missing directory: %s", err(link("b", "m/c")));
    say("trailing slash: %s", err(link("b", "c/")));
}

static void renames(void)
{
    own_directory();
    put("a", "A");
    put("b", "B");
    say("over a file: %s", err(rename("a", "b")));
    say("text: %s", get("b"));
    kind("a");
    say("missing: %s", err(rename("a", "c")));
    say("itself: %s", err(rename("b", "b")));
    MUST(mkdir("d", 0755));
    MUST(mkdir("d/e", 0755));
    say("file over a directory: %s", err(rename("b", "d")));
    say("directory over a file: %s", err(rename("d", "b")));
    say("into itself: %s", err(rename("d", "d/e/f")));
    say("onto its parent: %s", err(rename("d/e", "d")));
    MUST(mkdir("empty", 0755));
    say("directory over an empty one: %s", err(rename("d", "empty")));
    kind("empty");
    MUST(mkdir("x", 0755));
    say("over a full one: %s", err(rename("x", "empty")));
    say("file with a slash: %s", err(rename("b", "c/")));
    say("directory with a slash: %s", err(rename("x/", "y/")));
    say("dot: %s", err(rename(".", "z")));
    say("dot dot: %s", err(rename("y/..", "z")));
    MUST(link("b", "b2"));
    say("two names of one file: %s", err(rename("b", "b2")));
    kind("b");
    say("across file systems: %s", err(rename("b", "/dev/shm/q")));
    put("p", "P");
    put("q", "Q");
    say("noreplace: %s", err(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_NOREPLACE)));
    say("exchange: %s", err(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE)));
    say("exchanged: %s%s", strdupa(get("p")), strdupa(get("q")));
    say("exchange with nothing: %s", err(renameat2(AT_FDCWD, "p", AT_FDCWD, "n", RENAME_EXCHANGE)));
    say("both: %s", err(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE | RENAME_NOREPLACE)));
    say("unknown flag: %s", err(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", 64)));
    int fd = (int)MUST(open("p", O_RDONLY));
    MUST(rename("p", "moved"));
    say("the open file went along: %s", err(fstat(fd, &(struct stat){ 0 })));
    struct stat inner;
    MUST(mkdir("y/sub", 0755));
    int sub = (int)MUST(open("y/sub", O_RDONLY));
    MUST(mkdir("w", 0755));
    MUST(rename("y/sub", "w/sub"));
    char buffer[256];
    MUST(fchdir(sub));
    say("cwd after a move: %s", getcwd(buffer, sizeof(buffer)));
    MUST(stat("..", &inner));
    say("its parent has %ld links", (long)inner.st_nlink);
}

static void lengths(void)
{
    own_directory();
    char name[5000];
    memset(name, 'n', sizeof(name));
    name[255] = 0;
    say("255 bytes: %s", err(open(name, O_CREAT | O_WRONLY, 0600)));
    name[255] = 'n';
    name[256] = 0;
    say("256 bytes: %s", err(open(name, O_CREAT | O_WRONLY, 0600)));
    say("256 bytes, mkdir: %s", err(mkdir(name, 0700)));
    say("256 bytes in the middle: %s", err((strcat(name, "/x"), open(name, O_RDONLY))));
    for (int i = 0; i < 4094; i += 2)
        memcpy(name + i, "./", 2);
    strcpy(name + 4094, ".");
    say("4095 bytes: %s", err(open(name, O_RDONLY)));
    strcpy(name + 4094, "./");
    say("4096 bytes: %s", err(open(name, O_RDONLY)));
    memset(name, 't', 4096);
    name[4095] = 0;
    say("longest link: %s", err(symlink(name, "link")));
    say("its length: %ld", (long)readlink("link", name, sizeof(name)));
    memset(name, 't', 4200);
    name[4100] = 0;
    say("longer link: %s", err(symlink(name, "link2")));
}

static void dots_and_slashes(void)
{
    own_directory();
    MUST(mkdir("d", 0755));
    put("d/f", "found");
    say("%s", get("d//f"));
    say("%s", get("./d/./f"));
    say("%s", get("d/../d/f"));
    say("%s", get("//tmp//case_dots_and_slashes///d/f"));
    say("%s", get("../case_dots_and_slashes/d/f"));
    say("file with a slash: %s", err(open("d/f/", O_RDONLY)));
    say("file with a dot: %s", err(open("d/f/.", O_RDONLY)));
    say("file with dot dot: %s", err(open("d/f/..", O_RDONLY)));
    say("missing with dot dot: %s", err(open("m/../d/f", O_RDONLY)));
    say("create with a slash: %s", err(open("new/", O_CREAT | O_WRONLY, 0600)));
    say("dots are a name: %s", err(open("...", O_CREAT | O_WRONLY, 0600)));
    say("a byte that is no UTF-8: %s", err(open("\xff\xfe", O_CREAT | O_WRONLY, 0600)));
    say("a new line: %s", err(open("a\nb", O_CREAT | O_WRONLY, 0600)));
    say("the root: %s", err(open("/", O_RDONLY)));
    say("many slashes: %s", err(open("////", O_RDONLY)));
}

static void relative_to_descriptors(void)
{
    own_directory();
    MUST(mkdir("d", 0755));
    put("d/f", "text");
    int d = (int)MUST(open("d", O_RDONLY));
    int p = (int)MUST(open("d", O_PATH));
    int f = (int)MUST(open("d/f", O_RDONLY));
    say("openat: %s", err(openat(d, "f", O_RDONLY)));
    say("openat of O_PATH: %s", err(openat(p, "f", O_RDONLY)));
    say("openat of a file: %s", err(openat(f, "f", O_RDONLY)));
    say("openat of a bad one: %s", err(openat(99, "f", O_RDONLY)));
    say("absolute ignores it: %s", err(openat(99, "/tmp", O_RDONLY)));
    say("dot dot: %s", err(openat(d, "../d/f", O_RDONLY)));
    say("mkdirat: %s", err(mkdirat(d, "m", 0700)));
    say("symlinkat: %s", err(symlinkat("f", d, "s")));
    say("faccessat: %s", err(faccessat(d, "s", R_OK, 0)));
    say("renameat: %s", err(renameat(d, "s", AT_FDCWD, "t")));
    say("linkat: %s", err(linkat(d, "f", d, "g", 0)));
    say("unlinkat: %s", err(unlinkat(d, "f", 0)));
    struct stat data;
    say("fstatat: %s", err(fstatat(d, "g", &data, 0)));
    say("empty path with O_PATH: %s", err(fstatat(p, "", &data, AT_EMPTY_PATH)));
    MUST(rename("d", "moved"));
    say("after a move: %s", err(fstatat(d, "g", &data, 0)));
    say("fchmodat: %s", err(fchmodat(d, "g", 0600, 0)));
    say("fchownat: %s", err(fchownat(d, "g", 5, 5, AT_SYMLINK_NOFOLLOW)));
    char buffer[16];
    say("readlinkat of an O_PATH link: %ld",
        (long)readlinkat((int)MUST(open("t", O_PATH | O_NOFOLLOW)), "", buffer, 16));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
    char *names[4000];
    int count = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        say("opendir %s: %s", path, err(-1));
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) && count < 4000) {
        char text[300];
        snprintf(text, sizeof(text), "%s(%d)", entry->d_name, entry->d_type);
        names[count++] = strdup(text);
    }
    closedir(directory);
    qsort(names, (size_t)count, sizeof(*names), compare_names);
    char line[3000] = "";
    for (int i = 0; i < count && i < 20; i++)
        strcat(strcat(line, " "), names[i]);
    say("%s has %d:%s", path, count, line);
}

static void listing(void)
{
    own_directory();
    MUST(mkdir("d", 0755));
    list("d");
    put("d/file", "");
    MUST(mkdir("d/directory", 0755));
    MUST(symlink("x", "d/link"));
    MUST(mkfifo("d/fifo", 0600));
    list("d");
    MUST(unlink("d/file"));
    list("d");
    MUST(mkdir("many", 0755));
    char name[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "many/entry%04d", i);
        close((int)MUST(open(name, O_CREAT | O_WRONLY, 0600)));
    }
    list("many");
    /* Removing while reading must reach every entry. */
    DIR *directory = opendir("many");
    struct dirent *entry;
    int removed = 0;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] == 'e' && unlinkat(dirfd(directory), entry->d_name, 0) == 0)
            removed++;
    say("removed while reading: %d", removed);
    rewinddir(directory);
    int left = 0;
    while (readdir(directory))
        left++;
    say("left: %d", left);
    closedir(directory);
    int fd = (int)MUST(open("d", O_RDONLY));
    char small[8];
    say("getdents64 into too little: %s", err(syscall(SYS_getdents64, fd, small, sizeof(small))));
    char buffer[4096];
    say("getdents64: %s", err(syscall(SYS_getdents64, fd, buffer, sizeof(buffer))));
    say("at the end: %ld", syscall(SYS_getdents64, fd, buffer, sizeof(buffer)));
    MUST(lseek(fd, 0, SEEK_SET));
    say("from the start: %d", syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
    say("getdents64 of a file: %s", err(syscall(SYS_getdents64, open("d/link", O_RDONLY), buffer, 100)));
    int gone = (int)MUST((mkdir("gone", 0755), open("gone", O_RDONLY)));
    MUST(rmdir("gone"));
    say("of a removed directory: %s", err(syscall(SYS_getdents64, gone, buffer, sizeof(buffer))));
}

static void named_pipes(void)
{
    own_directory();
    say("mkfifo: %s", err(mkfifo("p", 0600)));
    kind("p");
    say("writer without a reader: %s", err(open("p", O_WRONLY | O_NONBLOCK)));
    int reader = (int)MUST(open("p", O_RDONLY | O_NONBLOCK));
    char buffer[16] = { 0 };
    say("read without a writer: %ld", (long)read(reader, buffer, 8));
    int writer = (int)MUST(open("p", O_WRONLY | O_NONBLOCK));
    say("empty: %s", err(read(reader, buffer, 8)));
    say("write: %ld", (long)write(writer, "hello", 5));
    say("read: %ld", (long)read(reader, buffer, 8));
    say("bytes: %s", buffer);
    close(writer);
    say("end: %ld", (long)read(reader, buffer, 8));
    pid_t child = fork();
    if (child == 0) {
        int fd = open("p", O_WRONLY);
        _exit(write(fd, "child", 5) == 5 ? 0 : 1);
    }
    MUST(fcntl(reader, F_SETFL, 0));
    say("child: %s", reap(child));
    say("read: %ld", (long)read(reader, buffer, 8));
}

static void special_files(void)
{
    own_directory();
    say("regular: %s", err(mknod("r", S_IFREG | 0640, 0)));
    kind("r");
    say("no type: %s", err(mknod("n", 0640, 0)));
    kind("n");
    say("directory: %s", err(mknod("d", S_IFDIR | 0755, 0)));
    say("socket: %s", err(mknod("s", S_IFSOCK | 0600, 0)));
    kind("s");
    say("open a socket: %s", err(open("s", O_RDONLY)));
    say("exists: %s", err(mknod("r", S_IFREG | 0600, 0)));
}

CHECK_MAIN(CASE(directories), CASE(working_directory), CASE(symbolic_links), CASE(hard_links), CASE(renames),
           CASE(lengths), CASE(dots_and_slashes), CASE(relative_to_descriptors), CASE(listing), CASE(named_pipes),
           CASE(special_files))
