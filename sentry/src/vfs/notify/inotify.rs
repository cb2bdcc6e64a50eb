//! An instance of `inotify(7)`: its watches, and the queue of what happened.
//!
//! One lock (class `Notify`) guards both; no other is taken below it. A watch belongs to its instance, is listed weakly by its inode and
//! file system, and keeps the inode alive. Who takes it out of the table of the instance is the one that also takes it out of those lists.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Weak};

use bartizan_abi::ioctl::FIONREAD;
use bartizan_abi::{Errno, InotifyEvent, InotifyMask, PollEvents};
use zerocopy::IntoBytes;

use super::watches::Listener;
use crate::SysResult;
use crate::kernel::{CurrentTask, Setting, Settings, WaitQueue};
use crate::mm::{UserAddr, UserPtr};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{DataSink, File, FileOps, FsStr, FsString, Inode};

/// The most events in a queue (`/proc/sys/fs/inotify/max_queued_events`).
pub const MAX_QUEUED_EVENTS: usize = 16_384;

/// The most watches of one instance (`/proc/sys/fs/inotify/max_user_watches`).
pub const MAX_WATCHES: usize = 65_536;

/// What stays with a watch of what it was added with, beside events.
const KEPT: InotifyMask = InotifyMask::IN_EXCL_UNLINK.union(InotifyMask::IN_ONESHOT);

/// What a reader gets to see of a mask.
const SHOWN: InotifyMask = InotifyMask::IN_ALL_EVENTS
    .union(InotifyMask::IN_ISDIR)
    .union(InotifyMask::IN_UNMOUNT)
    .union(InotifyMask::IN_IGNORED)
    .union(InotifyMask::IN_Q_OVERFLOW);

/// One watch.
#[derive(Debug)]
pub(super) struct Watch {
    instance: Weak<Instance>,
    inode: Arc<Inode>,
    number: i32,
}

/// What happened, as a watch hears of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    /// What happened, and whether to a directory.
    pub(super) mask: InotifyMask,
    /// To which entry of the watched directory; empty for the watched inode itself.
    pub(super) name: &'a FsStr,
    /// Ties the halves of a rename together.
    pub(super) cookie: u32,
    /// It came through an open file whose name is gone.
    pub(super) unlinked: bool,
}

impl Listener for Watch {
    fn tell(&self, event: &Event<'_>) {
        let Some(instance) = self.instance.upgrade() else { return };
        let once = {
            let mut state = instance.state.lock();
            let Some((_, wanted)) = state.watches.get(&self.number) else { return };
            let wanted = *wanted;
            let excluded = event.unlinked && wanted.contains(InotifyMask::IN_EXCL_UNLINK);
            let told = wanted | InotifyMask::IN_UNMOUNT;
            if excluded || !told.intersects(event.mask - InotifyMask::IN_ISDIR) {
                return;
            }
            state.put(self.number, event.mask & SHOWN, event.cookie, event.name);
            wanted.contains(InotifyMask::IN_ONESHOT)
        };
        instance.events.notify(PollEvents::POLLIN);
        if once {
            self.end();
        }
    }

    fn end(&self) {
        if let Some(instance) = self.instance.upgrade() {
            let _ended_by_another = instance.remove(self.number);
        }
    }
}

impl Watch {
    fn list(self: &Arc<Self>) {
        for watches in [self.inode.extra().watches(), self.inode.filesystem().watches()] {
            let watch = Arc::downgrade(self);
            watches.add(watch);
        }
    }

    fn unlist(self: &Arc<Self>) {
        let address = Arc::as_ptr(self).addr();
        self.inode.extra().watches().remove(address);
        self.inode.filesystem().watches().remove(address);
    }
}

/// One instance.
#[derive(Debug)]
struct Instance {
    state: Mutex<State>,
    events: WaitQueue,
}

#[derive(Debug)]
struct State {
    most_events: usize,
    most_watches: usize,
    last_number: i32,
    watches: BTreeMap<i32, (Arc<Watch>, InotifyMask)>,
    queue: VecDeque<Queued>,
    overflown: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            most_events: MAX_QUEUED_EVENTS,
            most_watches: MAX_WATCHES,
            last_number: 0,
            watches: BTreeMap::new(),
            queue: VecDeque::new(),
            overflown: false,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Queued {
    watch: i32,
    mask: InotifyMask,
    cookie: u32,
    name: FsString,
}

impl Queued {
    /// The name with its terminator, in units of the header.
    fn name_length(&self) -> usize {
        let unit = size_of::<InotifyEvent>();
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(unit) }
    }

