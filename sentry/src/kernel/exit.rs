//! The end of tasks and processes: `exit(2)`, `exit_group(2)`, death by signal.

use std::collections::BTreeSet;
use std::sync::Arc;

use bartizan_abi::PollEvents;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{ChildInfo, SigCode, SigInfo, SigSet, Signal};

use bartizan_platform::PlatformError;

use super::mqueue::QueueFile;
use super::signal::{Sender, Target, wake_waiters};
use super::task::TaskState;
use super::tree::{INIT, Process, TaskTree};
use super::usage::Mode;
use super::{CurrentTask, Kernel, Task, TaskEnd};
use crate::mm::MemoryManager;

impl CurrentTask {
    /// Ends the task. The order is Linux's (`do_exit`): what the task's memory is told comes first, then it gives up what it
    /// shares, then its process and its parent hear of it.
    pub(super) fn exit(&self, end: TaskEnd) {
        if let TaskEnd::Process(status) = end {
            self.group().begin_exit(status);
        }
        if let Some(tracer) = self.kernel().tracer() {
            tracer.note(self, format_args!("+++ {} +++", describe(end)));
        }
        self.tell_end_to_tracer(end);
        self.release_robust_futexes();
        self.clear_child_tid_word();
        self.release_vfork_parent();
        let memory = self.mm();
        self.with_context(|context| context.leave(memory.space()));
        memory.remove_user();
        self.detach_segments(&memory);
        self.release_undo_list();
        self.release_record_locks();
        self.task().give_up();
        self.give_up_files();
        self.give_up_fs();
        self.usage().enter(Mode::Idle);
        self.set_state(TaskState::Zombie);
        self.kernel().leave_tree(self.task(), end);
    }

    /// The last task in an address space detaches shared memory and ends asynchronous requests before anybody hears of its end.
    pub(super) fn detach_segments(&self, memory: &Arc<MemoryManager>) {
        if memory.users() > 0 {
            return;
        }
        self.kernel().aio_contexts().remove_all(memory);
        memory.detach_all(self.pid());
    }

    /// With its last task a process loses its record locks and is not told of messages any more.
    fn release_record_locks(&self) {
        if self.group().signals().tasks.len() > 1 {
            return;
        }
        for (_, file, _) in self.fd_table().entries() {
            if let Some(queue) = file.downcast::<QueueFile>().and_then(|file| file.queue().ok()) {
                queue.remove_notification(self.pid());
            }
            if let Some(locks) = file.inode().existing_extra().and_then(|extra| extra.existing_locks()) {
                locks.unlock(crate::vfs::locks::LockOwner::Process(self.pid()), &(0..u64::MAX));
            }
        }
    }

    /// Releases the robust futexes that the task still holds, and those that others wait to own; it has none afterwards.
    pub(super) fn release_robust_futexes(&self) {
        let head = self.robust_list();
        if head != 0 {
            self.set_robust_list(0);
            let tid = self.tid().cast_unsigned();
            self.kernel().futexes().release_robust_list(&self.mm(), crate::mm::UserAddr(head), tid);
        }
        self.kernel().futexes().release_ownerships(self.task());
    }

    /// `CLONE_CHILD_CLEARTID`: whoever joins this thread waits for the word to become zero.
    fn clear_child_tid_word(&self) {
        let address = self.clear_child_tid();
        if address == 0 || self.mm().users() <= 1 {
            return;
        }
        self.set_clear_child_tid(0);
        let word = crate::mm::UserPtr::<i32>::new(crate::mm::UserAddr(address));
        // As Linux, which ignores a bad address here.
        let _ignored = self.write_value(word, &0);
        // Nobody may wait there.
        let _none = self.kernel().futexes().wake_address(&self.mm(), word.address(), 1);
    }
}

/// The controlling terminal of a session whose leader `pid` ends: nobody has it any more, and its foreground hears of that
/// (`disassociate_ctty`). Files of a pseudo-terminal stay usable.
fn take_terminal(tree: &mut TaskTree, pid: i32) {
    let process = tree.process(pid).filter(|process| process.session == pid);
    if let Some(terminal) = process.and_then(|process| process.terminal.clone()) {
        terminal.hang_up_session_in(tree, true);
    }
}

/// The end as `strace` notes it.
fn describe(end: TaskEnd) -> String {
    match end {
        TaskEnd::Task(code) => format!("exited with {code}"),
        TaskEnd::Killed(signal) => format!("killed by {signal}"),
        TaskEnd::Process(WaitStatus::Signaled { signal, .. }) => format!("killed by {signal}"),
        TaskEnd::Process(WaitStatus::Exited(code)) => format!("exited with {code}"),
        TaskEnd::Process(_) => "ended".to_owned(),
    }
}

