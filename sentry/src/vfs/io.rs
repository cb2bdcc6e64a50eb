//! Where file data goes to and comes from: the guest's memory, or a buffer of the kernel.

use bartizan_abi::Errno;
use bartizan_platform::memory::VolatileSlice;

/// Takes the data of a read. Implemented by the guest's memory ([`UserBuffers`](crate::mm::UserBuffers)) and by `Vec<u8>`-like buffers.
pub trait DataSink {
    /// How many bytes it still takes.
    fn remaining(&self) -> usize;

    /// Takes as much of `data` as fits and as can be stored; the count may be short. `EFAULT` if not one byte could be stored.
    fn put(&mut self, data: &[u8]) -> Result<usize, Errno>;

    /// As [`put`](Self::put), from memory that the guest may change meanwhile.
    fn put_volatile(&mut self, data: &VolatileSlice<'_>) -> Result<usize, Errno>;

    /// As [`put`](Self::put), for `length` zero bytes.
    fn put_zeros(&mut self, length: usize) -> Result<usize, Errno>;
}

/// Gives the data of a write.
pub trait DataSource {
    /// How many bytes it still gives.
    fn remaining(&self) -> usize;

    /// Fills as much of `buffer` as it can; the count may be short. `EFAULT` if not one byte could be loaded.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// As [`take`](Self::take), into memory that the guest may see.
    fn take_volatile(&mut self, buffer: &VolatileSlice<'_>) -> Result<usize, Errno>;

    /// Undoes the taking of the last `count` bytes: they could not be written.
    fn put_back(&mut self, count: usize);
}

/// A sink into a slice of the kernel's own.
#[derive(Debug)]
pub struct SliceSink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

impl<'a> SliceSink<'a> {
    /// A sink that fills `buffer` from its start.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, filled: 0 }
    }

    /// How many bytes came in.
    pub fn filled(&self) -> usize {
        self.filled
    }

    fn next(&mut self, length: usize) -> &mut [u8] {
        let start = self.filled;
        let end = start + length.min(self.buffer.len() - start);
        self.filled = end;
        &mut self.buffer[start..end]
    }
}

impl DataSink for SliceSink<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.filled
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let room = self.next(data.len());
        room.copy_from_slice(&data[..room.len()]);
        Ok(room.len())
    }

    fn put_volatile(&mut self, data: &VolatileSlice<'_>) -> Result<usize, Errno> {
        let room = self.next(data.len());
        let wanted = room.len();
        let copied = bartizan_platform::memory::read(data, room);
        self.filled -= wanted - copied;
        if copied == 0 && wanted > 0 { Err(Errno::EFAULT) } else { Ok(copied) }
    }

    fn put_zeros(&mut self, length: usize) -> Result<usize, Errno> {
        let room = self.next(length);
        room.fill(0);
        Ok(room.len())
    }
}

/// A source from a slice of the kernel's own.
#[derive(Debug)]
pub struct SliceSource<'a> {
    data: &'a [u8],
    taken: usize,
}

impl<'a> SliceSource<'a> {
    /// A source that gives `data` from its start.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, taken: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.data[self.taken..]
    }
}

impl DataSource for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.rest().len()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let rest = self.rest();
        let length = buffer.len().min(rest.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }

    fn take_volatile(&mut self, buffer: &VolatileSlice<'_>) -> Result<usize, Errno> {
        let rest = self.rest();
        let length = buffer.len().min(rest.len());
        let copied = bartizan_platform::memory::write(&rest[..length], buffer);
        self.taken += copied;
        if copied == 0 && length > 0 { Err(Errno::EFAULT) } else { Ok(copied) }
    }

    fn put_back(&mut self, count: usize) {
        self.taken = self.taken.saturating_sub(count);
    }
}
