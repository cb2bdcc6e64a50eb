//! Who may do what with an inode (`path_resolution(7)`, `capabilities(7)`).

use bartizan_abi::process::Capability;
use bartizan_abi::{Errno, FileMode, FileType};
use bitflags::bitflags;

use super::acl::Acl;
use super::{Attributes, Inode, Path};
use crate::kernel::{Credentials, IdKind};

bitflags! {
    /// What is to be done (`MAY_*`), with the values of `access(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct May: u32 {
        /// Execute a file, search a directory.
        const EXECUTE = 1;
        /// Change it.
        const WRITE = 2;
        /// See its contents.
        const READ = 4;
    }
}

/// Whether `credentials` allow `may` to an inode with `attributes`.
///
/// # Errors
/// `EACCES`.
pub fn check(attributes: &Attributes, credentials: &Credentials, may: May) -> Result<(), Errno> {
    check_with(attributes, None, credentials, may)
}

/// As [`check`], where `list` decides for all but the owner.
fn check_with(
    attributes: &Attributes,
    list: Option<&Acl>,
    credentials: &Credentials,
    may: May,
) -> Result<(), Errno> {
    let mode = attributes.mode.bits();
    let overrides = |capability| credentials.has_capability_over(capability, attributes.uid, attributes.gid);
    let class = if credentials.fsuid == attributes.uid {
        mode >> 6
    } else if credentials.in_group(attributes.gid) {
        mode >> 3
    } else {
        mode
    };
    match list.map(|list| list.check(credentials, (attributes.uid, attributes.gid), may.bits())) {
        Some(Err(Errno::EACCES)) => {}
        Some(result) => return result,
        None if class & may.bits() == may.bits() => return Ok(()),
        None => {}
    }
    let directory = attributes.kind == FileType::Directory;
    let read_search = May::READ | if directory { May::EXECUTE } else { May::empty() };
    if read_search.contains(may) && overrides(Capability::CAP_DAC_READ_SEARCH) {
        return Ok(());
    }
    let runnable = directory || !may.contains(May::EXECUTE) || attributes.mode.intersects(FileMode::S_IXUGO);
    if runnable && overrides(Capability::CAP_DAC_OVERRIDE) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// Whether every directory may be searched, without a look at it.
pub fn searches_all(credentials: &Credentials) -> bool {
    credentials.has_capability(Capability::CAP_DAC_READ_SEARCH)
        || credentials.has_capability(Capability::CAP_DAC_OVERRIDE)
}

impl Inode {
    /// Whether `credentials` allow `may` to this inode.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, credentials: &Credentials, may: May) -> Result<(), Errno> {
        if self.kind() == FileType::Directory && may == May::EXECUTE && searches_all(credentials) {
            return Ok(());
        }
        let attributes = self.attributes()?;
        let list = self.deciding_acl(&attributes, credentials)?;
        check_with(&attributes, list.as_deref(), credentials, may)
    }
}

impl Path {
    /// As [`Inode::check`], and whether the mount allows writing at all.
    ///
    /// # Errors
    /// `EROFS` for a file, directory or link behind a read-only mount, `EACCES`.
    pub fn check(&self, credentials: &Credentials, may: May) -> Result<(), Errno> {
        let stored =
            matches!(self.inode().kind(), FileType::Regular | FileType::Directory | FileType::Symlink);
        if may.contains(May::WRITE) && stored && self.mount.is_read_only() {
            return Err(Errno::EROFS);
        }
        self.inode().check(credentials, may)
    }
}

/// Whether an owner's privilege holds (`inode_owner_or_capable`).
pub fn owns(attributes: &Attributes, credentials: &Credentials) -> bool {
    credentials.fsuid == attributes.uid
        || credentials.user_namespace.has(IdKind::User, attributes.uid)
            && credentials.has_own_capability(Capability::CAP_FOWNER)
}

/// Whether the sticky bit of `directory` keeps `credentials` from removing or renaming an entry with attributes `child`.
pub fn is_sticky_for(directory: &Attributes, child: &Attributes, credentials: &Credentials) -> bool {
    directory.mode.contains(FileMode::S_ISVTX)
        && credentials.fsuid != child.uid
        && credentials.fsuid != directory.uid
        && !credentials.has_capability_over(Capability::CAP_FOWNER, child.uid, child.gid)
}
