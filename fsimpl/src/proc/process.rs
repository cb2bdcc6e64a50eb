//! What `/proc` asks of the kernel about tasks: the one place that knows where the kernel keeps it.
//!
//! Nothing here keeps a task alive: a file of `/proc` that outlives its process answers `ESRCH`.

use std::sync::{Arc, Weak};

use bartizan_abi::{CapabilitySet, Errno, Signal};
use bartizan_sentry::kernel::ptrace::AccessMode;
use bartizan_sentry::kernel::{
    Credentials, CurrentTask, EndedTasks, IoCounts, IoUsage, Kernel, Task, ThreadGroup,
};
use bartizan_sentry::mm::MemoryManager;

use super::system::since_boot;
use super::task::snapshot::{Signals, Snapshot, State, Times};

/// Numbers of tasks.
#[derive(Debug, Clone, Copy)]
pub struct TaskCount {
    /// Those that exist.
    pub all: usize,
    /// Those that may run.
    pub running: usize,
    /// The number that was given out last.
    pub last: i32,
    /// How many there have been.
    pub made: u64,
    /// What they have used, those that have ended among them.
    pub used: EndedTasks,
}

/// How many tasks `kernel` has.
pub fn count(kernel: &Kernel) -> TaskCount {
    let used = kernel.used();
    let tree = kernel.tree();
    let running = tree.tasks().filter(|task| task.state() == 'R').count();
    TaskCount { all: tree.task_count(), running, last: tree.last(), made: tree.made(), used }
}

/// The numbers of all processes from `first` on, ascending; zombies too.
pub fn processes(kernel: &Kernel, first: i32, most: usize) -> Vec<i32> {
    kernel.tree().processes().map(|(pid, _)| pid).skip_while(|&pid| pid < first).take(most).collect()
}

/// What `task` does.
fn state(task: Option<&Task>, ended: bool) -> State {
    match task.filter(|_| !ended).map(Task::state) {
        Some('R') => State::Running,
        Some('S') => State::Sleeping,
        Some('T') => State::Stopped,
        Some('t') => State::Traced,
        _ => State::Zombie,
    }
}

/// The identity of a process that has ended: root's, without privileges.
fn nobody() -> Arc<Credentials> {
    Arc::new(Credentials {
        permitted: CapabilitySet::EMPTY,
        effective: CapabilitySet::EMPTY,
        ..Credentials::root()
    })
}

/// When `task` started, in nanoseconds after the boot.
fn start_of(task: &Task) -> u64 {
    let start = since_boot().saturating_sub(task.started().elapsed());
    u64::try_from(start.as_nanos()).unwrap_or(u64::MAX)
}

/// A process or one task of it, by number; stands for it even when it is gone.
#[derive(Debug, Clone)]
pub struct Subject {
    kernel: Weak<Kernel>,
    group: Weak<ThreadGroup>,
    pid: i32,
    tid: i32,
    /// Whether the files are those of one task (`/proc/[pid]/task/[tid]`) rather than of the process.
    single: bool,
}

impl Subject {
    /// Process `pid`, or the process of task `pid`: Linux finds both in `/proc`, but lists only processes.
    pub fn process(kernel: &Arc<Kernel>, pid: i32) -> Result<Self, Errno> {
        let tree = kernel.tree();
        let group = match tree.process(pid) {
            Some(process) => Arc::clone(&process.group),
            None => Arc::clone(tree.task(pid).ok_or(Errno::ENOENT)?.group()),
        };
        let kernel = Arc::downgrade(kernel);
        Ok(Self { kernel, pid: group.pid(), tid: pid, group: Arc::downgrade(&group), single: false })
    }

    /// Task `tid` of this process.
    pub fn task_of(&self, tid: i32) -> Result<Self, Errno> {
        if self.tids()?.contains(&tid) {
            Ok(Self { tid, single: true, ..self.clone() })
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// The task number.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Whether this is one task rather than the process.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// Whether it still exists.
    pub fn exists(&self) -> bool {
        let Ok(kernel) = self.kernel() else { return false };
        let tree = kernel.tree();
        let same = |group: &Arc<ThreadGroup>| std::ptr::eq(Arc::as_ptr(group), self.group.as_ptr());
        tree.process(self.pid).is_some_and(|process| same(&process.group))
            && (!self.single || tree.task(self.tid).is_some_and(|task| same(task.group())))
    }

    /// The kernel.
    pub fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ESRCH)
    }

