//! `cgroup2` (`cgroups(7)`): the control groups of the kernel as directories. All mounts show the one tree.
//!
//! Controllers are `memory` and `pids`. There is none for processors: their time is counted (`cpu.stat`), but neither limited nor weighted,
//! and so files that would claim that are absent. Nothing here keeps a group: files of one that was removed answer `ENODEV`.

mod files;

use std::sync::{Arc, Weak};

use bartizan_abi::{Errno, FileType, FsMagic};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::kernel::cgroup::Cgroup;
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, DirectorySink, FileOps, FilesystemRoot, FsStr, Inode, InodeOps, NewNode,
    OpenRequest,
};

use crate::pseudo::{Content, Entries, OpenListing, Tree, open_content};
use files::{FILES, FileKind};

/// How many inode numbers a group has: its directory and its files.
const SPAN: u64 = 256;

/// The groups of `kernel` as a file system.
///
/// # Errors
/// Never in practice.
pub fn new(kernel: &Arc<Kernel>) -> Result<FilesystemRoot, Errno> {
    let tree = Tree::new(kernel.allocate_device(), "cgroup2", FsMagic::CGROUP2, 1);
    let inode = directory(&tree, &Arc::downgrade(kernel), kernel.cgroups().root());
    Ok(FilesystemRoot { filesystem: Arc::clone(tree.filesystem()), inode })
}

fn directory(tree: &Arc<Tree>, kernel: &Weak<Kernel>, group: &Arc<Cgroup>) -> Arc<Inode> {
    let directory = GroupDirectory {
        tree: Arc::clone(tree),
        kernel: Weak::clone(kernel),
        group: Arc::downgrade(group),
        number: group.id() * SPAN,
    };
    tree.inode(directory.number, FileType::Directory, directory)
}

/// A group.
#[derive(Debug)]
struct GroupDirectory {
    tree: Arc<Tree>,
    kernel: Weak<Kernel>,
    group: Weak<Cgroup>,
    number: u64,
}

impl GroupDirectory {
    fn group(&self) -> Result<Arc<Cgroup>, Errno> {
        self.group.upgrade().filter(|group| !group.is_removed()).ok_or(Errno::ENODEV)
    }

    fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ENODEV)
    }
}

/// The files that `group` has, with their places in the table.
fn files_of(group: &Cgroup) -> impl Iterator<Item = (u64, &'static FileKind)> {
    let (is_root, controllers) = (group.parent().is_none(), group.controllers());
    let files = (1..).zip(FILES);
    files.filter(move |(_, file)| (file.in_root || !is_root) && controllers.contains(file.controllers))
}

impl InodeOps for GroupDirectory {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = self.tree.attributes(FileType::Directory, 0o755);
        let children = self.group().map_or(0, |group| group.children_names().len());
        attributes.links = attributes.links.saturating_add(u32::try_from(children).unwrap_or(u32::MAX));
        Ok(attributes)
    }

    fn create(&self, _directory: &Arc<Inode>, _name: &FsStr, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EACCES)
    }

    fn make_directory(
        &self,
        _directory: &Arc<Inode>,
        name: &FsStr,
        _node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        let group = self.kernel()?.cgroups().make(&self.group()?, name)?;
        Ok(directory(&self.tree, &self.kernel, &group))
    }

    fn remove_directory(
        &self,
        _directory: &Arc<Inode>,
        name: &FsStr,
        _target: &Arc<Inode>,
    ) -> Result<(), Errno> {
        let kernel = self.kernel()?;
        kernel.cgroups().remove(&kernel, &*self.group()?, name)
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let group = self.group()?;
        if let Some((index, kind)) = files_of(&group).find(|(_, file)| file.name.as_bytes() == name) {
            let file = GroupFile {
                tree: Arc::clone(&self.tree),
                kernel: Weak::clone(&self.kernel),
                group: Weak::clone(&self.group),
                kind,
            };
            return Ok(self.tree.inode(self.number + index, FileType::Regular, file));
        }
        let child = group.child(name).ok_or(Errno::ENOENT)?;
        Ok(directory(&self.tree, &self.kernel, &child))
    }

    /// Other mounts change the same groups, and files come and go with controllers.
    fn revalidate(&self, _directory: &Arc<Inode>, name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        let Ok(group) = self.group() else { return false };
        let file = files_of(&group).find(|(_, file)| file.name.as_bytes() == name);
        let known = match file {
            Some((index, _)) => Some(self.number + index),
            None => group.child(name).map(|child| child.id() * SPAN),
        };
        known == child.map(|child| child.number())
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let group = self.group()?;
        let parent = group.parent().map_or(self.number, |parent| parent.id() * SPAN);
        let entries = GroupEntries(Weak::clone(&self.group));
        Ok(Box::new(OpenListing { number: self.number, parent, entries }))
    }
}

/// The files of a group, then the groups in it; positions are their inode numbers, but those of files relative to the directory's.
#[derive(Debug)]
struct GroupEntries(Weak<Cgroup>);

impl Entries for GroupEntries {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let group = self.0.upgrade().ok_or(Errno::ENOENT)?;
        let files = files_of(&group).map(|(index, file)| {
            (index + 2, file.name.as_bytes().to_vec(), group.id() * SPAN + index, FileType::Regular)
        });
        let mut children = group.children_names();
        children.sort_unstable_by_key(|&(_, id)| id);
        let children =
            children.into_iter().map(|(name, id)| ((id + 1) * SPAN, name, id * SPAN, FileType::Directory));
        let mut behind = position;
        for (next, name, number, kind) in files.chain(children).filter(|&(next, ..)| next > position) {
            if !sink.entry(&name, number, kind, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}

/// A file of a group.
#[derive(Debug)]
struct GroupFile {
    tree: Arc<Tree>,
    kernel: Weak<Kernel>,
    group: Weak<Cgroup>,
    kind: &'static FileKind,
}

impl InodeOps for GroupFile {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mode = match (self.kind.generate.is_some(), self.kind.store.is_some()) {
            (true, true) => 0o644,
            (true, false) => 0o444,
            _ => 0o200,
        };
        Ok(self.tree.attributes(FileType::Regular, mode))
    }

    /// Shells open with `O_TRUNC` to write; there is nothing to cut.
    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        let others = changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some();
        if others { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(open_content(Arc::new(GroupContent {
            kernel: Weak::clone(&self.kernel),
            group: Weak::clone(&self.group),
            kind: self.kind,
            opener: request.task.map_or(0, |task| task.pid()),
        })))
    }
}

/// An open file of a group.
struct GroupContent {
    kernel: Weak<Kernel>,
    group: Weak<Cgroup>,
    kind: &'static FileKind,
    /// The process that has opened it.
    opener: i32,
}

impl GroupContent {
    fn subject(&self) -> Result<(Arc<Kernel>, Arc<Cgroup>), Errno> {
        let group = self.group.upgrade().filter(|group| !group.is_removed()).ok_or(Errno::ENODEV)?;
        Ok((self.kernel.upgrade().ok_or(Errno::ENODEV)?, group))
    }
}

impl Content for GroupContent {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        let (kernel, group) = self.subject()?;
        let generate = self.kind.generate.ok_or(Errno::EINVAL)?;
        Ok(generate(&kernel, &group).into_bytes())
    }

    fn store(&self, data: &[u8]) -> Result<(), Errno> {
        let (kernel, group) = self.subject()?;
        let store = self.kind.store.ok_or(Errno::EINVAL)?;
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?.trim();
        store(&files::Change { kernel: &kernel, group: &group, opener: self.opener }, text)
    }
}
