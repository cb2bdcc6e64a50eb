//! Changes of the flags of mounts, of many at once (`mount_setattr(2)`).

use bartizan_abi::Errno;

use super::{MountFlags, MountNamespace, Path, Propagation};

/// What is changed of a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlagChanges {
    /// The flags that it gets.
    pub set: MountFlags,
    /// The flags that it loses, before.
    pub clear: MountFlags,
    /// How it propagates then.
    pub propagation: Option<Propagation>,
}

impl FlagChanges {
    fn apply(&self, flags: MountFlags) -> MountFlags {
        (flags - self.clear) | self.set
    }
}

impl MountNamespace {
    /// Changes the mount whose root is `path`, of this namespace or the top of a detached tree, and all that is mounted in it if
    /// `recursive`.
    ///
    /// # Errors
    /// `EINVAL` for other mounts, `EPERM` where one is locked, `EBUSY` if one becomes read-only while files in it are open for
    /// writing. Nothing has changed then.
    pub fn change_flags(&self, path: &Path, changes: &FlagChanges, recursive: bool) -> Result<(), Errno> {
        self.table.change(|forest| {
            let id = path.mount.id();
            let own = forest.tree_of(&path.mount) == Some(self.tree) || forest.is_detached_top(id);
            if !path.is_mount_root() || !own {
                return Err(Errno::EINVAL);
            }
            let all = if recursive { forest.subtree(id) } else { vec![id] };
            let mounts: Vec<_> = all.iter().filter_map(|&id| forest.mount(id)).collect();
            for mount in &mounts {
                let (old, new) = (mount.flags(), changes.apply(mount.flags()));
                old.check_change(new)?;
                if (new - old).contains(MountFlags::READ_ONLY) && mount.has_writers() {
                    return Err(Errno::EBUSY);
                }
            }
            mounts.iter().for_each(|mount| mount.set_flags(changes.apply(mount.flags())));
            forest.touched.extend(forest.tree_of(&path.mount));
            if let Some(propagation) = changes.propagation {
                all.into_iter().for_each(|id| forest.set_propagation(id, propagation));
            }
            Ok(())
        })
    }
}
