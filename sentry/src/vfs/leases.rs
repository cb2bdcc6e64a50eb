//! Leases: `F_SETLEASE` of `fcntl(2)`. Their holder is told by a signal before somebody opens or truncates the file, who waits until the
//! holder has given the lease up or its time is over.

use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bartizan_abi::{Errno, OpenFlags, PollEvents};

use super::locks::LockKind;
use super::{File, Inode};
use crate::kernel::{CurrentTask, WaitQueue};
use crate::sync::{LockClass, Mutex};
use crate::{Restart, SysError, SysResult, WaitError};

/// How long a holder has to give a lease up (`/proc/sys/fs/lease-break-time`).
pub const LEASE_BREAK_TIME: Duration = Duration::from_secs(45);
/// What no holder outlives.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// Hears that a lease is wanted back.
pub trait LeaseHolder: Send + Sync + Debug {
    /// The file that it knows by the number `fd` is wanted by others.
    fn give_way(&self, fd: i32);
}

/// The leases of one file.
#[derive(Debug)]
pub struct Leases {
    held: Mutex<Vec<Lease>>,
    /// Told when a lease is given up or becomes shared.
    events: WaitQueue,
}

#[derive(Debug)]
struct Lease {
    /// The address of the description that holds it.
    file: usize,
    kind: LockKind,
    holder: Weak<dyn LeaseHolder>,
    /// The number by which the holder knows the file.
    fd: i32,
    /// What the holder was asked for, and until when.
    asked: Option<(Asked, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// That others may read.
    ToShare,
    /// That others may write.
    ToGiveUp,
}

impl Default for Leases {
    fn default() -> Self {
        Self { held: Mutex::new(LockClass::Table, Vec::new()), events: WaitQueue::new() }
    }
}

impl Lease {
    /// Whether it keeps somebody from an access.
    fn hinders(&self, access: LockKind) -> bool {
        access == LockKind::Exclusive || self.kind == LockKind::Exclusive
    }

    /// What is left of it when the holder's time is over.
    fn after_its_time(&self, now: Instant) -> Option<LockKind> {
        match self.asked {
            Some((Asked::ToGiveUp, until)) if until <= now => None,
            Some((Asked::ToShare, until)) if until <= now => Some(LockKind::Shared),
            _ => Some(self.kind),
        }
    }
}

impl Leases {
    /// Gives `file`, known by the number `fd`, a lease of this kind, in place of the one that it has.
    ///
    /// # Errors
    /// `EAGAIN` where others have the file open, or leases on it.
    pub fn set(
        &self,
        file: &File,
        holder: Weak<dyn LeaseHolder>,
        fd: i32,
        kind: LockKind,
    ) -> Result<(), Errno> {
        let inode = file.inode();
        let mut held = self.held.lock();
        Self::end_overdue(&mut held);
        let hindered = match kind {
            LockKind::Shared => inode.is_being_written(),
            LockKind::Exclusive => inode.open_count() > 1,
        };
        if hindered {
            return Err(Errno::EAGAIN);
        }
        let mut others = held.iter().filter(|lease| lease.file != file.identity());
        let refused =
            |lease: &Lease| kind == LockKind::Exclusive || matches!(lease.asked, Some((Asked::ToGiveUp, _)));
        if others.any(refused) {
            return Err(Errno::EAGAIN);
        }
        match held.iter_mut().find(|lease| lease.file == file.identity()) {
            Some(own) => {
                own.kind = kind;
                if matches!(own.asked, Some((Asked::ToShare, _))) && kind == LockKind::Shared {
                    own.asked = None;
                }
            }
            None => held.push(Lease { file: file.identity(), kind, holder, fd, asked: None }),
        }
        drop(held);
        self.events.notify(PollEvents::POLLIN);
        Ok(())
    }

    /// Takes the lease of `file` away.
    ///
    /// # Errors
    /// `EAGAIN` if it has none.
    pub fn remove(&self, file: &File) -> Result<(), Errno> {
        let removed = {
            let mut held = self.held.lock();
            let before = held.len();
            held.retain(|lease| lease.file != file.identity());
            held.len() != before
        };
        if !removed {
            return Err(Errno::EAGAIN);
        }
        self.events.notify(PollEvents::POLLIN);
        Ok(())
    }

