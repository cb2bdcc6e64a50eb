//! Running a command to its end, with a limit of time.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

/// How a command ended and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    /// Its exit code, or 128 and the number of the signal that it died of.
    pub code: i32,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
}

/// Runs `command` with `input` on its standard input, in a process group of its own that is killed after `limit`.
///
/// Errors: the command cannot be started, or what it printed cannot be read.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome> {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let feeder = child.stdin.take().map(|mut pipe| {
        let input = input.to_vec();
        spawn(move || pipe.write_all(&input))
    });
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let (code, timed_out) = wait(&mut child, limit)?;
    let stdout = join(stdout, "standard output")?;
    let stderr = join(stderr, "standard error")?;
    match feeder.map(JoinHandle::join) {
        Some(Ok(Err(error))) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(error).context("cannot write the standard input");
        }
        Some(Err(_)) => return Err(anyhow!("the thread that writes the standard input panicked")),
        Some(Ok(_)) | None => {}
    }
    Ok(Outcome { stdout, stderr, code, timed_out })
}

/// Waits for `child`, and kills its process group when it takes longer than `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<(i32, bool)> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            timed_out = true;
            kill_group(child)?;
            break child.wait()?;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    // Processes that the command left behind would keep its output open.
    kill_group(child)?;
    Ok((status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), timed_out))
}

fn kill_group(child: &Child) -> Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("process id out of range")?;
    match kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot kill the process group"),
    }
}

type Collector = Option<JoinHandle<std::io::Result<Vec<u8>>>>;

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collector {
    pipe.map(|mut pipe| {
        spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    })
}

fn join(collector: Collector, what: &str) -> Result<Vec<u8>> {
    let thread = collector.with_context(|| format!("{what} is not a pipe"))?;
    let bytes = thread.join().map_err(|_| anyhow!("the thread that reads the {what} panicked"))?;
    bytes.with_context(|| format!("cannot read the {what}"))
}
