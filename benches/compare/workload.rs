//! What is measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bartizan_harness::{PROGRAMS, build_guest, missing, resident_of_tree, run};

use crate::runner::Runner;

/// Operations of `benches/guest/bench.c`, and how often one run makes them.
const OPERATIONS: &[(&str, &str)] = &[
    ("getpid", "20000"),
    ("read_4k", "10000"),
    ("host_stat", "10000"),
    ("host_open_close", "5000"),
    ("mmap_munmap_64k", "500"),
    ("first_touch", "16384"),
    ("ping_pong", "1000"),
    ("fork_wait", "50"),
    ("vfork_exec_wait", "20"),
];

/// Makes an empty directory in memory, and runs the rest of the arguments there.
const IN_EMPTY_DIRECTORY: &str = r#"mkdir "/dev/shm/$0" && cd "/dev/shm/$0" && exec "$@""#;

/// The longest that one run may take.
const LIMIT: Duration = Duration::from_secs(180);

/// One thing that is measured.
#[derive(Debug)]
pub struct Workload {
    /// What tables call it.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// An operation, as the guest itself measures it.
    Operation { iterations: &'static str },
    /// A whole program.
    Program { command: &'static [&'static str] },
    /// The start and exit of a static program that does nothing.
    Start,
    /// The memory of a sandbox in which that program waits.
    Memory,
}

/// All that this machine can run.
pub fn all() -> Result<Vec<Workload>> {
    for name in ["bench", "nothing"] {
        build_guest(name)?;
    }
    let operations =
        OPERATIONS.iter().map(|&(name, iterations)| Workload { name, kind: Kind::Operation { iterations } });
    let programs = PROGRAMS.iter().filter(|program| missing(program.needs).is_empty());
    let programs = programs
        .map(|program| Workload { name: program.name, kind: Kind::Program { command: program.command } });
    let others =
        [Workload { name: "start", kind: Kind::Start }, Workload { name: "memory", kind: Kind::Memory }];
    Ok(operations.chain(programs).chain(others).collect())
}

impl Workload {
    /// In what [`measure`](Self::measure) counts.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Operation { .. } => "µs",
            Kind::Program { .. } | Kind::Start => "ms",
            Kind::Memory => "MiB",
        }
    }

    /// What it costs with `runner`, once.
    pub fn measure(&self, runner: &Runner) -> Result<f64> {
        let directory = format!("bartizan-{}-{}", self.name, std::process::id());
        let result = match &self.kind {
            Kind::Operation { iterations } => operation(runner, self.name, iterations, &directory),
            Kind::Program { command } => {
                let arguments = [&["-c", IN_EMPTY_DIRECTORY, directory.as_str()], *command].concat();
                time(runner.command("/bin/sh", &arguments)?)
            }
            Kind::Start => time(runner.command("nothing", &[])?),
            Kind::Memory => memory(runner),
        };
        // Made where the sandbox shares the host's files.
        match std::fs::remove_dir_all(format!("/dev/shm/{directory}")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => result,
        }
    }
}

/// Microseconds of one operation.
fn operation(runner: &Runner, name: &str, iterations: &str, directory: &str) -> Result<f64> {
    // The program of ours is found in the same place as without a shell.
    let program = runner.command("bench", &[])?;
    let path = match program.get_args().last() {
        Some(last) if !runner.is_host() => last.to_owned(),
        _ => program.get_program().to_owned(),
    };
    let path = path.to_str().context("a path that is no text")?;
    let arguments = ["-c", IN_EMPTY_DIRECTORY, directory, path, name, iterations];
    let outcome = run(&mut runner.command("/bin/sh", &arguments)?, b"", LIMIT)?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    ensure!(outcome.code == 0, "it ended with {}: {}", outcome.code, first_line(&outcome.stderr));
    let nanoseconds: f64 = text.trim().parse().with_context(|| format!("it printed {text:?}"))?;
    Ok(nanoseconds / 1000.0)
}

/// Milliseconds from start to exit.
fn time(mut command: Command) -> Result<f64> {
    let start = Instant::now();
    let outcome = run(&mut command, b"", LIMIT)?;
    let time = start.elapsed();
    ensure!(outcome.code == 0, "it ended with {}: {}", outcome.code, first_line(&outcome.stderr));
    Ok(time.as_secs_f64() * 1000.0)
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

/// MiB of a runner and all its processes while a program waits for its standard input to end.
fn memory(runner: &Runner) -> Result<f64> {
    let mut command = runner.command("nothing", &["wait"])?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start")?;
    // Until the program waits.
    std::thread::sleep(Duration::from_millis(1500));
    let size = resident_of_tree(child.id());
    drop(child.stdin.take());
    ensure!(child.wait()?.success(), "the waiting program failed");
    Ok(size? as f64 / 1024.0)
}
