//! The system as a whole, and smaller calls: `uname(2)`, `sysinfo(2)`, `personality(2)`, `membarrier(2)`, `rseq(2)`.

use crate::macros::{abi_enum, abi_named_consts, abi_named_flags, abi_structs};

/// Bytes of a field of [`UtsName`], with the terminator.
pub const UTS_FIELD_LENGTH: usize = 65;

abi_structs! {
    /// `struct new_utsname`: six strings.
    pub struct UtsName: 390 {
        /// `Linux`.
        pub sysname: [u8; UTS_FIELD_LENGTH],
        /// The host name.
        pub nodename: [u8; UTS_FIELD_LENGTH],
        /// The release: `6.18.0`.
        pub release: [u8; UTS_FIELD_LENGTH],
        /// How and when it was built.
        pub version: [u8; UTS_FIELD_LENGTH],
        /// The processor: `x86_64`.
        pub machine: [u8; UTS_FIELD_LENGTH],
        /// The NIS domain.
        pub domainname: [u8; UTS_FIELD_LENGTH],
    }

    /// `struct sysinfo`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Sysinfo: 112 {
        pub uptime: i64,
        pub loads: [u64; 3],
        pub totalram: u64,
        pub freeram: u64,
        pub sharedram: u64,
        pub bufferram: u64,
        pub totalswap: u64,
        pub freeswap: u64,
        pub procs: u16,
        pub __pad: [u16; 3],
        pub totalhigh: u64,
        pub freehigh: u64,
        pub mem_unit: u32,
        pub __pad2: u32,
    }

    /// `struct rseq`: shared between a thread and the kernel; 32 bytes, of which [`RSEQ_FEATURE_SIZE`] have a meaning.
    pub struct Rseq: 32 {
        /// The CPU at the start of a sequence; zero where not registered.
        pub cpu_id_start: u32,
        /// The CPU, or one of [`RSEQ_CPU_ID_UNINITIALIZED`] and [`RSEQ_CPU_ID_REGISTRATION_FAILED`].
        pub cpu_id: u32,
        /// The address of the [`RseqCs`] that is running.
        pub rseq_cs: u64,
        /// Unused.
        pub flags: u32,
        /// The memory node.
        pub node_id: u32,
        /// A CPU number local to the memory map.
        pub mm_cid: u32,
        /// Unused.
        pub __pad0: u32,
    }

    /// `struct rseq_cs`: a critical section.
    pub struct RseqCs: 32 {
        /// Zero.
        pub version: u32,
        /// Unused.
        pub flags: u32,
        /// Its first instruction.
        pub start_ip: u64,
        /// Bytes of it.
        pub post_commit_offset: u64,
        /// Where it goes on after an interruption.
        pub abort_ip: u64,
    }
}

/// Bytes of [`Rseq`] that have a meaning: `AT_RSEQ_FEATURE_SIZE`.
pub const RSEQ_FEATURE_SIZE: u64 = 28;
/// Bytes of the first version of [`Rseq`], which is also its alignment: `AT_RSEQ_ALIGN`.
pub const RSEQ_ORIG_SIZE: u64 = 32;
/// Flag of `rseq(2)`: give it up.
pub const RSEQ_FLAG_UNREGISTER: u32 = 1;
/// `cpu_id` before registration.
pub const RSEQ_CPU_ID_UNINITIALIZED: u32 = u32::MAX;
/// `cpu_id` after a registration that failed.
pub const RSEQ_CPU_ID_REGISTRATION_FAILED: u32 = u32::MAX - 1;

abi_named_flags! {
    /// Flags of `getrandom(2)`.
    pub struct RandomFlags: u32 {
        GRND_NONBLOCK = 1,
        GRND_RANDOM = 2,
        GRND_INSECURE = 4,
    }
}

