//! Memory: `mmap(2)` and its kin.

use crate::macros::{abi_enum, abi_named_consts, abi_named_flags};

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

abi_named_flags! {
    /// What may be done with mapped memory: `mmap(2)`, `mprotect(2)`. `PROT_NONE` is no bit.
    pub struct ProtFlags: u32 {
        PROT_READ = 0x1,
        PROT_WRITE = 0x2,
        PROT_EXEC = 0x4,
        PROT_SEM = 0x8,
        PROT_GROWSDOWN = 0x0100_0000,
        PROT_GROWSUP = 0x0200_0000,
    }
}

impl ProtFlags {
    /// No access at all.
    pub const PROT_NONE: Self = Self::empty();
    /// Reading, writing and executing.
    pub const ACCESS: Self = Self::PROT_READ.union(Self::PROT_WRITE).union(Self::PROT_EXEC);
}

abi_named_flags! {
    /// Flags of `mmap(2)`. The type is a field of four bits: [`MapFlags::map_type`].
    pub struct MapFlags: u32 {
        MAP_SHARED = 0x01,
        MAP_PRIVATE = 0x02,
        MAP_DROPPABLE = 0x08,
        MAP_TYPE = 0x0f,
        MAP_FIXED = 0x10,
        MAP_ANONYMOUS = 0x20,
        MAP_32BIT = 0x40,
        MAP_ABOVE4G = 0x80,
        MAP_GROWSDOWN = 0x0100,
        MAP_DENYWRITE = 0x0800,
        MAP_EXECUTABLE = 0x1000,
        MAP_LOCKED = 0x2000,
        MAP_NORESERVE = 0x4000,
        MAP_POPULATE = 0x8000,
        MAP_NONBLOCK = 0x10000,
        MAP_STACK = 0x20000,
        MAP_HUGETLB = 0x40000,
        MAP_SYNC = 0x80000,
        MAP_FIXED_NOREPLACE = 0x10_0000,
        MAP_UNINITIALIZED = 0x0400_0000,
        MAP_HUGE_MASK = 0x3f << 26,
    }
}

/// Who sees what is written to a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapType {
    /// `MAP_SHARED`: everybody.
    Shared,
    /// `MAP_PRIVATE`: its owner.
    Private,
    /// `MAP_SHARED_VALIDATE`: everybody, and unknown flags are `EOPNOTSUPP`.
    SharedValidate,
    /// `MAP_DROPPABLE`: its owner, until memory gets short.
    Droppable,
}

impl MapFlags {
    /// Both type bits: as `MAP_SHARED`, with unknown flags refused.
    pub const MAP_SHARED_VALIDATE: Self = Self::MAP_SHARED.union(Self::MAP_PRIVATE);
    /// What `MAP_SHARED_VALIDATE` does not refuse (`LEGACY_MAP_MASK`).
    pub const LEGACY: Self = Self::MAP_SHARED
        .union(Self::MAP_PRIVATE)
        .union(Self::MAP_FIXED)
        .union(Self::MAP_ANONYMOUS)
        .union(Self::MAP_DENYWRITE)
        .union(Self::MAP_EXECUTABLE)
        .union(Self::MAP_UNINITIALIZED)
        .union(Self::MAP_GROWSDOWN)
        .union(Self::MAP_LOCKED)
        .union(Self::MAP_NORESERVE)
        .union(Self::MAP_POPULATE)
        .union(Self::MAP_NONBLOCK)
        .union(Self::MAP_STACK)
        .union(Self::MAP_HUGETLB)
        .union(Self::MAP_32BIT)
        .union(Self::MAP_ABOVE4G)
        .union(Self::MAP_HUGE_MASK);

    /// The type field, if it holds a type.
    pub const fn map_type(self) -> Option<MapType> {
        match self.bits() & Self::MAP_TYPE.bits() {
            1 => Some(MapType::Shared),
            2 => Some(MapType::Private),
            3 => Some(MapType::SharedValidate),
            8 => Some(MapType::Droppable),
            _ => None,
        }
    }
}

abi_named_flags! {
    /// Flags of `mremap(2)`.
    pub struct MremapFlags: u32 {
        MREMAP_MAYMOVE = 1,
        MREMAP_FIXED = 2,
        MREMAP_DONTUNMAP = 4,
    }
}

