//! The guest programs of `tests/guest`, each on the host kernel and in a sandbox on each platform: what they print and how
//! they end must be the same.

use std::process::ExitCode;
use std::time::Duration;

use bartizan_harness::{Check, Scene, compare, guest_names, missing, platforms, tests_kvm};
use libtest_mimic::{Arguments, Failed, Trial};

/// What runs on `kvm`; all of it with `BARTIZAN_PLATFORMS=kvm`.
const KVM: [&str; 10] = [
    "credentials",
    "elf_files",
    "files",
    "futexes",
    "mapped_files",
    "memory",
    "overlay",
    "paths",
    "programs",
    "uts_namespace",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let names = match guest_names() {
        Ok(names) => names,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let skipped = !missing(&["gcc", "unshare"]).is_empty();
    let mut trials = Vec::new();
    for platform in platforms() {
        for name in &names {
            let (platform, program) = (platform.clone(), name.clone());
            let trial = Trial::test(format!("{platform}::{name}"), move || check(&program, &platform));
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    if tests_kvm() {
        for name in KVM {
            let trial = Trial::test(format!("kvm::{name}"), move || check(name, "kvm"));
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn check(name: &str, platform: &str) -> Result<(), Failed> {
    let scene = Scene::guest(name)?.within(Duration::from_secs(120));
    Ok(compare(&scene, platform, Check::Output)?)
}
