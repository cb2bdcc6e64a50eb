//! One file or directory of an overlay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, OpenFlags, SealFlags, XattrFlags};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::sync::{LockClass, Mutex, MutexGuard};
use bartizan_sentry::vfs::acl::{Acl, AclKind};
use bartizan_sentry::vfs::{
    AccessRule, AttributeChanges, Attributes, FileOps, FsStr, FsString, Inode, InodeOps, LinkTarget, NewNode,
    OpenRequest, Rename,
};
use smallvec::SmallVec;

use super::changes;
use super::copy_up::Contents;
use super::file::OverlayFile;
use super::layers::Overlay;
use super::listing::OverlayDirectory;

/// An inode of a lower layer.
#[derive(Debug, Clone)]
pub struct Lower {
    /// Which layer, from 1 for the topmost.
    pub layer: u16,
    /// The inode.
    pub inode: Arc<Inode>,
}

/// Where something is in the overlay.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory.
    pub parent: Arc<Inode>,
    /// The name in it.
    pub name: Arc<FsStr>,
}

impl Place {
    fn is(&self, parent: &Arc<Inode>, name: &FsStr) -> bool {
        Arc::ptr_eq(&self.parent, parent) && *self.name == *name
    }
}

/// What is behind an inode of the overlay.
#[derive(Debug)]
pub struct OverlayInode {
    overlay: Arc<Overlay>,
    number: u64,
    kind: FileType,
    upper: OnceLock<Arc<Inode>>,
    /// What it is below: for a directory, all that are seen through it, from the topmost on.
    lowers: SmallVec<[Lower; 1]>,
    /// Where it was found, and may go when it is copied up; nowhere when that has happened, or it has no name any more.
    places: Mutex<SmallVec<[Place; 1]>>,
    /// Held while it is copied up, and while a name is taken from it.
    copying: Mutex<()>,
    /// For a directory, the number of the one above.
    parent: AtomicU64,
}

/// The inode as one of an overlay.
///
/// # Errors
/// `EXDEV` if it is none.
pub fn of(inode: &Inode) -> Result<&OverlayInode, Errno> {
    inode.downcast().ok_or(Errno::EXDEV)
}

impl OverlayInode {
    /// What a look-up has found at `place`: `upper` in the upper layer, `lowers` below.
    pub fn new(
        overlay: Arc<Overlay>,
        number: u64,
        kind: FileType,
        upper: Option<Arc<Inode>>,
        lowers: SmallVec<[Lower; 1]>,
        place: Option<Place>,
    ) -> Self {
        let parent = place.as_ref().map_or(number, |place| place.parent.number());
        let places = if upper.is_some() { SmallVec::new() } else { place.into_iter().collect() };
        Self {
            overlay,
            number,
            kind,
            upper: upper.map(OnceLock::from).unwrap_or_default(),
            lowers,
            places: Mutex::new(LockClass::Table, places),
            copying: Mutex::new(LockClass::CopyUp, ()),
            parent: AtomicU64::new(parent),
        }
    }

    /// What all inodes share.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// The number that guests see.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The type of file.
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// What it is in the upper layer, if it is there.
    pub fn upper(&self) -> Option<&Arc<Inode>> {
        self.upper.get()
    }

    /// It is there from now on.
    pub fn set_upper(&self, upper: Arc<Inode>) {
        let _once = self.upper.set(upper);
        let left = std::mem::take(&mut *self.places.lock());
        drop(left);
    }

    /// What it is below.
    pub fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    /// The topmost of what it is: what is read.
    ///
    /// # Errors
    /// `EIO` if it is nothing, which cannot be.
    pub fn real(&self) -> Result<&Arc<Inode>, Errno> {
        self.upper().or_else(|| self.lowers.first().map(|lower| &lower.inode)).ok_or(Errno::EIO)
    }

    /// Whether a directory is seen through to another one.
    pub fn is_merged(&self) -> bool {
        self.kind == FileType::Directory && usize::from(self.upper().is_some()) + self.lowers.len() > 1
    }

    /// Where it goes when it is copied up.
    pub fn place(&self) -> Option<Place> {
        self.places.lock().first().cloned()
    }

    /// It was found at `place` too.
    pub fn add_place(&self, place: Place) {
        let mut places = self.places.lock();
        if self.upper().is_none() && !places.iter().any(|known| known.is(&place.parent, &place.name)) {
            places.push(place);
        }
    }

    /// It is no longer `name` in `parent`.
    pub fn remove_place(&self, parent: &Arc<Inode>, name: &FsStr) {
        let mut places = self.places.lock();
        let index = places.iter().position(|known| known.is(parent, name));
        let removed = index.map(|index| places.remove(index));
        drop(places);
        drop(removed);
    }

    /// Keeps it from being copied up, class `CopyUp`.
    pub fn lock_copying(&self) -> MutexGuard<'_, ()> {
        self.copying.lock()
    }

    /// The number of the directory above.
    pub fn parent_number(&self) -> u64 {
        self.parent.load(Ordering::Relaxed)
    }

    /// The directory above is `number` from now on.
    pub fn set_parent_number(&self, number: u64) {
        self.parent.store(number, Ordering::Relaxed);
    }
}

