//! The entries of directories.
//!
//! A directory that is in one layer alone is listed by that layer. What is seen through several is collected when a listing begins, and the
//! listing shows the directory as it was then.

use std::collections::HashSet;
use std::sync::Arc;

use bartizan_abi::{Errno, FileType, OpenFlags};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{DirectorySink, File, FileOps, FsStr, FsString, Inode};

use super::inode::{OverlayInode, of};
use super::layers::{Entry, Overlay, find, is_whiteout, open, remove};

/// An open directory of an overlay.
#[derive(Debug)]
pub struct OverlayDirectory {
    inode: Arc<Inode>,
    /// How it is being listed; taken out by who lists it.
    listing: Mutex<Option<Listing>>,
}

#[derive(Debug)]
enum Listing {
    /// By the one layer that has it.
    Layer { layer: Layer, file: Arc<File> },
    /// From what was collected.
    Merged(Vec<Item>),
}

/// Which layer an inode number is of.
#[derive(Debug, Clone, Copy)]
enum Layer {
    Upper,
    Lower(u16),
}

/// An entry.
#[derive(Debug)]
struct Item {
    name: FsString,
    number: u64,
    kind: FileType,
}

impl Layer {
    /// The number that guests see for `number` of this layer.
    fn number(self, overlay: &Overlay, number: u64) -> u64 {
        match self {
            Self::Upper => overlay.upper_number(number),
            Self::Lower(layer) => Overlay::lower_number(layer, number),
        }
    }
}

impl OverlayDirectory {
    /// The directory `inode`.
    pub fn new(inode: &Arc<Inode>) -> Self {
        Self { inode: Arc::clone(inode), listing: Mutex::new(LockClass::Table, None) }
    }

    fn begin(&self) -> Result<Listing, Errno> {
        let directory = of(&self.inode)?;
        if directory.is_merged() {
            return collect(directory).map(Listing::Merged);
        }
        let layer = match (directory.upper(), directory.lowers().first()) {
            (None, Some(lower)) => Layer::Lower(lower.layer),
            _ => Layer::Upper,
        };
        Ok(Listing::Layer {
            layer,
            file: open(directory.real()?, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY)?,
        })
    }

    fn list(&self, listing: &Listing, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        let directory = of(&self.inode)?;
        match listing {
            Listing::Layer { layer, file } => {
                let mut sink = LayerSink { directory, layer: *layer, sink };
                file.ops().read_directory(file, &mut sink, offset)
            }
            Listing::Merged(items) => {
                let mut position = offset;
                let first = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
                for item in items.get(first..).unwrap_or_default() {
                    if !sink.entry(&item.name, item.number, item.kind, position + 1) {
                        break;
                    }
                    position += 1;
                }
                Ok(position)
            }
        }
    }
}

impl FileOps for OverlayDirectory {
    fn read_directory(&self, _file: &File, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        let known = self.listing.lock().take().filter(|_| offset != 0);
        let listing = known.map_or_else(|| self.begin(), Ok)?;
        let result = self.list(&listing, sink, offset);
        let other = self.listing.lock().replace(listing);
        drop(other);
        result
    }
}

/// Passes the entries of one layer on.
struct LayerSink<'a> {
    directory: &'a OverlayInode,
    layer: Layer,
    sink: &'a mut dyn DirectorySink,
}

impl DirectorySink for LayerSink<'_> {
    fn entry(&mut self, name: &FsStr, inode: u64, kind: FileType, next_offset: u64) -> bool {
        let number = match name {
            b"." => self.directory.number(),
            b".." => self.directory.parent_number(),
            _ => self.layer.number(self.directory.overlay(), inode),
        };
        let hidden = kind == FileType::CharacterDevice
            && self.directory.real().is_ok_and(|directory| leads_nowhere(directory, name));
        hidden || self.sink.entry(name, number, kind, next_offset)
    }
}

/// Whether `name` is a whiteout in a directory of a layer, or gone.
fn leads_nowhere(directory: &Arc<Inode>, name: &FsStr) -> bool {
    !matches!(
        find(directory, name).and_then(|found| found.map_or(Ok(true), |found| is_whiteout(&found))),
        Ok(false)
    )
}

/// Takes all entries of one layer.
#[derive(Default)]
struct Collector {
    items: Vec<Item>,
}

impl DirectorySink for Collector {
    fn entry(&mut self, name: &FsStr, inode: u64, kind: FileType, _next_offset: u64) -> bool {
        if !matches!(name, b"." | b"..") {
            self.items.push(Item { name: name.to_vec(), number: inode, kind });
        }
        true
    }
}

/// All entries of a directory of a layer, but `.` and `..`.
fn entries(directory: &Arc<Inode>) -> Result<Vec<Item>, Errno> {
    let file = open(directory, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY)?;
    let mut collector = Collector::default();
    let mut position = 0;
    loop {
        let next = file.ops().read_directory(&file, &mut collector, position)?;
        if next == position {
            return Ok(collector.items);
        }
        position = next;
    }
}

/// What is seen in a directory through all its layers, `.` and `..` first.
fn collect(directory: &OverlayInode) -> Result<Vec<Item>, Errno> {
    let overlay = directory.overlay();
    let dot = |name: &[u8], number| Item { name: name.to_vec(), number, kind: FileType::Directory };
    let mut items = vec![dot(b".", directory.number()), dot(b"..", directory.parent_number())];
    let mut seen = HashSet::new();
    let upper = directory.upper().map(|upper| (Layer::Upper, upper));
    let lowers = directory.lowers().iter().map(|lower| (Layer::Lower(lower.layer), &lower.inode));
    for (layer, real) in upper.into_iter().chain(lowers) {
        for mut item in entries(real)? {
            if !seen.insert(item.name.clone()) {
                continue;
            }
            if item.kind == FileType::CharacterDevice && leads_nowhere(real, &item.name) {
                continue;
            }
            item.number = layer.number(overlay, item.number);
            items.push(item);
        }
    }
    Ok(items)
}

/// Checks that a directory of an overlay looks empty.
///
/// # Errors
/// `ENOTEMPTY`, or what a layer gives.
pub fn check_empty(inode: &Arc<Inode>) -> Result<(), Errno> {
    // `.` and `..` are always there.
    if collect(of(inode)?)?.len() > 2 { Err(Errno::ENOTEMPTY) } else { Ok(()) }
}

/// Whether a directory of a layer has entries, be they whiteouts.
///
/// # Errors
/// What the layer gives.
pub fn has_entries(directory: &Arc<Inode>) -> Result<bool, Errno> {
    Ok(!entries(directory)?.is_empty())
}

/// Removes everything in a directory of the upper layer.
///
/// # Errors
/// What the layer gives.
pub fn clear(directory: &Arc<Inode>) -> Result<(), Errno> {
    // Directories that are being cleared, the innermost last, with the name by which each is in the one before.
    let mut stack = vec![(Arc::clone(directory), FsString::new())];
    while let Some((inode, _)) = stack.last() {
        let inode = Arc::clone(inode);
        let mut deeper = None;
        for item in entries(&inode)? {
            let Some(child) = find(&inode, &item.name)? else { continue };
            if item.kind == FileType::Directory {
                deeper = Some((child, item.name));
                break;
            }
            remove(Entry { directory: &inode, name: &item.name }, &child)?;
        }
        if let Some(deeper) = deeper {
            stack.push(deeper);
            continue;
        }
        let name = stack.pop().map(|(_, name)| name).unwrap_or_default();
        if let Some((parent, _)) = stack.last() {
            remove(Entry { directory: parent, name: &name }, &inode)?;
        }
    }
    Ok(())
}
