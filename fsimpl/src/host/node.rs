//! One file of a host tree: where it is, and what is known of it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, FsMagic, Timespec};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{Attributes, FsStr, FsString};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};

use super::errno;
use super::filesystem::Host;
use super::regular::HostRegular;

/// How often a call that met a concurrent rename is made again.
const ATTEMPTS: usize = 8;

/// What a file is on the host. The time of birth tells files apart that got the same inode number one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Time of birth; zero where the host does not know it.
    pub born: (i64, u32),
}

/// What the host says of a file.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Which file it is.
    pub identity: Identity,
    /// What `stat` tells.
    pub attributes: Attributes,
}

impl Found {
    /// What is behind an open descriptor.
    pub fn of_descriptor(descriptor: impl AsFd) -> Result<Self, Errno> {
        Self::ask(descriptor, b"")
    }

    /// What is at `name` in `directory`; symbolic links are not followed.
    pub fn at(directory: impl AsFd, name: &FsStr) -> Result<Self, Errno> {
        Self::ask(directory, name)
    }

    fn ask(descriptor: impl AsFd, name: &FsStr) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let statx = rustix::fs::statx(descriptor, name, flags, wanted).map_err(errno)?;
        Self::from_statx(&statx)
    }

    fn from_statx(statx: &Statx) -> Result<Self, Errno> {
        let born = (statx.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(statx.stx_btime);
        let time = |time: rustix::fs::StatxTimestamp| Timespec::new(time.tv_sec, i64::from(time.tv_nsec));
        let mode = u32::from(statx.stx_mode);
        Ok(Self {
            identity: Identity {
                device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
                inode: statx.stx_ino,
                born: born.map_or((0, 0), |born| (born.tv_sec, born.tv_nsec)),
            },
            attributes: Attributes {
                kind: FileType::from_mode(mode).ok_or(Errno::EIO)?,
                mode: FileMode::new(mode),
                uid: statx.stx_uid,
                gid: statx.stx_gid,
                links: statx.stx_nlink,
                size: statx.stx_size,
                blocks: statx.stx_blocks,
                block_size: statx.stx_blksize,
                device: DeviceNumber::new(statx.stx_rdev_major, statx.stx_rdev_minor),
                accessed: time(statx.stx_atime),
                modified: time(statx.stx_mtime),
                changed: time(statx.stx_ctime),
                created: born.map(time),
            },
        })
    }
}

/// Where a file is.
#[derive(Debug, Clone)]
pub enum Place {
    /// It is the root of the tree.
    Root(Arc<OwnedFd>),
    /// It has a name in a directory: the last one by which it was seen.
    Child {
        /// The directory.
        parent: Arc<Node>,
        /// The name.
        name: Arc<FsStr>,
    },
    /// Nowhere: the node is being dropped.
    Nowhere,
}

impl Place {
    /// The directory above.
    fn take_parent(&mut self) -> Option<Arc<Node>> {
        match std::mem::replace(self, Self::Nowhere) {
            Self::Child { parent, .. } => Some(parent),
            Self::Root(_) | Self::Nowhere => None,
        }
    }
}

/// A descriptor of a node.
enum Opened {
    /// It is open.
    Already(Arc<OwnedFd>),
    /// It is to be opened in this directory, by this name.
    In(Arc<Node>, Arc<FsStr>),
}

/// One file of a host tree.
#[derive(Debug)]
pub struct Node {
    host: Arc<Host>,
    /// Its key in the cache of descriptors.
    id: u64,
    number: u64,
    identity: Identity,
    kind: FileType,
    /// It is a directory on which the host mounted a pseudo file system, and so looks empty.
    hidden: OnceLock<bool>,
    place: Mutex<Place>,
    known: Mutex<Known>,
    /// Where a symbolic link leads; that never changes.
    target: OnceLock<FsString>,
    /// The contents of a regular file, while somebody has it open.
    contents: Mutex<Weak<HostRegular>>,
    /// The contents of a file that was just made, for whoever opens it first.
    fresh: Mutex<Option<Arc<HostRegular>>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    attributes: Attributes,
    /// When the attributes were asked for; `None` if they have changed since.
    asked: Option<Instant>,
    /// When the name was last seen to lead here.
    seen: Instant,
}

