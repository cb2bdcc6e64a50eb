//! Working directory, root and umask.

use std::sync::Arc;

use bartizan_abi::{AtFlags, Errno, FileMode, FileType, OpenFlags, ResolveFlags};

use super::permission::May;
use super::walk::{FollowLast, Walker};
use super::{File, FsStr, MountFlags, MountNamespace, OpenHow, Path};
use crate::kernel::{Credentials, CurrentTask, UserNamespace};
use crate::sync::{LockClass, RwLock};

/// What tasks share with `CLONE_FS` (`struct fs_struct`).
#[derive(Debug)]
pub struct FsContext {
    namespace: Arc<MountNamespace>,
    /// Shared with those who are walking.
    places: RwLock<Arc<Places>>,
}

#[derive(Debug, Clone)]
struct Places {
    root: Path,
    cwd: Path,
    umask: FileMode,
}

impl FsContext {
    /// A context at the root of `namespace`; `None` if that has none.
    pub fn new(namespace: Arc<MountNamespace>) -> Option<Arc<Self>> {
        let root = namespace.root()?;
        let places = Places { cwd: root.clone(), root, umask: FileMode::new(0o022) };
        Some(Arc::new(Self { namespace, places: RwLock::new(LockClass::FsContext, Arc::new(places)) }))
    }

    /// A copy, for a child that does not share it.
    pub fn duplicate(&self) -> Arc<Self> {
        let places = Places::clone(&self.places.read());
        Arc::new(Self {
            namespace: Arc::clone(&self.namespace),
            places: RwLock::new(LockClass::FsContext, Arc::new(places)),
        })
    }

    /// A context of nobody, where nothing is.
    pub(crate) fn nowhere() -> Arc<Self> {
        let (namespace, root) = MountNamespace::empty();
        let places = Places { cwd: root.clone(), root, umask: FileMode::new(0o022) };
        Arc::new(Self { namespace, places: RwLock::new(LockClass::FsContext, Arc::new(places)) })
    }

    /// A copy in a copy of its mount namespace with the number `identity`, which belongs to `owner` (`CLONE_NEWNS`).
    ///
    /// # Errors
    /// None in practice.
    pub fn in_new_namespace(&self, identity: u32, owner: UserNamespace) -> Result<Arc<Self>, Errno> {
        let mut places = Places::clone(&self.places.read());
        let Places { root, cwd, .. } = &mut places;
        let namespace = self.namespace.duplicate(identity, owner, &mut [root, cwd])?;
        Ok(Arc::new(Self { namespace, places: RwLock::new(LockClass::FsContext, Arc::new(places)) }))
    }

    /// A context at the root of `namespace`, with the umask of this one (`setns(2)`); `None` if that has no root any more.
    pub fn in_namespace(&self, namespace: &Arc<MountNamespace>) -> Option<Arc<Self>> {
        let root = namespace.root()?;
        let places = Places { cwd: root.clone(), root, umask: self.umask() };
        let namespace = Arc::clone(namespace);
        Some(Arc::new(Self { namespace, places: RwLock::new(LockClass::FsContext, Arc::new(places)) }))
    }

    /// Whether its root is another than that of its namespace.
    pub fn is_chrooted(&self) -> bool {
        !self.namespace.root().is_some_and(|root| root.is_same(&self.root()))
    }

    /// The mounts that are seen.
    pub fn namespace(&self) -> &Arc<MountNamespace> {
        &self.namespace
    }

    /// Where absolute paths start.
    pub fn root(&self) -> Path {
        self.places.read().root.clone()
    }

    /// Where relative paths start.
    pub fn cwd(&self) -> Path {
        self.places.read().cwd.clone()
    }

    /// `chroot(2)`; the caller has checked that it is a directory and may be searched.
    pub fn set_root(&self, root: Path) {
        let old = std::mem::replace(&mut Arc::make_mut(&mut self.places.write()).root, root);
        drop(old);
    }

    /// `chdir(2)`; the caller has checked that it is a directory and may be searched.
    pub fn set_cwd(&self, cwd: Path) {
        let old = std::mem::replace(&mut Arc::make_mut(&mut self.places.write()).cwd, cwd);
        drop(old);
    }

    /// Whoever is at `old` is at `new` then (`pivot_root(2)`).
    pub fn move_places(&self, old: &Path, new: &Path) {
        let mut left = Vec::new();
        {
            let mut places = self.places.write();
            let Places { root, cwd, .. } = Arc::make_mut(&mut places);
            for place in [root, cwd] {
                if place.is_same(old) {
                    left.push(std::mem::replace(place, new.clone()));
                }
            }
        }
        drop(left);
    }

    /// The bits that new files do not get.
    pub fn umask(&self) -> FileMode {
        self.places.read().umask
    }

    /// Replaces the umask and returns the old one.
    pub fn set_umask(&self, umask: FileMode) -> FileMode {
        std::mem::replace(&mut Arc::make_mut(&mut self.places.write()).umask, umask)
    }

