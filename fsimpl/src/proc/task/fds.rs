//! `fd` and `fdinfo` of a task (`proc_pid_fd(5)`, `proc_pid_fdinfo(5)`).

use std::fmt::Write;
use std::sync::Arc;

use bartizan_abi::{Errno, FileMode, FileType, OpenFlags};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::vfs::{
    Attributes, DirectorySink, FdFlags, FdNumber, FdTable, File, FileOps, FsStr, Inode, InodeOps, LinkTarget,
    OpenRequest,
};

use super::attributes;
use crate::proc::paths;
use crate::proc::process::Subject;
use crate::proc::root::{first_number, parse_number};
use crate::pseudo::{Content, Entries, OpenListing, PseudoFile, PseudoLink, Tree};

/// Inode numbers of descriptors start so far behind the first one of their task, even for links, odd for `fdinfo`.
const FIRST: u64 = 4096;

/// What is shown of each descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A link to the file.
    Links,
    /// A file that tells about it.
    Information,
}

/// `fd` or `fdinfo`.
#[derive(Debug)]
struct Descriptors {
    tree: Arc<Tree>,
    subject: Subject,
    which: Which,
    number: u64,
    parent: u64,
}

/// The inode of `fd` or `fdinfo`.
pub fn directory(tree: &Arc<Tree>, subject: Subject, which: Which, number: u64, parent: u64) -> Arc<Inode> {
    let ops = Descriptors { tree: Arc::clone(tree), subject, which, number, parent };
    tree.inode(number, FileType::Directory, ops)
}

fn table(subject: &Subject) -> Result<Arc<FdTable>, Errno> {
    subject.task()?.files().ok_or(Errno::ENOENT)
}

fn find(subject: &Subject, fd: i32) -> Result<(Arc<File>, FdFlags), Errno> {
    let table = table(subject)?;
    let fd = FdNumber(fd);
    let file = table.get_any(fd).map_err(|_| Errno::ENOENT)?;
    Ok((file, table.flags(fd).map_err(|_| Errno::ENOENT)?))
}

fn inode_number(subject: &Subject, which: Which, fd: i32) -> u64 {
    first_number(subject.tid())
        + FIRST
        + 2 * u64::from(fd.unsigned_abs())
        + u64::from(which == Which::Information)
}

impl InodeOps for Descriptors {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = attributes(&self.tree, &self.subject, FileType::Directory, 0o500);
        if self.which == Which::Information {
            attributes.mode = FileMode::new(0o555);
        }
        Ok(attributes)
    }

    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        self.subject.check_access(request.task)?;
        let entries = DescriptorNames { subject: self.subject.clone(), which: self.which };
        Ok(Box::new(OpenListing { number: self.number, parent: self.parent, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let fd = parse_number(name).ok_or(Errno::ENOENT)?;
        let (file, _) = find(&self.subject, fd)?;
        let number = inode_number(&self.subject, self.which, fd);
        let subject = self.subject.clone();
        Ok(match self.which {
            Which::Links => {
                let mode = link_mode(file.flags());
                let mut attributes = attributes(&self.tree, &subject, FileType::Symlink, mode);
                attributes.size = 64;
                let link = PseudoLink::new(attributes, move |reader: Option<&CurrentTask>| {
                    subject.check_access(reader)?;
                    let root = paths::root_of(&*subject.task()?)?;
                    let (file, _) = find(&subject, fd)?;
                    let text = paths::text_of_file(&file, &root);
                    Ok(LinkTarget::Object { path: file.path().clone(), text })
                });
                self.tree.inode(number, FileType::Symlink, link)
            }
            Which::Information => {
                let attributes = attributes(&self.tree, &subject, FileType::Regular, 0o444);
                let file = PseudoFile::new(attributes, Information { subject, fd });
                self.tree.inode(number, FileType::Regular, file)
            }
        })
    }

    /// Another file may have the number now, so names are always looked up again.
    fn revalidate(&self, _directory: &Arc<Inode>, _name: &FsStr, _child: Option<&Arc<Inode>>) -> bool {
        false
    }
}

/// The permissions of a link say how the file is open.
fn link_mode(flags: OpenFlags) -> u32 {
    let read = if flags.readable() { 0o500 } else { 0 };
    let write = if flags.writable() { 0o300 } else { 0 };
    read | write
}

/// The descriptors of a task; positions are their numbers plus 3.
#[derive(Debug)]
struct DescriptorNames {
    subject: Subject,
    which: Which,
}

impl Entries for DescriptorNames {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let kind = if self.which == Which::Links { FileType::Symlink } else { FileType::Regular };
        let mut behind = position;
        for (FdNumber(fd), ..) in table(&self.subject)?.entries() {
            let next = u64::from(fd.unsigned_abs()) + 3;
            if next <= position {
                continue;
            }
            let number = inode_number(&self.subject, self.which, fd);
            if !sink.entry(fd.to_string().as_bytes(), number, kind, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}

/// What `fdinfo` tells of one descriptor.
struct Information {
    subject: Subject,
    fd: i32,
}

impl Content for Information {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        let (file, fd_flags) = find(&self.subject, self.fd)?;
        let mut flags = file.flags();
        flags.set(OpenFlags::O_CLOEXEC, fd_flags.contains(FdFlags::CLOEXEC));
        let mut text = format!("pos:\t{}\nflags:\t0{:o}\n", file.last_offset(), flags.bits());
        let _infallible =
            writeln!(text, "mnt_id:\t{}\nino:\t{}", file.path().mount.id(), file.inode().number());
        text.push_str(&file.ops().describe());
        Ok(text.into_bytes())
    }
}