/// Places form chains as deep as the tree is, and are let go of one by one rather than by recursion.
impl Drop for OverlayInode {
    fn drop(&mut self) {
        self.overlay.forget(self.number);
        let mut above = std::mem::take(self.places.get_mut());
        while let Some(place) = above.pop() {
            if let Some(inode) = Arc::into_inner(place.parent)
                && let Ok(directory) = of(&inode)
            {
                above.append(&mut directory.places.lock());
            }
        }
    }
}

impl InodeOps for OverlayInode {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = self.real()?.attributes()?;
        if self.is_merged() {
            // How many directories are in it is not known without a look.
            attributes.links = 1;
        } else if self.upper().is_some() && !self.lowers.is_empty() {
            attributes.links = attributes.links.saturating_add(self.overlay.lower_names(self.number));
        }
        Ok(attributes)
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        let contents = changes.size.map_or(Contents::All, Contents::UpTo);
        let upper = self.copy_up(contents)?;
        upper.ops().set_attributes(upper, changes)
    }

    /// Lower layers are not changed, not even so.
    fn touch_accessed(&self, rule: AccessRule) {
        if let Some(upper) = self.upper() {
            upper.ops().touch_accessed(rule);
        }
    }

    fn open(&self, inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        if self.kind == FileType::Directory {
            return Ok(Box::new(OverlayDirectory::new(inode)));
        }
        if request.flags.writable() {
            let emptied = request.flags.contains(OpenFlags::O_TRUNC);
            self.copy_up(if emptied { Contents::UpTo(0) } else { Contents::All })?;
        }
        let real = self.real()?;
        let file = real.ops().open(real, request)?;
        // What is in the upper layer stays there.
        if self.upper().is_some_and(|upper| Arc::ptr_eq(upper, real)) {
            return Ok(file);
        }
        Ok(Box::new(OverlayFile::new(inode, file)))
    }

    fn lookup(&self, directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        self.find(directory, name)
    }

    fn create(&self, directory: &Arc<Inode>, name: &FsStr, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        // It would be a whiteout.
        if node.kind == FileType::CharacterDevice && node.device == DeviceNumber::NONE {
            return Err(Errno::EPERM);
        }
        self.make(directory, name, |place, name| place.ops().create(place, name, node))
    }

    fn create_unnamed(&self, directory: &Arc<Inode>, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        let upper = self.copy_up(Contents::All)?;
        let made = upper.ops().create_unnamed(upper, node)?;
        self.overlay.inode(directory.filesystem(), Some(made), SmallVec::new(), None)
    }

    fn make_directory(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        let made = self.make(directory, name, |place, name| place.ops().make_directory(place, name, node))?;
        of(&made)?.set_parent_number(self.number);
        Ok(made)
    }

    fn make_symlink(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        target: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.make(directory, name, |place, name| place.ops().make_symlink(place, name, target, node))
    }

    fn link(&self, directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        let upper = of(target)?.copy_up(Contents::All)?;
        let link = |place: &Arc<Inode>, name: &FsStr| {
            place.ops().link(place, name, upper)?;
            Ok(Arc::clone(upper))
        };
        self.make(directory, name, link).map(drop)
    }

    fn unlink(&self, directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        self.take_name(directory, name, of(target)?)
    }

    fn remove_directory(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        target: &Arc<Inode>,
    ) -> Result<(), Errno> {
        super::listing::check_empty(target)?;
        self.take_name(directory, name, of(target)?)
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        changes::rename(rename)
    }

    fn read_link(&self, _inode: &Inode, task: Option<&CurrentTask>) -> Result<LinkTarget, Errno> {
        let real = self.real()?;
        real.ops().read_link(real, task)
    }

    fn seals(&self, _inode: &Inode) -> Result<SealFlags, Errno> {
        let real = self.real()?;
        real.ops().seals(real)
    }

    /// What a lower layer does not keep is not there.
    fn acl(&self, _inode: &Inode, kind: AclKind) -> Result<Option<Arc<Acl>>, Errno> {
        let real = self.real()?;
        match real.ops().acl(real, kind) {
            Err(Errno::EOPNOTSUPP) if self.upper().is_none() => Ok(None),
            result => result,
        }
    }

    fn set_acl(
        &self,
        _inode: &Inode,
        kind: AclKind,
        list: Option<Arc<Acl>>,
        mode: Option<FileMode>,
    ) -> Result<(), Errno> {
        let upper = self.copy_up(Contents::All)?;
        upper.ops().set_acl(upper, kind, list, mode)
    }

    fn get_xattr(&self, _inode: &Inode, name: &FsStr) -> Result<Vec<u8>, Errno> {
        let real = self.real()?;
        real.ops().get_xattr(real, &self.overlay.inner_name(name))
    }

    fn set_xattr(&self, _inode: &Inode, name: &FsStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        let upper = self.copy_up(Contents::All)?;
        upper.ops().set_xattr(upper, &self.overlay.inner_name(name), value, flags)
    }

    fn list_xattr(&self, _inode: &Inode) -> Result<Vec<FsString>, Errno> {
        let real = self.real()?;
        let names = real.ops().list_xattr(real)?;
        Ok(names.into_iter().filter_map(|name| self.overlay.outer_name(name)).collect())
    }

    fn remove_xattr(&self, inode: &Inode, name: &FsStr) -> Result<(), Errno> {
        // What is not there is no reason for a copy.
        self.get_xattr(inode, name)?;
        let upper = self.copy_up(Contents::All)?;
        upper.ops().remove_xattr(upper, &self.overlay.inner_name(name))
    }
}