abi_named_flags! {
    /// Flags of `msync(2)`.
    pub struct MsyncFlags: u32 {
        MS_ASYNC = 1,
        MS_INVALIDATE = 2,
        MS_SYNC = 4,
    }
}

abi_named_flags! {
    /// Flags of `mlock2(2)`.
    pub struct MlockFlags: u32 {
        MLOCK_ONFAULT = 1,
    }
}

abi_named_flags! {
    /// Flags of `mlockall(2)`.
    pub struct MlockallFlags: u32 {
        MCL_CURRENT = 1,
        MCL_FUTURE = 2,
        MCL_ONFAULT = 4,
    }
}

abi_enum! {
    /// Advice of `madvise(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum MadviseAdvice: i32 {
        MADV_NORMAL = 0,
        MADV_RANDOM = 1,
        MADV_SEQUENTIAL = 2,
        MADV_WILLNEED = 3,
        MADV_DONTNEED = 4,
        MADV_FREE = 8,
        MADV_REMOVE = 9,
        MADV_DONTFORK = 10,
        MADV_DOFORK = 11,
        MADV_MERGEABLE = 12,
        MADV_UNMERGEABLE = 13,
        MADV_HUGEPAGE = 14,
        MADV_NOHUGEPAGE = 15,
        MADV_DONTDUMP = 16,
        MADV_DODUMP = 17,
        MADV_WIPEONFORK = 18,
        MADV_KEEPONFORK = 19,
        MADV_COLD = 20,
        MADV_PAGEOUT = 21,
        MADV_POPULATE_READ = 22,
        MADV_POPULATE_WRITE = 23,
        MADV_DONTNEED_LOCKED = 24,
        MADV_COLLAPSE = 25,
        MADV_HWPOISON = 100,
        MADV_SOFT_OFFLINE = 101,
        MADV_GUARD_INSTALL = 102,
        MADV_GUARD_REMOVE = 103,
    }
}

abi_named_consts! { "`set_mempolicy(2)`", i32;
    MPOL_DEFAULT = 0,
    MPOL_PREFERRED = 1,
    MPOL_BIND = 2,
    MPOL_INTERLEAVE = 3,
    MPOL_LOCAL = 4,
    MPOL_PREFERRED_MANY = 5,
    MPOL_WEIGHTED_INTERLEAVE = 6,
    MPOL_F_NUMA_BALANCING = 1 << 13,
    MPOL_F_RELATIVE_NODES = 1 << 14,
    MPOL_F_STATIC_NODES = 1 << 15,
}

abi_named_flags! {
    /// Flags of `get_mempolicy(2)`.
    pub struct GetMempolicyFlags: u32 {
        MPOL_F_NODE = 1,
        MPOL_F_ADDR = 2,
        MPOL_F_MEMS_ALLOWED = 4,
    }
}

abi_named_flags! {
    /// Flags of `mbind(2)`.
    pub struct MbindFlags: u32 {
        MPOL_MF_STRICT = 1,
        MPOL_MF_MOVE = 2,
        MPOL_MF_MOVE_ALL = 4,
    }
}

/// The bit of `mincore(2)`'s bytes: the page is resident.
pub const MINCORE_RESIDENT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_a_field() {
        let flags =
            MapFlags::from_bits(libc::MAP_PRIVATE as u32 | libc::MAP_ANONYMOUS as u32).expect("known");
        assert_eq!(flags.map_type(), Some(MapType::Private));
        assert_eq!(MapFlags::MAP_SHARED_VALIDATE.map_type(), Some(MapType::SharedValidate));
        assert_eq!(MapFlags::MAP_FIXED.map_type(), None);
    }

    #[test]
    fn values_are_those_of_the_c_library() {
        assert_eq!(MapFlags::MAP_FIXED_NOREPLACE.bits() as i32, libc::MAP_FIXED_NOREPLACE);
        assert_eq!(MapFlags::MAP_STACK.bits() as i32, libc::MAP_STACK);
        assert_eq!(
            MadviseAdvice::try_from(libc::MADV_POPULATE_WRITE),
            Ok(MadviseAdvice::MADV_POPULATE_WRITE)
        );
        assert_eq!(MadviseAdvice::try_from(5), Err(crate::Errno::EINVAL));
        assert_eq!(ProtFlags::PROT_GROWSDOWN.bits() as i32, libc::PROT_GROWSDOWN);
    }
}
