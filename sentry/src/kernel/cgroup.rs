//! Control groups (`cgroups(7)`, version 2): a tree of groups of processes with limits.
//!
//! A task belongs to one group, that of the task that made it until somebody moves its process. Numbers of tasks and sizes of memory are
//! counted over the tasks that exist when they are asked for, so that no count can go astray; a fork or a page fault asks only where a group
//! above the task has a limit. Memory is what is in place and private in the address spaces of the processes: files in memory are nobody's.
//!
//! Locks: the children of a group have class `Filesystem`, above the task tree; who is in which group changes with the tree locked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use bartizan_abi::Errno;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::Signal;
use bitflags::bitflags;

use super::tree::TaskTree;
use super::usage::Mode;
use super::{CurrentTask, Kernel, Task, TaskState};
use crate::sync::{LockClass, Mutex};

/// No limit (`max`).
pub const UNLIMITED: u64 = u64::MAX;
/// The most groups of one sandbox.
const MOST_GROUPS: u64 = 10_000;

bitflags! {
    /// What can be limited for a group.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Controllers: u8 {
        /// `memory`.
        const MEMORY = 1;
        /// `pids`.
        const PIDS = 2;
    }
}

/// A limit, the most that there was, and how often the limit was in the way.
#[derive(Debug)]
pub struct Limit {
    max: AtomicU64,
    peak: AtomicU64,
    hits: AtomicU64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { max: AtomicU64::new(UNLIMITED), peak: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }
}

impl Limit {
    /// The limit, or [`UNLIMITED`].
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Changes the limit; what there is already stays.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The most that was seen, at least `current`.
    pub fn peak(&self, current: u64) -> u64 {
        self.peak.fetch_max(current, Ordering::Relaxed).max(current)
    }

    /// How often the limit was in the way.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

/// One group.
#[derive(Debug)]
pub struct Cgroup {
    /// Its number; 1 is the root.
    id: u64,
    name: Vec<u8>,
    parent: Option<Arc<Cgroup>>,
    children: Mutex<BTreeMap<Vec<u8>, Arc<Cgroup>>>,
    /// What its children can be limited by.
    subtree_control: AtomicU8,
    pids: Limit,
    memory: Limit,
    oom_kills: AtomicU64,
    frozen: AtomicBool,
    removed: AtomicBool,
    /// Processor time of tasks that have ended here or gone elsewhere, nanoseconds.
    past_user: AtomicU64,
    past_system: AtomicU64,
}

/// Where a task belongs.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub group: Arc<Cgroup>,
    /// What the task had used when it came here: user and system time, nanoseconds.
    pub before: (u64, u64),
}

/// The groups of a kernel.
#[derive(Debug)]
pub struct Cgroups {
    root: Arc<Cgroup>,
    next: AtomicU64,
    count: AtomicU64,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self { root: Cgroup::new(1, Vec::new(), None), next: AtomicU64::new(2), count: AtomicU64::new(1) }
    }
}

/// A group and those in it know each other; they are taken apart here, those below first, so that a deep tree needs no deep stack.
impl Drop for Cgroups {
    fn drop(&mut self) {
        let mut groups = self.root.below();
        for group in groups.iter().chain([&self.root]) {
            group.children.lock().clear();
        }
        while let Some(group) = groups.pop() {
            drop(group);
        }
    }
}

impl Cgroups {
    /// The group in which everything starts.
    pub fn root(&self) -> &Arc<Cgroup> {
        &self.root
    }

