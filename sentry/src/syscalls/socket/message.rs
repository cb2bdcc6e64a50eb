//! Control data of messages: files and credentials.

use std::sync::Arc;

use bartizan_abi::socket::{Cmsghdr, MsgFlags, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET, Ucred};
use bartizan_abi::{Capability, Errno, OpenFlags, Resource};
use zerocopy::{FromBytes, IntoBytes};

use super::super::anonymous;
use crate::SysResult;
use crate::kernel::unix::{Ancillary, Passengers};
use crate::kernel::{CurrentTask, IdKind};
use crate::mm::UserAddr;
use crate::vfs::{FdNumber, File};

/// Most bytes of control data that are sent (`/proc/sys/net/core/optmem_max`).
const MOST_CONTROL: u64 = 131_072;
/// Bytes of a header.
const HEADER: usize = size_of::<Cmsghdr>();

/// `length` rounded up to where the next header may be.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(align_of::<u64>())
}

/// Copies in what accompanies a message; without credentials among it, the sender's own go along.
///
/// # Errors
/// `EINVAL` for broken data or an unknown type, `EBADF` for files that are not open, `EPERM` for somebody else's credentials, `ENOBUFS`,
/// `EFAULT`.
pub(super) fn read_control(task: &CurrentTask, address: u64, length: u64) -> SysResult<Ancillary> {
    let credentials = super::own_credentials(task);
    let mut ancillary = Ancillary { files: Passengers::default(), credentials };
    let mut files = Vec::new();
    if length > MOST_CONTROL {
        return Err(Errno::ENOBUFS.into());
    }
    let mut control = vec![0; length as usize];
    task.read_bytes(UserAddr(address), &mut control)?;
    let mut rest = &control[..];
    while rest.len() >= HEADER {
        let (header, _) = Cmsghdr::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
        let length = usize::try_from(header.cmsg_len).map_err(|_| Errno::EINVAL)?;
        let data = rest.get(HEADER..length).ok_or(Errno::EINVAL)?;
        if header.cmsg_level == SOL_SOCKET {
            match header.cmsg_type {
                SCM_RIGHTS => add_files(task, data, &mut files)?,
                SCM_CREDENTIALS => ancillary.credentials = check_credentials(task, data)?,
                _ => return Err(Errno::EINVAL.into()),
            }
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    if !files.is_empty() {
        ancillary.files = book(task, files)?;
    }
    Ok(ancillary)
}

/// Sends files on their way. A user may have as many under way as a process of its may have open.
///
/// # Errors
/// `ETOOMANYREFS`.
fn book(task: &CurrentTask, files: Vec<Arc<File>>) -> Result<Passengers, Errno> {
    let flights = task.kernel().flights();
    let credentials = task.credentials();
    let privileged = credentials.has_capability(Capability::CAP_SYS_RESOURCE)
        || credentials.has_capability(Capability::CAP_SYS_ADMIN);
    let limit = task.group().limits().soft(Resource::RLIMIT_NOFILE);
    if !privileged && flights.of_user(credentials.uid) > limit {
        return Err(Errno::ETOOMANYREFS);
    }
    Ok(Passengers::new(flights, credentials.uid, files))
}

fn add_files(task: &CurrentTask, data: &[u8], files: &mut Vec<Arc<File>>) -> Result<(), Errno> {
    let (numbers, _) = data.as_chunks::<{ size_of::<i32>() }>();
    if files.len() + numbers.len() > SCM_MAX_FD {
        return Err(Errno::EINVAL);
    }
    for number in numbers {
        files.push(task.fd_table().get_any(FdNumber(i32::from_ne_bytes(*number)))?);
    }
    Ok(())
}

/// Credentials that the caller wants to be told of it: its own, or any with privileges.
fn check_credentials(task: &CurrentTask, data: &[u8]) -> Result<Ucred, Errno> {
    let wanted = Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    let own = task.credentials();
    let ids = &own.user_namespace;
    let uid = ids.resolve(IdKind::User, wanted.uid).ok_or(Errno::EINVAL)?;
    let gid = ids.resolve(IdKind::Group, wanted.gid).ok_or(Errno::EINVAL)?;
    let wanted = Ucred { uid, gid, ..wanted };
    let pid_allowed = wanted.pid == task.pid() || own.has_capability(Capability::CAP_SYS_ADMIN);
    let uid_allowed =
        [own.uid, own.euid, own.suid].contains(&uid) || own.has_own_capability(Capability::CAP_SETUID);
    let gid_allowed =
        [own.gid, own.egid, own.sgid].contains(&gid) || own.has_own_capability(Capability::CAP_SETGID);
    if !(pid_allowed && uid_allowed && gid_allowed) {
        return Err(Errno::EPERM);
    }
    if !task.kernel().task_exists(wanted.pid) {
        return Err(Errno::ESRCH);
    }
    Ok(wanted)
}

/// Control data that is being put together for a receiver with limited room.
pub(super) struct ControlWriter {
    bytes: Vec<u8>,
    room: usize,
    /// `MSG_CTRUNC` if something did not fit.
    pub(super) flags: MsgFlags,
}

impl ControlWriter {
    pub(super) fn new(room: u64) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Self { bytes: Vec::new(), room, flags: MsgFlags::empty() }
    }

    /// What has been put together.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn left(&self) -> usize {
        self.room.saturating_sub(self.bytes.len())
    }

    /// Adds one entry, cut to the room.
    fn add(&mut self, kind: i32, data: &[u8]) {
        let left = self.left();
        if left < HEADER {
            self.flags |= MsgFlags::MSG_CTRUNC;
            return;
        }
        let stored = data.len().min(left - HEADER);
        if stored < data.len() {
            self.flags |= MsgFlags::MSG_CTRUNC;
        }
        let length = HEADER + stored;
        let header = Cmsghdr { cmsg_len: length as u64, cmsg_level: SOL_SOCKET, cmsg_type: kind };
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(&data[..stored]);
        let padded = aligned(self.bytes.len()).min(self.room);
        self.bytes.resize(padded, 0);
    }

    /// Adds the sender's credentials.
    pub(super) fn add_credentials(&mut self, credentials: &Ucred) {
        self.add(SCM_CREDENTIALS, credentials.as_bytes());
    }

    /// Gives the receiver numbers for files, as many as there is room for; the others are closed.
    pub(super) fn add_files(&mut self, task: &CurrentTask, files: Vec<Arc<File>>, close_on_exec: bool) {
        if files.is_empty() {
            return;
        }
        let room = self.left().saturating_sub(HEADER) / size_of::<i32>();
        let flags = if close_on_exec { OpenFlags::O_CLOEXEC } else { OpenFlags::empty() };
        let wanted = files.len();
        let mut numbers = Vec::new();
        for file in files.into_iter().take(room) {
            match anonymous::install(task, file, flags) {
                Ok(number) => numbers.extend_from_slice(&number.0.to_ne_bytes()),
                Err(_) => break,
            }
        }
        if numbers.len() < wanted * size_of::<i32>() {
            self.flags |= MsgFlags::MSG_CTRUNC;
        }
        if !numbers.is_empty() {
            self.add(SCM_RIGHTS, &numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_is_aligned_and_cut_to_the_room() {
        let ucred = Ucred { pid: 1, uid: 2, gid: 3 };
        let mut whole = ControlWriter::new(100);
        whole.add_credentials(&ucred);
        assert_eq!(whole.bytes().len(), 32);
        let (header, rest) = Cmsghdr::read_from_prefix(whole.bytes()).expect("a header");
        assert_eq!((header.cmsg_len, header.cmsg_type), (28, SCM_CREDENTIALS));
        assert_eq!(&rest[..12], ucred.as_bytes());
        let mut cut = ControlWriter::new(20);
        cut.add_credentials(&ucred);
        assert_eq!((cut.bytes().len(), cut.flags), (20, MsgFlags::MSG_CTRUNC));
        let mut none = ControlWriter::new(8);
        none.add_credentials(&ucred);
        assert_eq!((none.bytes().len(), none.flags), (0, MsgFlags::MSG_CTRUNC));
    }
}
