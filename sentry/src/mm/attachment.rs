//! Counting the areas that show a source: System V shared memory knows how often it is attached (`shmat(2)`).

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::PAGE_SIZE;

use super::area::Area;
use super::interval_map::Removed;
use super::mappings::Mappings;
use super::{MemoryManager, UserAddr};

/// Is told how many areas show it. Called with the locks `Mappings` and `Pages` held.
pub trait Attach: Send + Sync + std::fmt::Debug {
    /// One more area shows it.
    fn attached(&self);
    /// One area less shows it.
    fn detached(&self);
    /// Process `pid` is the one that attaches or detaches.
    fn used_by(&self, pid: i32);
    /// Its size in bytes.
    fn length(&self) -> u64;
}

/// One area that shows a source which counts them; a copy is one more.
#[derive(Debug)]
pub struct Attachment(Arc<dyn Attach>);

impl Attachment {
    /// Counts one area.
    pub fn new(to: Arc<dyn Attach>) -> Self {
        to.attached();
        Self(to)
    }

    /// Whether both are of one source.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Clone for Attachment {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.detached();
    }
}

impl PartialEq for Attachment {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

fn attachment(area: &Area) -> Option<&Attachment> {
    area.source().and_then(|mapping| mapping.attachment.as_ref())
}

/// The parts of what is attached at `start`, which process `pid` uses.
fn attached_at(mappings: &Mappings, start: u64, pid: i32) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut target: Option<&Attachment> = None;
    for (range, area) in mappings.areas().overlapping(start..u64::MAX) {
        let end = target.map_or(u64::MAX, |target| start.saturating_add(target.0.length()));
        if range.start >= end {
            break;
        }
        let Some(found) = attachment(area) else { continue };
        // Parts of one attachment show what lies that far from its start.
        let at = area.source().map_or(0, |mapping| mapping.offset(range.start));
        let belongs = range.start >= start
            && range.start - start == at
            && target.is_none_or(|target| target.is_same(found));
        if belongs {
            found.0.used_by(pid);
            target = Some(found);
            parts.push(range);
        }
    }
    parts
}

impl MemoryManager {
    /// Detaches what process `pid` has attached at `address` (`shmdt(2)`).
    ///
    /// # Errors
    /// `EINVAL` if nothing is.
    pub fn detach(&self, address: UserAddr, pid: i32) -> Result<(), Errno> {
        if !address.0.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut mappings = self.mappings.write();
        let parts = attached_at(&mappings, address.0, pid);
        let mut removed = Removed::new();
        for part in &parts {
            removed.extend(self.take_away(&mut mappings, part.clone()));
        }
        drop(mappings);
        drop(removed);
        if parts.is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Detaches everything that is attached, as the end of process `pid` does.
    pub fn detach_all(&self, pid: i32) {
        let mut mappings = self.mappings.write();
        let mut parts = Vec::new();
        for (range, area) in mappings.areas().iter() {
            if let Some(found) = attachment(area) {
                found.0.used_by(pid);
                parts.push(range);
            }
        }
        let mut removed = Removed::new();
        for part in parts {
            removed.extend(self.take_away(&mut mappings, part));
        }
        drop(mappings);
        drop(removed);
    }
}
