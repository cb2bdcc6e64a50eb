//! Tasks: the threads of guest processes.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bartizan_abi::process::Personality;
use bartizan_platform::Interrupter;

use super::cgroup::Membership;
use super::futex::FutexOwner;
use super::ptrace::Ptrace;
use super::seccomp::Seccomp;
use super::signal::SignalActions;
use super::sysv::UndoList;
use super::timer::RealTimeLimit;
use super::{
    CpuUsage, Credentials, IoUsage, Kernel, Namespaces, Parker, Scheduling, ThreadGroup, UserNamespace,
};
use crate::mm::MemoryManager;
use crate::sync::{LockClass, Mutex, MutexGuard};
use crate::vfs::{FdTable, FsContext};

/// Bytes of a task's name, with its NUL.
pub const TASK_COMM_LEN: usize = 16;

/// A thread of a guest process, as all may see it (`struct task_struct`).
#[derive(Debug)]
pub struct Task {
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    /// Its number; changes once, when it takes over its process by `execve`.
    tid: AtomicI32,
    credentials: ArcSwap<Credentials>,
    actions: ArcSwap<SignalActions>,
    /// What `clone` flags share; `None` after the task has given it up by exiting.
    shared: Mutex<TaskShared>,
    parker: Arc<Parker>,
    /// Makes it leave guest code; set by its own thread before it first runs.
    interrupter: OnceLock<Arc<dyn Interrupter>>,
    /// Whether it has to look for signals, a stop or its end.
    work: AtomicBool,
    /// Where `set_tid_address(2)` and `CLONE_CHILD_CLEARTID` want a zero and a wake-up at its end; 0 for nowhere.
    clear_child_tid: AtomicU64,
    /// The robust futexes that it holds (`set_robust_list(2)`).
    robust_list: AtomicU64,
    /// Whether others wait for futexes that it owns.
    futex_owner: FutexOwner,
    /// What it gets when its parent ends (`PR_SET_PDEATHSIG`); 0 for nothing.
    parent_death_signal: AtomicI32,
    state: AtomicU8,
    name: Mutex<[u8; TASK_COMM_LEN]>,
    started: Instant,
    usage: CpuUsage,
    io: IoUsage,
    scheduling: Mutex<Scheduling>,
    /// `RLIMIT_RTTIME`, once it counts.
    real_time_limit: OnceLock<Arc<RealTimeLimit>>,
    /// `personality(2)`.
    personality: AtomicU32,
    /// Whoever waits in `vfork` for it to exec or end.
    vfork: Mutex<Option<Arc<Parker>>>,
    /// The semaphore operations that its end undoes; shared with `CLONE_SYSVSEM`.
    semaphore_undo: Mutex<Option<Arc<UndoList>>>,
    /// What it may call.
    seccomp: Seccomp,
    /// Where it stands as the tracee of another task.
    ptrace: Ptrace,
    namespaces: ArcSwap<Namespaces>,
    /// Its control group; changes with the tree locked.
    cgroup: Mutex<Membership>,
}

/// What a task has in common with others, by pointer.
#[derive(Debug, Default, Clone)]
pub struct TaskShared {
    /// Its address space.
    pub memory: Option<Arc<MemoryManager>>,
    /// Its descriptors.
    pub files: Option<Arc<FdTable>>,
    /// Its working directory, root and umask.
    pub fs: Option<Arc<FsContext>>,
}

/// What a task does, as `/proc/[pid]/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskState {
    /// `R`.
    Running = b'R',
    /// `S`: waits, and a signal would wake it.
    Sleeping = b'S',
    /// `T`: job control has stopped it.
    Stopped = b'T',
    /// `t`: its tracer has it stand still.
    Traced = b't',
    /// `Z`: has ended.
    Zombie = b'Z',
}

/// What a new task is made of.
#[derive(Debug)]
pub struct NewTask {
    /// Its number.
    pub tid: i32,
    /// Its process.
    pub group: Arc<ThreadGroup>,
    /// Who it is.
    pub credentials: Arc<Credentials>,
    /// What it does with signals.
    pub actions: Arc<SignalActions>,
    /// What it shares.
    pub shared: TaskShared,
    /// Its name.
    pub name: [u8; TASK_COMM_LEN],
}

impl Task {
    /// A task that does not run yet.
    pub fn new(kernel: &Arc<Kernel>, new: NewTask) -> Arc<Self> {
        Arc::new(Self {
            kernel: Arc::clone(kernel),
            group: new.group,
            tid: AtomicI32::new(new.tid),
            credentials: ArcSwap::new(new.credentials),
            actions: ArcSwap::new(new.actions),
            shared: Mutex::new(LockClass::TaskShared, new.shared),
            parker: Arc::new(Parker::new()),
            interrupter: OnceLock::new(),
            work: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            futex_owner: FutexOwner::default(),
            parent_death_signal: AtomicI32::new(0),
            state: AtomicU8::new(TaskState::Running as u8),
            name: Mutex::new(LockClass::Table, new.name),
            started: Instant::now(),
            usage: CpuUsage::new(),
            io: IoUsage::default(),
            scheduling: Mutex::new(LockClass::Table, Scheduling::default()),
            real_time_limit: OnceLock::new(),
            personality: AtomicU32::new(0),
            vfork: Mutex::new(LockClass::Table, None),
            semaphore_undo: Mutex::new(LockClass::TaskShared, None),
            seccomp: Seccomp::default(),
            ptrace: Ptrace::default(),
            namespaces: ArcSwap::from_pointee(Namespaces::initial(kernel)),
            cgroup: Mutex::new(
                LockClass::Table,
                Membership { group: Arc::clone(kernel.cgroups().root()), before: (0, 0) },
            ),
        })
    }

