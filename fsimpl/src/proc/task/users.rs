//! Files of a task about its user namespace: `uid_map`, `gid_map`, `setgroups` (`user_namespaces(7)`).
//!
//! What may be written is judged by whoever opened the file: what is written through a descriptor that was passed on counts as theirs.

use bartizan_abi::{Capability, Errno};
use bartizan_sentry::kernel::{Credentials, IdKind, UserNamespace};

use crate::proc::process::Subject;

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `uid_map`, `gid_map`.
    Map(IdKind),
    /// `setgroups`.
    SetGroups,
}

fn namespace(subject: &Subject) -> Result<UserNamespace, Errno> {
    Ok(subject.task()?.user_namespace())
}

/// What the file says to somebody in `reader`.
pub fn generate(subject: &Subject, which: Which, reader: &UserNamespace) -> Result<Vec<u8>, Errno> {
    let namespace = namespace(subject)?;
    Ok(match which {
        Which::Map(kind) => namespace.map_text(kind, reader).into_bytes(),
        Which::SetGroups if namespace.allows_setgroups() => b"allow\n".to_vec(),
        Which::SetGroups => b"deny\n".to_vec(),
    })
}

/// Whether somebody may open the file to write to it.
///
/// # Errors
/// `EACCES`.
pub fn check_writer(subject: &Subject, which: Which, opener: &Credentials) -> Result<(), Errno> {
    let namespace = namespace(subject)?;
    let may = which != Which::SetGroups || opener.has_capability_in(Capability::CAP_SYS_ADMIN, &namespace);
    if may { Ok(()) } else { Err(Errno::EACCES) }
}

/// Takes what was written.
///
/// # Errors
/// `EINVAL`, `EPERM`.
pub fn store(subject: &Subject, which: Which, data: &[u8], opener: &Credentials) -> Result<(), Errno> {
    let namespace = namespace(subject)?;
    match (which, data.trim_ascii_end()) {
        (Which::Map(kind), _) => namespace.set_map(kind, data, opener, opener),
        (Which::SetGroups, b"allow") => namespace.set_setgroups(true),
        (Which::SetGroups, b"deny") => namespace.set_setgroups(false),
        (Which::SetGroups, _) => Err(Errno::EINVAL),
    }
}
