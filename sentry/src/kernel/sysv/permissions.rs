//! Who may use an IPC object (`sysvipc(7)`, `ipc_perm`).

use bartizan_abi::ipc::IpcPerm;
use bartizan_abi::{Capability, Errno};

use crate::kernel::{Credentials, IdKind, UserNamespace};

/// Read permission, for any of user, group and others.
pub const READ: u32 = 0o444;
/// Write permission, for any of user, group and others.
pub const WRITE: u32 = 0o222;
/// The permission bits.
const MODE: u32 = 0o777;

/// Owner, creator and permissions of an IPC object (`struct kern_ipc_perm`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of struct ipc_perm")]
pub struct Permissions {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
    /// The user namespace in which privileges over it count.
    pub owner: UserNamespace,
}

impl Permissions {
    /// Those of a new object with key `key` that the user of `credentials` makes in a namespace of `owner`.
    pub fn new(key: i32, mode: u32, seq: u16, credentials: &Credentials, owner: &UserNamespace) -> Self {
        let (uid, gid) = (credentials.euid, credentials.egid);
        Self { key, uid, gid, cuid: uid, cgid: gid, mode: mode & MODE, seq, owner: owner.clone() }
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
        if missing && !credentials.has_capability_in(Capability::CAP_IPC_OWNER, &self.owner) {
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
        if owner || credentials.has_capability_in(Capability::CAP_SYS_ADMIN, &self.owner) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// As somebody in `ids` sees them.
    pub fn told(&self, ids: &UserNamespace) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: ids.uid(self.uid),
            gid: ids.gid(self.gid),
            cuid: ids.uid(self.cuid),
            cgid: ids.gid(self.cgid),
            mode: self.mode,
            seq: self.seq,
            ..IpcPerm::default()
        }
    }

    /// Takes over what `IPC_SET` changes: owner and permission bits.
    ///
    /// # Errors
    /// `EINVAL` for ids that nobody can have.
    pub fn change(&mut self, by: &Credentials, new: &IpcPerm) -> Result<(), Errno> {
        let meant = |kind, id| by.user_namespace.resolve(kind, id).ok_or(Errno::EINVAL);
        (self.uid, self.gid) = (meant(IdKind::User, new.uid)?, meant(IdKind::Group, new.gid)?);
        self.mode = (self.mode & !MODE) | (new.mode & MODE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_decides() {
        let owner = Credentials::user(1, 10, vec![]);
        let permissions = Permissions::new(5, 0o1064, 0, &owner, &UserNamespace::default());
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
        let mut permissions =
            Permissions::new(5, 0, 0, &Credentials::user(1, 1, vec![]), &UserNamespace::default());
        let given = IpcPerm { uid: 2, gid: 2, mode: 0o7777, ..IpcPerm::default() };
        assert_eq!(permissions.change(&Credentials::root(), &given), Ok(()));
        assert_eq!(permissions.mode, 0o777);
        for (uid, allowed) in [(0, Ok(())), (1, Ok(())), (2, Ok(())), (3, Err(Errno::EPERM))] {
            assert_eq!(permissions.check_owner(&Credentials::user(uid, 9, vec![])), allowed, "{uid}");
        }
        let nobody = IpcPerm { uid: u32::MAX, ..given };
        assert_eq!(permissions.change(&Credentials::root(), &nobody), Err(Errno::EINVAL));
    }
}
