//! `sendto`, `sendmsg`, `sendmmsg`.

use bartizan_abi::socket::{Mmsghdr, MsgFlags, Msghdr};
use bartizan_abi::{Errno, PollEvents, Signal, UIO_MAXIOV};

use super::super::read_write::vector;
use super::message::read_control;
use super::{Opened, deadline_of, name, own_credentials, wait};
use crate::kernel::CurrentTask;
use crate::kernel::unix::{Ancillary, Passengers, UnixAddress, UnixKind};
use crate::mm::{UserAddr, UserBuffers, UserPtr};
use crate::vfs::{DataSource, FdNumber};
use crate::{SysError, SysResult};

/// Offset of `msg_len` in [`Mmsghdr`].
pub(super) const MSG_LEN_OFFSET: u64 = size_of::<Msghdr>() as u64;

/// `sendto(2)`.
pub fn sendto(
    task: &CurrentTask,
    fd: FdNumber,
    buffer: UserAddr,
    length: usize,
    flags: MsgFlags,
    address: UserAddr,
    address_length: u32,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    let mut buffers = UserBuffers::single(&task.mm(), buffer, length.min(i32::MAX as usize));
    let address = match address.is_null() {
        true => None,
        false => Some(name::read(task, address, address_length)?),
    };
    let ancillary = Ancillary { files: Passengers::default(), credentials: own_credentials(task) };
    send(task, &opened, &mut buffers, ancillary, address.as_deref(), flags)
}

/// `sendmsg(2)`.
pub fn sendmsg(
    task: &CurrentTask,
    fd: FdNumber,
    message: UserPtr<Msghdr>,
    flags: MsgFlags,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    send_message(task, &opened, message, flags)
}

fn send_message(
    task: &CurrentTask,
    opened: &Opened,
    message: UserPtr<Msghdr>,
    flags: MsgFlags,
) -> SysResult<usize> {
    let header = task.read_value(message)?;
    let count = usize::try_from(header.msg_iovlen).unwrap_or(usize::MAX);
    if count > UIO_MAXIOV {
        return Err(Errno::EMSGSIZE.into());
    }
    let address = match (header.msg_name, header.msg_namelen) {
        (0, _) | (_, 0) => None,
        (pointer, length) => {
            let length = u32::try_from(length).map_err(|_| Errno::EINVAL)?;
            Some(name::read(task, UserAddr(pointer), length)?)
        }
    };
    let ancillary = match (header.msg_control, header.msg_controllen) {
        (0, _) | (_, 0) => Ancillary { files: Passengers::default(), credentials: own_credentials(task) },
        (pointer, length) => read_control(task, pointer, length)?,
    };
    let mut buffers = vector(task, UserPtr::new(UserAddr(header.msg_iov)), count)?;
    send(task, opened, &mut buffers, ancillary, address.as_deref(), flags)
}

/// `sendmmsg(2)`.
pub fn sendmmsg(
    task: &CurrentTask,
    fd: FdNumber,
    messages: UserPtr<Mmsghdr>,
    count: u32,
    flags: MsgFlags,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    let count = (count as usize).min(UIO_MAXIOV);
    let mut sent = 0;
    while sent < count {
        let entry = messages.element(sent as u64)?;
        let result = send_message(task, &opened, entry.cast(), flags).and_then(|length| {
            let place = entry.address().checked_add(MSG_LEN_OFFSET)?;
            Ok(task.write_value(UserPtr::new(place), &(length as u32))?)
        });
        match result {
            Ok(()) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Sends what `source` gives; all of it, of a stream that may wait.
fn send(
    task: &CurrentTask,
    opened: &Opened,
    source: &mut dyn DataSource,
    mut ancillary: Ancillary,
    address: Option<&[u8]>,
    flags: MsgFlags,
) -> SysResult<usize> {
    if flags.contains(MsgFlags::MSG_OOB) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let socket = opened.socket()?;
    let other = match address {
        Some(address) => Some(UnixAddress::from_bytes(address)?.ok_or(Errno::EINVAL)?),
        None => None,
    };
    let found = match (&other, socket.kind()) {
        (Some(address), UnixKind::Datagram) => Some(name::find(task, address)?),
        // Whether there may be an address at all is said before what it leads to.
        (Some(_), _) => Some(std::sync::Arc::clone(socket)),
        (None, _) => None,
    };
    let destination = socket.destination(found.as_ref())?;
    let waits = !opened.is_nonblocking() && !flags.contains(MsgFlags::MSG_DONTWAIT);
    let deadline = deadline_of(socket.options().send_timeout);
    let mut total = 0;
    let result = loop {
        let mut attempt = || match socket.send(&destination, source, &mut ancillary) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        };
        let step = match attempt() {
            Some(result) => result.map_err(SysError::from),
            None if !waits => Err(Errno::EAGAIN.into()),
            None => wait(task, destination.room(), PollEvents::WRITABLE, deadline, attempt)
                .and_then(|result| result.map_err(SysError::from)),
        };
        match step {
            Ok(count) => {
                total += count;
                if count == 0 || socket.kind() != UnixKind::Stream || source.remaining() == 0 {
                    return Ok(total);
                }
            }
            Err(error) => break error,
        }
    };
    if total > 0 {
        return Ok(total);
    }
    if result == SysError::Errno(Errno::EPIPE)
        && socket.kind() == UnixKind::Stream
        && !flags.contains(MsgFlags::MSG_NOSIGNAL)
    {
        task.send_self(Signal::SIGPIPE);
    }
    Err(result)
}