impl Node {
    /// The file `found` at `place`, which the guest knows by inode number `number`.
    pub fn new(host: &Arc<Host>, place: Place, found: &Found, number: u64) -> Arc<Self> {
        let now = Instant::now();
        let known = Known { attributes: found.attributes, asked: Some(now), seen: now };
        Arc::new(Self {
            host: Arc::clone(host),
            id: host.next_id(),
            number,
            identity: found.identity,
            kind: found.attributes.kind,
            hidden: OnceLock::new(),
            place: Mutex::new(LockClass::PageIndex, place),
            known: Mutex::new(LockClass::Attributes, known),
            target: OnceLock::new(),
            contents: Mutex::new(LockClass::Table, Weak::new()),
            fresh: Mutex::new(LockClass::Table, None),
        })
    }

    /// The tree that it belongs to.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The inode number that the guest sees.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which file of the host it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory above, if it is not the root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        match &*self.place.lock() {
            Place::Root(_) | Place::Nowhere => None,
            Place::Child { parent, .. } => Some(Arc::clone(parent)),
        }
    }

    /// It was found once more, at `place`.
    pub fn seen_at(&self, place: Place, found: &Found) {
        let old = std::mem::replace(&mut *self.place.lock(), place);
        let now = Instant::now();
        *self.known.lock() = Known { attributes: found.attributes, asked: Some(now), seen: now };
        drop(old);
    }

    /// When `name` in `directory` was last seen to lead here, if that was the last name by which it was seen.
    pub fn last_seen_as(&self, directory: &Self, name: &FsStr) -> Option<Instant> {
        match &*self.place.lock() {
            Place::Child { parent, name: known } if parent.id == directory.id && **known == *name => {}
            _ => return None,
        }
        Some(self.known.lock().seen)
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place.lock().clone()
    }

    /// It is called `name` in `parent` from now on.
    pub fn move_to(&self, parent: &Arc<Self>, name: &FsStr) {
        let place = Place::Child { parent: Arc::clone(parent), name: name.into() };
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// Its attributes have changed: they are asked for again.
    pub fn expire(&self) {
        self.known.lock().asked = None;
    }

    /// What `stat` tells, asked of the host if it is too old.
    pub fn attributes(&self) -> Result<Attributes, Errno> {
        let known = *self.known.lock();
        if known.asked.is_some_and(|asked| asked.elapsed() < self.host.options().attributes) {
            return Ok(known.attributes);
        }
        self.refresh()
    }

    /// Whether it was seen so lately that what is known of it is believed.
    fn is_fresh(&self) -> bool {
        let asked = self.known.lock().asked;
        asked.is_some_and(|asked| asked.elapsed() < self.host.options().attributes)
    }

    /// What `stat` tells, asked of the host now.
    pub fn refresh(&self) -> Result<Attributes, Errno> {
        let found = match self.opened() {
            Some(contents) => Found::of_descriptor(contents.descriptor())?,
            None => self.find()?,
        };
        self.note(&found)?;
        Ok(found.attributes)
    }

    /// Remembers what was found at its place, if it is this file.
    fn note(&self, found: &Found) -> Result<(), Errno> {
        if found.identity != self.identity || found.attributes.kind != self.kind {
            return Err(Errno::ESTALE);
        }
        let mut known = self.known.lock();
        known.attributes = found.attributes;
        known.asked = Some(Instant::now());
        Ok(())
    }

    /// What is at its place now.
    fn find(&self) -> Result<Found, Errno> {
        let place = self.place.lock().clone();
        match place {
            Place::Nowhere => Err(Errno::ESTALE),
            Place::Root(root) => Found::of_descriptor(&*root),
            Place::Child { parent, name } => {
                let directory = parent.descriptor()?;
                Found::at(&*directory, &name).map_err(|error| match error {
                    Errno::ENOENT | Errno::ENOTDIR => Errno::ESTALE,
                    error => error,
                })
            }
        }
    }

    /// An `O_PATH` descriptor of it.
    ///
    /// # Errors
    /// `ESTALE` if it is no longer where it was.
    pub fn descriptor(&self) -> Result<Arc<OwnedFd>, Errno> {
        // From here up to the first directory that is open; then down again.
        let (mut above, own_name) = match self.open_or_place()? {
            Opened::Already(descriptor) => return Ok(descriptor),
            Opened::In(parent, name) => (parent, name),
        };
        let mut missing: Vec<(Arc<Self>, Arc<FsStr>)> = Vec::new();
        let mut descriptor = loop {
            match above.open_or_place()? {
                Opened::Already(descriptor) => break descriptor,
                Opened::In(parent, name) => missing.push((std::mem::replace(&mut above, parent), name)),
            }
        };
        while let Some((node, name)) = missing.pop() {
            descriptor = node.open_in(&descriptor, &name)?;
        }
        self.open_in(&descriptor, &own_name)
    }

    /// The descriptor that is open, or else where to open it.
    fn open_or_place(&self) -> Result<Opened, Errno> {
        if let Some(descriptor) = self.host.descriptors().get(self.id) {
            return Ok(Opened::Already(descriptor));
        }
        match &*self.place.lock() {
            Place::Root(root) => Ok(Opened::Already(Arc::clone(root))),
            Place::Child { parent, name } => Ok(Opened::In(Arc::clone(parent), Arc::clone(name))),
            Place::Nowhere => Err(Errno::ESTALE),
        }
    }

    /// Opens it as `name` in `directory`, and keeps the descriptor.
    fn open_in(&self, directory: &OwnedFd, name: &FsStr) -> Result<Arc<OwnedFd>, Errno> {
        let descriptor = open_beneath(directory, name, OFlags::PATH).map_err(|error| match error {
            Errno::ENOENT | Errno::ENOTDIR => Errno::ESTALE,
            error => error,
        })?;
        if Found::of_descriptor(&descriptor)?.identity != self.identity {
            return Err(Errno::ESTALE);
        }
        let descriptor = Arc::new(descriptor);
        self.host.descriptors().put(self.id, &descriptor);
        Ok(descriptor)
    }

    /// Opens it with access `flags`. It is a regular file or a directory; anything else that has taken its place is not read.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !matches!(self.kind, FileType::Regular | FileType::Directory) {
            return Err(Errno::ENXIO);
        }
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let place = self.place.lock().clone();
        let descriptor = match place {
            Place::Nowhere => return Err(Errno::ESTALE),
            Place::Root(root) if self.kind == FileType::Directory => open_beneath(&root, b".", flags)?,
            // A tree that is one file holds it open for reading.
            Place::Root(root) => root.try_clone()?,
            Place::Child { parent, name } => {
                let directory = parent.descriptor()?;
                if !self.is_fresh() && Found::at(&*directory, &name)?.attributes.kind != self.kind {
                    return Err(Errno::ESTALE);
                }
                open_beneath(&directory, &name, flags).map_err(|error| match error {
                    // A link has taken its place.
                    Errno::ELOOP => Errno::ESTALE,
                    error => error,
                })?
            }
        };
        self.note(&Found::of_descriptor(&descriptor)?)?;
        Ok(descriptor)
    }

    /// The contents of a regular file, if anybody has it open.
    pub fn opened(&self) -> Option<Arc<HostRegular>> {
        self.contents.lock().upgrade()
    }

    /// Keeps the contents of a file that was just made until it is opened.
    pub fn keep_fresh(&self, contents: Arc<HostRegular>) {
        *self.contents.lock() = Arc::downgrade(&contents);
        let replaced = self.fresh.lock().replace(contents);
        drop(replaced);
    }

    /// The contents of a regular file, opened if nobody has it open: for writing too, if the tree and the host allow that.
    pub fn contents(self: &Arc<Self>) -> Result<Arc<HostRegular>, Errno> {
        let fresh = self.fresh.lock().take();
        if let Some(contents) = fresh.or_else(|| self.opened()) {
            return Ok(contents);
        }
        let (descriptor, writable) = self.open_contents()?;
        let opened = Arc::new(HostRegular::new(self, descriptor, writable)?);
        let mut contents = self.contents.lock();
        if let Some(other) = contents.upgrade() {
            drop(contents);
            return Ok(other);
        }
        *contents = Arc::downgrade(&opened);
        Ok(opened)
    }

    /// A descriptor for the contents, and whether they can be written through it.
    fn open_contents(&self) -> Result<(OwnedFd, bool), Errno> {
        if self.host.options().writable {
            match self.open(OFlags::RDWR) {
                Err(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ETXTBSY) => {}
                result => return Ok((result?, true)),
            }
        }
        Ok((self.open(OFlags::RDONLY)?, false))
    }

    /// Where the symbolic link leads.
    pub fn target(&self) -> Result<FsString, Errno> {
        if let Some(target) = self.target.get() {
            return Ok(target.clone());
        }
        let place = self.place.lock().clone();
        let target = match place {
            Place::Nowhere => return Err(Errno::ESTALE),
            Place::Root(root) => rustix::fs::readlinkat(&*root, &b""[..], Vec::new()),
            Place::Child { parent, name } => {
                rustix::fs::readlinkat(&*parent.descriptor()?, &*name, Vec::new())
            }
        };
        let target = target.map_err(errno)?.into_bytes();
        Ok(self.target.get_or_init(|| target).clone())
    }

    /// Whether it is a directory that must look empty, because it shows the host rather than a tree of files.
    pub fn hidden(&self) -> bool {
        *self.hidden.get_or_init(|| {
            let parent = self.parent();
            parent.is_some_and(|parent| parent.identity.device != self.identity.device)
                && self.kind == FileType::Directory
                && self.descriptor().is_ok_and(|descriptor| shows_host(&descriptor))
        })
    }
}

