//! One filter, and the chain that it belongs to.

use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bartizan_abi::seccomp::{
    MAX_INSNS_PER_PATH, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ALLOW, SECCOMP_RET_DATA, SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
};

use super::{Listener, Program, Words};

/// How many instructions a filter counts for besides its own.
const FILTER_COST: usize = 4;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process is killed.
    KillProcess,
    /// The task is killed.
    KillThread,
    /// It gets `SIGSYS`, with this number.
    Trap(u16),
    /// The call fails with this error, or gives zero.
    Errno(u16),
    /// Somebody else answers.
    UserNotification,
    /// A tracer decides; it gets this number.
    Trace(u16),
    /// The call is made, and noted.
    Log,
    /// The call is made.
    Allow,
}

impl Action {
    /// The action that a filter's result stands for; what is unknown kills.
    pub fn from_result(result: u32) -> Self {
        let data = (result & SECCOMP_RET_DATA) as u16;
        match result & SECCOMP_RET_ACTION_FULL {
            SECCOMP_RET_KILL_THREAD => Self::KillThread,
            SECCOMP_RET_TRAP => Self::Trap(data),
            SECCOMP_RET_ERRNO => Self::Errno(data),
            SECCOMP_RET_USER_NOTIF => Self::UserNotification,
            SECCOMP_RET_TRACE => Self::Trace(data),
            SECCOMP_RET_LOG => Self::Log,
            SECCOMP_RET_ALLOW => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// Whether filters may use the action with this number (`SECCOMP_GET_ACTION_AVAIL`).
    pub fn is_known(action: u32) -> bool {
        action == SECCOMP_RET_KILL_PROCESS
            || Self::from_result(action) != Self::KillProcess && action & SECCOMP_RET_DATA == 0
    }
}

/// Whether what a filter does is logged. There is no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logging {
    /// Not asked for.
    Off,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    On,
}

/// A filter (`struct seccomp_filter`).
#[derive(Debug)]
pub struct Filter {
    program: Program,
    previous: Option<Arc<Self>>,
    listener: Option<Weak<Listener>>,
    depth: usize,
    /// Instructions of the whole chain, as they are counted.
    cost: usize,
}

impl Filter {
    /// A filter on top of `previous`.
    ///
    /// # Errors
    /// `ENOMEM` when the chain gets too long, `EBUSY` for a second listener.
    pub fn new(
        program: Program,
        previous: Option<Arc<Self>>,
        listener: Option<&Arc<Listener>>,
    ) -> Result<Arc<Self>, Errno> {
        if listener.is_some() && Self::chain(previous.as_ref()).any(|filter| filter.listener().is_some()) {
            return Err(Errno::EBUSY);
        }
        let before = previous.as_ref().map_or(0, |previous| previous.cost + FILTER_COST);
        let cost = before + program.cost();
        if cost > MAX_INSNS_PER_PATH {
            return Err(Errno::ENOMEM);
        }
        let depth = previous.as_ref().map_or(0, |previous| previous.depth) + 1;
        Ok(Arc::new(Self { program, previous, listener: listener.map(Arc::downgrade), depth, cost }))
    }

    /// How many filters the chain has.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Who answers for it, while somebody does.
    pub fn listener(&self) -> Option<Arc<Listener>> {
        self.listener.as_ref().and_then(Weak::upgrade).filter(|listener| listener.is_open())
    }

    /// The filters from `newest` on, newest first.
    pub fn chain(newest: Option<&Arc<Self>>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(newest, |filter| filter.previous.as_ref())
    }

    /// What all filters from `newest` on say of a call: of several actions the one with the lowest number, and of several with
    /// that one the newest filter's result.
    pub fn evaluate(newest: &Arc<Self>, data: &Words) -> (Action, Arc<Self>) {
        let mut result = SECCOMP_RET_ALLOW;
        let mut decisive = newest;
        for filter in Self::chain(Some(newest)) {
            let value = filter.program.run(data);
            let severity = |value: u32| (value & SECCOMP_RET_ACTION_FULL).cast_signed();
            if severity(value) < severity(result) {
                result = value;
                decisive = filter;
            }
        }
        (Action::from_result(result), Arc::clone(decisive))
    }
}

impl Drop for Filter {
    /// A chain may be long: it is taken apart without recursion.
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take().and_then(|listener| listener.upgrade()) {
            listener.hang_up();
        }
        let mut previous = self.previous.take();
        while let Some(mut filter) = previous.and_then(Arc::into_inner) {
            previous = filter.previous.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use bartizan_abi::seccomp::{BPF_K, BPF_RET, SeccompData, SockFilter};

    use super::*;

    fn always(result: u32, previous: Option<Arc<Filter>>) -> Result<Arc<Filter>, Errno> {
        let program = Program::new(&[SockFilter { code: BPF_RET | BPF_K, jt: 0, jf: 0, k: result }])?;
        Filter::new(program, previous, None)
    }

    fn chain(results: &[u32]) -> Arc<Filter> {
        let mut newest = None;
        for &result in results {
            newest = Some(always(result, newest).unwrap());
        }
        newest.unwrap()
    }

    #[test]
    fn the_lowest_action_counts_and_of_equal_ones_the_newest() {
        let words = Words::from(&SeccompData::default());
        let decide = |results: &[u32]| Filter::evaluate(&chain(results), &words).0;
        assert_eq!(decide(&[SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 5]), Action::Errno(5));
        assert_eq!(decide(&[SECCOMP_RET_ERRNO | 5, SECCOMP_RET_ALLOW]), Action::Errno(5));
        assert_eq!(decide(&[SECCOMP_RET_ERRNO | 5, SECCOMP_RET_ERRNO | 9]), Action::Errno(9));
        assert_eq!(decide(&[SECCOMP_RET_TRAP | 1, SECCOMP_RET_KILL_THREAD]), Action::KillThread);
        assert_eq!(decide(&[SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD]), Action::KillProcess);
        assert_eq!(decide(&[SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE | 3]), Action::UserNotification);
        assert_eq!(decide(&[0x1234_5678]), Action::KillProcess);
    }

    #[test]
    fn chains_are_bounded_and_come_apart_without_recursion() {
        let mut newest = None;
        let mut depth = 0;
        loop {
            match always(SECCOMP_RET_ALLOW, newest.clone()) {
                Ok(filter) => newest = Some(filter),
                Err(errno) => break assert_eq!(errno, Errno::ENOMEM),
            }
            depth += 1;
        }
        assert_eq!(depth, newest.as_ref().map_or(0, |filter| filter.depth()));
        assert_eq!(depth, (MAX_INSNS_PER_PATH - 5) / 9 + 1);
        drop(newest);
    }

    #[test]
    fn known_actions() {
        for action in [SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ALLOW]
        {
            assert!(Action::is_known(action), "{action:#x}");
        }
        for action in [1, 0x0001_0000, SECCOMP_RET_ERRNO | 5, u32::MAX] {
            assert!(!Action::is_known(action), "{action:#x}");
        }
    }
}
