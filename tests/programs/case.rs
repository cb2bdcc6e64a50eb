//! What a case is.

use std::time::Duration;

use anyhow::Result;
use bartizan_harness::{Check, Scene};

/// What runs the script of a case.
#[derive(Debug, Clone, Copy)]
pub enum Shell {
    /// `busybox sh`, which runs its own applets before programs.
    Busybox,
    /// `bash`.
    Bash,
    /// The interpreter of this name, with the option that takes a script.
    Interpreter(&'static str, &'static str),
    /// No script: the guest program of this name.
    Guest,
}

/// One script with what it needs.
#[derive(Debug)]
pub struct Case {
    /// Its name, `area_what_it_does`.
    pub name: &'static str,
    /// The programs that must be there.
    pub needs: &'static [&'static str],
    /// What runs it.
    pub shell: Shell,
    /// The script, or the name of the guest program.
    pub script: &'static str,
    /// What is compared.
    pub check: Check,
    /// Whether it changes files of the root.
    pub changes_root: bool,
    /// How many seconds it may take.
    pub seconds: u64,
}

impl Case {
    /// A script for `busybox sh`.
    pub const fn busybox(name: &'static str, script: &'static str) -> Self {
        Self::new(name, &["busybox"], Shell::Busybox, script)
    }

    /// A script for `bash` that needs these programs.
    pub const fn bash(name: &'static str, needs: &'static [&'static str], script: &'static str) -> Self {
        Self::new(name, needs, Shell::Bash, script)
    }

    /// A script for the first program of `needs`, which takes it after `option`.
    pub const fn interpreter(
        name: &'static str,
        needs: &'static [&'static str],
        option: &'static str,
        script: &'static str,
    ) -> Self {
        Self::new(name, needs, Shell::Interpreter(needs[0], option), script)
    }

    /// A guest program of `tests/guest`, for which `needs` names the compiler.
    pub const fn guest(name: &'static str, needs: &'static [&'static str], program: &'static str) -> Self {
        Self::new(name, needs, Shell::Guest, program)
    }

    const fn new(
        name: &'static str,
        needs: &'static [&'static str],
        shell: Shell,
        script: &'static str,
    ) -> Self {
        Self { name, needs, shell, script, check: Check::Output, changes_root: false, seconds: 60 }
    }

    /// Compares the standard error too.
    pub const fn with_errors(mut self) -> Self {
        self.check = Check::OutputAndError;
        self
    }

    /// Lets it change files of the root, which is an overlay on the host too.
    pub const fn changing_root(mut self) -> Self {
        self.changes_root = true;
        self
    }

    /// Lets it take that many seconds.
    pub const fn within(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// The scene that runs it.
    pub fn scene(&self) -> Result<Scene> {
        let scene = match self.shell {
            Shell::Busybox => Scene::new("/bin/busybox").args(["sh", "-c", self.script]),
            Shell::Bash => Scene::new("/bin/bash").args(["-c", self.script]),
            Shell::Interpreter(program, option) => {
                Scene::new(format!("/usr/bin/{program}")).args([option, self.script])
            }
            Shell::Guest => Scene::guest(self.script)?,
        };
        let scene = if self.changes_root { scene.changing_root() } else { scene };
        Ok(scene.within(Duration::from_secs(self.seconds)))
    }
}
