//! The root of `/proc`: files of the sandbox, a directory for each process, `self` and `thread-self`.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::kernel::{CurrentTask, Kernel};
use bartizan_sentry::vfs::{
    Attributes, DirectorySink, FileOps, FsStr, Inode, InodeOps, LinkTarget, NewNode, OpenRequest,
};

use super::options::{Hiding, ProcMount};
use super::process::{Subject, processes};
use super::task::{self, TaskDirectory};
use super::{ROOT, TASK_SPAN, TASKS};
use crate::pseudo::{Entries, OpenListing, PseudoLink, StaticDirectory, Tree};

/// Positions in a listing from which on there are processes: this plus the number. Below are the other entries.
const FIRST_PROCESS: u64 = 256;
/// How many processes are collected at a time.
const BATCH: usize = 64;

/// The root directory.
#[derive(Debug)]
pub struct Root {
    tree: Arc<Tree>,
    kernel: Weak<Kernel>,
    mount: Arc<ProcMount>,
    files: Arc<StaticDirectory>,
    links: [(Cow<'static, str>, Arc<Inode>); 2],
}

impl Root {
    /// The root of `tree` with `files`, which shows processes as `mount` says.
    pub fn new(
        tree: &Arc<Tree>,
        kernel: &Arc<Kernel>,
        mount: Arc<ProcMount>,
        files: StaticDirectory,
    ) -> Self {
        let link = |target: fn(&CurrentTask) -> String| {
            let attributes = tree.attributes(FileType::Symlink, 0o777);
            let link = PseudoLink::new(attributes, move |reader: Option<&CurrentTask>| {
                // Nobody of the sandbox asks: there is no process to lead to.
                let reader = reader.ok_or(Errno::ENOENT)?;
                Ok(LinkTarget::Text(target(reader).into_bytes()))
            });
            tree.inode(tree.next_number(), FileType::Symlink, link)
        };
        let links = [
            ("self".into(), link(|reader| reader.group().pid().to_string())),
            ("thread-self".into(), link(|reader| format!("{}/task/{}", reader.group().pid(), reader.tid()))),
        ];
        Self { tree: Arc::clone(tree), kernel: Arc::downgrade(kernel), mount, files: Arc::new(files), links }
    }

    fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ENOENT)
    }
}

/// The number that `name` is, written as the kernel writes it.
pub fn parse_number(name: &FsStr) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// The first inode number of task `tid`.
pub fn first_number(tid: i32) -> u64 {
    TASKS + u64::from(tid.unsigned_abs()) * TASK_SPAN
}

impl InodeOps for Root {
    /// As Linux, whose trees of generated files have no such operation.
    fn create(&self, _directory: &Arc<Inode>, _name: &FsStr, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn make_directory(
        &self,
        _directory: &Arc<Inode>,
        _name: &FsStr,
        _node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let mut attributes = self.tree.attributes(FileType::Directory, 0o555);
        attributes.links += 1;
        Ok(attributes)
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = RootEntries {
            kernel: Weak::clone(&self.kernel),
            mount: Arc::clone(&self.mount),
            files: Arc::clone(&self.files),
            links: self.links.clone(),
        };
        Ok(Box::new(OpenListing { number: ROOT, parent: ROOT, entries }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        if let Some(pid) = parse_number(name) {
            let subject = Subject::process(&self.kernel()?, pid)?;
            return Ok(task::directory(&self.tree, subject, ROOT, Some(&self.mount)));
        }
        let link = self.links.iter().find(|(known, _)| known.as_bytes() == name);
        link.map_or_else(|| self.files.find(name), |(_, inode)| Ok(Arc::clone(inode)))
    }

    /// Processes come and go; everything else stays.
    fn revalidate(&self, _directory: &Arc<Inode>, name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        match child.and_then(|child| child.downcast::<TaskDirectory>()) {
            Some(directory) => directory.subject().exists(),
            None => parse_number(name).is_none(),
        }
    }
}

#[derive(Debug)]
struct RootEntries {
    kernel: Weak<Kernel>,
    mount: Arc<ProcMount>,
    files: Arc<StaticDirectory>,
    links: [(Cow<'static, str>, Arc<Inode>); 2],
}

impl RootEntries {
    /// Whether `reader` finds process `pid`.
    fn shows(&self, kernel: &Arc<Kernel>, pid: i32, reader: Option<&CurrentTask>) -> bool {
        let hidden = |subject: &Subject| {
            reader.is_some_and(|reader| !self.mount.admits(reader, subject, Hiding::Invisible))
        };
        !self.mount.hides() || Subject::process(kernel, pid).is_ok_and(|subject| !hidden(&subject))
    }
}

impl Entries for RootEntries {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let mut behind = position;
        let others = self.files.entries().iter().chain(&self.links);
        for (next, (name, inode)) in (3..).zip(others) {
            if position >= next {
                continue;
            }
            if !sink.entry(name.as_bytes(), inode.number(), inode.kind(), next) {
                return Ok(behind);
            }
            behind = next;
        }
        let kernel = self.kernel.upgrade().ok_or(Errno::ENOENT)?;
        loop {
            let first = i32::try_from(behind.saturating_sub(FIRST_PROCESS)).unwrap_or(i32::MAX);
            let batch = processes(&kernel, first, BATCH);
            if batch.is_empty() {
                return Ok(behind);
            }
            for pid in batch {
                if !self.shows(&kernel, pid, sink.reader()) {
                    behind = FIRST_PROCESS + u64::from(pid.unsigned_abs()) + 1;
                    continue;
                }
                let next = FIRST_PROCESS + u64::from(pid.unsigned_abs()) + 1;
                let name = pid.to_string();
                if !sink.entry(name.as_bytes(), first_number(pid), FileType::Directory, next) {
                    return Ok(behind);
                }
                behind = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_as_the_kernel_writes_them_are_processes() {
        assert_eq!(parse_number(b"17"), Some(17));
        for name in ["", "01", "+1", "-1", "1a", "99999999999", " 1"] {
            assert_eq!(parse_number(name.as_bytes()), None, "{name}");
        }
    }
}
