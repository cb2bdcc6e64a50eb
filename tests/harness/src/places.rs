//! Where sources and built files lie.

use std::fs::{metadata, read_dir};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// The root of the source tree.
pub fn source_directory() -> &'static Path {
    const HARNESS: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(HARNESS).ancestors().nth(2).unwrap_or(Path::new(HARNESS))
}

/// The directory of the profile that the running program was built in, such as `target/debug`.
pub fn profile_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell the path of the running program")?;
    let mut directory = program.parent().context("the running program lies in no directory")?;
    while directory.ends_with("deps") || directory.ends_with("examples") {
        directory = directory.parent().context("target directory without parent")?;
    }
    Ok(directory.to_owned())
}

/// The directory that cargo builds into, such as `target`.
pub fn target_directory() -> Result<PathBuf> {
    let profile = profile_directory()?;
    Ok(profile.parent().context("profile directory without parent")?.to_owned())
}

/// The program `name` among the tools that `cargo xtask tools` builds below the target directory.
///
/// Errors: it was not built.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = tools_directory()?.join("bin").join(name);
    if path.exists() { Ok(path) } else { bail!("{} is missing: run `cargo xtask tools`", path.display()) }
}

/// Where tools are installed that the tests run.
pub fn tools_directory() -> Result<PathBuf> {
    Ok(target_directory()?.join("tools"))
}

/// The launcher, as cargo builds it beside the tests.
///
/// Errors: it is missing, or older than what it is made of (building the tests alone does not build it).
pub fn launcher() -> Result<PathBuf> {
    let path = profile_directory()?.join("examples/launcher");
    let built = metadata(&path).and_then(|data| data.modified());
    let built =
        built.with_context(|| format!("{} is missing: run `cargo build --examples`", path.display()))?;
    for directory in ["abi/src", "platform/src", "sentry/src", "fsimpl/src", "src", "examples/launcher"] {
        let source = newer_than(&source_directory().join(directory), built)?;
        if let Some(source) = source {
            bail!("{} is older than {}: run `cargo build --examples`", path.display(), source.display());
        }
    }
    Ok(path)
}

/// A file below `directory` that was changed after `time`.
fn newer_than(directory: &Path, time: SystemTime) -> Result<Option<PathBuf>> {
    for entry in read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let found = match entry.file_type()?.is_dir() {
            true => newer_than(&entry.path(), time)?,
            false => (entry.metadata()?.modified()? > time).then(|| entry.path()),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
