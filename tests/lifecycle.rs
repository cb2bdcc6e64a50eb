//! Many sandboxes in one host process: what they leave behind, and what becomes of the host when they are killed.
//!
//! The tests count what the whole process has, so they wait for each other where one process runs them all.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bartizan::{Error, ExitStatus, Mount, PlatformKind, Process, Sandbox, SandboxBuilder, Stdio};
use bartizan_harness::{build_guest, platforms};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The signals that the tests send, by number.
const SIGKILL: i32 = 9;

/// One test at a time, for it counts what the process has.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sandboxes on the first platform that is tested, over the host's root.
fn builder() -> Result<SandboxBuilder> {
    let platform = platforms().into_iter().next().context("no platform to test")?;
    let platform: PlatformKind = platform.parse()?;
    let builder = Sandbox::builder().platform(platform).root(Mount::host_directory("/"));
    Ok(builder.mount("/tmp", Mount::tmpfs()))
}

/// Starts a shell script that prints "ready" when it is.
fn start(sandbox: &Sandbox, script: &str) -> Result<Process> {
    let command = sandbox.command("/bin/sh").args(["-c", script]).env("PATH", "/usr/bin:/bin");
    let mut process = command.stdin(Stdio::Piped).stdout(Stdio::Piped).stderr(Stdio::Null).spawn()?;
    let mut line = [0; 6];
    process.stdout.as_mut().context("no standard output")?.read_exact(&mut line)?;
    ensure!(&line == b"ready\n", "the script says {line:?}");
    Ok(process)
}

/// What this process has of things that a sandbox could leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Footprint {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    children: usize,
}

impl Footprint {
    fn now() -> Result<Self> {
        Ok(Self {
            threads: fs::read_dir("/proc/self/task")?.count(),
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            mappings: fs::read_to_string("/proc/self/maps")?.lines().count(),
            children: children()?.len(),
        })
    }

    /// Waits until this process has no more than this, for what was told to end takes a moment.
    fn is_back(&self) -> Result<()> {
        self.is_back_but_for(0)
    }

    /// The same, with `spare` more children and their descriptors, which a sandbox may keep ready while it lives.
    fn is_back_but_for(&self, spare: usize) -> Result<()> {
        // The allocator keeps a few areas for the threads of the next sandbox.
        const KEPT_MAPPINGS: usize = 24;
        // A stub that is ready has its control file, its listener, and the descriptors of its orders.
        const DESCRIPTORS_OF_SPARE: usize = 6;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Self::now()?;
            let back = now.threads <= self.threads
                && now.descriptors <= self.descriptors + spare * DESCRIPTORS_OF_SPARE
                && now.mappings <= self.mappings + KEPT_MAPPINGS
                && now.children <= self.children + spare;
            if back {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{self:?} has become {now:?}");
            sleep(Duration::from_millis(10));
        }
    }
}

