//! The launcher's options, exit codes and messages, and what becomes of it when the host interferes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bartizan_harness::{Outcome, build_guest, launcher, platforms, run};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(30);

/// `launcher do` on the first platform that is tested, with these arguments.
fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(launcher()?);
    let platform = platforms().into_iter().next().context("no platform to test")?;
    command.args(["do", "--platform", &platform]).args(arguments);
    Ok(command)
}

fn launch(arguments: &[&str]) -> Result<Outcome> {
    let outcome = run(&mut command(arguments)?, b"", LIMIT)?;
    ensure!(!outcome.timed_out, "{arguments:?} does not end");
    Ok(outcome)
}

/// What a command prints that must end well.
fn output(arguments: &[&str]) -> Result<String> {
    let outcome = launch(arguments)?;
    let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
    ensure!(outcome.code == 0, "{arguments:?} ends with {}: {error}", outcome.code);
    Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
}

/// Checks that a command ends with `code` and one line on standard error that has `text` in it.
fn refused(arguments: &[&str], code: i32, text: &str) -> Result<()> {
    let outcome = launch(arguments)?;
    let error = String::from_utf8_lossy(&outcome.stderr);
    ensure!(outcome.code == code, "{arguments:?} ends with {}: {error}", outcome.code);
    ensure!(error.trim_end().lines().count() == 1, "{arguments:?} does not say one line: {error:?}");
    ensure!(error.contains(text), "{arguments:?} does not name {text:?}: {error}");
    ensure!(outcome.stdout.is_empty(), "{arguments:?} prints to standard output");
    Ok(())
}

/// A fresh directory below the directory of the build, which no sandbox hides.
fn scratch(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

#[test]
fn exit_codes_are_passed_on() -> Result<()> {
    for code in [0, 1, 42, 255] {
        let outcome = launch(&["--", "/bin/sh", "-c", &format!("exit {code}")])?;
        assert_eq!(outcome.code, code);
        assert!(outcome.stderr.is_empty(), "{:?}", String::from_utf8_lossy(&outcome.stderr));
    }
    Ok(())
}

#[test]
fn a_death_by_signal_is_128_and_its_number() -> Result<()> {
    // The first process of a sandbox is shielded from signals as `init` is, so a fault ends it.
    let outcome = launch(&["/usr/bin/perl", "-e", "unpack 'p', pack 'J', 1"])?;
    assert_eq!(outcome.code, 128 + 11);
    let outcome = launch(&["/bin/sh", "-c", "/bin/sh -c 'kill -9 $$'; echo $?"])?;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "137\n");
    Ok(())
}

#[test]
fn standard_streams_are_passed_through() -> Result<()> {
    let outcome = run(&mut command(&["/bin/sh", "-c", "cat; echo err >&2"])?, b"some\ninput\n", LIMIT)?;
    assert_eq!(outcome.stdout, b"some\ninput\n");
    assert_eq!(outcome.stderr, b"err\n");
    Ok(())
}

#[test]
fn programs_are_found_in_the_search_path() -> Result<()> {
    assert_eq!(output(&["echo", "found"])?, "found\n");
    Ok(())
}

#[test]
fn options_set_the_surroundings() -> Result<()> {
    assert_eq!(output(&["--cwd", "/usr", "/bin/pwd"])?, "/usr\n");
    assert_eq!(
        output(&["--env", "A=b c", "--env", "E=", "/bin/sh", "-c", "echo $A-${E-unset}-"])?,
        "b c--\n"
    );
    assert_eq!(output(&["--user", "1234:567", "/bin/sh", "-c", "id -u; id -g"])?, "1234\n567\n");
    assert_eq!(output(&["--user", "1234", "/usr/bin/id", "-u"])?, "1234\n");
    assert_eq!(output(&["--hostname", "bartizan-test", "/bin/uname", "-n"])?, "bartizan-test\n");
    Ok(())
}

#[test]
fn directories_are_bound() -> Result<()> {
    let directory = scratch("bound")?;
    fs::write(directory.join("file"), "from the host\n")?;
    let bind = format!("{}:/mnt:ro", text(&directory)?);
    let script = "cat /mnt/file; touch /mnt/new 2>/dev/null; echo $?; ls /mnt";
    assert_eq!(output(&["--bind", &bind, "/bin/sh", "-c", script])?, "from the host\n1\nfile\n");
    assert_eq!(output(&["--tmpfs", "/mnt", "/bin/sh", "-c", "touch /mnt/new && ls /mnt"])?, "new\n");
    Ok(())
}

