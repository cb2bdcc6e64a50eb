//! Sending and receiving.

use std::sync::Arc;

use bartizan_abi::Errno;

use super::inbox::{Grouping, Inbox, InboxState};
use super::{Ancillary, Message, Passengers, UnixAddress, UnixKind, UnixSocket};
use crate::kernel::WaitQueue;
use crate::vfs::{DataSink, DataSource};

/// Most bytes of a stream in one message.
const STREAM_PIECE: usize = 32_768;
/// Bytes of the send buffer that a datagram cannot use.
const DATAGRAM_OVERHEAD: usize = 32;

/// Where a message goes.
#[derive(Debug, Clone)]
pub struct Destination(Arc<Inbox>);

impl Destination {
    /// Told when there is room.
    pub fn room(&self) -> &WaitQueue {
        self.0.room()
    }
}

/// How a message is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// It is taken out.
    Take,
    /// It stays (`MSG_PEEK`).
    Peek,
}

/// What was received.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes that were stored.
    pub count: usize,
    /// The length of the whole message, if messages stand alone.
    pub message_length: usize,
    /// Whether some of a message was dropped.
    pub truncated: bool,
    /// What accompanied it; none at the end of a stream.
    pub ancillary: Option<Ancillary>,
    /// What the sender is bound to, of a datagram.
    pub sender: Option<UnixAddress>,
}

impl UnixSocket {
    fn grouping(&self) -> Grouping {
        match self.kind {
            UnixKind::Stream => Grouping::Stream,
            UnixKind::Datagram | UnixKind::SequencedPacket => Grouping::Messages,
        }
    }