/// The child processes of all threads of this process.
fn children() -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at.
        let Ok(list) = fs::read_to_string(task?.path().join("children")) else { continue };
        found.extend(list.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Waits until this process has a thread with this name.
fn wait_for_thread(name: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        for task in fs::read_dir("/proc/self/task")? {
            // A thread may end while it is looked at.
            let Ok(found) = fs::read_to_string(task?.path().join("comm")) else { continue };
            if found.trim_end().starts_with(name.get(..15).unwrap_or(name)) {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "there is no thread {name}");
        sleep(Duration::from_millis(5));
    }
}

/// The resident memory of this process, KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

/// Runs a program with processes, threads, files and memory in a new sandbox.
fn run_one(number: usize) -> Result<()> {
    let sandbox = builder()?.build()?;
    let script = format!("echo {number} > /tmp/f; (cat /tmp/f | tr 0-9 a-j | tr a-j 0-9); exit 3");
    let output = sandbox.command("/bin/sh").args(["-c", &script]).env("PATH", "/usr/bin:/bin").output()?;
    ensure!(output.status == ExitStatus::Exited(3), "{}", output.status);
    ensure!(output.stdout == format!("{number}\n").into_bytes(), "{:?}", output.stdout);
    Ok(())
}

#[test]
fn a_hundred_sandboxes_one_after_the_other_leave_nothing_behind() -> Result<()> {
    let _alone = alone();
    for number in 0..5 {
        run_one(number)?;
    }
    let (before, memory) = (Footprint::now()?, resident()?);
    for number in 0..100 {
        run_one(number)?;
    }
    before.is_back()?;
    let grown = resident()?.saturating_sub(memory);
    ensure!(grown < 4096, "the host has grown by {grown} KiB");
    Ok(())
}

#[test]
fn sixteen_sandboxes_at_once_leave_nothing_behind() -> Result<()> {
    let _alone = alone();
    let sixteen = || -> Result<()> {
        let threads: Vec<_> = (0..16).map(|number| std::thread::spawn(move || run_one(number))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the test panicked"))??;
        }
        Ok(())
    };
    sixteen()?;
    let (before, memory) = (Footprint::now()?, resident()?);
    for _ in 0..3 {
        sixteen()?;
    }
    before.is_back()?;
    let grown = resident()?.saturating_sub(memory);
    ensure!(grown < 8192, "the host has grown by {grown} KiB");
    Ok(())
}

#[test]
fn many_processes_of_one_sandbox_leave_nothing_behind_while_it_lives() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let script = "echo ready; for round in 1 2; do read go; \
                  i=0; while [ $i -lt 300 ]; do (exit 1); i=$((i + 1)); done; echo done; done; read end";
    let mut process = start(&sandbox, script)?;
    let mut round = || -> Result<()> {
        process.stdin.as_mut().context("no standard input")?.write_all(b"go\n")?;
        let mut line = [0; 5];
        process.stdout.as_mut().context("no standard output")?.read_exact(&mut line)?;
        Ok(())
    };
    // The program waits for its first line: from then on the sandbox has all the threads that it will have.
    wait_for_thread("bartizan-host-io")?;
    round()?;
    let (before, memory) = (Footprint::now()?, resident()?);
    round()?;
    before.is_back_but_for(4)?;
    let grown = resident()?.saturating_sub(memory);
    ensure!(grown < 2048, "the host has grown by {grown} KiB");
    drop(process.stdin.take());
    assert_eq!(process.wait_timeout(LIMIT)?, ExitStatus::Exited(1));
    Ok(())
}

/// Ten thousand where `BARTIZAN_SOAK` is set, five hundred otherwise.
#[test]
fn short_lived_programs_leave_nothing_behind_while_their_sandbox_lives() -> Result<()> {
    let _alone = alone();
    let count = if std::env::var_os("BARTIZAN_SOAK").is_some() { 10_000 } else { 500 };
    let sandbox = builder()?.build()?;
    let script = format!(
        "echo ready; for rounds in 20 {count}; do read go; \
         i=0; while [ $i -lt $rounds ]; do /bin/true || echo fail; i=$((i + 1)); done; echo done; done; read end"
    );
    let mut process = start(&sandbox, &script)?;
    let mut round = || -> Result<()> {
        process.stdin.as_mut().context("no standard input")?.write_all(b"go\n")?;
        let mut line = [0; 5];
        process.stdout.as_mut().context("no standard output")?.read_exact(&mut line)?;
        ensure!(&line == b"done\n", "a program has failed");
        Ok(())
    };
    wait_for_thread("bartizan-host-io")?;
    round()?;
    let (mut before, memory) = (Footprint::now()?, resident()?);
    // The platform starts the thread that watches interrupts at the first one.
    before.threads += 1;
    round()?;
    before.is_back_but_for(4)?;
    let grown = resident()?.saturating_sub(memory);
    ensure!(grown < 8192, "the host has grown by {grown} KiB");
    drop(process.stdin.take());
    assert_eq!(process.wait_timeout(LIMIT)?, ExitStatus::Exited(1));
    Ok(())
}

