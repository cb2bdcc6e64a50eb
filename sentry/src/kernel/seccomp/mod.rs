//! Filters of system calls that guests set for themselves (`seccomp(2)`).
//!
//! A task without a filter pays one load and one branch for each call. Filters form a chain, newest first, that children and
//! executed programs inherit; they are never changed. The state of all tasks of a process changes under the lock of its signals
//! (`Signal`), as new threads join under it.

mod bpf;
mod check;
mod filter;
mod notification;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use bartizan_abi::Errno;
use bartizan_abi::seccomp::{SECCOMP_MODE_DISABLED, SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT};

pub use bpf::{Program, Words};
pub use check::check;
pub use filter::{Action, Filter, Logging};
pub use notification::{Listener, NotificationFile, Patience};

use super::Task;

/// A tracer wants to know of calls.
const WATCHED: u8 = 0x80;

/// What a task may call.
#[derive(Debug, Default)]
pub struct Seccomp {
    /// `SECCOMP_MODE_*`, and [`WATCHED`]: whoever makes a call has to look at one flag only.
    mode: AtomicU8,
    filter: ArcSwapOption<Filter>,
}

impl Seccomp {
    /// Whether calls have to be checked, or a tracer wants to know of them.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != 0
    }

    /// Whether a tracer wants to know of calls.
    pub fn is_watched(&self) -> bool {
        self.mode.load(Ordering::Acquire) & WATCHED != 0
    }

    /// `SECCOMP_MODE_*`, as `/proc/[pid]/status` shows it.
    pub fn mode(&self) -> u32 {
        u32::from(self.mode.load(Ordering::Acquire) & !WATCHED)
    }

    /// The newest filter.
    pub fn filter(&self) -> Option<Arc<Filter>> {
        self.filter.load_full()
    }

    /// How many filters there are.
    pub fn filters(&self) -> usize {
        self.filter.load().as_ref().map_or(0, |filter| filter.depth())
    }

    /// Sets the newest filter.
    fn set_filter(&self, filter: Option<Arc<Filter>>) {
        self.filter.store(filter);
        self.set_mode(SECCOMP_MODE_FILTER as u8);
    }

    fn set_mode(&self, mode: u8) {
        // It only ever changes from no mode to one, so that setting bits is enough and what a tracer wants stays.
        self.mode.fetch_or(mode, Ordering::AcqRel);
    }

    /// Sets whether a tracer wants to know of calls.
    pub(super) fn watch(&self, watched: bool) {
        match watched {
            true => self.mode.fetch_or(WATCHED, Ordering::AcqRel),
            false => self.mode.fetch_and(!WATCHED, Ordering::AcqRel),
        };
    }

    /// Takes over what `other` may call: for a new task.
    pub(super) fn inherit(&self, other: &Self) {
        self.filter.store(other.filter());
        self.set_mode(other.mode() as u8);
    }

    /// The task has ended: its filters are not used any more.
    pub(super) fn release(&self) {
        let old = self.filter.swap(None);
        drop(old);
    }

    /// Whether `mode` can be entered: there is no way from one to another.
    fn may_enter(&self, mode: u32) -> bool {
        [SECCOMP_MODE_DISABLED, mode].contains(&self.mode())
    }
}

/// Which tasks get a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The caller.
    Task,
    /// All tasks of its process (`SECCOMP_FILTER_FLAG_TSYNC`).
    Process,
}

/// Why a filter was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterRefusal {
    /// An error.
    Errno(Errno),
    /// This task of the process has filters that the caller has not.
    Diverged(i32),
}

impl Task {
    /// Allows this task only to read, write, return from handlers and end.
    ///
    /// # Errors
    /// `EINVAL` if it has filters.
    pub fn set_strict(&self) -> Result<(), Errno> {
        let _signals = self.group().signals();
        if !self.seccomp().may_enter(SECCOMP_MODE_STRICT) {
            return Err(Errno::EINVAL);
        }
        self.seccomp().set_mode(SECCOMP_MODE_STRICT as u8);
        Ok(())
    }

    /// Adds a filter. `make` gets the one before it.
    ///
    /// # Errors
    /// `EINVAL` in strict mode, those of `make`, and which other task is in the way.
    pub fn add_filter(
        &self,
        scope: Scope,
        make: impl FnOnce(Option<Arc<Filter>>) -> Result<Arc<Filter>, Errno>,
    ) -> Result<(), FilterRefusal> {
        let signals = self.group().signals();
        if !self.seccomp().may_enter(SECCOMP_MODE_FILTER) {
            return Err(FilterRefusal::Errno(Errno::EINVAL));
        }
        let own = self.seccomp().filter();
        let others: Vec<Arc<Self>> = match scope {
            Scope::Task => Vec::new(),
            Scope::Process => {
                let tasks = signals.tasks.values().filter_map(|task| task.owner.upgrade());
                tasks.filter(|task| !std::ptr::eq(&raw const **task, self)).collect()
            }
        };
        if let Some(diverged) = others.iter().find(|task| !task.seccomp().is_behind(own.as_ref())) {
            return Err(FilterRefusal::Diverged(diverged.tid()));
        }
        let filter = make(own).map_err(FilterRefusal::Errno)?;
        let no_new_privs = self.credentials().no_new_privs;
        for task in &others {
            if no_new_privs {
                task.forbid_new_privileges();
            }
            task.seccomp().set_filter(Some(Arc::clone(&filter)));
            // Until it comes by it may be told its ids without a call that the filter sees.
            task.set_work();
        }
        self.seccomp().set_filter(Some(filter));
        drop(signals);
        // The last of them may close a listener's filter.
        drop(others);
        Ok(())
    }
}

impl Seccomp {
    /// Whether a task with the newest filter `newest` has all filters that this one has.
    fn is_behind(&self, newest: Option<&Arc<Filter>>) -> bool {
        match self.mode() {
            SECCOMP_MODE_DISABLED => true,
            SECCOMP_MODE_FILTER => match self.filter() {
                Some(own) => Filter::chain(newest).any(|filter| Arc::ptr_eq(filter, &own)),
                // It ends.
                None => true,
            },
            _ => false,
        }
    }
}
