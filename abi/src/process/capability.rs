//! Capabilities: `capabilities(7)`, `capget(2)`.

use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

use crate::macros::{abi_enum, abi_structs};

abi_enum! {
    /// The capabilities.
    pub enum Capability: u32 {
        /// Change owners of files.
        CAP_CHOWN = 0,
        /// Pass permission checks of files.
        CAP_DAC_OVERRIDE = 1,
        /// Pass permission checks for reading and searching.
        CAP_DAC_READ_SEARCH = 2,
        /// Pass checks that the caller owns the file.
        CAP_FOWNER = 3,
        /// Keep set-ID bits when a file changes.
        CAP_FSETID = 4,
        /// Send signals to anybody.
        CAP_KILL = 5,
        /// Change group IDs.
        CAP_SETGID = 6,
        /// Change user IDs.
        CAP_SETUID = 7,
        /// Change capability sets.
        CAP_SETPCAP = 8,
        /// Set the immutable and append-only attributes.
        CAP_LINUX_IMMUTABLE = 9,
        /// Bind ports below 1024.
        CAP_NET_BIND_SERVICE = 10,
        /// Broadcast.
        CAP_NET_BROADCAST = 11,
        /// Set up the network.
        CAP_NET_ADMIN = 12,
        /// Raw sockets.
        CAP_NET_RAW = 13,
        /// Lock memory.
        CAP_IPC_LOCK = 14,
        /// Pass permission checks of System V IPC.
        CAP_IPC_OWNER = 15,
        /// Load modules.
        CAP_SYS_MODULE = 16,
        /// Port I/O.
        CAP_SYS_RAWIO = 17,
        /// `chroot`.
        CAP_SYS_CHROOT = 18,
        /// Trace anybody.
        CAP_SYS_PTRACE = 19,
        /// Process accounting.
        CAP_SYS_PACCT = 20,
        /// All sorts of administration.
        CAP_SYS_ADMIN = 21,
        /// Reboot.
        CAP_SYS_BOOT = 22,
        /// Raise priorities.
        CAP_SYS_NICE = 23,
        /// Exceed limits.
        CAP_SYS_RESOURCE = 24,
        /// Set the clock.
        CAP_SYS_TIME = 25,
        /// Configure terminals.
        CAP_SYS_TTY_CONFIG = 26,
        /// Make device nodes.
        CAP_MKNOD = 27,
        /// Take leases on any file.
        CAP_LEASE = 28,
        /// Write the audit log.
        CAP_AUDIT_WRITE = 29,
        /// Configure auditing.
        CAP_AUDIT_CONTROL = 30,
        /// Set file capabilities.
        CAP_SETFCAP = 31,
        /// Override mandatory access control.
        CAP_MAC_OVERRIDE = 32,
        /// Configure mandatory access control.
        CAP_MAC_ADMIN = 33,
        /// The kernel's log.
        CAP_SYSLOG = 34,
        /// Timers that wake the machine.
        CAP_WAKE_ALARM = 35,
        /// Keep the machine awake.
        CAP_BLOCK_SUSPEND = 36,
        /// Read the audit log.
        CAP_AUDIT_READ = 37,
        /// Performance counters.
        CAP_PERFMON = 38,
        /// BPF.
        CAP_BPF = 39,
        /// Checkpoint and restore.
        CAP_CHECKPOINT_RESTORE = 40,
    }
}

/// A set of capabilities: bit `n` is capability `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// All that Linux has.
    pub const FULL: Self = Self((1 << Capability::ALL.len()) - 1);
    /// What a file's identity gives: dropped when the file system user ID leaves 0.
    pub const FS: Self = Self::EMPTY
        .with(Capability::CAP_CHOWN)
        .with(Capability::CAP_MKNOD)
        .with(Capability::CAP_DAC_OVERRIDE)
        .with(Capability::CAP_DAC_READ_SEARCH)
        .with(Capability::CAP_FOWNER)
        .with(Capability::CAP_FSETID)
        .with(Capability::CAP_LINUX_IMMUTABLE)
        .with(Capability::CAP_MAC_OVERRIDE);

    /// No capability.
    pub const fn empty() -> Self {
        Self::EMPTY
    }

    /// All that Linux has.
    pub const fn full() -> Self {
        Self::FULL
    }

    /// The set of these bits; those beyond the last capability are dropped, as `capset` does.
    pub const fn from_bits_truncate(bits: u64) -> Self {
        Self(bits & Self::FULL.0)
    }

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it holds this one.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }

    /// Whether it holds all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with this one as well.
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | (1 << capability as u32))
    }

    /// The set without this one.
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u32))
    }

    /// What is in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one alone.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The capabilities in it, by ascending number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.has(*capability))
    }
}

