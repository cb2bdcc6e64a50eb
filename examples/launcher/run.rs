//! `launcher do`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use bartizan::{Command, Error, Mount, Profiler, Result, Sandbox, Stdio};

use crate::LAUNCHER_FAILED;
use crate::arguments::{DoOptions, Overlay, variable};
use crate::terminal::{Bridge, own_size};

/// The program is there but cannot be run.
const NOT_RUNNABLE: i32 = 126;
/// There is no such program.
const NOT_FOUND: i32 = 127;
/// The time was up, as `timeout(1)` has it.
const TIMED_OUT: i32 = 124;

/// What is passed on of the host's environment unless it is set by `--env`.
const PASSED_ON: [&str; 5] = ["PATH", "TERM", "LANG", "LC_ALL", "HOME"];

/// Runs the program and returns the launcher's exit code.
pub fn run(options: &DoOptions) -> i32 {
    match try_run(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("launcher: {error}");
            match error {
                Error::ProgramNotFound(_) => NOT_FOUND,
                Error::ProgramNotRunnable { .. } => NOT_RUNNABLE,
                Error::TimedOut(_) => TIMED_OUT,
                _ => LAUNCHER_FAILED,
            }
        }
    }
}

fn try_run(options: &DoOptions) -> Result<i32> {
    let profile = options.profile.as_ref().map(Profile::new).transpose()?;
    let sandbox = build(options, profile.as_ref())?;
    if options.verbose {
        eprintln!("launcher: platform {}, root {}", sandbox.platform(), options.rootfs.display());
    }
    let mut process = command(&sandbox, options).spawn()?;
    let bridge = process.terminal.take().map(|terminal| Bridge::new(&terminal)).transpose();
    let bridge = bridge.map_err(|source| Error::Stream { stream: "terminal (option -t)", source })?;
    let status = match options.timeout {
        Some(limit) => process.wait_timeout(limit)?,
        None => process.wait()?,
    };
    if let Some(bridge) = bridge {
        // What is left in the background holds the terminal open.
        sandbox.kill();
        bridge.finish();
    }
    if options.verbose {
        eprintln!("launcher: {status}");
        for (name, count) in sandbox.unimplemented_calls() {
            eprintln!("launcher: {name} is not implemented and was called {count} times");
        }
        for (reason, count) in sandbox.exits() {
            eprintln!("launcher: exits for {reason}: {count}");
        }
    }
    if let Some(profile) = profile {
        // Only then have all programs ended.
        drop((process, sandbox));
        profile.write()?;
    }
    Ok(status.shell_code())
}

/// What `--profile` asks for.
struct Profile {
    profiler: Profiler,
    file: File,
}

impl Profile {
    fn new(path: impl AsRef<Path>) -> Result<Self> {
        let file = File::create(path).map_err(profile_error)?;
        Ok(Self { profiler: Profiler::new(), file })
    }

    fn write(self) -> Result<()> {
        let mut sink = BufWriter::new(self.file);
        self.profiler.write_trace(&mut sink).and_then(|()| sink.flush()).map_err(profile_error)?;
        eprint!("{}", self.profiler.table());
        Ok(())
    }
}

fn profile_error(source: io::Error) -> Error {
    Error::Stream { stream: "profile (option --profile)", source }
}

/// The sandbox that the options describe.
fn build(options: &DoOptions, profile: Option<&Profile>) -> Result<Sandbox> {
    let mut builder = Sandbox::builder()
        .platform(options.platform)
        .patch_calls(!options.no_patching)
        .spin(!options.no_spinning)
        .hostname(&options.hostname)
        .root(root(options))
        .mount("/tmp", Mount::tmpfs().with_options("mode=1777"))
        .mount("/run", Mount::tmpfs().with_options("mode=755"))
        .mount("/dev/shm", Mount::tmpfs().with_options("mode=1777"));
    if let Some(profile) = profile {
        builder = builder.profile(&profile.profiler);
    }
    if let Some(limit) = options.memory {
        builder = builder.memory_limit(limit);
    }
    for target in &options.tmpfs {
        builder = builder.mount(target.as_bytes(), Mount::tmpfs());
    }
    for bind in &options.bind {
        let mount = Mount::host_directory(&bind.source);
        builder = builder.mount(&bind.target, if bind.read_only { mount } else { mount.writable() });
    }
    if let Some(file) = &options.strace {
        let sink: Box<dyn Write + Send> = match file {
            Some(path) => Box::new(
                File::create(path)
                    .map_err(|source| Error::Stream { stream: "trace file (option --strace)", source })?,
            ),
            None => Box::new(std::io::stderr()),
        };
        builder = builder.strace(sink);
    }
    builder.build()
}

/// What is mounted at the root.
fn root(options: &DoOptions) -> Mount {
    let host = Mount::host_directory(&options.rootfs);
    match &options.overlay {
        Overlay::Changes(changes) => Mount::overlay([host], changes.clone()),
        Overlay::None => host,
    }
}

/// The program that the options describe.
fn command<'a>(sandbox: &'a Sandbox, options: &DoOptions) -> Command<'a> {
    let mut words = options.command.iter().map(|word| word.as_bytes());
    let program = words.next().unwrap_or_default();
    let mut command = sandbox
        .command(program)
        .args(words)
        .user(options.user)
        .current_dir(directory(options))
        .stdin(Stdio::Inherit)
        .stdout(Stdio::Inherit)
        .stderr(Stdio::Inherit);
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command = command.env(name, value.into_vec());
        }
    }
    if options.terminal {
        command = command.terminal(own_size());
    }
    for (name, value) in options.env.iter().filter_map(variable) {
        command = command.env(name, value);
    }
    command
}

/// Where the program starts: where it was asked to, else `/`.
fn directory(options: &DoOptions) -> &[u8] {
    options.cwd.as_ref().map_or(b"/", |directory| directory.as_bytes())
}
