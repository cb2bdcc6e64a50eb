//! An open descriptor of the host as a file of the sandbox: a pipe, terminal, socket or regular file.
//!
//! Other processes share the file description, so its flags are never changed, least of all `O_NONBLOCK`: a call that could
//! block is made with `RWF_NOWAIT` or `MSG_DONTWAIT`, or else after `poll(2)` has said that it does not.
//!
//! Locks: `input` and `position` (`InodeData`); nothing that blocks happens under them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bartizan_abi::{Errno, FileType, OpenFlags, PIPE_BUF, PollEvents};
use bartizan_sentry::SysResult;
use bartizan_sentry::kernel::{CurrentTask, WaitQueue};
use bartizan_sentry::mm::UserAddr;
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, SeekSpecial, Written, seek_by_size};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::SeekFrom;
use rustix::io::ReadWriteFlags;
use rustix::net::{RecvFlags, SendFlags};

use super::errno;
use super::reactor::{Reactor, WatchKey};
use super::terminal::{self, JobControl};

/// Bytes that are moved at a time.
const CHUNK: usize = 64 << 10;
/// The position that means the file's own in `preadv2(2)` and `pwritev2(2)`.
const CURRENT: u64 = u64::MAX;

/// A host descriptor that is open in the sandbox.
#[derive(Debug)]
pub struct HostDescriptor {
    descriptor: Arc<OwnedFd>,
    kind: FileType,
    /// Job control, if it is a terminal.
    terminal: Option<Arc<JobControl>>,
    /// Whether the host takes `RWF_NOWAIT` for it, as far as is known.
    no_wait: AtomicBool,
    /// What was read from the host but could not be delivered.
    input: Mutex<Vec<u8>>,
    /// The position behind the last read or write of a regular file, as the sandbox counts.
    position: Mutex<u64>,
    queue: Arc<WaitQueue>,
    reactor: Arc<Reactor>,
    watch: OnceLock<Option<WatchKey>>,
}

impl HostDescriptor {
    /// A file for `descriptor`, which is of `kind`; `jobs` counts if that is a terminal.
    pub fn new(
        descriptor: Arc<OwnedFd>,
        kind: FileType,
        reactor: &Arc<Reactor>,
        jobs: &Arc<JobControl>,
    ) -> Self {
        let terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(&*descriptor);
        Self {
            terminal: terminal.then(|| Arc::clone(jobs)),
            descriptor,
            kind,
            no_wait: AtomicBool::new(true),
            input: Mutex::new(LockClass::InodeData, Vec::new()),
            position: Mutex::new(LockClass::InodeData, 0),
            queue: Arc::new(WaitQueue::new()),
            reactor: Arc::clone(reactor),
            watch: OnceLock::new(),
        }
    }

    /// Where the host's position is now; the sandbox starts counting there.
    pub fn start_position(&self) -> u64 {
        if self.kind != FileType::Regular {
            return 0;
        }
        let position = rustix::fs::tell(&*self.descriptor).unwrap_or(0);
        *self.position.lock() = position;
        position
    }

    /// What the host says can be done without waiting.
    fn ready(&self, events: PollFlags) -> Result<PollFlags, Errno> {
        let mut list = [PollFd::new(&*self.descriptor, events)];
        loop {
            match rustix::event::poll(&mut list, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(_) => return Ok(list[0].revents()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(errno(error)),
            }
        }
    }

    /// Asks to be told of `events`, if anybody waits for them.
    fn arm(&self, events: PollEvents) {
        if self.queue.is_empty() {
            return;
        }
        let watch = self.watch.get_or_init(|| self.reactor.add(&*self.descriptor, &self.queue).ok());
        let armed = watch.is_some_and(|key| self.reactor.arm(key, &*self.descriptor, events).is_ok());
        if !armed {
            // A host without room for one more watch: better to look in vain than to sleep for ever.
            self.queue.notify(events);
        }
    }

    /// Makes a call that must not wait: with the flag that says so, or else after `poll`.
    fn without_waiting(
        &self,
        ready: PollFlags,
        mut with_flag: impl FnMut() -> rustix::io::Result<usize>,
        mut plain: impl FnMut() -> rustix::io::Result<usize>,
    ) -> Result<usize, Errno> {
        loop {
            let result = if self.no_wait.load(Ordering::Relaxed) {
                with_flag()
            } else if self.ready(ready)?.is_empty() {
                Err(rustix::io::Errno::AGAIN)
            } else {
                plain()
            };
            match result {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL)
                    if self.no_wait.swap(false, Ordering::Relaxed) => {}
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map_err(errno),
            }
        }
    }

