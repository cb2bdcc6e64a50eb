//! What all inodes of a tmpfs have: attributes and extended attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, Timespec, XATTR_LIST_MAX, XattrFlags};
use bartizan_platform::memory::PAGE_SIZE;
use bartizan_sentry::kernel::realtime;
use bartizan_sentry::sync::{LockClass, Mutex, MutexGuard};
use bartizan_sentry::vfs::acl::{Acl, AclKind};
use bartizan_sentry::vfs::{AccessRule, AttributeChanges, Attributes, FsStr, FsString, NewNode};

use super::filesystem::Tmpfs;

/// Attributes of one inode. Counts as one inode of its instance for as long as it lives.
#[derive(Debug)]
pub struct Node {
    tmpfs: Arc<Tmpfs>,
    number: u64,
    kind: FileType,
    device: DeviceNumber,
    created: Timespec,
    state: Mutex<State>,
}

/// What may change of an inode's attributes.
#[derive(Debug)]
pub struct State {
    mode: FileMode,
    uid: u32,
    gid: u32,
    /// Hard links.
    pub links: u32,
    /// Whether it never had a name, so that it may get its first one (`O_TMPFILE`).
    pub linkable: bool,
    accessed: Timespec,
    modified: Timespec,
    changed: Timespec,
    xattrs: Option<Box<Xattrs>>,
    lists: Option<Box<Lists>>,
}

/// Access control lists.
#[derive(Debug, Default)]
struct Lists {
    access: Option<Arc<Acl>>,
    default: Option<Arc<Acl>>,
}

impl Lists {
    fn place(&mut self, kind: AclKind) -> &mut Option<Arc<Acl>> {
        match kind {
            AclKind::Access => &mut self.access,
            AclKind::Default => &mut self.default,
        }
    }
}

/// Extended attributes, with what they cost.
#[derive(Debug, Default)]
struct Xattrs {
    values: BTreeMap<FsString, Vec<u8>>,
    /// Bytes that [`Node::list_xattr`] gives.
    list_length: usize,
    /// Pages that are counted for them.
    pages: u64,
}

impl State {
    /// `chmod`: an access control list follows.
    fn set_mode(&mut self, mode: FileMode) {
        self.mode = mode;
        if let Some(list) = self.lists.as_mut().and_then(|lists| lists.access.as_mut()) {
            Arc::make_mut(list).apply_mode(mode);
        }
    }
}

impl Node {
    /// A new inode's attributes, with `links` hard links.
    ///
    /// # Errors
    /// `ENOSPC` beyond the limit of inodes.
    pub fn new(tmpfs: &Arc<Tmpfs>, kind: FileType, node: &NewNode, links: u32) -> Result<Self, Errno> {
        let number = tmpfs.take_inode()?;
        let state = State {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            links,
            linkable: links == 0,
            accessed: node.now,
            modified: node.now,
            changed: node.now,
            xattrs: None,
            lists: None,
        };
        Ok(Self {
            tmpfs: Arc::clone(tmpfs),
            number,
            kind,
            device: if kind.is_device() { node.device } else { DeviceNumber::NONE },
            created: node.now,
            state: Mutex::new(LockClass::Attributes, state),
        })
    }

    /// The instance that it belongs to.
    pub fn tmpfs(&self) -> &Arc<Tmpfs> {
        &self.tmpfs
    }

    /// The inode number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What may change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What `stat` tells, given the size in bytes and the pages that the contents take.
    pub fn attributes(&self, size: u64, pages: u64) -> Attributes {
        let state = self.state.lock();
        Attributes {
            kind: self.kind,
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
            links: state.links,
            size,
            blocks: pages * (PAGE_SIZE / 512),
            block_size: PAGE_SIZE as u32,
            device: self.device,
            accessed: state.accessed,
            modified: state.modified,
            changed: state.changed,
            created: Some(self.created),
        }
    }

