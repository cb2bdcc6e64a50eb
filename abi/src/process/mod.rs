//! Processes and threads.

mod capability;

pub use capability::{
    CapUserData, CapUserHeader, Capability, CapabilitySet, LINUX_CAPABILITY_VERSION_1,
    LINUX_CAPABILITY_VERSION_2, LINUX_CAPABILITY_VERSION_3, VFS_CAP_FLAGS_EFFECTIVE, VFS_CAP_REVISION_2,
    VFS_CAP_REVISION_3, VFS_CAP_REVISION_MASK, VfsNsCapData,
};