impl BitOr for CapabilitySet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for CapabilitySet {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl BitAnd for CapabilitySet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.intersection(other)
    }
}

impl BitAndAssign for CapabilitySet {
    fn bitand_assign(&mut self, other: Self) {
        *self = self.intersection(other);
    }
}

impl Not for CapabilitySet {
    type Output = Self;
    fn not(self) -> Self {
        Self::FULL.difference(self)
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// `_LINUX_CAPABILITY_VERSION_1`: one [`CapUserData`].
pub const LINUX_CAPABILITY_VERSION_1: u32 = 0x1998_0330;
/// `_LINUX_CAPABILITY_VERSION_2`: two of them; deprecated.
pub const LINUX_CAPABILITY_VERSION_2: u32 = 0x2007_1026;
/// `_LINUX_CAPABILITY_VERSION_3`: two of them.
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

abi_structs! {
    /// `struct __user_cap_header_struct`.
    pub struct CapUserHeader: 8 {
        /// Which layout follows.
        pub version: u32,
        /// Whose capabilities; zero is the caller.
        pub pid: i32,
    }

    /// `struct __user_cap_data_struct`: 32 bits of each set.
    pub struct CapUserData: 12 {
        /// The effective set.
        pub effective: u32,
        /// The permitted set.
        pub permitted: u32,
        /// The inheritable set.
        pub inheritable: u32,
    }

    /// The value of the attribute `security.capability`, versions 2 and 3 (`struct vfs_ns_cap_data`).
    pub struct VfsNsCapData: 24 {
        /// Revision and the effective flag.
        pub magic_etc: u32,
        /// Permitted and inheritable, lower halves.
        pub low: [u32; 2],
        /// Permitted and inheritable, upper halves.
        pub high: [u32; 2],
        /// Version 3: the user ID of the namespace's root.
        pub rootid: u32,
    }
}

/// Revision of [`VfsNsCapData`]: 20 bytes.
pub const VFS_CAP_REVISION_2: u32 = 0x0200_0000;
/// Revision of [`VfsNsCapData`]: 24 bytes.
pub const VFS_CAP_REVISION_3: u32 = 0x0300_0000;
/// The bits of `magic_etc` that hold the revision.
pub const VFS_CAP_REVISION_MASK: u32 = 0xff00_0000;
/// The flag in `magic_etc`: the permitted set becomes effective too.
pub const VFS_CAP_FLAGS_EFFECTIVE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_set_is_what_linux_shows() {
        assert_eq!(CapabilitySet::full().bits(), 0x1ff_ffff_ffff);
        assert_eq!(CapabilitySet::from_bits_truncate(u64::MAX), CapabilitySet::FULL);
        assert_eq!(CapabilitySet::FULL.iter().count(), 41);
    }

    #[test]
    fn sets_behave_as_sets() {
        let set: CapabilitySet = [Capability::CAP_KILL, Capability::CAP_BPF].into_iter().collect();
        assert!(set.has(Capability::CAP_BPF) && !set.has(Capability::CAP_CHOWN));
        assert_eq!(set.without(Capability::CAP_BPF), CapabilitySet::EMPTY.with(Capability::CAP_KILL));
        assert!(!(!set).has(Capability::CAP_KILL));
        assert_eq!((set & !set), CapabilitySet::EMPTY);
        assert!((set | CapabilitySet::FS).contains(set));
    }
}