abi_named_flags! {
    /// Flags of `personality(2)`; the low byte is the execution domain.
    pub struct Personality: u32 {
        PER_MASK = 0xff,
        UNAME26 = 0x002_0000,
        ADDR_NO_RANDOMIZE = 0x004_0000,
        FDPIC_FUNCPTRS = 0x008_0000,
        MMAP_PAGE_ZERO = 0x010_0000,
        ADDR_COMPAT_LAYOUT = 0x020_0000,
        READ_IMPLIES_EXEC = 0x040_0000,
        ADDR_LIMIT_32BIT = 0x080_0000,
        SHORT_INODE = 0x100_0000,
        WHOLE_SECONDS = 0x200_0000,
        STICKY_TIMEOUTS = 0x400_0000,
        ADDR_LIMIT_3GB = 0x800_0000,
    }
}

impl Personality {
    /// Linux, without any peculiarity.
    pub const PER_LINUX: Self = Self::empty();
    /// What a set-user-ID program starts without.
    pub const PER_CLEAR_ON_SETID: Self = Self::READ_IMPLIES_EXEC
        .union(Self::ADDR_NO_RANDOMIZE)
        .union(Self::ADDR_COMPAT_LAYOUT)
        .union(Self::MMAP_PAGE_ZERO);
}

abi_enum! {
    /// Commands of `membarrier(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum MembarrierCommand: u32 {
        MEMBARRIER_CMD_QUERY = 0,
        MEMBARRIER_CMD_GLOBAL = 1,
        MEMBARRIER_CMD_GLOBAL_EXPEDITED = 1 << 1,
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED = 1 << 2,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED = 1 << 3,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ = 1 << 7,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ = 1 << 8,
        MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9,
    }
}

abi_named_flags! {
    /// Flags of `membarrier(2)`.
    pub struct MembarrierFlags: u32 {
        MEMBARRIER_CMD_FLAG_CPU = 1,
    }
}

abi_named_consts! { "`reboot(2)`", u32;
    LINUX_REBOOT_MAGIC1 = 0xfee1_dead,
    LINUX_REBOOT_MAGIC2 = 672_274_793,
    LINUX_REBOOT_MAGIC2A = 85_072_278,
    LINUX_REBOOT_MAGIC2B = 369_367_448,
    LINUX_REBOOT_MAGIC2C = 537_993_216,
}

abi_enum! {
    /// Commands of `reboot(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum RebootCommand: u32 {
        LINUX_REBOOT_CMD_RESTART = 0x0123_4567,
        LINUX_REBOOT_CMD_HALT = 0xcdef_0123,
        LINUX_REBOOT_CMD_CAD_ON = 0x89ab_cdef,
        LINUX_REBOOT_CMD_CAD_OFF = 0,
        LINUX_REBOOT_CMD_POWER_OFF = 0x4321_fedc,
        LINUX_REBOOT_CMD_RESTART2 = 0xa1b2_c3d4,
        LINUX_REBOOT_CMD_SW_SUSPEND = 0xd000_fce2,
        LINUX_REBOOT_CMD_KEXEC = 0x4558_4543,
    }
}

abi_enum! {
    /// Actions of `syslog(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum SyslogAction: i32 {
        SYSLOG_ACTION_CLOSE = 0,
        SYSLOG_ACTION_OPEN = 1,
        SYSLOG_ACTION_READ = 2,
        SYSLOG_ACTION_READ_ALL = 3,
        SYSLOG_ACTION_READ_CLEAR = 4,
        SYSLOG_ACTION_CLEAR = 5,
        SYSLOG_ACTION_CONSOLE_OFF = 6,
        SYSLOG_ACTION_CONSOLE_ON = 7,
        SYSLOG_ACTION_CONSOLE_LEVEL = 8,
        SYSLOG_ACTION_SIZE_UNREAD = 9,
        SYSLOG_ACTION_SIZE_BUFFER = 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_values_are_those_of_the_c_library() {
        assert_eq!(size_of::<UtsName>(), size_of::<libc::utsname>());
        assert_eq!(size_of::<Sysinfo>(), size_of::<libc::sysinfo>());
        assert_eq!(std::mem::offset_of!(Sysinfo, mem_unit), std::mem::offset_of!(libc::sysinfo, mem_unit));
        assert_eq!(Personality::ADDR_NO_RANDOMIZE.bits() as i32, libc::ADDR_NO_RANDOMIZE);
        assert_eq!(RandomFlags::GRND_INSECURE.bits(), libc::GRND_INSECURE);
    }
}
