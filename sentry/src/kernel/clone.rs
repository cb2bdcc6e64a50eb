//! New tasks: `fork(2)`, `vfork(2)`, `clone(2)`, `clone3(2)`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bartizan_abi::process::ptrace::{PTRACE_EVENT_VFORK_DONE, PtraceOptions};
use bartizan_abi::process::{Capability, CloneFlags, Resource};
use bartizan_abi::signal::{SigSet, Signal};
use bartizan_abi::{Errno, PollEvents};
use bartizan_platform::{FpuState, Registers};

use super::run::describe_panic;
use super::signal::TaskSignals;
use super::task::{NewTask, TaskShared};
use super::tree::{INIT, Process};
use super::usage::Mode;
use super::{Credentials, CurrentTask, Kernel, Task, ThreadGroup};
use crate::mm::UserPtr;
use crate::syscalls::install_pidfd;
use crate::{Restart, SysError, SysResult, WaitError};

/// The most tasks of one sandbox (`/proc/sys/kernel/threads-max`), well below what one host process can have: each is a thread of it, and
/// the stacks of too many would leave it no mappings.
pub const MOST_TASKS: usize = 10_000;

/// Stack of a task's thread, bytes. No guest state lies on it, and nothing recurses.
const THREAD_STACK: usize = 256 << 10;

/// What a clone shares and sets, checked against each other only for what [`CurrentTask::clone_task`] cannot do.
#[derive(Debug, Clone, Copy)]
pub struct CloneRequest {
    /// What is shared, and what is done with the addresses.
    pub flags: CloneFlags,
    /// What the parent gets at the end.
    pub exit_signal: Option<Signal>,
    /// The child's stack pointer; 0 for the parent's.
    pub stack: u64,
    /// The child's FS base, with `CLONE_SETTLS`.
    pub tls: u64,
    /// Where the parent finds the child's number, with `CLONE_PARENT_SETTID`.
    pub parent_tid: UserPtr<i32>,
    /// Where the parent finds a descriptor of the child, with `CLONE_PIDFD`.
    pub pidfd: UserPtr<i32>,
    /// Where the child finds its number, with `CLONE_CHILD_SETTID`, and where it is cleared, with `CLONE_CHILD_CLEARTID`.
    pub child_tid: UserPtr<i32>,
    /// The number that the child gets; any if there is none.
    pub set_tid: Option<i32>,
}

