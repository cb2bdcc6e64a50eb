//! Telling those who watch files what happens to them: `inotify(7)`.
//!
//! What changes or uses a file tells it here, after the fact. A file system of which nothing is watched costs that one relaxed load. No
//! lock of this module is held while another is waited for.

mod dnotify;
mod inotify;
mod watches;

use std::sync::Arc;

use bartizan_abi::{FileType, InotifyMask};

pub use dnotify::DirectoryWatch;
pub use inotify::{Inotify, MAX_QUEUED_EVENTS, MAX_WATCHES};
pub(super) use watches::Watches;

use super::{AttributeChanges, Dentry, File, Filesystem, FsStr, Inode, Path};
use inotify::Event;

fn with_kind(inode: &Inode, mask: InotifyMask) -> InotifyMask {
    if inode.kind() == FileType::Directory { mask | InotifyMask::IN_ISDIR } else { mask }
}

fn is_watched(inode: &Inode) -> bool {
    !inode.filesystem().watches().is_empty()
}

fn tell(inode: &Inode, event: &Event<'_>) {
    let Some(watches) = inode.existing_extra().and_then(|extra| extra.existing_watches()) else { return };
    for watch in watches.list() {
        watch.tell(event);
    }
}

/// `mask` happened to what is at `path`, through an open file: its directory hears of it, and whoever watches it.
#[inline]
pub fn on_file(path: &Path, mask: InotifyMask) {
    if is_watched(path.inode()) {
        on_name(&path.dentry, path.inode(), mask, !path.dentry.is_linked());
    }
}

/// `mask` happened to what is at `path`: its directory hears of it, and whoever watches it.
#[inline]
pub fn on_path(path: &Path, mask: InotifyMask) {
    if is_watched(path.inode()) {
        on_name(&path.dentry, path.inode(), mask, false);
    }
}

fn on_name(dentry: &Dentry, inode: &Inode, mask: InotifyMask, unlinked: bool) {
    let mask = with_kind(inode, mask);
    if let Some(parent) = dentry.parent()
        && let Some(directory) = parent.inode()
    {
        tell(directory, &Event { mask, name: &dentry.name(), cookie: 0, unlinked });
    }
    tell(inode, &Event { mask, name: b"", cookie: 0, unlinked });
}

/// `mask` happened to `inode` itself, whatever its name.
#[inline]
pub fn on_inode(inode: &Inode, mask: InotifyMask) {
    if is_watched(inode) {
        tell(inode, &Event { mask, name: b"", cookie: 0, unlinked: false });
    }
}

/// `mask` happened to the entry `name` of `directory`, which is `inode`.
#[inline]
pub fn on_entry(directory: &Inode, name: &FsStr, inode: &Inode, mask: InotifyMask) {
    if is_watched(directory) {
        tell(directory, &Event { mask: with_kind(inode, mask), name, cookie: 0, unlinked: false });
    }
}

/// One entry has been moved.
#[derive(Debug)]
pub struct Move<'a> {
    /// From where.
    pub from: (&'a Inode, &'a FsStr),
    /// To where.
    pub to: (&'a Inode, &'a FsStr),
    /// What was moved.
    pub source: &'a Inode,
    /// What has lost its name to it.
    pub replaced: Option<&'a Inode>,
}

/// An entry has been moved; `cookie` is new.
pub fn on_move(moved: &Move<'_>, cookie: impl FnOnce() -> u32) {
    if !is_watched(moved.source) {
        return;
    }
    let cookie = cookie();
    let halves = [(moved.from, InotifyMask::IN_MOVED_FROM), (moved.to, InotifyMask::IN_MOVED_TO)];
    for ((directory, name), mask) in halves {
        tell(directory, &Event { mask: with_kind(moved.source, mask), name, cookie, unlinked: false });
    }
    if let Some(replaced) = moved.replaced {
        on_inode(replaced, with_kind(replaced, InotifyMask::IN_ATTRIB));
    }
    on_inode(moved.source, InotifyMask::IN_MOVE_SELF);
}

/// `changes` have been made to what is at `path` (`fsnotify_change`).
#[inline]
pub fn on_change(path: &Path, changes: &AttributeChanges) {
    if !is_watched(path.inode()) {
        return;
    }
    let mut mask = InotifyMask::empty();
    let times = (changes.accessed.is_some(), changes.modified.is_some());
    let attributes = changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some();
    mask.set(InotifyMask::IN_ATTRIB, attributes || times == (true, true));
    mask.set(InotifyMask::IN_MODIFY, changes.size.is_some() || times == (false, true));
    mask.set(InotifyMask::IN_ACCESS, times == (true, false));
    if !mask.is_empty() {
        on_path(path, mask);
    }
}

/// A name of `inode` is gone: those who watch it hear of it when that was the last one and nobody has it open.
#[inline]
pub fn on_name_gone(inode: &Inode) {
    if is_watched(inode) && !inode.is_open() {
        end_of(inode);
    }
}

/// `file` is being closed.
#[inline]
pub(super) fn on_close(file: &File) {
    if is_watched(file.inode()) && !file.is_path() {
        let writable = file.flags().writable();
        let mask = if writable { InotifyMask::IN_CLOSE_WRITE } else { InotifyMask::IN_CLOSE_NOWRITE };
        on_file(file.path(), mask);
    }
}

/// The last one who had `inode` open has closed it.
#[inline]
pub(super) fn on_last_close(inode: &Inode) {
    if is_watched(inode) {
        end_of(inode);
    }
}

/// Tells of the end of an inode that has no name any more.
fn end_of(inode: &Inode) {
    if inode.attributes().is_ok_and(|attributes| attributes.links > 0) {
        return;
    }
    on_inode(inode, InotifyMask::IN_DELETE_SELF);
    end_watches(inode.existing_extra().and_then(|extra| extra.existing_watches()));
}

fn end_watches(watches: Option<&Watches>) {
    for watch in watches.into_iter().flat_map(|watches| watches.list()) {
        watch.end();
    }
}

/// File systems are mounted nowhere any more.
pub(super) fn on_unmount(filesystems: &[Arc<Filesystem>]) {
    for watch in filesystems.iter().flat_map(|filesystem| filesystem.watches().list()) {
        let event = Event { mask: InotifyMask::IN_UNMOUNT, name: b"", cookie: 0, unlinked: false };
        watch.tell(&event);
        watch.end();
    }
}