impl Task {
    /// Gives up its address space before it ran there.
    fn give_up_memory(&self) {
        if let Some(memory) = self.replace_shared(|shared| shared.memory = None).memory {
            memory.remove_user();
        }
    }

    /// The host has no process or thread for it, or its platform failed.
    pub(super) fn refuse(&self, error: &PlatformError) {
        match error {
            // A limit of the host's, or its own doing: this process cannot go on, others can.
            PlatformError::Exhausted { .. } | PlatformError::GuestBroke { .. } => {
                self.group().begin_exit(WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false });
            }
            error => self.kernel().fail(error),
        }
    }

    /// Gives up what it shares.
    pub(super) fn give_up(&self) {
        let old = self.replace_shared(|shared| *shared = Default::default());
        self.seccomp().release();
        // Files may do a lot when they are closed; no lock is held here.
        drop(old);
    }
}

impl Kernel {
    /// Takes a task out whose thread cannot go on; its process ends as by `SIGKILL`.
    pub(super) fn forget(&self, task: &Arc<Task>) {
        let status = WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false };
        task.group().begin_exit(status);
        task.release_vfork_parent();
        task.give_up_memory();
        task.give_up();
        self.leave_tree(task, TaskEnd::Process(status));
    }

    /// Takes a task out that was never started, as if it had not been made.
    pub(super) fn abandon(&self, task: &Arc<Task>) {
        task.release_vfork_parent();
        task.give_up_memory();
        task.give_up();
        let mut tree = self.tree();
        task.group().signals().tasks.remove(&task.tid());
        if tree.remove_task(task) == 0 {
            self.reap(&mut tree, task.pid());
        }
        drop(tree);
        task.group().end_events().notify(PollEvents::POLLIN);
    }

    /// Takes a task that has ended out of the tree; with the last one of its process, the process ends.
    pub(super) fn leave_tree(&self, task: &Arc<Task>, end: TaskEnd) {
        let group = task.group();
        self.futexes().release_ownerships(task);
        let mut tree = self.tree();
        if tree.task(task.tid()).is_none_or(|known| !Arc::ptr_eq(known, task)) {
            return;
        }
        let remaining = tree.remove_task(task);
        self.leave_tracees(&mut tree, task.tid());
        let status = {
            let mut signals = group.signals();
            signals.tasks.remove(&task.tid());
            let (user, system) = task.usage().times();
            group.add_ended_time(user, system);
            group.ended_io().add(task.io().counts());
            self.statistics().count_ended_task(task.used());
            task.leave_cgroup();
            signals.hand_over(task.tid(), SigSet::FULL);
            signals.exit
        };
        self.tell_tracer_of_thread(&mut tree, task, status.unwrap_or(end.status()));
        let Some(process) = tree.process_mut(group.pid()) else { return };
        if let TaskEnd::Task(code) = end
            && task.tid() == group.pid()
        {
            process.leader_code = Some(code);
        }
        if remaining == 0 {
            let leader_code = process.leader_code.map(WaitStatus::Exited);
            process.last_task = Some(Arc::clone(task));
            group.timers().stop();
            take_terminal(&mut tree, group.pid());
            let status = status.or(leader_code).unwrap_or(end.status());
            self.end_process(&mut tree, group.pid(), status);
        }
        drop(tree);
        group.end_events().notify(PollEvents::POLLIN);
        self.task_ends().notify(PollEvents::POLLIN);
    }

    /// The last task of `pid` has ended (`exit_notify`).
    fn end_process(&self, tree: &mut TaskTree, pid: i32, status: WaitStatus) {
        if pid == INIT {
            self.kill_others(tree, pid);
        }
        let groups = groups_to_orphan(tree, pid);
        self.leave_children(tree, pid);
        groups.into_iter().for_each(|group| hang_up(tree, group, pid));
        let Some(process) = tree.process_mut(pid) else { return };
        process.end = Some(status);
        let (parent, exit_signal) = (process.parent, process.exit_signal);
        if self.tell_tracer_of_process(tree, pid, status) {
            return;
        }
        if !self.tell_end(tree, pid, parent, exit_signal, status) {
            self.reap(tree, pid);
        }
    }

    /// With the first process all others of the sandbox end.
    fn kill_others(&self, tree: &TaskTree, pid: i32) {
        for (_, process) in tree.processes().filter(|&(other, _)| other != pid) {
            process.group.begin_exit(WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false });
        }
    }

    /// Gives the children of `pid` to its reaper: they get their death signal, and those that have ended are told anew.
    fn leave_children(&self, tree: &mut TaskTree, pid: i32) {
        let (reaper, children) = tree.reparent_children(pid);
        for child in children {
            let Some(process) = tree.process(child) else { continue };
            for task in &process.tasks {
                if let Some(signal) = Signal::from_raw(task.parent_death_signal()) {
                    // The signal is a standard one or may be lost when the queue is full.
                    let _lost = task.send_signal(SigInfo::kernel(signal), Target::Process, Sender::Kernel);
                }
            }
            if let Some(status) = process.end.filter(|_| !tree.is_traced_by_stranger(child)) {
                let exit_signal = process.exit_signal.map(|_| Signal::SIGCHLD);
                if !self.tell_end(tree, child, reaper, exit_signal, status) {
                    self.reap(tree, child);
                }
            }
        }
    }

    /// Tells `parent` that `pid` has ended. Returns whether somebody will wait for it.
    pub(super) fn tell_end(
        &self,
        tree: &TaskTree,
        pid: i32,
        parent: i32,
        exit_signal: Option<Signal>,
        status: WaitStatus,
    ) -> bool {
        let Some(child) = tree.process(pid) else { return false };
        if parent == 0 {
            // The host waits for what it has started, and for nothing else.
            return child.group.is_host_child();
        }
        let Some(parent) = tree.process(parent) else { return false };
        let Some(task) = parent.tasks.first() else { return false };
        let reaped = exit_signal == Some(Signal::SIGCHLD) && task.actions().reaps_children();
        let ignored = reaped && task.actions().ignores(Signal::SIGCHLD);
        if let Some(signal) = exit_signal.filter(|_| !ignored) {
            let info = child_info(signal, pid, child.group.end_uid(), status);
            // The parent can find out by waiting if a real-time exit signal is lost.
            let _lost = task.send_signal(info, Target::Process, Sender::Kernel);
        }
        wake_waiters(task);
        !reaped
    }

    /// Removes a process that nobody waits for, or has been waited for.
    pub(super) fn reap(&self, tree: &mut TaskTree, pid: i32) {
        tree.remove_process(pid);
    }
}

