//! Who may use an IPC object (`sysvipc(7)`, `ipc_perm`).

use bartizan_abi::ipc::IpcPerm;
use bartizan_abi::{Capability, Errno};

use crate::kernel::Credentials;

/// Read permission, for any of user, group and others.
pub const READ: u32 = 0o444;
/// Write permission, for any of user, group and others.
pub const WRITE: u32 = 0o222;
/// The permission bits.
const MODE: u32 = 0o777;

/// Owner, creator and permissions of an IPC object (`struct kern_ipc_perm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of struct ipc_perm")]
pub struct Permissions {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
}

impl Permissions {
    /// Those of a new object with key `key` that the user of `credentials` makes.
    pub fn new(key: i32, mode: u32, seq: u16, credentials: &Credentials) -> Self {
        let (uid, gid) = (credentials.euid, credentials.egid);
        Self { key, uid, gid, cuid: uid, cgid: gid, mode: mode & MODE, seq }
    }

    /// Read permission, as [`check`](Self::check) wants it.
    pub const READ: u32 = READ;
    /// Write permission, as [`check`](Self::check) wants it.
    pub const WRITE: u32 = WRITE;

    /// Whether the object may be used in the ways that are `wanted` (`ipcperms`); bits for user, group or others all count.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, credentials: &Credentials, wanted: u32) -> Result<(), Errno> {
        let wanted = (wanted >> 6) | (wanted >> 3) | wanted;
        let granted = if [self.cuid, self.uid].contains(&credentials.euid) {
            self.mode >> 6
        } else if credentials.in_group(self.cgid) || credentials.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        let missing = wanted & !granted & 0o7 != 0;
        if missing && !credentials.has_capability(Capability::CAP_IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Whether the object may be changed and removed: by its owner, its creator and the administrator.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_owner(&self, credentials: &Credentials) -> Result<(), Errno> {
        let owner = [self.cuid, self.uid].contains(&credentials.euid);
        if owner || credentials.has_capability(Capability::CAP_SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// Takes over what `IPC_SET` changes: owner and permission bits.
    ///
    /// # Errors
    /// `EINVAL` for ids that nobody can have.
    pub fn change(&mut self, new: &IpcPerm) -> Result<(), Errno> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = (self.mode & !MODE) | (new.mode & MODE);
        Ok(())
    }
}

impl From<Permissions> for IpcPerm {
    fn from(permissions: Permissions) -> Self {
        let Permissions { key, uid, gid, cuid, cgid, mode, seq } = permissions;
        Self { key, uid, gid, cuid, cgid, mode, seq, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_decides() {
        let owner = Credentials::user(1, 10, vec![]);
        let permissions = Permissions::new(5, 0o1064, 0, &owner);
        assert_eq!(permissions.mode, 0o64);
        assert_eq!(permissions.check(&owner, READ), Err(Errno::EACCES));
        let member = Credentials::user(2, 11, vec![10]);
        assert_eq!(permissions.check(&member, READ | WRITE), Ok(()));
        let other = Credentials::user(3, 11, vec![]);
        assert_eq!(permissions.check(&other, READ), Ok(()));
        assert_eq!(permissions.check(&other, 0o600), Err(Errno::EACCES));
        assert_eq!(permissions.check(&Credentials::root(), 0o600), Ok(()));
    }

    #[test]
    fn owner_creator_and_administrator_change_it() {
        let mut permissions = Permissions::new(5, 0, 0, &Credentials::user(1, 1, vec![]));
        let given = IpcPerm { uid: 2, gid: 2, mode: 0o7777, ..IpcPerm::default() };
        assert_eq!(permissions.change(&given), Ok(()));
        assert_eq!(permissions.mode, 0o777);
        for (uid, allowed) in [(0, Ok(())), (1, Ok(())), (2, Ok(())), (3, Err(Errno::EPERM))] {
            assert_eq!(permissions.check_owner(&Credentials::user(uid, 9, vec![])), allowed, "{uid}");
        }
        let nobody = IpcPerm { uid: u32::MAX, ..given };
        assert_eq!(permissions.change(&nobody), Err(Errno::EINVAL));
    }
}
