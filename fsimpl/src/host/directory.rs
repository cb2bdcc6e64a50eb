//! Listing directories of a host tree.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{DirectorySink, File, FileOps};
use rustix::fs::{OFlags, RawDir, SeekFrom};

use super::errno;
use super::node::{Found, Node};

/// Bytes of host entries that are fetched at a time.
const BUFFER_SIZE: usize = 32 << 10;

/// An open directory. Positions are the host's.
#[derive(Debug)]
pub struct OpenDirectory {
    node: Arc<Node>,
    stream: Mutex<Stream>,
}

/// The host's side of a listing.
#[derive(Debug)]
struct Stream {
    descriptor: OwnedFd,
    /// Where the host goes on, if that is known.
    position: Option<u64>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl OpenDirectory {
    /// Opens the directory `node`.
    pub fn new(node: &Arc<Node>) -> Result<Self, Errno> {
        let descriptor = node.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stream = Stream { descriptor, position: Some(0), buffer: Vec::new() };
        Ok(Self { node: Arc::clone(node), stream: Mutex::new(LockClass::InodeData, stream) })
    }

    /// Inode number and type of an entry as the guest sees them; `None` for one that has vanished.
    fn describe(&self, name: &[u8], inode: u64, kind: rustix::fs::FileType) -> Option<(u64, FileType)> {
        match name {
            b"." => return Some((self.node.number(), FileType::Directory)),
            // The number of the directory above the root is nobody's business.
            b".." => {
                let parent = self.node.parent();
                let number = parent.map_or_else(|| self.node.number(), |parent| parent.number());
                return Some((number, FileType::Directory));
            }
            _ => {}
        }
        let device = self.node.identity().device;
        match FileType::from_mode(kind.as_raw_mode()) {
            Some(kind) => Some((self.node.host().inode_number(device, inode), kind)),
            None => {
                let found = Found::at(&*self.node.descriptor().ok()?, name).ok()?;
                let identity = found.identity;
                Some((self.node.host().inode_number(identity.device, identity.inode), found.attributes.kind))
            }
        }
    }

    /// Gives the entries from position `offset` on to `sink`.
    pub fn list(&self, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        let mut stream = self.stream.lock();
        let stream = &mut *stream;
        if stream.position != Some(offset) {
            rustix::fs::seek(&stream.descriptor, SeekFrom::Start(offset)).map_err(errno)?;
        }
        stream.buffer.resize(BUFFER_SIZE, MaybeUninit::uninit());
        stream.position = None;
        let hidden = self.node.hidden();
        let mut position = offset;
        let mut any = false;
        let mut entries = RawDir::new(&stream.descriptor, &mut stream.buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was removed: there is nothing more in it.
                Err(rustix::io::Errno::NOENT) => break,
                Err(error) => return Err(errno(error)),
            };
            let name = entry.file_name().to_bytes();
            let next = entry.next_entry_cookie();
            let shown = !hidden || matches!(name, b"." | b"..");
            if shown && let Some((number, kind)) = self.describe(name, entry.ino(), entry.file_type()) {
                if !sink.entry(name, number, kind, next) {
                    return Ok(position);
                }
                any = true;
            }
            position = next;
            if any && entries.is_buffer_empty() {
                // Whether there are more is asked when they are wanted.
                break;
            }
        }
        stream.position = Some(position);
        Ok(position)
    }
}

impl FileOps for OpenDirectory {
    fn read_directory(&self, _file: &File, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        self.list(sink, offset)
    }
}
