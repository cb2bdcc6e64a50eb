//! Making ready the Debian packages whose programs the tests run.

use std::process::{Command, Stdio};

use anyhow::Result;
use bartizan_harness::{missing, requirements};

use crate::run::works;

/// Installs what is missing where that is possible. Returns the programs that are missing all the same.
pub fn make_ready() -> Result<Vec<&'static str>> {
    let wanted = missing_programs();
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let packages: Vec<&str> = requirements()
        .iter()
        .filter(|requirement| wanted.contains(&requirement.program))
        .map(|requirement| requirement.package)
        .collect();
    if may_install() {
        eprintln!("xtask: installing {}", packages.join(" "));
        if !install(&packages)? {
            works("apt-get", &["update", "-q"]);
            install(&packages)?;
        }
    }
    let missing = missing_programs();
    for program in &missing {
        let package = requirements().iter().find(|requirement| requirement.program == *program);
        let package = package.map_or("?", |requirement| requirement.package);
        eprintln!(
            "xtask: {program} is missing (Debian package {package}): the tests that need it are skipped"
        );
    }
    Ok(missing)
}

fn missing_programs() -> Vec<&'static str> {
    let programs: Vec<&str> = requirements().iter().map(|requirement| requirement.program).collect();
    missing(&programs)
}

/// Whether apt-get is there and we are root.
fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    root && works("apt-get", &["--version"])
}

fn install(packages: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.status()?.success())
}
