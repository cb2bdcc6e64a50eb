//! Unmodified programs of Debian, each on the host kernel and in a sandbox on each platform: what they print and how they
//! end must be the same.
//!
//! A case is a script, run by one of the shells; it starts in an empty `/tmp`. It must print the same each time on the
//! host: no process ids, times or names of temporary files. Cases that take long are run where `BARTIZAN_SOAK` is set.

mod bash;
mod busybox;
mod case;
mod debuggers;
mod languages;
mod mounts;
mod processes;
mod python_suite;
mod screens;
mod stress;
mod system;
mod tools;

use std::process::ExitCode;

use bartizan_harness::{compare, missing, platforms};
use case::Case;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let groups = [
        busybox::CASES,
        bash::CASES,
        tools::CASES,
        debuggers::CASES,
        languages::CASES,
        mounts::CASES,
        processes::CASES,
        screens::CASES,
        system::CASES,
        stress::SHORT,
        python_suite::SHORT,
    ];
    let long_run = std::env::var_os("BARTIZAN_SOAK").is_some();
    let mut trials = Vec::new();
    for platform in platforms() {
        for case in groups.into_iter().flatten() {
            trials.push(trial(case, &platform));
        }
        for case in [stress::LONG, python_suite::LONG].into_iter().flatten() {
            let trial = trial(case, &platform);
            trials.push(if long_run { trial } else { trial.with_ignored_flag(true) });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The test of `case` on `platform`, ignored where a program that it needs is missing.
fn trial(case: &'static Case, platform: &str) -> Trial {
    let platform = platform.to_owned();
    let skipped = !missing(case.needs).is_empty() || !missing(&["unshare"]).is_empty();
    let name = format!("{platform}::{}", case.name);
    Trial::test(name, move || Ok(compare(&case.scene()?, &platform, case.check)?)).with_ignored_flag(skipped)
}
