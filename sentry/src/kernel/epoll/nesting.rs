//! Instances that watch instances: neither in circles nor too deeply.

use std::sync::{Arc, Weak};

use bartizan_abi::Errno;

use super::{Epoll, EpollInterest, Inner};
use crate::sync::{LockClass, Mutex};
use crate::vfs::File;

/// The longest chain of instances that watch each other, beside the first.
const MOST_NESTED: usize = 4;

/// Makes sure, for one kernel, that no two instances begin to watch each other at once. Lock: class `EpollNesting`.
#[derive(Debug)]
pub struct EpollNesting(Mutex<()>);

impl Default for EpollNesting {
    fn default() -> Self {
        Self(Mutex::new(LockClass::EpollNesting, ()))
    }
}

impl EpollNesting {
    /// Has the instance `epoll`, whose file is `own_file`, begin to watch `file`, as [`Epoll::add`].
    ///
    /// # Errors
    /// `ELOOP` if instances would watch each other in a circle or in too long a chain, `EINVAL` for the instance itself; those of
    /// [`Epoll::add`].
    pub fn add(
        &self,
        (epoll, own_file): (&Epoll, &Arc<File>),
        (fd, file): (i32, &Arc<File>),
        interest: EpollInterest,
    ) -> Result<(), Errno> {
        let Some(watched) = file.downcast::<Epoll>() else { return epoll.add(fd, file, interest) };
        if Arc::ptr_eq(own_file, file) {
            return Err(Errno::EINVAL);
        }
        let _one_at_a_time = self.0.lock();
        let below = depth_below(&watched.0, &epoll.0, 0)?;
        let above = depth_above(own_file, 0)?;
        if above + 1 + below > MOST_NESTED {
            return Err(Errno::ELOOP);
        }
        epoll.0.own_file.get_or_init(|| Arc::downgrade(own_file));
        epoll.add(fd, file, interest)
    }
}

/// How long the longest chain of instances below `inner` is; `ELOOP` if `top` is among them or it is too long.
fn depth_below(inner: &Arc<Inner>, top: &Arc<Inner>, depth: usize) -> Result<usize, Errno> {
    if Arc::ptr_eq(inner, top) || depth > MOST_NESTED {
        return Err(Errno::ELOOP);
    }
    let files: Vec<Arc<File>> = {
        let entries = inner.entries.lock();
        entries.values().filter_map(|registered| registered.entry.file.upgrade()).collect()
    };
    let mut longest = 0;
    for nested in files.iter().filter_map(|file| file.downcast::<Epoll>()) {
        longest = longest.max(1 + depth_below(&nested.0, top, depth + 1)?);
    }
    Ok(longest)
}

/// How long the longest chain of instances that watch `file` is.
fn depth_above(file: &File, depth: usize) -> Result<usize, Errno> {
    if depth > MOST_NESTED {
        return Err(Errno::ELOOP);
    }
    let mut longest = 0;
    for watcher in file.watchers().list() {
        let Some(own_file) = watcher.own_file.get().and_then(Weak::upgrade) else { continue };
        longest = longest.max(1 + depth_above(&own_file, depth + 1)?);
    }
    Ok(longest)
}
