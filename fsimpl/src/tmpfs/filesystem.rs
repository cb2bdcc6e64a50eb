//! One instance of tmpfs: its limits, and what is used of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bartizan_abi::{Errno, FsMagic};
use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{CachePolicy, FilesystemOps, FilesystemStatistics};

use super::Options;

/// What all inodes of an instance share.
#[derive(Debug)]
pub struct Tmpfs {
    memory: Arc<MemoryFile>,
    /// What it is that `memory` has no more: [`Errno::ENOSPC`] if that is its own.
    exhausted: Errno,
    pages: Budget,
    inodes: Budget,
    next_inode: AtomicU64,
}

/// A number of things of which some are used.
#[derive(Debug)]
struct Budget {
    /// `u64::MAX` for no limit.
    limit: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    /// `None` is the default, zero is no limit.
    fn new(limit: Option<u64>, default: u64) -> Self {
        let limit = match limit {
            None => default,
            Some(0) => u64::MAX,
            Some(limit) => limit,
        };
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether the limit may become `limit` (zero for none): not below what is used, and none where there is none.
    fn check_change(&self, limit: u64) -> Result<(), Errno> {
        let refused = limit != 0 && (self.limit() == u64::MAX || self.used() > limit);
        if refused { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn change(&self, limit: u64) {
        self.limit.store(if limit == 0 { u64::MAX } else { limit }, Ordering::Relaxed);
    }

    /// Takes as many of `count` as are left, and says how many.
    fn take(&self, count: u64) -> u64 {
        let mut taken = 0;
        let _always_ok = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            taken = count.min(self.limit().saturating_sub(used));
            used.checked_add(taken)
        });
        taken
    }

    fn give_back(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Tmpfs {
    /// An instance without inodes whose data lies in `memory`.
    pub fn new(memory: Arc<MemoryFile>, options: &Options) -> Arc<Self> {
        let half = memory.limit() / 2;
        let pages = Budget::new(options.size.map(|size| size / PAGE_SIZE), (half / PAGE_SIZE).max(1));
        let inodes = Budget::new(options.inodes, (half / PAGE_SIZE).max(16));
        Arc::new(Self { memory, exhausted: Errno::ENOMEM, pages, inodes, next_inode: AtomicU64::new(1) })
    }

    /// As [`new`](Self::new), with a `store` that nobody else uses.
    pub fn with_store(store: Arc<MemoryFile>, options: &Options) -> Arc<Self> {
        let limit = store.limit() / PAGE_SIZE;
        let pages = Budget::new(options.size.map(|size| size / PAGE_SIZE), limit);
        let inodes = Budget::new(options.inodes, limit.max(16));
        Arc::new(Self {
            memory: store,
            exhausted: Errno::ENOSPC,
            pages,
            inodes,
            next_inode: AtomicU64::new(1),
        })
    }

    /// What a file is told for which there is no memory.
    pub fn exhausted(&self) -> Errno {
        self.exhausted
    }

    /// Where the data is.
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// Counts a new inode, and gives it its number.
    ///
    /// # Errors
    /// `ENOSPC` beyond the limit.
    pub fn take_inode(&self) -> Result<u64, Errno> {
        if self.inodes.take(1) == 0 {
            return Err(Errno::ENOSPC);
        }
        Ok(self.next_inode.fetch_add(1, Ordering::Relaxed))
    }

    /// Undoes [`take_inode`](Self::take_inode).
    pub fn give_inode_back(&self) {
        self.inodes.give_back(1);
    }

    /// Counts as many of `pages` pages as the limit allows, and says how many.
    pub fn take_pages(&self, pages: u64) -> u64 {
        self.pages.take(pages)
    }

    /// Counts `pages` pages.
    ///
    /// # Errors
    /// `ENOSPC` if the limit does not allow them all.
    pub fn take_all_pages(&self, pages: u64) -> Result<(), Errno> {
        let taken = self.pages.take(pages);
        if taken < pages {
            self.pages.give_back(taken);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Undoes [`take_pages`](Self::take_pages).
    pub fn give_pages_back(&self, pages: u64) {
        self.pages.give_back(pages);
    }
}

/// The instance as the VFS sees it.
#[derive(Debug)]
pub struct TmpfsOps {
    shared: Arc<Tmpfs>,
    type_name: &'static str,
    options: Mutex<Options>,
    /// Whether it is a layer of another file system.
    layer: AtomicBool,
}

impl TmpfsOps {
    /// The instance `shared`, which was made with `options`.
    pub fn new(shared: Arc<Tmpfs>, type_name: &'static str, options: &Options) -> Self {
        Self {
            shared,
            type_name,
            options: Mutex::new(LockClass::Table, options.clone()),
            layer: AtomicBool::new(false),
        }
    }
}

impl FilesystemOps for TmpfsOps {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn cache_policy(&self) -> CachePolicy {
        if self.layer.load(Ordering::Relaxed) { CachePolicy::Revalidate } else { CachePolicy::Always }
    }

    fn keeps_acls(&self) -> bool {
        true
    }

    fn become_layer(&self) {
        self.layer.store(true, Ordering::Relaxed);
    }

    /// Without a limit all numbers are zero, as Linux has it.
    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let count = |budget: &Budget| match budget.limit() {
            u64::MAX => (0, 0),
            limit => (limit, limit.saturating_sub(budget.used())),
        };
        let (blocks, blocks_free) = count(&self.shared.pages);
        let (files, files_free) = count(&self.shared.inodes);
        Ok(FilesystemStatistics {
            magic: u64::from(FsMagic::TMPFS.0),
            block_size: PAGE_SIZE,
            blocks,
            blocks_free,
            files,
            files_free,
        })
    }

    fn options(&self) -> String {
        self.options.lock().show()
    }

    /// Limits can be changed; the root directory stays as it is.
    fn reconfigure(&self, options: &[u8]) -> Result<(), Errno> {
        let wanted = Options::parse(options, self.shared.memory.limit())?;
        let mut shown = self.options.lock();
        let pages = wanted.size.map(|size| size / PAGE_SIZE);
        pages.map_or(Ok(()), |limit| self.shared.pages.check_change(limit))?;
        wanted.inodes.map_or(Ok(()), |limit| self.shared.inodes.check_change(limit))?;
        if let Some(limit) = pages {
            self.shared.pages.change(limit);
            shown.size = wanted.size;
        }
        if let Some(limit) = wanted.inodes {
            self.shared.inodes.change(limit);
            shown.inodes = wanted.inodes;
        }
        Ok(())
    }
}
