//! Signals about directories: `F_NOTIFY` of `fcntl(2)`.

use std::sync::{Arc, Weak};

use bartizan_abi::{DirectoryNotifyFlags, Errno, FileType, InotifyMask};

use super::inotify::Event;
use super::watches::Listener;
use crate::kernel::AsyncSignals;
use crate::sync::{LockClass, Mutex};
use crate::vfs::{File, Inode};

/// A directory of whose entries an open file description's owner is told.
#[derive(Debug)]
pub struct DirectoryWatch {
    inode: Arc<Inode>,
    signals: Weak<AsyncSignals>,
    /// Class `Notify`; not held while the signal is sent.
    wanted: Mutex<Wanted>,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    flags: DirectoryNotifyFlags,
    /// By which number the owner knows the directory.
    fd: i32,
}

impl DirectoryWatch {
    /// Watches the directory that `file` was opened on for `flags`, to be told by `signals`.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn new(
        file: &File,
        signals: Weak<AsyncSignals>,
        fd: i32,
        flags: DirectoryNotifyFlags,
    ) -> Result<Arc<Self>, Errno> {
        let inode = Arc::clone(file.inode());
        if inode.kind() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let wanted = Mutex::new(LockClass::Notify, Wanted { flags, fd });
        let watch = Arc::new(Self { inode, signals, wanted });
        for watches in [watch.inode.extra().watches(), watch.inode.filesystem().watches()] {
            let weak = Arc::downgrade(&watch);
            watches.add(weak);
        }
        Ok(watch)
    }

    /// Watches for `flags` as well, by the number `fd`.
    pub fn add(&self, fd: i32, flags: DirectoryNotifyFlags) {
        let mut wanted = self.wanted.lock();
        *wanted = Wanted { flags: wanted.flags | flags, fd };
    }
}

impl Drop for DirectoryWatch {
    fn drop(&mut self) {
        let address = std::ptr::from_ref(self).addr();
        self.inode.extra().watches().remove(address);
        self.inode.filesystem().watches().remove(address);
    }
}

impl Listener for DirectoryWatch {
    fn tell(&self, event: &Event<'_>) {
        let fd = {
            let mut wanted = self.wanted.lock();
            if !events_of(wanted.flags).intersects(event.mask) {
                return;
            }
            if !wanted.flags.contains(DirectoryNotifyFlags::DN_MULTISHOT) {
                wanted.flags = DirectoryNotifyFlags::empty();
            }
            wanted.fd
        };
        if let Some(signals) = self.signals.upgrade() {
            signals.tell_of_message(fd);
        }
    }

    fn end(&self) {
        self.wanted.lock().flags = DirectoryNotifyFlags::empty();
    }
}

/// What is told for flags of `F_NOTIFY`.
fn events_of(flags: DirectoryNotifyFlags) -> InotifyMask {
    use DirectoryNotifyFlags as Flags;
    let pairs = [
        (Flags::DN_ACCESS, InotifyMask::IN_ACCESS),
        (Flags::DN_MODIFY, InotifyMask::IN_MODIFY),
        (Flags::DN_CREATE, InotifyMask::IN_CREATE | InotifyMask::IN_MOVED_TO),
        (Flags::DN_DELETE, InotifyMask::IN_DELETE | InotifyMask::IN_MOVED_FROM),
        (Flags::DN_RENAME, InotifyMask::IN_MOVED_FROM | InotifyMask::IN_MOVED_TO),
        (Flags::DN_ATTRIB, InotifyMask::IN_ATTRIB),
    ];
    pairs.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, events)| events).collect()
}
