//! Walking paths (`path_resolution(7)`).

use std::sync::Arc;

use bartizan_abi::{Errno, FileMode, FileType, OpenFlags, ResolveFlags};
use smallvec::SmallVec;

use super::permission::May;
use super::{
    Admission, CachePolicy, Dentry, FsStr, FsString, LinkTarget, Mount, MountFlags, MountNamespace, NAME_MAX,
    PATH_MAX, Path, touch_accessed,
};
use crate::kernel::{Credentials, CurrentTask};

/// How many symbolic links one walk follows (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// Whether the last component is followed if it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowLast {
    /// It is.
    Yes,
    /// It is not, unless a slash follows it.
    No,
}

/// Everything that a walk depends on but the path.
#[derive(Debug)]
pub struct Walker<'a> {
    /// The tree.
    pub namespace: &'a MountNamespace,
    /// Where absolute paths start, and where `..` ends.
    pub root: &'a Path,
    /// Where relative paths start.
    pub base: &'a Path,
    /// Who walks.
    pub credentials: &'a Credentials,
    /// Which task walks; `None` for the host. Links in `/proc` depend on it.
    pub task: Option<&'a CurrentTask>,
    /// What new files do not get.
    pub umask: FileMode,
    /// Restrictions of `openat2(2)`.
    pub resolve: ResolveFlags,
}

/// What the last component of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastKind {
    /// A name.
    Name,
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
    /// Nothing: the path is `/`.
    Root,
}

/// A path walked up to its last component.
#[derive(Debug)]
pub struct Parent {
    /// The directory that the last component is looked up in.
    pub directory: Path,
    /// The last component.
    pub name: SmallVec<[u8; 64]>,
    /// What that is.
    pub kind: LastKind,
    /// Whether slashes follow it.
    pub slash: bool,
}

/// How far a walk has come.
struct Progress<'a> {
    walker: &'a Walker<'a>,
    at: Path,
    /// What is still to be walked.
    rest: SmallVec<[u8; 256]>,
    position: usize,
    links: u32,
    /// Where `..` ends: the root, or what `RESOLVE_BENEATH` and `RESOLVE_IN_ROOT` set.
    top: &'a Path,
}

/// The last component of a path, to be looked up where the walk is.
struct Last {
    name: SmallVec<[u8; 64]>,
    kind: LastKind,
    slash: bool,
}

impl Last {
    fn in_directory(self, directory: Path) -> Parent {
        Parent { directory, name: self.name, kind: self.kind, slash: self.slash }
    }
}

