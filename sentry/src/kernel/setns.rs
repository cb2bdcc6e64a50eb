//! Joining namespaces (`setns(2)`).

use std::sync::Arc;

use bartizan_abi::process::CloneFlags;
use bartizan_abi::{Capability, Errno};

use super::nsfs::fs_in;
use super::{Credentials, CurrentTask, Namespace, Namespaces, Pidfd};
use crate::vfs::FsContext;

/// What a task is in once it has joined some namespaces; nothing of it is its own yet.
struct Joining {
    credentials: Credentials,
    namespaces: Namespaces,
    fs: Option<Arc<FsContext>>,
}

impl CurrentTask {
    /// Joins one namespace; `allowed` are the kinds that it may be, none for any.
    ///
    /// # Errors
    /// `EINVAL` for another kind, for the own user namespace, for what a process with threads or shared places cannot do; `EPERM`.
    pub fn join_namespace(&self, namespace: &Namespace, allowed: CloneFlags) -> Result<(), Errno> {
        if !allowed.is_empty() && allowed != namespace.kind() {
            return Err(Errno::EINVAL);
        }
        let mut joining = self.joining();
        self.join(&mut joining, namespace)?;
        self.become_joined(joining);
        Ok(())
    }

    /// Joins those namespaces of a process that `kinds` name.
    ///
    /// # Errors
    /// As [`join_namespace`](Self::join_namespace); `ESRCH` for a process that has ended. Nothing has changed then.
    pub fn join_namespaces_of(&self, process: &Pidfd, kinds: CloneFlags) -> Result<(), Errno> {
        if kinds.is_empty() || !CloneFlags::NAMESPACES.contains(kinds) {
            return Err(Errno::EINVAL);
        }
        let other = process.task()?.ok_or(Errno::ESRCH)?;
        if !self.may_trace(&other, super::ptrace::AccessMode::Real) {
            return Err(Errno::EPERM);
        }
        // Users first: they decide on all others.
        let order = [CloneFlags::CLONE_NEWUSER].into_iter().chain((kinds - CloneFlags::CLONE_NEWUSER).iter());
        let mut joining = self.joining();
        for kind in order.filter(|&kind| kinds.contains(kind)) {
            let namespace = other.namespace(kind).ok_or(Errno::ESRCH)?;
            self.join(&mut joining, &namespace)?;
        }
        self.become_joined(joining);
        Ok(())
    }

    fn joining(&self) -> Joining {
        Joining {
            credentials: Credentials::clone(&self.credentials()),
            namespaces: Namespaces::clone(&self.namespaces()),
            fs: None,
        }
    }

    fn join(&self, joining: &mut Joining, namespace: &Namespace) -> Result<(), Errno> {
        let privileged = |joining: &Joining| match namespace.owner() {
            Some(owner) => {
                joining.credentials.has_capability_in(Capability::CAP_SYS_ADMIN, &owner)
                    && joining.credentials.has_own_capability(Capability::CAP_SYS_ADMIN)
            }
            None => false,
        };
        let allow = |allowed: bool| if allowed { Ok(()) } else { Err(Errno::EPERM) };
        match namespace {
            Namespace::User(users) => {
                if *users == joining.credentials.user_namespace
                    || self.group().signals().tasks.len() > 1
                    || self.shares_fs()
                {
                    return Err(Errno::EINVAL);
                }
                allow(joining.credentials.has_capability_in(Capability::CAP_SYS_ADMIN, users))?;
                joining.credentials = joining.credentials.entering(users.clone());
            }
            Namespace::Mount(mounts) => {
                allow(
                    privileged(joining) && joining.credentials.has_own_capability(Capability::CAP_SYS_CHROOT),
                )?;
                if self.shares_fs() {
                    return Err(Errno::EINVAL);
                }
                joining.fs = Some(fs_in(self, mounts)?);
            }
            Namespace::Uts(names) => {
                allow(privileged(joining))?;
                joining.namespaces.uts = Arc::clone(names);
            }
            Namespace::Ipc(ipc) => {
                allow(privileged(joining))?;
                joining.namespaces.ipc = Arc::clone(ipc);
            }
            // It is in the only one already.
            Namespace::Only(_) => allow(privileged(joining))?,
        }
        Ok(())
    }

    /// Whether another task has the same working directory and root.
    fn shares_fs(&self) -> bool {
        let own = self.fs_context();
        let tree = self.kernel().tree();
        tree.tasks().filter(|task| task.fs().is_some_and(|fs| Arc::ptr_eq(&fs, &own))).count() > 1
    }

    fn become_joined(&self, joining: Joining) {
        if !Arc::ptr_eq(&joining.namespaces.ipc, &self.namespaces().ipc) {
            self.release_undo_list();
        }
        if let Some(fs) = joining.fs {
            self.replace_fs(fs);
        }
        self.set_namespaces(Arc::new(joining.namespaces));
        if !joining.credentials.gains_nothing_over(&self.credentials()) {
            // As by any change of identity: others may not look inside any more (`commit_creds`).
            self.group().set_dumpable(0);
            self.set_parent_death_signal(0);
        }
        self.set_credentials(joining.credentials);
    }
}
