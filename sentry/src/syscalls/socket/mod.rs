//! Sockets: `socket`, `socketpair`, `bind`, `listen`, `accept`, `connect`, `shutdown`, names and options, `send` and `recv` and
//! their kin. There are UNIX domain sockets alone.

mod message;
mod name;
mod option;
mod receive;
mod send;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bartizan_abi::socket::{AddressFamily, SOCK_TYPE_MASK, SocketFlags, SocketType, Ucred};
use bartizan_abi::{Errno, OpenFlags, PollEvents};

use super::anonymous::{self, AnonymousKind};
use crate::kernel::unix::{Pending, UnixAddress, UnixFile, UnixKind, UnixSocket};
use crate::kernel::{CurrentTask, WaitQueue, deadline_after};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, File};
use crate::{Restart, SysError, SysResult, WaitError};

pub use option::{getsockopt, setsockopt};
pub use receive::{recvfrom, recvmmsg, recvmsg};
pub use send::{sendmmsg, sendmsg, sendto};

/// An open socket.
struct Opened(Arc<File>);

impl Opened {
    /// The socket that `fd` refers to.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    fn get(task: &CurrentTask, fd: FdNumber) -> Result<Self, Errno> {
        let file = task.fd_table().get(fd)?;
        match file.downcast::<UnixFile>() {
            Some(_) => Ok(Self(file)),
            None => Err(Errno::ENOTSOCK),
        }
    }

    fn socket(&self) -> Result<&Arc<UnixSocket>, Errno> {
        self.0.downcast::<UnixFile>().map(UnixFile::socket).ok_or(Errno::ENOTSOCK)
    }

    fn is_nonblocking(&self) -> bool {
        self.0.flags().contains(OpenFlags::O_NONBLOCK)
    }
}

/// Who somebody is in the namespaces of `task`.
fn as_seen_by(task: &CurrentTask, other: Ucred) -> Ucred {
    let ids = task.user_namespace();
    Ucred { uid: ids.uid(other.uid), gid: ids.gid(other.gid), ..other }
}

/// Who the caller is, as the kernel calls it; peers are told [what that means to them](as_seen_by).
fn own_credentials(task: &CurrentTask) -> Ucred {
    let credentials = task.credentials();
    Ucred { pid: task.pid(), uid: credentials.euid, gid: credentials.egid }
}

/// The second argument of `socket(2)`, taken apart.
fn kind_and_flags(raw: u32) -> Result<(UnixKind, OpenFlags), Errno> {
    let flags = SocketFlags::from_bits(raw & !SOCK_TYPE_MASK).ok_or(Errno::EINVAL)?;
    let kind = UnixKind::from_type(SocketType(raw & SOCK_TYPE_MASK))?;
    Ok((kind, OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::O_RDWR))
}

