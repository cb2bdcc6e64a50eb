//! Job control: which session a terminal controls, and who is in its foreground (`credentials(7)`, `tty_ioctl(4)`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bartizan_abi::Errno;
use bartizan_abi::process::Capability;
use bartizan_abi::signal::{SIG_IGN, SigInfo, Signal};

use super::Terminal;
use crate::kernel::signal::{Sender, Target};
use crate::kernel::{CurrentTask, TaskTree};
use crate::{Restart, SysError, SysResult};

/// Whether `task` may do what is the administrator's.
pub(super) fn may_administer(task: &CurrentTask) -> bool {
    task.credentials().has_capability(Capability::CAP_SYS_ADMIN)
}

/// Sends a signal of the kernel to all processes of a group.
fn signal_group(tree: &TaskTree, group: i32, signal: Signal) {
    for (_, process) in tree.process_group(group) {
        if let Some(task) = process.tasks.first() {
            // A standard signal: it is pending once, and never refused.
            let _sent = task.send_signal(SigInfo::kernel(signal), Target::Process, Sender::Kernel);
        }
    }
}

impl Terminal {
    /// Sends a signal to the process group in the foreground.
    pub(super) fn signal_foreground(&self, signal: Signal) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let tree = kernel.tree();
        let group = self.foreground();
        if group > 0 {
            signal_group(&tree, group, signal);
        }
    }

    /// Whether it is the controlling terminal of process `pid`.
    fn controls(self: &Arc<Self>, tree: &TaskTree, pid: i32) -> bool {
        tree.process(pid)
            .and_then(|process| process.terminal.as_ref())
            .is_some_and(|terminal| Arc::ptr_eq(terminal, self))
    }

    /// Makes it the controlling terminal of the session that `pid` leads (`__proc_set_tty`).
    pub fn control(self: &Arc<Self>, tree: &mut TaskTree, pid: i32) {
        let Some(process) = tree.process_mut(pid) else { return };
        process.terminal = Some(Arc::clone(self));
        self.session.store(process.session, Ordering::Relaxed);
        self.foreground.store(process.process_group, Ordering::Relaxed);
    }

    /// Takes it away from all processes of its session.
    fn release_session(&self, tree: &mut TaskTree) {
        let session = self.session.swap(0, Ordering::Relaxed);
        self.foreground.store(0, Ordering::Relaxed);
        tree.forget_terminal(session);
    }

    /// A leader of a session without terminal opens a terminal without session: it is theirs from now on.
    pub(super) fn adopt_session_of(self: &Arc<Self>, task: &CurrentTask) {
        let pid = task.pid();
        let mut tree = task.kernel().tree();
        let lacks =
            tree.process(pid).is_some_and(|process| process.session == pid && process.terminal.is_none());
        if lacks && self.session() == 0 {
            self.control(&mut tree, pid);
        }
    }

    /// `TIOCSCTTY`.
    pub(super) fn set_controlling(
        self: &Arc<Self>,
        task: &CurrentTask,
        steal: bool,
        readable: bool,
    ) -> Result<(), Errno> {
        let pid = task.pid();
        let mut tree = task.kernel().tree();
        let process = tree.process(pid).ok_or(Errno::ESRCH)?;
        let leads = process.session == pid;
        if leads && self.session() == pid {
            return Ok(());
        }
        if !leads || process.terminal.is_some() {
            return Err(Errno::EPERM);
        }
        if self.session() != 0 {
            if !steal || !may_administer(task) {
                return Err(Errno::EPERM);
            }
            self.release_session(&mut tree);
        }
        if !readable && !may_administer(task) {
            return Err(Errno::EPERM);
        }
        self.control(&mut tree, pid);
        Ok(())
    }

    /// `TIOCNOTTY`.
    pub(super) fn give_up(self: &Arc<Self>, task: &CurrentTask) -> Result<(), Errno> {
        let pid = task.pid();
        let mut tree = task.kernel().tree();
        if !self.controls(&tree, pid) {
            return Err(Errno::ENOTTY);
        }
        if tree.process(pid).is_some_and(|process| process.session == pid) {
            let group = self.foreground();
            if group > 0 {
                signal_group(&tree, group, Signal::SIGHUP);
                signal_group(&tree, group, Signal::SIGCONT);
            }
            self.release_session(&mut tree);
        } else if let Some(process) = tree.process_mut(pid) {
            process.terminal = None;
        }
        Ok(())
    }

    /// `TIOCGPGRP`; the master may always ask.
    pub(super) fn foreground_for(
        self: &Arc<Self>,
        task: &CurrentTask,
        is_master: bool,
    ) -> Result<i32, Errno> {
        let tree = task.kernel().tree();
        if !is_master && !self.controls(&tree, task.pid()) {
            return Err(Errno::ENOTTY);
        }
        Ok(self.foreground())
    }

    /// `TIOCGSID`.
    pub(super) fn session_for(self: &Arc<Self>, task: &CurrentTask, is_master: bool) -> Result<i32, Errno> {
        let tree = task.kernel().tree();
        if (!is_master && !self.controls(&tree, task.pid())) || self.session() == 0 {
            return Err(Errno::ENOTTY);
        }
        Ok(self.session())
    }

    /// `TIOCSPGRP`.
    pub(super) fn set_foreground(self: &Arc<Self>, task: &CurrentTask, group: i32) -> SysResult<()> {
        match self.check_background(task, Signal::SIGTTOU) {
            Err(SysError::Errno(Errno::EIO)) => return Err(Errno::ENOTTY.into()),
            result => result?,
        }
        let pid = task.pid();
        let tree = task.kernel().tree();
        let session = tree.process(pid).map_or(0, |process| process.session);
        if !self.controls(&tree, pid) || self.session() != session {
            return Err(Errno::ENOTTY.into());
        }
        if group < 0 {
            return Err(Errno::EINVAL.into());
        }
        if tree.process_group(group).next().is_none() {
            return Err(Errno::ESRCH.into());
        }
        if !tree.group_in_session(group, session) {
            return Err(Errno::EPERM.into());
        }
        self.foreground.store(group, Ordering::Relaxed);
        Ok(())
    }

    /// Stops the caller by `signal` if it is in the background of its own terminal (`tty_check_change`).
    ///
    /// # Errors
    /// `EIO` for those that nobody could continue; the restart after the stop.
    pub(super) fn check_background(self: &Arc<Self>, task: &CurrentTask, signal: Signal) -> SysResult<()> {
        let pid = task.pid();
        let blocked = task.with_signals(|signals| signals.mask.has(signal));
        let ignored = blocked || task.actions().get(signal).handler == SIG_IGN;
        let tree = task.kernel().tree();
        let foreground = self.foreground();
        let group = tree.process(pid).map_or(0, |process| process.process_group);
        if !self.controls(&tree, pid) || foreground == 0 || foreground == group {
            return Ok(());
        }
        if ignored {
            return if signal == Signal::SIGTTIN { Err(Errno::EIO.into()) } else { Ok(()) };
        }
        if tree.is_orphaned(group, 0) {
            return Err(Errno::EIO.into());
        }
        signal_group(&tree, group, signal);
        Err(SysError::Restart(Restart::IfAsked))
    }

    /// Tells the session that its terminal is gone, and takes it away (`tty_signal_session_leader`). When the leader
    /// exits, the foreground hears of it too.
    pub(super) fn hang_up_session(&self, leader_exits: bool) {
        if let Some(kernel) = self.kernel.upgrade() {
            self.hang_up_session_in(&mut kernel.tree(), leader_exits);
        }
    }

    /// As [`hang_up_session`](Self::hang_up_session), for a caller that has the lock of the process tree.
    pub(in crate::kernel) fn hang_up_session_in(&self, tree: &mut TaskTree, leader_exits: bool) {
        let (session, group) = (self.session(), self.foreground());
        if session == 0 {
            return;
        }
        if let Some(leader) = tree.process(session).and_then(|process| process.tasks.first()) {
            for signal in [Signal::SIGHUP, Signal::SIGCONT] {
                let _sent = leader.send_signal(SigInfo::kernel(signal), Target::Process, Sender::Kernel);
            }
        }
        if leader_exits && group > 0 {
            signal_group(tree, group, Signal::SIGHUP);
        }
        self.release_session(tree);
    }
}
