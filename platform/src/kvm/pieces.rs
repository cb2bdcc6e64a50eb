//! What is mapped where in one address space: pieces that do not overlap, by their first address.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::files::MappedFile;
use crate::Access;

/// Something mapped.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub end: u64,
    pub file: Arc<MappedFile>,
    /// Of the first byte, in the file.
    pub offset: u64,
    pub access: Access,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: BTreeMap<u64, Piece>,
}

impl Pieces {
    /// Makes a border at `address`, if it lies inside a piece.
    fn split(&mut self, address: u64) {
        let Some((&start, piece)) = self.pieces.range_mut(..address).next_back() else { return };
        if piece.end <= address {
            return;
        }
        let behind = Piece { offset: piece.offset + (address - start), ..piece.clone() };
        piece.end = address;
        self.pieces.insert(address, behind);
    }

    /// Removes all in `range`, and returns it: files that are used no more are best dropped without a lock.
    pub(super) fn remove(&mut self, range: &Range<u64>) -> Vec<Piece> {
        self.split(range.start);
        self.split(range.end);
        let inside: Vec<u64> = self.pieces.range(range.clone()).map(|(start, _)| *start).collect();
        inside.iter().filter_map(|start| self.pieces.remove(start)).collect()
    }

    /// Adds a piece where nothing is.
    pub(super) fn insert(&mut self, start: u64, piece: Piece) {
        if let Some((&first, before)) = self.pieces.range_mut(..start).next_back()
            && before.end == start
            && before.access == piece.access
            && Arc::ptr_eq(&before.file, &piece.file)
            && before.offset + (start - first) == piece.offset
        {
            before.end = piece.end;
            return;
        }
        self.pieces.insert(start, piece);
    }

    /// Changes the access of all in `range`; false, and nothing changed, if there are holes.
    pub(super) fn protect(&mut self, range: &Range<u64>, access: Access) -> bool {
        if !self.is_covered(range) {
            return false;
        }
        self.split(range.start);
        self.split(range.end);
        for (_, piece) in self.pieces.range_mut(range.clone()) {
            piece.access = access;
        }
        true
    }

    fn is_covered(&self, range: &Range<u64>) -> bool {
        let mut address = range.start;
        while address < range.end {
            match self.find(address) {
                Some((found, _)) => address = found.end,
                None => return false,
            }
        }
        true
    }

    /// The piece that `address` is in.
    pub(super) fn find(&self, address: u64) -> Option<(Range<u64>, &Piece)> {
        let (start, piece) = self.pieces.range(..=address).next_back()?;
        (address < piece.end).then_some((*start..piece.end, piece))
    }

    /// All pieces.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, &Piece)> {
        self.pieces.iter().map(|(start, piece)| (*start..piece.end, piece))
    }
}