#[test]
fn symbolic_links_do_not_lead_out_of_a_bound_directory() -> Result<()> {
    let directory = scratch("links")?;
    let inside = directory.join("inside");
    fs::create_dir_all(&inside)?;
    fs::write(directory.join("secret"), "outside\n")?;
    std::os::unix::fs::symlink("../secret", inside.join("relative"))?;
    std::os::unix::fs::symlink(directory.join("secret"), inside.join("absolute"))?;
    let root = rootfs("links_root")?;
    let bind = format!("{}:/mnt:ro", text(&inside)?);
    let script = "cat /mnt/relative /mnt/absolute; echo $?; cat /mnt/../secret; echo $?";
    let outcome = launch(&["--rootfs", text(&root)?, "--bind", &bind, "/bin/busybox", "sh", "-c", script])?;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "1\n1\n");
    Ok(())
}

/// A root directory with busybox in it, and nothing else.
fn rootfs(name: &str) -> Result<PathBuf> {
    let root = scratch(name)?;
    for directory in ["bin", "tmp", "run", "dev", "proc", "sys", "mnt"] {
        fs::create_dir(root.join(directory))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("busybox-static is needed")?;
    Ok(root)
}

#[test]
fn another_directory_is_the_root() -> Result<()> {
    let root = rootfs("root")?;
    let listed = output(&["--rootfs", text(&root)?, "/bin/busybox", "ls", "/"])?;
    assert_eq!(listed, "bin\ndev\nmnt\nproc\nrun\nsys\ntmp\n");
    Ok(())
}

#[test]
fn memory_is_limited() -> Result<()> {
    let script = "my $x = 'x' x 300_000_000; print length $x";
    assert_eq!(output(&["/usr/bin/perl", "-e", script])?, "300000000");
    let outcome = launch(&["--memory", "64M", "/usr/bin/perl", "-e", script])?;
    assert_ne!(outcome.code, 0);
    assert!(outcome.stdout.is_empty());
    Ok(())
}

#[test]
fn time_is_limited() -> Result<()> {
    let start = Instant::now();
    let outcome = launch(&["--timeout", "1", "/bin/sleep", "1000"])?;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_ne!(outcome.code, 0);
    assert!(!outcome.stderr.is_empty(), "it says why it ended");
    let outcome = launch(&["--timeout", "1", "/bin/sh", "-c", "while :; do :; done"])?;
    assert_ne!(outcome.code, 0);
    assert_eq!(output(&["--timeout", "50", "/bin/echo", "in time"])?, "in time\n");
    Ok(())
}

#[test]
fn calls_are_traced() -> Result<()> {
    let directory = scratch("trace")?;
    let file = directory.join("trace");
    let option = format!("--strace={}", text(&file)?);
    assert_eq!(output(&[&option, "/bin/echo", "hello"])?, "hello\n");
    let trace = fs::read_to_string(&file)?;
    assert!(trace.lines().any(|line| line.contains("write(1, ") && line.contains(", 6) = 6")), "{trace}");
    assert!(trace.contains("exit_group(0)"), "{trace}");
    let outcome = launch(&["--strace", "--", "/bin/echo", "hello"])?;
    assert_eq!(outcome.stdout, b"hello\n");
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("exit_group(0)"));
    Ok(())
}

