//! Directory entries: `getdents(2)`.

use crate::macros::{abi_enum, abi_structs};

abi_structs! {
    /// What precedes the name in `struct linux_dirent64`; the name starts at byte 19, inside the last word.
    pub struct LinuxDirent64Header: 24 {
        /// The inode number.
        pub d_ino: u64,
        /// Where the next entry is read from.
        pub d_off: i64,
        /// Bytes of this entry with name, terminator and padding: a multiple of 8.
        pub d_reclen: u16,
        /// [`DirentType`].
        pub d_type: u8,
        /// The first bytes of the name.
        pub d_name: [u8; 5],
    }

    /// What precedes the name in the old `struct linux_dirent`; the name starts at byte 18, and the type is the
    /// entry's last byte.
    pub struct LinuxDirentHeader: 24 {
        /// The inode number.
        pub d_ino: u64,
        /// Where the next entry is read from.
        pub d_off: u64,
        /// Bytes of this entry.
        pub d_reclen: u16,
        /// The first bytes of the name.
        pub d_name: [u8; 6],
    }
}

/// Where the name starts in `struct linux_dirent64`, bytes.
pub const LINUX_DIRENT64_HEADER_SIZE: usize = std::mem::offset_of!(LinuxDirent64Header, d_name);
/// Where the name starts in `struct linux_dirent`, bytes.
pub const LINUX_DIRENT_HEADER_SIZE: usize = std::mem::offset_of!(LinuxDirentHeader, d_name);

abi_enum! {
    /// `d_type`: the type field of a mode, shifted down by 12.
    pub enum DirentType: u8 {
        /// Not known: ask `stat`.
        DT_UNKNOWN = 0,
        /// Named pipe.
        DT_FIFO = 1,
        /// Character device.
        DT_CHR = 2,
        /// Directory.
        DT_DIR = 4,
        /// Block device.
        DT_BLK = 6,
        /// Regular file.
        DT_REG = 8,
        /// Symbolic link.
        DT_LNK = 10,
        /// Socket.
        DT_SOCK = 12,
        /// Whiteout.
        DT_WHT = 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_start_where_the_c_library_expects_them() {
        assert_eq!(LINUX_DIRENT64_HEADER_SIZE, std::mem::offset_of!(libc::dirent64, d_name));
        assert_eq!(LINUX_DIRENT_HEADER_SIZE, 18);
    }
}