impl CloneRequest {
    /// Refuses what goes not together (`copy_process`).
    fn check(&self) -> Result<(), Errno> {
        let has = |flags| self.flags.contains(flags);
        let needs = |flag, other| has(flag) && !has(other);
        if needs(CloneFlags::CLONE_SIGHAND, CloneFlags::CLONE_VM)
            || needs(CloneFlags::CLONE_THREAD, CloneFlags::CLONE_SIGHAND)
            || has(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)
            || has(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_FS)
            || has(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_SYSVSEM)
            || has(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_THREAD)
            || has(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_THREAD)
            || has(CloneFlags::CLONE_CLEAR_SIGHAND | CloneFlags::CLONE_SIGHAND)
            || has(CloneFlags::CLONE_PIDFD | CloneFlags::CLONE_THREAD)
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

impl CurrentTask {
    /// Makes a task as `request` says and returns its number. With `CLONE_VFORK` that is after it has executed a
    /// program or ended.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `EAGAIN` at limits, `ENOMEM`, `EFAULT`, `EEXIST`, `EMFILE`. With a signal pending, the call is made again after it.
    pub fn clone_task(&self, request: CloneRequest) -> SysResult<i32> {
        self.check_request(&request)?;
        let credentials = self.credentials_with(request.flags)?;
        self.check_process_limit()?;
        let fpu = self.save_fpu().map_err(|error| self.fatal(&error))?;
        let child = self.fork_state(&request, credentials)?;
        let tid = child.tid();
        if request.flags.contains(CloneFlags::CLONE_PARENT_SETTID) {
            // As Linux, which has made the child by now and ignores a bad address.
            let _ignored = self.write_value(request.parent_tid, &tid);
        }
        let vfork = request.flags.contains(CloneFlags::CLONE_VFORK);
        let event = self.share_tracer(&child, &request);
        if vfork {
            child.set_vfork_parent(self.parker());
        }
        let opened = match request.flags.contains(CloneFlags::CLONE_PIDFD) {
            true => install_pidfd(self, child.group(), request.pidfd),
            false => Ok(()),
        };
        let started = opened.and_then(|()| Ok(self.start_child(&child, &request, fpu)?));
        if let Err(error) = started {
            self.kernel().abandon(&child);
            return Err(error);
        }
        let message = u64::from(tid.unsigned_abs());
        if let Some(event) = event {
            self.stop_for_event(event, message);
        }
        if vfork {
            self.wait_for_vfork(&child);
            if self.ptrace().is_traced() {
                let option = PtraceOptions::PTRACE_O_TRACEVFORKDONE;
                let _wanted = self.tell_event(option, PTRACE_EVENT_VFORK_DONE, message);
            }
        }
        Ok(tid)
    }

    /// Makes the child, with what it shares and what it gets a copy of, and puts it into the tree.
    fn fork_state(&self, request: &CloneRequest, credentials: Arc<Credentials>) -> SysResult<Arc<Task>> {
        {
            let mut signals = self.group().signals();
            if signals.has_work(self.tid()) {
                self.note_work();
                return Err(SysError::Restart(Restart::Always));
            }
            // What is sent to the process group from here on and reaches this process alone is the child's, too.
            if let Some(own) = signals.tasks.get_mut(&self.tid()) {
                own.forking = Some(SigSet::EMPTY);
            }
        }
        let child = self.shared_for(request.flags, &credentials).map_err(SysError::from);
        let child = child.and_then(|shared| self.make_child(request, shared, credentials));
        self.with_signals(|own| own.forking = None);
        child
    }

    /// What can be told from the request alone, and from who makes it.
    fn check_request(&self, request: &CloneRequest) -> Result<(), Errno> {
        request.check()?;
        if request.flags.contains(CloneFlags::CLONE_PARENT) && self.pid() == INIT {
            return Err(Errno::EINVAL);
        }
        let end = self.kernel().platform().user_addresses().end;
        if request.flags.contains(CloneFlags::CLONE_SETTLS) && request.tls >= end {
            return Err(Errno::EPERM);
        }
        let credentials = self.credentials();
        let may_choose = credentials.has_capability(Capability::CAP_SYS_ADMIN)
            || credentials.has_capability(Capability::CAP_CHECKPOINT_RESTORE);
        if request.set_tid.is_some() && !may_choose {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// `RLIMIT_NPROC`: `EAGAIN` for users without privileges.
    fn check_process_limit(&self) -> Result<(), Errno> {
        let credentials = self.credentials();
        let privileged = credentials.uid == 0
            || credentials.has_capability(Capability::CAP_SYS_RESOURCE)
            || credentials.has_capability(Capability::CAP_SYS_ADMIN);
        let limit = self.group().limits().soft(Resource::RLIMIT_NPROC);
        if !privileged && self.kernel().tree().tasks_of_user(credentials.uid) as u64 >= limit {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// What the child shares with this task, or gets a copy of.
    fn shared_for(&self, flags: CloneFlags, credentials: &Credentials) -> Result<TaskShared, Errno> {
        let memory = self.mm();
        let memory = match flags.contains(CloneFlags::CLONE_VM) {
            true => memory,
            false => self.with_context(|context| memory.fork(Some(context)))?,
        };
        let files = self.fd_table();
        let files = if flags.contains(CloneFlags::CLONE_FILES) { files } else { files.duplicate() };
        let fs = self.fs_context();
        let fs = if flags.contains(CloneFlags::CLONE_NEWNS) {
            fs.in_new_namespace(self.kernel().allocate_namespace(), credentials.user_namespace.clone())?
        } else if flags.contains(CloneFlags::CLONE_FS) {
            fs
        } else {
            fs.duplicate()
        };
        Ok(TaskShared { memory: Some(memory), files: Some(files), fs: Some(fs) })
    }

    /// Makes the child and puts it into the tree.
    fn make_child(
        &self,
        request: &CloneRequest,
        shared: TaskShared,
        credentials: Arc<Credentials>,
    ) -> SysResult<Arc<Task>> {
        let flags = request.flags;
        let actions = self.actions();
        let actions = if flags.contains(CloneFlags::CLONE_SIGHAND) {
            actions
        } else if flags.contains(CloneFlags::CLONE_CLEAR_SIGHAND) {
            Arc::new(actions.for_exec())
        } else {
            Arc::new(actions.duplicate())
        };
        let mut tree = self.kernel().tree();
        if self.kernel().is_dead() || tree.task_count() >= MOST_TASKS {
            return Err(Errno::EAGAIN.into());
        }
        self.cgroup().check_pids(&tree)?;
        let tid = match request.set_tid {
            Some(tid) => tree.take_number(tid)?,
            None => tree.allocate()?,
        };
        let thread = flags.contains(CloneFlags::CLONE_THREAD);
        let group = match thread {
            true => Arc::clone(self.group()),
            false => self.new_group(tid)?,
        };
        let new =
            NewTask { tid, group: Arc::clone(&group), credentials, actions, shared, name: self.raw_name() };
        let child = Task::new(self.kernel(), new);
        self.add_signals(&child, flags)?;
        child.inherit(self.task());
        // Who is limited has the timers' thread running already, so that nothing can fail.
        let _never = child.heed_real_time_limit();
        if flags.intersects(CloneFlags::NAMESPACES) {
            let new = self.namespaces().unshared(self.kernel(), flags, &child.user_namespace());
            child.set_namespaces(Arc::new(new));
        }
        if flags.contains(CloneFlags::CLONE_SYSVSEM) {
            *child.semaphore_undo() = Some(self.undo_list());
        }
        if flags.contains(CloneFlags::CLONE_VM) {
            self.mm().add_user();
        }
        if flags.contains(CloneFlags::CLONE_CHILD_CLEARTID) {
            child.set_clear_child_tid(request.child_tid.address().0);
        }
        if thread {
            tree.add_task(Arc::clone(&child));
            return Ok(child);
        }
        let own = tree.process(self.pid());
        let (process_group, session) = own.map_or((tid, tid), |own| (own.process_group, own.session));
        let terminal = own.and_then(|own| own.terminal.clone());
        let same_parent = flags.contains(CloneFlags::CLONE_PARENT);
        let parent = if same_parent { own.map_or(0, |own| own.parent) } else { self.pid() };
        let exit_signal = if same_parent { own.and_then(|own| own.exit_signal) } else { request.exit_signal };
        tree.add_process(Process {
            parent,
            parent_task: self.tid(),
            process_group,
            session,
            terminal,
            exit_signal,
            has_executed: false,
            ..Process::new(group, &child)
        });
        Ok(child)
    }

    /// The group of a child process.
    fn new_group(&self, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
        let group = ThreadGroup::new(pid, Arc::new(self.group().limits().duplicate()));
        group.timers().heed_processor_limit(self.kernel().timers(), &group)?;
        group.set_dumpable(self.group().dumpable());
        group.set_oom_score_adj(self.group().oom_score_adj());
        group.set_oom_score_adj_min(self.group().oom_score_adj_min());
        group.register_barriers(self.group().barriers());
        group.set_end_uid(self.credentials().uid);
        Ok(group)
    }

    /// Gives the child its signal state: the caller's mask, and nothing pending but what was sent to its process group since the fork
    /// began. A process that is ending gets no more tasks.
    fn add_signals(&self, child: &Arc<Task>, flags: CloneFlags) -> SysResult<()> {
        let (mask, stack, sent) = {
            let mut signals = self.group().signals();
            if signals.exit.is_some() || self.group().is_executing() {
                return Err(SysError::Restart(Restart::Always));
            }
            let own = signals.tasks.entry(self.tid()).or_default();
            (own.mask, own.stack, own.forking.unwrap_or_default())
        };
        let keep_stack = !flags.contains(CloneFlags::CLONE_VM) || flags.contains(CloneFlags::CLONE_VFORK);
        let state = TaskSignals {
            mask,
            stack: if keep_stack { stack } else { Default::default() },
            owner: Arc::downgrade(child),
            ..TaskSignals::default()
        };
        child.seccomp().inherit(self.seccomp());
        let mut signals = child.group().signals();
        if !flags.contains(CloneFlags::CLONE_THREAD) {
            sent.iter().for_each(|signal| signals.pending.push_bare(signal));
        }
        signals.tasks.insert(child.tid(), state);
        Ok(())
    }

    /// Starts the child's thread.
    fn start_child(&self, child: &Arc<Task>, request: &CloneRequest, fpu: FpuState) -> Result<(), Errno> {
        let mut registers = Registers { rax: 0, orig_rax: u64::MAX, ..self.registers() };
        if request.stack != 0 {
            registers.rsp = request.stack;
        }
        if request.flags.contains(CloneFlags::CLONE_SETTLS) {
            registers.fs_base = request.tls;
        }
        let set_tid = request.flags.contains(CloneFlags::CLONE_CHILD_SETTID).then_some(request.child_tid);
        self.kernel().start(child, StartState { registers, fpu: Some(fpu), set_tid })
    }

    /// Waits until a `vfork` child has executed a program or ended; only the end of this task ends the wait before that.
    fn wait_for_vfork(&self, child: &Arc<Task>) {
        let _killed = self.sleep_killable(|| (!child.has_vfork_parent()).then_some(()));
    }

    /// The platform failed: this process ends, or the sandbox.
    fn fatal(&self, error: &bartizan_platform::PlatformError) -> Errno {
        self.refuse(error);
        Errno::ENOMEM
    }
}

/// With what a task starts.
#[derive(Debug)]
pub struct StartState {
    /// Its registers.
    pub registers: Registers,
    /// Its extended state; the initial one if there is none.
    pub fpu: Option<FpuState>,
    /// Where it finds its number.
    pub set_tid: Option<UserPtr<i32>>,
}

impl Kernel {
    /// Starts the thread of `task`, which is in the tree.
    pub(super) fn start(&self, task: &Arc<Task>, state: StartState) -> Result<(), Errno> {
        let name = format!("task-{}", task.tid());
        let for_thread = Arc::clone(task);
        let thread = std::thread::Builder::new()
            .name(name)
            .stack_size(THREAD_STACK)
            .spawn(move || run_task(&for_thread, &state))
            .map_err(|_| Errno::EAGAIN)?;
        self.keep_thread(thread);
        Ok(())
    }
}

/// The life of a task's thread.
fn run_task(task: &Arc<Task>, state: &StartState) {
    let kernel = Arc::clone(task.kernel());
    let lived = catch_unwind(AssertUnwindSafe(|| live(task, state)));
    if let Err(panic) = lived {
        kernel.die(format!("the kernel panicked in task {}: {}", task.tid(), describe_panic(&*panic)));
        // Whatever it has not done yet of its end, it must not be waited for.
        let left = catch_unwind(AssertUnwindSafe(|| kernel.forget(task)));
        debug_assert!(left.is_ok(), "a task that panicked cannot be taken out of the tree");
    }
}

fn live(task: &Arc<Task>, state: &StartState) {
    let kernel = task.kernel();
    let context = match kernel.platform().new_context() {
        Ok(context) => context,
        Err(error) => {
            task.refuse(&error);
            kernel.forget(task);
            return;
        }
    };
    let Some(current) = CurrentTask::new(Arc::clone(task), context, state.registers) else {
        kernel.forget(task);
        return;
    };
    current.usage().enter(Mode::System);
    if let Some(fpu) = &state.fpu
        && let Err(error) = current.load_fpu(fpu)
    {
        current.refuse(&error);
    }
    if let Some(pointer) = state.set_tid {
        // As Linux, which ignores a bad address here.
        let _ignored = current.write_value(pointer, &task.tid());
    }
    if current.group().signals().has_work(current.tid()) {
        current.note_work();
    }
    let end = current.run();
    current.exit(end);
}

/// Waiting that only the end of the task interrupts.
impl CurrentTask {
    /// Waits on `queue` until `attempt` gives a value or the task has to end.
    pub(super) fn wait_killable<T>(
        &self,
        queue: &super::WaitQueue,
        attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        let key = queue.register(Arc::clone(self.parker()) as Arc<dyn super::Wake>, PollEvents::all());
        let result = self.sleep_killable(attempt);
        queue.unregister(key);
        result
    }

    /// As [`wait_killable`](Self::wait_killable), for a caller that has seen to it that its parker is told.
    fn sleep_killable<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, WaitError> {
        self.usage().enter(Mode::Idle);
        let result = loop {
            if let Some(value) = attempt() {
                break Ok(value);
            }
            if self.group().signals().has_to_end(self.tid()) {
                break Err(WaitError::Interrupted);
            }
            self.parker().park(None);
        };
        self.usage().enter(Mode::System);
        // Whatever woke this thread meanwhile for other reasons is looked at before guest code runs.
        self.note_work();
        result
    }
}

/// The mask with which the first process starts.
pub(super) const INITIAL_MASK: SigSet = SigSet::EMPTY;
