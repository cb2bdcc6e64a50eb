//! `/proc/[pid]/mounts`, `mountinfo` and `mountstats` (`proc_pid_mounts(5)`, `proc_pid_mountinfo(5)`, `proc_pid_mountstats(5)`).
//!
//! An open file shows the namespace and is seen from the root that the process had when it was opened; who polls it hears of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::{Errno, PollEvents};
use bartizan_sentry::kernel::WaitQueue;
use bartizan_sentry::vfs::{DataSink, File, FileOps, MountNamespace, Path, TreeChanges};

use crate::proc::paths::{self, MountView};
use crate::proc::process::Subject;
use crate::pseudo::{Content, open_content};

/// Which of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `mounts`: source, place, type, options.
    Mounts,
    /// `mountinfo`: number, parent, device, root, place, options, propagation, type, source, options of the file system.
    MountInfo,
    /// `mountstats`: source, place, type.
    MountStats,
}

/// Opens one of the files of `subject`: `EINVAL` for a process that has ended.
pub fn open(subject: &Subject, which: Which) -> Result<Box<dyn FileOps>, Errno> {
    let task = subject.task().map_err(|errno| if subject.exists() { Errno::EINVAL } else { errno })?;
    let fs = task.fs().ok_or(Errno::EINVAL)?;
    let namespace = Arc::clone(fs.namespace());
    let changes = namespace.changes();
    let seen = AtomicU64::new(changes.count());
    let shown = open_content(Arc::new(Shown { namespace, root: fs.root(), which }));
    Ok(Box::new(OpenMounts { shown, changes, seen }))
}

/// What one of the files contains.
struct Shown {
    namespace: Arc<MountNamespace>,
    root: Path,
    which: Which,
}

impl Content for Shown {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        let line = match self.which {
            Which::Mounts => write_mount,
            Which::MountInfo => write_mountinfo,
            Which::MountStats => write_mountstats,
        };
        let mut text = Vec::new();
        paths::mounts_of(&self.namespace, &self.root).iter().for_each(|mount| line(&mut text, mount));
        Ok(text)
    }
}

/// One of the files, open.
#[derive(Debug)]
struct OpenMounts {
    shown: Box<dyn FileOps>,
    changes: Arc<TreeChanges>,
    /// How many changes who polls has heard of.
    seen: AtomicU64,
}

impl FileOps for OpenMounts {
    fn read(&self, file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.shown.read(file, sink, offset)
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let count = self.changes.count();
        let ready = PollEvents::POLLIN | PollEvents::POLLRDNORM;
        if self.seen.swap(count, Ordering::AcqRel) == count {
            ready
        } else {
            ready | PollEvents::POLLERR | PollEvents::POLLPRI
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.changes.queue())
    }
}

fn write_mount(text: &mut Vec<u8>, mount: &MountView) {
    write_source(text, mount);
    text.push(b' ');
    escape(text, &mount.place);
    let options = join(&mount.flags, &mount.options);
    text.extend_from_slice(format!(" {} {options} 0 0\n", mount.type_name).as_bytes());
}

fn write_mountinfo(text: &mut Vec<u8>, mount: &MountView) {
    text.extend_from_slice(format!("{} {} {} ", mount.number, mount.parent, mount.device).as_bytes());
    escape(text, &mount.root);
    text.push(b' ');
    escape(text, &mount.place);
    let (flags, propagation) = (&mount.flags, &mount.propagation);
    text.extend_from_slice(format!(" {flags}{propagation} - {} ", mount.type_name).as_bytes());
    write_source(text, mount);
    let access = if mount.filesystem_read_only { "ro" } else { "rw" };
    text.extend_from_slice(format!(" {}\n", join(access, &mount.options)).as_bytes());
}

fn write_mountstats(text: &mut Vec<u8>, mount: &MountView) {
    text.extend_from_slice(b"device ");
    write_source(text, mount);
    text.extend_from_slice(b" mounted on ");
    escape(text, &mount.place);
    text.extend_from_slice(format!(" with fstype {}\n", mount.type_name).as_bytes());
}

/// Appends what `mount` was mounted from: its type if that is not known.
fn write_source(text: &mut Vec<u8>, mount: &MountView) {
    escape(text, if mount.source.is_empty() { mount.type_name.as_bytes() } else { &mount.source });
}

fn join(flags: &str, options: &str) -> String {
    if options.is_empty() { flags.to_owned() } else { format!("{flags},{options}") }
}

/// Appends a path with its blanks in octal, so that fields can be told apart.
fn escape(text: &mut Vec<u8>, path: &[u8]) {
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_paths_are_octal() {
        let mut text = Vec::new();
        escape(&mut text, b"/a b\\c\n");
        assert_eq!(text, b"/a\\040b\\134c\\012");
    }
}
