//! Starting a program: its streams, its environment, its executable.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags};
use bartizan_fsimpl::dev;
use bartizan_sentry::kernel::{Credentials, Limits, ProcessOptions};
use bartizan_sentry::loader::Arguments;
use bartizan_sentry::vfs::{FdFlags, FdTable, File, FollowLast, FsContext, NR_OPEN, OpenHow};

use crate::command::{Command, Process, Stdio};
use crate::{Error, Result, Sandbox, Terminal};

/// Where programs are looked for when they are given no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the streams are called in messages.
const STREAMS: [&str; 3] = ["standard input", "standard output", "standard error"];

/// Starts the program that `command` describes.
pub(crate) fn spawn(command: Command<'_>) -> Result<Process> {
    let Command { sandbox, program, arguments, environment, working_directory, user, streams, terminal } =
        command;
    let name = String::from_utf8_lossy(&program).into_owned();
    check_strings(&program, &arguments, &environment)?;
    let credentials = Credentials::user(user.uid, user.gid, Vec::new());
    let fs = sandbox.fs().duplicate();
    enter(&fs, &credentials, &working_directory)?;
    let path = find_program(&fs, &credentials, &program, &environment)
        .ok_or_else(|| Error::ProgramNotFound(name.clone()))?;
    let (terminal, slave) = terminal.map(|size| Terminal::open(sandbox, size)).transpose()?.unzip();
    let (files, ends) = standard_files(sandbox, &fs, streams, slave.as_ref())?;
    let argv = std::iter::once(program).chain(arguments).collect();
    let envp =
        environment.into_iter().map(|(name, value)| [name.as_slice(), b"=", &value].concat()).collect();
    let handle = sandbox
        .kernel()
        .start_process(ProcessOptions {
            path,
            arguments: Arguments { argv, envp },
            credentials,
            files,
            fs,
            limits: Limits::default(),
            terminal: terminal.as_ref().and_then(Terminal::kernel).cloned(),
        })
        .map_err(|errno| match errno {
            Errno::ENOENT => Error::ProgramNotFound(name.clone()),
            errno => Error::ProgramNotRunnable { program: name.clone(), errno },
        })?;
    let Ends { stdin, stdout, stderr } = ends;
    Ok(Process { handle, stdin, stdout, stderr, terminal })
}

/// Refuses strings that no program can be given.
fn check_strings(program: &[u8], arguments: &[Vec<u8>], environment: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    let check = |what: &'static str, value: &[u8]| match value.contains(&0) {
        true => Err(Error::NulByte { what, value: String::from_utf8_lossy(value).into_owned() }),
        false => Ok(()),
    };
    check("the program's name", program)?;
    arguments.iter().try_for_each(|argument| check("argument", argument))?;
    environment.iter().try_for_each(|(name, value)| {
        check("environment variable", name)?;
        check("environment variable", value)
    })
}

/// Makes `directory` the working directory.
fn enter(fs: &FsContext, credentials: &Credentials, directory: &[u8]) -> Result<()> {
    let failed = |errno| Error::File {
        operation: "start in directory",
        path: String::from_utf8_lossy(directory).into_owned(),
        errno,
    };
    let found = fs.resolve(credentials, directory, FollowLast::Yes).map_err(failed)?;
    if found.inode().kind() != bartizan_abi::FileType::Directory {
        return Err(failed(Errno::ENOTDIR));
    }
    fs.set_cwd(found);
    Ok(())
}

/// The path of `program`: itself if it has a slash, else the first of that name in the directories of `PATH`.
fn find_program(
    fs: &FsContext,
    credentials: &Credentials,
    program: &[u8],
    environment: &[(Vec<u8>, Vec<u8>)],
) -> Option<Vec<u8>> {
    if program.contains(&b'/') {
        return Some(program.to_vec());
    }
    let path = environment.iter().find(|(name, _)| name == b"PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    path.split(|&byte| byte == b':')
        .map(|directory| [if directory.is_empty() { b"." } else { directory }, b"/", program].concat())
        .find(|candidate| fs.open_executable_as(credentials, candidate).is_ok())
}

/// The host's ends of piped streams.
#[derive(Debug, Default)]
struct Ends {
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

/// A descriptor table with the three standard streams.
fn standard_files(
    sandbox: &Sandbox,
    fs: &FsContext,
    streams: [Option<Stdio>; 3],
    terminal: Option<&Arc<File>>,
) -> Result<(Arc<FdTable>, Ends)> {
    let files = Arc::new(FdTable::default());
    let mut ends = Ends::default();
    for (number, stream) in streams.into_iter().enumerate() {
        let failed = |source| Error::Stream { stream: STREAMS[number], source };
        let file = match (stream.unwrap_or(Stdio::Inherit), terminal) {
            (Stdio::Inherit, Some(terminal)) => Ok(Arc::clone(terminal)),
            (stream, _) => open_stream(sandbox, fs, number, stream, &mut ends),
        };
        files.add(file.map_err(failed)?, FdFlags::empty(), NR_OPEN).map_err(|errno| failed(errno.into()))?;
    }
    Ok((files, ends))
}

/// One of the standard streams.
fn open_stream(
    sandbox: &Sandbox,
    fs: &FsContext,
    number: usize,
    stream: Stdio,
    ends: &mut Ends,
) -> io::Result<Arc<File>> {
    match stream {
        Stdio::Null => open_null(fs, number),
        Stdio::Inherit => import(sandbox, own_stream(number)?),
        Stdio::Descriptor(descriptor) => import(sandbox, descriptor),
        Stdio::Piped => import(sandbox, pipe(number, ends)?),
    }
}

/// A duplicate of the host program's own stream.
fn own_stream(number: usize) -> io::Result<OwnedFd> {
    match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    }
}

/// A pipe: the guest's end is returned, the host's kept.
fn pipe(number: usize, ends: &mut Ends) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    if number == 0 {
        ends.stdin = Some(writer);
        return Ok(reader.into());
    }
    *(if number == 1 { &mut ends.stdout } else { &mut ends.stderr }) = Some(reader);
    Ok(writer.into())
}

/// The sandbox's `/dev/null`.
fn open_null(fs: &FsContext, number: usize) -> io::Result<Arc<File>> {
    let flags = if number == 0 { OpenFlags::O_RDONLY } else { OpenFlags::O_WRONLY };
    Ok(fs.open(&Credentials::root(), b"/dev/null", OpenHow::existing(flags))?)
}

/// A descriptor of the host as a file of the sandbox. A terminal becomes its `/dev/tty`.
fn import(sandbox: &Sandbox, descriptor: OwnedFd) -> io::Result<Arc<File>> {
    let imported = sandbox.imported().import(descriptor)?;
    if imported.is_terminal {
        dev::set_terminal(sandbox.fs().namespace().devices(), &imported.inode);
    }
    Ok(imported.into_file()?)
}
