// Children that destroy what runs them on platform systrap, each in its way; the parent tells that they ended.

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// The first page of the stub's region, its code, and its first areas.
static unsigned char *const stub_code = (unsigned char *)0x7fffc0000000;
static void *const stub_areas = (void *)0x7fffc0100000;
enum { PAGE = 4096, AREAS = 0x20000 };

static uint64_t frame[1024] __attribute__((aligned(64)));

static void spin(void) {
    for (;;)
        __asm__ volatile("");
}

// Where the stub returns from its handler: mov eax, SYS_rt_sigreturn; syscall.
static void *find_return(void) {
    for (int offset = 0; offset < PAGE - 7; offset++)
        if (memcmp(stub_code + offset, "\xb8\x0f\0\0\0\x0f\x05", 7) == 0)
            return stub_code + offset;
    _exit(1);
}

static void jump(void *code, void *stack) {
    __asm__ volatile("mov %1, %%rsp; jmp *%0" : : "r"(code), "r"(stack) : "memory");
}

static void return_from_nowhere(void) {
    jump(find_return(), (void *)0x10);
}

// Returns with a frame in which all signals are blocked, and never makes a call again.
static void block_everything(void) {
    frame[0] = 6;
    frame[3] = 2;
    frame[5 + 15] = (uint64_t)(frame + 1000);
    frame[5 + 16] = (uint64_t)spin;
    frame[5 + 17] = 0x202;
    frame[5 + 18] = 0x33 | 0x2bULL << 48;
    frame[37] = UINT64_MAX;
    jump(find_return(), frame);
}

static void overwrite_areas(void) {
    memset(stub_areas, 0xff, AREAS);
    __builtin_trap();
}

static void (*const ways[])(void) = {return_from_nowhere, block_everything, overwrite_areas};

int main(void) {
    for (unsigned way = 0; way < sizeof ways / sizeof *ways; way++) {
        pid_t pid = fork();
        if (pid == 0) {
            ways[way]();
            _exit(0);
        }
        int status = 0;
        usleep(50000);
        kill(pid, SIGTERM);
        if (waitpid(pid, &status, 0) != pid)
            return 1;
        printf("%u: %s\n", way, WIFSIGNALED(status) ? "killed" : "exited");
        fflush(stdout);
    }
    return 0;
}
