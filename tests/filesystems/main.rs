//! The file systems under two suites of others: `pjdfstest`, every case of which that passes on the host has to pass in a sandbox, and `fsx`, which
//! reads, writes, maps, truncates and punches a file at random and compares it with what it remembers.
//!
//! `cargo xtask test` builds both below the target directory; without them the tests are ignored. Long runs of `fsx` are made where `BARTIZAN_SOAK` is set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bartizan_harness::{Outcome, launcher, missing, platforms, run, tool};
use libtest_mimic::{Arguments, Trial};

/// Cases of pjdfstest that must be there at least, so that an empty list passes for nothing.
const LEAST_CASES: usize = 300;

/// How often fsx changes its file, in tests and in long runs.
const OPERATIONS: u32 = 20_000;
const MANY_OPERATIONS: u32 = 1_000_000;

/// A file system to be tested: it is at `/srv`, where everybody may write.
#[derive(Debug, Clone, Copy)]
struct Subject {
    name: &'static str,
    /// Makes it on the host, in a mount namespace of its own.
    on_the_host: &'static str,
    /// The launcher's options that make it, and what is run inside at first.
    options: &'static [&'static str],
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "tmpfs",
        on_the_host: "mount -t tmpfs -o mode=777 tmpfs /srv",
        options: &["--tmpfs", "/srv"],
    },
    Subject {
        name: "overlay",
        on_the_host: "mount -t tmpfs tmpfs /run && cd /run && mkdir lower upper work && chmod 777 lower upper && \
                      mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay /srv",
        options: &[],
    },
    // Its names are those of the overlay; its data lies elsewhere.
    Subject { name: "filestore", on_the_host: "", options: &["--overlay", FILESTORE] },
];

/// Stands for a filestore in the scratch directory of the tests.
const FILESTORE: &str = "store:";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let long_run = std::env::var_os("BARTIZAN_SOAK").is_some();
    let skipped = |name| tool(name).is_err() || !missing(&["unshare"]).is_empty();
    let mut trials = Vec::new();
    for platform in platforms() {
        for subject in SUBJECTS {
            let named = |suite: &str| format!("{platform}::{suite}_on_{}", subject.name);
            let place = platform.clone();
            if !subject.on_the_host.is_empty() {
                let trial = Trial::test(named("pjdfstest"), move || Ok(compare_cases(subject, &place)?));
                trials.push(trial.with_ignored_flag(skipped("pjdfstest")));
            }
            for (suite, seed, operations) in
                [("fsx", 20, OPERATIONS), ("fsx_again", 21, OPERATIONS), ("fsx_long", 22, MANY_OPERATIONS)]
            {
                let place = platform.clone();
                let trial =
                    Trial::test(named(suite), move || Ok(exercise(subject, &place, seed, operations)?));
                let ignored = skipped("fsx") || operations == MANY_OPERATIONS && !long_run;
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A directory of this process with the suites and what they are told, which is `/mnt` where they run.
fn suites() -> Result<PathBuf> {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("filesystems").join(std::process::id().to_string());
    fs::create_dir_all(&directory)?;
    fs::copy(tool("pjdfstest").or_else(|_| tool("fsx"))?, directory.join("pjdfstest"))?;
    fs::copy(tool("fsx").or_else(|_| tool("pjdfstest"))?, directory.join("fsx"))?;
    fs::write(directory.join("pjdfstest.toml"), include_str!("pjdfstest.toml"))?;
    fs::write(directory.join("fsx.toml"), include_str!("fsx.toml"))?;
    Ok(directory)
}

/// Runs a script in a sandbox.
fn inside(subject: Subject, platform: &str, script: &str, limit: Duration) -> Result<Outcome> {
    let suites = suites()?;
    let suites = suites.to_str().context("a path that is no UTF-8")?;
    let mut command = Command::new(launcher()?);
    command.args(["do", "--platform", platform, "--bind", &format!("{suites}:/mnt:ro")]);
    let store = |option: &&str| match *option {
        FILESTORE => format!("{FILESTORE}{}", env!("CARGO_TARGET_TMPDIR")),
        option => option.to_owned(),
    };
    command.args(subject.options.iter().map(store)).args([
        "/bin/sh",
        "-c",
        &format!("chmod 777 /srv && {script}"),
    ]);
    run(&mut command, b"", limit)
}

/// Runs a script on the host.
fn outside(subject: Subject, script: &str, limit: Duration) -> Result<Outcome> {
    let suites = suites()?;
    let suites = suites.to_str().context("a path that is no UTF-8")?;
    let script =
        format!("mount --bind {suites} /mnt && {} && chmod 777 /srv && {script}", subject.on_the_host);
    run(Command::new("unshare").args(["-m", "/bin/sh", "-c", &script]), b"", limit)
}

/// Checks that all cases of pjdfstest that pass on the host pass in a sandbox.
fn compare_cases(subject: Subject, platform: &str) -> Result<()> {
    let script = "/mnt/pjdfstest -c /mnt/pjdfstest.toml -p /srv 2>&1";
    let limit = Duration::from_secs(300);
    let expected = passed(&outside(subject, script, limit)?);
    ensure!(expected.len() >= LEAST_CASES, "only {} cases pass on the host", expected.len());
    let seen = passed(&inside(subject, platform, script, limit)?);
    let lost: Vec<_> = expected.difference(&seen).collect();
    ensure!(lost.is_empty(), "{} cases pass on the host but not in the sandbox: {lost:#?}", lost.len());
    Ok(())
}

/// The names of the cases that pass.
fn passed(outcome: &Outcome) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&outcome.stdout);
    let lines = text.lines().filter_map(|line| line.trim_end().strip_suffix(" ok"));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Runs fsx with a seed.
fn exercise(subject: Subject, platform: &str, seed: u32, operations: u32) -> Result<()> {
    let script = format!("cd /srv && /mnt/fsx -q -f /mnt/fsx.toml -S {seed} -N {operations} /srv/file");
    let limit = Duration::from_secs(120 + u64::from(operations / 500));
    let outcome = inside(subject, platform, &script, limit)?;
    let text = String::from_utf8_lossy(&outcome.stdout) + String::from_utf8_lossy(&outcome.stderr);
    ensure!(
        !outcome.timed_out && outcome.code == 0,
        "fsx with seed {seed} ends with {}: {text}",
        outcome.code
    );
    ensure!(text.contains("All operations completed A-OK!"), "fsx with seed {seed} says: {text}");
    Ok(())
}
