//! The process tree: who exists, whose child it is, and to which group and session it belongs.
//!
//! One lock (class `TaskTree`, Linux's `tasklist_lock`) guards all of it; everything is named by number, so that nothing
//! refers to what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::Signal;

use super::ptrace::{EndedTracee, Tracing};
use super::terminal::Terminal;
use super::{Task, ThreadGroup};

/// The highest task number plus one (`/proc/sys/kernel/pid_max`).
pub const PID_MAX: i32 = 4_194_304;
/// Numbers below are not given out again after the first round.
const RESERVED_PIDS: i32 = 300;
/// The first process of a sandbox.
pub const INIT: i32 = 1;

/// See the module.
#[derive(Debug, Default)]
pub struct TaskTree {
    last: i32,
    /// How many tasks there have been.
    made: u64,
    tasks: BTreeMap<i32, Arc<Task>>,
    processes: BTreeMap<i32, Process>,
    /// Who is traced, by task number: tasks that live, and those of which the tracer has yet to hear that they have ended.
    tracings: BTreeMap<i32, Tracing>,
}

/// A process in the tree, from its first task to the moment that its end has been waited for.
#[derive(Debug)]
pub struct Process {
    /// What its tasks share.
    pub group: Arc<ThreadGroup>,
    /// Who waits for it; 0 for what the host started.
    pub parent: i32,
    /// The task of the parent that made it.
    pub parent_task: i32,
    /// Its children, ended ones among them.
    pub children: BTreeSet<i32>,
    /// Its process group.
    pub process_group: i32,
    /// Its session.
    pub session: i32,
    /// Its controlling terminal.
    pub terminal: Option<Arc<Terminal>>,
    /// Its living tasks; the leader stays until the others have ended.
    pub tasks: Vec<Arc<Task>>,
    /// What the parent gets at the end; `None` for nothing.
    pub exit_signal: Option<Signal>,
    /// How it ended: it is a zombie.
    pub end: Option<WaitStatus>,
    /// What its parent has not waited for yet: that it was stopped or continued.
    pub report: Option<WaitStatus>,
    /// Whether orphans below it become its children (`PR_SET_CHILD_SUBREAPER`).
    pub subreaper: bool,
    /// Whether it has executed a program since it was forked.
    pub has_executed: bool,
    /// The last of its tasks, once that has ended: `/proc` tells of it until the end has been waited for.
    pub last_task: Option<Arc<Task>>,
    /// The code of its leader, if that has ended before the others.
    pub leader_code: Option<u8>,
}

impl Process {
    /// A process with one task, which nobody waits for, in a session of its own.
    pub fn new(group: Arc<ThreadGroup>, task: &Arc<Task>) -> Self {
        let pid = group.pid();
        Self {
            group,
            parent: 0,
            parent_task: 0,
            children: BTreeSet::new(),
            process_group: pid,
            session: pid,
            terminal: None,
            tasks: vec![Arc::clone(task)],
            exit_signal: Some(Signal::SIGCHLD),
            end: None,
            report: None,
            subreaper: false,
            has_executed: true,
            last_task: None,
            leader_code: None,
        }
    }
}

