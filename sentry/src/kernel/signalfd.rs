//! Signals that are read as files (`signalfd(2)`). They are those of the process that made the descriptor, and of that task of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::{Errno, PollEvents, SigInfo, SigSet, SignalfdSiginfo};
use zerocopy::IntoBytes;

use super::{Task, ThreadGroup, WaitQueue};
use crate::vfs::{DataSink, File, FileOps};

/// What a descriptor of `signalfd(2)` refers to.
#[derive(Debug)]
pub struct Signalfd {
    group: Arc<ThreadGroup>,
    tid: i32,
    mask: AtomicU64,
}

impl Signalfd {
    /// A descriptor for the signals of `mask` that are sent to `task` or its process.
    pub fn new(task: &Task, mask: SigSet) -> Self {
        let mask = mask.difference(SigSet::UNBLOCKABLE);
        Self { group: Arc::clone(task.group()), tid: task.tid(), mask: AtomicU64::new(mask.bits()) }
    }

    /// Which signals are read.
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::Relaxed))
    }

    /// Replaces which signals are read.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.difference(SigSet::UNBLOCKABLE).bits(), Ordering::Relaxed);
        self.group.signal_events().notify(PollEvents::POLLIN);
    }

    fn take(&self) -> Option<SigInfo> {
        let mask = self.mask();
        let mut signals = self.group.signals();
        let own = signals.tasks.get_mut(&self.tid).and_then(|task| task.pending.take(mask));
        own.or_else(|| signals.pending.take(mask)).map(|(_, info)| info)
    }
}

/// What a reader gets: of the union, all that may be in it.
fn shown(info: &SigInfo) -> SignalfdSiginfo {
    let value = info.value();
    SignalfdSiginfo {
        ssi_signo: info.si_signo.cast_unsigned(),
        ssi_errno: info.si_errno,
        ssi_code: info.si_code,
        ssi_pid: info.pid().cast_unsigned(),
        ssi_uid: info.uid(),
        ssi_tid: info.timer_id().cast_unsigned(),
        ssi_overrun: info.overrun().cast_unsigned(),
        ssi_status: info.status(),
        ssi_int: ((value & u64::from(u32::MAX)) as u32).cast_signed(),
        ssi_ptr: value,
        ssi_addr: info.address(),
        ..SignalfdSiginfo::default()
    }
}

impl FileOps for Signalfd {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if sink.remaining() < size_of::<SignalfdSiginfo>() {
            return Err(Errno::EINVAL);
        }
        let mut count = 0;
        while sink.remaining() >= size_of::<SignalfdSiginfo>() {
            let Some(info) = self.take() else { break };
            match sink.put(shown(&info).as_bytes()) {
                Ok(stored) => count += stored,
                Err(errno) if count == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if count == 0 { Err(Errno::EAGAIN) } else { Ok(count) }
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let signals = self.group.signals();
        let own = signals.tasks.get(&self.tid).map_or(SigSet::EMPTY, |task| task.pending.set());
        let pending = own.union(signals.pending.set()).intersection(self.mask());
        if pending.is_empty() { PollEvents::empty() } else { PollEvents::POLLIN }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.group.signal_events())
    }

    fn describe(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask().bits())
    }
}
