//! What whole programs cost, from start to exit, on the host and in a fresh sandbox on each platform in the same run; and
//! the memory of a sandbox with one small program in it.
//!
//! `cargo bench --bench programs` gives criterion's statistics, `cargo xtask bench` one table of medians. Both need the
//! launcher of the release profile: `cargo build --release --examples`.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bartizan_harness::{
    PROGRAMS, Scene, build_guest, launcher, median, missing, platforms, resident_of_tree,
};
use criterion::{BenchmarkId, Criterion};

/// How often the table runs each program; it shows the median.
const TABLE_RUNS: usize = 7;

/// The column of the host in the table, and the name of its benchmarks.
const HOST: &str = "host";

fn main() -> ExitCode {
    let result = if std::env::args().any(|argument| argument == "--table") { table() } else { statistics() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The host first, then each platform.
fn runners() -> Vec<String> {
    std::iter::once(HOST.to_owned()).chain(platforms()).collect()
}

/// The commands that this machine can run, the first of them a static program of ours that does nothing: on the host, and
/// in a sandbox.
fn commands() -> Result<Vec<(&'static str, Vec<PathBuf>, Scene)>> {
    let nothing = build_guest("nothing")?;
    let mut commands = vec![("static_true", vec![nothing], Scene::guest("nothing")?)];
    for program in PROGRAMS.iter().filter(|program| missing(program.needs).is_empty()) {
        let (first, rest) = program.command.split_first().context("a program without command")?;
        let scene = Scene::new(*first).args(rest.iter().copied());
        commands.push((program.name, program.command.iter().map(PathBuf::from).collect(), scene));
    }
    Ok(commands)
}

/// The time that one run took. On the host it starts in an empty directory in memory, as in a sandbox.
fn measure(command: &[PathBuf], scene: &Scene, runner: &str) -> Result<Duration> {
    if runner != HOST {
        return time(scene.sandbox_command(runner)?);
    }
    let directory = tempfile::tempdir_in("/dev/shm").context("cannot make a directory in /dev/shm")?;
    let (first, rest) = command.split_first().context("no command")?;
    let mut host = Command::new(first);
    host.args(rest).current_dir(&directory);
    time(host)
}

/// The time from the start of a command to its exit.
fn time(mut command: Command) -> Result<Duration> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let time = start.elapsed();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(time)
}

/// The memory, in KiB, of a launcher and all its processes while a static program waits in its sandbox.
fn resident(platform: &str) -> Result<u64> {
    let guest = build_guest("nothing")?;
    let directory = guest.parent().context("a guest without directory")?;
    let bind = format!("{}:/mnt:ro", directory.display());
    let mut command = Command::new(launcher()?);
    command.args(["do", "--platform", platform, "--bind", &bind, "--", "/bin/sh", "-c"]);
    command.args(["echo ready; exec /mnt/nothing wait"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = [0; 6];
    child.stdout.as_mut().context("no standard output")?.read_exact(&mut line)?;
    // The program is replaced after its last word.
    std::thread::sleep(Duration::from_millis(100));
    let size = resident_of_tree(child.id());
    drop(child.stdin.take());
    ensure!(child.wait()?.success(), "the waiting program failed on {platform}");
    size
}

fn statistics() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, command, scene) in commands()? {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        for runner in runners() {
            group.bench_function(BenchmarkId::from_parameter(&runner), |bencher| {
                bencher.iter_custom(|iterations| {
                    let run = |_| match measure(&command, &scene, &runner) {
                        Ok(time) => time,
                        Err(error) => panic!("{error:#}"),
                    };
                    (0..iterations).map(run).sum()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}

/// Prints the table: milliseconds of one run, and for each platform how many times the host's that is.
fn table() -> Result<()> {
    println!("milliseconds from start to exit, in a fresh sandbox, median of {TABLE_RUNS} runs");
    let runners = runners();
    print!("{:<20}", "");
    for runner in &runners {
        print!("{runner:>12}");
    }
    for runner in runners.iter().skip(1) {
        print!("{:>16}", format!("{runner}/host"));
    }
    println!();
    for (name, command, scene) in commands()? {
        print!("{name:<20}");
        let mut costs = Vec::new();
        for runner in &runners {
            let times = (0..TABLE_RUNS).map(|_| measure(&command, &scene, runner));
            let times = times.map(|time| time.map(|time| time.as_secs_f64() * 1000.0));
            let cost = median(times.collect::<Result<Vec<_>>>()?)?;
            print!("{cost:>12.2}");
            costs.push(cost);
        }
        for cost in costs.iter().skip(1) {
            print!("{:>16.2}", cost / costs[0]);
        }
        println!();
    }
    for platform in platforms() {
        println!("memory of a sandbox with one static program on {platform}: {} KiB", resident(&platform)?);
    }
    Ok(())
}
