//! Working directory, root and umask.

/// What tasks share with `CLONE_FS` (`struct fs_struct`).
#[derive(Debug)]
pub struct FsContext {}
