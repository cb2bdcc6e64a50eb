//! The pages that are in place in an address space: which page of which backing file is at which address, and how it
//! is mapped for guest code. The sentry's own access to guest memory needs nothing but this map.

use std::ops::Range;
use std::sync::Arc;

use bartizan_platform::memory::PAGE_SIZE;
use bartizan_platform::{Access, BackingFile};

use super::interval_map::{IntervalMap, Removed};

/// How large a piece is brought in at first for a fault, and at most when faults go on in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimits {
    pub first: u64,
    pub most: u64,
}

/// What stands behind a range of addresses. Each page holds one reference of `file`.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    /// Where the pages are.
    pub file: Arc<dyn BackingFile>,
    /// Offset in `file` minus address, modulo 2^64.
    pub delta: u64,
    /// What the area allows, as the processor can enforce it; kept equal to the area's.
    pub permission: Access,
    /// What a write has to do first.
    pub write: WriteRule,
    /// Whether these are frames of this address space (perhaps shared with forked ones), not a source's pages.
    pub private: bool,
    /// How it is mapped for guest code; empty if it is not.
    pub installed: Access,
}

/// What has to happen before a page may be written, the area allowing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteRule {
    /// Nothing.
    InPlace,
    /// The page is copied, or taken over when nobody else refers to it.
    CopyFirst,
    /// The source is asked for a page that can be written.
    AskSource,
}

impl PartialEq for Placement {
    fn eq(&self, other: &Self) -> bool {
        self.delta == other.delta
            && self.permission == other.permission
            && self.write == other.write
            && self.private == other.private
            && self.installed == other.installed
            && Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Placement {
    /// The offset in the file of `address`.
    pub fn offset(&self, address: u64) -> u64 {
        address.wrapping_add(self.delta)
    }

    /// The bytes of the file behind `range`.
    pub fn file_range(&self, range: &Range<u64>) -> Range<u64> {
        self.offset(range.start)..self.offset(range.start) + (range.end - range.start)
    }

    /// What can be done now without a fault.
    pub fn usable(&self) -> Access {
        match self.write {
            WriteRule::InPlace => self.permission,
            WriteRule::CopyFirst | WriteRule::AskSource => self.permission.difference(Access::WRITE),
        }
    }
}

/// Runs of faults that go on in order, so that larger and larger pieces are brought in.
#[derive(Debug, Clone, Default)]
struct Streams {
    recent: [Stream; 8],
    next: usize,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    brought_in: Range<u64>,
    window: u64,
}

impl Streams {
    /// The window for a fault at `address`, and the slot in which to note what is brought in.
    fn advance(&mut self, address: u64, limits: WindowLimits) -> (usize, u64) {
        let continued = self.recent.iter().position(|stream| {
            stream.window != 0
                && (address == stream.brought_in.end || address + PAGE_SIZE == stream.brought_in.start)
        });
        match continued {
            Some(slot) => (slot, self.recent[slot].window.saturating_mul(2).clamp(limits.first, limits.most)),
            None => {
                let slot = self.next;
                self.next = (slot + 1) % self.recent.len();
                (slot, limits.first)
            }
        }
    }
}

/// The pages of one address space.
#[derive(Debug, Default)]
pub(super) struct Pages {
    placements: IntervalMap<Placement>,
    streams: Streams,
    /// Bytes in place that belong to this address space.
    private_bytes: u64,
    /// Bytes in place that are a source's.
    source_bytes: u64,
    /// The most that both together ever were.
    peak_bytes: u64,
}

impl Pages {
    /// What is in place.
    pub fn placements(&self) -> &IntervalMap<Placement> {
        &self.placements
    }

    /// What is in place at `address`.
    #[inline]
    pub fn get(&self, address: u64) -> Option<(Range<u64>, &Placement)> {
        self.placements.get(address)
    }

    /// Puts pages in place; gives back what they replace.
    #[must_use = "the replaced pages hold references"]
    pub fn insert(&mut self, range: Range<u64>, placement: Placement) -> Removed<Placement> {
        let bytes = range.end - range.start;
        *self.count_of(placement.private) += bytes;
        let removed = self.placements.insert(range, placement);
        self.uncount(&removed);
        self.peak_bytes = self.peak_bytes.max(self.private_bytes + self.source_bytes);
        removed
    }

    /// Takes pages away.
    #[must_use = "the removed pages hold references"]
    pub fn remove(&mut self, range: Range<u64>) -> Removed<Placement> {
        let removed = self.placements.remove(range);
        self.uncount(&removed);
        removed
    }

    /// Changes how pages are used; `change` must not change what they are.
    pub fn update(&mut self, range: Range<u64>, change: impl FnMut(Range<u64>, &mut Placement)) {
        self.placements.update(range, change);
    }

    /// The window around `address` to bring in, within `bounds`: aligned to its size, and long enough for `length` from
    /// `address` on as far as the limits allow.
    pub fn window(
        &mut self,
        address: u64,
        length: u64,
        limits: WindowLimits,
        bounds: &Range<u64>,
    ) -> Range<u64> {
        let (slot, size) = self.streams.advance(address, limits);
        let start = address & !(size - 1);
        let wanted = address.saturating_add(length.min(limits.most)).next_multiple_of(PAGE_SIZE);
        let end = start.saturating_add(size).max(wanted);
        let window = start.max(bounds.start)..end.min(bounds.end);
        self.streams.recent[slot] = Stream { brought_in: window.clone(), window: size };
        window
    }

    /// Bytes in place: those of this address space, and those of sources.
    pub fn resident(&self) -> (u64, u64) {
        (self.private_bytes, self.source_bytes)
    }

    /// The most bytes that were ever in place.
    pub fn peak(&self) -> u64 {
        self.peak_bytes
    }

    fn count_of(&mut self, private: bool) -> &mut u64 {
        if private { &mut self.private_bytes } else { &mut self.source_bytes }
    }

    fn uncount(&mut self, removed: &Removed<Placement>) {
        for (range, placement) in removed {
            *self.count_of(placement.private) -= range.end - range.start;
        }
    }
}

/// Pages that were taken out of an address space. Their references are given back when this is dropped, which happens
/// when no guest code reaches them any more.
#[derive(Debug)]
pub(super) struct Released(pub Removed<Placement>);

impl Drop for Released {
    fn drop(&mut self) {
        for (range, placement) in &self.0 {
            placement.file.release(placement.file_range(range));
        }
    }
}
