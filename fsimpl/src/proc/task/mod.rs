//! `/proc/[pid]` and `/proc/[pid]/task/[tid]` (`proc_pid(5)`).

mod fds;
mod limits;
mod links;
mod maps;
mod mem;
mod mounts;
mod network;
mod relations;
pub mod snapshot;
mod stat;
mod status;
#[cfg(test)]
pub mod tests;
mod texts;
mod users;

use std::fmt;
use std::sync::Arc;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::kernel::{Credentials, CurrentTask, IdKind, ThreadGroup, UserNamespace};
use bartizan_sentry::vfs::{
    Admission, AttributeChanges, Attributes, DirectorySink, FileOps, FsStr, Inode, InodeOps, OpenRequest,
};

use super::options::ProcMount;
use super::process::Subject;
use super::root::{first_number, parse_number};
use crate::pseudo::{Content, Entries, OpenListing, Tree, open_content};

/// How a file of a task is made.
type Generate = fn(&Subject) -> Result<Vec<u8>, Errno>;
/// How a write to a file of a task is taken, from one who opened it with these credentials.
type Store = fn(&Subject, &[u8], Option<&Credentials>) -> Result<(), Errno>;

/// What an entry of a task's directory is.
#[derive(Clone, Copy)]
enum Entry {
    /// A file that everybody may read.
    File(Generate),
    /// A file for those who may look inside the process.
    Private(Generate),
    /// As `Private`, with permission to read for everybody.
    Readable(Generate),
    /// As `File`, and it can be written.
    Writable(Generate, Store),
    /// The memory.
    Memory,
    /// The mounts.
    Mounts(mounts::Which),
    /// A link to a place.
    Link(links::Which),
    /// The descriptors, or what is told of each.
    Descriptors(fds::Which),
    /// The tasks; in directories of processes alone.
    Tasks,
    /// Namespaces.
    Namespaces,
    /// What there is of the network.
    Network,
    /// A file that everybody may read, with ids as the reader calls them.
    Seen(fn(&Subject, &UserNamespace) -> Result<Vec<u8>, Errno>),
    /// A file about the user namespace.
    Users(users::Which),
    /// A file that is in directories of tasks alone, not of processes.
    OfTask(Generate),
    /// A file that is in directories of processes alone.
    OfProcess(Generate),
}

/// The directory's entries, in the order of its listing.
const ENTRIES: &[(&str, Entry)] = &[
    ("task", Entry::Tasks),
    ("fd", Entry::Descriptors(fds::Which::Links)),
    ("fdinfo", Entry::Descriptors(fds::Which::Information)),
    ("ns", Entry::Namespaces),
    ("environ", Entry::Private(texts::environ)),
    ("auxv", Entry::Private(texts::auxv)),
    ("status", Entry::Seen(|subject, ids| subject.snapshot().map(|task| status::status(&task, ids)))),
    ("personality", Entry::Private(relations::personality)),
    ("limits", Entry::File(texts::limits)),
    ("comm", Entry::Writable(texts::comm, texts::set_comm)),
    ("cmdline", Entry::File(texts::cmdline)),
    ("stat", Entry::File(|subject| subject.snapshot().map(|task| stat::stat(&task)))),
    ("statm", Entry::File(|subject| subject.snapshot().map(|task| stat::statm(&task)))),
    ("mem", Entry::Memory),
    ("maps", Entry::Readable(texts::maps)),
    ("cwd", Entry::Link(links::Which::WorkingDirectory)),
    ("root", Entry::Link(links::Which::Root)),
    ("exe", Entry::Link(links::Which::Executable)),
    ("net", Entry::Network),
    ("mounts", Entry::Mounts(mounts::Which::Mounts)),
    ("mountinfo", Entry::Mounts(mounts::Which::MountInfo)),
    ("mountstats", Entry::Mounts(mounts::Which::MountStats)),
    ("smaps", Entry::Readable(texts::smaps)),
    ("smaps_rollup", Entry::Readable(texts::smaps_rollup)),
    // As an unprivileged process of Linux is answered.
    ("pagemap", Entry::Private(|_| Err(Errno::EPERM))),
    ("stack", Entry::Private(|_| Err(Errno::EACCES))),
    // Where a task waits is not known to others.
    ("syscall", Entry::Private(|_| Ok(b"running\n".to_vec()))),
    ("children", Entry::OfTask(relations::children)),
    ("timers", Entry::OfProcess(relations::timers)),
    ("wchan", Entry::File(|_| Ok(b"0".to_vec()))),
    ("schedstat", Entry::File(texts::schedstat)),
    ("cgroup", Entry::File(relations::cgroup)),
    ("oom_score", Entry::File(relations::oom_score)),
    ("oom_score_adj", Entry::Writable(relations::oom_score_adj, relations::set_oom_score_adj)),
    // Nobody logs in, and nothing is audited.
    ("loginuid", Entry::Writable(|_| Ok(b"4294967295".to_vec()), |_, _, _| Err(Errno::EPERM))),
    ("sessionid", Entry::File(|_| Ok(b"4294967295".to_vec()))),
    ("io", Entry::Private(texts::io)),
    ("uid_map", Entry::Users(users::Which::Map(IdKind::User))),
    ("gid_map", Entry::Users(users::Which::Map(IdKind::Group))),
    ("projid_map", Entry::File(texts::id_map)),
    ("setgroups", Entry::Users(users::Which::SetGroups)),
    ("timerslack_ns", Entry::OfProcess(relations::timer_slack)),
    ("cpuset", Entry::File(|_| Ok(b"/\n".to_vec()))),
];

