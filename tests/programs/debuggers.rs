//! Programs that trace others: `strace` and `gdb`.

use crate::case::Case;

const STRACE: &[&str] = &["bash", "strace"];
const STRACE_AND_GCC: &[&str] = &["bash", "strace", "gcc"];
const GDB: &[&str] = &["bash", "gdb", "gcc"];

/// A program of which there is something to see.
macro_rules! program {
    ($($rest:literal),*) => {
        concat!(
            "cat > p.c <<'C'\n",
            "#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>\n",
            "int var; double half = 0.5;\n",
            "static int work(int n)\n{\n    for (int i = 0; i < n; i++)\n        var += i;\n    return var;\n}\n",
            "static void on(int s) { var += s; }\n",
            "int main(void)\n{\n    signal(SIGUSR1, on);\n    work(4);\n    raise(SIGUSR1);\n    half *= var;\n",
            "    printf(\"var %d half %.1f\\n\", var, half);\n    return 3;\n}\nC\n",
            "gcc -g -O0 -o p p.c\n",
            "clean() { sed -E 's/0x[0-9a-f]{6,}/ADDRESS/g; s/(process) [0-9]+/\\1 N/g'; }\n",
            "g() { gdb -nx -batch -ex 'set pagination off' \"$@\" 2>&1 < /dev/null | clean; }\n",
            $($rest),*
        )
    };
}

/// A program whose threads make calls that no library makes.
macro_rules! threads {
    ($($rest:literal),*) => {
        concat!(
            "cat > t.c <<'C'\n",
            "#include <pthread.h>\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n",
            "static void *f(void *a) { for (int i = 0; i < 150; i++) { syscall(SYS_getpgid, (long)a); usleep(10000); } return 0; }\n",
            "int main(void) { pthread_t t[3]; for (long i = 0; i < 3; i++) pthread_create(t + i, 0, f, (void *)(100000000 + i)); \n",
            "for (int i = 0; i < 3; i++) pthread_join(t[i], 0); return 4; }\nC\n",
            "gcc -O1 -pthread -o t t.c\n",
            $($rest),*
        )
    };
}

/// The cases.
pub const CASES: &[Case] = &[
    Case::bash("strace_follows_children", STRACE, "echo x > f; strace -f -o log ls -l f > out; echo $?; tail -1 log | sed -E 's/^[0-9]+ +//';
        strace -f -e trace=execve,exit_group -o log bash -c '(exit 3); ls f; /bin/true; exit 5'; echo $?;
        sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]+.*/ADDRESS/; s/si_(pid|[us]time)=[0-9]+/T/g; s, /\\* [0-9.]+ s \\*/,,g' log | sort"),
    Case::bash("strace_shows_calls_and_errors", STRACE, "strace -e trace=openat,chdir,kill,nanosleep -e signal=all -o log bash -c 'cd /nowhere; sleep 0.01; kill -USR1 $$' 2> /dev/null;
        echo $?; grep -v '\\.so\\|locale\\|gconv' log | sed -E 's/(si_pid=|kill\\()[0-9]+/\\1N/; s/0x[0-9a-f]+/N/g; s/ +=/ =/'"),
    Case::bash("strace_counts_calls", STRACE, "strace -f -c -o log bash -c '/bin/true; /bin/true'; grep -E '(execve|wait4|exit_group)$' log | awk '{print $4, $NF}' | sort;
        awk '$NF == \"total\" {print $NF}' log"),
    Case::bash("strace_changes_results", STRACE, "echo x > f; strace -e inject=getppid:retval=77 -e trace=getppid -o log bash -c 'echo $PPID';
        strace -e trace=openat -P $PWD/f -e inject=openat:error=EACCES -o log cat f 2>&1; sed -E 's/ +/ /g' log"),
    Case::bash("strace_filters_calls_in_the_kernel", STRACE_AND_GCC, threads!("strace --seccomp-bpf -f -e trace=getpgid -o log ./t; echo $?;
        grep -o 'getpgid([0-9]*)\\|getpgid([0-9]* ' log | sed 's/[ )]$//' | sort | uniq -c; grep -c exited log")),
    Case::bash("strace_attaches_to_threads", STRACE_AND_GCC, threads!("./t & p=$!; sleep 0.3; timeout -s INT 0.4 strace -f -p $p -e trace=getpgid -o log 2> /dev/null;
        wait $p; echo $?; grep -o 'getpgid([0-9]*' log | sort -u;
        ./t & p=$!; sleep 0.2; strace -f -p $p -e trace=exit_group -o log 2> /dev/null; wait $p; echo $?; grep -o 'exit_group.*\\|exited with.*' log | sort"))
        .within(90),
    Case::bash("gdb_breaks_and_steps", GDB, program!("g -ex 'break work' -ex 'run > out' -ex bt -ex 'info registers rdi' -ex stepi -ex 'p var' -ex next -ex step -ex finish -ex 'handle SIGUSR1 nostop' -ex continue ./p; cat out")),
    Case::bash("gdb_watches_a_variable", GDB, program!("g -ex 'break main' -ex 'run > out' -ex 'watch var' -ex continue -ex continue -ex 'info watchpoints' -ex delete -ex continue -ex continue ./p; cat out
        g -ex 'set can-use-hw-watchpoints 0' -ex 'break work' -ex 'run > out' -ex 'watch var' -ex continue -ex continue -ex kill ./p; cat out")),
    Case::bash("gdb_calls_and_changes", GDB, program!("g -ex 'break work' -ex 'run > out' -ex delete -ex 'p work(2)' -ex 'set var var = 100' -ex 'set var half = 2' -ex 'catch syscall exit_group' -ex continue -ex continue -ex 'p var' -ex 'p $rdi' -ex continue ./p; cat out")),
    Case::bash("gdb_attaches", GDB, "printf '#include <unistd.h>\\nvolatile int go = 1; int main(void) { for (int i = 0; go && i < 1000; i++) usleep(10000); return go ? 9 : 5; }' > l.c;
        gcc -g -O0 -o l l.c; ./l & p=$!; sleep 0.3; gdb -nx -batch -p $p -ex 'p go' -ex 'set var go = 0' -ex detach 2>&1 < /dev/null | grep '^\\$1\\|detached' | sed 's/process [0-9]*/process/'; wait $p; echo $?")
        .within(90),
    Case::bash("gdb_follows_forks_and_execs", GDB, "gdb -nx -batch -ex 'set follow-fork-mode child' -ex 'set detach-on-fork off' -ex 'catch exec' -ex run -ex continue --args sh -c '/bin/true; exit 4' 2>&1 < /dev/null |
        grep 'Catchpoint\\|exited' | sed -E 's/process [0-9]+/process/; s/0x[0-9a-f]+/ADDRESS/'"),
];
