//! From a trapped call to its handler, and from its result to a register.

use bartizan_abi::Errno;

use super::argument::{Argument, IntoRegister};
use super::table;
use crate::SysResult;
use crate::kernel::{CurrentTask, seccomp};

/// As [`dispatch`], for a task with filters, which may refuse the call or have it changed by a tracer.
#[cold]
pub fn dispatch_checked(task: &CurrentTask, number: u64, arguments: &[u64; 6]) -> SysResult<u64> {
    if let Some(result) = seccomp::check(task, number, arguments) {
        return result;
    }
    let (number, arguments) = task.system_call();
    dispatch(task, number, &arguments)
}

/// Runs the call `number` with `arguments`. Calls that are not implemented are counted by name and give `ENOSYS`.
pub fn dispatch(task: &CurrentTask, number: u64, arguments: &[u64; 6]) -> SysResult<u64> {
    match table::entry(number) {
        Some(entry) => (entry.invoke)(task, arguments),
        None => {
            task.kernel().statistics().count_unimplemented(number);
            Err(Errno::ENOSYS.into())
        }
    }
}

/// A function that can handle a system call: up to six arguments, each decoded by its type.
pub trait Handler<Arguments> {
    /// Decodes the arguments and makes the call.
    fn invoke(self, task: &CurrentTask, raw: &[u64; 6]) -> SysResult<u64>;

    /// Appends the arguments as `strace(1)` shows them.
    fn show(self, task: &CurrentTask, raw: &[u64; 6], out: &mut String);
}

macro_rules! handler {
    ($($type:ident $index:tt),*) => {
        impl<Function, Output, $($type),*> Handler<(Output, $($type,)*)> for Function
        where
            Function: Fn(&CurrentTask, $($type),*) -> SysResult<Output>,
            Output: IntoRegister,
            $($type: Argument,)*
        {
            #[inline]
            fn invoke(self, task: &CurrentTask, _raw: &[u64; 6]) -> SysResult<u64> {
                self(task, $($type::decode(_raw[$index])?),*).map(IntoRegister::into_register)
            }

            fn show(self, _task: &CurrentTask, _raw: &[u64; 6], _out: &mut String) {
                $(
                    if $index > 0 {
                        _out.push_str(", ");
                    }
                    $type::show(_raw[$index], _task, _out);
                )*
            }
        }
    };
}

handler!();
handler!(A 0);
handler!(A 0, B 1);
handler!(A 0, B 1, C 2);
handler!(A 0, B 1, C 2, D 3);
handler!(A 0, B 1, C 2, D 3, E 4);
handler!(A 0, B 1, C 2, D 3, E 4, F 5);
