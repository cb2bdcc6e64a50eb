//! Giving up what a task has in common with others (`unshare(2)`).

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::CloneFlags;

use super::{Credentials, CurrentTask};

impl CurrentTask {
    /// Gives this task copies of its own of what `flags` name.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, for namespaces that there are not, and if a process with several threads wants to give up what its
    /// threads must share; `EPERM` without `CAP_SYS_ADMIN` for a namespace. Nothing has changed then.
    pub fn unshare(&self, flags: u64) -> Result<(), Errno> {
        let known = CloneFlags::NAMESPACES
            | CloneFlags::CLONE_THREAD
            | CloneFlags::CLONE_FS
            | CloneFlags::CLONE_SIGHAND
            | CloneFlags::CLONE_VM
            | CloneFlags::CLONE_FILES
            | CloneFlags::CLONE_SYSVSEM;
        let mut flags =
            CloneFlags::from_bits(flags).filter(|&flags| known.contains(flags)).ok_or(Errno::EINVAL)?;
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            flags |= CloneFlags::CLONE_THREAD | CloneFlags::CLONE_FS;
        }
        let of_process = CloneFlags::CLONE_THREAD
            | CloneFlags::CLONE_SIGHAND
            | CloneFlags::CLONE_VM
            | CloneFlags::CLONE_NEWUSER;
        if flags.intersects(of_process) && self.group().signals().tasks.len() > 1 {
            return Err(Errno::EINVAL);
        }
        let credentials = self.credentials_with(flags)?;
        let owner = &credentials.user_namespace;
        if flags.intersects(CloneFlags::CLONE_SYSVSEM | CloneFlags::CLONE_NEWIPC) {
            self.release_undo_list();
        }
        if flags.contains(CloneFlags::CLONE_NEWNS) {
            let identity = self.kernel().allocate_namespace();
            self.replace_fs(self.fs_context().in_new_namespace(identity, owner.clone())?);
        } else if flags.contains(CloneFlags::CLONE_FS) {
            self.replace_fs(self.fs_context().duplicate());
        }
        if flags.contains(CloneFlags::CLONE_FILES) {
            self.replace_files(self.fd_table().duplicate());
        }
        if flags.intersects(CloneFlags::NAMESPACES) {
            self.set_namespaces(Arc::new(self.namespaces().unshared(self.kernel(), flags, owner)));
        }
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            self.set_credentials(Credentials::clone(&credentials));
        }
        Ok(())
    }
}
