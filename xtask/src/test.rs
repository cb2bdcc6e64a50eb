//! Tests, long runs, benchmarks and generated documents.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::packages;
use crate::run::{cargo, cargo_command, cargo_in, works};
use crate::tools;

/// Makes everything ready and runs all tests. The test runner's own summary is the last output.
pub fn test(arguments: &[String]) -> Result<()> {
    run_tests(arguments, &[])
}

fn run_tests(arguments: &[String], environment: &[(&str, &str)]) -> Result<()> {
    let missing = packages::make_ready()?;
    tools::make_ready()?;
    if !missing.contains(&"gcc") {
        bartizan_harness::build_guests()?;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let nextest = works("cargo", &["nextest", "--version"]);
    if !missing.is_empty() {
        list_skipped(nextest)?;
    }
    if !nextest {
        let test = [&["test", "--workspace", "--no-fail-fast"], arguments.as_slice()].concat();
        return cargo_in(environment, &test);
    }
    cargo(&["build", "--release", "--workspace", "--examples"])?;
    let documentation = cargo(&["test", "--workspace", "--doc", "--quiet"]);
    let run =
        [&["nextest", "run", "--release", "--workspace", "--no-fail-fast"], arguments.as_slice()].concat();
    cargo_in(environment, &run)?;
    documentation
}

/// Names the tests that are skipped because something that they need is missing.
fn list_skipped(nextest: bool) -> Result<()> {
    let arguments: &[&str] = if nextest {
        &["nextest", "list", "--workspace", "--run-ignored", "ignored-only"]
    } else {
        &["test", "--test", "programs", "--test", "guests", "--", "--list", "--ignored"]
    };
    eprintln!("xtask: skipped tests:");
    cargo(arguments)
}

/// Runs all tests, with those that take long, until the time is up, and stops at the first failure.
pub fn soak(arguments: &[String]) -> Result<()> {
    let seconds = match arguments.first() {
        Some(text) => text.parse().with_context(|| format!("{text} is no number of seconds"))?,
        None => 3600,
    };
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        run_tests(&[], &[("BARTIZAN_SOAK", "1")])?;
        rounds += 1;
        eprintln!("xtask: round {rounds} passed after {} s", start.elapsed().as_secs());
    }
    Ok(())
}

/// Prints the table of the benchmark, without criterion's statistics.
pub fn bench(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo(&["build", "--release", "--examples"])?;
    for bench in ["guest", "programs"] {
        cargo(&[&["bench", "--bench", bench, "--", "--table"], arguments.as_slice()].concat())?;
    }
    Ok(())
}

/// Compares Bartizan with its peers; see `benches/compare`.
pub fn compare(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo(&["build", "--release", "--examples"])?;
    cargo(&[&["bench", "--bench", "compare", "--"], arguments.as_slice()].concat())
}

/// Writes `docs/compat.md` from the table of system calls, or checks that it says what the table says.
pub fn docs(arguments: &[String]) -> Result<()> {
    let mut command =
        cargo_command(&["run", "--quiet", "--package", "bartizan-sentry", "--example", "compat"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cannot make the page: {}", output.status);
    let path = bartizan_harness::source_directory().join("docs/compat.md");
    if arguments.iter().any(|argument| argument == "--check") {
        let old = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(old == output.stdout, "{} is out of date: run `cargo xtask docs`", path.display());
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&path, output.stdout).with_context(|| format!("cannot write {}", path.display()))
}
