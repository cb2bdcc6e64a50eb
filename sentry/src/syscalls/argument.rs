//! How registers become typed arguments, and results registers.

use std::fmt::Write;

use bartizan_abi::Errno;

use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, FsString, PATH_MAX};

/// A parameter of a handler: decoded from one register.
pub trait Argument: Sized {
    /// The value of a register as the handler gets it; an error is the call's result.
    fn decode(raw: u64) -> Result<Self, Errno>;

    /// Appends how `strace(1)` would show it. Memory that it points to is read if it can be.
    fn show(raw: u64, task: &CurrentTask, out: &mut String);
}

/// A result of a handler.
pub trait IntoRegister {
    /// What the guest finds in its result register.
    fn into_register(self) -> u64;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn decode(raw: u64) -> Result<Self, Errno> {
                Ok(raw as $type)
            }

            fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
                if let Ok(value) = Self::decode(raw) {
                    let _infallible = write!(out, "{value}");
                }
            }
        }

        impl IntoRegister for $type {
            fn into_register(self) -> u64 {
                self as u64
            }
        }
    )*};
}

integer!(i32, u32, i64, u64, usize);

impl IntoRegister for () {
    fn into_register(self) -> u64 {
        0
    }
}

impl IntoRegister for FdNumber {
    fn into_register(self) -> u64 {
        self.0.into_register()
    }
}

impl IntoRegister for UserAddr {
    fn into_register(self) -> u64 {
        self.0
    }
}

impl Argument for FdNumber {
    fn decode(raw: u64) -> Result<Self, Errno> {
        i32::decode(raw).map(Self)
    }

    fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
        if let Ok(Self(fd)) = Self::decode(raw) {
            let _infallible = match fd {
                -100 => write!(out, "AT_FDCWD"),
                fd => write!(out, "{fd}"),
            };
        }
    }
}

impl Argument for UserAddr {
    fn decode(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }

    fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
        let _infallible = match raw {
            0 => write!(out, "NULL"),
            raw => write!(out, "{raw:#x}"),
        };
    }
}

impl<T> Argument for UserPtr<T> {
    fn decode(raw: u64) -> Result<Self, Errno> {
        Ok(Self::new(UserAddr(raw)))
    }

    fn show(raw: u64, task: &CurrentTask, out: &mut String) {
        UserAddr::show(raw, task, out);
    }
}

/// A path (or another NUL-terminated string) in the guest's memory.
#[derive(Debug, Clone, Copy)]
pub struct UserPath(pub UserAddr);

impl UserPath {
    /// Copies the path in.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` for more than [`PATH_MAX`] bytes.
    pub fn read(self, task: &CurrentTask) -> Result<FsString, Errno> {
        task.read_c_string(self.0, PATH_MAX)
    }
}

impl Argument for UserPath {
    fn decode(raw: u64) -> Result<Self, Errno> {
        Ok(Self(UserAddr(raw)))
    }

    fn show(raw: u64, task: &CurrentTask, out: &mut String) {
        match Self(UserAddr(raw)).read(task) {
            Ok(path) => {
                let _infallible = write!(out, "\"{}\"", path.escape_ascii());
            }
            Err(_) => UserAddr::show(raw, task, out),
        }
    }
}

/// Implements [`Argument`] for `bitflags` types over `u32` or `i32`: unknown bits are `EINVAL` (`strict`), or kept for the handler (`lenient`).
macro_rules! flags_argument {
    (strict: $($type:ty),* $(,)?) => {$(
        impl Argument for $type {
            fn decode(raw: u64) -> Result<Self, Errno> {
                <$type as bitflags::Flags>::from_bits(Argument::decode(raw)?).ok_or(Errno::EINVAL)
            }
            flags_argument!(@show);
        }
    )*};
    (lenient: $($type:ty),* $(,)?) => {$(
        impl Argument for $type {
            fn decode(raw: u64) -> Result<Self, Errno> {
                Ok(<$type as bitflags::Flags>::from_bits_retain(Argument::decode(raw)?))
            }
            flags_argument!(@show);
        }
    )*};
    (@show) => {
        fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
            match Self::decode(raw) {
                Ok(flags) if flags.is_empty() => out.push('0'),
                Ok(flags) => { let _infallible = bitflags::parser::to_writer(&flags, &mut *out); }
                Err(_) => { let _infallible = write!(out, "{raw:#x}"); }
            }
        }
    };
}

flags_argument!(lenient: bartizan_abi::OpenFlags);
flags_argument!(lenient: bartizan_abi::ProtFlags, bartizan_abi::MapFlags, bartizan_abi::MremapFlags);
flags_argument!(lenient: bartizan_abi::MsyncFlags, bartizan_abi::MlockFlags, bartizan_abi::MlockallFlags);
flags_argument!(lenient: bartizan_abi::AtFlags, bartizan_abi::StatxMask);
flags_argument!(strict: bartizan_abi::RenameFlags, bartizan_abi::AccessRequest, bartizan_abi::CloseRangeFlags);
flags_argument!(strict: bartizan_abi::PipeFlags, bartizan_abi::SpliceFlags, bartizan_abi::EpollCreateFlags);
flags_argument!(strict: bartizan_abi::EventfdFlags, bartizan_abi::TimerfdFlags, bartizan_abi::TimerfdSetFlags);
flags_argument!(strict: bartizan_abi::RandomFlags, bartizan_abi::MemfdFlags, bartizan_abi::XattrFlags);
flags_argument!(lenient: bartizan_abi::TimerFlags);
flags_argument!(strict: bartizan_abi::socket::SocketFlags);
flags_argument!(lenient: bartizan_abi::socket::MsgFlags);
flags_argument!(lenient: bartizan_abi::ipc::IpcFlags, bartizan_abi::ipc::ShmAttachFlags);
flags_argument!(lenient: bartizan_abi::ipc::MsgQueueFlags);
flags_argument!(strict: bartizan_abi::SignalfdFlags, bartizan_abi::PidfdFlags);
flags_argument!(strict: bartizan_abi::InotifyInitFlags);