impl<'a> Walker<'a> {
    /// The place that `path` leads to.
    ///
    /// # Errors
    /// Those of `path_resolution(7)`.
    pub fn resolve(&self, path: &FsStr, follow: FollowLast) -> Result<Path, Errno> {
        let mut progress = self.start(path)?;
        loop {
            let last = progress.walk_to_last()?;
            if progress.enter(&last, follow == FollowLast::Yes || last.slash)? {
                if last.slash && progress.at.inode().kind() != FileType::Directory {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(progress.at);
            }
        }
    }

    /// The directory that `path`'s last component is, or would be, in. Symbolic links in the last component are not looked at.
    ///
    /// # Errors
    /// Those of `path_resolution(7)`.
    pub fn resolve_parent(&self, path: &FsStr) -> Result<Parent, Errno> {
        let mut progress = self.start(path)?;
        let last = progress.walk_to_last()?;
        Ok(last.in_directory(progress.at))
    }

    /// Walks `path` and asks `last` about the dentry of its last component, which may be negative: it says whether a symbolic link is
    /// followed. Used by `open` with `O_CREAT`.
    ///
    /// # Errors
    /// Those of `path_resolution(7)`.
    pub fn resolve_or_parent(
        &self,
        path: &FsStr,
        follow: FollowLast,
    ) -> Result<(Parent, Option<Path>), Errno> {
        let mut progress = self.start(path)?;
        loop {
            let last = progress.walk_to_last()?;
            let directory = progress.at.clone();
            match progress.enter(&last, follow == FollowLast::Yes) {
                Ok(true) => return Ok((last.in_directory(directory), Some(progress.at))),
                Ok(false) => {}
                Err(Errno::ENOENT) if last.kind == LastKind::Name => {
                    return Ok((last.in_directory(directory), None));
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn start(&'a self, path: &FsStr) -> Result<Progress<'a>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let confined = self.resolve.intersects(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT);
        let top = if confined { self.base } else { self.root };
        let absolute = path.first() == Some(&b'/');
        if absolute {
            self.check_root(&self.base.mount, top)?;
        }
        Ok(Progress {
            walker: self,
            at: if absolute { top } else { self.base }.clone(),
            rest: SmallVec::from_slice(path),
            position: 0,
            links: 0,
            top,
        })
    }

    /// Whether a walk that is on `mount` may go to `top` by a leading slash.
    fn check_root(&self, mount: &Arc<Mount>, top: &Path) -> Result<(), Errno> {
        let leaves = self.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV) && !Arc::ptr_eq(mount, &top.mount);
        if leaves || self.resolve.contains(ResolveFlags::RESOLVE_BENEATH) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// The child `name` of a directory; a negative dentry, or none, if there is no such entry.
    ///
    /// # Errors
    /// What the file system answers, `ENAMETOOLONG`.
    pub fn child(&self, directory: &Path, name: &FsStr) -> Result<Arc<Dentry>, Errno> {
        let inode = directory.inode();
        let policy = inode.filesystem().ops().cache_policy();
        if policy != CachePolicy::Never
            && let Some(child) = directory.dentry.cached_child(name)
        {
            let valid = policy == CachePolicy::Always || inode.ops().revalidate(inode, name, child.inode());
            if valid {
                return Ok(child);
            }
            self.namespace.cache().forget(&directory.dentry, name);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let _locked = inode.lock_directory();
        self.child_locked(directory, name)
    }

    /// As [`child`](Self::child), for a caller that holds the lock of the directory.
    pub fn child_locked(&self, directory: &Path, name: &FsStr) -> Result<Arc<Dentry>, Errno> {
        let inode = directory.inode();
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let policy = inode.filesystem().ops().cache_policy();
        if policy == CachePolicy::Always
            && let Some(child) = directory.dentry.cached_child(name)
        {
            return Ok(child);
        }
        let found = match inode.ops().lookup(inode, name) {
            Ok(child) => Some(child),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        if policy == CachePolicy::Never
            || !directory.dentry.is_linked() && directory.dentry.parent().is_some()
        {
            return Ok(Dentry::uncached(&directory.dentry, name, found));
        }
        // A name that still leads to the same inode keeps its dentry, so that mounts on it stay in place.
        if let Some(cached) = directory.dentry.cached_child(name)
            && let (Some(old), Some(new)) = (cached.inode(), &found)
            && Arc::ptr_eq(old, new)
        {
            return Ok(cached);
        }
        Ok(self.namespace.cache().add(&directory.dentry, name, found))
    }
}

impl Progress<'_> {
    /// Goes to where absolute paths start.
    fn go_to_root(&mut self) -> Result<(), Errno> {
        self.walker.check_root(&self.at.mount, self.top)?;
        self.at = self.top.clone();
        Ok(())
    }

    /// Goes to `path`, which may be on another mount.
    fn go(&mut self, path: Path) -> Result<(), Errno> {
        if self.walker.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV)
            && !Arc::ptr_eq(&path.mount, &self.at.mount)
        {
            return Err(Errno::EXDEV);
        }
        self.at = path;
        Ok(())
    }

    /// Walks all components but the last.
    fn walk_to_last(&mut self) -> Result<Last, Errno> {
        loop {
            while self.rest.get(self.position) == Some(&b'/') {
                self.position += 1;
            }
            let start = self.position;
            let rest = &self.rest[start..];
            let length = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let name: SmallVec<[u8; 64]> = SmallVec::from_slice(&rest[..length]);
            let after = &rest[length..];
            let slash = !after.is_empty();
            let last = after.iter().all(|&byte| byte == b'/');
            self.position = start + length;
            let kind = match &*name {
                b"" => LastKind::Root,
                b"." => LastKind::Dot,
                b".." => LastKind::DotDot,
                _ => LastKind::Name,
            };
            if kind != LastKind::Root {
                if self.at.inode().kind() != FileType::Directory {
                    return Err(Errno::ENOTDIR);
                }
                self.at.inode().admit(self.walker.task, Admission::Use(May::EXECUTE))?;
                self.at.inode().check(self.walker.credentials, May::EXECUTE)?;
            }
            if last {
                return Ok(Last { name, kind, slash });
            }
            match kind {
                LastKind::Root | LastKind::Dot => {}
                LastKind::DotDot => self.up()?,
                LastKind::Name => {
                    // A link is walked next.
                    let _arrived = self.step(&name, true)?;
                }
            }
        }
    }

    /// Walks the last component; whether the walk has arrived. It has not when that is a link that is followed: there is a new path to
    /// walk, before the slashes that are left.
    fn enter(&mut self, last: &Last, follow: bool) -> Result<bool, Errno> {
        match last.kind {
            LastKind::Root | LastKind::Dot => Ok(true),
            LastKind::DotDot => self.up().map(|()| true),
            LastKind::Name => self.step(&last.name, follow),
        }
    }

    /// Goes to the parent directory; at the root it stays.
    fn up(&mut self) -> Result<(), Errno> {
        if self.at.is_same(self.top) {
            let beneath = self.walker.resolve.contains(ResolveFlags::RESOLVE_BENEATH);
            return if beneath { Err(Errno::EXDEV) } else { Ok(()) };
        }
        let (mut mount, mut dentry) = (Arc::clone(&self.at.mount), Arc::clone(&self.at.dentry));
        while Arc::ptr_eq(&dentry, mount.root()) {
            match mount.place() {
                Some((parent, place)) => (mount, dentry) = (parent, place),
                None => return Ok(()),
            }
            if Arc::ptr_eq(&mount, &self.top.mount) && Arc::ptr_eq(&dentry, &self.top.dentry) {
                return Ok(());
            }
        }
        let Some(path) = dentry.parent().and_then(|parent| Path::new(mount, parent)) else { return Ok(()) };
        let path = self.walker.namespace.topmost(path);
        self.go(path)
    }

    /// Goes to the child `name`; whether it is there now. It is not when that is a link that is followed.
    fn step(&mut self, name: &[u8], follow: bool) -> Result<bool, Errno> {
        let child = self.walker.child(&self.at, name)?;
        let inode = child.inode().ok_or(Errno::ENOENT)?;
        let link = follow && inode.kind() == FileType::Symlink;
        if !link && !child.is_mount_point() {
            // Most steps: the mount stays, and its count is not touched.
            self.at.go_to(child);
            return Ok(true);
        }
        let path = Path::new(Arc::clone(&self.at.mount), child).ok_or(Errno::ENOENT)?;
        let path = if path.dentry.is_mount_point() { self.walker.namespace.topmost(path) } else { path };
        if path.inode().kind() == FileType::Symlink && follow {
            self.follow(&path)?;
            return Ok(false);
        }
        self.go(path)?;
        Ok(true)
    }

    /// Follows a symbolic link: its target is walked before the rest.
    fn follow(&mut self, link: &Path) -> Result<(), Errno> {
        self.links += 1;
        let forbidden = self.walker.resolve.contains(ResolveFlags::RESOLVE_NO_SYMLINKS);
        if self.links > MOST_LINKS || forbidden || link.mount.flags().contains(MountFlags::NO_SYMFOLLOW) {
            return Err(Errno::ELOOP);
        }
        touch_accessed(link, OpenFlags::empty());
        match link.inode().ops().read_link(link.inode(), self.walker.task)? {
            LinkTarget::Text(target) => self.splice(&target),
            LinkTarget::Object { path, .. } => {
                let no_magic = ResolveFlags::RESOLVE_NO_MAGICLINKS;
                if self.walker.resolve.contains(no_magic) {
                    return Err(Errno::ELOOP);
                }
                if self.is_confined() {
                    return Err(Errno::EXDEV);
                }
                self.go(path)?;
                if self.rest[self.position..].iter().all(|&byte| byte == b'/') {
                    // The object itself is the end of the walk.
                    let slash = self.position < self.rest.len();
                    self.rest = SmallVec::from_slice(if slash { b"./" } else { b"" });
                    self.position = 0;
                }
                Ok(())
            }
        }
    }

    fn is_confined(&self) -> bool {
        self.walker.resolve.intersects(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT)
    }

    /// Puts `target` in front of what is still to be walked.
    fn splice(&mut self, target: &FsStr) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut rest: SmallVec<[u8; 256]> = SmallVec::from_slice(target);
        rest.extend_from_slice(&self.rest[self.position..]);
        if target.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.rest = rest;
        self.position = 0;
        if target.first() == Some(&b'/') { self.go_to_root() } else { Ok(()) }
    }
}

/// The text of a symbolic link, as `readlink(2)` gives it.
///
/// # Errors
/// `EINVAL` for what is no link.
pub fn link_text(path: &Path, task: Option<&CurrentTask>) -> Result<FsString, Errno> {
    if path.inode().kind() != FileType::Symlink {
        return Err(Errno::EINVAL);
    }
    touch_accessed(path, OpenFlags::empty());
    Ok(match path.inode().ops().read_link(path.inode(), task)? {
        LinkTarget::Text(text) | LinkTarget::Object { text, .. } => text,
    })
}
