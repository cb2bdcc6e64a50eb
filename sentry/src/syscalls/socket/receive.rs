//! `recvfrom`, `recvmsg`, `recvmmsg`.

use std::time::Instant;

use bartizan_abi::socket::{Mmsghdr, MsgFlags, Msghdr};
use bartizan_abi::{Errno, PollEvents, Timespec, UIO_MAXIOV};

use super::super::read_write::vector;
use super::message::ControlWriter;
use super::send::MSG_LEN_OFFSET;
use super::{Opened, as_seen_by, deadline_of, name, wait};
use crate::kernel::unix::{ReceiveMode, Received, UnixAddress, UnixKind};
use crate::kernel::{CurrentTask, deadline_after};
use crate::mm::{UserAddr, UserBuffers, UserPtr};
use crate::vfs::{DataSink, FdNumber};
use crate::{SysError, SysResult};

/// Offsets of the fields of [`Msghdr`] that receiving changes.
const NAME_LENGTH_OFFSET: u64 = 8;
const CONTROL_LENGTH_OFFSET: u64 = 40;
const FLAGS_OFFSET: u64 = 48;

/// `recvfrom(2)`.
pub fn recvfrom(
    task: &CurrentTask,
    fd: FdNumber,
    buffer: UserAddr,
    length: usize,
    flags: MsgFlags,
    address: UserAddr,
    address_length: UserPtr<i32>,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    let mut buffers = UserBuffers::single(&task.mm(), buffer, length.min(i32::MAX as usize));
    let received = receive(task, &opened, &mut buffers, flags)?;
    if !address.is_null() {
        let bytes = sender_bytes(&opened, &received)?;
        name::write(task, address, address_length, &bytes)?;
    }
    Ok(returned(&opened, &received, flags)?)
}

/// The address of whoever sent a message, as bytes; nothing for connections.
fn sender_bytes(opened: &Opened, received: &Received) -> Result<Vec<u8>, Errno> {
    Ok(match (opened.socket()?.kind(), &received.sender) {
        (UnixKind::Datagram, Some(sender)) => UnixAddress::to_bytes(Some(sender)),
        _ => Vec::new(),
    })
}

/// What the call returns: with `MSG_TRUNC`, the length of the whole message.
fn returned(opened: &Opened, received: &Received, flags: MsgFlags) -> Result<usize, Errno> {
    let whole = flags.contains(MsgFlags::MSG_TRUNC) && opened.socket()?.kind() != UnixKind::Stream;
    Ok(if whole { received.message_length } else { received.count })
}

/// `recvmsg(2)`.
pub fn recvmsg(
    task: &CurrentTask,
    fd: FdNumber,
    message: UserPtr<Msghdr>,
    flags: MsgFlags,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    receive_message(task, &opened, message, flags)
}

fn receive_message(
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
    let mut buffers = vector(task, UserPtr::new(UserAddr(header.msg_iov)), count)?;
    let mut received = receive(task, opened, &mut buffers, flags)?;
    let socket = opened.socket()?;
    let field = |offset: u64| message.address().checked_add(offset);
    if header.msg_name != 0 {
        let bytes = sender_bytes(opened, &received)?;
        name::write(task, UserAddr(header.msg_name), UserPtr::new(field(NAME_LENGTH_OFFSET)?), &bytes)?;
    }
    let room = if header.msg_control == 0 { 0 } else { header.msg_controllen };
    let mut control = ControlWriter::new(room);
    if let Some(ancillary) = received.ancillary.take() {
        if socket.options().pass_credentials {
            control.add_credentials(&as_seen_by(task, ancillary.credentials));
        }
        control.add_files(task, ancillary.files.take(), flags.contains(MsgFlags::MSG_CMSG_CLOEXEC));
    }
    task.write_bytes(UserAddr(header.msg_control), control.bytes())?;
    let mut result_flags = control.flags | flags & MsgFlags::MSG_CMSG_CLOEXEC;
    result_flags.set(MsgFlags::MSG_TRUNC, received.truncated);
    result_flags.set(MsgFlags::MSG_EOR, socket.kind() == UnixKind::SequencedPacket && received.count > 0);
    task.write_value(UserPtr::new(field(FLAGS_OFFSET)?), &result_flags.bits())?;
    task.write_value(UserPtr::new(field(CONTROL_LENGTH_OFFSET)?), &(control.bytes().len() as u64))?;
    Ok(returned(opened, &received, flags)?)
}

