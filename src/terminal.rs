//! A terminal of the sandbox's own, for programs that a person talks to.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags, PollEvents, Winsize};
use bartizan_sentry::kernel::terminal::{MasterFile, Terminal as KernelTerminal};
use bartizan_sentry::kernel::{Credentials, Parker, Wake};
use bartizan_sentry::vfs::{File, OpenHow, SliceSink};

use crate::{Error, Result, Sandbox};

/// How many rows and columns a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl From<TerminalSize> for Winsize {
    fn from(size: TerminalSize) -> Self {
        Self { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// The keyboard and the screen of a program that was started with [`Command::terminal`](crate::Command::terminal): what is
/// written here is typed, what is read here is to be shown. Clones are the same terminal. When the last of them is dropped, the
/// program finds its terminal hung up.
#[derive(Clone)]
pub struct Terminal {
    file: Arc<File>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Terminal")
            .field("index", &self.kernel().map(|terminal| terminal.index()))
            .finish()
    }
}

impl Terminal {
    /// A new terminal of `sandbox`, and its other end as a program has it open.
    pub(crate) fn open(sandbox: &Sandbox, size: TerminalSize) -> Result<(Self, Arc<File>)> {
        let failed = |source: io::Error| Error::Setup { what: "terminal", source };
        let open =
            |path: &[u8]| sandbox.fs().open(&Credentials::root(), path, OpenHow::existing(OpenFlags::O_RDWR));
        let terminal = Self { file: open(b"/dev/ptmx").map_err(|errno| failed(errno.into()))? };
        let Some(inner) = terminal.kernel() else {
            return Err(failed(io::Error::other("/dev/ptmx of the sandbox makes no terminals")));
        };
        inner.set_locked(false);
        inner.resize(size.into());
        let slave =
            open(format!("/dev/pts/{}", inner.index()).as_bytes()).map_err(|errno| failed(errno.into()))?;
        Ok((terminal, slave))
    }

    /// The terminal as the kernel knows it.
    pub(crate) fn kernel(&self) -> Option<&Arc<KernelTerminal>> {
        self.file.downcast::<MasterFile>().map(MasterFile::terminal)
    }

    /// Tells the program that the window has another size.
    pub fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = self.kernel() {
            terminal.resize(size.into());
        }
    }

    /// Makes `attempt` until it does something else than wait for `events`.
    fn wait<T>(
        &self,
        events: PollEvents,
        mut attempt: impl FnMut(&KernelTerminal) -> std::result::Result<T, Errno>,
    ) -> io::Result<T> {
        let Some(terminal) = self.kernel() else { return Err(Errno::EIO.into()) };
        let mut attempt = || attempt(terminal);
        match attempt() {
            Err(Errno::EAGAIN) => {}
            result => return Ok(result?),
        }
        let parker = Arc::new(Parker::new());
        parker.adopt();
        let key = terminal.master_queue().register(Arc::clone(&parker) as Arc<dyn Wake>, events);
        let result = loop {
            match attempt() {
                Err(Errno::EAGAIN) => {
                    parker.park(None);
                }
                result => break result,
            }
        };
        terminal.master_queue().unregister(key);
        Ok(result?)
    }
}

impl Read for &Terminal {
    /// What the program shows; waits for it. Zero bytes mean that no program has the terminal open any more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let result =
            self.wait(PollEvents::POLLIN, |terminal| terminal.take_output(&mut SliceSink::new(buffer)));
        match result {
            Err(error) if error.raw_os_error() == Some(Errno::EIO.raw()) => Ok(0),
            result => result,
        }
    }
}

impl Write for &Terminal {
    /// Types on the keyboard; waits when the program does not read.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.wait(PollEvents::POLLOUT, |terminal| terminal.type_in(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Terminal {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Terminal {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
