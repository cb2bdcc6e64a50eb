//! `getsockopt`, `setsockopt`: those of `socket(7)` and `unix(7)`.

use std::time::Duration;

use bartizan_abi::socket::{
    Linger, SO_ACCEPTCONN, SO_BROADCAST, SO_DOMAIN, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_OOBINLINE,
    SO_PASSCRED, SO_PEERCRED, SO_PEERGROUPS, SO_PEERSEC, SO_PRIORITY, SO_PROTOCOL, SO_RCVBUF, SO_RCVBUFFORCE,
    SO_RCVLOWAT, SO_RCVTIMEO, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF, SO_SNDBUFFORCE, SO_SNDTIMEO,
    SO_TIMESTAMP, SO_TYPE, SOL_SOCKET, Ucred,
};
use bartizan_abi::{Errno, Timeval};
use zerocopy::{FromBytes, IntoBytes};

use super::{Opened, as_seen_by};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::unix::UnixOptions;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::FdNumber;

/// What `SO_PEERCRED` tells of nobody.
const NOBODY: Ucred = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };

/// Options that are remembered and have no effect on UNIX domain sockets.
fn is_remembered(option: i32) -> bool {
    [SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE, SO_BROADCAST, SO_OOBINLINE, SO_TIMESTAMP].contains(&option)
}

/// `getsockopt(2)`.
pub fn getsockopt(
    task: &CurrentTask,
    fd: FdNumber,
    level: i32,
    option: i32,
    value: UserAddr,
    length: UserPtr<i32>,
) -> SysResult<()> {
    let opened = Opened::get(task, fd)?;
    let room = usize::try_from(task.read_value(length)?).map_err(|_| Errno::EINVAL)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let bytes = read_option(task, &opened, option)?;
    let stored = room.min(bytes.len());
    task.write_bytes(value, &bytes[..stored])?;
    Ok(task.write_value(length, &(stored as i32))?)
}

fn number(value: usize) -> Vec<u8> {
    i32::try_from(value).unwrap_or(i32::MAX).to_ne_bytes().to_vec()
}

fn time(timeout: Option<Duration>) -> Vec<u8> {
    Timeval::from_duration(timeout.unwrap_or_default()).as_bytes().to_vec()
}

fn read_option(task: &CurrentTask, opened: &Opened, option: i32) -> Result<Vec<u8>, Errno> {
    let socket = opened.socket()?;
    let options = socket.options();
    Ok(match option {
        SO_TYPE => number(socket.kind().socket_type().0 as usize),
        SO_DOMAIN => number(socket.family().0.into()),
        // Connections fail at once, so that no error waits to be fetched.
        SO_PROTOCOL | SO_ERROR | SO_PRIORITY => number(0),
        SO_ACCEPTCONN => number(socket.is_listening().into()),
        SO_SNDBUF => number(options.send_buffer),
        SO_RCVBUF => number(options.receive_buffer),
        SO_RCVLOWAT => number(1),
        SO_PASSCRED => number(options.pass_credentials.into()),
        SO_PEERCRED => {
            let seen = socket.peer_credentials().map(|peer| as_seen_by(task, peer));
            seen.unwrap_or(NOBODY).as_bytes().to_vec()
        }
        SO_RCVTIMEO => time(options.receive_timeout),
        SO_SNDTIMEO => time(options.send_timeout),
        SO_LINGER => Linger::default().as_bytes().to_vec(),
        SO_PEERSEC | SO_PEERGROUPS => return Err(Errno::ENOPROTOOPT),
        option if is_remembered(option) => number((options.flags >> option & 1) as usize),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// `setsockopt(2)`.
pub fn setsockopt(
    task: &CurrentTask,
    fd: FdNumber,
    level: i32,
    option: i32,
    value: UserAddr,
    length: i32,
) -> SysResult<()> {
    let opened = Opened::get(task, fd)?;
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let socket = opened.socket()?;
    let mut bytes = [0; size_of::<Timeval>()];
    if length < size_of::<i32>() {
        return Err(Errno::EINVAL.into());
    }
    let length = length.min(bytes.len());
    task.read_bytes(value, &mut bytes[..length])?;
    let value = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    match option {
        SO_SNDBUF | SO_SNDBUFFORCE => {
            let size = UnixOptions::buffer_size(value.cast_unsigned());
            socket.change_options(|options| options.send_buffer = size);
        }
        SO_RCVBUF | SO_RCVBUFFORCE => {
            let size = UnixOptions::buffer_size(value.cast_unsigned());
            socket.change_options(|options| options.receive_buffer = size);
        }
        SO_PASSCRED => socket.change_options(|options| options.pass_credentials = value != 0),
        SO_RCVTIMEO => {
            let timeout = read_timeout(&bytes[..length])?;
            socket.change_options(|options| options.receive_timeout = timeout);
        }
        SO_SNDTIMEO => {
            let timeout = read_timeout(&bytes[..length])?;
            socket.change_options(|options| options.send_timeout = timeout);
        }
        SO_LINGER | SO_PRIORITY | SO_RCVLOWAT => {}
        option if is_remembered(option) => socket.change_options(|options| {
            options.flags = options.flags & !(1 << option) | u64::from(value != 0) << option;
        }),
        SO_TYPE | SO_DOMAIN | SO_PROTOCOL | SO_ERROR | SO_ACCEPTCONN | SO_PEERCRED => {
            return Err(Errno::ENOPROTOOPT.into());
        }
        _ => return Err(Errno::ENOPROTOOPT.into()),
    }
    Ok(())
}

/// A time-out; zero is none.
///
/// # Errors
/// `EINVAL` for another size, `EDOM` for no time.
fn read_timeout(bytes: &[u8]) -> Result<Option<Duration>, Errno> {
    let time = Timeval::read_from_bytes(bytes).map_err(|_| Errno::EINVAL)?;
    let duration = time.to_duration().ok_or(Errno::EDOM)?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}
