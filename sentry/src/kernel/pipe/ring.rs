//! The bytes in a pipe, and where packets end.

use std::collections::VecDeque;

use bartizan_abi::Errno;

use crate::vfs::{DataSink, DataSource};

/// Bytes that one write brings in at once, or not at all: `PIPE_BUF`.
pub const PIPE_BUF: usize = 4096;

/// Part of what is in a [`Ring`], in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    length: usize,
    /// Whether a read takes it alone and drops what it does not take.
    packet: bool,
}

/// Bytes in the order of their coming. The memory is allocated at the first write, and given back when the last end is closed.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: Box<[u8]>,
    capacity: usize,
    start: usize,
    length: usize,
    /// What the bytes are, when there are packets among them; else empty.
    segments: VecDeque<Segment>,
    /// Bytes for which room is kept.
    reserved: usize,
}

impl Ring {
    /// An empty ring for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: Box::default(), capacity, start: 0, length: 0, segments: VecDeque::new(), reserved: 0 }
    }

    /// How many bytes are in it.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes it holds at most.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes still fit. A packet uses a page at least, as in Linux.
    pub(super) fn room(&self) -> usize {
        if self.segments.len() >= self.capacity / PIPE_BUF {
            return 0;
        }
        self.capacity.saturating_sub(self.length).saturating_sub(self.reserved)
    }

    /// Keeps room for bytes that will come; up to `wanted`.
    pub(super) fn reserve(&mut self, wanted: usize) -> usize {
        let granted = wanted.min(self.room());
        self.reserved += granted;
        granted
    }

    /// Gives kept room back.
    pub(super) fn unreserve(&mut self, count: usize) {
        self.reserved = self.reserved.saturating_sub(count);
    }

    /// Changes how many bytes it holds; `EBUSY` if more are in it.
    pub(super) fn set_capacity(&mut self, capacity: usize) -> Result<(), Errno> {
        if self.length + self.reserved > capacity {
            return Err(Errno::EBUSY);
        }
        if !self.bytes.is_empty() {
            let mut bytes = vec![0; capacity].into_boxed_slice();
            let (first, second) = self.readable(0, self.length);
            bytes[..first.len()].copy_from_slice(first);
            bytes[first.len()..self.length].copy_from_slice(second);
            self.bytes = bytes;
            self.start = 0;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Forgets everything, and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// The `length` bytes from `offset` on, in two parts; all of them are in it.
    fn readable(&self, offset: usize, length: usize) -> (&[u8], &[u8]) {
        let start = self.position(offset);
        let first = length.min(self.capacity - start);
        if self.bytes.is_empty() {
            return (&[], &[]);
        }
        (&self.bytes[start..start + first], &self.bytes[..length - first])
    }

    fn position(&self, offset: usize) -> usize {
        let position = self.start + offset;
        if position >= self.capacity { position - self.capacity } else { position }
    }

    /// Takes up to `wanted` bytes from `source`, no more than fit.
    pub(super) fn fill(&mut self, source: &mut dyn DataSource, wanted: usize) -> Result<usize, Errno> {
        let wanted = wanted.min(self.room());
        self.append(source, wanted, false)
    }

    /// Takes one packet of up to [`PIPE_BUF`] bytes; nothing unless there is room for it.
    pub(super) fn fill_packet(&mut self, source: &mut dyn DataSource) -> Result<usize, Errno> {
        let wanted = source.remaining().min(PIPE_BUF);
        if wanted > self.room() { Ok(0) } else { self.append(source, wanted, true) }
    }

    fn append(&mut self, source: &mut dyn DataSource, wanted: usize, packet: bool) -> Result<usize, Errno> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; self.capacity].into_boxed_slice();
        }
        let before = self.length;
        let mut done = 0;
        while done < wanted {
            let at = self.position(before + done);
            let piece = (wanted - done).min(self.capacity - at);
            match source.take(&mut self.bytes[at..at + piece]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        self.length += done;
        self.note(before, done, packet);
        Ok(done)
    }

    /// Notes what the last `count` bytes are, which came after `before` others.
    fn note(&mut self, before: usize, count: usize, packet: bool) {
        if count == 0 || self.segments.is_empty() && !packet {
            return;
        }
        if self.segments.is_empty() && before > 0 {
            self.segments.push_back(Segment { length: before, packet: false });
        }
        match self.segments.back_mut() {
            Some(last) if !last.packet && !packet => last.length += count,
            _ => self.segments.push_back(Segment { length: count, packet }),
        }
    }

    /// Gives bytes to `sink` and removes them: up to and with the next packet. What `sink` has no room for of a packet is
    /// dropped.
    pub(super) fn drain(&mut self, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        let mut total = 0;
        while !self.is_empty() && sink.remaining() > 0 {
            let segment = self.segments.front().copied();
            let length = segment.map_or(self.length, |segment| segment.length);
            let wanted = length.min(sink.remaining());
            let given = match self.give(0, wanted, sink) {
                Ok(given) => given,
                Err(errno) if total == 0 => return Err(errno),
                Err(_) => break,
            };
            let packet = segment.is_some_and(|segment| segment.packet);
            total += given;
            self.remove(if packet && given == wanted { length } else { given });
            if packet || given < wanted {
                break;
            }
        }
        Ok(total)
    }

    /// Copies `length` bytes from `offset` on to `sink`.
    fn give(&self, offset: usize, length: usize, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        let (first, second) = self.readable(offset, length);
        let count = sink.put(first)?;
        if count < first.len() || second.is_empty() {
            return Ok(count);
        }
        Ok(count + sink.put(second).unwrap_or(0))
    }

    /// Removes the first `count` bytes.
    pub(super) fn remove(&mut self, count: usize) {
        let count = count.min(self.length);
        self.start = self.position(count);
        self.length -= count;
        if self.length == 0 {
            self.start = 0;
        }
        let mut left = count;
        while let Some(front) = self.segments.front_mut() {
            if front.length > left {
                front.length -= left;
                break;
            }
            left -= front.length;
            self.segments.pop_front();
        }
        if self.segments.iter().all(|segment| !segment.packet) {
            self.segments.clear();
        }
    }

    /// Copies the first bytes without removing them, as many as fit.
    pub(super) fn peek(&self, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.length);
        let (first, second) = self.readable(0, length);
        buffer[..first.len()].copy_from_slice(first);
        buffer[first.len()..first.len() + second.len()].copy_from_slice(second);
        first.len() + second.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::vfs::{SliceSink, SliceSource};

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize),
        Packet(usize),
        Read(usize),
        Resize(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..9000_usize).prop_map(Step::Write),
            (1..4097_usize).prop_map(Step::Packet),
            (1..9000_usize).prop_map(Step::Read),
            (1..5_u32).prop_map(|power| Step::Resize(PIPE_BUF << power)),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// What a pipe is: a queue of stream pieces and packets.
    #[derive(Default)]
    struct Model(VecDeque<(Vec<u8>, bool)>);

    impl Model {
        fn read(&mut self, mut wanted: usize) -> Vec<u8> {
            let mut out = Vec::new();
            while wanted > 0
                && let Some((mut bytes, packet)) = self.0.pop_front()
            {
                let rest = bytes.split_off(wanted.min(bytes.len()));
                wanted -= bytes.len();
                out.extend(bytes);
                if packet {
                    break;
                }
                if !rest.is_empty() {
                    self.0.push_front((rest, false));
                }
            }
            out
        }

        fn len(&self) -> usize {
            self.0.iter().map(|(bytes, _)| bytes.len()).sum()
        }
    }

    proptest! {
        #[test]
        fn ring_behaves_as_a_queue(steps in steps(), seed in any::<u8>()) {
            let mut ring = Ring::new(4 * PIPE_BUF);
            let mut model = Model::default();
            let mut next = seed;
            for step in steps {
                match step {
                    Step::Write(length) | Step::Packet(length) => {
                        let packet = matches!(step, Step::Packet(_));
                        let data: Vec<u8> = (0..length).map(|index| next.wrapping_add(index as u8)).collect();
                        next = next.wrapping_add(31);
                        let mut source = SliceSource::new(&data);
                        let taken = match packet {
                            true => ring.fill_packet(&mut source),
                            false => ring.fill(&mut source, length),
                        };
                        let taken = taken.expect("slices do not fail");
                        if taken > 0 {
                            model.0.push_back((data[..taken].to_vec(), packet));
                        }
                    }
                    Step::Read(length) => {
                        let mut buffer = vec![0; length];
                        let count = ring.drain(&mut SliceSink::new(&mut buffer)).expect("slices do not fail");
                        prop_assert_eq!(&buffer[..count], &model.read(length)[..]);
                    }
                    Step::Resize(capacity) => {
                        prop_assert_eq!(ring.set_capacity(capacity).is_ok(), model.len() <= capacity);
                    }
                }
                prop_assert_eq!(ring.len(), model.len());
                let mut peeked = vec![0; ring.len()];
                ring.peek(&mut peeked);
                let whole: Vec<u8> = model.0.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
                prop_assert_eq!(peeked, whole);
            }
        }
    }

    #[test]
    fn kept_room_is_not_given_to_others() {
        let mut ring = Ring::new(2 * PIPE_BUF);
        assert_eq!(ring.reserve(6000), 6000);
        assert_eq!(ring.room(), 2 * PIPE_BUF - 6000);
        assert_eq!(ring.set_capacity(PIPE_BUF), Err(Errno::EBUSY));
        ring.unreserve(6000);
        assert_eq!(ring.room(), 2 * PIPE_BUF);
    }
}
