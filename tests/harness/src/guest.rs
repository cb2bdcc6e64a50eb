//! Building the guest programs: statically linked, in C or Rust, without any of ours in them.

use std::fs::{create_dir_all, metadata, read_dir, rename};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::{source_directory, target_directory};

/// The guest programs of `tests/guest` without its helpers, by name, sorted. Errors: the directory cannot be read.
pub fn guest_names() -> Result<Vec<String>> {
    let directory = source_directory().join("tests/guest");
    let mut names = Vec::new();
    for entry in read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if is_source(&path) {
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all guest programs of `tests/guest` and `benches/guest`.
pub fn build_guests() -> Result<()> {
    for name in guest_names()? {
        build_guest(&name)?;
    }
    for name in ["bench", "held_file", "nothing", "stub_breaker"] {
        build_guest(name)?;
    }
    Ok(())
}

/// Where the guest program `name` is built.
pub fn guest_path(name: &str) -> Result<PathBuf> {
    Ok(target_directory()?.join("guest").join(name))
}

/// Builds the guest program `name` where its source is newer than it is, and tells its path.
///
/// Errors: no such source, no compiler, or what the compiler says.
pub fn build_guest(name: &str) -> Result<PathBuf> {
    build(name, &["tests/guest", "tests/guest/helper", "benches/guest"])
}

/// Builds a program that runs on the host beside the benchmarks, from `benches/host`.
pub fn build_host_tool(name: &str) -> Result<PathBuf> {
    build(name, &["benches/host"])
}

fn build(name: &str, directories: &[&str]) -> Result<PathBuf> {
    let source = find_source(name, directories)?;
    let program = guest_path(name)?;
    if is_fresh(&source, &program)? {
        return Ok(program);
    }
    let directory = program.parent().context("guest program without directory")?;
    create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // Tests run as processes side by side, each of which may build: the last one to rename wins.
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let mut compiler = compiler(&source, &draft);
    let output = compiler.output().with_context(|| format!("cannot start {:?}", compiler.get_program()))?;
    ensure!(
        output.status.success(),
        "cannot build {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    rename(&draft, &program).with_context(|| format!("cannot rename {}", draft.display()))?;
    Ok(program)
}

fn find_source(name: &str, directories: &[&str]) -> Result<PathBuf> {
    for directory in directories {
        for extension in ["c", "rs"] {
            let path = source_directory().join(directory).join(name).with_extension(extension);
            if path.exists() {
                return Ok(path);
            }
        }
    }
    bail!("there is no guest program {name}");
}

fn compiler(source: &Path, program: &Path) -> Command {
    let mut command;
    if source.extension().is_some_and(|extension| extension == "rs") {
        command = Command::new("rustc");
        command.args(["--edition", "2024", "-O", "-D", "warnings", "-C", "target-feature=+crt-static"]);
    } else {
        command = Command::new("gcc");
        command.args(["-std=gnu17", "-O2", "-g0", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"]);
        // Wrong arguments are what many of the programs are about.
        command.args(["-Wno-nonnull", "-Wno-stringop-overread", "-Wno-stringop-overflow"]);
    }
    command.arg("-o").arg(program).arg(source);
    command
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "c" || extension == "rs")
}

/// Whether `program` is newer than `source` and than every header beside it.
fn is_fresh(source: &Path, program: &Path) -> Result<bool> {
    let Ok(built) = metadata(program).and_then(|data| data.modified()) else { return Ok(false) };
    let newer = |path: &Path| -> Result<bool> {
        let changed: SystemTime = metadata(path)?.modified()?;
        Ok(changed >= built)
    };
    if newer(source)? {
        return Ok(false);
    }
    let directory = source.parent().context("source without directory")?;
    for entry in read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "h") && newer(&path)? {
            return Ok(false);
        }
    }
    Ok(true)
}