    /// The lease of `file`, as its holder was asked to leave it.
    pub fn get(&self, file: &File) -> Option<LockKind> {
        let held = self.held.lock();
        let own = held.iter().find(|lease| lease.file == file.identity())?;
        match own.asked {
            Some((Asked::ToGiveUp, _)) => None,
            Some((Asked::ToShare, _)) => Some(LockKind::Shared),
            None => Some(own.kind),
        }
    }

    fn end_overdue(held: &mut Vec<Lease>) {
        let now = Instant::now();
        held.retain_mut(|lease| match lease.after_its_time(now) {
            None => false,
            Some(kind) => {
                if kind != lease.kind {
                    lease.kind = kind;
                    lease.asked = None;
                }
                true
            }
        });
    }

    /// Until when somebody who wants this access has to wait; `None` when nobody keeps him from it.
    fn hindered_until(&self, access: LockKind) -> Option<Instant> {
        let mut held = self.held.lock();
        Self::end_overdue(&mut held);
        let hindering = held.iter().filter(|lease| lease.hinders(access));
        hindering.filter_map(|lease| lease.asked).map(|(_, until)| until).max()
    }

    /// Asks all holders that keep somebody from this access, each once; gives whom to tell, and by which number it knows the file.
    fn ask(&self, access: LockKind, time: Duration) -> Vec<(Weak<dyn LeaseHolder>, i32)> {
        let mut held = self.held.lock();
        Self::end_overdue(&mut held);
        let until = Instant::now() + time;
        let wanted = if access == LockKind::Exclusive { Asked::ToGiveUp } else { Asked::ToShare };
        let mut told = Vec::new();
        for lease in held.iter_mut().filter(|lease| lease.hinders(access)) {
            let already = match lease.asked {
                Some((Asked::ToGiveUp, _)) => true,
                Some((Asked::ToShare, _)) => wanted == Asked::ToShare,
                None => false,
            };
            if !already {
                lease.asked = Some((wanted, until));
                told.push((Weak::clone(&lease.holder), lease.fd));
            }
        }
        told
    }
}

/// Before a file is opened with `flags`, or truncated: breaks the leases that forbid it (`break_lease`). `task` waits for that.
///
/// # Errors
/// `EAGAIN` with `O_NONBLOCK`, or for the host; a restart when a signal comes.
#[inline]
pub fn break_leases(inode: &Inode, flags: OpenFlags, task: Option<&CurrentTask>) -> SysResult<()> {
    match inode.existing_extra().and_then(|extra| extra.existing_leases()) {
        Some(leases) => leases.make_way(flags, task),
        None => Ok(()),
    }
}

impl Leases {
    fn make_way(&self, flags: OpenFlags, task: Option<&CurrentTask>) -> SysResult<()> {
        let access = if flags.writable() { LockKind::Exclusive } else { LockKind::Shared };
        let time = task.map_or(LEASE_BREAK_TIME, |task| {
            let seconds = task.kernel().settings().lease_break_time.get();
            if seconds == 0 { FOR_EVER } else { Duration::from_secs(seconds) }
        });
        for (holder, fd) in self.ask(access, time) {
            if let Some(holder) = holder.upgrade() {
                holder.give_way(fd);
            }
        }
        loop {
            let Some(until) = self.hindered_until(access) else { return Ok(()) };
            let Some(task) = task.filter(|_| !flags.contains(OpenFlags::O_NONBLOCK)) else {
                return Err(Errno::EAGAIN.into());
            };
            let free = || self.hindered_until(access).is_none().then_some(());
            match task.wait_on(&self.events, PollEvents::POLLIN, Some(until), free) {
                Ok(()) => return Ok(()),
                Err(WaitError::TimedOut) => {}
                Err(WaitError::Interrupted) => return Err(SysError::Restart(Restart::IfAsked)),
            }
        }
    }
}

/// `file` is closed: its lease goes.
pub(super) fn on_close(file: &File) {
    if let Some(leases) = file.inode().existing_extra().and_then(|extra| extra.existing_leases()) {
        let _had_none = leases.remove(file);
    }
}

/// The leases of the file that was opened as `file`.
pub fn leases_of(file: &Arc<File>) -> &Leases {
    file.inode().extra().leases()
}
