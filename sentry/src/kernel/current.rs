//! The task that runs on this host thread.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::PollEvents;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::Signal;
use bartizan_platform::{Context, Exit, FpuState, Identity, PlatformError, Registers};

use super::profile::TaskProfile;
use super::signal::{LastFault, TaskSignals};
use super::task::TaskState;
use super::usage::Mode;
use super::{RestartBlock, Task, WaitQueue, Wake};
use crate::WaitError;
use crate::mm::MemoryManager;
use crate::vfs::{FdTable, FsContext};

/// The task that runs on this host thread: its [`Task`], and what only its own thread touches. System call handlers get a
/// reference to it; it never leaves its thread.
pub struct CurrentTask {
    task: Arc<Task>,
    context: RefCell<Box<dyn Context>>,
    /// The registers of the guest while it is in the kernel.
    registers: Cell<Registers>,
    /// Whether the platform has not yet told all of them.
    partial: Cell<bool>,
    /// The same pointers as the task's, readable without a lock.
    memory: RefCell<Arc<MemoryManager>>,
    files: RefCell<Arc<FdTable>>,
    /// None at its end.
    fs: RefCell<Option<Arc<FsContext>>>,
    /// That it has to end, and how.
    end: Cell<Option<TaskEnd>>,
    /// Whether the platform tells guest code its ids.
    tells_identity: Cell<bool>,
    /// What it spends its time on, if somebody wants to know.
    profile: RefCell<Option<TaskProfile>>,
    last_fault: Cell<LastFault>,
    /// Whether it has stopped for its tracer in the call that it makes.
    pub(super) stopped_in_call: Cell<bool>,
    /// What `restart_syscall(2)` continues.
    pub(super) restart: Cell<RestartBlock>,
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// This task alone, with this code.
    Task(u8),
    /// This task alone, killed by this signal.
    Killed(Signal),
    /// Its whole process.
    Process(WaitStatus),
}

impl TaskEnd {
    /// How the task ends, as its tracer is told.
    pub fn status(self) -> WaitStatus {
        match self {
            Self::Task(code) => WaitStatus::Exited(code),
            Self::Killed(signal) => WaitStatus::Signaled { signal, core_dumped: false },
            Self::Process(status) => status,
        }
    }
}

impl Deref for CurrentTask {
    type Target = Arc<Task>;
    fn deref(&self) -> &Arc<Task> {
        &self.task
    }
}

impl std::fmt::Debug for CurrentTask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CurrentTask").field("task", &self.task).finish_non_exhaustive()
    }
}

impl CurrentTask {
    /// Makes the calling thread the one that runs `task`, from `registers` on. `None` if the task has exited.
    pub(super) fn new(task: Arc<Task>, context: Box<dyn Context>, registers: Registers) -> Option<Self> {
        let (memory, files, fs) = (task.memory()?, task.files()?, task.fs()?);
        task.parker().adopt();
        let profile = task.kernel().profiler().map(|profiler| profiler.begin(&task));
        task.set_interrupter(context.interrupter());
        Some(Self {
            task,
            context: RefCell::new(context),
            registers: Cell::new(registers),
            partial: Cell::new(false),
            memory: RefCell::new(memory),
            files: RefCell::new(files),
            fs: RefCell::new(Some(fs)),
            end: Cell::new(None),
            tells_identity: Cell::new(false),
            profile: RefCell::new(profile),
            last_fault: Cell::default(),
            stopped_in_call: Cell::new(false),
            restart: Cell::default(),
        })
    }

