//! Contents of regular files of a host tree.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::Access;
use bartizan_platform::memory::{BackingFile, HostFile, PAGE_SIZE};
use bartizan_sentry::mm::{MappingSet, PageError, PageRun, PageSource};
use bartizan_sentry::vfs::{DataSink, File, FileOps, SeekSpecial, seek_by_size};
use rustix::fs::SeekFrom;

use super::errno;
use super::node::Node;

/// Bytes that are read at a time, into a buffer of the kernel's: no lock of the guest's memory is held while the host reads
/// from its disk.
const READ_SIZE: usize = 64 << 10;

/// A regular file that is open on the host: once, for all who have it open or mapped.
#[derive(Debug)]
pub struct HostRegular {
    file: Arc<HostFile>,
    identity: (u64, u64),
    mappings: MappingSet,
}

impl HostRegular {
    /// The contents of `node`, which `descriptor` reads.
    pub fn new(node: &Node, descriptor: OwnedFd) -> Result<Self, Errno> {
        Ok(Self {
            file: Arc::new(HostFile::new(descriptor)?),
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
        let mut buffer = Vec::with_capacity(sink.remaining().min(READ_SIZE));
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

impl PageSource for HostRegular {
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        let size = self.size().map_err(|_| PageError::Io)?;
        if offset >= size {
            return Err(PageError::BeyondEnd);
        }
        let end = size.div_ceil(PAGE_SIZE).saturating_mul(PAGE_SIZE);
        let range = offset..offset.saturating_add(length).min(end);
        let file = Arc::clone(&self.file) as Arc<dyn BackingFile>;
        Ok(PageRun { file, range, access: Access::READ | Access::EXECUTE })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn writable(&self) -> bool {
        false
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

/// An open regular file.
#[derive(Debug)]
pub struct OpenRegular {
    contents: Arc<HostRegular>,
}

impl OpenRegular {
    /// Opens the regular file `node` for reading.
    pub fn new(node: &Arc<Node>) -> Result<Self, Errno> {
        Ok(Self { contents: node.contents()? })
    }
}

impl FileOps for OpenRegular {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.contents.read(sink, offset)
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
}
