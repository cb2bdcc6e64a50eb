//! What runs programs: the host itself, our platforms, and the peers that are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bartizan_harness::{guest_path, launcher, platforms, run};

/// Peers that are not in `PATH`.
#[derive(Debug)]
pub struct Peers {
    /// gVisor's.
    pub runsc: Vec<PathBuf>,
    /// Rewrites paths of a traced program.
    pub proot: Option<PathBuf>,
    /// Makes namespaces; the host's kernel answers everything.
    pub bwrap: Option<PathBuf>,
}

/// A way to run programs.
#[derive(Debug)]
pub struct Runner {
    /// What tables call it.
    pub name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Host,
    Bartizan { platform: String },
    Runsc { program: PathBuf, platform: &'static str },
    Proot { program: PathBuf },
    Bwrap { program: PathBuf },
}

/// The host first, then ours, then the peers that work here.
pub fn find(peers: &Peers) -> Result<Vec<Runner>> {
    let mut runners = vec![Runner { name: "host".to_owned(), kind: Kind::Host }];
    for platform in platforms() {
        let name = format!("bartizan {platform}");
        runners.push(Runner { name, kind: Kind::Bartizan { platform } });
    }
    let given = |program: &Option<PathBuf>, name: &str| program.clone().or_else(|| in_path(name));
    let mut runsc = peers.runsc.clone();
    if runsc.is_empty() {
        runsc.extend(in_path("runsc"));
    }
    for program in runsc {
        let version = version(&program).unwrap_or_else(|| "runsc".to_owned());
        for platform in ["systrap", "ptrace"] {
            let kind = Kind::Runsc { program: program.clone(), platform };
            runners.push(Runner { name: format!("{version} {platform}"), kind });
        }
    }
    if let Some(program) = given(&peers.proot, "proot") {
        runners.push(Runner { name: "proot".to_owned(), kind: Kind::Proot { program } });
    }
    if let Some(program) = given(&peers.bwrap, "bwrap") {
        runners.push(Runner { name: "bwrap".to_owned(), kind: Kind::Bwrap { program } });
    }
    runners.retain(Runner::works);
    Ok(runners)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// `runsc` and the year and month of its version.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "runsc version 0.0~20240729.0"
    let date: String =
        text.lines().next()?.split('~').nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("runsc {}-{}", date.get(..4)?, date.get(4..6)?))
}

impl Runner {
    /// Whether it runs anything here; if not, says why.
    fn works(&self) -> bool {
        let outcome = self
            .command("/bin/true", &[])
            .and_then(|mut command| run(&mut command, b"", Duration::from_secs(30)));
        match outcome {
            Ok(outcome) if outcome.code == 0 => true,
            Ok(outcome) => {
                let reason = String::from_utf8_lossy(&outcome.stderr);
                eprintln!("{} is left out: {}", self.name, reason.lines().next().unwrap_or_default());
                false
            }
            Err(error) => {
                eprintln!("{} is left out: {error:#}", self.name);
                false
            }
        }
    }

    /// Whether its memory can be told from that of other processes.
    pub fn is_host(&self) -> bool {
        matches!(self.kind, Kind::Host)
    }

    /// The command that runs `program` with `arguments`. A program without a slash is a guest program of ours.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Command> {
        let guest = guest_path("")?;
        let guests = guest.to_str().context("the build directory has a name that is no text")?;
        let on_host = if program.contains('/') { program.to_owned() } else { format!("{guests}{program}") };
        let mut command = match &self.kind {
            Kind::Host => Command::new(&on_host),
            Kind::Bartizan { platform } => {
                let mut command = Command::new(launcher()?);
                let bind = format!("{guests}:/mnt:ro");
                command.args(["do", "--platform", platform, "--bind", &bind, "--"]);
                command.arg(if program.contains('/') {
                    program.to_owned()
                } else {
                    format!("/mnt/{program}")
                });
                command
            }
            Kind::Runsc { program, platform } => {
                let mut command = Command::new(program);
                command.args([&format!("--platform={platform}"), "--network=none", "do", &on_host]);
                command
            }
            Kind::Proot { program } => {
                let mut command = Command::new(program);
                command.args(["-r", "/", &on_host]);
                command
            }
            Kind::Bwrap { program } => {
                let mut command = Command::new(program);
                command.args(["--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", &on_host]);
                command
            }
        };
        command.args(arguments);
        Ok(command)
    }
}