    /// Makes a group.
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV` if `parent` is gone, `EAGAIN` if there are too many, `EINVAL` for a name with a newline.
    pub fn make(&self, parent: &Arc<Cgroup>, name: &[u8]) -> Result<Arc<Cgroup>, Errno> {
        if name.contains(&b'\n') {
            return Err(Errno::EINVAL);
        }
        let mut children = parent.children.lock();
        if parent.is_removed() {
            return Err(Errno::ENODEV);
        }
        if children.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= MOST_GROUPS {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::EAGAIN);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let group = Cgroup::new(id, name.to_vec(), Some(Arc::clone(parent)));
        children.insert(name.to_vec(), Arc::clone(&group));
        Ok(group)
    }

    /// Removes a group that has no process and no group below it.
    ///
    /// # Errors
    /// `EBUSY`, `ENOENT`.
    pub fn remove(&self, kernel: &Kernel, parent: &Cgroup, name: &[u8]) -> Result<(), Errno> {
        let group = parent.child(name).ok_or(Errno::ENOENT)?;
        {
            // Who makes a group below takes this lock, too, and looks whether the group is gone.
            let children = group.children.lock();
            let tree = kernel.tree();
            if !children.is_empty() || group.is_removed() {
                return Err(Errno::EBUSY);
            }
            if tree.tasks().any(|task| task.cgroup().id == group.id) {
                return Err(Errno::EBUSY);
            }
            group.removed.store(true, Ordering::Release);
        }
        parent.children.lock().remove(name);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Cgroup {
    fn new(id: u64, name: Vec<u8>, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            parent,
            children: Mutex::new(LockClass::Filesystem, BTreeMap::new()),
            subtree_control: AtomicU8::new(0),
            pids: Limit::default(),
            memory: Limit::default(),
            oom_kills: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            past_user: AtomicU64::new(0),
            past_system: AtomicU64::new(0),
        })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The group that it is in; the root is in none.
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// The group `name` in it.
    pub fn child(&self, name: &[u8]) -> Option<Arc<Self>> {
        self.children.lock().get(name).cloned()
    }

    /// The groups in it, by name.
    pub fn children_names(&self) -> Vec<(Vec<u8>, u64)> {
        self.children.lock().iter().map(|(name, group)| (name.clone(), group.id)).collect()
    }

    /// The path from the root, as `/proc/[pid]/cgroup` shows it.
    pub fn path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> =
            self.ancestry().filter(|group| group.parent.is_some()).map(|group| &group.name[..]).collect();
        if names.is_empty() {
            return b"/".to_vec();
        }
        let mut path: Vec<u8> = names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect();
        if self.is_removed() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// It and all groups that it is in.
    fn ancestry(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |group| group.parent.as_deref())
    }

    /// Whether it is `other` or in it.
    fn is_within(&self, other: &Self) -> bool {
        self.ancestry().any(|group| group.id == other.id)
    }

    /// What it can be limited by.
    pub fn controllers(&self) -> Controllers {
        self.parent.as_ref().map_or(Controllers::all(), |parent| parent.subtree_control())
    }

    /// What its children can be limited by.
    pub fn subtree_control(&self) -> Controllers {
        Controllers::from_bits_truncate(self.subtree_control.load(Ordering::Relaxed))
    }

    /// Changes what its children can be limited by.
    ///
    /// # Errors
    /// `ENOENT` for what itself cannot be limited by, `EBUSY` for what a child gives on, or if it has processes of its own.
    pub fn change_subtree_control(
        &self,
        kernel: &Kernel,
        enable: Controllers,
        disable: Controllers,
    ) -> Result<(), Errno> {
        if !self.controllers().contains(enable) {
            return Err(Errno::ENOENT);
        }
        let children = self.children.lock();
        if children.values().any(|child| child.subtree_control().intersects(disable)) {
            return Err(Errno::EBUSY);
        }
        let tree = kernel.tree();
        let new = self.subtree_control().difference(disable).union(enable);
        if !new.is_empty() && self.parent.is_some() && tree.tasks().any(|task| task.cgroup().id == self.id) {
            return Err(Errno::EBUSY);
        }
        self.subtree_control.store(new.bits(), Ordering::Relaxed);
        for child in children.values() {
            if disable.contains(Controllers::PIDS) {
                child.pids.set_max(UNLIMITED);
            }
            if disable.contains(Controllers::MEMORY) {
                child.memory.set_max(UNLIMITED);
            }
        }
        Ok(())
    }

    /// How many tasks it may have.
    pub fn pids(&self) -> &Limit {
        &self.pids
    }

    /// How much memory it may have, bytes.
    pub fn memory(&self) -> &Limit {
        &self.memory
    }

    /// How many processes were killed for memory.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    /// How many groups are below it.
    pub fn descendants(&self) -> usize {
        self.below().len()
    }

    /// All groups below it, each before those that are in it.
    fn below(&self) -> Vec<Arc<Self>> {
        let mut groups: Vec<_> = self.children.lock().values().cloned().collect();
        let mut next = 0;
        while let Some(group) = groups.get(next) {
            let children: Vec<_> = group.children.lock().values().cloned().collect();
            groups.extend(children);
            next += 1;
        }
        groups
    }

    /// The tasks in it and below it.
    fn tasks_within<'a>(&'a self, tree: &'a TaskTree) -> impl Iterator<Item = &'a Arc<Task>> {
        tree.tasks().filter(|task| task.cgroup().is_within(self))
    }

    /// How many tasks are in it and below it, ended processes that have not been waited for among them.
    pub fn task_count(&self, tree: &TaskTree) -> u64 {
        let ended = tree.processes().filter_map(|(_, process)| process.last_task.as_ref());
        let ended = ended.filter(|task| task.cgroup().is_within(self)).count();
        (self.tasks_within(tree).count() + ended) as u64
    }

    /// Whether it or a group below it has a living process.
    pub fn is_populated(&self, tree: &TaskTree) -> bool {
        self.tasks_within(tree).next().is_some()
    }

    /// The numbers of the processes that are in it, ascending.
    pub fn processes(&self, tree: &TaskTree) -> Vec<i32> {
        let first = |process: &super::Process| process.tasks.first().map(|task| task.cgroup().id);
        tree.processes().filter(|(_, process)| first(process) == Some(self.id)).map(|(pid, _)| pid).collect()
    }

    /// The numbers of the tasks that are in it, ascending.
    pub fn threads(&self, tree: &TaskTree) -> Vec<i32> {
        tree.tasks().filter(|task| task.cgroup().id == self.id).map(|task| task.tid()).collect()
    }

    /// Bytes in place that belong to its processes, and those of files that they map.
    pub fn memory_sizes(&self, tree: &TaskTree) -> (u64, u64) {
        let mut seen = Vec::new();
        let mut sums = (0, 0);
        for memory in self.tasks_within(tree).filter_map(|task| task.memory()) {
            let identity = Arc::as_ptr(&memory).addr();
            if !seen.contains(&identity) {
                seen.push(identity);
                let sizes = memory.sizes();
                sums = (sums.0 + sizes.private_bytes, sums.1 + sizes.source_bytes);
            }
        }
        sums
    }

    /// User and system time of all tasks that are or were in it or below it, nanoseconds.
    pub fn used_time(&self, tree: &TaskTree) -> (u64, u64) {
        let past = (self.past_user.load(Ordering::Relaxed), self.past_system.load(Ordering::Relaxed));
        self.tasks_within(tree).fold(past, |(user, system), task| {
            let (more_user, more_system) = task.time_in_cgroup();
            (user + more_user, system + more_system)
        })
    }

    /// Adds the time of a task that has ended or left, to it and to the groups that it is in.
    fn add_past(&self, (user, system): (u64, u64)) {
        for group in self.ancestry() {
            group.past_user.fetch_add(user, Ordering::Relaxed);
            group.past_system.fetch_add(system, Ordering::Relaxed);
        }
    }

    /// Whether one task more may be in it; notes it if not.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub(super) fn check_pids(&self, tree: &TaskTree) -> Result<(), Errno> {
        for group in self.ancestry().filter(|group| group.parent.is_some()) {
            let count = group.task_count(tree);
            if count >= group.pids.max() {
                group.pids.hits.fetch_add(1, Ordering::Relaxed);
                return Err(Errno::EAGAIN);
            }
            group.pids.peak(count + 1);
        }
        Ok(())
    }

    /// Moves a process here, with all its tasks.
    ///
    /// # Errors
    /// `ESRCH`, `ENODEV` if the group is gone, `EBUSY` if groups below it are limited.
    pub fn attach(self: &Arc<Self>, kernel: &Kernel, pid: i32) -> Result<(), Errno> {
        let tree = kernel.tree();
        if self.is_removed() {
            return Err(Errno::ENODEV);
        }
        if self.parent.is_some() && !self.subtree_control().is_empty() {
            return Err(Errno::EBUSY);
        }
        let leader = tree.process(pid).map(|process| &process.group).or_else(|| {
            let task = tree.task(pid)?;
            Some(task.group())
        });
        let process = leader.and_then(|group| tree.process(group.pid())).ok_or(Errno::ESRCH)?;
        if process.tasks.is_empty() {
            return Err(Errno::ESRCH);
        }
        for task in &process.tasks {
            let before = task.usage().times();
            let spent = task.time_in_cgroup();
            let old = task.set_membership(Membership { group: Arc::clone(self), before });
            old.group.add_past(spent);
            // It may be frozen here, or not any more.
            task.set_work();
        }
        let count = self.task_count(&tree);
        self.pids.peak(count);
        Ok(())
    }

    /// Kills all processes in it and below it.
    pub fn kill(&self, kernel: &Kernel) {
        let tree = kernel.tree();
        for task in self.tasks_within(&tree) {
            task.group().begin_exit(KILLED);
        }
    }

    /// Whether its tasks, and those below it, are to stand still.
    pub fn is_freezing(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Has its tasks, and those below it, stand still, or go on.
    pub fn set_freezing(&self, kernel: &Kernel, freezing: bool) {
        self.frozen.store(freezing, Ordering::SeqCst);
        let tree = kernel.tree();
        self.tasks_within(&tree).for_each(|task| task.set_work());
    }

    /// Whether it or a group that it is in is to stand still.
    fn is_freezing_here(&self) -> bool {
        self.ancestry().any(Self::is_freezing)
    }

    /// Whether it is to stand still, and none of its tasks runs.
    pub fn is_frozen(&self, tree: &TaskTree) -> bool {
        self.is_freezing_here()
            && !self.tasks_within(tree).any(|task| task.state() == char::from(TaskState::Running as u8))
    }

    /// Kills the largest process in it or below it, unless one is ending already.
    fn kill_largest(&self, tree: &TaskTree) {
        let mut largest = None;
        for task in self.tasks_within(tree) {
            if task.group().signals().exit.is_some() {
                return;
            }
            let size = task.memory().map_or(0, |memory| memory.sizes().private_bytes);
            let protected = task.group().oom_score_adj() == -1000;
            if !protected && largest.as_ref().is_none_or(|&(most, _)| size > most) {
                largest = Some((size, Arc::clone(task.group())));
            }
        }
        if let Some((_, group)) = largest {
            self.oom_kills.fetch_add(1, Ordering::Relaxed);
            group.begin_exit(KILLED);
        }
    }
}

const KILLED: WaitStatus = WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false };

impl Task {
    /// The group that it is in.
    pub fn cgroup(&self) -> Arc<Cgroup> {
        Arc::clone(&self.membership().group)
    }

    /// User and system time since it came into its group, nanoseconds.
    fn time_in_cgroup(&self) -> (u64, u64) {
        let (user, system) = self.usage().times();
        let (user_before, system_before) = self.membership().before;
        (user.saturating_sub(user_before), system.saturating_sub(system_before))
    }

    /// Its group keeps the time that it has used; the tree is locked, and it leaves that.
    pub(super) fn leave_cgroup(&self) {
        self.cgroup().add_past(self.time_in_cgroup());
    }
}

impl CurrentTask {
    /// Stands still as long as its group does; only its end comes before.
    pub(super) fn stand_frozen(&self) {
        if !self.cgroup().is_freezing_here() {
            return;
        }
        self.set_sleeping(TaskState::Sleeping);
        self.usage().enter(Mode::Idle);
        while self.cgroup().is_freezing_here() && !self.group().signals().has_to_end(self.tid()) {
            self.parker().park(None);
        }
        self.usage().enter(Mode::System);
        self.set_sleeping(TaskState::Running);
        // What was sent to it meanwhile is looked at before guest code runs.
        self.note_work();
    }

    /// A page came into place: kills the largest process of a group that has more memory than it may.
    pub(super) fn check_cgroup_memory(&self) {
        let own = self.cgroup();
        for group in own.ancestry().filter(|group| group.memory.max() != UNLIMITED) {
            let tree = self.kernel().tree();
            let (private, _) = group.memory_sizes(&tree);
            group.memory.peak(private);
            if private > group.memory.max() {
                group.memory.hits.fetch_add(1, Ordering::Relaxed);
                group.kill_largest(&tree);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_tree_of_groups_goes_with_its_kernel() {
        let groups = Cgroups::default();
        let mut last = Arc::clone(groups.root());
        for _ in 1..MOST_GROUPS {
            last = groups.make(&last, b"g").unwrap();
        }
        assert_eq!(groups.make(&last, b"g").unwrap_err(), Errno::EAGAIN);
        assert_eq!(groups.root().descendants() as u64, MOST_GROUPS - 1);
        let (root, deepest) = (Arc::downgrade(groups.root()), Arc::downgrade(&last));
        drop(last);
        drop(groups);
        assert!(root.upgrade().is_none() && deepest.upgrade().is_none());
    }
}
