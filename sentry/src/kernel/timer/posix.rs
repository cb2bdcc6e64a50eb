//! POSIX timers (`timer_create(2)`).

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bartizan_abi::{Errno, SigCode, SigEventNotify, SigInfo, Signal, Timespec};

use super::cpu::{CpuClock, CpuTimer};
use super::{Alarm, Ring, Schedule, TimerSetting, Timers};
use crate::kernel::{ThreadGroup, WaitClock};

/// What a timer goes by.
#[derive(Debug, Clone)]
pub enum PosixClock {
    /// A clock of the machine.
    Machine(WaitClock),
    /// Processor time.
    Cpu(CpuClock),
}

/// Whom a timer tells of its expiry, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PosixNotice {
    /// By which signal; none is not at all.
    pub signal: Option<Signal>,
    /// Which task; none is the process.
    pub tid: Option<i32>,
    /// What comes with the signal.
    pub value: u64,
    /// How it was asked for.
    pub method: SigEventNotify,
    /// The number of a signal that was asked for, even if none is sent.
    pub number: i32,
}

/// What `/proc/[pid]/timers` tells of a timer (`proc_pid_timers(5)`).
#[derive(Debug, Clone, Copy)]
pub struct PosixReport {
    /// Its number.
    pub id: i32,
    /// Whom it tells.
    pub notice: PosixNotice,
    /// The number of its clock, as the kernel keeps it.
    pub clock: i32,
}

/// A POSIX timer. While its signal waits to be delivered, further expiries are counted in it.
#[derive(Debug)]
pub struct PosixTimer {
    id: i32,
    group: Weak<ThreadGroup>,
    notice: PosixNotice,
    clock: PosixClock,
    clock_id: i32,
    source: OnceLock<Source>,
    /// The overruns of the signal that was sent last, and of the one before it.
    overrun: AtomicI32,
    overrun_before: AtomicI32,
}

#[derive(Debug)]
enum Source {
    Machine(Arc<Alarm>),
    Cpu(Arc<CpuTimer>),
}

impl PosixTimer {
    /// A timer of `group` with number `id`, not armed, that goes by `clock`, whose number is `clock_id`. Without a notice it is the signal
    /// `SIGALRM` with the number.
    pub fn new(
        timers: &Timers,
        group: &Arc<ThreadGroup>,
        id: i32,
        (clock, clock_id): (PosixClock, i32),
        notice: Option<PosixNotice>,
    ) -> Arc<Self> {
        let default = PosixNotice {
            signal: Some(Signal::SIGALRM),
            tid: None,
            value: u64::from(id.unsigned_abs()),
            method: SigEventNotify::SIGEV_SIGNAL,
            number: Signal::SIGALRM.raw(),
        };
        let timer = Arc::new(Self {
            id,
            group: Arc::downgrade(group),
            notice: notice.unwrap_or(default),
            clock: clock.clone(),
            clock_id,
            source: OnceLock::new(),
            overrun: AtomicI32::new(0),
            overrun_before: AtomicI32::new(0),
        });
        let ring: Arc<dyn Ring> = Arc::clone(&timer) as Arc<dyn Ring>;
        let target = Arc::downgrade(&ring);
        let source = match clock {
            PosixClock::Machine(_) => Source::Machine(Alarm::new(timers, target)),
            PosixClock::Cpu(clock) => Source::Cpu(CpuTimer::new(timers, clock, target)),
        };
        let _once = timer.source.set(source);
        timer
    }

    /// Arms it for `value`, a duration or a time of its clock, and then every `interval`; zero disarms it. Gives what it was set to.
    ///
    /// # Errors
    /// `EINVAL` for what is no time, `EAGAIN` if the host gives no thread.
    pub fn set(&self, value: Timespec, interval: Duration, absolute: bool) -> Result<TimerSetting, Errno> {
        let duration = value.to_duration().ok_or(Errno::EINVAL)?;
        self.overrun.store(0, Ordering::Relaxed);
        self.overrun_before.store(0, Ordering::Relaxed);
        match (self.source.get(), &self.clock) {
            (Some(Source::Machine(alarm)), PosixClock::Machine(clock)) => {
                if duration.is_zero() {
                    return alarm.set(None);
                }
                let next =
                    if absolute { clock.instant_at(value) } else { crate::kernel::deadline_after(duration) };
                alarm.set(next.map(|next| Schedule { next, interval }))
            }
            (Some(Source::Cpu(timer)), _) => {
                let setting = TimerSetting { remaining: duration, interval };
                if absolute { timer.set_at(duration, setting) } else { timer.set(setting) }
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// What is told of it to others.
    pub fn report(&self) -> PosixReport {
        PosixReport { id: self.id, notice: self.notice, clock: self.clock_id }
    }

    /// What it is set to. One without notice that has expired shows zero.
    pub fn get(&self) -> TimerSetting {
        match self.source.get() {
            Some(Source::Machine(alarm)) => alarm.get(),
            Some(Source::Cpu(timer)) => timer.get(),
            None => TimerSetting::default(),
        }
    }

    /// `timer_getoverrun(2)`: expiries that the last delivered signal did not tell of by itself.
    pub fn overrun(&self) -> i32 {
        let waits = self.group.upgrade().is_some_and(|group| self.count_in_pending(&group, 0));
        let counter = if waits { &self.overrun_before } else { &self.overrun };
        counter.load(Ordering::Relaxed)
    }

    /// Adds expiries to the signal that waits to be delivered; whether there is one.
    fn count_in_pending(&self, group: &Arc<ThreadGroup>, count: i32) -> bool {
        let Some(signal) = self.notice.signal else { return false };
        let mut signals = group.signals();
        let queue = match self.notice.tid {
            None => &mut signals.pending,
            Some(tid) => match signals.tasks.get_mut(&tid) {
                Some(task) => &mut task.pending,
                None => return false,
            },
        };
        queue.change_queued(|info| {
            let own = info.signal() == Some(signal)
                && info.code() == SigCode::SI_TIMER
                && info.timer_id() == self.id;
            if own {
                info.set_overrun(info.overrun().saturating_add(count));
            }
            own
        })
    }
}

impl Ring for PosixTimer {
    fn ring(&self, count: u64) {
        let Some(group) = self.group.upgrade() else { return };
        let Some(signal) = self.notice.signal else { return };
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if self.count_in_pending(&group, count) {
            let _old = self
                .overrun
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old.saturating_add(count)));
            return;
        }
        let before = self.overrun.swap(count - 1, Ordering::Relaxed);
        self.overrun_before.store(before, Ordering::Relaxed);
        group.send_from_timer(SigInfo::timer(signal, self.id, count - 1, self.notice.value), self.notice.tid);
    }
}