#[test]
fn dropping_a_sandbox_ends_what_runs_in_it() -> Result<()> {
    let _alone = alone();
    run_one(0)?;
    let before = Footprint::now()?;
    for script in [
        "echo ready; sleep 1000",
        "echo ready; read never",
        "trap '' TERM HUP INT; echo ready; while :; do :; done",
        "sleep 1000 & sleep 1000 | sleep 1000 & echo ready; wait",
        "mkfifo /tmp/p; echo ready; cat /tmp/p",
    ] {
        let sandbox = builder()?.build()?;
        let process = start(&sandbox, script)?;
        drop(sandbox);
        drop(process);
        before.is_back().with_context(|| script.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_process_that_is_blocked_can_be_killed() -> Result<()> {
    let _alone = alone();
    for script in [
        "echo ready; exec sleep 1000",
        "echo ready; read never",
        "echo ready; while :; do :; done",
        "mkfifo /tmp/p; echo ready; exec cat /tmp/p",
        "echo ready; sleep 1000 & wait",
    ] {
        let sandbox = builder()?.build()?;
        let mut process = start(&sandbox, script)?;
        process.signal(SIGKILL);
        let status = process.wait_timeout(LIMIT).with_context(|| script.to_owned())?;
        assert_eq!(status, ExitStatus::Signaled(SIGKILL), "{script}");
    }
    Ok(())
}

#[test]
fn all_threads_of_a_blocked_program_are_killed() -> Result<()> {
    let _alone = alone();
    let guest = build_guest("threads")?;
    let path = guest.to_str().context("a path that is no UTF-8")?;
    let directory = guest.parent().context("a guest without directory")?;
    let sandbox = builder()?.mount("/mnt", Mount::host_directory(directory)).build()?;
    let script =
        format!("echo ready; exec /mnt/{} cancellation barriers", path.rsplit('/').next().unwrap_or(path));
    let mut process = start(&sandbox, &script)?;
    sleep(Duration::from_millis(30));
    sandbox.kill();
    let status = process.wait_timeout(LIMIT)?;
    assert_eq!(status, ExitStatus::Signaled(SIGKILL));
    Ok(())
}

#[test]
fn a_wait_has_a_limit() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let mut process = start(&sandbox, "echo ready; sleep 1000")?;
    let begin = Instant::now();
    let result = process.wait_timeout(Duration::from_millis(200));
    assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    process.signal(SIGKILL);
    assert_eq!(process.wait_timeout(LIMIT)?, ExitStatus::Signaled(SIGKILL));
    Ok(())
}

#[test]
fn a_stub_that_is_killed_ends_its_sandbox_with_a_report_and_no_other() -> Result<()> {
    let _alone = alone();
    let before = Footprint::now()?;
    let other = builder()?.build()?;
    let mut witness = start(&other, "echo ready; read line; echo got $line")?;
    let others = children()?;
    let sandbox = builder()?.build()?;
    let mut process = start(&sandbox, "echo ready; i=0; while :; do i=$((i + 1)); done")?;
    for stub in children()?.difference(&others) {
        kill_process(Pid::from_raw(*stub).context("process number zero")?, Signal::KILL)?;
    }
    let result = process.wait_timeout(LIMIT);
    let Err(Error::SandboxDied(report)) = result else { anyhow::bail!("it ended with {result:?}") };
    assert!(!report.is_empty());
    assert!(sandbox.report().is_some());
    assert!(sandbox.command("/bin/true").status().is_err(), "a dead sandbox runs a program");
    drop(sandbox);
    witness.stdin.as_mut().context("no standard input")?.write_all(b"line\n")?;
    let mut answer = String::new();
    witness.stdout.take().context("no standard output")?.read_to_string(&mut answer)?;
    assert_eq!(answer, "got line\n");
    assert!(witness.wait_timeout(LIMIT)?.success());
    drop(other);
    drop((process, witness));
    before.is_back()
}

#[test]
fn the_host_waits_for_its_own_children_alone() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let mut process = start(&sandbox, "echo ready; read line; (exit 4); exit 5")?;
    // A process that is traced is reported to any wait of its tracer's process, so there a host waits by number.
    if sandbox.platform() != "ptrace" {
        let none = wait(WaitOptions::NOHANG);
        assert_eq!(none.err(), Some(rustix::io::Errno::CHILD), "the host sees processes of the sandbox");
    }
    let mut own = std::process::Command::new("/bin/true").spawn()?;
    assert!(own.wait()?.success());
    process.stdin.as_mut().context("no standard input")?.write_all(b"line\n")?;
    assert_eq!(process.wait_timeout(LIMIT)?, ExitStatus::Exited(5));
    Ok(())
}

#[test]
fn programs_of_one_sandbox_share_its_files_and_others_do_not() -> Result<()> {
    let _alone = alone();
    let (first, second) = (builder()?.build()?, builder()?.build()?);
    first.write_file("/tmp/shared", b"from the host\n")?;
    let output = first.command("/bin/sh").args(["-c", "cat /tmp/shared; echo more > /tmp/new"]).output()?;
    assert_eq!(output.stdout, b"from the host\n");
    assert_eq!(first.read_file("/tmp/new")?, b"more\n");
    assert!(second.read_file("/tmp/new").is_err());
    let output = second.command("/bin/ls").args(["-A", "/tmp"]).output()?;
    assert_eq!((output.stdout, output.status), (Vec::new(), ExitStatus::Exited(0)));
    Ok(())
}

#[test]
fn memory_of_ended_programs_is_free_again() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let mut keeper = start(&sandbox, "echo ready; read end")?;
    let before = sandbox.memory_used();
    for _ in 0..5 {
        let script = "my $x = 'x' x 50_000_000; print length $x; fork; wait";
        let output = sandbox.command("/usr/bin/perl").args(["-e", script]).output()?;
        assert!(output.stdout.starts_with(b"50000000"), "{output:?}");
    }
    let after = sandbox.memory_used();
    ensure!(after < before + (8 << 20), "{before} bytes in use have become {after}");
    keeper.signal(SIGKILL);
    keeper.wait_timeout(LIMIT)?;
    Ok(())
}

