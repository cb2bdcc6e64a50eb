//! `/proc/[pid]/mounts` and `mountinfo` (`proc_pid_mounts(5)`, `proc_pid_mountinfo(5)`).

use bartizan_abi::Errno;

use crate::proc::paths::{self, MountView};
use crate::proc::process::Subject;

/// One line for each mount that the process can reach: source, place, type, options.
pub fn mounts(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    for mount in paths::mounts_of(&*subject.task()?)? {
        write_source(&mut text, &mount);
        text.push(b' ');
        escape(&mut text, &mount.place);
        let options = join(&mount.flags, &mount.options);
        text.extend_from_slice(format!(" {} {options} 0 0\n", mount.type_name).as_bytes());
    }
    Ok(text)
}

/// One line for each mount: number, parent, device, root, place, options, type, source, options of the file system.
pub fn mountinfo(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    for mount in paths::mounts_of(&*subject.task()?)? {
        text.extend_from_slice(format!("{} {} {} ", mount.number, mount.parent, mount.device).as_bytes());
        escape(&mut text, &mount.root);
        text.push(b' ');
        escape(&mut text, &mount.place);
        let (flags, propagation) = (&mount.flags, &mount.propagation);
        text.extend_from_slice(format!(" {flags}{propagation} - {} ", mount.type_name).as_bytes());
        write_source(&mut text, &mount);
        let access = if mount.filesystem_read_only { "ro" } else { "rw" };
        text.extend_from_slice(format!(" {}\n", join(access, &mount.options)).as_bytes());
    }
    Ok(text)
}

/// Appends what `mount` was mounted from: its type if that is not known.
fn write_source(text: &mut Vec<u8>, mount: &MountView) {
    escape(text, if mount.source.is_empty() { mount.type_name.as_bytes() } else { &mount.source });
}

fn join(flags: &str, options: &str) -> String {
    if options.is_empty() { flags.to_owned() } else { format!("{flags},{options}") }
}

/// Appends a path with its blanks in octal, so that fields can be told apart.
fn escape(text: &mut Vec<u8>, path: &[u8]) {
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_paths_are_octal() {
        let mut text = Vec::new();
        escape(&mut text, b"/a b\\c\n");
        assert_eq!(text, b"/a\\040b\\134c\\012");
    }
}
