//! Mount options of `tmpfs(5)`.

use std::fmt::Write;

use bartizan_abi::{Errno, FileMode};
use bartizan_platform::memory::PAGE_SIZE;
use bartizan_sentry::kernel::{Credentials, IdKind};

/// What a tmpfs is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Most bytes that file data may take; `None` for the default (half of the memory), `Some(0)` for no limit.
    pub size: Option<u64>,
    /// Most inodes; `None` for the default, `Some(0)` for no limit.
    pub inodes: Option<u64>,
    /// Mode of the root directory.
    pub mode: FileMode,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: None, inodes: None, mode: FileMode::new(0o1777), uid: 0, gid: 0 }
    }
}

impl Options {
    /// Parses the data argument of `mount(2)`: `size=10%,nr_inodes=1k,mode=755,uid=0,gid=0`. `memory` is how many bytes of
    /// memory a percentage counts of.
    ///
    /// # Errors
    /// `EINVAL` for an option that Linux does not know or a value that it does not take.
    pub fn parse(text: &[u8], memory: u64) -> Result<Self, Errno> {
        Self::parse_for(&Credentials::root(), text, memory)
    }

    /// As [`parse`](Self::parse), for a user who mounts: ids are what they are called in the user's namespace, and the root directory is the user's if
    /// nothing else is said.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn parse_for(user: &Credentials, text: &[u8], memory: u64) -> Result<Self, Errno> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let id = |kind, value: &str| {
            let id = value.parse().ok();
            id.and_then(|id| user.user_namespace.resolve(kind, id)).ok_or(Errno::EINVAL)
        };
        let mut options = Self { uid: user.fsuid, gid: user.fsgid, ..Self::default() };
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "size" => options.size = Some(parse_size(value, memory)?),
                "nr_blocks" => {
                    let blocks = parse_scaled(value)?;
                    options.size = Some(blocks.checked_mul(PAGE_SIZE).ok_or(Errno::EINVAL)?);
                }
                "nr_inodes" => options.inodes = Some(parse_scaled(value)?),
                "mode" => options.mode = parse_mode(value)?,
                "uid" => options.uid = id(IdKind::User, value)?,
                "gid" => options.gid = id(IdKind::Group, value)?,
                "huge" if matches!(value, "never" | "always" | "within_size" | "advise") => {}
                "inode32" | "inode64" | "noswap" if value.is_empty() => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// The options as `/proc/mounts` shows them: those that are not the default.
    pub fn show(&self) -> String {
        let mut text = String::new();
        if let Some(size) = self.size {
            let _infallible = write!(text, "size={}k,", size / 1024);
        }
        if let Some(inodes) = self.inodes {
            let _infallible = write!(text, "nr_inodes={inodes},");
        }
        if self.mode != FileMode::new(0o1777) {
            let _infallible = write!(text, "mode={:03o},", self.mode.bits());
        }
        if self.uid != 0 {
            let _infallible = write!(text, "uid={},", self.uid);
        }
        if self.gid != 0 {
            let _infallible = write!(text, "gid={},", self.gid);
        }
        text.push_str("inode64");
        text
    }
}

/// A size in bytes, rounded up to pages, or per cent of `memory`.
fn parse_size(value: &str, memory: u64) -> Result<u64, Errno> {
    let bytes = match value.strip_suffix('%') {
        Some(percent) => {
            let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
            (memory / 100).checked_mul(percent).ok_or(Errno::EINVAL)?
        }
        None => parse_scaled(value)?,
    };
    bytes.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EINVAL)
}

/// A number with a suffix `k`, `m`, `g`, `t`, `p` or `e`.
fn parse_scaled(value: &str) -> Result<u64, Errno> {
    let shift = match value.bytes().last().map(|last| last.to_ascii_lowercase()) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        Some(b'p') => 50,
        Some(b'e') => 60,
        _ => 0,
    };
    let digits = if shift == 0 { value } else { &value[..value.len() - 1] };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

/// An octal mode with at most twelve bits.
fn parse_mode(value: &str) -> Result<FileMode, Errno> {
    let bits = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
    Ok(FileMode::new(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_manual_page_are_understood() {
        let options = Options::parse(b"size=1m,nr_inodes=2k,mode=755,uid=7,gid=8,huge=never", 0).unwrap();
        assert_eq!(options.size, Some(1 << 20));
        assert_eq!(options.inodes, Some(2048));
        assert_eq!(options.show(), "size=1024k,nr_inodes=2048,mode=755,uid=7,gid=8,inode64");
        assert_eq!(
            Options::parse(b"size=50%", 1 << 30).unwrap().size,
            Some((1 << 30) / 100 * 50 / 4096 * 4096 + 4096)
        );
        assert_eq!(Options::parse(b"", 0).unwrap(), Options::default());
        assert_eq!(Options::parse(b"size=1", 0).unwrap().size, Some(4096));
    }

    #[test]
    fn anything_else_is_invalid() {
        for text in [
            "size=",
            "size=x",
            "size=99999999999e",
            "mode=9",
            "nonsense",
            "huge=maybe",
            "uid=-1",
            "k=k",
            "nr_inodes=k",
        ] {
            assert_eq!(Options::parse(text.as_bytes(), 0), Err(Errno::EINVAL), "{text}");
        }
    }
}
