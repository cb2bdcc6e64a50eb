//! Executing programs: `execve(2)`, `execveat(2)`.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::Personality;
use bartizan_abi::signal::Signal;
use bartizan_platform::Registers;

use super::{Credentials, CurrentTask};
use crate::loader::{AfterExec, Arguments, ExecRequest, Identity, LoadRequest, Program, prepare};
use crate::vfs::{File, FsStr, FsString};
use crate::{SysError, SysResult};

/// What is to be executed.
#[derive(Debug)]
pub struct Execution {
    /// The program or script, open and allowed to be executed.
    pub file: Arc<File>,
    /// Its path as the program gets to know it.
    pub path: FsString,
    /// Whether a `#!` interpreter could open `path`.
    pub after_exec: AfterExec,
    /// Arguments and environment.
    pub arguments: Arguments,
}

impl CurrentTask {
    /// Replaces the program. On success the task goes on in the new one.
    ///
    /// # Errors
    /// Those of `execve(2)`. When the old program is gone already, the process is killed instead.
    pub fn execute(&self, execution: Execution) -> SysResult<()> {
        let limits = self.group().limits().memory();
        let request = ExecRequest {
            file: execution.file,
            path: execution.path,
            after_exec: execution.after_exec,
            arguments: execution.arguments,
            stack_limit: limits.stack,
        };
        let program = prepare(request, &mut |path: &FsStr| self.open_executable(path))?;
        let old = self.credentials();
        let credentials = credentials_after(&old, &program, self.tracer_allows_gains())?;
        let old_tid = self.tid();
        self.end_other_tasks()?;
        // From here on there is no way back.
        let secure = credentials.euid != old.uid || credentials.egid != old.gid;
        let personality = self.personality_after(secure);
        let ids = &credentials.user_namespace;
        let load = LoadRequest {
            platform: self.kernel().platform(),
            memory: self.kernel().memory(),
            vdso: self.kernel().vdso(),
            limits,
            identity: Identity {
                uid: ids.uid(credentials.uid),
                euid: ids.uid(credentials.euid),
                gid: ids.gid(credentials.gid),
                egid: ids.gid(credentials.egid),
                secure,
            },
            personality,
        };
        let name = program.task_name().to_vec();
        let opened = program.opened();
        let image = match program.load(&load) {
            Ok(image) => image,
            Err(errno) => {
                self.force_fatal_signal(Signal::SIGSEGV);
                return Err(errno.into());
            }
        };
        opened.iter().for_each(|file| file.allow_writes());
        self.release_robust_futexes();
        self.futex_owner().restart();
        self.set_clear_child_tid(0);
        self.replace_memory(image.memory);
        self.release_vfork_parent();
        let (number, _) = self.system_call();
        self.set_registers(Registers { orig_rax: number, ..image.registers });
        if let Err(error) = self.load_fpu(&bartizan_platform::FpuState::initial()) {
            self.refuse(&error);
        }
        self.set_name(&name);
        self.set_personality(personality);
        self.group().forget_barriers();
        self.reset_signals();
        self.set_credentials(credentials);
        self.group().set_dumpable(i32::from(!secure));
        let files = self.fd_table();
        let files = if Arc::strong_count(&files) > 3 { files.duplicate() } else { files };
        files.close_on_exec();
        self.replace_files(files);
        if let Some(process) = self.kernel().tree().process_mut(self.pid()) {
            process.has_executed = true;
            process.exit_signal = Some(Signal::SIGCHLD);
        }
        self.tell_exec(old_tid);
        Ok(())
    }

    /// The personality with which the program starts: data of 64-bit programs is never executable, and peculiarities that weaken a
    /// program do not reach a privileged one.
    fn personality_after(&self, secure: bool) -> Personality {
        let cleared = if secure { Personality::PER_CLEAR_ON_SETID } else { Personality::READ_IMPLIES_EXEC };
        self.personality().difference(cleared)
    }

    /// Ends all other tasks of the process and takes over its number (`de_thread`).
    fn end_other_tasks(&self) -> SysResult<()> {
        let group = self.group();
        {
            let mut signals = group.signals();
            if signals.exit.is_some() || group.set_executing(true) {
                return Err(SysError::Restart(crate::Restart::Always));
            }
            let own = self.tid();
            for (_, task) in signals.tasks.iter_mut().filter(|(tid, _)| **tid != own) {
                task.die = true;
            }
            signals.wake_all();
        }
        let alone =
            self.wait_killable(group.end_events(), || (group.signals().tasks.len() <= 1).then_some(()));
        if alone.is_err() {
            group.set_executing(false);
            return Err(Errno::EAGAIN.into());
        }
        // The task has left the signal state before it left the tree; wait for that as well, so that its number is free.
        let left = self.wait_killable(group.end_events(), || {
            let tree = self.kernel().tree();
            tree.process(self.pid()).is_some_and(|process| process.tasks.len() <= 1).then_some(())
        });
        if left.is_ok() && self.tid() != self.pid() {
            let mut tree = self.kernel().tree();
            let old = self.tid();
            tree.become_leader(self.task());
            let mut signals = group.signals();
            if let Some(state) = signals.tasks.remove(&old) {
                signals.tasks.insert(self.pid(), state);
            }
        }
        group.set_executing(false);
        left.map_err(|_| Errno::EAGAIN.into())
    }

    /// Handlers become the default; the alternate stack and what waited in `restart_syscall` are gone.
    fn reset_signals(&self) {
        self.set_actions(self.actions().for_exec());
        self.with_signals(|task| {
            task.stack = Default::default();
            task.saved_mask = None;
        });
        self.take_restart();
        self.group().timers().remove_all();
    }

    /// Opens an interpreter that a program names.
    fn open_executable(&self, path: &FsStr) -> Result<Arc<File>, Errno> {
        self.fs_context().open_executable(self, path)
    }
}

/// Who the task is in the new program: set-id bits, unless its tracer is in the way, and capabilities as `capabilities(7)` computes them.
fn credentials_after(
    old: &Credentials,
    program: &Program<File>,
    tracer_allows: bool,
) -> Result<Credentials, Errno> {
    let file = program.executable();
    let attributes = file.inode().attributes()?;
    let set_ids =
        tracer_allows && !old.no_new_privs && !file.path().mount.forbids_set_id(&old.user_namespace);
    Ok(old.after_exec(set_ids.then_some(&attributes)))
}
