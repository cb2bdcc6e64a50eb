//! Requests to files of namespaces (`ioctl_nsfs(2)`, `<linux/nsfs.h>`).

/// Opens the user namespace to which a namespace belongs.
pub const NS_GET_USERNS: u32 = 0xb701;
/// Opens the namespace above a user or PID namespace.
pub const NS_GET_PARENT: u32 = 0xb702;
/// The kind of a namespace, as the flag of `clone(2)` that makes one.
pub const NS_GET_NSTYPE: u32 = 0xb703;
/// The user who made a user namespace.
pub const NS_GET_OWNER_UID: u32 = 0xb704;