/// The process groups that only process `pid` may keep from being orphaned: other groups of its session that its children are in, and its
/// own, if its parent is in another group of the session.
fn groups_to_orphan(tree: &TaskTree, pid: i32) -> BTreeSet<i32> {
    let Some(process) = tree.process(pid) else { return BTreeSet::new() };
    let elsewhere =
        |other: &&Process| other.session == process.session && other.process_group != process.process_group;
    let mut groups: BTreeSet<i32> = process
        .children
        .iter()
        .filter_map(|child| tree.process(*child))
        .filter(elsewhere)
        .map(|child| child.process_group)
        .collect();
    if tree.process(process.parent).filter(elsewhere).is_some() {
        groups.insert(process.process_group);
    }
    groups
}

/// If the process group is orphaned now that process `leaving` has ended, and has stopped members, they get `SIGHUP` and `SIGCONT`
/// (`kill_orphaned_pgrp`).
fn hang_up(tree: &TaskTree, group: i32, leaving: i32) {
    if !tree.is_orphaned(group, leaving) {
        return;
    }
    let members: Vec<&Arc<Task>> = tree
        .process_group(group)
        .filter(|&(member, _)| member != leaving)
        .filter_map(|(_, member)| member.tasks.first())
        .collect();
    if !members.iter().any(|task| task.group().signals().stop.is_some()) {
        return;
    }
    for task in members {
        for signal in [Signal::SIGHUP, Signal::SIGCONT] {
            // Standard signals are never refused.
            let _standard = task.send_signal(SigInfo::kernel(signal), Target::Process, Sender::Kernel);
        }
    }
}

/// The `siginfo` of the end of a child.
pub fn child_info(signal: Signal, pid: i32, uid: u32, status: WaitStatus) -> SigInfo {
    let (code, value) = match status {
        WaitStatus::Exited(code) => (SigCode::CLD_EXITED, i32::from(code)),
        WaitStatus::Signaled { signal, core_dumped: true } => (SigCode::CLD_DUMPED, signal.raw()),
        WaitStatus::Signaled { signal, .. } => (SigCode::CLD_KILLED, signal.raw()),
        WaitStatus::Stopped { signal, .. } => (SigCode::CLD_STOPPED, i32::from(signal)),
        WaitStatus::Continued => (SigCode::CLD_CONTINUED, Signal::SIGCONT.raw()),
    };
    SigInfo::child(signal, code, ChildInfo { pid, uid, status: value, ..ChildInfo::default() })
}