/// A deep tree is let go of level by level rather than by recursion.
impl Drop for Node {
    fn drop(&mut self) {
        self.host.descriptors().remove(self.id);
        let mut parent = self.place.get_mut().take_parent();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.place.get_mut().take_parent();
        }
    }
}

/// Whether `descriptor` is in a file system that tells about the host's processes, devices and kernel.
fn shows_host(descriptor: &OwnedFd) -> bool {
    const MAGICS: [u32; 12] = [
        FsMagic::PROC.0,
        FsMagic::SYSFS.0,
        FsMagic::CGROUP2.0,
        FsMagic::DEVPTS.0,
        FsMagic::MQUEUE.0,
        FsMagic::NSFS.0,
        0x0027_e0eb, // cgroup
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
        0x6265_6570, // configfs
    ];
    rustix::fs::fstatfs(descriptor)
        .is_ok_and(|statistics| MAGICS.contains(&u32::try_from(statistics.f_type).unwrap_or(0)))
}

/// Opens `name`, one component, in `directory`, so that no link and no mount trick leads out of it.
pub fn open_beneath(directory: &OwnedFd, name: &FsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_beneath_with_mode(directory, name, flags, Mode::empty())
}

/// As [`open_beneath`], making a file with `mode` if `flags` say so.
pub fn open_beneath_with_mode(
    directory: &OwnedFd,
    name: &FsStr,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match rustix::fs::openat2(directory, name, flags, mode, resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // A host without the call: `name` has no slash and is not `..`, so that O_NOFOLLOW says the same.
            Err(rustix::io::Errno::NOSYS) if !name.contains(&b'/') && name != b".." => {
                return rustix::fs::openat(directory, name, flags, mode).map_err(errno);
            }
            result => return result.map_err(errno),
        }
    }
    Err(Errno::EAGAIN)
}
