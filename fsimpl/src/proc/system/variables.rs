//! Files of `/proc/sys` that can be written: each shows and changes something that the kernel, or a namespace of whoever opened it,
//! goes by.

use std::fmt::Display;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_sentry::kernel::sysv::{IpcLimits, IpcNamespace};
use bartizan_sentry::kernel::{CurrentTask, Kernel, Setting, Settings, UserNamespace, UtsNames};
use bartizan_sentry::vfs::OpenRequest;

use super::System;
use crate::pseudo::Content;

/// Most objects of a kind of System V IPC (`IPCMNI`).
const IPCMNI: u64 = 32_768;
/// What `int` variables may be at most.
const INT_MAX: u64 = i32::MAX as u64;

/// Gives the text that is read.
type Show<T> = dyn Fn(&T) -> Vec<u8> + Send + Sync;
/// Takes what is written.
type Store<T> = dyn Fn(&T, &[u8]) -> Result<(), Errno> + Send + Sync;

/// What a variable does with the `T` that it is of.
struct Access<T: ?Sized> {
    show: Box<Show<T>>,
    store: Box<Store<T>>,
}

/// A variable of whatever `T` the opener has.
struct Variable<T: ?Sized> {
    system: System,
    initial: fn(&Arc<Kernel>) -> Arc<T>,
    of_task: fn(&CurrentTask) -> Arc<T>,
    access: Arc<Access<T>>,
}

/// A variable of one `T`, as an open file has it.
struct Opened<T: ?Sized> {
    object: Arc<T>,
    access: Arc<Access<T>>,
}

impl<T: Send + Sync + ?Sized + 'static> Content for Variable<T> {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        Ok((self.access.show)(&*(self.initial)(&self.system.kernel()?)))
    }

    fn opened(&self, request: &OpenRequest<'_>) -> Result<Option<Arc<dyn Content>>, Errno> {
        let object = match request.task {
            Some(task) => (self.of_task)(task),
            None => (self.initial)(&self.system.kernel()?),
        };
        Ok(Some(Arc::new(Opened { object, access: Arc::clone(&self.access) })))
    }
}

impl<T: Send + Sync + ?Sized + 'static> Content for Opened<T> {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        Ok((self.access.show)(&self.object))
    }

    fn store(&self, data: &[u8]) -> Result<(), Errno> {
        (self.access.store)(&self.object, data)
    }
}

/// A name of the machine in the opener's UTS namespace: what is too long is cut, and a line's end is not part of it.
pub fn name(
    system: &System,
    show: fn(&UtsNames) -> Vec<u8>,
    store: fn(&UtsNames, Vec<u8>),
) -> impl Content + use<> {
    let access = Access::<UtsNames> {
        show: Box::new(move |names| [&show(names)[..], b"\n"].concat()),
        store: Box::new(move |names, data| {
            if data.is_empty() {
                return Ok(());
            }
            let name = data.split(|&byte| byte == b'\n' || byte == 0).next().unwrap_or_default();
            store(names, name[..name.len().min(UtsNames::NAME_MAX)].to_vec());
            Ok(())
        }),
    };
    Variable {
        system: system.clone(),
        initial: |kernel| Arc::clone(kernel.uts()),
        of_task: |task| task.uts(),
        access: Arc::new(access),
    }
}

/// The IPC objects that somebody sees.
pub struct IpcView {
    /// Those of this namespace.
    pub namespace: Arc<IpcNamespace>,
    /// What their owners are called.
    pub ids: UserNamespace,
}

/// What `show` tells of the objects of the opener's IPC namespace.
pub fn seen_objects(system: &System, show: fn(&IpcView) -> String) -> impl Content + use<> {
    let access = Access::<IpcView> {
        show: Box::new(move |view| show(view).into_bytes()),
        store: Box::new(|_, _| Err(Errno::EIO)),
    };
    Variable {
        system: system.clone(),
        initial: |kernel| {
            Arc::new(IpcView { namespace: Arc::clone(kernel.ipc()), ids: UserNamespace::default() })
        },
        of_task: |task| Arc::new(IpcView { namespace: task.ipc(), ids: task.user_namespace() }),
        access: Arc::new(access),
    }
}

/// Limits of the opener's IPC namespace: those that `fields` tells, each from its first to its second number, beyond which is that error.
fn ipc<T, const N: usize>(
    system: &System,
    fields: fn(&mut IpcLimits) -> [&mut T; N],
    bounds: [(T, T, Errno); N],
) -> impl Content + use<T, N>
where
    T: Copy + PartialOrd + Display + TryFrom<i128> + Send + Sync + 'static,
{
    let access = Access::<IpcNamespace> {
        show: Box::new(move |namespace| {
            let mut limits = namespace.limits();
            let texts = fields(&mut limits).map(|value| value.to_string());
            (texts.join("\t") + "\n").into_bytes()
        }),
        store: Box::new(move |namespace, data| {
            let numbers = parse(data, N)?;
            namespace.change_limits(|limits| {
                for ((field, number), (least, most, error)) in
                    fields(limits).into_iter().zip(numbers).zip(bounds)
                {
                    let value = T::try_from(number).map_err(|_| Errno::EINVAL)?;
                    if value < least || value > most {
                        return Err(error);
                    }
                    *field = value;
                }
                Ok(())
            })
        }),
    };
    Variable {
        system: system.clone(),
        initial: |kernel| Arc::clone(kernel.ipc()),
        of_task: |task| task.ipc(),
        access: Arc::new(access),
    }
}