/// `recvmmsg(2)`: the time-out is looked at after each message, as in Linux.
pub fn recvmmsg(
    task: &CurrentTask,
    fd: FdNumber,
    messages: UserPtr<Mmsghdr>,
    count: u32,
    mut flags: MsgFlags,
    timeout: UserPtr<Timespec>,
) -> SysResult<usize> {
    let opened = Opened::get(task, fd)?;
    let deadline: Option<Instant> = match timeout.optional() {
        Some(timeout) => deadline_after(task.read_value(timeout)?.to_duration().ok_or(Errno::EINVAL)?),
        None => None,
    };
    let wait_for_one = flags.contains(MsgFlags::MSG_WAITFORONE);
    flags.remove(MsgFlags::MSG_WAITFORONE);
    let mut received = 0;
    while received < (count as usize).min(UIO_MAXIOV) {
        let entry = messages.element(received as u64)?;
        let result = receive_message(task, &opened, entry.cast(), flags).and_then(|length| {
            let place = entry.address().checked_add(MSG_LEN_OFFSET)?;
            Ok(task.write_value(UserPtr::new(place), &(length as u32))?)
        });
        match result {
            Ok(()) => received += 1,
            Err(error) if received == 0 => return Err(error),
            Err(_) => break,
        }
        if wait_for_one {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
    }
    if let (Some(timeout), Some(deadline)) = (timeout.optional(), deadline) {
        let left = deadline.saturating_duration_since(Instant::now());
        task.write_value(timeout, &Timespec::from_duration(left))?;
    }
    Ok(received)
}

/// Receives into `sink`; with `MSG_WAITALL`, all that fits of a stream.
fn receive(
    task: &CurrentTask,
    opened: &Opened,
    sink: &mut dyn DataSink,
    flags: MsgFlags,
) -> SysResult<Received> {
    if flags.contains(MsgFlags::MSG_OOB) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let socket = opened.socket()?;
    let waits = !opened.is_nonblocking() && !flags.contains(MsgFlags::MSG_DONTWAIT);
    if flags.contains(MsgFlags::MSG_ERRQUEUE) {
        return Err(Errno::EAGAIN.into());
    }
    let mode = match flags.contains(MsgFlags::MSG_PEEK) {
        true => ReceiveMode::Peek,
        false => ReceiveMode::Take,
    };
    let whole = flags.contains(MsgFlags::MSG_WAITALL)
        && socket.kind() == UnixKind::Stream
        && mode == ReceiveMode::Take;
    let deadline = deadline_of(socket.options().receive_timeout);
    let mut total = Received::default();
    loop {
        let mut attempt = || match socket.receive(sink, mode) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        };
        let step = match attempt() {
            Some(result) => result.map_err(SysError::from),
            None if !waits => Err(Errno::EAGAIN.into()),
            None => wait(task, socket.events(), PollEvents::READABLE, deadline, attempt)
                .and_then(|result| result.map_err(SysError::from)),
        };
        match step {
            Ok(received) => {
                let ended = received.ancillary.is_none();
                let has_files = received.ancillary.as_ref().is_some_and(|more| !more.files.is_empty());
                total.count += received.count;
                total = Received {
                    count: total.count,
                    ancillary: total.ancillary.or(received.ancillary),
                    ..received
                };
                if !whole || ended || has_files || sink.remaining() == 0 {
                    return Ok(total);
                }
            }
            Err(_) if total.count > 0 => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}