#[test]
fn profiles_tell_what_was_done() -> Result<()> {
    let directory = scratch("profile")?;
    let file = directory.join("profile.json");
    let script = "i=0; while [ $i -lt 7 ]; do /bin/true; i=$((i + 1)); done";
    let outcome = launch(&["--profile", text(&file)?, "--", "/bin/sh", "-c", script])?;
    assert_eq!(outcome.code, 0);
    let table = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let count = |name: &str| -> Option<u64> {
        table.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    // One in each child; the shell itself is there from the start, and exits as they do.
    assert_eq!(count("execve "), Some(7), "{table}");
    assert_eq!(count("exit_group "), Some(8), "{table}");
    assert!(count("(page fault) ").is_some() && count("(guest code) ").is_some(), "{table}");
    let trace = fs::read_to_string(&file)?;
    let calls = trace.lines().filter(|line| line.contains(r#""name":"execve","cat":"syscall""#)).count();
    assert_eq!(calls, 7);
    let events = trace.lines().filter(|line| line.starts_with('{') && !line.contains("traceEvents"));
    for event in events {
        let event = event.strip_suffix(',').unwrap_or(event);
        assert!(event.ends_with('}') && event.matches('{').count() == event.matches('}').count(), "{event}");
    }
    assert!(trace.trim_end().ends_with("]}"));
    refused(&["--profile", "/no/such/directory/file", "/bin/true"], 125, "--profile")?;
    Ok(())
}

#[test]
fn wrong_options_are_refused() -> Result<()> {
    refused(&["--no-such-option", "/bin/true"], 125, "--no-such-option")?;
    refused(&["--bind", "nonsense", "/bin/true"], 125, "nonsense")?;
    refused(&["--bind", "/no/such/directory:/mnt", "/bin/true"], 125, "/no/such/directory")?;
    refused(&["--rootfs", "/no/such/root", "/bin/true"], 125, "/no/such/root")?;
    refused(&["--memory", "much", "/bin/true"], 125, "much")?;
    refused(&["--timeout", "soon", "/bin/true"], 125, "soon")?;
    refused(&["--user", "1:2:3", "/bin/true"], 125, "1:2:3")?;
    refused(&[], 125, "")?;
    let mut unknown = Command::new(launcher()?);
    let outcome = run(unknown.args(["do", "--platform", "abacus", "/bin/true"]), b"", LIMIT)?;
    assert_eq!(outcome.code, 125);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("abacus"));
    Ok(())
}

#[test]
fn programs_that_cannot_be_run_are_named() -> Result<()> {
    refused(&["/no/such/program"], 127, "/no/such/program")?;
    refused(&["no-such-program"], 127, "no-such-program")?;
    refused(&["/etc/passwd"], 126, "/etc/passwd")?;
    refused(&["/etc"], 126, "/etc")?;
    refused(&["--cwd", "/no/such/directory", "/bin/true"], 125, "/no/such/directory")
}

/// A launcher with pipes, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(piped.spawn()?))
    }

    /// Waits for a line of its standard output that has `text` in it.
    fn wait_for(&mut self, text: &str) -> Result<BufReader<std::process::ChildStdout>> {
        let mut output = BufReader::new(self.0.stdout.take().context("no standard output")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if line.contains(text) {
                return Ok(output);
            }
        }
        bail!("it ended without saying {text}: {line}");
    }

    /// Waits for its end, at most for the limit, and tells whether it ended well.
    fn end(&mut self) -> Result<bool> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the launcher does not end");
    }
}