    /// `chmod`, `chown` and `utimensat`; the size is the caller's business.
    pub fn set_attributes(&self, changes: &AttributeChanges) {
        let mut state = self.state.lock();
        let state = &mut *state;
        fn replace<T>(place: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *place = new;
            }
        }
        if let Some(mode) = changes.mode {
            state.set_mode(mode);
        }
        replace(&mut state.uid, changes.uid);
        replace(&mut state.gid, changes.gid);
        replace(&mut state.accessed, changes.accessed);
        replace(&mut state.modified, changes.modified);
        state.changed = changes.changed;
    }

    /// It has been read now.
    pub fn touch_accessed(&self, rule: AccessRule) {
        if self.kind.is_device() {
            return;
        }
        let now = realtime();
        let mut state = self.state.lock();
        if rule.changes(state.accessed, state.modified, state.changed, now) {
            state.accessed = now;
        }
    }

    /// The contents changed now.
    pub fn touch_modified(&self) {
        let now = realtime();
        let mut state = self.state.lock();
        state.modified = now;
        state.changed = now;
    }

    /// The attributes changed now.
    pub fn touch_changed(&self) {
        self.state.lock().changed = realtime();
    }

    /// A name was added.
    ///
    /// # Errors
    /// `ENOENT` if the last name was removed, `EMLINK` beyond what can be counted.
    pub fn add_link(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.links == 0 && !state.linkable {
            return Err(Errno::ENOENT);
        }
        state.links = state.links.checked_add(1).ok_or(Errno::EMLINK)?;
        state.linkable = false;
        state.changed = realtime();
        Ok(())
    }

    /// `count` names were removed: two for a directory, whose `.` is one.
    pub fn remove_links(&self, count: u32) {
        let mut state = self.state.lock();
        state.links = state.links.saturating_sub(count);
        state.changed = realtime();
    }

    /// The access control list of a kind.
    pub fn acl(&self, kind: AclKind) -> Option<Arc<Acl>> {
        self.state.lock().lists.as_mut().and_then(|lists| lists.place(kind).clone())
    }

    /// Replaces an access control list, and the mode with it.
    pub fn set_acl(&self, kind: AclKind, list: Option<Arc<Acl>>, mode: Option<FileMode>) {
        let mut state = self.state.lock();
        if let Some(mode) = mode {
            state.mode = mode;
        }
        let old = if list.is_some() || state.lists.is_some() {
            std::mem::replace(state.lists.get_or_insert_default().place(kind), list)
        } else {
            None
        };
        state.changed = realtime();
        drop(state);
        drop(old);
    }

    /// The value of extended attribute `name`.
    pub fn get_xattr(&self, name: &FsStr) -> Result<Vec<u8>, Errno> {
        check_xattr_name(name)?;
        let state = self.state.lock();
        let value = state.xattrs.as_ref().and_then(|xattrs| xattrs.values.get(name));
        value.cloned().ok_or(Errno::ENODATA)
    }

    /// Sets extended attribute `name`. Values count as file data.
    pub fn set_xattr(&self, name: &FsStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        check_xattr_name(name)?;
        let mut state = self.state.lock();
        let xattrs = state.xattrs.get_or_insert_default();
        let old = xattrs.values.get(name).map(|old| xattr_pages(name, old));
        match old {
            Some(_) if flags.contains(XattrFlags::XATTR_CREATE) => return Err(Errno::EEXIST),
            None if flags.contains(XattrFlags::XATTR_REPLACE) => return Err(Errno::ENODATA),
            _ => {}
        }
        if old.is_none() && xattrs.list_length + name.len() + 1 > XATTR_LIST_MAX {
            return Err(Errno::ENOSPC);
        }
        let pages = xattr_pages(name, value);
        self.tmpfs.take_all_pages(pages)?;
        self.tmpfs.give_pages_back(old.unwrap_or(0));
        xattrs.pages = xattrs.pages + pages - old.unwrap_or(0);
        if old.is_none() {
            xattrs.list_length += name.len() + 1;
        }
        xattrs.values.insert(name.to_vec(), value.to_vec());
        state.changed = realtime();
        Ok(())
    }

    /// The names of all extended attributes.
    pub fn list_xattr(&self) -> Vec<FsString> {
        let state = self.state.lock();
        state.xattrs.as_ref().map(|xattrs| xattrs.values.keys().cloned().collect()).unwrap_or_default()
    }

    /// Removes extended attribute `name`.
    pub fn remove_xattr(&self, name: &FsStr) -> Result<(), Errno> {
        check_xattr_name(name)?;
        let mut state = self.state.lock();
        let xattrs = state.xattrs.as_mut().ok_or(Errno::ENODATA)?;
        let value = xattrs.values.remove(name).ok_or(Errno::ENODATA)?;
        let pages = xattr_pages(name, &value);
        xattrs.pages -= pages;
        xattrs.list_length -= name.len() + 1;
        self.tmpfs.give_pages_back(pages);
        state.changed = realtime();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tmpfs.give_inode_back();
        if let Some(xattrs) = &self.state.get_mut().xattrs {
            self.tmpfs.give_pages_back(xattrs.pages);
        }
    }
}

/// The name spaces that tmpfs keeps attributes in.
fn check_xattr_name(name: &FsStr) -> Result<(), Errno> {
    let known = [&b"user."[..], b"trusted.", b"security."].iter().any(|space| name.starts_with(space));
    if known { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// How many pages an extended attribute is counted as.
fn xattr_pages(name: &FsStr, value: &[u8]) -> u64 {
    ((name.len() + value.len()) as u64).div_ceil(PAGE_SIZE)
}
