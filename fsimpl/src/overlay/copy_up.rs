//! Bringing a file from a lower layer into the upper one before it is changed.
//!
//! The copy is made in the work directory, complete with data, attributes and times, and then renamed to its place: nobody sees half of
//! it, and a fault leaves nothing behind.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType, OpenFlags};
use bartizan_sentry::kernel::realtime;
use bartizan_sentry::vfs::acl::AclKind;
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, File, FsStr, Inode, LinkTarget, NewNode, SeekSpecial, SliceSink,
    SliceSource,
};

use super::inode::{OverlayInode, of};
use super::layers::{Entry, Overlay, open, remove, rename};

/// Bytes that are copied at a time.
const CHUNK: usize = 128 << 10;

/// How much of a file's data is copied.
#[derive(Debug, Clone, Copy)]
pub enum Contents {
    /// All of it.
    All,
    /// So many bytes: it is about to be truncated there.
    UpTo(u64),
}

impl OverlayInode {
    /// What this is in the upper layer, after it was copied there if it was not there yet, with all directories that it is in.
    ///
    /// # Errors
    /// `EROFS` without an upper layer, `ENOSPC` and what else the layers give; then nothing has changed.
    pub fn copy_up(&self, contents: Contents) -> Result<&Arc<Inode>, Errno> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        self.overlay().upper()?;
        let mut missing = Vec::new();
        let mut above = self.place();
        while let Some(place) = above {
            let directory = of(&place.parent)?;
            if directory.upper().is_some() {
                break;
            }
            above = directory.place();
            missing.push(place.parent);
        }
        for directory in missing.iter().rev() {
            of(directory)?.copy_up_here(Contents::All)?;
        }
        self.copy_up_here(contents)
    }

    /// As [`copy_up`](Self::copy_up), when the directory that it is in is in the upper layer.
    fn copy_up_here(&self, contents: Contents) -> Result<&Arc<Inode>, Errno> {
        let _copying = self.lock_copying();
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let lower = self.real()?;
        let attributes = lower.attributes()?;
        let overlay = self.overlay();
        let name = overlay.temporary_name();
        let work = Entry { directory: &overlay.upper()?.work, name: &name };
        let copy = overlay.copy(lower, &attributes, contents, work)?;
        let lower_names =
            if self.kind() == FileType::Directory { 0 } else { attributes.links.saturating_sub(1) };
        overlay.note_copy(self.number(), &copy, lower_names);
        let result = match self.place() {
            Some(place) => install(work, &copy, of(&place.parent)?, &place.name),
            // It has no name any more.
            None => remove(work, &copy),
        };
        if let Err(errno) = result {
            overlay.forget_copy(self.number(), &copy);
            // That the rest cannot be removed either is not what the caller asked about.
            let _left_for_the_next_mount = remove(work, &copy);
            return Err(errno);
        }
        self.set_upper(copy);
        self.upper().ok_or(Errno::EIO)
    }

    /// What this is in the upper layer, where it has `name` in `directory`, which is there too. A file may have been copied up by another
    /// of its names.
    ///
    /// # Errors
    /// Those of [`copy_up`](Self::copy_up).
    pub fn copy_up_name(&self, directory: &Arc<Inode>, name: &FsStr) -> Result<&Arc<Inode>, Errno> {
        let upper = self.copy_up(Contents::All)?;
        if super::layers::find(directory, name)?.is_none() {
            let _locked = directory.lock_directory();
            directory.ops().link(directory, name, upper)?;
            self.overlay().hide_lower_name(self.number());
        }
        Ok(upper)
    }
}

/// Puts `copy`, which is at `work`, into the directory `parent` of the overlay, whose times stay as they are.
fn install(work: Entry<'_>, copy: &Arc<Inode>, parent: &OverlayInode, name: &FsStr) -> Result<(), Errno> {
    let directory = parent.upper().ok_or(Errno::ESTALE)?;
    let before = directory.attributes()?;
    rename(work, copy, Entry { directory, name }, None, bartizan_abi::RenameFlags::empty())?;
    let times = AttributeChanges {
        accessed: Some(before.accessed),
        modified: Some(before.modified),
        changed: realtime(),
        ..AttributeChanges::default()
    };
    directory.ops().set_attributes(directory, &times)
}

impl Overlay {
    /// A copy of `lower` at `work`; nothing is left there after an error.
    fn copy(
        &self,
        lower: &Arc<Inode>,
        attributes: &Attributes,
        contents: Contents,
        work: Entry<'_>,
    ) -> Result<Arc<Inode>, Errno> {
        let copy = make_alike(lower, attributes, work)?;
        match self.fill(lower, attributes, contents, &copy) {
            Ok(()) => Ok(copy),
            Err(errno) => {
                let _left_for_the_next_mount = remove(work, &copy);
                Err(errno)
            }
        }
    }