    /// What the tasks of the process share.
    pub fn group(&self) -> Result<Arc<ThreadGroup>, Errno> {
        self.group.upgrade().ok_or(Errno::ESRCH)
    }

    /// The task: the leader, or if that has ended any other of the process.
    pub fn task(&self) -> Result<Arc<Task>, Errno> {
        if !self.exists() {
            return Err(Errno::ESRCH);
        }
        let kernel = self.kernel()?;
        let tree = kernel.tree();
        let own = tree.task(self.tid).cloned();
        own.or_else(|| tree.process(self.pid)?.tasks.first().cloned()).ok_or(Errno::ESRCH)
    }

    /// The memory; `None` for a zombie.
    pub fn memory(&self) -> Result<Option<Arc<MemoryManager>>, Errno> {
        match self.task() {
            Ok(task) => Ok(task.memory()),
            Err(_) if self.exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The numbers of the tasks, ascending.
    pub fn tids(&self) -> Result<Vec<i32>, Errno> {
        let kernel = self.kernel()?;
        let tree = kernel.tree();
        let process = tree.process(self.pid).ok_or(Errno::ENOENT)?;
        let mut tids: Vec<i32> = process.tasks.iter().map(|task| task.tid()).collect();
        if tids.is_empty() {
            tids.push(self.pid);
        }
        tids.sort_unstable();
        Ok(tids)
    }

    /// The processes that the task has made and that have not been waited for, ascending.
    pub fn children(&self) -> Result<Vec<i32>, Errno> {
        let kernel = self.kernel()?;
        let tree = kernel.tree();
        let process = tree.process(self.pid).ok_or(Errno::ESRCH)?;
        let leads = self.tid == self.pid;
        let made = |child: &i32| {
            // Children of a task that is gone count as the leader's.
            let maker = tree.process(*child).map_or(0, |child| child.parent_task);
            maker == self.tid || leads && !process.tasks.iter().any(|task| task.tid() == maker)
        };
        Ok(process.children.iter().copied().filter(made).collect())
    }

    /// Who owns its files: its effective ids, or root's if it must not be looked at.
    pub fn owner(&self) -> (u32, u32) {
        match (self.task(), self.group()) {
            (Ok(task), Ok(group)) if group.dumpable() == 1 => {
                let credentials = task.credentials();
                (credentials.euid, credentials.egid)
            }
            _ => (0, 0),
        }
    }

    /// Fails with `EACCES` unless `reader` may look inside (`PTRACE_MODE_READ`): the same user and group ids, or privilege.
    pub fn check_access(&self, reader: Option<&CurrentTask>) -> Result<(), Errno> {
        let Some(reader) = reader else { return Ok(()) };
        if reader.group().pid() == self.pid {
            return Ok(());
        }
        if reader.may_trace(&*self.task()?, AccessMode::FileSystem) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether `reader` may look inside (`PTRACE_MODE_READ_FSCREDS`), also after its end.
    pub fn is_open_to(&self, reader: &CurrentTask) -> bool {
        let ended = || self.kernel().ok()?.tree().process(self.pid)?.last_task.clone();
        let task = self.task().ok().or_else(ended);
        task.is_some_and(|task| reader.may_trace(&task, AccessMode::FileSystem))
    }

    /// All that the files tell, as it is now.
    pub fn snapshot(&self) -> Result<Snapshot, Errno> {
        let kernel = self.kernel()?;
        let group = self.group()?;
        let task = self.task().ok().or_else(|| kernel.tree().process(self.pid)?.last_task.clone());
        let (parent, tracer, process_group, session, terminal, threads, end) = {
            let tree = kernel.tree();
            let process = tree.process(self.pid).ok_or(Errno::ESRCH)?;
            let end = process.end.map(|end| end.encode());
            let terminal = process.terminal.as_ref();
            let terminal = terminal.map(|terminal| (terminal.device(), terminal.foreground()));
            let tracer = tree.tracer_of(self.tid).unwrap_or(0);
            (
                process.parent,
                tracer,
                process.process_group,
                process.session,
                terminal,
                process.tasks.len(),
                end,
            )
        };
        let memory = task.as_ref().and_then(|task| task.memory());
        let files = task.as_ref().and_then(|task| task.files());
        let fs = task.as_ref().and_then(|task| task.fs());
        let limits = group.limits();
        let scheduling = task.as_ref().map(|task| task.scheduling()).unwrap_or_default();
        Ok(Snapshot {
            name: task.as_ref().map_or_else(Vec::new, |task| task.name()),
            state: state(task.as_deref(), end.is_some()),
            pid: self.pid,
            tid: self.tid,
            parent,
            tracer,
            process_group,
            session,
            terminal,
            threads: threads.max(1),
            exit_code: end.unwrap_or(0),
            credentials: task.as_ref().map_or_else(nobody, |task| task.credentials()),
            seccomp: task.as_ref().map_or((0, 0), |task| (task.seccomp().mode(), task.seccomp().filters())),
            umask: fs.map(|fs| fs.umask().bits()),
            descriptors: files.map_or(0, |files| files.size()),
            signals: self.signals(&group, task.as_deref()),
            times: self.times(&group, task.as_deref()),
            memory: memory.map(|memory| (memory.sizes(), memory.layout())),
            scheduling,
            processors: scheduling.processors.unwrap_or_else(|| *kernel.processors()),
            switches: task.as_ref().map_or(0, |task| task.usage().switches()),
            resident_limit: limits.soft(bartizan_abi::Resource::RLIMIT_RSS),
        })
    }

    fn signals(&self, group: &ThreadGroup, task: Option<&Task>) -> Signals {
        let mut result = Signals {
            limit: group.limits().soft(bartizan_abi::Resource::RLIMIT_SIGPENDING),
            ..Signals::default()
        };
        {
            let signals = group.signals();
            result.shared_pending = signals.pending.set();
            result.queued = signals.pending.len();
            if let Some(own) = task.and_then(|task| signals.tasks.get(&task.tid())) {
                result.pending = own.pending.set();
                result.blocked = own.mask;
                result.queued += own.pending.len();
            }
        }
        if let Some(task) = task {
            let actions = task.actions();
            for signal in Signal::all() {
                if actions.handles(signal) {
                    result.caught.insert(signal);
                } else if actions.get(signal).handler == bartizan_abi::SIG_IGN {
                    result.ignored.insert(signal);
                }
            }
        }
        result
    }

    fn times(&self, group: &ThreadGroup, task: Option<&Task>) -> Times {
        let (children_user, children_system) = group.children_time();
        let tasks = match (self.single, self.kernel()) {
            (false, Ok(kernel)) => {
                kernel.tree().process(self.pid).map(|process| process.tasks.clone()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let (mut user, mut system) = if self.single { (0, 0) } else { group.ended_time() };
        for (own_user, own_system) in tasks
            .iter()
            .map(|task| task.usage().times())
            .chain(task.filter(|_| self.single).map(|task| task.usage().times()))
        {
            user += own_user;
            system += own_system;
        }
        Times { user, system, children_user, children_system, start: task.map_or(0, start_of) }
    }

    /// What the process, or the task, has read and written.
    pub fn io(&self) -> Result<IoCounts, Errno> {
        if self.single {
            return Ok(self.task()?.io().counts());
        }
        let kernel = self.kernel()?;
        let group = self.group()?;
        // A task's counts move from the one sum to the other with the tree locked.
        let tree = kernel.tree();
        let total = IoUsage::default();
        total.add(group.ended_io().counts());
        for task in &tree.process(self.pid).ok_or(Errno::ESRCH)?.tasks {
            total.add(task.io().counts());
        }
        Ok(total.counts())
    }

    /// The name of the task.
    pub fn name(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.task()?.name())
    }

    /// Gives the task a new name, cut to 15 bytes.
    pub fn set_name(&self, name: &[u8]) -> Result<(), Errno> {
        self.task()?.set_name(&name[..name.len().min(15)]);
        Ok(())
    }
}