    fn length(&self) -> usize {
        size_of::<InotifyEvent>() + self.name_length()
    }

    fn bytes(&self) -> Vec<u8> {
        let header = InotifyEvent {
            wd: self.watch,
            mask: self.mask.bits(),
            cookie: self.cookie,
            len: u32::try_from(self.name_length()).unwrap_or(u32::MAX),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&self.name);
        bytes.resize(self.length(), 0);
        bytes
    }
}

impl State {
    /// Queues an event, unless the last one says the same or there is no room.
    fn put(&mut self, watch: i32, mask: InotifyMask, cookie: u32, name: &FsStr) {
        let same = |last: &Queued| {
            last.watch == watch
                && last.mask == mask
                && last.name == name
                && !last.mask.contains(InotifyMask::IN_IGNORED)
        };
        if self.queue.back().is_some_and(same) {
            return;
        }
        if self.queue.len() >= self.most_events {
            if !self.overflown {
                self.overflown = true;
                let mask = InotifyMask::IN_Q_OVERFLOW;
                self.queue.push_back(Queued { watch: -1, mask, cookie: 0, name: FsString::new() });
            }
            return;
        }
        self.queue.push_back(Queued { watch, mask, cookie, name: name.to_vec() });
    }

    fn take(&mut self) -> Option<Queued> {
        let event = self.queue.pop_front()?;
        if event.mask.contains(InotifyMask::IN_Q_OVERFLOW) {
            self.overflown = false;
        }
        Some(event)
    }

    /// The next number of a watch: they are not used again before all have been.
    fn new_number(&mut self) -> Result<i32, Errno> {
        if self.watches.len() >= self.most_watches {
            return Err(Errno::ENOSPC);
        }
        loop {
            self.last_number = self.last_number.checked_add(1).unwrap_or(1);
            if !self.watches.contains_key(&self.last_number) {
                return Ok(self.last_number);
            }
        }
    }
}

impl Instance {
    /// Ends watch `number`; `EINVAL` if there is none.
    fn remove(&self, number: i32) -> Result<(), Errno> {
        let removed = {
            let mut state = self.state.lock();
            let (watch, _) = state.watches.remove(&number).ok_or(Errno::EINVAL)?;
            state.put(number, InotifyMask::IN_IGNORED, 0, b"");
            watch
        };
        removed.unlist();
        self.events.notify(PollEvents::POLLIN);
        Ok(())
    }
}

/// The open file of an instance.
#[derive(Debug)]
pub struct Inotify(Arc<Instance>);

impl Inotify {
    /// An instance without watches, with the limits of `settings`.
    pub fn new(settings: &Settings) -> Self {
        let limit = |setting: &Setting| usize::try_from(setting.get()).unwrap_or(usize::MAX);
        let state = State {
            most_events: limit(&settings.inotify_events),
            most_watches: limit(&settings.inotify_watches),
            ..State::default()
        };
        Self(Arc::new(Instance { state: Mutex::new(LockClass::Notify, state), events: WaitQueue::new() }))
    }

    /// Watches `inode` for what `mask` says, or changes the watch that there is. Returns its number.
    ///
    /// # Errors
    /// `EEXIST` for a watch that there is with `IN_MASK_CREATE`, `ENOSPC` for too many.
    pub fn add(&self, inode: &Arc<Inode>, mask: InotifyMask) -> Result<i32, Errno> {
        let wanted = mask & (InotifyMask::IN_ALL_EVENTS | KEPT);
        let (watch, number) = {
            let mut state = self.0.state.lock();
            if let Some((watch, old)) =
                state.watches.values_mut().find(|(watch, _)| Arc::ptr_eq(&watch.inode, inode))
            {
                if mask.contains(InotifyMask::IN_MASK_CREATE) {
                    return Err(Errno::EEXIST);
                }
                let kept = if mask.contains(InotifyMask::IN_MASK_ADD) { *old } else { InotifyMask::empty() };
                *old = wanted | kept;
                return Ok(watch.number);
            }
            let number = state.new_number()?;
            let instance = Arc::downgrade(&self.0);
            let watch = Arc::new(Watch { instance, inode: Arc::clone(inode), number });
            state.watches.insert(number, (Arc::clone(&watch), wanted));
            (watch, number)
        };
        watch.list();
        // Another thread may have ended it before it was listed.
        let ended = !self.0.state.lock().watches.contains_key(&number);
        if ended {
            watch.unlist();
        }
        Ok(number)
    }

