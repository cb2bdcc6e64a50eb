//! Open file descriptions, and what a file system has to implement for them.

use std::any::Any;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bartizan_abi::{Errno, FallocateFlags, OpenFlags, PollEvents};

use super::notify;
use super::write_count::WriteShare;
use super::{DataSink, DataSource, DirectorySink, Inode, Path};
use crate::SysResult;
use crate::kernel::epoll::Watchers;
use crate::kernel::{AsyncSignals, Credentials, CurrentTask, Kernel, WaitQueue};
use crate::mm::{PageSource, UserAddr};
use crate::sync::{LockClass, Mutex, MutexGuard};

/// What is asked of [`InodeOps::open`](super::InodeOps::open).
#[derive(Debug)]
pub struct OpenRequest<'a> {
    /// Access mode and status flags; creation flags are already done, but for `O_TRUNC`: right after it is opened, a regular file is truncated.
    pub flags: OpenFlags,
    /// Who opens.
    pub credentials: &'a Credentials,
    /// The task that opens; `None` when the host or the loader does.
    pub task: Option<&'a CurrentTask>,
    /// Under which path.
    pub path: &'a Path,
}

/// An open file description (`struct file`): shared by all descriptors that were duplicated from it.
#[derive(Debug)]
pub struct File {
    ops: Box<dyn FileOps>,
    path: Path,
    /// Access mode and status flags; the status flags change by `F_SETFL`.
    flags: AtomicU32,
    /// Position of the next read or write of a seekable file.
    offset: Mutex<u64>,
    /// The position as it was when the lock was last let go of, for those who only want to tell it.
    last_offset: AtomicU64,
    /// Epoll instances that watch it.
    watchers: Watchers,
    /// Whether it counts among those who write the inode, or forbid that.
    share: WriteShare,
    /// [`AsyncSignals`] about it, once somebody has asked for them; without its type, which leads back to files in a circle.
    signals: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl File {
    /// A description of `ops` opened with `flags` at `path`.
    pub fn new(ops: Box<dyn FileOps>, path: Path, flags: OpenFlags) -> Arc<Self> {
        path.inode().count_open();
        Arc::new(Self {
            ops,
            path,
            flags: AtomicU32::new(flags.bits()),
            offset: Mutex::new(LockClass::FileOffset, 0),
            last_offset: AtomicU64::new(0),
            watchers: Watchers::default(),
            share: WriteShare::default(),
            signals: OnceLock::new(),
        })
    }

    /// What it implements.
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }

    /// Its implementation as the type `T`.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        let ops: &dyn Any = &*self.ops;
        ops.downcast_ref()
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The inode that it was opened on.
    pub fn inode(&self) -> &Arc<Inode> {
        self.path.inode()
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Whether it only names a place (`O_PATH`).
    #[inline]
    pub fn is_path(&self) -> bool {
        self.flags().contains(OpenFlags::O_PATH)
    }

    /// A number that no other description has while this one lives.
    pub fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Replaces the status flags of `mask` (`F_SETFL`).
    pub fn set_flags(&self, flags: OpenFlags, mask: OpenFlags) {
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            Some((old & !mask.bits()) | (flags & mask).bits())
        });
    }

    /// The epoll instances that watch it.
    pub fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// What it knows of signals, if somebody has asked for any.
    pub fn existing_signals(&self) -> Option<&AsyncSignals> {
        self.signals.get().and_then(|signals| signals.downcast_ref())
    }

    /// What it knows of signals, made if there is nothing yet.
    pub fn signals(&self, kernel: &Arc<Kernel>) -> Option<&AsyncSignals> {
        self.signals.get_or_init(|| AsyncSignals::new(kernel)).downcast_ref()
    }

    /// Counts it among the writers of its inode (`get_write_access`); `ETXTBSY` while a program runs from that.
    pub(super) fn count_as_writer(&self) -> Result<(), Errno> {
        self.share.write(self.inode())?;
        self.path.mount.count_writer(1);
        Ok(())
    }

    /// Forbids writing to its inode, from which a program is started, for as long as it is open (`deny_write_access`); `ETXTBSY` while
    /// somebody writes.
    pub(super) fn forbid_writes(&self) -> Result<(), Errno> {
        self.share.forbid(self.inode())
    }

    /// Forbids writing no longer: it is loaded. That it runs is for its address space to say.
    pub fn allow_writes(&self) {
        self.share.give_up(self.inode());
    }

    /// The position, locked for a read or write that moves it.
    pub fn offset(&self) -> OffsetGuard<'_> {
        OffsetGuard { offset: self.offset.lock(), last: &self.last_offset }
    }

    /// The position after the last read or write that has ended. Takes no lock, so that it may be called while another
    /// file is read.
    pub fn last_offset(&self) -> u64 {
        self.last_offset.load(Ordering::Relaxed)
    }
}

/// The position of a file, locked.
#[derive(Debug)]
pub struct OffsetGuard<'a> {
    offset: MutexGuard<'a, u64>,
    last: &'a AtomicU64,
}

