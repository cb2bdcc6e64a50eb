//! The whole programs that benchmarks run.

/// One program: its name, what it needs, and the command, which starts in an empty directory.
#[derive(Debug)]
pub struct Program {
    /// What it is called in tables.
    pub name: &'static str,
    /// The programs that have to be there.
    pub needs: &'static [&'static str],
    /// The command.
    pub command: &'static [&'static str],
}

/// Whole programs, from start to exit.
pub const PROGRAMS: &[Program] = &[
    Program { name: "shell", needs: &[], command: &["/bin/sh", "-c", ":"] },
    Program { name: "python_pass", needs: &["python3"], command: &["/usr/bin/python3", "-c", "pass"] },
    Program {
        name: "python_compute",
        needs: &["python3"],
        command: &["/usr/bin/python3", "-c", "print(sum(i * i for i in range(5_000_000)))"],
    },
    Program {
        name: "hundred_processes",
        needs: &[],
        command: &["/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i + 1)); done"],
    },
    Program { name: "find", needs: &[], command: &["/bin/sh", "-c", "find /usr/lib -type f | wc -l"] },
    Program {
        name: "gcc",
        needs: &["gcc"],
        command: &[
            "/bin/sh",
            "-c",
            r#"printf '#include <stdio.h>\nint main(void) { puts("x"); }\n' > a.c && gcc -O2 a.c && ./a.out"#,
        ],
    },
    Program {
        name: "tar",
        needs: &["tar"],
        command: &["/bin/sh", "-c", "mkdir to && tar c -C /usr/include . | tar x -C to"],
    },
    Program {
        name: "dd",
        needs: &[],
        command: &["/bin/sh", "-c", "dd if=/dev/zero of=file bs=4096 count=50000 2>/dev/null"],
    },
    Program {
        name: "grep",
        needs: &[],
        command: &["/bin/sh", "-c", "grep -r frobnicate /usr/include | wc -l"],
    },
];
