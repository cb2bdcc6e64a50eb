//! Which epoll instances watch a file: so that closing it ends that.

use std::sync::{Arc, OnceLock, Weak};

use super::Inner;
use crate::sync::{LockClass, Mutex};
use crate::vfs::File;

/// The epoll instances that watch one file; part of [`File`]. Lock: class `EpollReady`.
#[derive(Debug, Default)]
pub struct Watchers(OnceLock<Box<Mutex<Vec<Weak<Inner>>>>>);

impl Watchers {
    pub(super) fn add(&self, epoll: &Arc<Inner>) {
        let list = self.0.get_or_init(|| Box::new(Mutex::new(LockClass::EpollReady, Vec::new())));
        let mut list = list.lock();
        if !list.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(epoll))) {
            list.push(Arc::downgrade(epoll));
        }
    }

    pub(super) fn remove(&self, epoll: &Arc<Inner>) {
        if let Some(list) = self.0.get() {
            list.lock().retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(epoll)));
        }
    }

    pub(super) fn list(&self) -> Vec<Arc<Inner>> {
        self.0.get().map_or_else(Vec::new, |list| list.lock().iter().filter_map(Weak::upgrade).collect())
    }

    /// `file`, which these belong to, is being closed.
    pub fn file_closed(&self, file: &File) {
        for epoll in self.list() {
            epoll.file_closed(file);
        }
    }
}