impl Deref for OffsetGuard<'_> {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.offset
    }
}

impl DerefMut for OffsetGuard<'_> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.offset
    }
}

impl Drop for OffsetGuard<'_> {
    fn drop(&mut self) {
        self.last.store(*self.offset, Ordering::Relaxed);
    }
}

impl Drop for File {
    fn drop(&mut self) {
        notify::on_close(self);
        if let Some(signals) = self.existing_signals() {
            signals.watch(self, -1, false);
        }
        if let Some(locks) = self.inode().existing_extra().and_then(|extra| extra.existing_locks()) {
            locks.release(self.identity());
        }
        super::leases::on_close(self);
        if self.share.writes() {
            self.path.mount.count_writer(-1);
        }
        self.share.give_up(self.inode());
        self.watchers.file_closed(self);
        self.ops.release();
        if self.inode().count_close() {
            notify::on_last_close(self.inode());
        }
    }
}

/// What an open file does.
///
/// Reads and writes never block: what would block returns `EAGAIN`, and [`File`] waits on [`wait_queue`](Self::wait_queue) for
/// [`poll`](Self::poll) to say that it is worth another try. Positions are absolute; streams ignore them.
pub trait FileOps: Send + Sync + Debug + Any {
    /// Whether the position means something: `lseek`, `pread` and `pwrite` work.
    fn seekable(&self) -> bool {
        true
    }

    /// Whether `lseek` leaves the position at zero, whatever is asked for (`/dev/null`).
    fn stays_at_start(&self) -> bool {
        false
    }

    /// Asked before `task` reads (`POLLIN`) or writes (`POLLOUT`) a file that is not [seekable](Self::seekable): terminals stop those in the
    /// background.
    fn check_access(&self, _task: &CurrentTask, _access: PollEvents) -> SysResult<()> {
        Ok(())
    }

    /// Until when a read that began at `started` and finds nothing waits; then [`read_expired`](Self::read_expired) is its result.
    fn read_deadline(&self, _started: Instant) -> Option<Instant> {
        None
    }

    /// What a read gets whose [deadline](Self::read_deadline) has passed.
    fn read_expired(&self, _sink: &mut dyn DataSink) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }

    /// Reads from `offset` into `sink`; zero is the end.
    fn read(&self, _file: &File, _sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes all that it can of `source` at `offset` (with `O_APPEND`, at the end) and returns how much that was and the
    /// position behind it.
    fn write(&self, _file: &File, _source: &mut dyn DataSource, _offset: u64) -> Result<Written, Errno> {
        Err(Errno::EINVAL)
    }

    /// The new position for `SEEK_END`, `SEEK_DATA` and `SEEK_HOLE`; `SEEK_SET` and `SEEK_CUR` need nothing of the file. By default
    /// the size is the end, and all of it is data.
    fn seek_special(&self, file: &File, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
        super::seek_by_size(file.inode().attributes()?.size, whence, offset)
    }

    /// Gives the entries of a directory from position `offset` on; `.` and `..` included. Returns the position behind the last entry that
    /// `sink` took.
    fn read_directory(
        &self,
        _file: &File,
        _sink: &mut dyn DirectorySink,
        _offset: u64,
    ) -> Result<u64, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// What can be done now without waiting.
    fn poll(&self, _file: &File) -> PollEvents {
        PollEvents::POLLIN | PollEvents::POLLOUT | PollEvents::POLLRDNORM | PollEvents::POLLWRNORM
    }

    /// Where changes of [`poll`](Self::poll) are told; `None` for files that are always ready (and that epoll refuses with `EPERM`).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// `ioctl(2)`, beyond those that the VFS handles for all files. `ENOTTY` by default.
    fn ioctl(&self, _file: &File, _task: &CurrentTask, _request: u32, _argument: UserAddr) -> SysResult<u64> {
        Err(Errno::ENOTTY.into())
    }

    /// What `mmap` maps; `ENODEV` by default.
    fn page_source(&self, _file: &File) -> Result<Arc<dyn PageSource>, Errno> {
        Err(Errno::ENODEV)
    }

    /// `fsync` and `fdatasync`.
    fn sync(&self, _file: &File) -> Result<(), Errno> {
        Ok(())
    }

    /// `fallocate(2)`.
    fn allocate(&self, _file: &File, _mode: FallocateFlags, _offset: u64, _length: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The description is gone: the last reference to it was given up. Takes no lock that a caller of `close` may hold.
    fn release(&self) {}

    /// What `/proc/[pid]/fdinfo` shows after `pos`, `flags`, `mnt_id` and `ino`.
    fn describe(&self) -> String {
        String::new()
    }
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How many bytes were taken.
    pub count: usize,
    /// The position behind them.
    pub end: u64,
}

/// The positions that only the file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekSpecial {
    /// Relative to the end.
    End,
    /// The next data from here.
    Data,
    /// The next hole from here.
    Hole,
}
