//! Waiting for children: `wait4(2)`, `waitid(2)`.

use bartizan_abi::process::{WaitOptions, WaitStatus};
use bartizan_abi::signal::Signal;
use bartizan_abi::{Errno, PollEvents};

use super::CurrentTask;
use super::tree::{Process, TaskTree};
use crate::{Restart, SysError, SysResult, WaitError};

/// For whom is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// Any child.
    All,
    /// This child.
    Process(i32),
    /// Any child in this process group.
    Group(i32),
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// Which child.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// What became of it.
    pub status: WaitStatus,
    /// Whether it stopped for its tracer, which is the caller.
    pub trapped: bool,
    /// The processor time that it and its own children used: user and system, nanoseconds.
    pub times: (u64, u64),
}

/// One look at the children.
pub(super) enum Look {
    Found(Waited),
    /// There are such children, but nothing to tell.
    Nothing,
    /// There are no such children.
    None,
}

impl CurrentTask {
    /// Waits for a child of the process. `None` with `WNOHANG` when there is nothing to tell yet.
    ///
    /// # Errors
    /// `ECHILD` when there is no such child.
    pub fn wait_for_child(&self, children: Children, options: WaitOptions) -> SysResult<Option<Waited>> {
        let look = || {
            let mut tree = self.kernel().tree();
            let look = self.look(&mut tree, children, options);
            match look {
                Look::Found(waited) => Some(Ok(Some(waited))),
                Look::None => Some(Err(Errno::ECHILD)),
                Look::Nothing if options.contains(WaitOptions::WNOHANG) => Some(Ok(None)),
                Look::Nothing => None,
            }
        };
        match self.wait_on(self.group().child_events(), PollEvents::POLLIN, None, look) {
            Ok(result) => Ok(result?),
            Err(WaitError::Interrupted | WaitError::TimedOut) => Err(SysError::Restart(Restart::IfAsked)),
        }
    }

    /// Looks at all children once and takes the first that has something to tell.
    fn look(&self, tree: &mut TaskTree, children: Children, options: WaitOptions) -> Look {
        let own = tree.process(self.pid()).map(|own| own.children.clone()).unwrap_or_default();
        let mut any = false;
        for pid in own {
            let Some(child) = tree.process(pid) else { continue };
            let meant = match children {
                Children::All => true,
                Children::Process(wanted) => wanted == pid,
                Children::Group(group) => child.process_group == group,
            };
            if !meant || !is_of_kind(child, options) {
                continue;
            }
            any = true;
            if let Some(waited) = self.tell(tree, pid, options) {
                return Look::Found(waited);
            }
        }
        match self.look_at_tracees(tree, children, options) {
            Look::None if any => Look::Nothing,
            look => look,
        }
    }

    /// What there is to tell of child `pid`; without `WNOWAIT` it is told once.
    fn tell(&self, tree: &mut TaskTree, pid: i32, options: WaitOptions) -> Option<Waited> {
        let keep = options.contains(WaitOptions::WNOWAIT);
        // Its tracer comes first.
        let waits_for_tracer = tree.is_traced_by_stranger(pid);
        let child = tree.process_mut(pid)?;
        let uid = child.group.end_uid();
        let (own, below) = (child.group.ended_time(), child.group.children_time());
        let times = (own.0 + below.0, own.1 + below.1);
        if let Some(status) = child.end {
            if !options.contains(WaitOptions::WEXITED) || waits_for_tracer {
                return None;
            }
            if !keep {
                self.group().ended_io().add(child.group.ended_io().counts());
                self.group().add_children_time(times);
                self.kernel().reap(tree, pid);
            }
            return Some(Waited { pid, uid, status, trapped: false, times });
        }
        let status = child.report.filter(|report| match report {
            WaitStatus::Stopped { .. } => options.contains(WaitOptions::WUNTRACED),
            _ => options.contains(WaitOptions::WCONTINUED),
        })?;
        if !keep {
            child.report = None;
        }
        Some(Waited { pid, uid, status, trapped: false, times })
    }
}

/// Whether options about the kind of child include this one: `__WCLONE` means children that do not send `SIGCHLD`.
fn is_of_kind(child: &Process, options: WaitOptions) -> bool {
    options.contains(WaitOptions::__WALL)
        || options.contains(WaitOptions::__WCLONE) == (child.exit_signal != Some(Signal::SIGCHLD))
}