/// The child processes of all threads of a process.
fn children(process: u32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while it is looked at.
        let Ok(list) = fs::read_to_string(task?.path().join("children")) else { continue };
        found.extend(list.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Waits until none of these processes is there.
fn wait_until_gone(processes: &[i32]) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    for process in processes {
        while Path::new(&format!("/proc/{process}")).exists() {
            ensure!(Instant::now() < deadline, "process {process} stays behind");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

#[test]
fn a_killed_launcher_leaves_nothing_behind() -> Result<()> {
    let script = "sleep 1000 & sleep 1000 & echo started; wait";
    let mut running = Running::start(&mut command(&["/bin/sh", "-c", script])?)?;
    let _output = running.wait_for("started")?;
    let stubs = children(running.0.id())?;
    running.0.kill()?;
    running.0.wait()?;
    wait_until_gone(&stubs)
}

#[test]
fn the_end_of_the_first_process_ends_all() -> Result<()> {
    let script =
        "sleep 1000 & (trap '' TERM HUP; while :; do sleep 1; done) & echo started; read end; exit 5";
    let mut running = Running::start(&mut command(&["/bin/sh", "-c", script])?)?;
    let _output = running.wait_for("started")?;
    let stubs = children(running.0.id())?;
    running.0.stdin.take().context("no standard input")?.write_all(b"end\n")?;
    assert!(!running.end()?);
    assert_eq!(running.0.wait()?.code(), Some(5));
    wait_until_gone(&stubs)
}

#[test]
fn a_killed_stub_ends_the_sandbox_with_a_report() -> Result<()> {
    let script = "echo started; while :; do sleep 0.01; done";
    let mut running = Running::start(&mut command(&["/bin/sh", "-c", script])?)?;
    let _output = running.wait_for("started")?;
    let stubs = children(running.0.id())?;
    for &stub in &stubs {
        match kill_process(Pid::from_raw(stub).context("process number zero")?, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert!(!running.end()?, "the launcher ends as if nothing had happened");
    let mut report = String::new();
    let stderr = running.0.stderr.take().context("no standard error")?;
    BufReader::new(stderr).read_line(&mut report)?;
    assert!(!report.trim().is_empty(), "the launcher does not say why it ended");
    wait_until_gone(&stubs)
}

#[test]
fn a_host_file_that_shrinks_while_mapped_is_a_bus_error() -> Result<()> {
    let directory = scratch("shrinks")?;
    let path = directory.join("file");
    fs::write(&path, vec![b'f'; 4 * 4096])?;
    let guest = build_guest("held_file")?;
    let bind = format!("{}:/mnt:ro", text(&directory)?);
    let guest_directory = guest.parent().context("guest without directory")?;
    let guest_bind = format!("{}:/srv:ro", text(guest_directory)?);
    let arguments = ["--bind", &bind, "--bind", &guest_bind, "--", "/srv/held_file", "/mnt/file"];
    let mut running = Running::start(&mut command(&arguments)?)?;
    let mut output = running.wait_for("ready")?;
    File::options().write(true).open(&path)?.set_len(0)?;
    running.0.stdin.take().context("no standard input")?.write_all(b"go\n")?;
    let mut rest = String::new();
    while output.read_line(&mut rest)? > 0 {}
    assert_eq!(
        rest,
        "main: write from it: EFAULT\nmain: stat with a name in it: EFAULT\n\
         main: touch shared: signal 7\nmain: touch private: signal 7\n"
    );
    assert!(running.end()?);
    Ok(())
}

#[test]
fn a_process_that_breaks_its_stub_ends_alone() -> Result<()> {
    if platforms().first().is_none_or(|platform| platform != "systrap") {
        return Ok(());
    }
    let guest = build_guest("stub_breaker")?;
    let directory = guest.parent().context("guest without directory")?;
    let bind = format!("{}:/srv:ro", text(directory)?);
    let printed = output(&["--bind", &bind, "--", "/srv/stub_breaker"])?;
    assert_eq!(printed, "0: killed\n1: killed\n2: killed\n");
    Ok(())
}

#[test]
fn many_launchers_run_side_by_side() -> Result<()> {
    let threads: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || output(&["/bin/sh", "-c", &format!("sleep 0.1; echo {number}")]))
        })
        .collect();
    for (number, thread) in threads.into_iter().enumerate() {
        let Ok(printed) = thread.join() else { bail!("a thread of the test panicked") };
        assert_eq!(printed?, format!("{number}\n"));
    }
    Ok(())
}

#[test]
fn a_program_gets_a_terminal_of_its_own() -> Result<()> {
    let script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo terminal; \
                  exec 3</dev/tty && echo controlled; read line; echo \"<$line>\"; exit 5";
    let mut command = command(&["-t", "--", "/bin/sh", "-c", script])?;
    let outcome = run(&mut command, b"typed\n", LIMIT)?;
    // What is typed is echoed when it comes, which may be before anything is printed.
    let printed = String::from_utf8_lossy(&outcome.stdout).replacen("typed\r\n", "", 1);
    assert_eq!(printed, "/dev/pts/0\r\n24 80\r\nterminal\r\ncontrolled\r\n<typed>\r\n");
    assert_eq!(outcome.code, 5);
    Ok(())
}

/// What the host's kernel may not be asked for: limits of control groups.
#[test]
fn control_groups_limit_tasks_and_memory() -> Result<()> {
    let script = "mkdir /tmp/g; mount -t cgroup2 none /tmp/g; cd /tmp/g; cat cgroup.controllers; mkdir a; ls a | grep -c pids
        echo '+pids +memory' >cgroup.subtree_control; echo 4 >a/pids.max; echo 64M >a/memory.max; cat a/pids.max a/memory.max
        (echo 0 >a/cgroup.procs; for i in 1 2 3 4 5 6; do sleep 2 & done; wait) 2>&1 | grep -cm 1 'Resource temporarily'
        grep -c 'max 0' a/pids.events; cat a/pids.peak; echo 1 >a/cgroup.kill; while [ -n \"$(cat a/cgroup.procs)\" ]; do sleep 0.1; done; echo max >a/pids.max
        bash -c 'echo 0 >a/cgroup.procs; x=$(head -c 200M /dev/zero | tr \"\\0\" x); echo survived' 2>/dev/null; echo $?
        sed -n 's/oom_kill //p' a/memory.events; until rmdir a; do sleep 0.1; done; echo $?; echo -pids >cgroup.subtree_control; cat cgroup.subtree_control";
    let text = output(&["--", "/bin/bash", "-c", script])?;
    ensure!(text == "memory pids\n0\n4\n67108864\n1\n0\n4\n137\n1\n0\nmemory\n", "{text}");
    Ok(())
}
