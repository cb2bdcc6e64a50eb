/* execve of broken and hostile ELF files. */
#include "check.h"
#include <elf.h>
#include <stddef.h>

static char *no_environment[] = { NULL };

/* Runs a program in a child and says how it ended; the error where it cannot be run. */
static void run_plain(const char *what, const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        execve(path, (char *[]){ (char *)path, NULL }, no_environment);
        say("%s: %s", what, err(-1));
        _exit(0);
    }
    const char *end = reap(child);
    if (strcmp(end, "exit 0") != 0)
        say("%s: ends with %s", what, end);
}

/* A small ELF file to break: one segment whose code is exit(42). */
struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segments[4];
    unsigned char code[16];
    char interpreter[64];
};

static struct image good_image(void)
{
    struct image image;
    memset(&image, 0, sizeof(image));
    memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_ident[EI_DATA] = ELFDATA2LSB;
    image.header.e_ident[EI_VERSION] = EV_CURRENT;
    image.header.e_type = ET_EXEC;
    image.header.e_machine = EM_X86_64;
    image.header.e_version = EV_CURRENT;
    image.header.e_entry = 0x400000 + offsetof(struct image, code);
    image.header.e_phoff = offsetof(struct image, segments);
    image.header.e_ehsize = sizeof(Elf64_Ehdr);
    image.header.e_phentsize = sizeof(Elf64_Phdr);
    image.header.e_phnum = 1;
    image.segments[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
                                      .p_flags = PF_R | PF_X,
                                      .p_vaddr = 0x400000,
                                      .p_paddr = 0x400000,
                                      .p_filesz = sizeof(image),
                                      .p_memsz = sizeof(image),
                                      .p_align = 4096 };
    const unsigned char code[] = { 0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05 };
    memcpy(image.code, code, sizeof(code));
    return image;
}

static void run_image(const char *what, const struct image *image, size_t size)
{
    int fd = (int)MUST(open("image", O_WRONLY | O_CREAT | O_TRUNC, 0755));
    MUST(write(fd, image, size));
    close(fd);
    run_plain(what, "./image");
}

static void broken_headers(void)
{
    own_directory();
    struct image image = good_image();
    run_image("good", &image, sizeof(image));
    for (size_t size = 4; size < sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr); size += 12)
        run_image("truncated", &image, size);
    image.header.e_ident[EI_CLASS] = ELFCLASS32;
    run_image("class of 32 bits", &image, sizeof(image));
    image = good_image();
    image.header.e_machine = EM_AARCH64;
    run_image("another machine", &image, sizeof(image));
    image = good_image();
    image.header.e_type = ET_REL;
    run_image("object file", &image, sizeof(image));
    image = good_image();
    image.header.e_type = ET_CORE;
    run_image("core file", &image, sizeof(image));
    image = good_image();
    image.header.e_phentsize = 55;
    run_image("size of a segment header", &image, sizeof(image));
    image = good_image();
    image.header.e_phnum = 0;
    run_image("no segments", &image, sizeof(image));
    image = good_image();
    image.header.e_phnum = 65535;
    run_image("too many segments", &image, sizeof(image));
    image = good_image();
    image.header.e_phoff = 1 << 20;
    run_image("segments past the end", &image, sizeof(image));
    image = good_image();
    image.header.e_phoff = UINT64_MAX - 10;
    run_image("segments wrap", &image, sizeof(image));
    image = good_image();
    image.header.e_entry = 0x10;
    run_image("entry at nothing", &image, sizeof(image));
    image = good_image();
    image.header.e_entry = UINT64_MAX;
    run_image("entry in the kernel", &image, sizeof(image));
}

