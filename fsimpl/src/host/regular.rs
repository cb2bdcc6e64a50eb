//! Contents of regular files of a host tree.

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use bartizan_abi::{Errno, FallocateFlags, OpenFlags};
use bartizan_platform::Access;
use bartizan_platform::memory::{BackingFile, HostFile, PAGE_SIZE};
use bartizan_sentry::mm::{MappingSet, PageError, PageRun, PageSource, PrivateCopies};
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, SeekSpecial, Written, seek_by_size};
use rustix::fs::SeekFrom;
use rustix::io::ReadWriteFlags;

use super::errno;
use super::filesystem::Host;
use super::node::Node;

/// Bytes that are read at a time, into a buffer of the kernel's: no lock of the guest's memory is held while the host reads
/// from its disk.
const READ_SIZE: usize = 64 << 10;

/// A regular file that is open on the host: once, for all who have it open or mapped.
#[derive(Debug)]
pub struct HostRegular {
    file: Arc<HostFile>,
    /// Whether the host lets it be written.
    writable: bool,
    identity: (u64, u64),
    mappings: MappingSet,
    host: Arc<Host>,
}

impl HostRegular {
    /// The contents of `node`, which `descriptor` reads, and writes if they are `writable`.
    pub fn new(node: &Node, descriptor: OwnedFd, writable: bool) -> Result<Self, Errno> {
        Ok(Self {
            file: Arc::new(HostFile::new(descriptor)?),
            writable,
            host: Arc::clone(node.host()),
            identity: (node.host().device().to_u64(), node.number()),
            mappings: MappingSet::default(),
        })
    }

    /// The host's descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.descriptor()
    }

    /// Bytes, now.
    fn size(&self) -> Result<u64, Errno> {
        let stat = rustix::fs::fstat(self.descriptor()).map_err(errno)?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Reads from `offset` into `sink`.
    pub fn read(&self, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.host.buffers().with(|buffer| self.read_through(buffer, sink, offset))
    }

    fn read_through(
        &self,
        buffer: &mut Vec<u8>,
        sink: &mut dyn DataSink,
        offset: u64,
    ) -> Result<usize, Errno> {
        buffer.reserve_exact(READ_SIZE);
        let mut done = 0;
        loop {
            let wanted = sink.remaining().min(READ_SIZE);
            let position = offset.saturating_add(done as u64);
            if wanted == 0 || i64::try_from(position).is_err() {
                return Ok(done);
            }
            buffer.clear();
            let room = &mut buffer.spare_capacity_mut()[..wanted];
            let step = match rustix::io::pread(self.descriptor(), room, position) {
                Ok(([], _)) => return Ok(done),
                Ok((data, _)) => sink.put(data).map(|taken| (data.len(), taken)),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(errno(error)),
            };
            match step {
                Ok((count, taken)) => {
                    done += taken;
                    if taken < count || count < wanted {
                        return Ok(done);
                    }
                }
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error),
            }
        }
    }
}

impl HostRegular {
    /// Makes it `size` bytes long.
    pub fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.check_writable()?;
        let old = self.size()?;
        rustix::fs::ftruncate(self.descriptor(), size).map_err(errno)?;
        if size < old {
            // The host has taken the pages away; what private mappings have copied of them goes too.
            let start = size.div_ceil(PAGE_SIZE).saturating_mul(PAGE_SIZE);
            self.mappings.invalidate(start..!(PAGE_SIZE - 1), PrivateCopies::Discard);
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.writable { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Writes at `offset`, or at the end.
    pub fn write(&self, source: &mut dyn DataSource, offset: Option<u64>) -> Result<Written, Errno> {
        self.check_writable()?;
        let mut buffer = vec![0; source.remaining().min(READ_SIZE)];
        let mut written = Written { count: 0, end: offset.unwrap_or(0) };
        while source.remaining() > 0 {
            let step = self.write_once(source, &mut buffer, offset.map(|_| written.end));
            match step {
                Ok(Written { count: 0, .. }) => break,
                Ok(step) => written = Written { count: written.count + step.count, end: step.end },
                Err(_) if written.count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn write_once(
        &self,
        source: &mut dyn DataSource,
        buffer: &mut [u8],
        offset: Option<u64>,
    ) -> Result<Written, Errno> {
        let taken = source.take(buffer)?;
        let data = IoSlice::new(&buffer[..taken]);
        let (position, flags) = match offset {
            Some(offset) if i64::try_from(offset).is_err() => return Err(Errno::EFBIG),
            Some(offset) => (offset, ReadWriteFlags::empty()),
            None => (0, ReadWriteFlags::APPEND),
        };
        let result =
            rustix::io::retry_on_intr(|| rustix::io::pwritev2(self.descriptor(), &[data], position, flags));
        source.put_back(taken - result.unwrap_or(0));
        let count = result.map_err(errno)?;
        let end = if offset.is_some() { position.saturating_add(count as u64) } else { self.size()? };
        Ok(Written { count, end })
    }
}

impl PageSource for HostRegular {
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        let size = self.size().map_err(|_| PageError::Io)?;
        if offset >= size {
            return Err(PageError::BeyondEnd);
        }
        let end = size.div_ceil(PAGE_SIZE).saturating_mul(PAGE_SIZE);
        let range = offset..offset.saturating_add(length).min(end);
        let file = Arc::clone(&self.file) as Arc<dyn BackingFile>;
        let write = if self.writable { Access::WRITE } else { Access::empty() };
        Ok(PageRun { file, range, access: Access::READ | Access::EXECUTE | write })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

/// An open regular file.
#[derive(Debug)]
pub struct OpenRegular {
    node: Arc<Node>,
    contents: Arc<HostRegular>,
}

impl OpenRegular {
    /// Opens the regular file `node`.
    pub fn new(node: &Arc<Node>, flags: OpenFlags) -> Result<Self, Errno> {
        if flags.writable() {
            node.check_writable()?;
        }
        let contents = node.contents()?;
        if flags.writable() {
            contents.check_writable()?;
        }
        Ok(Self { node: Arc::clone(node), contents })
    }
}

impl FileOps for OpenRegular {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.contents.read(sink, offset)
    }

    fn write(&self, file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let append = file.flags().contains(OpenFlags::O_APPEND);
        let result = self.contents.write(source, (!append).then_some(offset));
        self.node.expire();
        result
    }

    /// Holes are asked of the host; its position in the shared descriptor means nothing to anybody.
    fn seek_special(&self, _file: &File, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
        let start = u64::try_from(offset).map_err(|_| Errno::ENXIO);
        let to = match whence {
            SeekSpecial::End => return seek_by_size(self.contents.size()?, whence, offset),
            SeekSpecial::Data => SeekFrom::Data(start?),
            SeekSpecial::Hole => SeekFrom::Hole(start?),
        };
        rustix::fs::seek(self.contents.descriptor(), to).map_err(errno)
    }

    fn page_source(&self, _file: &File) -> Result<Arc<dyn PageSource>, Errno> {
        Ok(Arc::clone(&self.contents) as Arc<dyn PageSource>)
    }

    fn sync(&self, _file: &File) -> Result<(), Errno> {
        rustix::fs::fsync(self.contents.descriptor()).map_err(errno)
    }

    fn allocate(&self, _file: &File, mode: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        self.contents.check_writable()?;
        let mode = rustix::fs::FallocateFlags::from_bits_retain(mode.bits());
        let result = rustix::fs::fallocate(self.contents.descriptor(), mode, offset, length).map_err(errno);
        self.node.expire();
        result
    }
}