    /// The task itself.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// What it spends its time on, if somebody wants to know.
    #[inline]
    pub(super) fn profile(&self) -> RefMut<'_, Option<TaskProfile>> {
        self.profile.borrow_mut()
    }

    /// Runs guest code until something happens.
    pub(super) fn switch(&self) -> Result<Exit, PlatformError> {
        let memory = self.memory.borrow();
        let mut context = self.context.borrow_mut();
        memory.settle(Some(&mut **context))?;
        let mut registers = self.registers.get();
        let exit = context.switch(memory.space(), &mut registers);
        self.registers.set(registers);
        self.partial.set(matches!(exit, Ok(Exit::Syscall)));
        exit
    }

    /// Lets the platform answer `getpid` and `gettid` as long as nobody wants to see these calls.
    #[inline]
    pub(super) fn update_identity(&self) {
        let wanted = !self.task.seccomp().is_active();
        if wanted != self.tells_identity.get() {
            self.tell_identity(wanted);
        }
    }

    /// Has the platform ask for the ids, until [`update_identity`](Self::update_identity) is called.
    fn withhold_identity(&self) {
        self.tell_identity(false);
    }

    #[cold]
    fn tell_identity(&self, tell: bool) {
        self.tells_identity.set(tell);
        let seen = self.kernel().tracer().is_some() || self.profile.borrow().is_some();
        let ids = u32::try_from(self.task.pid()).ok().zip(u32::try_from(self.task.tid()).ok());
        let identity = ids.filter(|_| tell && !seen).map(|(process, thread)| Identity { process, thread });
        self.context.borrow_mut().set_identity(identity);
    }

    /// Where guest code makes calls so often that patching it would be worth it, if that has just come out.
    #[inline]
    pub(super) fn take_frequent_call(&self) -> Option<u64> {
        self.context.borrow_mut().take_frequent_call()
    }

    /// The number of the call that the guest has made, and its arguments.
    pub(crate) fn system_call(&self) -> (u64, [u64; 6]) {
        let registers = self.registers.get();
        let Registers { orig_rax, rdi, rsi, rdx, r10, r8, r9, .. } = registers;
        (orig_rax, [rdi, rsi, rdx, r10, r8, r9])
    }

    /// Where the guest goes on after the call that it has made.
    pub fn instruction_pointer(&self) -> u64 {
        self.registers.get().rip
    }

    /// Sets the result of the call that the guest has made.
    pub(super) fn set_result(&self, value: u64) {
        self.registers.set(Registers { rax: value, ..self.registers.get() });
    }

    /// The registers of the guest.
    pub fn registers(&self) -> Registers {
        let mut registers = self.registers.get();
        if self.partial.replace(false) {
            if let Err(error) = self.context.borrow_mut().complete_registers(&mut registers) {
                self.refuse(&error);
            }
            self.registers.set(registers);
        }
        registers
    }

    /// Replaces the registers of the guest.
    pub fn set_registers(&self, registers: Registers) {
        self.partial.set(false);
        self.registers.set(registers);
    }

    /// The extended state of the guest.
    pub fn save_fpu(&self) -> Result<FpuState, PlatformError> {
        self.context.borrow_mut().save_fpu()
    }

    /// Replaces the extended state of the guest.
    pub fn load_fpu(&self, state: &FpuState) -> Result<(), PlatformError> {
        self.context.borrow_mut().load_fpu(state)
    }

    /// Calls `operation` with the task's context, for operations on address spaces that can use it.
    pub fn with_context<T>(&self, operation: impl FnOnce(&mut dyn Context) -> T) -> T {
        operation(&mut **self.context.borrow_mut())
    }

    /// Its address space.
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.memory.borrow().clone()
    }

    /// Its descriptors.
    pub fn fd_table(&self) -> Arc<FdTable> {
        self.files.borrow().clone()
    }

    /// Its working directory, root and umask.
    pub fn fs_context(&self) -> Arc<FsContext> {
        self.fs.borrow().clone().unwrap_or_else(FsContext::nowhere)
    }

    /// Replaces its address space (`execve`); the old one is given up.
    pub(super) fn replace_memory(&self, memory: Arc<MemoryManager>) {
        let old = self.memory.replace(Arc::clone(&memory));
        self.context.borrow_mut().leave(old.space());
        // It may have become the leader of its process.
        self.withhold_identity();
        old.remove_user();
        self.detach_segments(&old);
        let _old = self.task.replace_shared(|shared| shared.memory = Some(memory));
    }

    /// Replaces its descriptors (`unshare`, `execve`).
    pub fn replace_files(&self, files: Arc<FdTable>) {
        let _old = self.files.replace(Arc::clone(&files));
        let _same = self.task.replace_shared(|shared| shared.files = Some(files));
    }

    /// Closes its descriptors, if nobody shares them: before its end is told to anybody, who may rely on that.
    pub(super) fn give_up_files(&self) {
        let files = self.files.replace(Arc::new(FdTable::default()));
        drop(files);
    }

    /// Gives up its working directory and root, and with them perhaps its mounts, before its end is told to anybody, who may rely on
    /// that.
    pub(super) fn give_up_fs(&self) {
        let fs = self.fs.take();
        drop(fs);
    }

    /// Replaces its working directory, root and umask (`unshare`).
    pub fn replace_fs(&self, fs: Arc<FsContext>) {
        let _old = self.fs.replace(Some(Arc::clone(&fs)));
        let _same = self.task.replace_shared(|shared| shared.fs = Some(fs));
    }

    /// Notes that the task ends before it runs guest code again.
    pub fn request_end(&self, end: TaskEnd) {
        self.end.set(Some(end));
    }

    /// How it has to end, if it has to.
    pub fn end(&self) -> Option<TaskEnd> {
        self.end.get()
    }

    /// The last processor exception.
    pub(super) fn last_fault(&self) -> LastFault {
        self.last_fault.get()
    }

    /// Notes a processor exception.
    pub(super) fn set_last_fault(&self, fault: LastFault) {
        self.last_fault.set(fault);
    }

    /// Reads or changes the task's own signal state.
    pub fn with_signals<T>(&self, change: impl FnOnce(&mut TaskSignals) -> T) -> T {
        let mut signals = self.group().signals();
        change(signals.tasks.entry(self.tid()).or_default())
    }

    /// Notes what it does, for `/proc`.
    pub(super) fn set_sleeping(&self, state: TaskState) {
        self.set_state(state);
    }

    /// Whether a signal has to be handled, or the task has to die, before it may sleep.
    pub fn signal_pending(&self) -> bool {
        if !self.has_work() {
            return false;
        }
        let pending = self.group().signals().has_work(self.tid());
        if !pending {
            self.clear_work();
            // Whatever came between the look and the clearing is looked at again.
            if self.group().signals().has_work(self.tid()) {
                self.set_work();
                return true;
            }
        }
        pending
    }

    /// Waits on `queue` until `attempt` gives a value.
    ///
    /// `attempt` is called once at first, and again after each notification of `interest`. No lock may be held by the caller, and
    /// `attempt` must give back what it takes.
    ///
    /// # Errors
    /// [`WaitError::Interrupted`] when a signal has to be handled, [`WaitError::TimedOut`] when `deadline` has passed.
    pub fn wait_on<T>(
        &self,
        queue: &WaitQueue,
        interest: PollEvents,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        let key = queue.register(Arc::clone(self.parker()) as Arc<dyn Wake>, interest);
        let result = self.wait_until(deadline, attempt);
        queue.unregister(key);
        result
    }

    /// As [`wait_on`](Self::wait_on), for a caller that has registered the task's parker wherever it wants to be woken from.
    pub fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            if self.signal_pending() {
                return Err(WaitError::Interrupted);
            }
            if !self.sleep(deadline) {
                return attempt().ok_or(WaitError::TimedOut);
            }
        }
    }

    /// Sleeps until it is woken or until `deadline`; returns whether it was woken.
    fn sleep(&self, deadline: Option<Instant>) -> bool {
        self.set_state(TaskState::Sleeping);
        self.usage().enter(Mode::Idle);
        let woken = self.parker().park(deadline);
        self.usage().enter(Mode::System);
        self.set_state(TaskState::Running);
        woken
    }
}