    /// Calls `operation` with a walker for `credentials` that starts at the working directory, or at `base`.
    pub fn with_walker<T>(
        &self,
        credentials: &Credentials,
        task: Option<&CurrentTask>,
        base: Option<&Path>,
        operation: impl FnOnce(&Walker<'_>) -> T,
    ) -> T {
        let places = Arc::clone(&self.places.read());
        operation(&Walker {
            namespace: &self.namespace,
            root: &places.root,
            base: base.unwrap_or(&places.cwd),
            credentials,
            task,
            umask: places.umask,
            resolve: ResolveFlags::empty(),
        })
    }

    /// The place that `path` leads to from the working directory.
    ///
    /// # Errors
    /// Those of `path_resolution(7)`.
    pub fn resolve(
        &self,
        credentials: &Credentials,
        path: &FsStr,
        follow: FollowLast,
    ) -> Result<Path, Errno> {
        self.with_walker(credentials, None, None, |walker| walker.resolve(path, follow))
    }

    /// Opens a program for `execve`: a regular file on a mount that allows it.
    ///
    /// # Errors
    /// Those of `execve(2)`.
    pub fn open_executable(&self, task: &CurrentTask, path: &FsStr) -> Result<Arc<File>, Errno> {
        let credentials = task.credentials();
        let found =
            self.with_walker(&credentials, Some(task), None, |walker| walker.resolve(path, FollowLast::Yes))?;
        open_program(&found, &credentials)
    }

    /// As [`open_executable`](Self::open_executable), for the host.
    ///
    /// # Errors
    /// Those of `execve(2)`.
    pub fn open_executable_as(&self, credentials: &Credentials, path: &FsStr) -> Result<Arc<File>, Errno> {
        open_program(&self.resolve(credentials, path, FollowLast::Yes)?, credentials)
    }

    /// Opens `path` from the working directory, for the host.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(&self, credentials: &Credentials, path: &FsStr, how: OpenHow) -> Result<Arc<File>, Errno> {
        let opened = self.with_walker(credentials, None, None, |walker| walker.open(path, how));
        opened.map_err(super::open::uninterrupted)
    }
}

/// Opens the program at `path`.
///
/// # Errors
/// `EACCES` for what may not be executed.
pub fn open_program(path: &Path, credentials: &Credentials) -> Result<Arc<File>, Errno> {
    if path.inode().kind() != FileType::Regular || path.mount.flags().contains(MountFlags::NO_EXEC) {
        return Err(Errno::EACCES);
    }
    path.check(credentials, May::EXECUTE)?;
    super::open::open_path(path, OpenFlags::empty(), credentials, None)
}

impl CurrentTask {
    /// The place from which a path relative to `fd` starts; `None` for the working directory.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn base_of(&self, fd: super::FdNumber, path: &FsStr) -> Result<Option<Path>, Errno> {
        if fd.0 == bartizan_abi::AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(None);
        }
        let file = self.fd_table().get_any(fd)?;
        Ok(Some(file.path().clone()))
    }

    /// Calls `operation` with a walker of this task that starts at `fd`.
    ///
    /// # Errors
    /// `EBADF`, and those of `operation`.
    pub fn walk<T, E: From<Errno>>(
        &self,
        fd: super::FdNumber,
        path: &FsStr,
        operation: impl FnOnce(&Walker<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let base = self.base_of(fd, path)?;
        let credentials = self.credentials();
        self.fs_context().with_walker(&credentials, Some(self), base.as_ref(), operation)
    }

    /// As [`walk`](Self::walk), with the restrictions of `openat2(2)`.
    ///
    /// # Errors
    /// `EBADF`, and those of `operation`.
    pub fn walk_resolving<T, E: From<Errno>>(
        &self,
        fd: super::FdNumber,
        path: &FsStr,
        resolve: ResolveFlags,
        operation: impl FnOnce(&Walker<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // Confinement makes the directory the start of absolute paths too.
        let confined = resolve.intersects(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT);
        let base = if confined && fd.0 != bartizan_abi::AT_FDCWD {
            Some(self.fd_table().get_any(fd)?.path().clone())
        } else {
            self.base_of(fd, path)?
        };
        let credentials = self.credentials();
        self.fs_context().with_walker(&credentials, Some(self), base.as_ref(), |walker| {
            operation(&Walker { resolve, ..*walker })
        })
    }

    /// The place that `path` leads to from `fd`, as `flags` (`AT_SYMLINK_NOFOLLOW`, `AT_SYMLINK_FOLLOW`, `AT_EMPTY_PATH`) say; `follow` is
    /// what is done without such flags.
    ///
    /// # Errors
    /// `EBADF`, and those of `path_resolution(7)`.
    pub fn resolve_at(
        &self,
        fd: super::FdNumber,
        path: &FsStr,
        flags: AtFlags,
        follow: FollowLast,
    ) -> Result<Path, Errno> {
        if path.is_empty() && flags.contains(AtFlags::AT_EMPTY_PATH) {
            return if fd.0 == bartizan_abi::AT_FDCWD {
                Ok(self.fs_context().cwd())
            } else {
                Ok(self.fd_table().get_any(fd)?.path().clone())
            };
        }
        let follow = if flags.contains(AtFlags::AT_SYMLINK_NOFOLLOW) {
            FollowLast::No
        } else if flags.contains(AtFlags::AT_SYMLINK_FOLLOW) {
            FollowLast::Yes
        } else {
            follow
        };
        self.walk(fd, path, |walker| walker.resolve(path, follow))
    }
}
