//! Processes that the host starts, and how it waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{SigCode, SigInfo, Signal};
use bartizan_abi::{Errno, PollEvents};

use super::clone::{INITIAL_MASK, StartState};
use super::signal::{Sender, SignalActions, Target, TaskSignals};
use super::task::{NewTask, TASK_COMM_LEN, TaskShared};
use super::terminal::Terminal;
use super::tree::Process;
use super::{Credentials, Kernel, Limits, Parker, Task, ThreadGroup, Wake};
use crate::loader::{AfterExec, Arguments, ExecRequest, Identity, LoadRequest, prepare};
use crate::vfs::{FdTable, File, FsContext, FsStr, FsString};

/// A process to be started by the host.
#[derive(Debug)]
pub struct ProcessOptions {
    /// The program, in the sandbox.
    pub path: FsString,
    /// Arguments, from the name of the program on, and environment.
    pub arguments: Arguments,
    /// Who it is.
    pub credentials: Credentials,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Its working directory, root and umask.
    pub fs: Arc<FsContext>,
    /// Its limits.
    pub limits: Limits,
    /// The terminal that controls its session.
    pub terminal: Option<Arc<Terminal>>,
}

/// What became of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It ended by itself, with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// The sandbox ended by itself, with this report.
    SandboxDied(String),
}

/// The host's handle on a process that it has started.
#[derive(Debug)]
pub struct ProcessHandle {
    kernel: Arc<Kernel>,
    pid: i32,
    end: Option<ProcessEnd>,
}

impl Kernel {
    /// Starts a process as the host asks for it. The first one is the init of the sandbox.
    ///
    /// # Errors
    /// Those of `execve(2)`; `EAGAIN` when the host's limits are reached.
    pub fn start_process(self: &Arc<Self>, options: ProcessOptions) -> Result<ProcessHandle, Errno> {
        let ProcessOptions { path, arguments, credentials, files, fs, limits, terminal } = options;
        let open = |path: &FsStr| fs.open_executable_as(&credentials, path);
        let request = ExecRequest {
            file: open(&path)?,
            path,
            after_exec: AfterExec::Reachable,
            arguments,
            stack_limit: limits.memory().stack,
        };
        let program = prepare::<File>(request, &mut |path: &FsStr| open(path))?;
        let mut name = [0; TASK_COMM_LEN];
        name[..program.task_name().len()].copy_from_slice(program.task_name());
        let opened = program.opened();
        let ids = &credentials.user_namespace;
        let image = program.load(&LoadRequest {
            platform: self.platform(),
            memory: self.memory(),
            vdso: self.vdso(),
            limits: limits.memory(),
            identity: Identity {
                uid: ids.uid(credentials.uid),
                euid: ids.uid(credentials.euid),
                gid: ids.gid(credentials.gid),
                egid: ids.gid(credentials.egid),
                secure: false,
            },
            personality: Default::default(),
        })?;
        opened.iter().for_each(|file| file.allow_writes());
        let shared = TaskShared { memory: Some(image.memory), files: Some(files), fs: Some(fs) };
        let task = self.first_task(shared, credentials, limits, name)?;
        if let Some(terminal) = terminal {
            terminal.control(&mut self.tree(), task.pid());
        }
        let state = StartState { registers: image.registers, fpu: None, set_tid: None };
        if let Err(errno) = self.start(&task, state) {
            self.abandon(&task);
            return Err(errno);
        }
        Ok(self.handle_on(task.pid()))
    }

    /// The host's handle on process `pid`.
    pub(super) fn handle_on(self: &Arc<Self>, pid: i32) -> ProcessHandle {
        ProcessHandle { kernel: Arc::clone(self), pid, end: None }
    }

    /// Puts the only task of a new process into the tree, in a session of its own.
    pub(super) fn first_task(
        self: &Arc<Self>,
        shared: TaskShared,
        credentials: Credentials,
        limits: Limits,
        name: [u8; TASK_COMM_LEN],
    ) -> Result<Arc<Task>, Errno> {
        let mut tree = self.tree();
        if self.is_dead() {
            return Err(Errno::EAGAIN);
        }
        let tid = tree.allocate()?;
        let group = ThreadGroup::new(tid, Arc::new(limits));
        group.set_host_child(true);
        group.set_end_uid(credentials.uid);
        let task = Task::new(
            self,
            NewTask {
                tid,
                group: Arc::clone(&group),
                credentials: Arc::new(credentials),
                actions: Arc::new(SignalActions::default()),
                shared,
                name,
            },
        );
        let signals =
            TaskSignals { mask: INITIAL_MASK, owner: Arc::downgrade(&task), ..TaskSignals::default() };
        group.signals().tasks.insert(tid, signals);
        tree.add_process(Process::new(group, &task));
        Ok(task)
    }
}

impl ProcessHandle {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; one that has ended ignores it.
    pub fn signal(&self, signal: i32) {
        let Some(signal) = Signal::from_raw(signal) else { return };
        let task = self.kernel.tree().process(self.pid).and_then(|process| process.tasks.first().cloned());
        if let Some(task) = task {
            let info = SigInfo::kill(signal, SigCode::SI_USER, 0, 0);
            // A full queue of real-time signals loses it, as kill(2) does.
            let _lost = task.send_signal(info, Target::Process, Sender::Kernel);
        }
    }

    /// Waits for its end, for at most `limit`; `None` when it still runs then. May be called again.
    pub fn wait(&mut self, limit: Option<Duration>) -> Option<ProcessEnd> {
        if self.end.is_none() {
            self.end = self.wait_for_end(limit.and_then(|limit| Instant::now().checked_add(limit)));
        }
        self.end.clone()
    }

    fn wait_for_end(&self, deadline: Option<Instant>) -> Option<ProcessEnd> {
        let parker = Arc::new(Parker::new());
        parker.adopt();
        let key = self.kernel.task_ends().register(Arc::clone(&parker) as Arc<dyn Wake>, PollEvents::POLLIN);
        let end = loop {
            if let Some(end) = self.take_end() {
                break Some(end);
            }
            if !parker.park(deadline) {
                break self.take_end();
            }
        };
        self.kernel.task_ends().unregister(key);
        end
    }

    /// Its end, if that has come; takes it out of the tree.
    fn take_end(&self) -> Option<ProcessEnd> {
        let mut tree = self.kernel.tree();
        let status = tree.process(self.pid).map_or(Some(KILLED), |process| process.end)?;
        self.kernel.reap(&mut tree, self.pid);
        drop(tree);
        if let Some(report) = self.kernel.report() {
            return Some(ProcessEnd::SandboxDied(report.to_owned()));
        }
        Some(match status {
            WaitStatus::Exited(code) => ProcessEnd::Exited(i32::from(code)),
            WaitStatus::Signaled { signal, .. } => ProcessEnd::Signaled(signal.raw()),
            WaitStatus::Stopped { .. } | WaitStatus::Continued => ProcessEnd::Signaled(Signal::SIGKILL.raw()),
        })
    }
}

/// The end of a process that is not in the tree any more: the sandbox was shut down.
const KILLED: WaitStatus = WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false };
