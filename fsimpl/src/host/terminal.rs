//! `ioctl_tty(2)` on a terminal of the host that was imported.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use bartizan_abi::ioctl::{
    FIONREAD, TCFLSH, TCGETS, TCSBRK, TCSETS, TCSETSF, TCSETSW, TCXONC, TIOCGPGRP, TIOCGSID, TIOCGWINSZ,
    TIOCNOTTY, TIOCOUTQ, TIOCSCTTY, TIOCSPGRP, TIOCSWINSZ,
};
use bartizan_abi::{Errno, Termios, Winsize};
use bartizan_sentry::SysResult;
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::mm::{UserAddr, UserPtr};
use rustix::termios::{
    Action, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector,
    SpecialCodeIndex,
};

use super::errno;

/// Where each control character is in `c_cc`.
const SPECIAL_CODES: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// Job control on the host's terminal, as the sandbox sees it: the host knows nothing of its process groups.
#[derive(Debug, Default)]
pub struct JobControl {
    /// The process group in the foreground; zero before anybody has set one.
    foreground: AtomicI32,
}

impl JobControl {
    /// The process group in the foreground, if one was set.
    pub fn foreground(&self) -> Option<i32> {
        match self.foreground.load(Ordering::Relaxed) {
            0 => None,
            group => Some(group),
        }
    }

    /// `TIOCGPGRP`: as long as nobody has set one, the caller's own group is in the foreground.
    fn get(&self, task: &CurrentTask) -> Result<i32, Errno> {
        if let Some(group) = self.foreground() {
            return Ok(group);
        }
        let tree = task.kernel().tree();
        tree.process(task.pid()).map(|process| process.process_group).ok_or(Errno::ESRCH)
    }

    /// `TIOCSPGRP`: `group` has to be one of the caller's session.
    fn set(&self, task: &CurrentTask, group: i32) -> Result<(), Errno> {
        if group <= 0 {
            return Err(Errno::EINVAL);
        }
        {
            let tree = task.kernel().tree();
            let session = tree.process(task.pid()).map(|process| process.session).ok_or(Errno::ESRCH)?;
            if !tree.group_in_session(group, session) {
                return Err(Errno::EPERM);
            }
        }
        self.foreground.store(group, Ordering::Relaxed);
        Ok(())
    }
}

/// The session of the caller, whose controlling terminal this is.
fn session(task: &CurrentTask) -> Result<i32, Errno> {
    task.kernel().tree().process(task.pid()).map(|process| process.session).ok_or(Errno::ESRCH)
}

/// What `ioctl` does on the terminal behind `descriptor`.
pub fn ioctl(
    descriptor: &OwnedFd,
    jobs: &JobControl,
    task: &CurrentTask,
    request: u32,
    argument: UserAddr,
) -> SysResult<u64> {
    match request {
        TIOCGPGRP => task.write_value(UserPtr::new(argument), &jobs.get(task)?)?,
        TIOCSPGRP => jobs.set(task, task.read_value(UserPtr::new(argument))?)?,
        TIOCGSID => task.write_value(UserPtr::new(argument), &session(task)?)?,
        // It is the controlling terminal of whoever has it, for as long as the host lets it.
        TIOCSCTTY | TIOCNOTTY => {}
        TCGETS => task.write_value(UserPtr::new(argument), &get(descriptor)?)?,
        TCSETS => set(descriptor, OptionalActions::Now, &task.read_value(UserPtr::new(argument))?)?,
        TCSETSW => set(descriptor, OptionalActions::Drain, &task.read_value(UserPtr::new(argument))?)?,
        TCSETSF => set(descriptor, OptionalActions::Flush, &task.read_value(UserPtr::new(argument))?)?,
        TIOCGWINSZ => task.write_value(UserPtr::new(argument), &size(descriptor)?)?,
        TIOCSWINSZ => set_size(descriptor, &task.read_value(UserPtr::new(argument))?)?,
        FIONREAD => {
            let count = rustix::io::ioctl_fionread(descriptor).map_err(errno)?;
            task.write_value(UserPtr::new(argument), &i32::try_from(count).unwrap_or(i32::MAX))?;
        }
        // The host has it all already.
        TIOCOUTQ => task.write_value(UserPtr::new(argument), &0_i32)?,
        // Draining would block; what was written is the host's business.
        TCSBRK => {}
        TCFLSH => {
            let queue = match argument.0 {
                0 => QueueSelector::IFlush,
                1 => QueueSelector::OFlush,
                2 => QueueSelector::IOFlush,
                _ => return Err(Errno::EINVAL.into()),
            };
            rustix::termios::tcflush(descriptor, queue).map_err(errno)?;
        }
        TCXONC => {
            let action = match argument.0 {
                0 => Action::OOff,
                1 => Action::OOn,
                2 => Action::IOff,
                3 => Action::IOn,
                _ => return Err(Errno::EINVAL.into()),
            };
            rustix::termios::tcflow(descriptor, action).map_err(errno)?;
        }
        _ => return Err(Errno::ENOTTY.into()),
    }
    Ok(0)
}

/// The settings of the terminal.
fn get(descriptor: impl AsFd) -> Result<Termios, Errno> {
    let host = rustix::termios::tcgetattr(descriptor).map_err(errno)?;
    let mut termios = Termios {
        c_iflag: host.input_modes.bits(),
        c_oflag: host.output_modes.bits(),
        c_cflag: host.control_modes.bits(),
        c_lflag: host.local_modes.bits(),
        c_line: host.line_discipline,
        ..Termios::default()
    };
    for (code, &index) in termios.c_cc.iter_mut().zip(&SPECIAL_CODES) {
        *code = host.special_codes[index];
    }
    Ok(termios)
}

/// Changes the settings; the speed stays the host's.
fn set(descriptor: impl AsFd, when: OptionalActions, termios: &Termios) -> Result<(), Errno> {
    /// `CBAUD | CIBAUD | CBAUDEX` of `termbits.h`.
    const SPEED: u32 = 0o010_017 | 0o2_003_600_000;
    let mut host = rustix::termios::tcgetattr(&descriptor).map_err(errno)?;
    let speed = host.control_modes.bits() & SPEED;
    host.input_modes = InputModes::from_bits_retain(termios.c_iflag);
    host.output_modes = OutputModes::from_bits_retain(termios.c_oflag);
    host.control_modes = ControlModes::from_bits_retain(termios.c_cflag & !SPEED | speed);
    host.local_modes = LocalModes::from_bits_retain(termios.c_lflag);
    host.line_discipline = termios.c_line;
    for (&code, &index) in termios.c_cc.iter().zip(&SPECIAL_CODES) {
        host.special_codes[index] = code;
    }
    rustix::termios::tcsetattr(&descriptor, when, &host).map_err(errno)
}

fn size(descriptor: impl AsFd) -> Result<Winsize, Errno> {
    let host = rustix::termios::tcgetwinsize(descriptor).map_err(errno)?;
    Ok(Winsize {
        ws_row: host.ws_row,
        ws_col: host.ws_col,
        ws_xpixel: host.ws_xpixel,
        ws_ypixel: host.ws_ypixel,
    })
}

fn set_size(descriptor: impl AsFd, size: &Winsize) -> Result<(), Errno> {
    let host = rustix::termios::Winsize {
        ws_row: size.ws_row,
        ws_col: size.ws_col,
        ws_xpixel: size.ws_xpixel,
        ws_ypixel: size.ws_ypixel,
    };
    rustix::termios::tcsetwinsize(descriptor, host).map_err(errno)
}