    /// The kernel that it belongs to.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Its process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }

    /// Its number.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Takes over another number; the tree is locked.
    pub(super) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        self.group.pid()
    }

    /// Who it is.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// The user namespace that it is in.
    pub fn user_namespace(&self) -> UserNamespace {
        self.credentials.load().user_namespace.clone()
    }

    /// Replaces who it is; only its own thread does. That it may gain no privileges stays.
    pub fn set_credentials(&self, credentials: Credentials) {
        if self.tid() == self.pid() {
            self.group.set_end_uid(credentials.uid);
        }
        let new = Arc::new(credentials);
        self.credentials.rcu(|old| {
            if old.no_new_privs && !new.no_new_privs {
                Arc::new(Credentials { no_new_privs: true, ..(*new).clone() })
            } else {
                Arc::clone(&new)
            }
        });
    }

    /// It may gain no privileges any more (`PR_SET_NO_NEW_PRIVS`); another task of its process may say so.
    pub fn forbid_new_privileges(&self) {
        self.credentials.rcu(|old| Credentials { no_new_privs: true, ..(**old).clone() });
    }

    /// What it does with signals.
    pub fn actions(&self) -> Arc<SignalActions> {
        self.actions.load_full()
    }

    /// Replaces what it does with signals (`execve`).
    pub(super) fn set_actions(&self, actions: SignalActions) {
        self.actions.store(Arc::new(actions));
    }

    /// Its address space; `None` once it has exited.
    pub fn memory(&self) -> Option<Arc<MemoryManager>> {
        self.shared.lock().memory.clone()
    }

    /// Its descriptors; `None` once it has exited.
    pub fn files(&self) -> Option<Arc<FdTable>> {
        self.shared.lock().files.clone()
    }

    /// Its working directory, root and umask; `None` once it has exited.
    pub fn fs(&self) -> Option<Arc<FsContext>> {
        self.shared.lock().fs.clone()
    }

    /// Changes what it shares; only its own thread does. What is given up is returned, to be dropped without the lock.
    pub(super) fn replace_shared(&self, change: impl FnOnce(&mut TaskShared)) -> TaskShared {
        let mut shared = self.shared.lock();
        let old = shared.clone();
        change(&mut shared);
        old
    }

    /// Where its thread sleeps.
    pub fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    /// Sets how it is made to leave guest code.
    pub(super) fn set_interrupter(&self, interrupter: Arc<dyn Interrupter>) {
        let _once = self.interrupter.set(interrupter);
    }

    /// Makes it look at its signals soon, wherever it is.
    pub fn set_work(&self) {
        self.work.store(true, Ordering::SeqCst);
        self.parker.unpark();
        if let Some(interrupter) = self.interrupter.get() {
            interrupter.interrupt();
        }
    }

    /// As [`set_work`](Self::set_work), for the task's own thread, which is in the kernel.
    pub(super) fn note_work(&self) {
        self.work.store(true, Ordering::SeqCst);
    }

    /// Whether it has to look at its signals.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.work.load(Ordering::SeqCst)
    }

    /// Notes that it looks at its signals now.
    pub(super) fn clear_work(&self) {
        self.work.store(false, Ordering::SeqCst);
    }

    /// Task `tid` of the same process.
    pub(super) fn group_task(&self, tid: i32) -> Option<Arc<Task>> {
        self.group.signals().tasks.get(&tid).and_then(|task| task.owner.upgrade())
    }

    /// Where its end is told in its memory; 0 for nowhere.
    pub fn clear_child_tid(&self) -> u64 {
        self.clear_child_tid.load(Ordering::Relaxed)
    }

    /// `set_tid_address(2)`.
    pub fn set_clear_child_tid(&self, address: u64) {
        self.clear_child_tid.store(address, Ordering::Relaxed);
    }

    /// The address of its list of robust futexes; 0 for none.
    pub fn robust_list(&self) -> u64 {
        self.robust_list.load(Ordering::Relaxed)
    }

    /// `set_robust_list(2)`.
    pub fn set_robust_list(&self, address: u64) {
        self.robust_list.store(address, Ordering::Relaxed);
    }

    /// Whether others wait for futexes that it owns.
    pub(super) fn futex_owner(&self) -> &FutexOwner {
        &self.futex_owner
    }

    /// `PR_GET_PDEATHSIG`.
    pub fn parent_death_signal(&self) -> i32 {
        self.parent_death_signal.load(Ordering::Relaxed)
    }

    /// `PR_SET_PDEATHSIG`.
    pub fn set_parent_death_signal(&self, signal: i32) {
        self.parent_death_signal.store(signal, Ordering::Relaxed);
    }

    /// What it does, as the letter of `/proc/[pid]/stat`.
    pub fn state(&self) -> char {
        char::from(self.state.load(Ordering::Relaxed))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state.load(Ordering::Relaxed) == TaskState::Zombie as u8
    }

    /// Notes what it does.
    pub(super) fn set_state(&self, state: TaskState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Its name (`/proc/[pid]/comm`), without padding.
    pub fn name(&self) -> Vec<u8> {
        let name = self.name.lock();
        name.iter().copied().take_while(|&byte| byte != 0).collect()
    }

    /// Its name with padding.
    pub fn raw_name(&self) -> [u8; TASK_COMM_LEN] {
        *self.name.lock()
    }

    /// Replaces its name; what is too long is cut.
    pub fn set_name(&self, name: &[u8]) {
        let mut padded = [0; TASK_COMM_LEN];
        let length = name.len().min(TASK_COMM_LEN - 1);
        padded[..length].copy_from_slice(&name[..length]);
        *self.name.lock() = padded;
    }

    /// When it was made.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How much processor time it has used.
    pub fn usage(&self) -> &CpuUsage {
        &self.usage
    }

    /// How much it has read and written.
    #[inline]
    pub fn io(&self) -> &IoUsage {
        &self.io
    }

    /// What it may call.
    #[inline]
    pub fn seccomp(&self) -> &Seccomp {
        &self.seccomp
    }

    /// Where it stands as the tracee of another task.
    #[inline]
    pub fn ptrace(&self) -> &Ptrace {
        &self.ptrace
    }

    /// Its namespaces.
    pub fn namespaces(&self) -> arc_swap::Guard<Arc<Namespaces>> {
        self.namespaces.load()
    }

    /// Replaces its namespaces; only its own thread does, or its parent before it runs.
    pub(super) fn set_namespaces(&self, new: Arc<Namespaces>) {
        self.namespaces.store(new);
    }

    /// The semaphore operations that its end undoes, class `TaskShared`; none as long as it has made no such operation.
    pub(super) fn semaphore_undo(&self) -> MutexGuard<'_, Option<Arc<UndoList>>> {
        self.semaphore_undo.lock()
    }

    /// What tells its list of semaphore operations to undo from others, if it has one.
    pub fn undo_identity(&self) -> Option<usize> {
        self.semaphore_undo.lock().as_ref().map(|list| Arc::as_ptr(list).addr())
    }

    /// How it asks to be scheduled.
    pub fn scheduling(&self) -> Scheduling {
        *self.scheduling.lock()
    }

    /// Changes how it asks to be scheduled, if `change` agrees; anybody may who is allowed to.
    pub fn change_scheduling<T>(&self, change: impl FnOnce(&mut Scheduling) -> T) -> T {
        change(&mut self.scheduling.lock())
    }

    /// Who watches how long it runs without waiting, once that matters.
    pub(super) fn real_time_limit(&self) -> &OnceLock<Arc<RealTimeLimit>> {
        &self.real_time_limit
    }

    /// Which peculiarities of other systems it wants.
    pub fn personality(&self) -> Personality {
        Personality::from_bits_retain(self.personality.load(Ordering::Relaxed))
    }

    /// `personality(2)`.
    pub fn set_personality(&self, personality: Personality) {
        self.personality.store(personality.bits(), Ordering::Relaxed);
    }

    /// Takes over what a task gets from the one that made it.
    pub(super) fn inherit(&self, parent: &Self) {
        *self.scheduling.lock() = parent.scheduling().for_child();
        self.set_personality(parent.personality());
        self.set_namespaces(parent.namespaces.load_full());
        *self.cgroup.lock() = Membership { group: parent.cgroup(), before: (0, 0) };
    }

    /// Its control group.
    pub(super) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.cgroup.lock()
    }

    /// Puts it into another control group and returns the one in which it was; the tree is locked.
    pub(super) fn set_membership(&self, new: Membership) -> Membership {
        std::mem::replace(&mut *self.cgroup.lock(), new)
    }

    /// Notes who waits in `vfork` for this task.
    pub(super) fn set_vfork_parent(&self, parent: &Arc<Parker>) {
        *self.vfork.lock() = Some(Arc::clone(parent));
    }

    /// Whether somebody waits in `vfork` for this task.
    pub(super) fn has_vfork_parent(&self) -> bool {
        self.vfork.lock().is_some()
    }

    /// Lets whoever waits in `vfork` for this task go on.
    pub(super) fn release_vfork_parent(&self) {
        let parent = self.vfork.lock().take();
        if let Some(parent) = parent {
            parent.unpark();
        }
    }
}
