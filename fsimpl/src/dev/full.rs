//! `/dev/full`: a disk that is full (`full(4)`).

use bartizan_abi::Errno;
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, Written};

/// An open `/dev/full`.
#[derive(Debug)]
pub struct Full;

impl FileOps for Full {
    fn stays_at_start(&self) -> bool {
        true
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        sink.put_zeros(sink.remaining())
    }

    fn write(&self, _file: &File, _source: &mut dyn DataSource, _offset: u64) -> Result<Written, Errno> {
        Err(Errno::ENOSPC)
    }
}