impl TaskTree {
    /// A number that nobody has: task, group or session. Numbers go up and start over at [`PID_MAX`].
    pub fn allocate(&mut self) -> Result<i32, Errno> {
        for _ in 0..PID_MAX {
            self.last = if self.last + 1 >= PID_MAX { RESERVED_PIDS } else { self.last + 1 };
            if !self.is_used(self.last) {
                return Ok(self.last);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Takes `number` for a new task.
    ///
    /// # Errors
    /// `EINVAL` for what is none, `EEXIST` if it is in use.
    pub fn take_number(&mut self, number: i32) -> Result<i32, Errno> {
        if !(1..PID_MAX).contains(&number) {
            return Err(Errno::EINVAL);
        }
        if self.is_used(number) { Err(Errno::EEXIST) } else { Ok(number) }
    }

    fn is_used(&self, number: i32) -> bool {
        self.tasks.contains_key(&number)
            || self.processes.contains_key(&number)
            || self.tracings.contains_key(&number)
            || self
                .processes
                .values()
                .any(|process| process.process_group == number || process.session == number)
    }

    /// The number that was given out last.
    pub fn last(&self) -> i32 {
        self.last
    }

    /// The living task `tid`.
    pub fn task(&self, tid: i32) -> Option<&Arc<Task>> {
        self.tasks.get(&tid)
    }

    /// The process `pid`, a zombie perhaps.
    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// As [`process`](Self::process), to change it.
    pub fn process_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    /// All processes by ascending number.
    pub fn processes(&self) -> impl Iterator<Item = (i32, &Process)> {
        self.processes.iter().map(|(&pid, process)| (pid, process))
    }

    /// All living tasks by ascending number.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// How many tasks there have been.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// How many tasks live.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// How many tasks belong to user `uid`, those that have not been waited for among them, for `RLIMIT_NPROC`.
    pub fn tasks_of_user(&self, uid: u32) -> usize {
        let living = self.tasks.values().filter(|task| task.credentials().uid == uid).count();
        let ended =
            self.processes.values().filter(|process| process.end.is_some() && process.group.end_uid() == uid);
        living + ended.count()
    }

    /// Adds a process with its first task.
    pub fn add_process(&mut self, process: Process) {
        let pid = process.group.pid();
        if let Some(parent) = self.processes.get_mut(&process.parent) {
            parent.children.insert(pid);
        }
        for task in &process.tasks {
            self.made += 1;
            self.tasks.insert(task.tid(), Arc::clone(task));
        }
        self.processes.insert(pid, process);
    }

    /// Adds a task to its process.
    pub fn add_task(&mut self, task: Arc<Task>) {
        if let Some(process) = self.processes.get_mut(&task.group().pid()) {
            process.tasks.push(Arc::clone(&task));
        }
        self.made += 1;
        self.tasks.insert(task.tid(), task);
    }

    /// Removes a task that has ended; returns how many of its process remain.
    pub fn remove_task(&mut self, task: &Arc<Task>) -> usize {
        self.tasks.remove(&task.tid());
        self.processes.get_mut(&task.group().pid()).map_or(0, |process| {
            process.tasks.retain(|other| !Arc::ptr_eq(other, task));
            process.tasks.len()
        })
    }

    /// `task` takes over the number of its process's leader, which has ended (`execve` of another thread).
    pub fn become_leader(&mut self, task: &Arc<Task>) {
        self.tasks.remove(&task.tid());
        let pid = task.group().pid();
        self.rename_tracings(task.tid(), pid);
        task.set_tid(pid);
        self.tasks.insert(pid, Arc::clone(task));
        if let Some(process) = self.processes.get_mut(&pid) {
            process.leader_code = None;
        }
    }

    /// Removes a process whose end has been waited for.
    pub fn remove_process(&mut self, pid: i32) {
        self.tracings.remove(&pid);
        if let Some(process) = self.processes.remove(&pid)
            && let Some(parent) = self.processes.get_mut(&process.parent)
        {
            parent.children.remove(&pid);
        }
    }

    /// Forgets all processes; none of them has a task.
    pub fn clear(&mut self) -> BTreeMap<i32, Process> {
        std::mem::take(&mut self.processes)
    }

    /// The task that traces `tid`.
    pub fn tracer_of(&self, tid: i32) -> Option<i32> {
        self.tracings.get(&tid).map(|tracing| tracing.tracer)
    }

    /// Notes that `tracer` traces `tid`.
    pub(super) fn add_tracing(&mut self, tid: i32, tracer: i32) {
        self.tracings.insert(tid, Tracing { tracer, ended: None });
    }

    /// Notes that nobody traces `tid` any more.
    pub(super) fn remove_tracing(&mut self, tid: i32) {
        self.tracings.remove(&tid);
    }

    /// The tracees of task `tracer`.
    pub(super) fn tracees_of(&self, tracer: i32) -> Vec<i32> {
        let own = self.tracings.iter().filter(|(_, tracing)| tracing.tracer == tracer);
        own.map(|(&tid, _)| tid).collect()
    }

    /// All tracees with their tracers.
    pub(super) fn tracings(&self) -> impl Iterator<Item = (i32, &Tracing)> {
        self.tracings.iter().map(|(&tid, tracing)| (tid, tracing))
    }

    /// Notes how tracee `tid` ended.
    pub(super) fn set_tracee_ended(&mut self, tid: i32, ended: EndedTracee) {
        if let Some(tracing) = self.tracings.get_mut(&tid) {
            tracing.ended = Some(ended);
        }
    }

    /// Whether the tracer of process `pid` is of another process than its parent.
    pub(super) fn is_traced_by_stranger(&self, pid: i32) -> bool {
        let tracer = self.tracer_of(pid).and_then(|tracer| self.task(tracer));
        let parent = self.process(pid).map(|process| process.parent);
        tracer.is_some_and(|tracer| Some(tracer.pid()) != parent)
    }

    /// Task `old` has the number `new` from now on, whose former owner is gone.
    fn rename_tracings(&mut self, old: i32, new: i32) {
        self.tracings.remove(&new);
        if let Some(tracing) = self.tracings.remove(&old) {
            self.tracings.insert(new, tracing);
        }
        for tracing in self.tracings.values_mut().filter(|tracing| tracing.tracer == old) {
            tracing.tracer = new;
        }
    }

    /// The task that made process `pid`, or if that has ended, another one of the parent.
    pub(super) fn parent_task(&self, pid: i32) -> Option<&Arc<Task>> {
        let process = self.process(pid)?;
        let parent = self.process(process.parent)?;
        let maker = parent.tasks.iter().find(|task| task.tid() == process.parent_task);
        maker.or_else(|| parent.tasks.first())
    }

    /// The processes of group `number`.
    pub fn process_group(&self, number: i32) -> impl Iterator<Item = (i32, &Process)> {
        self.processes().filter(move |(_, process)| process.process_group == number)
    }

    /// Whether group `number` has a member in session `session`.
    pub fn group_in_session(&self, number: i32, session: i32) -> bool {
        self.process_group(number).any(|(_, process)| process.session == session)
    }

    /// Takes the controlling terminal from all processes of session `session`.
    pub fn forget_terminal(&mut self, session: i32) {
        for process in self.processes.values_mut().filter(|process| process.session == session) {
            process.terminal = None;
        }
    }

    /// Whether nobody outside of group `number` but in its session is a parent of a member (`is_orphaned_pgrp`), `leaving` not
    /// counted.
    pub fn is_orphaned(&self, number: i32, leaving: i32) -> bool {
        !self.process_group(number).any(|(pid, process)| {
            pid != leaving
                && process.end.is_none()
                && self
                    .processes
                    .get(&process.parent)
                    .is_some_and(|parent| parent.process_group != number && parent.session == process.session)
        })
    }

    /// Who becomes the parent of the children of `pid`: the nearest subreaper above it, else the first process.
    pub fn reaper_for(&self, pid: i32) -> i32 {
        let mut ancestor = self.processes.get(&pid).map_or(0, |process| process.parent);
        while let Some(process) = self.processes.get(&ancestor) {
            if process.subreaper && process.end.is_none() {
                return ancestor;
            }
            ancestor = process.parent;
        }
        if self.processes.get(&INIT).is_some_and(|init| init.end.is_none() && pid != INIT) { INIT } else { 0 }
    }

    /// Makes the children of `pid` children of its reaper, and returns who that is and who they are.
    pub fn reparent_children(&mut self, pid: i32) -> (i32, Vec<i32>) {
        let reaper = self.reaper_for(pid);
        let children = self.processes.get_mut(&pid).map(|process| std::mem::take(&mut process.children));
        let children: Vec<i32> = children.into_iter().flatten().collect();
        for child in &children {
            if let Some(process) = self.processes.get_mut(child) {
                process.parent = reaper;
            }
        }
        if let Some(process) = self.processes.get_mut(&reaper) {
            process.children.extend(&children);
        }
        (reaper, children)
    }
}
