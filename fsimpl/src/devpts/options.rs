//! Mount options of `devpts` (`mount(8)`).

use std::fmt::Write;

use bartizan_abi::{Errno, FileMode};
use bartizan_sentry::kernel::{IdKind, UserNamespace};

/// The most terminals of one instance (`NR_UNIX98_PTY_MAX`).
const MOST: u32 = 1 << 20;

/// What new terminals are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Owner, instead of whoever opened `ptmx`.
    pub uid: Option<u32>,
    /// Group; the group `tty` by default.
    pub gid: u32,
    /// Permissions of terminals.
    pub mode: FileMode,
    /// Permissions of `ptmx`.
    pub ptmx_mode: FileMode,
    /// How many there may be.
    pub most: u32,
}

impl Default for Options {
    /// What Debian mounts, but for a usable `ptmx`.
    fn default() -> Self {
        Self { uid: None, gid: 5, mode: FileMode::new(0o620), ptmx_mode: FileMode::new(0o666), most: MOST }
    }
}

impl Options {
    /// Understands `text`, as in `gid=5,mode=620,ptmxmode=666`; what it does not name is as Linux has it.
    ///
    /// # Errors
    /// `EINVAL` for an option that Linux does not know or a value that it does not take.
    pub fn parse(text: &[u8]) -> Result<Self, Errno> {
        Self::parse_for(&UserNamespace::default(), text)
    }

    /// As [`parse`](Self::parse), with ids as they are called in `names`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn parse_for(names: &UserNamespace, text: &[u8]) -> Result<Self, Errno> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let id = |kind, value: &str| {
            value.parse().ok().and_then(|id| names.resolve(kind, id)).ok_or(Errno::EINVAL)
        };
        let mut options =
            Self { gid: 0, mode: FileMode::new(0o600), ptmx_mode: FileMode::empty(), ..Self::default() };
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "uid" => options.uid = Some(id(IdKind::User, value)?),
                "gid" => options.gid = id(IdKind::Group, value)?,
                "mode" => options.mode = parse_mode(value)?,
                "ptmxmode" => options.ptmx_mode = parse_mode(value)?,
                "max" => {
                    let most = value.parse().map_err(|_| Errno::EINVAL)?;
                    options.most = if most <= MOST { most } else { return Err(Errno::EINVAL) };
                }
                "newinstance" if value.is_empty() => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// The options as `/proc/mounts` shows them.
    pub fn show(&self) -> String {
        let mut text = String::new();
        if let Some(uid) = self.uid {
            let _infallible = write!(text, "uid={uid},");
        }
        if self.gid != 0 {
            let _infallible = write!(text, "gid={},", self.gid);
        }
        let _infallible =
            write!(text, "mode={:03o},ptmxmode={:03o}", self.mode.bits(), self.ptmx_mode.bits());
        if self.most < MOST {
            let _infallible = write!(text, ",max={}", self.most);
        }
        text
    }
}

fn parse_mode(value: &str) -> Result<FileMode, Errno> {
    u32::from_str_radix(value, 8).map(|mode| FileMode::new(mode & 0o7777)).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_and_shown() {
        let options = Options::parse(b"gid=5,mode=620,ptmxmode=666").unwrap();
        assert_eq!(options, Options::default());
        assert_eq!(options.show(), "gid=5,mode=620,ptmxmode=666");
        assert_eq!(Options::parse(b"max=4,uid=7").unwrap().show(), "uid=7,mode=600,ptmxmode=000,max=4");
        for bad in ["mode=9", "gid=x", "max=9999999", "size=1"] {
            assert_eq!(Options::parse(bad.as_bytes()), Err(Errno::EINVAL), "{bad}");
        }
    }
}
