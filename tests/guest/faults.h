/* Touching memory and telling what came of it. */
#ifndef FAULTS_H
#define FAULTS_H

#include "check.h"
#include <setjmp.h>

#define PAGE 4096UL

static sigjmp_buf fault_exit;
static volatile int fault_signal, fault_code;
static void *volatile fault_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_signal = number;
    fault_code = info->si_code;
    fault_address = info->si_addr;
    siglongjmp(fault_exit, 1);
}

static void catch_faults(void)
{
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* Reads or writes a byte and says what came of it, with the address as a distance from base. */
__attribute__((unused)) static void touch(const char *what, char *address, char *base, int writing)
{
    catch_faults();
    if (sigsetjmp(fault_exit, 1) == 0) {
        if (writing)
            *(volatile char *)address = 'w';
        else
            (void)*(volatile char *)address;
        say("%s: fine", what);
    } else {
        say("%s: signal %d code %d at %+ld", what, fault_signal, fault_code,
            (long)((char *)fault_address - base));
    }
}

#endif
