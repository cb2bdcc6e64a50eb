//! `#!` lines: `execve(2)`, "Interpreter scripts".

use bartizan_abi::Errno;

use super::prepare::PREFIX_SIZE;
use crate::vfs::FsString;

/// What a `#!` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The path of the interpreter.
    pub interpreter: FsString,
    /// All the rest of the line, as one argument.
    pub argument: Option<FsString>,
}

/// Whether a file that starts with `prefix` is a script.
pub fn is_script(prefix: &[u8; PREFIX_SIZE]) -> bool {
    prefix.starts_with(b"#!")
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads the line at the start of a file, whose first bytes, filled up with zeros, are `prefix`. A line that is longer may be cut in its
/// argument, but not in the interpreter's path.
///
/// # Errors
/// `ENOEXEC` for a line without a whole path.
pub fn parse(prefix: &[u8; PREFIX_SIZE]) -> Result<Script, Errno> {
    let text = prefix.strip_prefix(b"#!").ok_or(Errno::ENOEXEC)?;
    let line = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => &text[..end],
        None => cut_line(text)?,
    };
    let end = line.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    let line = &line[..end];
    let start = line.iter().position(|byte| !is_blank(*byte)).ok_or(Errno::ENOEXEC)?;
    let line = &line[start..];
    let separator = line.iter().position(|byte| is_blank(*byte) || *byte == 0).unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(separator);
    let argument = match rest.first() {
        Some(byte) if is_blank(*byte) => argument(rest),
        _ => None,
    };
    Ok(Script { interpreter: interpreter.to_vec(), argument })
}

/// A line without an end in sight: its path must be followed by something, else it may be cut. The last byte is only looked at.
fn cut_line(text: &[u8]) -> Result<&[u8], Errno> {
    let start = text.iter().position(|byte| !is_blank(*byte)).ok_or(Errno::ENOEXEC)?;
    let terminated = text[start..].iter().any(|byte| is_blank(*byte) || *byte == 0);
    if terminated { Ok(&text[..text.len() - 1]) } else { Err(Errno::ENOEXEC) }
}

/// The argument in what follows the path, up to a NUL.
fn argument(rest: &[u8]) -> Option<FsString> {
    let start = rest.iter().position(|byte| !is_blank(*byte))?;
    let text = &rest[start..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Some(text[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &[u8]) -> [u8; PREFIX_SIZE] {
        let mut prefix = [0; PREFIX_SIZE];
        let length = text.len().min(PREFIX_SIZE);
        prefix[..length].copy_from_slice(&text[..length]);
        prefix
    }

    fn parsed(text: &[u8]) -> Result<(String, Option<String>), Errno> {
        let text_of = |bytes: Vec<u8>| String::from_utf8(bytes).expect("test text");
        parse(&prefix(text)).map(|script| (text_of(script.interpreter), script.argument.map(text_of)))
    }

    fn script(interpreter: &str, argument: Option<&str>) -> Result<(String, Option<String>), Errno> {
        Ok((interpreter.to_owned(), argument.map(str::to_owned)))
    }

    #[test]
    fn the_rest_of_the_line_is_one_argument() {
        assert_eq!(parsed(b"#!/bin/sh\n"), script("/bin/sh", None));
        assert_eq!(parsed(b"#! \t/bin/sh -e  -u \t\nx"), script("/bin/sh", Some("-e  -u")));
        assert_eq!(parsed(b"#!/usr/bin/env python3 -u"), script("/usr/bin/env", Some("python3 -u")));
        assert_eq!(parsed(b"#!/bin/sh\0junk\n"), script("/bin/sh", None));
        assert_eq!(parsed(b"#!/bin/sh a\0b\n"), script("/bin/sh", Some("a")));
        assert_eq!(parsed(b"#!"), script("", None));
    }

    #[test]
    fn a_line_without_a_path_is_no_script() {
        for text in [b"#!\n".as_slice(), b"#!  \t \n", b"#\n", &[b' '; 300]] {
            assert_eq!(parsed(text), Err(Errno::ENOEXEC));
        }
        let blanks = [b"#!".as_slice(), &[b' '; 300]].concat();
        assert_eq!(parsed(&blanks), Err(Errno::ENOEXEC));
    }

    #[test]
    fn a_path_must_be_whole_but_an_argument_may_be_cut() {
        let path = "/".repeat(253);
        assert_eq!(parsed(format!("#!{path} x").as_bytes()), script(&path, None));
        assert_eq!(parsed(format!("#!{path}/").as_bytes()), Err(Errno::ENOEXEC));
        let argument = "a".repeat(300);
        let cut = "a".repeat(255 - 10);
        assert_eq!(parsed(format!("#!/bin/sh {argument}").as_bytes()), script("/bin/sh", Some(&cut)));
    }
}