/// # Errors
/// `EAFNOSUPPORT` for all but UNIX domain sockets, `EPROTONOSUPPORT` for a protocol of them that does not exist.
fn check_family(family: u32, protocol: i32) -> Result<(), Errno> {
    if family != u32::from(AddressFamily::AF_UNIX.0) {
        return Err(Errno::EAFNOSUPPORT);
    }
    match protocol {
        0 => Ok(()),
        protocol if protocol == i32::from(AddressFamily::AF_UNIX.0) => Ok(()),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

fn open(task: &CurrentTask, socket: Arc<UnixSocket>, flags: OpenFlags) -> Result<Arc<File>, Errno> {
    let file = UnixFile::new(task.kernel(), socket, own_credentials(task));
    anonymous::open(task, AnonymousKind::Socket, Box::new(file), flags - OpenFlags::O_CLOEXEC)
}

/// `socket(2)`.
pub fn socket(task: &CurrentTask, family: u32, kind: u32, protocol: i32) -> SysResult<FdNumber> {
    check_family(family, protocol)?;
    let (kind, flags) = kind_and_flags(kind)?;
    let file = open(task, UnixSocket::new(kind), flags)?;
    anonymous::install(task, file, flags)
}

/// `socketpair(2)`.
pub fn socketpair(
    task: &CurrentTask,
    family: u32,
    kind: u32,
    protocol: i32,
    pointer: UserPtr<[i32; 2]>,
) -> SysResult<()> {
    check_family(family, protocol)?;
    let (kind, flags) = kind_and_flags(kind)?;
    let (one, other) = UnixSocket::pair(kind, own_credentials(task));
    let files = (open(task, one, flags)?, open(task, other, flags)?);
    anonymous::install_pair(task, files, flags, pointer)
}

/// `bind(2)`.
pub fn bind(task: &CurrentTask, fd: FdNumber, address: UserAddr, length: u32) -> SysResult<()> {
    let opened = Opened::get(task, fd)?;
    let socket = opened.socket()?;
    let address = name::read(task, address, length)?;
    if socket.address().is_some() {
        return Err(Errno::EINVAL.into());
    }
    let names = task.kernel().abstract_names();
    match UnixAddress::from_bytes(&address)? {
        None => {
            let name = names.bind_any(socket)?;
            socket.set_address(UnixAddress::Abstract(name))?;
        }
        Some(UnixAddress::Abstract(name)) => {
            names.bind(&name, socket)?;
            if let Err(errno) = socket.set_address(UnixAddress::Abstract(name.clone())) {
                names.release(&name, socket);
                return Err(errno.into());
            }
        }
        Some(UnixAddress::Path(path)) => {
            name::make_node(task, &path, socket)?;
            socket.set_address(UnixAddress::Path(path))?;
        }
    }
    Ok(())
}

/// `listen(2)`.
pub fn listen(task: &CurrentTask, fd: FdNumber, backlog: i32) -> SysResult<()> {
    let opened = Opened::get(task, fd)?;
    Ok(opened.socket()?.listen(backlog, own_credentials(task))?)
}

/// `connect(2)`.
pub fn connect(task: &CurrentTask, fd: FdNumber, address: UserAddr, length: u32) -> SysResult<()> {
    let opened = Opened::get(task, fd)?;
    let socket = opened.socket()?;
    let address = name::read(task, address, length)?;
    if name::is_unspecified(&address) && socket.kind() == UnixKind::Datagram {
        return Ok(socket.connect_datagram(None)?);
    }
    let address = UnixAddress::from_bytes(&address)?.ok_or(Errno::EINVAL)?;
    if socket.kind() == UnixKind::Datagram {
        let peer = name::find(task, &address)?;
        return Ok(socket.connect_datagram(Some(&peer))?);
    }
    let deadline = deadline_of(socket.options().send_timeout);
    loop {
        let listener = name::find(task, &address)?;
        let room = match socket.connect(&listener, own_credentials(task)) {
            Ok(()) => return Ok(()),
            Err(Pending::Failed(errno)) => return Err(errno.into()),
            Err(Pending::QueueFull(room)) => room,
        };
        if opened.is_nonblocking() {
            return Err(Errno::EAGAIN.into());
        }
        let changed = || match socket.connect(&listener, own_credentials(task)) {
            Err(Pending::QueueFull(_)) => None,
            result => Some(result),
        };
        match wait(task, &room, PollEvents::WRITABLE, deadline, changed)? {
            Ok(()) => return Ok(()),
            Err(Pending::Failed(errno)) => return Err(errno.into()),
            Err(Pending::QueueFull(_)) => {}
        }
    }
}

/// When a wait with a time-out of the socket ends.
fn deadline_of(timeout: Option<Duration>) -> Option<Option<Instant>> {
    timeout.map(deadline_after)
}

/// Waits on `queue` until `attempt` gives a value. With a time-out of the socket, the call is not repeated after a signal, and ends
/// with `EAGAIN`.
fn wait<T>(
    task: &CurrentTask,
    queue: &WaitQueue,
    interest: PollEvents,
    deadline: Option<Option<Instant>>,
    attempt: impl FnMut() -> Option<T>,
) -> SysResult<T> {
    task.wait_on(queue, interest, deadline.flatten(), attempt).map_err(|error| match (error, deadline) {
        (WaitError::TimedOut, _) => SysError::Errno(Errno::EAGAIN),
        (WaitError::Interrupted, Some(_)) => SysError::Errno(Errno::EINTR),
        (WaitError::Interrupted, None) => SysError::Restart(Restart::IfAsked),
    })
}

/// `accept(2)`.
pub fn accept(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    length: UserPtr<i32>,
) -> SysResult<FdNumber> {
    accept4(task, fd, address, length, SocketFlags::empty())
}

/// `accept4(2)`.
pub fn accept4(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    length: UserPtr<i32>,
    flags: SocketFlags,
) -> SysResult<FdNumber> {
    let opened = Opened::get(task, fd)?;
    let socket = opened.socket()?;
    let attempt = || match socket.accept() {
        Err(Errno::EAGAIN) => None,
        result => Some(result),
    };
    let accepted = match attempt() {
        Some(result) => result?,
        None if opened.is_nonblocking() => return Err(Errno::EAGAIN.into()),
        None => {
            let deadline = deadline_of(socket.options().receive_timeout);
            wait(task, socket.events(), PollEvents::READABLE, deadline, attempt)??
        }
    };
    let peer_address = accepted.peer_address().unwrap_or_default();
    let flags = OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::O_RDWR;
    let file = open(task, accepted, flags)?;
    if !address.is_null() {
        name::write(task, address, length, &UnixAddress::to_bytes(peer_address.as_ref()))?;
    }
    anonymous::install(task, file, flags)
}

/// `getsockname(2)`.
pub fn getsockname(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    length: UserPtr<i32>,
) -> SysResult<()> {
    let own = Opened::get(task, fd)?.socket()?.address();
    name::write(task, address, length, &UnixAddress::to_bytes(own.as_ref()))
}

/// `getpeername(2)`.
pub fn getpeername(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    length: UserPtr<i32>,
) -> SysResult<()> {
    let peer = Opened::get(task, fd)?.socket()?.peer_address()?;
    name::write(task, address, length, &UnixAddress::to_bytes(peer.as_ref()))
}

/// `shutdown(2)`.
pub fn shutdown(task: &CurrentTask, fd: FdNumber, how: i32) -> SysResult<()> {
    Ok(Opened::get(task, fd)?.socket()?.shut_down(how)?)
}
