//! Everything about a new program that can still be refused: `#!` lines, headers, the ELF interpreter.

use std::sync::Arc;

use bartizan_abi::Errno;

use super::arguments::Arguments;
use super::elf::ElfHeaders;
use super::{ProgramFile, script};
use crate::vfs::{File, FsStr, FsString};

/// What Linux reads of a file to recognise it, bytes (`BINPRM_BUF_SIZE`).
pub(super) const PREFIX_SIZE: usize = 256;
/// Most scripts that are each other's interpreter.
const MOST_SCRIPTS: usize = 5;
/// The longest name of a task, bytes.
const NAME_LENGTH: usize = bartizan_abi::prctl::TASK_COMM_LEN - 1;

/// Whether the path of a new program leads to it once `execve` has closed descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExec {
    /// It does.
    Reachable,
    /// It is `/dev/fd/N` of a descriptor with close-on-exec, so that an interpreter could not open the script.
    Unreachable,
}

/// What is to be executed.
#[derive(Debug)]
pub struct ExecRequest<F = File> {
    /// The file, opened for execution.
    pub file: Arc<F>,
    /// The path as it was given; for `execveat` of a descriptor `/dev/fd/N` or `/dev/fd/N/PATH`.
    pub path: FsString,
    /// Whether that path works afterwards.
    pub after_exec: AfterExec,
    /// What the program gets. Without any argument it gets one empty one, as Linux has it.
    pub arguments: Arguments,
    /// The soft `RLIMIT_STACK`, bytes.
    pub stack_limit: u64,
}

/// A program that can be loaded.
#[derive(Debug)]
pub struct Program<F = File> {
    pub(super) file: Arc<F>,
    pub(super) headers: ElfHeaders,
    pub(super) interpreter: Option<(Arc<F>, ElfHeaders)>,
    pub(super) arguments: Arguments,
    pub(super) path: FsString,
}

impl<F> Program<F> {
    /// The file that runs: for a script its interpreter. Set-ID bits and file capabilities of this file count, and
    /// `/proc/[pid]/exe` shows it.
    pub fn executable(&self) -> &Arc<F> {
        &self.file
    }

    /// The file of the ELF interpreter. A program is not dumpable if either file cannot be read.
    pub fn interpreter(&self) -> Option<&Arc<F>> {
        self.interpreter.as_ref().map(|(file, _)| file)
    }

    /// All files that were opened to be loaded.
    pub fn opened(&self) -> Vec<Arc<F>> {
        std::iter::once(&self.file).chain(self.interpreter()).cloned().collect()
    }

    /// The name of the task: the last part of the path that was executed, cut to 15 bytes. For a script it is the script's.
    pub fn task_name(&self) -> &FsStr {
        let start = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = &self.path[start..];
        &name[..name.len().min(NAME_LENGTH)]
    }

    /// What the program gets, with what `#!` lines have added.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }
}

/// Finds out what has to be loaded. `open` opens the interpreters that are named in files: it walks from the caller's root and working
/// directory and gives a regular file that the caller may execute, else the errno of `execve(2)`.
///
/// # Errors
/// `E2BIG`, `ENOEXEC`, `ELOOP`, `ELIBBAD`, `EIO`, `ENOENT`, and what `open` and reading answer.
pub fn prepare<F: ProgramFile>(
    request: ExecRequest<F>,
    open: &mut dyn FnMut(&FsStr) -> Result<Arc<F>, Errno>,
) -> Result<Program<F>, Errno> {
    let ExecRequest { mut file, path, after_exec, mut arguments, stack_limit } = request;
    if arguments.argv.is_empty() {
        arguments.argv.push(FsString::new());
    }
    arguments.check(&path, stack_limit)?;
    // The kernel's own walk of an empty path ends in the working directory, which is no file to execute.
    let mut open = |path: &FsStr| if path.is_empty() { Err(Errno::EACCES) } else { open(path) };
    let mut script_path = path.clone();
    let mut scripts = 0;
    let prefix = loop {
        let mut prefix = [0; PREFIX_SIZE];
        file.read_at(0, &mut prefix)?;
        if !script::is_script(&prefix) {
            break prefix;
        }
        let script = script::parse(&prefix)?;
        if after_exec == AfterExec::Unreachable {
            return Err(Errno::ENOENT);
        }
        // The script's path replaces the first argument; interpreter and its argument go before it.
        let head = [Some(script.interpreter.clone()), script.argument, Some(script_path)];
        arguments.argv.splice(..1, head.into_iter().flatten());
        arguments.check(&path, stack_limit)?;
        file = open(&script.interpreter)?;
        script_path = script.interpreter;
        scripts += 1;
        if scripts > MOST_SCRIPTS {
            return Err(Errno::ELOOP);
        }
    };
    let headers = ElfHeaders::read(&*file, &prefix)?;
    file.page_source().map_err(|_| Errno::ENOEXEC)?;
    let interpreter = match headers.interpreter(&*file)? {
        Some(path) => {
            let interpreter = open(&path)?;
            let headers = ElfHeaders::read_interpreter(&*interpreter)?;
            Some((interpreter, headers))
        }
        None => None,
    };
    Ok(Program { file, headers, interpreter, arguments, path })
}
