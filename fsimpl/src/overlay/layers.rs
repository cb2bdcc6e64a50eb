//! The layers of an overlay, and which inodes of theirs are which of ours.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, FsMagic, OpenFlags, RenameFlags, XattrFlags};
use bartizan_sentry::kernel::{Credentials, realtime};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{
    File, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics, FsStr, FsString, Inode, Mount,
    NewNode, OpenRequest, Rename, lock_two,
};
use smallvec::SmallVec;

use super::Layers;
use super::inode::{Lower, OverlayInode, Place};

/// Where the number of a lower layer is in an inode number.
const LAYER_SHIFT: u32 = 54;
/// What is added to the numbers of the upper layer: they stay exact in a floating-point number, in which some languages keep them.
const UPPER_NUMBERS: u64 = 1 << 52;

/// What marks directories that hide those below.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// The name of a root that is no directory, in the upper layer.
const ONLY_FILE: &[u8] = b"file";

/// Where changes go.
#[derive(Debug)]
pub struct Upper {
    /// The root of the upper layer.
    pub directory: Arc<Inode>,
    /// Where things are made before they are put in place.
    pub work: Arc<Inode>,
}

/// What all inodes of an overlay share.
#[derive(Debug)]
pub struct Overlay {
    upper: Option<Upper>,
    /// Marks are attributes of users.
    user_marks: bool,
    next_temporary: AtomicU64,
    known: Mutex<Known>,
}

/// Which inodes of the layers are which of ours.
#[derive(Debug, Default)]
struct Known {
    /// Those that live, by number.
    inodes: HashMap<u64, Weak<Inode>>,
    /// The numbers of what was copied up, by number in the upper layer.
    numbers: HashMap<u64, u64>,
    /// What files became that have several names in a lower layer, by number.
    copies: HashMap<u64, Copied>,
}

/// A file with several names in a lower layer, of which one was copied up.
#[derive(Debug)]
struct Copied {
    upper: Arc<Inode>,
    /// Names that still are in the lower layer alone.
    lower_names: u32,
}

impl Overlay {
    /// Where changes go.
    ///
    /// # Errors
    /// `EROFS` if there is no such layer.
    pub fn upper(&self) -> Result<&Upper, Errno> {
        self.upper.as_ref().ok_or(Errno::EROFS)
    }

    /// A name in the work directory that nobody has.
    pub fn temporary_name(&self) -> FsString {
        format!("#{:x}", self.next_temporary.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    fn mark(&self) -> &'static [u8] {
        OPAQUE[usize::from(self.user_marks)].as_bytes()
    }

    /// Whether a directory of a layer hides those below.
    ///
    /// # Errors
    /// What reading the mark gives.
    pub fn is_opaque(&self, directory: &Inode) -> Result<bool, Errno> {
        match directory.ops().get_xattr(directory, self.mark()) {
            Ok(value) => Ok(value == b"y"),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Makes a directory of the upper layer hide those below.
    ///
    /// # Errors
    /// What setting the mark gives.
    pub fn set_opaque(&self, directory: &Inode) -> Result<(), Errno> {
        directory.ops().set_xattr(directory, self.mark(), b"y", XattrFlags::empty())
    }

    /// What the names of our extended attributes begin with.
    fn marks(&self) -> &'static [u8] {
        if self.user_marks { b"user.overlay." } else { b"trusted.overlay." }
    }

    /// The name that a layer has for the extended attribute `name` of the overlay: one that looks like ours is kept apart from
    /// them.
    pub fn inner_name<'a>(&self, name: &'a FsStr) -> Cow<'a, FsStr> {
        match name.strip_prefix(self.marks()) {
            None => Cow::Borrowed(name),
            Some(rest) => Cow::Owned([self.marks(), b"overlay.", rest].concat()),
        }
    }