static void broken_segments(void)
{
    own_directory();
    struct image image = good_image();
    image.segments[0].p_vaddr = 0x7ffffffff000;
    run_image("at the end of the address space", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_vaddr = UINT64_MAX & ~4095UL;
    run_image("in the kernel", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_memsz = UINT64_MAX;
    run_image("memory wraps", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_memsz = 1UL << 46;
    run_image("64 TiB", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_filesz = image.segments[0].p_memsz + 1;
    run_image("more file than memory", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_offset = 7;
    run_image("offset and address do not agree", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_offset = 1UL << 62;
    run_image("offset far past the end", &image, sizeof(image));
    image = good_image();
    image.header.e_phnum = 2;
    image.segments[1] = image.segments[0];
    run_image("the same twice", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_flags = PF_R;
    run_image("not executable", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_memsz = 1 << 20;
    run_image("zeros after a read-only segment", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_filesz = image.segments[0].p_memsz = 1 << 20;
    run_image("segment past the end of the file", &image, sizeof(image));
    image = good_image();
    image.header.e_type = ET_DYN;
    image.segments[0].p_vaddr = 0;
    image.header.e_entry = offsetof(struct image, code);
    run_image("position independent", &image, sizeof(image));
    image.segments[0].p_align = 3;
    run_image("odd alignment", &image, sizeof(image));
    image.segments[0].p_align = 1UL << 40;
    run_image("huge alignment", &image, sizeof(image));
    image = good_image();
    image.segments[0].p_type = PT_NOTE;
    run_image("nothing to load", &image, sizeof(image));
}

static void broken_interpreters(void)
{
    own_directory();
    struct image image = good_image();
    image.header.e_phnum = 2;
    image.segments[1] = (Elf64_Phdr){ .p_type = PT_INTERP,
                                      .p_flags = PF_R,
                                      .p_offset = offsetof(struct image, interpreter),
                                      .p_filesz = 13 };
    strcpy(image.interpreter, "/no/such/file");
    image.segments[1].p_filesz = 14;
    run_image("missing", &image, sizeof(image));
    image.segments[1].p_filesz = 13;
    run_image("not ended", &image, sizeof(image));
    image.segments[1].p_filesz = 1;
    run_image("too short", &image, sizeof(image));
    image.segments[1].p_filesz = 5000;
    run_image("too long", &image, sizeof(image));
    image.segments[1].p_filesz = 14;
    image.segments[1].p_offset = 1 << 20;
    run_image("past the end", &image, sizeof(image));
    image.segments[1].p_offset = UINT64_MAX;
    run_image("offset wraps", &image, sizeof(image));
    image.segments[1].p_offset = offsetof(struct image, interpreter);
    strcpy(image.interpreter, "/tmp");
    image.segments[1].p_filesz = 5;
    run_image("a directory", &image, sizeof(image));
    put("/tmp/text_interpreter", "text");
    MUST(chmod("/tmp/text_interpreter", 0755));
    strcpy(image.interpreter, "/tmp/text_interpreter");
    image.segments[1].p_filesz = 22;
    run_image("a text", &image, sizeof(image));
    put("/tmp/short_interpreter", "\177ELF");
    MUST(chmod("/tmp/short_interpreter", 0755));
    strcpy(image.interpreter, "/tmp/short_interpreter");
    image.segments[1].p_filesz = 23;
    run_image("a truncated one", &image, sizeof(image));
    strcpy(image.interpreter, "");
    image.segments[1].p_filesz = 2;
    run_image("an empty name", &image, sizeof(image));
}

/* Random changes of a good file must end in some error or death, and nothing else. */
static void many_broken_files(void)
{
    own_directory();
    unsigned random = 1;
    int ended = 0;
    for (int i = 0; i < 300; i++) {
        struct image image = good_image();
        image.header.e_phnum = 2;
        image.segments[1] = image.segments[0];
        image.segments[1].p_vaddr += 0x10000;
        unsigned char *bytes = (unsigned char *)&image;
        for (int j = 0; j < 3; j++) {
            random = random * 1103515245 + 12345;
            size_t at = 4 + (random >> 8) % (sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) - 4);
            random = random * 1103515245 + 12345;
            bytes[at] = (unsigned char)(random >> 16);
        }
        int fd = (int)MUST(open("image", O_WRONLY | O_CREAT | O_TRUNC, 0755));
        MUST(write(fd, &image, sizeof(image)));
        close(fd);
        pid_t child = fork();
        if (child == 0) {
            alarm(5);
            execve("./image", (char *[]){ "image", NULL }, no_environment);
            _exit(1);
        }
        int status;
        MUST(waitpid(child, &status, 0));
        ended++;
    }
    say("ended: %d", ended);
}

CHECK_MAIN(CASE(broken_headers), CASE(broken_segments), CASE(broken_interpreters), CASE(many_broken_files))
