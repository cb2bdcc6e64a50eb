//! What the tests, the benchmarks and the chores share.
//!
//! A test here runs one [`Scene`] twice: on the host kernel, in a mount namespace of its own that has the same empty
//! directories as a sandbox, and in a sandbox through the launcher. What both print and how both end must be equal
//! ([`compare`]). The host kernel is the specification, so a scene must print nothing that differs between two runs on
//! the host: no process ids, times, or names of temporary files.

use std::process::Command;
use std::time::Duration;

mod compare;
mod guest;
mod measure;
mod outcome;
mod places;
mod requirement;
mod scene;
mod workloads;

pub use compare::{Check, compare};
pub use guest::{build_guest, build_guests, build_host_tool, guest_names, guest_path};
pub use measure::{median, resident_of_tree};
pub use outcome::{Outcome, run};
pub use places::{launcher, profile_directory, source_directory, target_directory, tool, tools_directory};
pub use requirement::{Requirement, missing, requirements};
pub use scene::{SEARCH_PATH, Scene};
pub use workloads::{PROGRAMS, Program};

/// The platforms that the tests run on: the names in `BARTIZAN_PLATFORMS`, separated by commas or blanks; where it is not set,
/// all of ours that work here. `host` is none, and proves the tests themselves.
pub fn platforms() -> Vec<String> {
    let names = std::env::var("BARTIZAN_PLATFORMS").unwrap_or_default();
    let names: Vec<String> =
        names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if !names.is_empty() {
        return names;
    }
    ["systrap", "ptrace"].into_iter().filter(|name| works(name)).map(str::to_owned).collect()
}

/// Whether guests are tested on `kvm` too, a few of them, because it is slow where it is emulated: it works here and nobody has chosen platforms.
pub fn tests_kvm() -> bool {
    std::env::var_os("BARTIZAN_PLATFORMS").is_none()
        && std::path::Path::new("/dev/kvm").exists()
        && works("kvm")
}

/// Whether a program runs on `platform` here; if not, says why. `ptrace` has to.
fn works(platform: &str) -> bool {
    let Ok(launcher) = launcher() else { return true };
    let mut command = Command::new(launcher);
    command.args(["do", "--platform", platform, "--", "/bin/true"]);
    match run(&mut command, b"", Duration::from_secs(30)) {
        Ok(outcome) if outcome.code == 0 || platform == "ptrace" => true,
        Ok(outcome) => {
            eprintln!("{platform} is not tested: {}", String::from_utf8_lossy(&outcome.stderr).trim_end());
            false
        }
        Err(error) => {
            eprintln!("{platform} is not tested: {error:#}");
            platform == "ptrace"
        }
    }
}