impl Entry {
    fn kind(self) -> FileType {
        match self {
            Self::Link(_) => FileType::Symlink,
            Self::Descriptors(_) | Self::Tasks | Self::Namespaces | Self::Network => FileType::Directory,
            _ => FileType::Regular,
        }
    }

    fn mode(self) -> u32 {
        match self {
            Self::File(_) | Self::Readable(_) | Self::OfTask(_) | Self::OfProcess(_) => 0o444,
            Self::Private(_) | Self::Mounts(mounts::Which::MountStats) => 0o400,
            Self::Mounts(_) => 0o444,
            Self::Memory => 0o600,
            Self::Seen(_) => 0o444,
            Self::Writable(..) | Self::Users(_) => 0o644,
            Self::Link(_) => 0o777,
            Self::Descriptors(_) => 0o500,
            Self::Tasks | Self::Network => 0o555,
            Self::Namespaces => 0o511,
        }
    }
}

/// The directory of a process or task.
#[derive(Debug)]
pub struct TaskDirectory {
    tree: Arc<Tree>,
    subject: Subject,
    number: u64,
    parent: u64,
    /// Whom it is hidden from.
    mount: Option<Arc<ProcMount>>,
}

/// The inode of the directory of `subject`, in directory number `parent`; `mount` says whom it is hidden from.
pub fn directory(
    tree: &Arc<Tree>,
    subject: Subject,
    parent: u64,
    mount: Option<&Arc<ProcMount>>,
) -> Arc<Inode> {
    // The directories of a process and of its leader's task are two.
    let number = first_number(subject.tid()) + if subject.is_single() { 1 } else { 0 };
    let ops = TaskDirectory { tree: Arc::clone(tree), subject, number, parent, mount: mount.cloned() };
    tree.inode(number, FileType::Directory, ops)
}

/// The attributes of a file of a task: owned by who the task is.
fn attributes(tree: &Tree, subject: &Subject, kind: FileType, mode: u32) -> Attributes {
    let (uid, gid) = subject.owner();
    Attributes { uid, gid, ..tree.attributes(kind, mode) }
}

impl TaskDirectory {
    /// Whose directory it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The entries that are there: no `task` in the directory of a task.
    fn entries(&self) -> impl Iterator<Item = (u64, &'static str, Entry)> + use<> {
        let single = self.subject.is_single();
        let entries = (0..).zip(ENTRIES).map(|(index, &(name, entry))| (index, name, entry));
        entries.filter(move |(_, _, entry)| match entry {
            Entry::Tasks | Entry::OfProcess(_) | Entry::Mounts(mounts::Which::MountStats) => !single,
            Entry::OfTask(_) => single,
            _ => true,
        })
    }

    /// The inode number of entry `index`.
    fn entry_number(&self, index: u64) -> u64 {
        self.number + 2 + 2 * index
    }
}

impl InodeOps for TaskDirectory {
    fn admit(&self, task: &CurrentTask, admission: Admission) -> Result<(), Errno> {
        self.mount.as_ref().map_or(Ok(()), |mount| mount.admit(task, &self.subject, admission))
    }

