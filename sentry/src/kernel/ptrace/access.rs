//! Who may look into and trace whom (`ptrace(2)`, "Ptrace access mode checking").

use bartizan_abi::prctl::SUID_DUMP_USER;
use bartizan_abi::process::Capability;

use crate::kernel::{CurrentTask, Task};

/// By which of its identities the caller is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// The real one: for system calls (`PTRACE_MODE_REALCREDS`).
    Real,
    /// That for files: for `/proc` (`PTRACE_MODE_FSCREDS`).
    FileSystem,
}

impl CurrentTask {
    /// Whether the task may gain privileges by executing a program: not with a tracer that could not have traced it then
    /// (`LSM_UNSAFE_PTRACE`).
    pub(in crate::kernel) fn tracer_allows_gains(&self) -> bool {
        if !self.ptrace().is_traced() {
            return true;
        }
        let tree = self.kernel().tree();
        let tracer = tree.tracer_of(self.tid()).and_then(|tracer| tree.task(tracer));
        let own = &self.credentials().user_namespace;
        tracer.is_none_or(|tracer| tracer.credentials().has_capability_in(Capability::CAP_SYS_PTRACE, own))
    }

    /// Whether the caller may do with `other` what a debugger may (`PTRACE_MODE_ATTACH`).
    pub fn may_trace(&self, other: &Task, mode: AccessMode) -> bool {
        if other.pid() == self.pid() {
            return true;
        }
        let (own, theirs) = (self.credentials(), other.credentials());
        let (uid, gid) = match mode {
            AccessMode::Real => (own.uid, own.gid),
            AccessMode::FileSystem => (own.fsuid, own.fsgid),
        };
        let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|&id| id == uid)
            && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|&id| id == gid);
        let dumpable = u32::try_from(other.group().dumpable()) == Ok(SUID_DUMP_USER);
        let same_namespace = own.user_namespace == theirs.user_namespace;
        let allowed = same && dumpable && same_namespace && own.permitted.contains(theirs.permitted);
        allowed || own.has_capability_in(Capability::CAP_SYS_PTRACE, &theirs.user_namespace)
    }
}
