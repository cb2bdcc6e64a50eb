//! File types, permission bits and device numbers: `inode(7)`, `makedev(3)`.

use std::fmt;

use bitflags::bitflags;

use crate::Errno;

/// The bits of a mode that hold the [`FileType`].
pub const S_IFMT: u32 = 0o170_000;

/// What an open file may be used for: the lowest two bits of `open(2)`'s flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessMode {
    /// `O_RDONLY`.
    ReadOnly,
    /// `O_WRONLY`.
    WriteOnly,
    /// `O_RDWR`.
    ReadWrite,
    /// Mode 3: checked for both, used for neither.
    None,
}

/// What kind of file an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum FileType {
    /// A named pipe.
    Fifo = 0o010_000,
    /// A character device.
    CharacterDevice = 0o020_000,
    /// A directory.
    Directory = 0o040_000,
    /// A block device.
    BlockDevice = 0o060_000,
    /// A regular file.
    Regular = 0o100_000,
    /// A symbolic link.
    Symlink = 0o120_000,
    /// A socket.
    Socket = 0o140_000,
}

impl FileType {
    /// The type in a mode, if its type field holds one.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & S_IFMT {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharacterDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The bits of `st_mode`: `S_IFREG` and so on.
    pub const fn bits(self) -> u32 {
        self as u32
    }

    /// `d_type` of a directory entry: the same field, shifted down.
    pub const fn dirent_type(self) -> u8 {
        (self.bits() >> 12) as u8
    }

    /// Whether it is a character or block device.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharacterDevice | Self::BlockDevice)
    }

    /// The letter with which `ls -l` shows it.
    pub const fn letter(self) -> char {
        match self {
            Self::Fifo => 'p',
            Self::CharacterDevice => 'c',
            Self::Directory => 'd',
            Self::BlockDevice => 'b',
            Self::Regular => '-',
            Self::Symlink => 'l',
            Self::Socket => 's',
        }
    }
}

bitflags! {
    /// The permission bits of a mode, without the file type.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FileMode: u32 {
        /// Run as the owner.
        const S_ISUID = 0o4000;
        /// Run as the group; on a directory: new files inherit the group.
        const S_ISGID = 0o2000;
        /// On a directory: only owners remove.
        const S_ISVTX = 0o1000;
        /// The owner reads.
        const S_IRUSR = 0o400;
        /// The owner writes.
        const S_IWUSR = 0o200;
        /// The owner runs or searches.
        const S_IXUSR = 0o100;
        /// The group reads.
        const S_IRGRP = 0o040;
        /// The group writes.
        const S_IWGRP = 0o020;
        /// The group runs or searches.
        const S_IXGRP = 0o010;
        /// Others read.
        const S_IROTH = 0o004;
        /// Others write.
        const S_IWOTH = 0o002;
        /// Others run or search.
        const S_IXOTH = 0o001;
    }
}

impl FileMode {
    /// Reading, writing and running for everybody: `0777`.
    pub const S_IRWXUGO: Self = Self::from_bits_truncate(0o777);
    /// All twelve bits: `07777`.
    pub const S_IALLUGO: Self = Self::all();
    /// Running for anybody: `0111`.
    pub const S_IXUGO: Self = Self::from_bits_truncate(0o111);

    /// The mode with these permission bits; all others are dropped, as the calls that take a mode do.
    pub const fn new(bits: u32) -> Self {
        Self::from_bits_truncate(bits)
    }

    /// `st_mode` of a file of this type.
    pub const fn with_type(self, file_type: FileType) -> u32 {
        self.bits() | file_type.bits()
    }

    /// What is left of it under a `umask(2)`; only `0777` of the mask counts.
    pub const fn masked(self, umask: Self) -> Self {
        self.difference(umask.intersection(Self::S_IRWXUGO))
    }

    /// The three bits for the owner, at the lowest place: 4 read, 2 write, 1 execute.
    pub const fn owner(self) -> u32 {
        (self.bits() >> 6) & 7
    }

    /// The three bits for the group, at the lowest place.
    pub const fn group(self) -> u32 {
        (self.bits() >> 3) & 7
    }

    /// The three bits for others, at the lowest place.
    pub const fn other(self) -> u32 {
        self.bits() & 7
    }
}

/// The number of a device: 12 bits of major and 20 bits of minor number, as the kernel keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    /// Zero: no device.
    pub const NONE: Self = Self { major: 0, minor: 0 };

    /// The number with these parts; bits beyond 12 and 20 are dropped.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major: major & 0xfff, minor: minor & 0xf_ffff }
    }

    /// The driver's number.
    pub const fn major(self) -> u32 {
        self.major
    }

    /// The number within the driver.
    pub const fn minor(self) -> u32 {
        self.minor
    }

    /// The 32-bit encoding that `mknod(2)`, `ustat(2)` and `TIOCGDEV` carry.
    pub const fn encode(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    /// Undoes [`DeviceNumber::encode`]; every 32-bit value is one.
    pub const fn decode(raw: u32) -> Self {
        Self { major: (raw >> 8) & 0xfff, minor: (raw & 0xff) | ((raw >> 12) & 0xf_ff00) }
    }

    /// `st_dev` and `st_rdev`: for numbers of the kernel's width the same as [`DeviceNumber::encode`].
    pub const fn to_u64(self) -> u64 {
        self.encode() as u64
    }

    /// The number in an `st_rdev` of the host (`major(3)`).
    ///
    /// # Errors
    /// `EINVAL` where it does not fit the kernel's width.
    pub const fn from_u64(raw: u64) -> Result<Self, Errno> {
        if raw > u32::MAX as u64 { Err(Errno::EINVAL) } else { Ok(Self::decode(raw as u32)) }
    }
}

/// `major:minor`, as in `/proc/self/mountinfo`.
impl fmt::Display for DeviceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_round_trip_through_a_mode() {
        for raw in [
            libc::S_IFIFO,
            libc::S_IFCHR,
            libc::S_IFDIR,
            libc::S_IFBLK,
            libc::S_IFREG,
            libc::S_IFLNK,
            libc::S_IFSOCK,
        ] {
            let file_type = FileType::from_mode(raw | 0o644).expect("a known type");
            assert_eq!(FileMode::new(0o644).with_type(file_type), raw | 0o644);
        }
        assert_eq!(FileType::from_mode(0o644), None);
        assert_eq!(FileType::Regular.dirent_type(), libc::DT_REG);
    }

    #[test]
    fn umask_touches_only_the_nine_lower_bits() {
        assert_eq!(FileMode::new(0o7777).masked(FileMode::new(0o7022)), FileMode::new(0o7755));
    }

    #[test]
    fn device_numbers_agree_with_makedev() {
        for (major, minor) in [(0, 0), (1, 3), (8, 300), (0xfff, 0xf_ffff), (136, 70_000)] {
            let device = DeviceNumber::new(major, minor);
            assert_eq!(device.to_u64(), libc::makedev(major, minor));
            assert_eq!(DeviceNumber::decode(device.encode()), device);
        }
        assert_eq!(DeviceNumber::from_u64(1 << 40), Err(Errno::EINVAL));
        assert_eq!(DeviceNumber::new(259, 3).to_string(), "259:3");
    }
}
