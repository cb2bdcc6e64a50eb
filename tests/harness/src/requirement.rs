//! The programs that the tests run, and the Debian packages that they come from.

use std::path::{Path, PathBuf};

use crate::SEARCH_PATH;

/// A program that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// The program's name, looked for in [`SEARCH_PATH`], or the path of a file.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement { program: "busybox", package: "busybox-static" },
    Requirement { program: "bash", package: "bash" },
    Requirement { program: "ls", package: "coreutils" },
    Requirement { program: "find", package: "findutils" },
    Requirement { program: "grep", package: "grep" },
    Requirement { program: "tar", package: "tar" },
    Requirement { program: "diff", package: "diffutils" },
    Requirement { program: "sed", package: "sed" },
    Requirement { program: "mawk", package: "mawk" },
    Requirement { program: "gawk", package: "gawk" },
    Requirement { program: "gzip", package: "gzip" },
    Requirement { program: "bzip2", package: "bzip2" },
    Requirement { program: "xz", package: "xz-utils" },
    Requirement { program: "zstd", package: "zstd" },
    Requirement { program: "perl", package: "perl" },
    Requirement { program: "python3", package: "python3" },
    Requirement { program: "node", package: "nodejs" },
    Requirement { program: "sqlite3", package: "sqlite3" },
    Requirement { program: "git", package: "git" },
    Requirement { program: "make", package: "make" },
    Requirement { program: "gcc", package: "gcc" },
    Requirement { program: "strace", package: "strace" },
    Requirement { program: "gdb", package: "gdb" },
    Requirement { program: "unshare", package: "util-linux" },
    Requirement { program: "script", package: "bsdutils" },
    Requirement { program: "flock", package: "util-linux" },
    Requirement { program: "rsync", package: "rsync" },
    Requirement { program: "setfattr", package: "attr" },
    Requirement { program: "inotifywait", package: "inotify-tools" },
    Requirement { program: "vim", package: "vim" },
    Requirement { program: "less", package: "less" },
    Requirement { program: "tmux", package: "tmux" },
    Requirement { program: "lsof", package: "lsof" },
    Requirement { program: "stress-ng", package: "stress-ng" },
    Requirement { program: "/usr/lib/python3.11/test/test_posix.py", package: "libpython3.11-testsuite" },
];

/// All programs that the tests run beside what they build themselves.
pub fn requirements() -> &'static [Requirement] {
    REQUIREMENTS
}

/// Those of `programs` that this machine does not have.
pub fn missing<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    programs.iter().copied().filter(|program| find(program).is_none()).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    SEARCH_PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.exists())
}