    /// The reverse of [`inner_name`](Self::inner_name); `None` for the attributes that are ours.
    pub fn outer_name(&self, name: FsString) -> Option<FsString> {
        match name.strip_prefix(self.marks()) {
            None => Some(name),
            Some(rest) => Some([self.marks(), rest.strip_prefix(b"overlay.")?].concat()),
        }
    }

    /// The number of the inode that a lower layer knows as `number`.
    pub fn lower_number(layer: u16, number: u64) -> u64 {
        number.wrapping_add(u64::from(layer - 1) << LAYER_SHIFT)
    }

    /// The number of the inode that the upper layer knows as `number`: what it was before it was copied up, or one that lower layers do
    /// not have.
    pub fn upper_number(&self, number: u64) -> u64 {
        let known = self.known.lock().numbers.get(&number).copied();
        known.unwrap_or_else(|| number.wrapping_add(UPPER_NUMBERS))
    }

    /// Notes that inode `number` is about to be `upper` in the upper layer. `lower_names` is how many other names the lower layer has of it.
    pub fn note_copy(&self, number: u64, upper: &Arc<Inode>, lower_names: u32) {
        let mut known = self.known.lock();
        known.numbers.insert(upper.number(), number);
        if lower_names > 0 {
            known.copies.insert(number, Copied { upper: Arc::clone(upper), lower_names });
        }
    }

    /// The copy came to nothing.
    pub fn forget_copy(&self, number: u64, upper: &Inode) {
        let mut known = self.known.lock();
        known.numbers.remove(&upper.number());
        let forgotten = known.copies.remove(&number);
        drop(known);
        drop(forgotten);
    }

    /// How many names of `number`, which was copied up, the lower layer alone has.
    pub fn lower_names(&self, number: u64) -> u32 {
        self.known.lock().copies.get(&number).map_or(0, |copied| copied.lower_names)
    }

    /// One name of `number` less that the lower layer alone has.
    pub fn hide_lower_name(&self, number: u64) {
        if let Some(copied) = self.known.lock().copies.get_mut(&number) {
            copied.lower_names = copied.lower_names.saturating_sub(1);
        }
    }

    /// The inode loses its numbers with its last name.
    pub fn forget_if_gone(&self, inode: &OverlayInode) -> Result<(), Errno> {
        let Some(upper) = inode.upper() else { return Ok(()) };
        let links = match upper.attributes() {
            Ok(attributes) => attributes.links,
            // A tree of the host knows no file without name.
            Err(Errno::ESTALE) => 0,
            Err(errno) => return Err(errno),
        };
        if links == 0 && self.lower_names(inode.number()) == 0 {
            self.forget_copy(inode.number(), upper);
        }
        Ok(())
    }

    /// Our inode for what a look-up has found: the one that lives, or a new one.
    pub fn inode(
        self: &Arc<Self>,
        filesystem: &Arc<Filesystem>,
        upper: Option<Arc<Inode>>,
        lowers: SmallVec<[Lower; 1]>,
        place: Option<Place>,
    ) -> Result<Arc<Inode>, Errno> {
        let found =
            upper.as_ref().or_else(|| lowers.first().map(|lower| &lower.inode)).ok_or(Errno::ENOENT)?;
        let kind = found.kind();
        let number = match (&upper, lowers.first()) {
            (Some(upper), _) => self.upper_number(upper.number()),
            (None, Some(lower)) => Self::lower_number(lower.layer, lower.inode.number()),
            (None, None) => return Err(Errno::ENOENT),
        };
        let mut stale = None;
        let mut known = self.known.lock();
        let upper = upper.or_else(|| known.copies.get(&number).map(|copied| Arc::clone(&copied.upper)));
        if let Some(inode) = known.inodes.get(&number).and_then(Weak::upgrade) {
            let same = inode.downcast::<OverlayInode>().is_some_and(|living| {
                living.upper().zip(upper.as_ref()).is_none_or(|(one, other)| Arc::ptr_eq(one, other))
            });
            if same && inode.kind() == kind {
                drop(known);
                if let (Some(living), Some(place)) = (inode.downcast::<OverlayInode>(), place) {
                    living.add_place(place);
                }
                return Ok(inode);
            }
            stale = Some(inode);
        }
        let ops = OverlayInode::new(Arc::clone(self), number, kind, upper, lowers, place);
        let inode = Inode::layered(number, kind, Arc::clone(filesystem), Box::new(ops));
        known.inodes.insert(number, Arc::downgrade(&inode));
        drop(known);
        // It may be the last reference, and would lock what is known.
        drop(stale);
        Ok(inode)
    }

