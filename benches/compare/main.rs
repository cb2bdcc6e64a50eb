//! What operations and whole programs cost under Bartizan and under its peers, beside the host, in one run.
//!
//! `cargo xtask compare` runs it. All runners take turns, round by round, so that what else the machine does hits all of them; the
//! tables show medians. With `--write` they go to `docs/performance.md`, with a chart beside it.

mod report;
mod runner;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bartizan_harness::{median, source_directory};
use clap::Parser;

use report::{Report, Row};
use runner::{Peers, Runner};
use workload::Workload;

/// Compare Bartizan with other sandboxes
#[derive(Debug, Parser)]
#[command(name = "cargo xtask compare")]
struct Options {
    /// Where gVisor's `runsc` is, if not in PATH; may be given several times
    #[arg(long, value_name = "FILE")]
    runsc: Vec<PathBuf>,
    /// Where `proot` is, if not in PATH
    #[arg(long, value_name = "FILE")]
    proot: Option<PathBuf>,
    /// Where `bwrap` is, if not in PATH
    #[arg(long, value_name = "FILE")]
    bwrap: Option<PathBuf>,
    /// How often each is run
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only what has this in its name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Write docs/performance.md and docs/performance.svg
    #[arg(long)]
    write: bool,
    /// What cargo passes to all benchmarks
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<()> {
    let peers =
        Peers { runsc: options.runsc.clone(), proot: options.proot.clone(), bwrap: options.bwrap.clone() };
    let runners = runner::find(&peers)?;
    let names: Vec<String> = runners.iter().map(|runner| runner.name.clone()).collect();
    eprintln!("comparing {}", names.join(", "));
    let mut rows = Vec::new();
    for workload in workload::all()?.iter().filter(|workload| workload.name.contains(&options.only)) {
        eprintln!("{}", workload.name);
        rows.push(measure(workload, &runners, options.rounds));
    }
    let report = Report { runners: names, rounds: options.rounds, rows };
    print!("{}", report.table());
    if options.write {
        let docs = source_directory().join("docs");
        std::fs::write(docs.join("performance.md"), report.markdown())?;
        std::fs::write(docs.join("performance.svg"), report.chart())?;
    }
    Ok(())
}

/// Runs the workload with all runners by turns. One that has failed is not run again.
fn measure(workload: &Workload, runners: &[Runner], rounds: usize) -> Row {
    let mut costs: Vec<Result<Vec<f64>>> = runners.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..rounds.max(1) {
        for (runner, costs) in runners.iter().zip(&mut costs) {
            let Ok(measured) = costs else { continue };
            match workload.measure(runner) {
                Ok(cost) => measured.push(cost),
                Err(error) => {
                    eprintln!("{} with {}: {error:#}", workload.name, runner.name);
                    *costs = Err(error);
                }
            }
        }
    }
    let costs = costs.into_iter().map(|costs| costs.and_then(median)).collect();
    Row { name: workload.name.to_owned(), unit: workload.unit(), costs }
}