    /// Copies data, extended attributes, owner, mode and times.
    fn fill(
        &self,
        lower: &Arc<Inode>,
        attributes: &Attributes,
        contents: Contents,
        copy: &Arc<Inode>,
    ) -> Result<(), Errno> {
        if attributes.kind == FileType::Regular {
            let size = match contents {
                Contents::All => attributes.size,
                Contents::UpTo(size) => size.min(attributes.size),
            };
            self.copy_data(lower, copy, size)?;
        }
        self.copy_xattrs(lower, copy)?;
        let symlink = attributes.kind == FileType::Symlink;
        let changes = AttributeChanges {
            mode: (!symlink).then_some(attributes.mode),
            uid: Some(attributes.uid),
            gid: Some(attributes.gid),
            size: None,
            accessed: Some(attributes.accessed),
            modified: Some(attributes.modified),
            changed: realtime(),
        };
        copy.ops().set_attributes(copy, &changes)
    }

    fn copy_xattrs(&self, lower: &Arc<Inode>, copy: &Arc<Inode>) -> Result<(), Errno> {
        for name in lower.ops().list_xattr(lower)? {
            if self.outer_name(name.clone()).is_none() {
                continue;
            }
            let value = lower.ops().get_xattr(lower, &name)?;
            match copy.ops().set_xattr(copy, &name, &value, bartizan_abi::XattrFlags::empty()) {
                // What decides about rights is not lost in silence.
                Err(Errno::EOPNOTSUPP) if !name.starts_with(b"security.") => {}
                result => result?,
            }
        }
        for kind in AclKind::ALL {
            match lower.ops().acl(lower, kind) {
                Ok(None) | Err(Errno::EOPNOTSUPP) => {}
                list => copy.ops().set_acl(copy, kind, list?, None)?,
            }
        }
        Ok(())
    }

    /// Copies the first `size` bytes; holes stay holes.
    fn copy_data(&self, lower: &Arc<Inode>, copy: &Arc<Inode>, size: u64) -> Result<(), Errno> {
        if size == 0 {
            return Ok(());
        }
        let (from, to) = (open(lower, OpenFlags::O_RDONLY)?, open(copy, OpenFlags::O_RDWR)?);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut position = 0;
        while position < size {
            let (start, end) = next_data(&from, position, size)?;
            position = start;
            while position < end {
                let most = usize::try_from(end - position).unwrap_or(CHUNK).min(buffer.len());
                let mut sink = SliceSink::new(&mut buffer[..most]);
                let count = from.ops().read(&from, &mut sink, position)?;
                if count == 0 {
                    // It was made shorter meanwhile.
                    position = end;
                    break;
                }
                write_all(&to, &buffer[..count], position)?;
                position += count as u64;
            }
        }
        let changes =
            AttributeChanges { size: Some(size), changed: realtime(), ..AttributeChanges::default() };
        copy.ops().set_attributes(copy, &changes)
    }
}

/// An inode at `work` of the kind of `lower`.
fn make_alike(lower: &Arc<Inode>, attributes: &Attributes, work: Entry<'_>) -> Result<Arc<Inode>, Errno> {
    let node = NewNode {
        kind: attributes.kind,
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        device: attributes.device,
        now: realtime(),
    };
    let Entry { directory, name } = work;
    let target = match attributes.kind {
        FileType::Symlink => match lower.ops().read_link(lower, None)? {
            LinkTarget::Text(text) | LinkTarget::Object { text, .. } => Some(text),
        },
        _ => None,
    };
    let _locked = directory.lock_directory();
    match (attributes.kind, target) {
        (_, Some(target)) => directory.ops().make_symlink(directory, name, &target, &node),
        (FileType::Directory, None) => directory.ops().make_directory(directory, name, &node),
        (_, None) => directory.ops().create(directory, name, &node),
    }
}

/// Where the next data of `file` from `position` on begins and ends, at most at `size`.
fn next_data(file: &Arc<File>, position: u64, size: u64) -> Result<(u64, u64), Errno> {
    let offset = i64::try_from(position).map_err(|_| Errno::EFBIG)?;
    let start = match file.ops().seek_special(file, SeekSpecial::Data, offset) {
        Ok(start) => start.min(size),
        Err(Errno::ENXIO) => return Ok((size, size)),
        // It does not tell.
        Err(_) => return Ok((position, size)),
    };
    let offset = i64::try_from(start).map_err(|_| Errno::EFBIG)?;
    let end = file.ops().seek_special(file, SeekSpecial::Hole, offset).unwrap_or(size);
    Ok((start, end.min(size)))
}

fn write_all(file: &Arc<File>, data: &[u8], mut position: u64) -> Result<(), Errno> {
    let mut rest = data;
    while !rest.is_empty() {
        let written = file.ops().write(file, &mut SliceSource::new(rest), position)?;
        if written.count == 0 {
            return Err(Errno::EIO);
        }
        rest = &rest[written.count..];
        position += written.count as u64;
    }
    Ok(())
}