    /// Reads from a stream into `buffer`.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let buffer = std::cell::RefCell::new(buffer);
        self.without_waiting(
            PollFlags::IN | PollFlags::HUP | PollFlags::ERR,
            || {
                let mut buffer = buffer.borrow_mut();
                if self.kind == FileType::Socket {
                    return rustix::net::recv(&*self.descriptor, &mut **buffer, RecvFlags::DONTWAIT)
                        .map(|(count, _)| count);
                }
                let mut pieces = [IoSliceMut::new(&mut buffer)];
                rustix::io::preadv2(&*self.descriptor, &mut pieces, CURRENT, ReadWriteFlags::NOWAIT)
            },
            || rustix::io::read(&*self.descriptor, &mut **buffer.borrow_mut()),
        )
    }

    /// Writes `data` to a stream, as far as that goes without waiting.
    fn send(&self, data: &[u8]) -> Result<usize, Errno> {
        self.without_waiting(
            PollFlags::OUT | PollFlags::HUP | PollFlags::ERR,
            || {
                if self.kind == FileType::Socket {
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    return rustix::net::send(&*self.descriptor, data, flags);
                }
                let pieces = [IoSlice::new(data)];
                rustix::io::pwritev2(&*self.descriptor, &pieces, CURRENT, ReadWriteFlags::NOWAIT)
            },
            // A pipe that is ready takes this much at once.
            || rustix::io::write(&*self.descriptor, &data[..data.len().min(PIPE_BUF)]),
        )
    }

    /// Reads from a stream.
    fn read_stream(&self, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        let mut input = self.input.lock();
        if input.is_empty() {
            let mut buffer = vec![0; sink.remaining().min(CHUNK)];
            let count = self.receive(&mut buffer)?;
            buffer.truncate(count);
            *input = buffer;
        }
        let taken = sink.put(&input)?;
        input.drain(..taken);
        Ok(taken)
    }

    /// Writes to a stream.
    fn write_stream(&self, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let mut buffer = vec![0; source.remaining().min(CHUNK)];
        let taken = source.take(&mut buffer)?;
        let sent = self.send(&buffer[..taken]);
        source.put_back(taken - *sent.as_ref().unwrap_or(&0));
        sent.map(|count| Written { count, end: offset })
    }

    /// Makes `transfer` at `offset`. The host's own position, which others share, is used and moved if the sandbox goes on where it
    /// was.
    fn at_position(
        &self,
        offset: u64,
        transfer: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> Result<(usize, u64), Errno> {
        let mut position = self.position.lock();
        if *position != offset {
            rustix::fs::seek(&*self.descriptor, SeekFrom::Start(offset)).map_err(errno)?;
        }
        let count = transfer().map_err(errno)?;
        *position = offset.saturating_add(count as u64);
        Ok((count, *position))
    }

    fn read_regular(&self, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        let mut buffer = vec![0; sink.remaining().min(CHUNK)];
        let mut done = 0;
        while sink.remaining() > 0 {
            let room = sink.remaining().min(CHUNK);
            let step = self
                .at_position(offset.saturating_add(done as u64), || {
                    rustix::io::retry_on_intr(|| rustix::io::read(&*self.descriptor, &mut buffer[..room]))
                })
                .and_then(|(count, _)| Ok((count, sink.put(&buffer[..count])?)));
            match step {
                Ok((0, _)) => break,
                Ok((_, taken)) => done += taken,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_regular(&self, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let mut buffer = vec![0; source.remaining().min(CHUNK)];
        let mut done = Written { count: 0, end: offset };
        while source.remaining() > 0 {
            let step = source.take(&mut buffer).and_then(|taken| {
                let written = self.at_position(done.end, || {
                    rustix::io::retry_on_intr(|| rustix::io::write(&*self.descriptor, &buffer[..taken]))
                });
                source.put_back(taken - written.map_or(0, |(count, _)| count));
                written
            });
            match step {
                Ok((0, _)) => break,
                Ok((count, end)) => done = Written { count: done.count + count, end },
                Err(_) if done.count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What can be done now; what cannot is armed, if anybody waits.
    fn readiness(&self) -> PollEvents {
        let wanted = PollFlags::IN
            | PollFlags::PRI
            | PollFlags::OUT
            | PollFlags::RDNORM
            | PollFlags::WRNORM
            | PollFlags::RDHUP;
        let mut events = match self.ready(wanted) {
            Ok(flags) => PollEvents::from_bits_truncate(u32::from(flags.bits())),
            Err(_) => PollEvents::POLLERR,
        };
        if !self.input.lock().is_empty() {
            events |= PollEvents::READABLE;
        }
        let missing = (PollEvents::POLLIN | PollEvents::POLLOUT) - events;
        if !missing.is_empty() && self.kind != FileType::Regular {
            self.arm(missing);
        }
        events
    }
}

impl Drop for HostDescriptor {
    fn drop(&mut self) {
        if let Some(Some(key)) = self.watch.get() {
            self.reactor.remove(*key, &*self.descriptor);
        }
    }
}

impl FileOps for HostDescriptor {
    fn seekable(&self) -> bool {
        self.kind == FileType::Regular
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if self.kind == FileType::Regular {
            return self.read_regular(sink, offset);
        }
        self.read_stream(sink).inspect_err(|&error| {
            if error == Errno::EAGAIN {
                self.arm(PollEvents::POLLIN | PollEvents::POLLRDHUP);
            }
        })
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        if self.kind == FileType::Regular {
            return self.write_regular(source, offset);
        }
        self.write_stream(source, offset).inspect_err(|&error| {
            if error == Errno::EAGAIN {
                self.arm(PollEvents::POLLOUT);
            }
        })
    }

    fn seek_special(&self, _file: &File, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
        let stat = rustix::fs::fstat(&*self.descriptor).map_err(errno)?;
        seek_by_size(u64::try_from(stat.st_size).unwrap_or(0), whence, offset)
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.readiness()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        (self.kind != FileType::Regular).then_some(&*self.queue)
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        if let Some(jobs) = &self.terminal {
            return terminal::ioctl(&self.descriptor, jobs, task, request, argument);
        }
        if request == bartizan_abi::ioctl::FIONREAD && self.kind != FileType::CharacterDevice {
            let count = rustix::io::ioctl_fionread(&*self.descriptor).map_err(errno)?;
            let count = count.saturating_add(self.input.lock().len() as u64);
            task.write_value(
                bartizan_sentry::mm::UserPtr::new(argument),
                &i32::try_from(count).unwrap_or(i32::MAX),
            )?;
            return Ok(0);
        }
        Err(Errno::ENOTTY.into())
    }

    fn sync(&self, _file: &File) -> Result<(), Errno> {
        rustix::fs::fsync(&*self.descriptor).map_err(errno)
    }
}

/// Access mode and status flags of a host descriptor, as far as the sandbox has them.
pub fn flags_of(descriptor: &OwnedFd) -> Result<OpenFlags, Errno> {
    let flags = rustix::fs::fcntl_getfl(descriptor).map_err(errno)?;
    let kept = OpenFlags::O_ACCMODE
        | OpenFlags::O_APPEND
        | OpenFlags::O_NONBLOCK
        | OpenFlags::O_SYNC
        | OpenFlags::O_DIRECT
        | OpenFlags::O_LARGEFILE;
    Ok(OpenFlags::from_bits_truncate(flags.bits()) & kept)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use bartizan_sentry::kernel::Wake;
    use bartizan_sentry::vfs::{SliceSink, SliceSource};

    use super::*;

    fn file(descriptor: impl Into<OwnedFd>, kind: FileType) -> HostDescriptor {
        HostDescriptor::new(Arc::new(descriptor.into()), kind, &Reactor::new().unwrap(), &Arc::default())
    }

    fn read(file: &HostDescriptor, length: usize) -> Result<Vec<u8>, Errno> {
        let mut data = vec![0; length];
        let count = file.read_stream(&mut SliceSink::new(&mut data))?;
        data.truncate(count);
        Ok(data)
    }

    #[test]
    fn blocking_pipe_is_read_and_written_without_blocking() {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (file(reader, FileType::Fifo), file(writer, FileType::Fifo));
        assert_eq!(read(&reader, 10), Err(Errno::EAGAIN));
        assert!(!reader.readiness().contains(PollEvents::POLLIN));
        let data: Vec<u8> = (0..200_000).map(|index| (index % 251) as u8).collect();
        let mut source = SliceSource::new(&data);
        let (mut sent, mut received) = (0, Vec::new());
        while sent < data.len() {
            match writer.write_stream(&mut source, 0) {
                Ok(written) => sent += written.count,
                Err(error) => {
                    assert_eq!(error, Errno::EAGAIN);
                    assert!(!writer.readiness().contains(PollEvents::POLLOUT));
                    received.extend(read(&reader, 30_000).unwrap());
                }
            }
            assert_eq!(source.remaining(), data.len() - sent);
        }
        drop(writer);
        while received.len() < data.len() {
            received.extend(read(&reader, 70_000).unwrap());
        }
        assert!(received == data);
        assert_eq!(read(&reader, 1), Ok(Vec::new()));
        assert!(reader.readiness().contains(PollEvents::POLLHUP));
    }

    #[test]
    fn socket_is_not_waited_for_either() {
        let (one, mut two) = UnixStream::pair().unwrap();
        let one = file(one, FileType::Socket);
        assert_eq!(read(&one, 10), Err(Errno::EAGAIN));
        two.write_all(b"hello").unwrap();
        assert_eq!(read(&one, 3), Ok(b"hel".to_vec()));
        assert_eq!(read(&one, 3), Ok(b"lo".to_vec()));
        one.write_stream(&mut SliceSource::new(b"back"), 0).unwrap();
        let mut back = [0; 4];
        two.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"back");
        drop(two);
        assert_eq!(one.write_stream(&mut SliceSource::new(b"x"), 0), Err(Errno::EPIPE));
    }

    #[test]
    fn data_that_the_reader_cannot_take_is_kept() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = file(reader, FileType::Fifo);
        writer.write_all(b"0123456789").unwrap();
        *reader.input.lock() = b"ab".to_vec();
        assert!(reader.readiness().contains(PollEvents::POLLIN));
        assert_eq!(read(&reader, 1), Ok(b"a".to_vec()));
        assert_eq!(read(&reader, 10), Ok(b"b".to_vec()));
        assert_eq!(read(&reader, 10), Ok(b"0123456789".to_vec()));
    }

    #[derive(Debug)]
    struct Told(mpsc::Sender<PollEvents>);

    impl Wake for Told {
        fn wake(&self, events: PollEvents) {
            let _hung_up = self.0.send(events);
        }
    }

    #[test]
    fn waiter_hears_of_data_that_came_after_it_looked() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = file(reader, FileType::Fifo);
        let (sender, receiver) = mpsc::channel();
        reader.queue.register(Arc::new(Told(sender)), PollEvents::POLLIN);
        assert!(!reader.readiness().contains(PollEvents::POLLIN));
        writer.write_all(b"x").unwrap();
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(read(&reader, 10), Ok(b"x".to_vec()));
    }

    #[test]
    fn position_of_a_regular_file_is_shared_with_the_host() {
        let mut host = tempfile::tempfile().unwrap();
        host.write_all(b"0123456789").unwrap();
        host.seek(SeekFrom::Start(2)).unwrap();
        let (one, two) = (
            file(host.try_clone().unwrap(), FileType::Regular),
            file(host.try_clone().unwrap(), FileType::Regular),
        );
        assert_eq!((one.start_position(), two.start_position()), (2, 2));
        let mut data = [0; 3];
        assert_eq!(one.read_regular(&mut SliceSink::new(&mut data), 2), Ok(3));
        assert_eq!(&data, b"234");
        // Both are standard output of the host: what one wrote, the other does not overwrite.
        let written = two.write_regular(&mut SliceSource::new(b"ab"), 2).unwrap();
        assert_eq!(written, Written { count: 2, end: 4 });
        assert_eq!(host.stream_position().unwrap(), 7);
        assert_eq!(one.read_regular(&mut SliceSink::new(&mut data), 0), Ok(3));
        assert_eq!(host.stream_position().unwrap(), 3);
        let mut all = String::new();
        host.rewind().unwrap();
        host.read_to_string(&mut all).unwrap();
        assert_eq!(all, "01234ab789");
    }
}
