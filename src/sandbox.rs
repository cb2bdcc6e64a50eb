//! A sandbox: one kernel with its file tree.

use std::sync::Arc;

use bartizan_abi::Sysno;
use bartizan_fsimpl::host::ImportedDescriptors;
use bartizan_sentry::kernel::{Credentials, Kernel};
use bartizan_sentry::vfs::FsContext;

use crate::{Command, Error, Result, SandboxBuilder, files};

/// A kernel with its file tree, in which programs are run. Dropping it ends all of them and waits until nothing of them is left.
#[derive(Debug)]
pub struct Sandbox {
    kernel: Arc<Kernel>,
    fs: Arc<FsContext>,
    imported: ImportedDescriptors,
}

impl Sandbox {
    /// Describes a new sandbox.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    pub(crate) fn new(kernel: Arc<Kernel>, fs: Arc<FsContext>, imported: ImportedDescriptors) -> Self {
        Self { kernel, fs, imported }
    }

    /// A program to be run: a path in the sandbox, or a name to be found in the directories of the `PATH` that it is given.
    ///
    /// The first process of a sandbox is its init: when it ends, all others are ended.
    pub fn command(&self, program: impl AsRef<[u8]>) -> Command<'_> {
        Command::new(self, program.as_ref())
    }

    /// Makes or replaces a file in the sandbox; the directory has to be there, and on a file system that can be changed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_file(&self, path: impl AsRef<[u8]>, contents: &[u8]) -> Result<()> {
        let path = path.as_ref();
        files::write(&self.fs, path, contents).map_err(|errno| failed("write", path, errno))
    }

    /// The contents of a regular file in the sandbox.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read_file(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        files::read(&self.fs, path).map_err(|errno| failed("read", path, errno))
    }

    /// Makes a directory in the sandbox, with all above it that are missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create_directory(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let made = files::make_directories(&self.fs, &Credentials::root(), path);
        made.map(drop).map_err(|errno| failed("make directory", path, errno))
    }

    /// The name of the platform that runs guest code.
    pub fn platform(&self) -> &'static str {
        self.kernel.platform().name()
    }

    /// How often programs were left so far, by reason; empty where the platform does not count that.
    pub fn exits(&self) -> Vec<(&'static str, u64)> {
        self.kernel.platform().exits()
    }

    /// The system calls that programs have made but that are not implemented, by name, with how often.
    pub fn unimplemented_calls(&self) -> Vec<(String, u64)> {
        let name = |number: u64| Sysno::from_raw(number).map_or("unknown numbers", |number| number.name());
        let counted = self.kernel.statistics().unimplemented();
        counted.into_iter().map(|(number, count)| (name(number).to_owned(), count)).collect()
    }

    /// Memory that programs and their files use now, bytes.
    pub fn memory_used(&self) -> u64 {
        self.kernel.memory().used()
    }

    /// Why the sandbox came to an end by itself, if it did.
    pub fn report(&self) -> Option<&str> {
        self.kernel.report()
    }

    /// Ends all processes at once. No more can be started.
    pub fn kill(&self) {
        self.kernel.kill_all();
    }

    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    pub(crate) fn fs(&self) -> &Arc<FsContext> {
        &self.fs
    }

    pub(crate) fn imported(&self) -> &ImportedDescriptors {
        &self.imported
    }
}

fn failed(operation: &'static str, path: &[u8], errno: bartizan_abi::Errno) -> Error {
    Error::File { operation, path: String::from_utf8_lossy(path).into_owned(), errno }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kernel.shut_down();
        self.fs.namespace().cache().clear();
    }
}
