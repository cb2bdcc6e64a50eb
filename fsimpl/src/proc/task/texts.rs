//! The short files of a task: `cmdline`, `environ`, `auxv`, `comm`, `maps`, `io`, `limits`, `uid_map` and others
//! (`proc_pid_*(5)`).

use bartizan_abi::Errno;
use bartizan_sentry::kernel::{Credentials, IoCounts};
use bartizan_sentry::mm::{Layout, MemoryManager, UserAddr};

use super::{limits as limits_table, maps as areas};
use crate::proc::paths;
use crate::proc::process::Subject;

/// Most bytes of arguments or environment that are shown: what `execve` takes.
const MAX_STRINGS: u64 = 6 << 20;

/// `cmdline`: the arguments, each with its NUL; empty for a zombie.
pub fn cmdline(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(memory) = subject.memory()? else { return Ok(Vec::new()) };
    let layout = memory.layout();
    let mut text = strings(&memory, layout.arg_start, layout.arg_end);
    // A program that wrote a longer title over its arguments ends it in the environment.
    if text.last().is_some_and(|&last| last != 0) {
        text.extend(title_beyond(&memory, &layout));
    }
    Ok(text)
}

/// What follows the arguments up to the next NUL.
fn title_beyond(memory: &MemoryManager, layout: &Layout) -> Vec<u8> {
    if layout.env_start != layout.arg_end {
        return Vec::new();
    }
    let mut rest = strings(memory, layout.env_start, layout.env_end);
    if let Some(end) = rest.iter().position(|&byte| byte == 0) {
        rest.truncate(end + 1);
    }
    rest
}

/// `environ`: the environment at the start of the program, each string with its NUL.
pub fn environ(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(memory) = subject.memory()? else { return Ok(Vec::new()) };
    let layout = memory.layout();
    Ok(strings(&memory, layout.env_start, layout.env_end))
}

/// The memory from `start` to `end`, as far as it can be read.
fn strings(memory: &MemoryManager, start: u64, end: u64) -> Vec<u8> {
    let length = end.saturating_sub(start).min(MAX_STRINGS);
    let mut text = vec![0; length as usize];
    let read = memory.copy_in(UserAddr(start), &mut text);
    text.truncate(read);
    text
}

/// `auxv`: the auxiliary vector that the program got.
pub fn auxv(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(subject.memory()?.map(|memory| memory.auxiliary_vector().to_vec()).unwrap_or_default())
}

/// `comm`: the name of the task.
pub fn comm(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut name = subject.name()?;
    name.push(b'\n');
    Ok(name)
}

/// A new name for the task.
pub fn set_comm(subject: &Subject, data: &[u8], _opener: Option<&Credentials>) -> Result<(), Errno> {
    subject.set_name(data.strip_suffix(b"\n").unwrap_or(data))
}

/// `maps`.
pub fn maps(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(memory) = subject.memory()? else { return Ok(Vec::new()) };
    let root = paths::root_of(&*subject.task()?)?;
    Ok(areas::maps(&memory.areas(), |file| paths::text_of_file(file, &root)))
}

/// `smaps`.
pub fn smaps(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(memory) = subject.memory()? else { return Ok(Vec::new()) };
    let root = paths::root_of(&*subject.task()?)?;
    Ok(areas::smaps(&memory.areas(), |file| paths::text_of_file(file, &root)))
}

/// `smaps_rollup`: the sums of `smaps`.
pub fn smaps_rollup(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(memory) = subject.memory()? else { return Err(Errno::ESRCH) };
    Ok(areas::smaps_rollup(&memory.areas()).into_bytes())
}

/// `limits`.
pub fn limits(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let group = subject.group()?;
    Ok(limits_table::limits(|resource| group.limits().get(resource)))
}

/// `io`. What went to disks is not counted: there are none.
pub fn io(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let IoCounts { read_bytes, written_bytes, reads, writes } = subject.io()?;
    let text = format!(
        "rchar: {read_bytes}\nwchar: {written_bytes}\nsyscr: {reads}\nsyscw: {writes}\n\
         read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
    );
    Ok(text.into_bytes())
}

/// `schedstat`: nanoseconds on a processor, nanoseconds of waiting for one (which the host knows alone), and turns.
pub fn schedstat(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Ok(task) = subject.task() else { return Ok(b"0 0 0\n".to_vec()) };
    let (user, system) = task.usage().times();
    Ok(format!("{} 0 {}\n", user.saturating_add(system), task.usage().switches() + 1).into_bytes())
}

/// `projid_map` of the initial user namespace.
pub fn id_map(_subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(format!("{:>10} {:>10} {:>10}\n", 0, 0, u32::MAX).into_bytes())
}
