//! Running other programs.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs cargo in the root of the source tree, and fails as it does.
pub fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_in(&[], arguments)
}

/// As [`cargo`], with these variables in its environment.
pub fn cargo_in(environment: &[(&str, &str)], arguments: &[&str]) -> Result<()> {
    let mut command = cargo_command(arguments);
    command.envs(environment.iter().copied());
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "`cargo {}` failed: {status}", arguments.join(" "));
    Ok(())
}

/// Cargo with these arguments, in the root of the source tree.
pub fn cargo_command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(bartizan_harness::source_directory());
    command
}

/// Whether a program can be started and ends well, its output thrown away.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
