//! The inodes: the directory, `ptmx`, and a device for each terminal.

use std::sync::{Arc, Weak};

use bartizan_abi::{DeviceNumber, Errno, FileType, OpenFlags};
use bartizan_sentry::kernel::realtime;
use bartizan_sentry::kernel::terminal::{Terminal, TerminalFile};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, DirectorySink, FileOps, Filesystem, FsStr, Inode, InodeOps, NewNode,
    OpenRequest,
};

use super::{Devpts, Options, PTMX, ROOT};
use crate::pseudo::{Entries, OpenListing, attributes};

/// Number of `ptmx` (`TTYAUX_MAJOR`).
const PTMX_DEVICE: DeviceNumber = DeviceNumber::new(5, 2);

/// Applies `changes` to what `stat` tells of a device.
fn change(attributes: &mut Attributes, changes: &AttributeChanges) {
    attributes.mode = changes.mode.unwrap_or(attributes.mode);
    attributes.uid = changes.uid.unwrap_or(attributes.uid);
    attributes.gid = changes.gid.unwrap_or(attributes.gid);
    attributes.accessed = changes.accessed.unwrap_or(attributes.accessed);
    attributes.modified = changes.modified.unwrap_or(attributes.modified);
    attributes.changed = changes.changed;
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    devpts: Arc<Devpts>,
    ptmx: Arc<Inode>,
    attributes: Mutex<Attributes>,
}

impl Directory {
    /// The directory of `devpts`.
    pub fn new(devpts: &Arc<Devpts>, ptmx: Arc<Inode>) -> Self {
        let attributes = attributes(FileType::Directory, 0o755, devpts.made);
        Self { devpts: Arc::clone(devpts), ptmx, attributes: Mutex::new(LockClass::Attributes, attributes) }
    }

    fn find(&self, name: &FsStr) -> Option<Arc<Inode>> {
        if name == b"ptmx" {
            return Some(Arc::clone(&self.ptmx));
        }
        let text = std::str::from_utf8(name).ok()?;
        let index: u32 = text.parse().ok()?;
        // Only the number as it is listed: no `+1`, no `01`.
        (index.to_string() == text).then(|| self.devpts.find(index)).flatten()
    }
}

impl InodeOps for Directory {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(*self.attributes.lock())
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        change(&mut self.attributes.lock(), changes);
        Ok(())
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = Names(Arc::clone(&self.devpts));
        Ok(Box::new(OpenListing { number: ROOT, parent: ROOT, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        self.find(name).ok_or(Errno::ENOENT)
    }

    fn revalidate(&self, _directory: &Arc<Inode>, name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        match (self.find(name), child) {
            (Some(found), Some(child)) => Arc::ptr_eq(&found, child),
            (found, child) => found.is_none() && child.is_none(),
        }
    }

    fn create(&self, _directory: &Arc<Inode>, _name: &FsStr, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EACCES)
    }
}

/// The entries of an open listing: position 2 is `ptmx`, terminal `n` is at `n + 3`.
#[derive(Debug)]
struct Names(Arc<Devpts>);

impl Entries for Names {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let mut position = position.max(2);
        if position == 2 {
            if !sink.entry(b"ptmx", PTMX, FileType::CharacterDevice, 3) {
                return Ok(position);
            }
            position = 3;
        }
        let first = u32::try_from(position - 3).unwrap_or(u32::MAX);
        for (index, number) in self.0.list(first) {
            let behind = u64::from(index) + 4;
            if !sink.entry(index.to_string().as_bytes(), number, FileType::CharacterDevice, behind) {
                return Ok(position);
            }
            position = behind;
        }
        Ok(position)
    }
}

/// `ptmx`: opening it makes a terminal.
#[derive(Debug)]
pub struct Ptmx {
    devpts: Weak<Devpts>,
    filesystem: Arc<Filesystem>,
    attributes: Mutex<Attributes>,
}

impl Ptmx {
    /// The `ptmx` of `devpts`.
    pub fn new(devpts: &Arc<Devpts>, filesystem: &Arc<Filesystem>) -> Self {
        let mut attributes =
            attributes(FileType::CharacterDevice, devpts.options.ptmx_mode.bits(), devpts.made);
        attributes.device = PTMX_DEVICE;
        Self {
            devpts: Arc::downgrade(devpts),
            filesystem: Arc::clone(filesystem),
            attributes: Mutex::new(LockClass::Attributes, attributes),
        }
    }
}

impl InodeOps for Ptmx {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(*self.attributes.lock())
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        change(&mut self.attributes.lock(), changes);
        Ok(())
    }

    fn opens_everything(&self) -> bool {
        true
    }

    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        self.devpts.upgrade().ok_or(Errno::EIO)?.open_master(&self.filesystem, request)
    }
}

/// The device of one terminal.
#[derive(Debug)]
pub struct Slave {
    terminal: Arc<Terminal>,
    attributes: Mutex<Attributes>,
}

impl Slave {
    /// The device of `terminal`, made for user `uid`.
    pub fn new(terminal: &Arc<Terminal>, uid: u32, options: &Options) -> Self {
        let mut attributes = attributes(FileType::CharacterDevice, options.mode.bits(), realtime());
        attributes.uid = options.uid.unwrap_or(uid);
        attributes.gid = options.gid;
        attributes.device = terminal.device();
        attributes.block_size = 1024;
        Self { terminal: Arc::clone(terminal), attributes: Mutex::new(LockClass::Attributes, attributes) }
    }
}

impl InodeOps for Slave {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(*self.attributes.lock())
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        change(&mut self.attributes.lock(), changes);
        Ok(())
    }

    fn opens_everything(&self) -> bool {
        true
    }

    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let flags: OpenFlags = request.flags;
        Ok(Box::new(TerminalFile::open(&self.terminal, flags, request.task)?))
    }
}