    /// Ends watch `number`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn remove(&self, number: i32) -> Result<(), Errno> {
        self.0.remove(number)
    }
}

impl FileOps for Inotify {
    fn seekable(&self) -> bool {
        false
    }

    fn stays_at_start(&self) -> bool {
        true
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        let mut total = 0;
        loop {
            let event = {
                let mut state = self.0.state.lock();
                match state.queue.front() {
                    None => None,
                    Some(event) if event.length() > sink.remaining() => {
                        return if total == 0 { Err(Errno::EINVAL) } else { Ok(total) };
                    }
                    Some(_) => state.take(),
                }
            };
            match event {
                None if total == 0 => return Err(Errno::EAGAIN),
                None => return Ok(total),
                Some(event) => {
                    let bytes = event.bytes();
                    if sink.put(&bytes)? < bytes.len() {
                        return Err(Errno::EFAULT);
                    }
                    total += bytes.len();
                }
            }
        }
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let ready = PollEvents::POLLIN | PollEvents::POLLRDNORM;
        if self.0.state.lock().queue.is_empty() { PollEvents::empty() } else { ready }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes: usize = self.0.state.lock().queue.iter().map(Queued::length).sum();
        task.write_value(UserPtr::new(argument), &i32::try_from(bytes).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn release(&self) {
        let watches = std::mem::take(&mut self.0.state.lock().watches);
        for (watch, _) in watches.values() {
            watch.unlist();
        }
    }

    fn describe(&self) -> String {
        let state = self.0.state.lock();
        let mut text = String::new();
        for (number, (watch, wanted)) in state.watches.iter().rev() {
            let inode = &watch.inode;
            let mask = (*wanted & InotifyMask::IN_ALL_EVENTS | InotifyMask::IN_UNMOUNT).bits();
            let _infallible = writeln!(
                text,
                "inotify wd:{number:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0 ",
                inode.number(),
                inode.filesystem().device.major() << 20 | inode.filesystem().device.minor(),
                mask,
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_become_one_unless_another_is_between() {
        let mut state = State::default();
        for name in [b"a", b"a", b"b", b"a"] {
            state.put(1, InotifyMask::IN_MODIFY, 0, name);
        }
        let names: Vec<_> = state.queue.iter().map(|event| event.name.clone()).collect();
        assert_eq!(names, [b"a", b"b", b"a"]);
    }

    #[test]
    fn overflow_is_told_once_and_again_when_it_was_read() {
        let mut state = State::default();
        let fill = |state: &mut State| {
            for cookie in 0..2 * MAX_QUEUED_EVENTS as u32 {
                state.put(1, InotifyMask::IN_MODIFY, cookie, &cookie.to_ne_bytes());
            }
        };
        fill(&mut state);
        assert_eq!(state.queue.len(), MAX_QUEUED_EVENTS + 1);
        assert_eq!(state.queue.back().map(|event| event.watch), Some(-1));
        while state.take().is_some() {}
        fill(&mut state);
        assert_eq!(state.queue.back().map(|event| event.mask), Some(InotifyMask::IN_Q_OVERFLOW));
    }

    #[test]
    fn names_take_their_terminator_in_units_of_the_header() {
        let length = |name: &[u8]| {
            Queued { watch: 1, mask: InotifyMask::IN_OPEN, cookie: 0, name: name.to_vec() }.bytes().len()
        };
        assert_eq!([length(b""), length(b"a"), length(&[b'a'; 15]), length(&[b'a'; 16])], [16, 32, 32, 48]);
    }

    #[test]
    fn numbers_of_watches_start_over_at_one() {
        let mut state = State::default();
        assert_eq!(state.new_number(), Ok(1));
        state.last_number = i32::MAX;
        assert_eq!(state.new_number(), Ok(1));
    }
}