/// A limit of System V IPC.
pub fn ipc_limit(system: &System, name: IpcLimit) -> impl Content + use<> {
    let any = (0, u64::MAX, Errno::EINVAL);
    let int = (0, INT_MAX, Errno::EINVAL);
    let objects = (0, IPCMNI, Errno::EINVAL);
    let (field, bounds): (fn(&mut IpcLimits) -> [&mut u64; 1], _) = match name {
        IpcLimit::Shmall => (|limits| [&mut limits.shmall], any),
        IpcLimit::Shmmax => (|limits| [&mut limits.shmmax], any),
        IpcLimit::Shmmni => (|limits| [&mut limits.shmmni], objects),
        IpcLimit::Msgmax => (|limits| [&mut limits.msgmax], int),
        IpcLimit::Msgmnb => (|limits| [&mut limits.msgmnb], int),
        IpcLimit::Msgmni => (|limits| [&mut limits.msgmni], objects),
    };
    ipc(system, field, [bounds])
}

/// Limits of System V IPC that are a number each, by their names in `proc_sys_kernel(5)`.
#[derive(Debug, Clone, Copy)]
pub enum IpcLimit {
    Shmall,
    Shmmax,
    Shmmni,
    Msgmax,
    Msgmnb,
    Msgmni,
}

/// `sem`: `semmsl`, `semmns`, `semopm` and `semmni`.
pub fn semaphores(system: &System) -> impl Content + use<> {
    let fields: fn(&mut IpcLimits) -> [&mut u64; 4] =
        |limits| [&mut limits.semmsl, &mut limits.semmns, &mut limits.semopm, &mut limits.semmni];
    let wrong = Errno::EINVAL;
    let objects = (0, IPCMNI, Errno::ERANGE);
    ipc(system, fields, [(0, MOST_OF_SET, wrong), (0, INT_MAX, wrong), (0, MOST_OPERATIONS, wrong), objects])
}

/// Semaphores of one set are memory of the host.
const MOST_OF_SET: u64 = 32_000;
/// So are the operations of one call.
const MOST_OPERATIONS: u64 = 500;

/// How many POSIX message queues there may be.
pub fn queues(system: &System) -> impl Content + use<> {
    ipc(system, |limits| [&mut limits.queues_max], [(0, INT_MAX, Errno::EINVAL)])
}

/// A limit of POSIX message queues, from `least` to `most`.
pub fn queue_limit(
    system: &System,
    field: fn(&mut IpcLimits) -> [&mut i64; 1],
    least: i64,
    most: i64,
) -> impl Content + use<> {
    ipc(system, field, [(least, most, Errno::EINVAL)])
}

/// A setting of the kernel.
pub fn setting(system: &System, of: fn(&Settings) -> &Setting) -> impl Content + use<> {
    rounded_setting(system, of, Some)
}

/// A setting of the kernel that is stored as `round` says, which tells what is impossible.
pub fn rounded_setting(
    system: &System,
    of: fn(&Settings) -> &Setting,
    round: fn(u64) -> Option<u64>,
) -> impl Content + use<> {
    let access = Access::<Kernel> {
        show: Box::new(move |kernel| format!("{}\n", of(kernel.settings()).get()).into_bytes()),
        store: Box::new(move |kernel, data| {
            let Some(&number) = parse(data, 1)?.first() else { return Ok(()) };
            let value = u64::try_from(number).ok().and_then(round).ok_or(Errno::EINVAL)?;
            of(kernel.settings()).set(value)
        }),
    };
    Variable {
        system: system.clone(),
        initial: Arc::clone,
        of_task: |task| Arc::clone(task.kernel()),
        access: Arc::new(access),
    }
}

/// Up to `most` numbers as `proc_dointvec` of Linux takes them: decimal, octal behind a zero, hexadecimal behind `0x`, with white space
/// between. What follows them is ignored, as nothing at all is.
///
/// # Errors
/// `EINVAL` for what is no number.
pub fn parse(data: &[u8], most: usize) -> Result<Vec<i128>, Errno> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let words = text.split(|character: char| character == '\0' || character.is_ascii_whitespace());
    words.filter(|word| !word.is_empty()).take(most).map(number).collect()
}

/// The number that `word` is.
fn number(word: &str) -> Result<i128, Errno> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if !digits.starts_with(|digit: char| digit.is_digit(radix)) {
        return Err(Errno::EINVAL);
    }
    let value = u64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    Ok(if negative { -i128::from(value) } else { i128::from(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_linux_takes_them() {
        assert_eq!(parse(b" \t7 \n", 1), Ok(vec![7]));
        assert_eq!(parse(b"010 0x10 -3 0", 4), Ok(vec![8, 16, -3, 0]));
        assert_eq!(parse(b"3 x", 1), Ok(vec![3]));
        assert_eq!(parse(b"", 1), Ok(vec![]));
        for wrong in ["abc", "4k", "1_2", "--1", "-", "+1", "0x", "99999999999999999999"] {
            assert_eq!(parse(wrong.as_bytes(), 1), Err(Errno::EINVAL), "{wrong}");
        }
    }
}
