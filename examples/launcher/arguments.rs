//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use bartizan::{Changes, PlatformKind, User};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

/// What the user asks for.
pub enum Invocation {
    /// Run a program.
    Do(Box<DoOptions>),
    /// Show this text.
    Help(String),
}

#[derive(Debug, Parser)]
#[command(name = "launcher", version, about = "Runs Linux programs inside a Bartizan sandbox")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command over the host's file system, changes of which stay in the sandbox, with fresh /tmp, /run and /dev/shm
    Do(Box<DoOptions>),
}

/// Options of `do`.
#[derive(Debug, Args)]
pub struct DoOptions {
    /// How guest code is run: auto (the faster of the next two that works), systrap, ptrace or kvm
    #[arg(long, env = "BARTIZAN_PLATFORM", default_value = "auto", value_parser = platform)]
    pub platform: PlatformKind,
    /// Leave the code of programs as it is: calls are slower (platform systrap)
    #[arg(long)]
    pub no_patching: bool,
    /// Never keep two processors busy for one program: calls are slower (platform systrap)
    #[arg(long)]
    pub no_spinning: bool,
    /// The directory of the host that becomes the root
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub rootfs: PathBuf,
    /// Where changes of the root are kept, over the host's directory: `memory`, `store:DIR` (a file without name in a directory of the host), `dir:DIR` (a
    /// directory of the host, for later runs too), or `none`: nothing can be changed
    #[arg(long, value_name = "WHERE", value_parser = overlay, default_value = "memory")]
    pub overlay: Overlay,
    /// Show a directory or file of the host at another place; read-only with `:ro`
    #[arg(long, value_name = "SRC:DST[:ro]", value_parser = bind)]
    pub bind: Vec<Bind>,
    /// Mount an empty tmpfs
    #[arg(long, value_name = "DST")]
    pub tmpfs: Vec<OsString>,
    /// The working directory, in the sandbox
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<OsString>,
    /// Set an environment variable; without `=VALUE`, pass the host's on
    #[arg(long, value_name = "K=V")]
    pub env: Vec<OsString>,
    /// Run as this user and group, by number
    #[arg(long, value_name = "UID[:GID]", value_parser = user, default_value = "0:0")]
    pub user: User,
    /// The host name in the sandbox
    #[arg(long, default_value = "bartizan")]
    pub hostname: String,
    /// The most memory that the sandbox may use, in bytes or with a suffix k, m or g
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// End the sandbox after this many seconds, with exit code 124
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Show every system call on standard error, or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub strace: Option<Option<PathBuf>>,
    /// Show at the end on standard error what time was spent on, and write it with all times to FILE, for Chrome's trace viewer or Perfetto
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Give the program a terminal of its own, shown on this one
    #[arg(short = 't', long = "tty")]
    pub terminal: bool,
    /// Say what is being done
    #[arg(short, long)]
    pub verbose: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `--overlay`.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// The root can be changed; where the changes are.
    Changes(Changes),
    /// It cannot.
    None,
}

/// One `--bind`.
#[derive(Debug, Clone)]
pub struct Bind {
    /// In the host.
    pub source: PathBuf,
    /// In the sandbox.
    pub target: Vec<u8>,
    /// Whether it was given with `:ro`.
    pub read_only: bool,
}

/// Reads the command line; an error is one line for the user.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invocation, String> {
    match CommandLine::try_parse_from(arguments) {
        Ok(CommandLine { command: Command::Do(options) }) => Ok(Invocation::Do(options)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation::Help(error.to_string()))
        }
        Err(error) => Err(one_line(&error.to_string())),
    }
}

/// The first paragraph of clap's message in one line.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let text = words.join(" ");
    format!("{} (try --help)", text.strip_prefix("error: ").unwrap_or(&text))
}

fn platform(text: &str) -> Result<PlatformKind, String> {
    text.parse().map_err(|error: bartizan::Error| error.to_string())
}

fn overlay(text: &str) -> Result<Overlay, String> {
    match text.split_once(':') {
        None if text == "memory" => Ok(Overlay::Changes(Changes::Memory)),
        None if text == "none" => Ok(Overlay::None),
        Some(("dir", path)) if !path.is_empty() => Ok(Overlay::Changes(Changes::Directory(path.into()))),
        Some(("store", path)) if !path.is_empty() => Ok(Overlay::Changes(Changes::Filestore(path.into()))),
        _ => Err("expected memory, store:DIR, dir:DIR or none".to_owned()),
    }
}

fn bind(text: &str) -> Result<Bind, String> {
    let (rest, read_only) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    };
    match rest.split_once(':') {
        Some((source, target)) if !source.is_empty() && target.starts_with('/') => {
            Ok(Bind { source: source.into(), target: target.as_bytes().to_vec(), read_only })
        }
        _ => Err("expected SRC:DST or SRC:DST:ro with an absolute DST".to_owned()),
    }
}

fn user(text: &str) -> Result<User, String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(User { uid, gid }),
        _ => Err("expected numbers: UID or UID:GID".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.to_ascii_lowercase().as_bytes() {
        [.., b'k'] => (&text[..text.len() - 1], 1 << 10),
        [.., b'm'] => (&text[..text.len() - 1], 1 << 20),
        [.., b'g'] => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "expected a number of bytes, perhaps with a suffix k, m or g".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "expected a positive number of seconds".to_owned())
}

/// `K=V`, or `K` for the host's value, as name and value; `None` if the host has no such variable.
pub fn variable(text: &OsString) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => Some((bytes[..at].to_vec(), bytes[at + 1..].to_vec())),
        None => std::env::var_os(text).map(|value| (bytes.to_vec(), value.into_vec())),
    }
}
