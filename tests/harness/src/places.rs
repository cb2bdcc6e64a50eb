//! Where sources and built files lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

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

/// The launcher, as cargo builds it beside the tests.
pub fn launcher() -> Result<PathBuf> {
    let path = profile_directory()?.join("examples/launcher");
    anyhow::ensure!(path.exists(), "{} is missing: run `cargo build --examples`", path.display());
    Ok(path)
}
