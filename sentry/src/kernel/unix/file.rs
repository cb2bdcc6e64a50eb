//! A socket as an open file.

use std::sync::{Arc, Weak};

use bartizan_abi::ioctl::FIONREAD;
use bartizan_abi::socket::Ucred;
use bartizan_abi::{Errno, PollEvents};

use super::{Ancillary, Passengers, Phase, ReceiveMode, UnixKind, UnixSocket};
use crate::SysResult;
use crate::kernel::{CurrentTask, Kernel, WaitQueue};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{DataSink, DataSource, File, FileOps, Written};

/// `SIOCOUTQ`, the same number as `TIOCOUTQ`.
const SIOCOUTQ: u32 = bartizan_abi::ioctl::TIOCOUTQ;

/// What a descriptor of a UNIX domain socket refers to.
#[derive(Debug)]
pub struct UnixFile {
    socket: Arc<UnixSocket>,
    kernel: Weak<Kernel>,
    /// Whom `write` sends as: who made it.
    owner: Ucred,
}

impl UnixFile {
    /// The file of `socket`, which is closed with it.
    pub fn new(kernel: &Arc<Kernel>, socket: Arc<UnixSocket>, owner: Ucred) -> Self {
        Self { socket, kernel: Arc::downgrade(kernel), owner }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<UnixSocket> {
        &self.socket
    }
}

impl FileOps for UnixFile {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        // Files that come with the data are closed, as nobody asked for them.
        self.socket.receive(sink, ReceiveMode::Take).map(|received| received.count)
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let destination = self.socket.destination(None)?;
        let mut ancillary = Ancillary { files: Passengers::default(), credentials: self.owner };
        let count = self.socket.send(&destination, source, &mut ancillary)?;
        Ok(Written { count, end: offset })
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.socket.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.socket.events())
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        let count = match request {
            FIONREAD if self.socket.is_listening() => return Err(Errno::EINVAL.into()),
            FIONREAD => self.socket.available(),
            SIOCOUTQ => self.socket.unreceived(),
            _ => return Err(Errno::ENOTTY.into()),
        };
        task.write_value(UserPtr::new(argument), &i32::try_from(count).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn release(&self) {
        if let Some(kernel) = self.kernel.upgrade() {
            self.socket.close(kernel.abstract_names());
            kernel.flights().socket_closed();
        }
    }
}

impl UnixSocket {
    fn poll(&self) -> PollEvents {
        let (outbox, limit) = {
            let state = self.state.lock();
            let outbox = match &state.phase {
                Phase::Listening { waiting, .. } => {
                    let ready = !waiting.is_empty() || self.inbox.lock().reader_closed;
                    return if ready { PollEvents::READABLE } else { PollEvents::empty() };
                }
                Phase::Connected { outbox } => Some(Arc::clone(outbox)),
                Phase::Fresh => None,
            };
            (outbox, state.options.send_buffer)
        };
        let mut events = PollEvents::empty();
        let receives_no_more = {
            let state = self.inbox.lock();
            if !state.messages.is_empty() || state.writer_closed || state.reader_closed {
                events |= PollEvents::READABLE;
            }
            if state.writer_closed || state.reader_closed {
                events |= PollEvents::POLLRDHUP;
            }
            if state.reset {
                events |= PollEvents::POLLERR;
            }
            state.writer_closed || state.reader_closed
        };
        match outbox {
            Some(outbox) => {
                if outbox.is_writable(limit) {
                    events |= PollEvents::WRITABLE | PollEvents::POLLWRBAND;
                }
                let sends_no_more = {
                    let state = outbox.lock();
                    state.writer_closed || state.reader_closed
                };
                if receives_no_more && sends_no_more && self.kind.is_connected() {
                    events |= PollEvents::POLLHUP;
                }
            }
            None if self.kind == UnixKind::Datagram => {
                events |= PollEvents::WRITABLE | PollEvents::POLLWRBAND;
            }
            None => events |= PollEvents::WRITABLE | PollEvents::POLLWRBAND | PollEvents::POLLHUP,
        }
        events
    }
}
