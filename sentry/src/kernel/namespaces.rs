//! The namespaces of a task besides those of users and mounts (`namespaces(7)`): replaced as a whole, shared by tasks that have the same ones
//! (`struct nsproxy`).

use std::sync::Arc;

use bartizan_abi::process::CloneFlags;
use bartizan_abi::{Capability, Errno};

use super::sysv::IpcNamespace;
use super::{Credentials, CurrentTask, Kernel, Task, UserNamespace, UtsNames};

/// The namespaces of a task.
#[derive(Debug, Clone)]
pub struct Namespaces {
    /// Of the names of the system.
    pub uts: Arc<UtsNames>,
    /// Of System V IPC and POSIX message queues.
    pub ipc: Arc<IpcNamespace>,
}

impl Namespaces {
    /// Of those, what there is no code for.
    const MISSING: CloneFlags = CloneFlags::CLONE_NEWNET
        .union(CloneFlags::CLONE_NEWCGROUP)
        .union(CloneFlags::CLONE_NEWPID)
        .union(CloneFlags::CLONE_NEWTIME);

    /// The initial ones.
    pub(super) fn initial(kernel: &Kernel) -> Self {
        Self { uts: Arc::clone(kernel.uts()), ipc: Arc::clone(kernel.ipc()) }
    }

    /// With new ones for what `flags` name, which belong to `owner`.
    pub(super) fn unshared(&self, kernel: &Kernel, flags: CloneFlags, owner: &UserNamespace) -> Self {
        let mut new = self.clone();
        if flags.contains(CloneFlags::CLONE_NEWUTS) {
            new.uts = Arc::new(self.uts.duplicate(kernel.allocate_namespace(), owner.clone()));
        }
        if flags.contains(CloneFlags::CLONE_NEWIPC) {
            new.ipc = self.ipc.beside(kernel.allocate_namespace(), owner.clone());
        }
        new
    }
}

impl Task {
    /// Its UTS namespace.
    pub fn uts(&self) -> Arc<UtsNames> {
        Arc::clone(&self.namespaces().uts)
    }

    /// Its namespace of System V IPC and POSIX message queues.
    pub fn ipc(&self) -> Arc<IpcNamespace> {
        Arc::clone(&self.namespaces().ipc)
    }
}

impl CurrentTask {
    /// Who a task is that this one makes or becomes with `flags`: with `CLONE_NEWUSER` the superuser of a new user namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` for other namespaces, in a changed root or without a name in the own namespace; `ENOSPC` below
    /// too many user namespaces; `EINVAL` for namespaces that there are not.
    pub(super) fn credentials_with(&self, flags: CloneFlags) -> Result<Arc<Credentials>, Errno> {
        let own = self.credentials();
        let others = flags & CloneFlags::NAMESPACES.difference(CloneFlags::CLONE_NEWUSER);
        let new = match flags.contains(CloneFlags::CLONE_NEWUSER) {
            true if self.fs_context().is_chrooted() => return Err(Errno::EPERM),
            true => {
                let namespace = UserNamespace::make(self.kernel().allocate_namespace(), &own)?;
                Arc::new(own.entering(namespace))
            }
            false => own,
        };
        if !others.is_empty() && !new.has_own_capability(Capability::CAP_SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        if flags.intersects(Namespaces::MISSING) { Err(Errno::EINVAL) } else { Ok(new) }
    }
}