#[test]
fn memory_of_removed_files_is_free_again() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let mut keeper = start(&sandbox, "echo ready; read end")?;
    let before = sandbox.memory_used();
    let script = "i=0; while [ $i -lt 5 ]; do head -c 20000000 /dev/zero > /tmp/one$i; head -c 20000000 /dev/zero > /tmp/two; \
                  mv /tmp/two /tmp/three; rm /tmp/one$i; i=$((i + 1)); done; rm /tmp/three";
    let output = sandbox.command("/bin/sh").args(["-c", script]).env("PATH", "/usr/bin:/bin").output()?;
    ensure!(output.status.success(), "{output:?}");
    let after = sandbox.memory_used();
    ensure!(after < before + (8 << 20), "{before} bytes in use have become {after}");
    keeper.signal(SIGKILL);
    keeper.wait_timeout(LIMIT)?;
    Ok(())
}

#[test]
fn errors_name_what_is_wrong() -> Result<()> {
    let _alone = alone();
    let sandbox = builder()?.build()?;
    let missing = sandbox.command("/no/such/program").status();
    assert!(
        matches!(&missing, Err(Error::ProgramNotFound(name)) if name == "/no/such/program"),
        "{missing:?}"
    );
    let data = sandbox.command("/etc/passwd").status();
    assert!(matches!(data, Err(Error::ProgramNotRunnable { .. })), "{data:?}");
    let nul = sandbox.command("/bin/echo").arg(b"a\0b").status();
    assert!(matches!(nul, Err(Error::NulByte { .. })), "{nul:?}");
    let written = sandbox.write_file("/etc/new", b"");
    assert!(written.is_err_and(|error| error.to_string().contains("/etc/new")));
    let root = Sandbox::builder().root(Mount::host_directory("/no/such/root")).build();
    assert!(root.is_err_and(|error| error.to_string().contains("/no/such/root")));
    Ok(())
}