    /// Where messages go: to the peer, or, of datagrams, to another socket.
    ///
    /// # Errors
    /// `ENOTCONN`; `EISCONN` or `EOPNOTSUPP` for another socket where only the peer can be meant; `EPROTOTYPE`.
    pub fn destination(&self, other: Option<&Arc<Self>>) -> Result<Destination, Errno> {
        match (other, self.kind) {
            (None, _) => self.outbox().map(Destination).ok_or(Errno::ENOTCONN),
            (Some(other), UnixKind::Datagram) => match other.kind {
                UnixKind::Datagram => Ok(Destination(Arc::clone(&other.inbox))),
                _ => Err(Errno::EPROTOTYPE),
            },
            (Some(_), _) if self.outbox().is_some() => Err(Errno::EISCONN),
            (Some(_), _) => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Sends data of `source` to `destination`: a whole message, or as much as there is room for of a stream. What accompanies it is taken
    /// with the first byte.
    ///
    /// # Errors
    /// `EAGAIN` without room, `EPIPE` if the stream is broken, `ECONNREFUSED` if nobody receives datagrams there, `ECONNRESET`, `EPERM`,
    /// `EMSGSIZE`, `EFAULT`.
    pub fn send(
        &self,
        destination: &Destination,
        source: &mut dyn DataSource,
        ancillary: &mut Ancillary,
    ) -> Result<usize, Errno> {
        match self.kind {
            UnixKind::Stream => self.send_stream(destination, source, ancillary),
            UnixKind::Datagram | UnixKind::SequencedPacket => {
                self.send_message(destination, source, ancillary)
            }
        }
    }

    /// Whether this side may still send.
    fn check_open(&self, destination: &Destination) -> Result<(), Errno> {
        let state = destination.0.lock();
        // Of connections, what this side has shut down cannot be received over there.
        if self.kind.is_connected() && (state.reader_closed || state.writer_closed) {
            return Err(Errno::EPIPE);
        }
        Ok(())
    }

    fn send_stream(
        &self,
        destination: &Destination,
        source: &mut dyn DataSource,
        ancillary: &mut Ancillary,
    ) -> Result<usize, Errno> {
        self.check_open(destination)?;
        let limit = self.options().send_buffer;
        let mut total = 0;
        while source.remaining() > 0 {
            if !destination.0.lock().has_room(limit) {
                return if total > 0 { Ok(total) } else { Err(Errno::EAGAIN) };
            }
            let wanted = source.remaining().min(STREAM_PIECE);
            let data = match take(source, wanted) {
                Ok(data) if data.is_empty() => break,
                Ok(data) => data,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            };
            let length = data.len();
            let credentials = ancillary.credentials;
            let accompanying =
                std::mem::replace(ancillary, Ancillary { files: Passengers::default(), credentials });
            match destination.0.put(Message::new(data, accompanying, None), &self.inbox, limit) {
                Ok(()) => total += length,
                Err((errno, message)) => {
                    source.put_back(length);
                    *ancillary = message.ancillary;
                    return if total > 0 { Ok(total) } else { Err(errno) };
                }
            }
        }
        Ok(total)
    }

    fn send_message(
        &self,
        destination: &Destination,
        source: &mut dyn DataSource,
        ancillary: &mut Ancillary,
    ) -> Result<usize, Errno> {
        self.check_open(destination)?;
        let limit = self.options().send_buffer;
        let length = source.remaining();
        if length > limit.saturating_sub(DATAGRAM_OVERHEAD) {
            return Err(Errno::EMSGSIZE);
        }
        if !destination.0.lock().has_room(limit) && !Arc::ptr_eq(&destination.0, &self.inbox) {
            let closed = destination.0.lock().reader_closed;
            if !closed {
                return Err(Errno::EAGAIN);
            }
        }
        let data = take(source, length)?;
        if data.len() < length {
            return Err(Errno::EFAULT);
        }
        let sender = self.address();
        let message = Message::new(data, std::mem::take(ancillary), sender);
        match destination.0.put(message, &self.inbox, limit) {
            Ok(()) => Ok(length),
            Err((errno, message)) => {
                source.put_back(length);
                *ancillary = message.ancillary;
                Err(match (errno, self.kind) {
                    (Errno::EPIPE, UnixKind::Datagram) => Errno::ECONNREFUSED,
                    (errno, _) => errno,
                })
            }
        }
    }

    /// Receives what is there.
    ///
    /// # Errors
    /// `EAGAIN` if that is nothing but something may come, `ENOTCONN`, `EINVAL` of a stream that was never connected, `ECONNRESET` once if
    /// the peer was closed before it had read everything, `EFAULT`.
    pub fn receive(&self, sink: &mut dyn DataSink, mode: ReceiveMode) -> Result<Received, Errno> {
        if self.kind.is_connected() && self.outbox().is_none() {
            return Err(if self.kind == UnixKind::Stream { Errno::EINVAL } else { Errno::ENOTCONN });
        }
        let result = {
            let mut state = self.inbox.lock();
            if state.messages.is_empty() {
                return match (&mut *state, self.kind) {
                    (InboxState { reset: reset @ true, .. }, _) => {
                        *reset = false;
                        Err(Errno::ECONNRESET)
                    }
                    (InboxState { writer_closed: true, .. }, _)
                    | (InboxState { reader_closed: true, .. }, _) => Ok(Received::default()),
                    _ => Err(Errno::EAGAIN),
                };
            }
            match self.grouping() {
                Grouping::Stream => receive_stream(&mut state, sink, mode),
                Grouping::Messages => receive_message(&mut state, sink, mode),
            }
        };
        let (received, done) = result?;
        if !done.is_empty() {
            self.inbox.tell_writers(bartizan_abi::PollEvents::WRITABLE);
        }
        // Messages are dropped without the lock.
        drop(done);
        Ok(received)
    }

    /// How many bytes can be received at once (`FIONREAD`).
    pub fn available(&self) -> usize {
        self.inbox.lock().available(self.grouping())
    }

    /// How many bytes the peer has not received (`SIOCOUTQ`).
    pub fn unreceived(&self) -> usize {
        self.outbox().map_or(0, |outbox| outbox.lock().available(Grouping::Stream))
    }
}

/// Takes `length` bytes, or as many as can be loaded.
fn take(source: &mut dyn DataSource, length: usize) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match source.take(&mut data[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(errno) if filled == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// Receives bytes of a stream, up to and with the first message that files accompany. The messages that are done come back.
fn receive_stream(
    state: &mut InboxState,
    sink: &mut dyn DataSink,
    mode: ReceiveMode,
) -> Result<(Received, Vec<Message>), Errno> {
    let mut received = Received::default();
    let mut done = Vec::new();
    let mut index = 0;
    while let Some(message) = state.messages.get_mut(index) {
        if let Some(before) = &received.ancillary
            && before.credentials != message.ancillary.credentials
        {
            break;
        }
        let rest = message.rest();
        let wanted = rest.len().min(sink.remaining());
        if wanted == 0 && received.ancillary.is_some() {
            break;
        }
        let count = match sink.put(&rest[..wanted]) {
            Ok(count) => count,
            Err(_) if received.count > 0 => break,
            Err(errno) => return Err(errno),
        };
        received.count += count;
        let whole = count == rest.len();
        let accompanied = !message.ancillary.files.is_empty();
        let ancillary = match mode {
            ReceiveMode::Peek => message.ancillary.clone(),
            ReceiveMode::Take => {
                message.read += count;
                let credentials = message.ancillary.credentials;
                std::mem::replace(
                    &mut message.ancillary,
                    Ancillary { files: Passengers::default(), credentials },
                )
            }
        };
        match &mut received.ancillary {
            Some(before) => before.files.append(ancillary.files),
            None => received.ancillary = Some(ancillary),
        }
        match mode {
            ReceiveMode::Take if whole => done.extend(state.pop()),
            ReceiveMode::Take => {}
            ReceiveMode::Peek => index += 1,
        }
        if !whole || accompanied {
            break;
        }
    }
    Ok((received, done))
}

/// Receives one message; what does not fit is dropped.
fn receive_message(
    state: &mut InboxState,
    sink: &mut dyn DataSink,
    mode: ReceiveMode,
) -> Result<(Received, Vec<Message>), Errno> {
    let Some(message) = state.messages.front_mut() else { return Err(Errno::EAGAIN) };
    let wanted = message.data.len().min(sink.remaining());
    let mut count = 0;
    while count < wanted {
        match sink.put(&message.data[count..wanted])? {
            0 => break,
            more => count += more,
        }
    }
    let received = Received {
        count,
        message_length: message.data.len(),
        truncated: count < message.data.len(),
        ancillary: Some(match mode {
            ReceiveMode::Peek => message.ancillary.clone(),
            ReceiveMode::Take => std::mem::take(&mut message.ancillary),
        }),
        sender: message.sender.clone(),
    };
    let done = match mode {
        ReceiveMode::Take => state.pop().into_iter().collect(),
        ReceiveMode::Peek => Vec::new(),
    };
    Ok((received, done))
}

#[cfg(test)]
mod tests {
    use bartizan_abi::socket::Ucred;

    use super::super::AbstractNames;
    use super::*;
    use crate::vfs::{SliceSink, SliceSource};

    fn send(from: &UnixSocket, data: &[u8]) -> Result<usize, Errno> {
        let destination = from.destination(None)?;
        from.send(&destination, &mut SliceSource::new(data), &mut Ancillary::default())
    }

    fn receive(from: &UnixSocket, length: usize, mode: ReceiveMode) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; length];
        let received = from.receive(&mut SliceSink::new(&mut buffer), mode)?;
        buffer.truncate(received.count);
        Ok(buffer)
    }

    #[test]
    fn streams_join_messages_and_end_when_the_peer_closes() {
        let (one, other) = UnixSocket::pair(UnixKind::Stream, Ucred::default());
        assert_eq!(receive(&other, 9, ReceiveMode::Take), Err(Errno::EAGAIN));
        assert_eq!((send(&one, b"abc"), send(&one, b"def")), (Ok(3), Ok(3)));
        assert_eq!(receive(&other, 9, ReceiveMode::Peek), Ok(b"abcdef".to_vec()));
        assert_eq!(receive(&other, 4, ReceiveMode::Take), Ok(b"abcd".to_vec()));
        one.close(&AbstractNames::default());
        assert_eq!(receive(&other, 4, ReceiveMode::Take), Ok(b"ef".to_vec()));
        assert_eq!(receive(&other, 4, ReceiveMode::Take), Ok(Vec::new()));
        assert_eq!(send(&other, b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn messages_stand_alone_and_are_cut() {
        let (one, other) = UnixSocket::pair(UnixKind::SequencedPacket, Ucred::default());
        assert_eq!((send(&one, b"abc"), send(&one, b"defg")), (Ok(3), Ok(4)));
        assert_eq!(receive(&other, 2, ReceiveMode::Take), Ok(b"ab".to_vec()));
        assert_eq!(receive(&other, 9, ReceiveMode::Take), Ok(b"defg".to_vec()));
        assert_eq!(send(&one, &vec![0; 300_000]), Err(Errno::EMSGSIZE));
    }

    #[test]
    fn a_full_stream_takes_more_after_it_was_read() {
        let (one, other) = UnixSocket::pair(UnixKind::Stream, Ucred::default());
        let mut total = 0;
        while let Ok(count) = send(&one, &[7; 10_000]) {
            total += count;
        }
        assert!((200_000..400_000).contains(&total), "{total}");
        assert_eq!(other.available(), total);
        assert_eq!(one.unreceived(), total);
        assert_eq!(receive(&other, 50_000, ReceiveMode::Take).map(|data| data.len()), Ok(50_000));
        assert!(send(&one, b"x").is_ok());
    }

    #[test]
    fn data_that_was_not_read_resets_the_peer_once() {
        let (one, other) = UnixSocket::pair(UnixKind::Stream, Ucred::default());
        assert_eq!(send(&one, b"abc"), Ok(3));
        other.close(&AbstractNames::default());
        assert_eq!(receive(&one, 4, ReceiveMode::Take), Err(Errno::ECONNRESET));
        assert_eq!(receive(&one, 4, ReceiveMode::Take), Ok(Vec::new()));
    }
}
