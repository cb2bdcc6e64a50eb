//! Who waits for which record lock, so that a wait that could never end is found out (`EDEADLK` of `fcntl(2)`).
//!
//! A wait names the file and the lock that is wanted, not who holds it: that is asked anew, so that a lock given up in the
//! meantime stands in nobody's way. One lock (class `LockWaits`) is held over the entry of a wait and the search for a cycle, so of
//! those who close one exactly the last hears of it. Locks of descriptions (`F_OFD_*`) take no part, as on Linux.

use std::collections::HashSet;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::Inode;
use super::locks::{LockOwner, RecordLock};
use crate::sync::{LockClass, Mutex};

/// All waits of one kernel.
#[derive(Debug)]
pub struct LockWaits {
    waits: Mutex<Vec<Wait>>,
}

/// One task that waits.
#[derive(Debug)]
struct Wait {
    task: i32,
    inode: Arc<Inode>,
    wanted: RecordLock,
}

impl Default for LockWaits {
    fn default() -> Self {
        Self { waits: Mutex::new(LockClass::LockWaits, Vec::new()) }
    }
}

impl LockWaits {
    /// Notes that task `task` waits for `wanted` on `inode`, in place of what it waited for before.
    ///
    /// # Errors
    /// `EDEADLK` when those who hold the lock wait for its owner, through others perhaps; nothing is noted then.
    pub fn begin(&self, task: i32, inode: &Arc<Inode>, wanted: &RecordLock) -> Result<(), Errno> {
        let mut waits = self.waits.lock();
        waits.retain(|wait| wait.task != task);
        if closes_cycle(&waits, inode, wanted) {
            return Err(Errno::EDEADLK);
        }
        waits.push(Wait { task, inode: Arc::clone(inode), wanted: wanted.clone() });
        Ok(())
    }

    /// Task `task` waits no more.
    pub fn end(&self, task: i32) {
        let ended = {
            let mut waits = self.waits.lock();
            let place = waits.iter().position(|wait| wait.task == task);
            place.map(|place| waits.swap_remove(place))
        };
        // Outside of the lock: it may hold the last reference to the inode.
        drop(ended);
    }
}

/// Whether somebody who stands in the way of `wanted` waits for its owner.
fn closes_cycle(waits: &[Wait], inode: &Inode, wanted: &RecordLock) -> bool {
    let mut seen = HashSet::new();
    let mut open = holders(inode, wanted);
    while let Some(process) = open.pop() {
        if wanted.owner == LockOwner::Process(process) {
            return true;
        }
        if seen.insert(process) {
            let theirs = waits.iter().filter(|wait| wait.wanted.owner == LockOwner::Process(process));
            open.extend(theirs.flat_map(|wait| holders(&wait.inode, &wait.wanted)));
        }
    }
    false
}

/// The processes that stand in the way of `wanted`.
fn holders(inode: &Inode, wanted: &RecordLock) -> Vec<i32> {
    let owners = inode.extra().locks().holders(wanted).into_iter();
    owners
        .filter_map(|owner| match owner {
            LockOwner::Process(process) => Some(process),
            LockOwner::Description(_) => None,
        })
        .collect()
}
