//! Mount options.

use bartizan_abi::Errno;
use bartizan_sentry::vfs::{FsStr, FsString};

/// The most lower layers that Linux takes.
const MOST_LAYERS: usize = 500;

/// What `mount(2)` is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Paths of the lower layers, the topmost first.
    pub lower: Vec<FsString>,
    /// Paths of the upper layer and of the work directory.
    pub upper: Option<(FsString, FsString)>,
    /// Marks are attributes of users (`userxattr`).
    pub user_marks: bool,
}

impl Options {
    /// Parses `lowerdir=A:B,upperdir=C,workdir=D`; `\` stands before a `:` or `,` that is part of a path.
    ///
    /// # Errors
    /// `EINVAL` for an option that Linux does not know, one that is not done here (`redirect_dir=on`), no lower layer or too many of them, and an upper layer without
    /// work directory.
    pub fn parse(text: &FsStr) -> Result<Self, Errno> {
        let mut options = Self::default();
        let (mut upper, mut work) = (None, None);
        for option in split(text, b',').iter().filter(|option| !option.is_empty()) {
            let middle = option.iter().position(|&byte| byte == b'=').unwrap_or(option.len());
            let (name, value) = (&option[..middle], option.get(middle + 1..).unwrap_or_default());
            match name {
                b"lowerdir" => options.lower = split(value, b':').iter().map(|path| unescape(path)).collect(),
                b"lowerdir+" => options.lower.push(unescape(value)),
                b"upperdir" => upper = Some(unescape(value)),
                b"workdir" => work = Some(unescape(value)),
                b"userxattr" => options.user_marks = true,
                b"volatile" | b"default_permissions" => {}
                b"redirect_dir" if matches!(value, b"off" | b"nofollow") => {}
                b"index" | b"nfs_export" | b"metacopy" if value == b"off" => {}
                b"xino" if matches!(value, b"on" | b"off" | b"auto") => {}
                b"uuid" if matches!(value, b"null" | b"off" | b"auto") => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        let several = upper.is_some() || options.lower.len() > 1;
        if options.lower.is_empty() || options.lower.len() > MOST_LAYERS || !several {
            return Err(Errno::EINVAL);
        }
        if options.lower.iter().chain(&upper).chain(&work).any(Vec::is_empty) {
            return Err(Errno::EINVAL);
        }
        options.upper = match (upper, work) {
            (Some(upper), Some(work)) => Some((upper, work)),
            (None, _) => None,
            (Some(_), None) => return Err(Errno::EINVAL),
        };
        Ok(options)
    }

    /// As `/proc/mounts` shows them.
    pub fn show(&self) -> String {
        let mut text = b"lowerdir=".to_vec();
        text.extend(self.lower.iter().map(|path| escape(path)).collect::<Vec<_>>().join(&b':'));
        if let Some((upper, work)) = &self.upper {
            text.extend([&b",upperdir="[..], &escape(upper), b",workdir=", &escape(work)].concat());
        }
        if self.user_marks {
            text.extend(b",userxattr");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The parts of `text` between separators that no `\` stands before.
fn split(text: &FsStr, separator: u8) -> Vec<FsString> {
    let mut parts = vec![FsString::new()];
    let mut escaped = false;
    for &byte in text {
        if byte == separator && !escaped {
            parts.push(FsString::new());
            continue;
        }
        escaped = byte == b'\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    parts
}

/// `text` without the `\` before other characters.
fn unescape(text: &FsStr) -> FsString {
    let mut escaped = false;
    let mut plain = FsString::new();
    for &byte in text {
        escaped = byte == b'\\' && !escaped;
        if !escaped {
            plain.push(byte);
        }
    }
    plain
}

fn escape(path: &FsStr) -> FsString {
    path.iter()
        .flat_map(|&byte| if matches!(byte, b':' | b',' | b'\\') { vec![b'\\', byte] } else { vec![byte] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_can_be_part_of_paths() {
        let options = Options::parse(br"lowerdir=/a\:b:/c\,d:/e,upperdir=/u,workdir=/w").unwrap();
        assert_eq!(options.lower, [b"/a:b".to_vec(), b"/c,d".to_vec(), b"/e".to_vec()]);
        assert_eq!(options.upper, Some((b"/u".to_vec(), b"/w".to_vec())));
        assert_eq!(options.show(), r"lowerdir=/a\:b:/c\,d:/e,upperdir=/u,workdir=/w");
    }

    #[test]
    fn what_makes_no_overlay_is_refused() {
        for text in [
            &b""[..],
            b"lowerdir=/a",
            b"upperdir=/u,workdir=/w",
            b"lowerdir=/a,upperdir=/u",
            b"lowerdir=/a::/b",
            b"lowerdir=/a:/b,size=1",
            b"lowerdir=/a:/b,redirect_dir=on",
        ] {
            assert_eq!(Options::parse(text), Err(Errno::EINVAL), "{}", String::from_utf8_lossy(text));
        }
        assert!(Options::parse(b"lowerdir=/a:/b,index=off,userxattr").is_ok());
    }
}
