//! Building the programs of others that the tests run and that Debian has not.

use anyhow::{Context, Result};
use bartizan_harness::{tool, tools_directory};

use crate::run::cargo;

/// The programs, as crates with their versions.
const TOOLS: [(&str, &str); 2] = [("fsx", "0.3.2"), ("pjdfstest", "0.2.2")];

/// Builds what is missing. What cannot be built is told; the tests that need it are skipped then.
///
/// # Errors
/// The target directory cannot be told.
pub fn make_ready() -> Result<()> {
    let directory = tools_directory()?;
    let root = directory.to_str().context("the target directory is no UTF-8")?;
    for (name, version) in TOOLS {
        if tool(name).is_ok() {
            continue;
        }
        eprintln!("xtask: building {name} {version}");
        let wanted = format!("{name}@{version}");
        if let Err(error) = cargo(&["install", "--quiet", "--locked", "--root", root, &wanted]) {
            eprintln!("xtask: {name} cannot be built ({error:#}): the tests that need it are skipped");
        }
    }
    Ok(())
}
