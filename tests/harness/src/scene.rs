//! A command with its surroundings, run on the host or in a sandbox.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Outcome, build_guest, launcher, run};

/// Where programs are looked for, on the host as in a sandbox.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables of the environment that every scene has.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PATH", SEARCH_PATH), ("HOME", "/tmp"), ("LC_ALL", "C"), ("TZ", "UTC"), ("TERM", "dumb")];

/// Where a scene with a guest program of ours finds it: where programs are built may be hidden by an empty directory.
const GUESTS: &str = "/mnt";

/// Makes the directories empty that a sandbox has empty, enters the working directory and becomes the command. Its
/// arguments: the working directory, the directory of our guest programs or nothing, `overlay` where the root may be changed, the command.
const SET_THE_SCENE: &str = r#"
umask 022
set -e
cwd=$1; guests=$2; root=$3; shift 3
if [ -n "$guests" ]; then mount --bind "$guests" /mnt; fi
if [ -n "$root" ]; then
    mount -t tmpfs tmpfs /run
    mkdir /run/upper /run/work /run/root
    mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work,redirect_dir=off,index=off,metacopy=off overlay /run/root
    root=/run/root
    for directory in /proc /sys /dev; do mount --rbind $directory $root$directory; done
fi
for directory in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $root$directory; done
unset PWD OLDPWD
if [ -n "$root" ]; then
    exec chroot $root /bin/sh -c 'cd "$1"; unset PWD OLDPWD; shift; exec "$@"' chroot "$cwd" "$@"
fi
cd "$cwd"
unset PWD OLDPWD
exec "$@"
"#;

/// A command with its arguments, input, environment and limit of time. It starts in an empty `/tmp`.
#[derive(Debug, Clone)]
pub struct Scene {
    command: Vec<OsString>,
    guests: Option<PathBuf>,
    input: Vec<u8>,
    environment: Vec<(String, String)>,
    options: Vec<OsString>,
    cwd: PathBuf,
    changes_root: bool,
    limit: Duration,
}

impl Scene {
    /// A scene that runs `program`, found in [`SEARCH_PATH`] unless it has a slash.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            command: vec![program.into()],
            guests: None,
            input: Vec::new(),
            environment: Vec::new(),
            options: Vec::new(),
            cwd: PathBuf::from("/tmp"),
            changes_root: false,
            limit: Duration::from_secs(60),
        }
    }

    /// A scene that runs our guest program `name`, built where it is not.
    pub fn guest(name: &str) -> Result<Self> {
        let program = build_guest(name)?;
        let guests = program.parent().map(PathBuf::from);
        Ok(Self { guests, ..Self::new(format!("{GUESTS}/{name}")) })
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.command.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets what the command reads from its standard input, which is `/dev/null` where this is empty.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets the working directory, `/tmp` before.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = cwd.into();
        self
    }

    /// Lets it change the root: on the host that is an overlay then, as it is in a sandbox.
    #[must_use]
    pub fn changing_root(mut self) -> Self {
        self.changes_root = true;
        self
    }

    /// Sets how long it may take, 60 s before.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Adds an option of the launcher, for the sandbox alone.
    #[must_use]
    pub fn option(mut self, option: impl Into<OsString>) -> Self {
        self.options.push(option.into());
        self
    }

    /// How long it may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs the scene on the host, in a mount namespace of its own.
    pub fn native(&self) -> Result<Outcome> {
        let mut command = Command::new("unshare");
        command.args(if is_root() { &["-m", "-i"][..] } else { &["-r", "-m", "-i"][..] });
        command.args(["--propagation", "private", "--", "/bin/sh", "-c", SET_THE_SCENE, "scene"]);
        command.arg(&self.cwd).arg(self.guests.as_deref().unwrap_or(Path::new("")));
        command.arg(if self.changes_root { "overlay" } else { "" }).args(&self.command);
        command.env_clear();
        command.envs(ENVIRONMENT.iter().copied());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        run(&mut command, &self.input, self.limit)
    }

    /// Runs the scene in a sandbox on `platform`. The platform `host` is the host once more: it proves that the scene
    /// does the same each time.
    pub fn sandboxed(&self, platform: &str) -> Result<Outcome> {
        if platform == "host" {
            return self.native();
        }
        run(&mut self.sandbox_command(platform)?, &self.input, self.limit)
    }

    /// The command that runs the scene in a sandbox on `platform`, without its input.
    pub fn sandbox_command(&self, platform: &str) -> Result<Command> {
        let mut command = Command::new(launcher()?);
        command.args(["do", "--platform", platform]).arg("--cwd").arg(&self.cwd);
        let variables = ENVIRONMENT.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in variables.chain(self.environment.iter().cloned()) {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some(guests) = &self.guests {
            let guests = guests.to_str().filter(|path| !path.contains(':'));
            let guests = guests.context("the target directory has a colon in its name")?;
            command.arg("--bind").arg(format!("{guests}:{GUESTS}:ro"));
        }
        command.args(&self.options).arg("--").args(&self.command);
        Ok(command)
    }
}

/// Whether mounts need no user namespace.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::Scene;

    #[test]
    fn a_native_scene_starts_in_an_empty_directory_with_a_fixed_environment() {
        let outcome = Scene::new("/bin/sh").args(["-c", "pwd; ls -A; env | sort; cat; exit 7"]);
        let outcome = outcome.env("A", "b").input("in\n").native().expect("scene runs");
        let expected = "/tmp\nA=b\nHOME=/tmp\nLC_ALL=C\nPATH=";
        let printed = String::from_utf8_lossy(&outcome.stdout);
        assert!(printed.starts_with(expected), "{printed}");
        assert!(printed.ends_with("TZ=UTC\nin\n"), "{printed}");
        assert_eq!(outcome.code, 7);
    }

    #[test]
    fn a_scene_that_takes_too_long_is_killed() {
        let scene = Scene::new("/bin/sh").args(["-c", "sleep 60 & sleep 60"]);
        let outcome = scene.within(std::time::Duration::from_millis(300)).native().expect("scene runs");
        assert!(outcome.timed_out);
        assert_eq!(outcome.code, 128 + 9);
    }
}
