//! Stopping and continuing processes (job control).

use std::sync::Arc;

use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{SigActionFlags, SigCode, SigInfo, Signal};

use super::send::{Sender, Target};
use crate::kernel::tree::TaskTree;
use crate::kernel::usage::Mode;
use crate::kernel::{CurrentTask, Task};

impl CurrentTask {
    /// Starts to stop all tasks of the process, unless `signal` comes from a terminal and the process group is orphaned.
    pub(super) fn begin_stop(&self, signal: Signal) {
        let pid = self.group().pid();
        let orphaned = {
            let tree = self.kernel().tree();
            let group = tree.process(pid).map_or(0, |process| process.process_group);
            tree.is_orphaned(group, 0)
        };
        if signal != Signal::SIGSTOP && orphaned {
            return;
        }
        let mut signals = self.group().signals();
        // A SIGCONT that came since the signal was taken undoes it.
        if signals.exit.is_some() || !std::mem::take(&mut signals.stop_taken) {
            return;
        }
        if signals.stop.replace(signal).is_none() {
            signals.stop_told = false;
        }
        for task in signals.tasks.values_mut() {
            task.passed_stop = false;
        }
        signals.wake_all();
    }

    /// Stands still until the process is continued or has to end; the last task to do so tells the parent.
    pub(super) fn stand_still(&self) {
        let tid = self.tid();
        let stopped_by = {
            let mut signals = self.group().signals();
            let stops = signals.stop.is_some();
            if let Some(task) = signals.tasks.get_mut(&tid) {
                task.stopped = stops;
            }
            let all = signals.tasks.values().all(|task| task.stopped || task.passed_stop || task.die);
            let told = signals.stop_told;
            signals.stop_told |= all;
            signals.stop.filter(|_| all && !told)
        };
        if let Some(signal) = stopped_by {
            let status = WaitStatus::Stopped { signal: u8::try_from(signal.raw()).unwrap_or(0), event: 0 };
            self.kernel().tell_parent(self.group().pid(), status);
        }
        if self.stop_for_group() {
            self.with_signals(|own| own.stopped = false);
            return;
        }
        self.set_sleeping(crate::kernel::TaskState::Stopped);
        self.usage().enter(Mode::Idle);
        loop {
            {
                let traced = self.ptrace().is_traced();
                let mut signals = self.group().signals();
                let die = signals.exit.is_some();
                let Some(task) = signals.tasks.get_mut(&tid) else { break };
                if !task.stopped || task.die || die || traced {
                    task.stopped = false;
                    break;
                }
            }
            self.parker().park(None);
        }
        self.usage().enter(Mode::System);
        self.set_sleeping(crate::kernel::TaskState::Running);
    }

    /// Tells the parent that the process goes on.
    pub(super) fn tell_parent_continued(&self) {
        self.kernel().tell_parent(self.group().pid(), WaitStatus::Continued);
    }
}

impl crate::kernel::Kernel {
    /// Notes that process `pid` has stopped or continued, and tells its parent.
    fn tell_parent(&self, pid: i32, status: WaitStatus) {
        let mut tree = self.tree();
        // A parent that traces its child hears of the stop as its tracer.
        let tracer = tree.tracer_of(pid).is_some() && !tree.is_traced_by_stranger(pid);
        if tracer && matches!(status, WaitStatus::Stopped { .. }) {
            return;
        }
        let Some(process) = tree.process_mut(pid) else { return };
        process.report = Some(status);
        let uid = process.tasks.first().map_or(0, |task| task.credentials().uid);
        let parent = process.parent;
        notify_parent(&tree, parent, pid, uid, status);
    }
}

/// Sends process `parent` a `SIGCHLD` about the stop or continuation of `pid`, and wakes those who wait for it.
fn notify_parent(tree: &TaskTree, parent: i32, pid: i32, uid: u32, status: WaitStatus) {
    let Some(parent) = tree.process(parent) else { return };
    let Some(task) = parent.tasks.first() else { return };
    let quiet = task.actions().get(Signal::SIGCHLD).flags & SigActionFlags::SA_NOCLDSTOP.bits() != 0;
    if !quiet {
        let (code, value) = match status {
            WaitStatus::Stopped { signal, .. } => (SigCode::CLD_STOPPED, i32::from(signal)),
            _ => (SigCode::CLD_CONTINUED, Signal::SIGCONT.raw()),
        };
        let child = bartizan_abi::signal::ChildInfo { pid, uid, status: value, ..Default::default() };
        let info = SigInfo::child(Signal::SIGCHLD, code, child);
        // A standard signal is never refused.
        let _standard = task.send_signal(info, Target::Process, Sender::Kernel);
    }
    wake_waiters(task);
}

/// Wakes the tasks of `parent`'s process that wait for children.
pub(in crate::kernel) fn wake_waiters(parent: &Arc<Task>) {
    parent.group().child_events().notify(bartizan_abi::PollEvents::POLLIN);
}
