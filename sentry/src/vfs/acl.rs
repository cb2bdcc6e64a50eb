//! Access control lists (`acl(5)`): their form in extended attributes, their relation to permission bits, and what they allow.
//!
//! A list that says no more than permission bits do is kept as these alone. The group bits of a file with a list are its mask: the two
//! change together, by [`Acl::apply_mode`] and [`Acl::mode_with`].

use std::sync::Arc;

use bartizan_abi::{Capability, Errno, FileMode, FileType};

use super::{Attributes, FsStr, Inode, Path};
use crate::kernel::{Credentials, IdKind};

/// The version of the form (`POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Bytes before the entries.
const HEADER_SIZE: usize = 4;
/// Bytes of an entry.
const ENTRY_SIZE: usize = 8;
/// The id of entries that need none (`ACL_UNDEFINED_ID`).
const NO_ID: u32 = u32::MAX;

/// What a list is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclKind {
    /// It says who may do what with the file.
    Access,
    /// Of a directory: what is made in it has it at first.
    Default,
}

impl AclKind {
    /// Both, in the order in which they are listed.
    pub const ALL: [Self; 2] = [Self::Access, Self::Default];

    /// The name of the extended attribute.
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Access => b"system.posix_acl_access",
            Self::Default => b"system.posix_acl_default",
        }
    }

    /// The kind that has this name.
    pub fn of(name: &FsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Whom an entry is for (`ACL_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// The owner.
    Owner,
    /// Another user.
    User(u32),
    /// The group of the file.
    OwningGroup,
    /// Another group.
    Group(u32),
    /// The most that all but the owner and others get.
    Mask,
    /// Everybody else.
    Others,
}

impl Tag {
    fn from_raw(tag: u16, id: u32) -> Result<Self, Errno> {
        let named = |id: u32| if id == NO_ID { Err(Errno::EINVAL) } else { Ok(id) };
        Ok(match tag {
            0x01 => Self::Owner,
            0x02 => Self::User(named(id)?),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(named(id)?),
            0x10 => Self::Mask,
            0x20 => Self::Others,
            _ => return Err(Errno::EINVAL),
        })
    }

    fn raw(self) -> (u16, u32) {
        match self {
            Self::Owner => (0x01, NO_ID),
            Self::User(id) => (0x02, id),
            Self::OwningGroup => (0x04, NO_ID),
            Self::Group(id) => (0x08, id),
            Self::Mask => (0x10, NO_ID),
            Self::Others => (0x20, NO_ID),
        }
    }
}

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    /// 4 to read, 2 to write, 1 to execute.
    may: u32,
}

/// An access control list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

impl Acl {
    /// The list in the value of an extended attribute; `None` for one without entries, which is none.
    ///
    /// # Errors
    /// `EINVAL` for what is no list, `EOPNOTSUPP` for another version. Whether it makes sense is for [`check_form`](Self::check_form).
    pub fn parse(value: &[u8]) -> Result<Option<Self>, Errno> {
        if value.is_empty() {
            return Ok(None);
        }
        let (header, rest) = value.split_first_chunk::<HEADER_SIZE>().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*header) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, left) = rest.as_chunks::<ENTRY_SIZE>();
        if !left.is_empty() {
            return Err(Errno::EINVAL);
        }
        let entries: Result<Vec<_>, _> = entries.iter().map(Entry::parse).collect();
        Ok(Some(Self { entries: entries? }).filter(|list| !list.entries.is_empty()))
    }

    /// The same list with other ids in the entries of users and groups.
    ///
    /// # Errors
    /// `EINVAL` for an id that `translate` does not know.
    fn translated(mut self, translate: impl Fn(IdKind, u32) -> Option<u32>) -> Result<Self, Errno> {
        for entry in &mut self.entries {
            match &mut entry.tag {
                Tag::User(id) => *id = translate(IdKind::User, *id).ok_or(Errno::EINVAL)?,
                Tag::Group(id) => *id = translate(IdKind::Group, *id).ok_or(Errno::EINVAL)?,
                _ => {}
            }
        }
        Ok(self)
    }

    /// Its form in an extended attribute.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            let (tag, id) = entry.tag.raw();
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&(entry.may as u16).to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    /// Whether it has the entries that it must have, in order, and a mask if it needs one.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_form(&self) -> Result<(), Errno> {
        let (mut stage, mut needs_mask) = (Stage::Owner, false);
        for entry in &self.entries {
            if entry.may > 7 {
                return Err(Errno::EINVAL);
            }
            stage = match (entry.tag, stage) {
                (Tag::Owner, Stage::Owner) => Stage::Users,
                (Tag::User(_), Stage::Users) => {
                    needs_mask = true;
                    Stage::Users
                }
                (Tag::OwningGroup, Stage::Users) => Stage::Groups,
                (Tag::Group(_), Stage::Groups) => {
                    needs_mask = true;
                    Stage::Groups
                }
                (Tag::Mask, Stage::Groups) => Stage::Others,
                (Tag::Others, Stage::Others) => Stage::End,
                (Tag::Others, Stage::Groups) if !needs_mask => Stage::End,
                _ => return Err(Errno::EINVAL),
            };
        }
        if stage == Stage::End { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// `mode` with the permissions of this list, and whether these are all that it says.
    pub fn mode_with(&self, mode: FileMode) -> (FileMode, bool) {
        let (mut bits, mut all) = (0, true);
        let mut mask = None;
        for entry in &self.entries {
            match entry.tag {
                Tag::Owner => bits |= entry.may << 6,
                Tag::OwningGroup => bits |= entry.may << 3,
                Tag::Others => bits |= entry.may,
                Tag::Mask => mask = Some(entry.may),
                Tag::User(_) | Tag::Group(_) => all = false,
            }
        }
        if let Some(mask) = mask {
            bits = bits & !0o070 | mask << 3;
            all = false;
        }
        (with_permissions(mode, bits), all)
    }

    /// The entry that group bits stand for: the mask, or without one the group of the file.
    fn group_class(&mut self) -> Option<&mut Entry> {
        let tag = if self.entries.iter().any(|entry| entry.tag == Tag::Mask) {
            Tag::Mask
        } else {
            Tag::OwningGroup
        };
        self.entries.iter_mut().find(|entry| entry.tag == tag)
    }

    /// Takes over the permission bits of `mode` (`chmod(2)`).
    pub fn apply_mode(&mut self, mode: FileMode) {
        let bits = mode.bits();
        for entry in &mut self.entries {
            match entry.tag {
                Tag::Owner => entry.may = bits >> 6 & 7,
                Tag::Others => entry.may = bits & 7,
                _ => {}
            }
        }
        if let Some(group) = self.group_class() {
            group.may = bits >> 3 & 7;
        }
    }

    /// Leaves of a directory's default list what a file gets that is made with `mode`; returns its mode, and whether that is all that
    /// the list says then.
    fn restrict_to(&mut self, mode: FileMode) -> (FileMode, bool) {
        let bits = mode.bits();
        let mut left = 0;
        let mut all = true;
        for entry in &mut self.entries {
            match entry.tag {
                Tag::Owner => {
                    entry.may &= bits >> 6;
                    left |= entry.may << 6;
                }
                Tag::Others => {
                    entry.may &= bits;
                    left |= entry.may;
                }
                Tag::User(_) | Tag::Group(_) | Tag::Mask => all = false,
                Tag::OwningGroup => {}
            }
        }
        if let Some(group) = self.group_class() {
            group.may &= bits >> 3;
            left |= group.may << 3;
        }
        (with_permissions(mode, left), all)
    }

    /// Whether `credentials` get `wanted` (4 to read, 2 to write, 1 to execute) of a file that belongs to `owner`, user and group.
    ///
    /// # Errors
    /// `EACCES`, which privilege may override; `EIO` for a list that is not complete.
    pub fn check(&self, credentials: &Credentials, (uid, gid): (u32, u32), wanted: u32) -> Result<(), Errno> {
        let mask = self.entries.iter().find(|entry| entry.tag == Tag::Mask).map_or(7, |entry| entry.may);
        let decide = |may: u32| if may & wanted == wanted { Ok(()) } else { Err(Errno::EACCES) };
        let mut in_group = false;
        for entry in &self.entries {
            let group = match entry.tag {
                Tag::Owner if credentials.fsuid == uid => return decide(entry.may),
                Tag::User(id) if credentials.fsuid == id => return decide(entry.may & mask),
                Tag::OwningGroup => gid,
                Tag::Group(id) => id,
                Tag::Others if in_group => return Err(Errno::EACCES),
                Tag::Others => return decide(entry.may),
                Tag::Owner | Tag::User(_) | Tag::Mask => continue,
            };
            if credentials.in_group(group) {
                in_group = true;
                // Any group of the list is enough.
                if entry.may & wanted == wanted {
                    return decide(entry.may & mask);
                }
            }
        }
        Err(Errno::EIO)
    }
}

impl Entry {
    fn parse(bytes: &[u8; ENTRY_SIZE]) -> Result<Self, Errno> {
        let [tag0, tag1, may0, may1, id @ ..] = *bytes;
        let tag = Tag::from_raw(u16::from_le_bytes([tag0, tag1]), u32::from_le_bytes(id))?;
        Ok(Self { tag, may: u16::from_le_bytes([may0, may1]).into() })
    }
}

/// Which entries may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Owner,
    Users,
    Groups,
    Others,
    End,
}

/// `mode` with other permission bits.
fn with_permissions(mode: FileMode, bits: u32) -> FileMode {
    (mode - FileMode::S_IRWXUGO) | (FileMode::new(bits) & FileMode::S_IRWXUGO)
}

/// The lists that a new file has at first.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    access: Option<Arc<Acl>>,
    default: Option<Arc<Acl>>,
}

impl Inherited {
    /// What an entry of `kind` that is made in `directory` gets: its mode, from the one that was asked for, and its lists. Without a
    /// default list of the directory the umask counts.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn from(
        directory: &Inode,
        kind: FileType,
        mode: FileMode,
        umask: FileMode,
    ) -> Result<(FileMode, Self), Errno> {
        if kind == FileType::Symlink {
            return Ok((mode, Self::default()));
        }
        let Some(default) = directory.acl(AclKind::Default)? else {
            return Ok((mode.masked(umask), Self::default()));
        };
        let mut access = Acl::clone(&default);
        let (mode, all) = access.restrict_to(mode);
        let access = (!all).then(|| Arc::new(access));
        Ok((mode, Self { access, default: (kind == FileType::Directory).then_some(default) }))
    }

    /// Gives the lists to `inode`, which has the mode already.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn give_to(self, inode: &Inode) -> Result<(), Errno> {
        for (kind, list) in [(AclKind::Access, self.access), (AclKind::Default, self.default)] {
            if list.is_some() {
                inode.ops().set_acl(inode, kind, list, None)?;
            }
        }
        Ok(())
    }
}

impl Inode {
    /// The list of this kind, if there is one; none where lists are not kept.
    pub(super) fn acl(&self, kind: AclKind) -> Result<Option<Arc<Acl>>, Errno> {
        if !self.filesystem().keeps_acls() {
            return Ok(None);
        }
        match self.ops().acl(self, kind) {
            Err(Errno::EOPNOTSUPP) => Ok(None),
            result => result,
        }
    }

    /// The list that decides about access of `credentials`, if there is one: never for the owner, whose bits are in the mode, nor where
    /// the mask is empty.
    pub(super) fn deciding_acl(
        &self,
        attributes: &Attributes,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Acl>>, Errno> {
        let owner = credentials.fsuid == attributes.uid;
        if owner || attributes.mode.group() == 0 {
            return Ok(None);
        }
        self.acl(AclKind::Access)
    }
}

/// The value of a list as an extended attribute, with the ids that `credentials` have for users and groups.
///
/// # Errors
/// `EOPNOTSUPP` where lists are not kept, `ENODATA` if there is none.
pub fn get(path: &Path, kind: AclKind, credentials: &Credentials) -> Result<Vec<u8>, Errno> {
    let inode = path.inode();
    if !inode.filesystem().keeps_acls() || inode.kind() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let list = inode.ops().acl(inode, kind)?.ok_or(Errno::ENODATA)?;
    let namespace = &credentials.user_namespace;
    let name = |kind, id| Some(namespace.name(kind, id).unwrap_or(NO_ID));
    Ok(Acl::clone(&list).translated(name)?.to_bytes())
}

/// The names of the lists that there are.
///
/// # Errors
/// What the file system answers.
pub fn names(path: &Path) -> Result<Vec<&'static [u8]>, Errno> {
    let mut names = Vec::new();
    for kind in AclKind::ALL {
        if path.inode().acl(kind)?.is_some() {
            names.push(kind.name());
        }
    }
    Ok(names)
}

/// Sets a list for `credentials`, or takes it away where `value` is none; permission bits follow.
///
/// # Errors
/// `EROFS`, `EOPNOTSUPP` where lists are not kept, `EACCES` for a default list of what is no directory, `EPERM`, `EINVAL`.
pub fn set(path: &Path, kind: AclKind, value: Option<&[u8]>, credentials: &Credentials) -> Result<(), Errno> {
    if path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let namespace = &credentials.user_namespace;
    let list = Acl::parse(value.unwrap_or_default())?;
    let list = list.map(|list| list.translated(|kind, id| namespace.resolve(kind, id))).transpose()?;
    let inode = path.inode();
    if !inode.filesystem().keeps_acls() {
        return Err(Errno::EOPNOTSUPP);
    }
    if inode.kind() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    if kind == AclKind::Default && inode.kind() != FileType::Directory {
        return if list.is_some() { Err(Errno::EACCES) } else { Ok(()) };
    }
    let attributes = inode.attributes()?;
    if !super::permission::owns(&attributes, credentials) {
        return Err(Errno::EPERM);
    }
    list.as_ref().map_or(Ok(()), Acl::check_form)?;
    if kind == AclKind::Default {
        return inode.ops().set_acl(inode, kind, list.map(Arc::new), None);
    }
    let (mut mode, all) =
        list.as_ref().map_or((attributes.mode, true), |list| list.mode_with(attributes.mode));
    let Attributes { uid, gid, .. } = attributes;
    if !credentials.in_group(gid) && !credentials.has_capability_over(Capability::CAP_FSETID, uid, gid) {
        mode -= FileMode::S_ISGID;
    }
    inode.ops().set_acl(inode, kind, list.filter(|_| !all).map(Arc::new), Some(mode))
}

#[cfg(test)]
mod tests;
