//! `/dev/null`: nothing comes out, everything goes in (`null(4)`).

use bartizan_abi::Errno;
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, Written};

/// An open `/dev/null`.
#[derive(Debug)]
pub struct Null;

impl FileOps for Null {
    fn stays_at_start(&self) -> bool {
        true
    }

    fn read(&self, _file: &File, _sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        Ok(0)
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        Ok(swallow(source, offset))
    }
}

/// Takes all of a write without looking at it, as Linux does: bad addresses are no error.
pub fn swallow(source: &dyn DataSource, offset: u64) -> Written {
    let count = source.remaining();
    Written { count, end: offset.saturating_add(count as u64) }
}
