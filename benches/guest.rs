//! What operations of a guest cost, measured by the guest itself (`benches/guest/bench.c`), on the host and in a sandbox
//! on each platform in the same run; and the bare round trip of `PTRACE_SYSEMU` to compare with.
//!
//! `cargo bench --bench guest` gives criterion's statistics, `cargo xtask bench` one table of medians. Both need the
//! launcher of the release profile: `cargo build --release --examples`. The table ends with the exits that operations take on `kvm`.

#[path = "guest/exits.rs"]
mod exits;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bartizan_harness::{Scene, build_host_tool, median, platforms, run};
use criterion::{BenchmarkId, Criterion};

/// The benchmarks with the number of iterations of one run of the table.
const BENCHMARKS: &[(&str, u64)] = &[
    ("getpid", 5000),
    ("clock_gettime", 20000),
    ("read_1", 3000),
    ("read_4k", 3000),
    ("read_64k", 1000),
    ("write_1", 3000),
    ("write_4k", 3000),
    ("write_64k", 1000),
    ("host_read_1", 3000),
    ("host_read_4k", 3000),
    ("host_read_64k", 1000),
    ("fstat", 3000),
    ("stat", 3000),
    ("host_stat", 3000),
    ("open_close", 2000),
    ("host_open_close", 2000),
    ("create_unlink", 2000),
    ("pipe", 2000),
    ("ping_pong", 1000),
    ("mmap_munmap_64k", 1000),
    ("first_touch", 16384),
    ("fork_wait", 50),
    ("vfork_exec_wait", 20),
    ("thread_create_join", 100),
    ("compute_1000", 2000),
];

/// How often the table runs each benchmark; it shows the median.
const TABLE_RUNS: usize = 5;

/// The column of the host in the table, and the name of its benchmarks.
const HOST: &str = "host";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--table") {
        return match table() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let mut criterion = Criterion::default().configure_from_args();
    operations(&mut criterion);
    round_trip(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// The host first, then each platform.
fn runners() -> Vec<String> {
    std::iter::once(HOST.to_owned()).chain(platforms()).collect()
}

/// Runs one benchmark and returns the nanoseconds of one iteration.
fn measure(name: &str, runner: &str, iterations: u64) -> Result<f64> {
    let scene = Scene::guest("bench")?.arg(name).arg(iterations.to_string());
    let scene = scene.within(Duration::from_secs(120));
    let outcome = if runner == HOST { scene.native()? } else { scene.sandboxed(runner)? };
    let text = String::from_utf8_lossy(&outcome.stdout);
    ensure!(
        outcome.code == 0 && !outcome.timed_out,
        "{name} on {runner} ended with {}: {text}{}",
        outcome.code,
        String::from_utf8_lossy(&outcome.stderr)
    );
    text.trim().parse().with_context(|| format!("{name} on {runner} printed {text:?}"))
}

/// The nanoseconds of a system call under `PTRACE_SYSEMU` with nothing done for it, tracer and tracee on one CPU.
fn measure_round_trip(iterations: u64) -> Result<f64> {
    let mut command = Command::new(build_host_tool("sysemu")?);
    let outcome = run(command.arg(iterations.to_string()), b"", Duration::from_secs(60))?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    text.trim().parse().with_context(|| format!("sysemu printed {text:?}"))
}

fn duration(nanoseconds: f64, iterations: u64) -> Duration {
    Duration::from_secs_f64(nanoseconds * iterations as f64 / 1e9)
}

fn operations(criterion: &mut Criterion) {
    for &(name, _) in BENCHMARKS {
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(1));
        for runner in runners() {
            group.bench_function(BenchmarkId::from_parameter(&runner), |bencher| {
                bencher.iter_custom(|iterations| match measure(name, &runner, iterations) {
                    Ok(nanoseconds) => duration(nanoseconds, iterations),
                    Err(error) => panic!("{error:#}"),
                });
            });
        }
        group.finish();
    }
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sysemu_round_trip");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    group.bench_function(HOST, |bencher| {
        bencher.iter_custom(|iterations| match measure_round_trip(iterations) {
            Ok(nanoseconds) => duration(nanoseconds, iterations),
            Err(error) => panic!("{error:#}"),
        });
    });
    group.finish();
}

/// The median of the runs of one measurement.
fn repeated(mut measurement: impl FnMut() -> Result<f64>) -> Result<f64> {
    median((0..TABLE_RUNS).map(|_| measurement()).collect::<Result<Vec<_>>>()?)
}

/// Prints the table: microseconds of one operation, and for each platform how many times the host's that is.
fn table() -> Result<()> {
    let bare = repeated(|| measure_round_trip(20_000))? / 1000.0;
    println!("microseconds for one operation, median of {TABLE_RUNS} runs");
    println!("bare PTRACE_SYSEMU round trip on one CPU: {bare:.2}");
    let runners = runners();
    print!("{:<20}", "");
    for runner in &runners {
        print!("{runner:>12}");
    }
    for runner in runners.iter().skip(1) {
        print!("{:>16}", format!("{runner}/host"));
        print!("{:>16}", format!("{runner}/sysemu"));
    }
    println!();
    for &(name, iterations) in BENCHMARKS {
        print!("{name:<20}");
        let mut costs = Vec::new();
        for runner in &runners {
            let cost = repeated(|| measure(name, runner, iterations)).map(|nanoseconds| nanoseconds / 1000.0);
            match &cost {
                Ok(cost) => print!("{cost:>12.3}"),
                Err(_) => print!("{:>12}", "failed"),
            }
            costs.push(cost);
        }
        let mut costs = costs.into_iter();
        let host = costs.next().context("the host is the first runner")??;
        let mut failures = Vec::new();
        for cost in costs {
            match cost {
                Ok(cost) => print!("{:>16.2}{:>16.2}", cost / host, cost / bare),
                Err(error) => failures.push(error),
            }
        }
        println!();
        for error in failures {
            eprintln!("{error:#}");
        }
    }
    exits::table(BENCHMARKS)
}
