//! Programs in a sandbox: how they are started, and what becomes of them. The shape is that of [`std::process`].

use std::fmt;
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::{Error, Result, Sandbox, Terminal, TerminalSize};

/// What a program finds as one of its standard streams.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stdio {
    /// The same as the host program's own.
    Inherit,
    /// The sandbox's `/dev/null`.
    Null,
    /// A pipe whose other end the host program holds.
    Piped,
    /// A descriptor of the host. Its status flags are left as they are.
    Descriptor(OwnedFd),
}

/// Builds one process of a sandbox.
#[derive(Debug)]
pub struct Command<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) program: Vec<u8>,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) working_directory: Vec<u8>,
    pub(crate) user: User,
    pub(crate) streams: [Option<Stdio>; 3],
    pub(crate) terminal: Option<TerminalSize>,
}

/// Who a process is at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User {
    /// User id; 0 has all capabilities inside the sandbox, and none outside.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl<'a> Command<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox, program: &[u8]) -> Self {
        Self {
            sandbox,
            program: program.to_vec(),
            arguments: Vec::new(),
            environment: Vec::new(),
            working_directory: b"/".to_vec(),
            user: User::default(),
            streams: [None, None, None],
            terminal: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.arguments.push(argument.as_ref().to_vec());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<[u8]>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_vec()));
        self
    }

    /// Sets an environment variable. A program starts with none but those that are set here.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self.environment.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sets the working directory, a path in the sandbox; `/` by default.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<[u8]>) -> Self {
        self.working_directory = directory.as_ref().to_vec();
        self
    }

    /// Sets user and group; root by default.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// Sets standard input; the host program's own by default with [`spawn`](Self::spawn), none with [`output`](Self::output).
    #[must_use]
    pub fn stdin(mut self, stdio: Stdio) -> Self {
        self.streams[0] = Some(stdio);
        self
    }

    /// Sets standard output.
    #[must_use]
    pub fn stdout(mut self, stdio: Stdio) -> Self {
        self.streams[1] = Some(stdio);
        self
    }

    /// Sets standard error.
    #[must_use]
    pub fn stderr(mut self, stdio: Stdio) -> Self {
        self.streams[2] = Some(stdio);
        self
    }

    /// Gives the program a terminal of its own, in place of streams that are not set otherwise; the host program has keyboard and screen as
    /// [`Process::terminal`].
    #[must_use]
    pub fn terminal(mut self, size: TerminalSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Starts the program.
    ///
    /// # Errors
    /// [`Error::ProgramNotFound`], [`Error::ProgramNotRunnable`], and those of setting up its streams.
    pub fn spawn(self) -> Result<Process> {
        crate::spawn::spawn(self)
    }

    /// Starts the program, waits for its end, and returns what became of it.
    ///
    /// # Errors
    /// Those of [`spawn`](Self::spawn) and of [`Process::wait`].
    pub fn status(self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts the program, collects what it writes to standard output and error, and waits for its end.
    ///
    /// # Errors
    /// Those of [`spawn`](Self::spawn) and of [`Process::wait`].
    pub fn output(mut self) -> Result<Output> {
        for (stream, default) in self.streams.iter_mut().zip([Stdio::Null, Stdio::Piped, Stdio::Piped]) {
            stream.get_or_insert(default);
        }
        let mut process = self.spawn()?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        std::thread::scope(|scope| {
            let errors = scope.spawn(|| read_all("standard error", stderr));
            let stdout = read_all("standard output", stdout)?;
            let stderr = errors.join().unwrap_or_else(|_| {
                Err(Error::SandboxDied("the reader of standard error panicked".to_owned()))
            })?;
            Ok(Output { status: process.wait()?, stdout, stderr })
        })
    }
}

/// Reads a stream to its end.
fn read_all(stream: &'static str, reader: Option<PipeReader>) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    if let Some(mut reader) = reader {
        reader.read_to_end(&mut data).map_err(|source| Error::Stream { stream, source })?;
    }
    Ok(data)
}

/// A process that was started from the host. Dropping it does not end the process; dropping the [`Sandbox`] does.
#[derive(Debug)]
pub struct Process {
    pub(crate) handle: bartizan_sentry::kernel::ProcessHandle,
    /// The other end of standard input, if that is [`Stdio::Piped`].
    pub stdin: Option<std::io::PipeWriter>,
    /// The other end of standard output, if that is [`Stdio::Piped`].
    pub stdout: Option<PipeReader>,
    /// The other end of standard error, if that is [`Stdio::Piped`].
    pub stderr: Option<PipeReader>,
    /// Keyboard and screen, if it has a [terminal](Command::terminal).
    pub terminal: Option<Terminal>,
}

impl Process {
    /// Its number in the sandbox.
    pub fn id(&self) -> i32 {
        self.handle.pid()
    }

    /// Waits for its end. Closes standard input first, if that is a pipe.
    ///
    /// # Errors
    /// [`Error::SandboxDied`] when the sandbox did not survive.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        match self.handle.wait(None) {
            Some(end) => ExitStatus::from_end(end),
            None => Err(Error::SandboxDied("it was waited for without a limit, but did not end".to_owned())),
        }
    }

    /// Waits for its end for at most `limit`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when the program still runs, [`Error::SandboxDied`] when the sandbox did not survive.
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.handle.wait(Some(limit)).map_or(Err(Error::TimedOut(limit)), ExitStatus::from_end)
    }

    /// Sends it a signal by number, as `kill(2)` from outside of the sandbox would; one that has ended already ignores it.
    pub fn signal(&self, signal: i32) {
        self.handle.signal(signal);
    }
}

/// What became of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It ended by itself, with this code.
    Exited(i32),
    /// It was ended by this signal.
    Signaled(i32),
}

impl ExitStatus {
    fn from_end(end: bartizan_sentry::kernel::ProcessEnd) -> Result<Self> {
        use bartizan_sentry::kernel::ProcessEnd;
        match end {
            ProcessEnd::Exited(code) => Ok(Self::Exited(code)),
            ProcessEnd::Signaled(signal) => Ok(Self::Signaled(signal)),
            ProcessEnd::SandboxDied(report) => Err(Error::SandboxDied(report)),
        }
    }

    /// Whether it ended by itself with code 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The code as a shell shows it: its own, or 128 and the number of the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exited with code {code}"),
            Self::Signaled(signal) => write!(formatter, "ended by signal {signal}"),
        }
    }
}

/// What a program wrote, and what became of it.
#[derive(Debug)]
pub struct Output {
    /// What became of it.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}
