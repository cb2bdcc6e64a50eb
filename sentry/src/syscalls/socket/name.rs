//! Addresses in the guest's memory, and where they lead.

use std::sync::Arc;

use bartizan_abi::socket::{AddressFamily, SOCKADDR_STORAGE_SIZE};
use bartizan_abi::{AT_FDCWD, DeviceNumber, Errno, FileMode, FileType};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::unix::{UnixAddress, UnixSocket};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::create::{NewEntry, create};
use crate::vfs::permission::May;
use crate::vfs::{FdNumber, FollowLast};

/// Copies an address in.
///
/// # Errors
/// `EINVAL` for one that is too long, `EFAULT`.
pub(super) fn read(task: &CurrentTask, address: UserAddr, length: u32) -> SysResult<Vec<u8>> {
    let length = length as usize;
    if length > SOCKADDR_STORAGE_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = vec![0; length];
    task.read_bytes(address, &mut bytes)?;
    Ok(bytes)
}

/// Whether an address is of no family: it ends the connection of a datagram socket.
pub(super) fn is_unspecified(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|family| u16::from_ne_bytes(*family) == AddressFamily::AF_UNSPEC.0)
}

/// Copies an address out, cut to the `length` that the guest has room for; `length` gets its whole length.
///
/// # Errors
/// `EINVAL` for a negative length, `EFAULT`.
pub(super) fn write(
    task: &CurrentTask,
    address: UserAddr,
    length: UserPtr<i32>,
    bytes: &[u8],
) -> SysResult<()> {
    let room = usize::try_from(task.read_value(length)?).map_err(|_| Errno::EINVAL)?;
    let stored = room.min(bytes.len());
    task.write_bytes(address, &bytes[..stored])?;
    task.write_value(length, &(bytes.len() as i32))?;
    Ok(())
}

/// Makes the node of a socket in the file system.
///
/// # Errors
/// `EADDRINUSE` if there is something already; those of `mknod(2)`.
pub(super) fn make_node(task: &CurrentTask, path: &[u8], socket: &Arc<UnixSocket>) -> SysResult<()> {
    // The umask counts even where a default list takes its place.
    let mode = FileMode::new(0o777).masked(task.fs_context().umask());
    let made = task.walk(FdNumber(AT_FDCWD), path, |walker| {
        let parent = walker.resolve_parent(path)?;
        create(walker, &parent, NewEntry::Node(FileType::Socket, DeviceNumber::NONE), mode)
    });
    match made {
        Ok(place) => {
            place.inode().extra().bind_socket(socket);
            Ok(())
        }
        Err(Errno::EEXIST) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The socket that is bound to `address`.
///
/// # Errors
/// `ECONNREFUSED` if none is; those of `path_resolution(7)`, `EACCES`.
pub(super) fn find(task: &CurrentTask, address: &UnixAddress) -> Result<Arc<UnixSocket>, Errno> {
    match address {
        UnixAddress::Abstract(name) => task.kernel().abstract_names().find(name).ok_or(Errno::ECONNREFUSED),
        UnixAddress::Path(path) => {
            let place =
                task.walk(FdNumber(AT_FDCWD), path, |walker| walker.resolve(path, FollowLast::Yes))?;
            place.check(&task.credentials(), May::WRITE)?;
            if place.inode().kind() != FileType::Socket {
                return Err(Errno::ECONNREFUSED);
            }
            let bound = place.inode().existing_extra().and_then(|extra| extra.socket());
            bound.ok_or(Errno::ECONNREFUSED)
        }
    }
}
