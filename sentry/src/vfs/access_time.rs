//! The time of last access (`atime`): which accesses change it (`mount(2)`: `MS_NOATIME` and its kin; `open(2)`: `O_NOATIME`).

use bartizan_abi::{FileType, OpenFlags, Timespec};

use super::{MountFlags, Path};

/// After how long relatime changes the time of last access in any case, seconds.
const DAY: i64 = 24 * 60 * 60;

/// When a file system changes the time of last access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRule {
    /// At each access (strictatime).
    Always,
    /// When it is not younger than the last change, or older than a day (relatime).
    WhenStale,
}

impl AccessRule {
    /// Whether an access `now` changes the time of last access, given that and the times of the last changes of contents and
    /// attributes.
    pub fn changes(self, accessed: Timespec, modified: Timespec, changed: Timespec, now: Timespec) -> bool {
        let order = |time: Timespec| (time.tv_sec, time.tv_nsec);
        match self {
            Self::Always => true,
            Self::WhenStale => {
                order(accessed) <= order(modified)
                    || order(accessed) <= order(changed)
                    || now.tv_sec.saturating_sub(accessed.tv_sec) >= DAY
            }
        }
    }
}

/// What is at `path` has been read, through a description with `flags` if it was open.
pub fn touch_accessed(path: &Path, flags: OpenFlags) {
    let mount = path.mount.flags();
    let directory = path.inode().kind() == FileType::Directory;
    let never = mount.contains(MountFlags::NO_ATIME)
        || directory && mount.contains(MountFlags::NO_DIR_ATIME)
        || flags.contains(OpenFlags::O_NOATIME)
        || path.mount.is_read_only();
    if never {
        return;
    }
    let relative = mount.contains(MountFlags::RELATIME);
    let rule = if relative { AccessRule::WhenStale } else { AccessRule::Always };
    path.inode().ops().touch_accessed(rule);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatime_follows_changes_and_days() {
        let at = |tv_sec| Timespec { tv_sec, tv_nsec: 5 };
        let changes = |accessed, modified, changed, now| {
            AccessRule::WhenStale.changes(at(accessed), at(modified), at(changed), at(now))
        };
        assert!(changes(10, 10, 5, 20));
        assert!(changes(10, 5, 11, 20));
        assert!(!changes(10, 5, 9, 20));
        assert!(!changes(10, 5, 9, 10 + DAY - 1));
        assert!(changes(10, 5, 9, 10 + DAY));
        assert!(AccessRule::Always.changes(at(10), at(5), at(9), at(20)));
    }
}
