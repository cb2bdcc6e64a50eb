//! What tracers are told of the end of their tracees, and what becomes of tracees whose tracer ends.

use std::sync::Arc;

use bartizan_abi::process::WaitStatus;
use bartizan_abi::process::ptrace::PtraceOptions;
use bartizan_abi::signal::Signal;

use crate::kernel::signal::{Sender, Target, wake_waiters};
use crate::kernel::tree::TaskTree;
use crate::kernel::{Kernel, Task, child_info};

/// Who traces a task, from the attachment until its end has been told.
#[derive(Debug, Clone, Copy)]
pub struct Tracing {
    /// The task that traces it.
    pub tracer: i32,
    /// How it ended, if the tracer has not yet waited for that.
    pub ended: Option<EndedTracee>,
}

/// The end of a tracee.
#[derive(Debug, Clone, Copy)]
pub struct EndedTracee {
    /// How.
    pub status: WaitStatus,
    /// Its real user.
    pub uid: u32,
    /// User and system time, nanoseconds.
    pub times: (u64, u64),
    /// Its process.
    pub pid: i32,
}

impl Kernel {
    /// Notes that task `task`, which is not the leader of its process, has ended, and tells its tracer if it has one.
    pub(in crate::kernel) fn tell_tracer_of_thread(
        &self,
        tree: &mut TaskTree,
        task: &Arc<Task>,
        status: WaitStatus,
    ) {
        let tid = task.tid();
        if tid == task.pid() || tree.tracer_of(tid).is_none() {
            return;
        }
        let uid = task.credentials().uid;
        let ended = EndedTracee { status, uid, times: task.usage().times(), pid: task.pid() };
        if !self.tell_tracer(tree, tid, ended) {
            tree.remove_tracing(tid);
        }
    }

    /// Tells the tracer of process `pid`, which is not its parent, that it has ended. Returns whether the tracer will wait for that: the parent hears
    /// of the end afterwards.
    pub(in crate::kernel) fn tell_tracer_of_process(
        &self,
        tree: &mut TaskTree,
        pid: i32,
        status: WaitStatus,
    ) -> bool {
        if !tree.is_traced_by_stranger(pid) {
            return false;
        }
        let Some(process) = tree.process(pid) else { return false };
        let times = process.group.ended_time();
        let ended = EndedTracee { status, uid: process.group.end_uid(), times, pid };
        let waits = self.tell_tracer(tree, pid, ended);
        if !waits {
            tree.remove_tracing(pid);
        }
        waits
    }

    /// Notes the end of tracee `tid` and sends its tracer `SIGCHLD`. Returns whether the tracer will wait for it.
    fn tell_tracer(&self, tree: &mut TaskTree, tid: i32, ended: EndedTracee) -> bool {
        let Some(tracer) = tree.tracer_of(tid).and_then(|tracer| tree.task(tracer)).cloned() else {
            return false;
        };
        let actions = tracer.actions();
        if !actions.ignores(Signal::SIGCHLD) {
            let info = child_info(Signal::SIGCHLD, tid, ended.uid, ended.status);
            // A standard signal is never refused.
            let _standard = tracer.send_signal(info, Target::Process, Sender::Kernel);
        }
        tree.set_tracee_ended(tid, ended);
        wake_waiters(&tracer);
        !actions.reaps_children()
    }

    /// Takes note that the tracer of `tid`, which has ended, has been told so: of a process, the parent hears next.
    pub(in crate::kernel) fn release_ended_tracee(&self, tree: &mut TaskTree, tid: i32) {
        tree.remove_tracing(tid);
        let Some(process) = tree.process(tid) else { return };
        let Some(status) = process.end else { return };
        let (parent, exit_signal) = (process.parent, process.exit_signal);
        if !self.tell_end(tree, tid, parent, exit_signal, status) {
            self.reap(tree, tid);
        }
    }

    /// Lets the tracees of `tracer`, which ends, go, or ends them where that was asked for (`exit_ptrace`).
    pub(in crate::kernel) fn leave_tracees(&self, tree: &mut TaskTree, tracer: i32) {
        for tid in tree.tracees_of(tracer) {
            match tree.task(tid).cloned() {
                Some(tracee) => {
                    if tracee.ptrace().wants(PtraceOptions::PTRACE_O_EXITKILL) {
                        let killed = WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false };
                        tracee.group().begin_exit(killed);
                    }
                    tracee.detach(tree, None);
                }
                None => self.release_ended_tracee(tree, tid),
            }
        }
    }
}
