//! Regular files.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::{
    DeviceNumber, Errno, FallocateFlags, FileMode, FileType, OpenFlags, SealFlags, XattrFlags,
};
use bartizan_platform::memory::BackingFile;
use bartizan_sentry::mm::PageSource;
use bartizan_sentry::sync::{LockClass, RwLock};
use bartizan_sentry::vfs::acl::{Acl, AclKind};
use bartizan_sentry::vfs::{
    AccessRule, AttributeChanges, Attributes, DataSink, DataSource, File, FileOps, FsStr, FsString, Inode,
    InodeOps, NewNode, OpenRequest, SeekSpecial, Written, seek_by_size,
};

use super::filesystem::Tmpfs;
use super::node::Node;
use super::pages::{MAX_SIZE, Pages, Readable};
use super::special::xattr_operations;

/// A regular file.
#[derive(Debug)]
pub struct Regular {
    node: Node,
    pages: Arc<Pages>,
    /// Shared by reads; exclusive for writes, truncation, punching and sealing.
    data: RwLock<()>,
}

impl Regular {
    /// An empty file with `links` hard links.
    pub fn new(
        tmpfs: &Arc<Tmpfs>,
        device: DeviceNumber,
        node: &NewNode,
        links: u32,
        seals: SealFlags,
    ) -> Result<Self, Errno> {
        let node = Node::new(tmpfs, FileType::Regular, node, links)?;
        let pages = Arc::new(Pages::new(tmpfs, (device.to_u64(), node.number()), seals));
        Ok(Self { node, pages, data: RwLock::new(LockClass::InodeData, ()) })
    }

