//! How many times guest code is left for one operation on `kvm`, and how long the operation takes there.

use anyhow::{Context, Result, ensure};
use bartizan_harness::{Scene, platforms, tests_kvm};
use std::time::Duration;

/// By how much fewer iterations are enough to count exits, where each may cost a tenth of a millisecond.
const FEWER: u64 = 10;
const FEWEST: u64 = 20;

/// What one run of a benchmark took.
struct Run {
    exits: u64,
    nanoseconds: f64,
}

/// Prints the table, where the platform works and was not left out.
pub fn table(benchmarks: &[(&str, u64)]) -> Result<()> {
    if !tests_kvm() && !platforms().iter().any(|name| name == "kvm") {
        return Ok(());
    }
    println!();
    println!("{:<20}{:>12}{:>16}", "kvm", "exits", "microseconds");
    for &(name, iterations) in benchmarks {
        let iterations = (iterations / FEWER).max(FEWEST);
        match measure(name, iterations) {
            Ok((exits, nanoseconds)) => println!("{name:<20}{exits:>12.2}{:>16.1}", nanoseconds / 1000.0),
            Err(error) => {
                println!("{name:<20}{:>12}", "failed");
                eprintln!("{error:#}");
            }
        }
    }
    Ok(())
}

/// Exits and nanoseconds of one operation: what twice as many iterations take more, so that the start of the program does not count.
fn measure(name: &str, iterations: u64) -> Result<(f64, f64)> {
    let (once, twice) = (run(name, iterations)?, run(name, 2 * iterations)?);
    let exits = twice.exits.saturating_sub(once.exits) as f64 / iterations as f64;
    Ok((exits, twice.nanoseconds))
}

fn run(name: &str, iterations: u64) -> Result<Run> {
    let scene = Scene::guest("bench")?.arg(name).arg(iterations.to_string());
    let outcome = scene.option("--verbose").within(Duration::from_secs(120)).sandboxed("kvm")?;
    let (printed, told) =
        (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    ensure!(
        outcome.code == 0 && !outcome.timed_out,
        "{name} on kvm ended with {}: {printed}{told}",
        outcome.code
    );
    let nanoseconds = printed.trim().parse().with_context(|| format!("{name} on kvm printed {printed:?}"))?;
    let counts = told.lines().filter_map(|line| line.strip_prefix("launcher: exits for ")?.rsplit_once(": "));
    let counts: Vec<u64> = counts.map(|(_, count)| count.parse()).collect::<Result<_, _>>()?;
    ensure!(!counts.is_empty(), "the launcher told no exits: {told}");
    Ok(Run { exits: counts.into_iter().sum(), nanoseconds })
}
