//! Who maps a file, so that pages can be taken back from all of them when it shrinks (`i_mmap`).

use std::ops::Range;
use std::sync::{Arc, Weak};

use bartizan_platform::Access;

use super::MemoryManager;
use crate::sync::{LockClass, Mutex};

/// Who maps a file. A [`PageSource`](super::PageSource) owns one and knows its mappings by it.
#[derive(Debug)]
pub struct MappingSet {
    members: Mutex<Members>,
}

/// Address spaces that map the file, or did: they are not removed before they die.
#[derive(Debug, Default)]
struct Members {
    list: Vec<Weak<MemoryManager>>,
    /// How many joined so far.
    joined: u64,
    /// At which length dead members are looked for next.
    prune_at: usize,
}

/// What becomes of the copies that private mappings have made of pages that go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateCopies {
    /// They go too: the file got shorter (`truncate`).
    Discard,
    /// They stay: a hole was made, or pages were replaced.
    Keep,
}

impl Default for MappingSet {
    fn default() -> Self {
        Self { members: Mutex::new(LockClass::MappingSet, Members::default()) }
    }
}

impl MappingSet {
    /// A set for a file that nobody maps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `mm` maps the file; to be called before it asks for pages.
    pub(super) fn join(&self, mm: &Weak<MemoryManager>) {
        let mut members = self.members.lock();
        if members.list.iter().any(|member| member.ptr_eq(mm)) {
            return;
        }
        if members.list.len() >= members.prune_at {
            members.list.retain(|member| member.strong_count() > 0);
            members.prune_at = (members.list.len() * 2).max(8);
        }
        members.list.push(mm.clone());
        members.joined += 1;
    }

    /// Takes the pages of `range` (bytes of the file, page-aligned) away from everybody who maps them, so that the next access
    /// asks the file again. To be called after the file has changed what [`pages`](super::PageSource::pages) answers, without locks
    /// from class `Mappings` on. When it returns, no guest code reaches those pages any more.
    pub fn invalidate(&self, range: Range<u64>, copies: PrivateCopies) {
        let mut seen = None;
        // Whoever forks meanwhile passes pages on only after the child has joined; so nobody is missed.
        while let Some((joined, members)) = self.members_since(seen) {
            for mm in &members {
                mm.invalidate(self, &range, copies);
            }
            seen = Some(joined);
        }
    }

    /// All living members, unless nobody has joined since `seen`.
    fn members_since(&self, seen: Option<u64>) -> Option<(u64, Vec<Arc<MemoryManager>>)> {
        let members = self.members.lock();
        (seen != Some(members.joined))
            .then(|| (members.joined, members.list.iter().filter_map(Weak::upgrade).collect()))
    }

    /// Whether anybody maps the file shared and writes to it, or may after `mprotect`; without locks from class `Mappings` on.
    pub fn has_writable(&self) -> bool {
        let members = self.members_since(None).map(|(_, members)| members).unwrap_or_default();
        members.iter().any(|mm| mm.may_write_to(self))
    }

    /// Whether anybody may map the file.
    pub fn is_empty(&self) -> bool {
        self.members.lock().list.iter().all(|member| member.strong_count() == 0)
    }
}

impl MemoryManager {
    /// Whether one of its areas shows the file of `set` in a way that it can be written through.
    fn may_write_to(&self, set: &MappingSet) -> bool {
        self.mappings.read().areas().iter().any(|(_, area)| {
            area.is_shared()
                && area.may.contains(Access::WRITE)
                && area.source().is_some_and(|mapping| std::ptr::eq(mapping.source.mappings(), set))
        })
    }
}