    /// Its attributes.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The pages of its contents.
    #[cfg(test)]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Reads from `offset` into `sink`.
    pub fn read(&self, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        let _data = self.data.read();
        let end = self.pages.size().min(offset.saturating_add(sink.remaining() as u64));
        let mut position = offset;
        while position < end {
            let step = match self.pages.to_read(position, end - position) {
                Readable::Data(range) => {
                    let view = self.node.tmpfs().memory().view(range.start, length(&range))?;
                    sink.put_volatile(&view)
                }
                Readable::Zeros(count) => sink.put_zeros(count as usize),
            };
            match step {
                Ok(0) => break,
                Ok(count) => position += count as u64,
                Err(error) if position == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok((position.saturating_sub(offset)) as usize)
    }

    /// Writes at `offset`, or at the end.
    pub fn write(&self, source: &mut dyn DataSource, offset: Option<u64>) -> Result<Written, Errno> {
        let _data = self.data.write();
        let size = self.pages.size();
        let offset = offset.unwrap_or(size);
        let length = source.remaining() as u64;
        if length == 0 {
            return Ok(Written { count: 0, end: offset });
        }
        if offset >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let end = self.check_write(offset, length.min(MAX_SIZE - offset), size)?;
        let result = self.copy_in(source, offset..end);
        if let Ok(written) = &result
            && written.count > 0
        {
            self.node.touch_modified();
        }
        result
    }

    /// What seals say of a write: how far it may go.
    fn check_write(&self, offset: u64, length: u64, size: u64) -> Result<u64, Errno> {
        let seals = self.pages.seals();
        if seals.intersects(SealFlags::F_SEAL_WRITE | SealFlags::F_SEAL_FUTURE_WRITE) {
            return Err(Errno::EPERM);
        }
        let end = offset + length;
        if seals.contains(SealFlags::F_SEAL_GROW) && end > size {
            return if offset < size { Ok(size) } else { Err(Errno::EPERM) };
        }
        Ok(end)
    }

    fn copy_in(&self, source: &mut dyn DataSource, range: Range<u64>) -> Result<Written, Errno> {
        let mut position = range.start;
        let mut failure = None;
        while position < range.end && failure.is_none() {
            match self.copy_run(source, position, range.end - position) {
                Ok(0) => break,
                Ok(count) => position += count as u64,
                Err(error) => failure = Some(error),
            }
            self.pages.grow(if position > range.start { position } else { 0 });
        }
        match failure {
            Some(error) if position == range.start => Err(error),
            _ => Ok(Written { count: (position - range.start) as usize, end: position }),
        }
    }

    /// Copies into the frames that follow each other from `position` on.
    fn copy_run(&self, source: &mut dyn DataSource, position: u64, wanted: u64) -> Result<usize, Errno> {
        let range = self.pages.to_write(position, wanted)?;
        let view = self.node.tmpfs().memory().view(range.start, length(&range))?;
        source.take_volatile(&view)
    }

    fn truncate(&self, size: u64) -> Result<bool, Errno> {
        let _data = self.data.write();
        let old = self.pages.size();
        let seals = self.pages.seals();
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size < old && seals.contains(SealFlags::F_SEAL_SHRINK)
            || size > old && seals.contains(SealFlags::F_SEAL_GROW)
        {
            return Err(Errno::EPERM);
        }
        self.pages.set_size(size);
        Ok(size != old)
    }

    /// `fallocate(2)` of `range` (bytes).
    pub fn allocate(&self, mode: FallocateFlags, range: Range<u64>) -> Result<(), Errno> {
        const KNOWN: FallocateFlags =
            FallocateFlags::FALLOC_FL_KEEP_SIZE.union(FallocateFlags::FALLOC_FL_PUNCH_HOLE);
        if !KNOWN.contains(mode) {
            return Err(Errno::EOPNOTSUPP);
        }
        let _data = self.data.write();
        let seals = self.pages.seals();
        if mode.contains(FallocateFlags::FALLOC_FL_PUNCH_HOLE) {
            if seals.intersects(SealFlags::F_SEAL_WRITE | SealFlags::F_SEAL_FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            self.pages.punch(range);
            self.node.touch_modified();
            return Ok(());
        }
        if seals.contains(SealFlags::F_SEAL_GROW) && range.end > self.pages.size() {
            return Err(Errno::EPERM);
        }
        let end = range.end;
        self.pages.reserve(range)?;
        if !mode.contains(FallocateFlags::FALLOC_FL_KEEP_SIZE) && end > self.pages.size() {
            self.pages.grow(end);
            self.node.touch_modified();
        } else {
            self.node.touch_changed();
        }
        Ok(())
    }
}

/// The length of a range of the memory file; runs are at most 2 MiB.
fn length(range: &Range<u64>) -> usize {
    (range.end - range.start) as usize
}

impl InodeOps for Regular {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(self.node.attributes(self.pages.size(), self.pages.count()))
    }

    fn touch_accessed(&self, rule: AccessRule) {
        self.node.touch_accessed(rule);
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        let mut changes = *changes;
        if let Some(mode) = changes.mode
            && self.pages.seals().contains(SealFlags::F_SEAL_EXEC)
        {
            let old = self.node.attributes(0, 0).mode;
            if (old ^ mode).intersects(bartizan_abi::FileMode::S_IXUGO) {
                return Err(Errno::EPERM);
            }
        }
        if let Some(size) = changes.size
            && self.truncate(size)?
        {
            changes.modified = changes.modified.or(Some(changes.changed));
        }
        self.node.set_attributes(&changes);
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(OpenRegular { inode: Arc::clone(inode) }))
    }

    fn seals(&self, _inode: &Inode) -> Result<SealFlags, Errno> {
        Ok(self.pages.seals())
    }

    fn add_seals(&self, _inode: &Inode, seals: SealFlags) -> Result<(), Errno> {
        let _data = self.data.write();
        self.pages.add_seals(seals)
    }

    xattr_operations!();
}

/// An open regular file.
#[derive(Debug)]
struct OpenRegular {
    inode: Arc<Inode>,
}

impl OpenRegular {
    fn regular(&self) -> Result<&Regular, Errno> {
        self.inode.downcast().ok_or(Errno::EIO)
    }
}

impl FileOps for OpenRegular {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.regular()?.read(sink, offset)
    }

    fn write(&self, file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let append = file.flags().contains(OpenFlags::O_APPEND);
        self.regular()?.write(source, (!append).then_some(offset))
    }

    fn seek_special(&self, _file: &File, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
        let regular = self.regular()?;
        let size = regular.pages.size();
        if whence == SeekSpecial::End {
            return seek_by_size(size, whence, offset);
        }
        let offset = u64::try_from(offset).ok().filter(|&offset| offset < size).ok_or(Errno::ENXIO)?;
        if whence == SeekSpecial::Hole {
            return Ok(regular.pages.next_hole(offset).min(size));
        }
        regular.pages.next_data(offset).filter(|&data| data < size).ok_or(Errno::ENXIO)
    }

    fn page_source(&self, _file: &File) -> Result<Arc<dyn PageSource>, Errno> {
        Ok(Arc::clone(&self.regular()?.pages) as Arc<dyn PageSource>)
    }

    fn allocate(&self, _file: &File, mode: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.checked_add(length).filter(|&end| end <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        self.regular()?.allocate(mode, offset..end)
    }

    fn release(&self) {
        if let Ok(regular) = self.regular() {
            regular.pages.trim();
        }
    }
}
