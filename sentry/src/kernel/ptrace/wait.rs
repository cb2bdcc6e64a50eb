//! Waiting for tracees.

use bartizan_abi::process::{WaitOptions, WaitStatus};

use super::Tracing;
use crate::kernel::tree::TaskTree;
use crate::kernel::wait::Look;
use crate::kernel::{Children, CurrentTask, Waited};

impl CurrentTask {
    /// Looks at all tracees of the caller's process once, or with `__WNOTHREAD` of the caller, and takes the first that has something to tell.
    pub(in crate::kernel) fn look_at_tracees(
        &self,
        tree: &mut TaskTree,
        children: Children,
        options: WaitOptions,
    ) -> Look {
        let own_only = options.contains(WaitOptions::__WNOTHREAD);
        let mine = |tree: &TaskTree, tracer: i32| {
            tracer == self.tid()
                || !own_only && tree.task(tracer).is_some_and(|task| task.pid() == self.pid())
        };
        let tracees: Vec<(i32, Tracing)> = tree
            .tracings()
            .filter(|(_, tracing)| mine(tree, tracing.tracer))
            .map(|(tid, tracing)| (tid, *tracing))
            .collect();
        let mut any = false;
        for (tid, tracing) in tracees {
            if !is_meant(tree, tid, &tracing, children) {
                continue;
            }
            any = true;
            if let Some(waited) = self.tell_of_tracee(tree, tid, &tracing, options) {
                return Look::Found(waited);
            }
        }
        if any { Look::Nothing } else { Look::None }
    }

    fn tell_of_tracee(
        &self,
        tree: &mut TaskTree,
        tid: i32,
        tracing: &Tracing,
        options: WaitOptions,
    ) -> Option<Waited> {
        let keep = options.contains(WaitOptions::WNOWAIT);
        if let Some(ended) = tracing.ended {
            if !options.contains(WaitOptions::WEXITED) {
                return None;
            }
            // A process that ends as a whole has one status.
            let whole = tree.process(ended.pid).and_then(|process| process.group.signals().exit);
            if !keep {
                self.kernel().release_ended_tracee(tree, tid);
            }
            return Some(Waited {
                pid: tid,
                uid: ended.uid,
                status: whole.unwrap_or(ended.status),
                times: ended.times,
                trapped: false,
            });
        }
        let task = tree.task(tid)?;
        let mut state = task.ptrace().state();
        let stop = state.stop.as_mut()?;
        if stop.told || stop.listening || stop.resumed.is_some() {
            return None;
        }
        stop.told = !keep;
        let [signal, event] = stop.code.to_le_bytes();
        Some(Waited {
            pid: tid,
            uid: task.credentials().uid,
            status: WaitStatus::Stopped { signal, event },
            times: task.usage().times(),
            trapped: true,
        })
    }
}

/// Whether tracee `tid` is among `children`.
fn is_meant(tree: &TaskTree, tid: i32, tracing: &Tracing, children: Children) -> bool {
    match children {
        Children::All => true,
        Children::Process(wanted) => wanted == tid,
        Children::Group(group) => {
            let pid = tree.task(tid).map(|task| task.pid()).or(tracing.ended.map(|ended| ended.pid));
            pid.and_then(|pid| tree.process(pid)).is_some_and(|process| process.process_group == group)
        }
    }
}
