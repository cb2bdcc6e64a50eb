//! Links of a task to places: `cwd`, `root`, `exe`, and to its namespaces (`proc_pid_cwd(5)`, `namespaces(7)`).

use std::sync::Arc;

use bartizan_abi::{CloneFlags, Errno, FileType};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::vfs::{
    Attributes, DirectorySink, FileOps, FsStr, Inode, InodeOps, LinkTarget, OpenRequest, Path,
};

use super::attributes;
use crate::proc::paths;
use crate::proc::process::Subject;
use crate::pseudo::{Entries, OpenListing, PseudoLink, Tree};

/// Which place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `cwd`.
    WorkingDirectory,
    /// `root`.
    Root,
    /// `exe`.
    Executable,
}

/// The inode of a link to a place of `subject`.
pub fn inode(tree: &Arc<Tree>, subject: Subject, which: Which, number: u64) -> Arc<Inode> {
    let attributes = attributes(tree, &subject, FileType::Symlink, 0o777);
    let link = PseudoLink::new(attributes, move |reader: Option<&CurrentTask>| {
        subject.check_access(reader)?;
        let task = subject.task()?;
        let root = paths::root_of(&task)?;
        let path: Path = match which {
            Which::WorkingDirectory => paths::working_directory_of(&task)?,
            Which::Root => root.clone(),
            Which::Executable => {
                let memory = task.memory().ok_or(Errno::ENOENT)?;
                memory.executable().ok_or(Errno::ENOENT)?.path().clone()
            }
        };
        let text = paths::text(&path, &root);
        Ok(LinkTarget::Object { path, text })
    });
    tree.inode(number, FileType::Symlink, link)
}

/// Names of namespaces with the flag of `clone(2)` for their kind.
const NAMESPACES: [(&str, CloneFlags); 10] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("pid_for_children", CloneFlags::CLONE_NEWPID),
    ("time", CloneFlags::CLONE_NEWTIME),
    ("time_for_children", CloneFlags::CLONE_NEWTIME),
    ("user", CloneFlags::CLONE_NEWUSER),
    ("uts", CloneFlags::CLONE_NEWUTS),
];

/// `ns`: a link for each namespace.
#[derive(Debug)]
struct Namespaces {
    tree: Arc<Tree>,
    subject: Subject,
    number: u64,
    parent: u64,
}

/// The inode of `ns`.
pub fn namespaces(tree: &Arc<Tree>, subject: Subject, number: u64, parent: u64) -> Arc<Inode> {
    let ops = Namespaces { tree: Arc::clone(tree), subject, number, parent };
    tree.inode(number, FileType::Directory, ops)
}

/// The inode number of the link with this index, behind those of the task's own entries.
fn link_number(directory: u64, index: u64) -> u64 {
    directory + 256 + index
}

impl InodeOps for Namespaces {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(attributes(&self.tree, &self.subject, FileType::Directory, 0o511))
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = NamespaceNames(self.number);
        Ok(Box::new(OpenListing { number: self.number, parent: self.parent, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let found = (0..).zip(NAMESPACES).find(|(_, (known, ..))| known.as_bytes() == name);
        let (index, (_, kind)) = found.ok_or(Errno::ENOENT)?;
        let subject = self.subject.clone();
        let attributes = attributes(&self.tree, &subject, FileType::Symlink, 0o777);
        let link = PseudoLink::new(attributes, move |reader: Option<&CurrentTask>| {
            subject.check_access(reader)?;
            let task = subject.task()?;
            let namespace = task.namespace(kind).ok_or(Errno::ENOENT)?;
            let text = namespace.text().into_bytes();
            let path = task.kernel().namespace_path(namespace).ok_or(Errno::ENOENT)?;
            Ok(LinkTarget::Object { path, text })
        });
        Ok(self.tree.inode(link_number(self.number, index), FileType::Symlink, link))
    }

    fn revalidate(&self, _directory: &Arc<Inode>, _name: &FsStr, _child: Option<&Arc<Inode>>) -> bool {
        self.subject.exists()
    }
}

/// The names of the links of the directory with this number.
#[derive(Debug)]
struct NamespaceNames(u64);

impl Entries for NamespaceNames {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let mut behind = position;
        for (index, (name, ..)) in (0..).zip(NAMESPACES) {
            let next = index + 3;
            if next <= position {
                continue;
            }
            if !sink.entry(name.as_bytes(), link_number(self.0, index), FileType::Symlink, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}