    /// Our inode `number` is being dropped.
    pub fn forget(&self, number: u64) {
        let mut known = self.known.lock();
        if known.inodes.get(&number).is_some_and(|inode| inode.strong_count() == 0) {
            known.inodes.remove(&number);
        }
    }
}

/// Whether an inode of a layer says that there is nothing.
///
/// # Errors
/// What `stat` gives.
pub fn is_whiteout(inode: &Inode) -> Result<bool, Errno> {
    Ok(inode.kind() == FileType::CharacterDevice && inode.attributes()?.device == DeviceNumber::NONE)
}

/// What `name` leads to in a directory of a layer, if anything.
///
/// # Errors
/// What the layer gives, but `ENOENT`.
pub fn find(directory: &Arc<Inode>, name: &FsStr) -> Result<Option<Arc<Inode>>, Errno> {
    match directory.ops().lookup(directory, name) {
        Ok(inode) => Ok(Some(inode)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens an inode of a layer, as the superuser.
///
/// # Errors
/// What the layer gives.
pub fn open(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<File>, Errno> {
    let root = FilesystemRoot { filesystem: Arc::clone(inode.filesystem()), inode: Arc::clone(inode) };
    let path = Mount::detached(root).root_path().ok_or(Errno::EIO)?;
    let request = OpenRequest { flags, credentials: &Credentials::root(), task: None, path: &path };
    let ops = inode.ops().open(inode, &request)?;
    Ok(File::new(ops, path, flags))
}

/// What a whiteout is made as.
pub fn whiteout() -> NewNode {
    NewNode {
        kind: FileType::CharacterDevice,
        mode: FileMode::empty(),
        uid: 0,
        gid: 0,
        device: DeviceNumber::NONE,
        now: realtime(),
    }
}

/// A place in the upper layer.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The directory.
    pub directory: &'a Arc<Inode>,
    /// The name in it.
    pub name: &'a FsStr,
}

/// Renames in the upper layer; what is replaced is `target`.
///
/// # Errors
/// What the layer gives.
pub fn rename(
    from: Entry<'_>,
    source: &Arc<Inode>,
    to: Entry<'_>,
    target: Option<&Arc<Inode>>,
    flags: RenameFlags,
) -> Result<(), Errno> {
    let _locked = lock_two(from.directory, to.directory);
    from.directory.ops().rename(&Rename {
        old_directory: from.directory,
        old_name: from.name,
        source,
        new_directory: to.directory,
        new_name: to.name,
        target,
        flags,
        owner: (0, 0),
    })
}

/// Removes `name`, which is `inode`, from a directory of the upper layer.
///
/// # Errors
/// What the layer gives.
pub fn remove(entry: Entry<'_>, inode: &Arc<Inode>) -> Result<(), Errno> {
    let Entry { directory, name } = entry;
    let _locked = directory.lock_directory();
    if inode.kind() == FileType::Directory {
        directory.ops().remove_directory(directory, name, inode)
    } else {
        directory.ops().unlink(directory, name, inode)
    }
}

/// The root of a new overlay.
pub fn make_root(device: DeviceNumber, layers: Layers) -> Result<FilesystemRoot, Errno> {
    let Some(first) = layers.lower.first() else { return Err(Errno::EINVAL) };
    let kind = first.kind();
    if layers.lower.iter().any(|lower| lower.kind() != kind) {
        return Err(Errno::EINVAL);
    }
    let (upper, user_marks) = match layers.upper {
        Some(upper) => {
            let (upper, user_marks) = prepare(&upper)?;
            (Some(upper), user_marks)
        }
        None => (None, false),
    };
    let directory = upper.as_ref().map(|upper| Arc::clone(&upper.directory));
    let statistics = Arc::clone(directory.as_ref().unwrap_or(first).filesystem());
    let overlay = Arc::new(Overlay {
        upper,
        user_marks,
        next_temporary: AtomicU64::new(0),
        known: Mutex::new(LockClass::Table, Known::default()),
    });
    let keeps_acls = directory.iter().chain(&layers.lower).any(|layer| layer.filesystem().keeps_acls());
    let ops = OverlayFilesystem { statistics, shown: layers.shown, keeps_acls };
    let filesystem = Filesystem::new(device, directory.is_none(), Box::new(ops));
    let most = usize::from(u16::MAX);
    let lowers = layers.lower.into_iter().take(most).zip(1u16..).map(|(inode, layer)| Lower { layer, inode });
    let inode = match (kind, directory) {
        (FileType::Directory, upper) => overlay.inode(&filesystem, upper, lowers.collect(), None)?,
        (_, None) => overlay.inode(&filesystem, None, lowers.take(1).collect(), None)?,
        // The file is copied up into a directory that nobody sees.
        (_, Some(upper)) => {
            let existing = find(&upper, ONLY_FILE)?;
            let parent = overlay.inode(&filesystem, Some(upper), SmallVec::new(), None)?;
            let place = Place { parent, name: ONLY_FILE.into() };
            overlay.inode(&filesystem, existing, lowers.take(1).collect(), Some(place))?
        }
    };
    Ok(FilesystemRoot { filesystem, inode })
}

/// Makes the upper layer ready; whether its marks have to be attributes of users.
fn prepare(upper: &super::Upper) -> Result<(Upper, bool), Errno> {
    let (directory, base) = (&upper.directory, &upper.work);
    let same = Arc::ptr_eq(directory.filesystem(), base.filesystem()) && !Arc::ptr_eq(directory, base);
    if !same || directory.kind() != FileType::Directory || base.kind() != FileType::Directory {
        return Err(Errno::EINVAL);
    }
    if directory.filesystem().is_read_only() {
        return Err(Errno::EROFS);
    }
    let work = match find(base, b"work")? {
        Some(work) if work.kind() == FileType::Directory => work,
        Some(_) => return Err(Errno::EEXIST),
        None => {
            let node = NewNode { kind: FileType::Directory, ..whiteout() };
            let _locked = base.lock_directory();
            base.ops().make_directory(base, b"work", &node)?
        }
    };
    super::listing::clear(&work)?;
    let mark = |name: &str| work.ops().set_xattr(&work, name.as_bytes(), b"0", XattrFlags::empty());
    let user_marks = match upper.user_marks {
        false => match mark(OPAQUE[0]) {
            Err(Errno::EPERM | Errno::EOPNOTSUPP) => true,
            result => result.map(|()| false)?,
        },
        true => true,
    };
    if user_marks {
        mark(OPAQUE[1])?;
    }
    Ok((Upper { directory: Arc::clone(directory), work }, user_marks))
}

/// An overlay as the VFS sees it.
#[derive(Debug)]
struct OverlayFilesystem {
    /// The layer whose space is shown.
    statistics: Arc<Filesystem>,
    shown: String,
    /// Whether a layer keeps access control lists.
    keeps_acls: bool,
}

impl FilesystemOps for OverlayFilesystem {
    fn keeps_acls(&self) -> bool {
        self.keeps_acls
    }

    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let magic = u64::from(FsMagic::OVERLAYFS.0);
        Ok(FilesystemStatistics { magic, ..self.statistics.ops().statistics()? })
    }

    fn options(&self) -> String {
        self.shown.clone()
    }

    fn sync(&self) -> Result<(), Errno> {
        self.statistics.ops().sync()
    }
}