    fn process(&self) -> Option<Arc<ThreadGroup>> {
        if self.subject.is_single() { None } else { self.subject.group().ok() }
    }

    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = attributes(&self.tree, &self.subject, FileType::Directory, 0o555);
        attributes.links =
            2 + self.entries().filter(|(.., entry)| entry.kind() == FileType::Directory).count() as u32;
        Ok(attributes)
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = self
            .entries()
            .map(|(index, name, entry)| (name, self.entry_number(index), entry.kind()))
            .collect();
        let entries = FixedNames { subject: self.subject.clone(), entries };
        Ok(Box::new(OpenListing { number: self.number, parent: self.parent, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        if !self.subject.exists() {
            return Err(Errno::ESRCH);
        }
        let found = self.entries().find(|(_, known, _)| known.as_bytes() == name);
        let (index, _, entry) = found.ok_or(Errno::ENOENT)?;
        let number = self.entry_number(index);
        let (tree, subject) = (&self.tree, self.subject.clone());
        Ok(match entry {
            Entry::Link(which) => links::inode(tree, subject, which, number),
            Entry::Descriptors(which) => fds::directory(tree, subject, which, number, self.number),
            Entry::Tasks => tree.inode(
                number,
                FileType::Directory,
                Tasks { tree: Arc::clone(tree), subject, number, parent: self.number },
            ),
            Entry::Namespaces => links::namespaces(tree, subject, number, self.number),
            Entry::Network => network::directory(tree, &self.subject, number, self.number),
            _ => tree.inode(number, FileType::Regular, TaskFile { tree: Arc::clone(tree), subject, entry }),
        })
    }

    fn revalidate(&self, _directory: &Arc<Inode>, _name: &FsStr, _child: Option<&Arc<Inode>>) -> bool {
        self.subject.exists()
    }
}

/// Names that are there as long as the process is.
#[derive(Debug)]
struct FixedNames {
    subject: Subject,
    entries: Vec<(&'static str, u64, FileType)>,
}

impl Entries for FixedNames {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        if !self.subject.exists() {
            return Err(Errno::ENOENT);
        }
        let mut behind = position;
        for (next, &(name, number, kind)) in (3..).zip(&self.entries).filter(|&(next, _)| next > position) {
            if !sink.entry(name.as_bytes(), number, kind, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}

/// `task`: a directory for each task of a process.
#[derive(Debug)]
struct Tasks {
    tree: Arc<Tree>,
    subject: Subject,
    number: u64,
    parent: u64,
}

impl InodeOps for Tasks {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = attributes(&self.tree, &self.subject, FileType::Directory, 0o555);
        attributes.links = 2 + self.subject.tids()?.len() as u32;
        Ok(attributes)
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = TaskNames(self.subject.clone());
        Ok(Box::new(OpenListing { number: self.number, parent: self.parent, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let tid = parse_number(name).ok_or(Errno::ENOENT)?;
        Ok(directory(&self.tree, self.subject.task_of(tid)?, self.number, None))
    }

    fn revalidate(&self, _directory: &Arc<Inode>, _name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        let directory = child.and_then(|child| child.downcast::<TaskDirectory>());
        directory.is_some_and(|directory| directory.subject().exists())
    }
}

/// The tasks of a process; positions are their numbers plus 2.
#[derive(Debug)]
struct TaskNames(Subject);

impl Entries for TaskNames {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let mut behind = position;
        for tid in self.0.tids()? {
            let next = u64::from(tid.unsigned_abs()) + 2;
            if next <= position {
                continue;
            }
            if !sink.entry(tid.to_string().as_bytes(), first_number(tid) + 1, FileType::Directory, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}

/// A file of a task.
struct TaskFile {
    tree: Arc<Tree>,
    subject: Subject,
    entry: Entry,
}

impl fmt::Debug for TaskFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskFile").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl InodeOps for TaskFile {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(attributes(&self.tree, &self.subject, FileType::Regular, self.entry.mode()))
    }

    /// Programs open with `O_TRUNC` to write; there is nothing to cut.
    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        let others = changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some();
        if others { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        if matches!(self.entry, Entry::Memory) {
            return mem::open(&self.subject, request);
        }
        if let Entry::Mounts(which) = self.entry {
            return mounts::open(&self.subject, which);
        }
        if matches!(self.entry, Entry::Private(_) | Entry::Readable(_)) {
            self.subject.check_access(request.task)?;
        }
        let opener = request.task.map(|task| task.credentials());
        if let (Entry::Users(which), Some(opener)) = (self.entry, &opener)
            && request.flags.writable()
        {
            users::check_writer(&self.subject, which, opener)?;
        }
        Ok(open_content(Arc::new(TaskContent { subject: self.subject.clone(), entry: self.entry, opener })))
    }
}

/// What a file of a task contains.
struct TaskContent {
    subject: Subject,
    entry: Entry,
    opener: Option<Arc<Credentials>>,
}

impl TaskContent {
    /// The user namespace whose names of ids are shown.
    fn reader(&self) -> UserNamespace {
        self.opener.as_ref().map(|opener| opener.user_namespace.clone()).unwrap_or_default()
    }
}

impl Content for TaskContent {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        match self.entry {
            Entry::File(generate)
            | Entry::Private(generate)
            | Entry::Readable(generate)
            | Entry::OfTask(generate)
            | Entry::OfProcess(generate)
            | Entry::Writable(generate, _) => generate(&self.subject),
            Entry::Seen(generate) => generate(&self.subject, &self.reader()),
            Entry::Users(which) => users::generate(&self.subject, which, &self.reader()),
            _ => Err(Errno::EIO),
        }
    }

    fn store(&self, data: &[u8]) -> Result<(), Errno> {
        match self.entry {
            Entry::Writable(_, store) => store(&self.subject, data, self.opener.as_deref()),
            Entry::Users(which) => {
                let host = Credentials::root();
                users::store(&self.subject, which, data, self.opener.as_deref().unwrap_or(&host))
            }
            _ => Err(Errno::EACCES),
        }
    }
}
