//! `ioctl_tty(2)` on both ends of a pseudo-terminal.

use std::sync::Arc;

use bartizan_abi::ioctl::{
    FIONREAD, TCFLSH, TCGETA, TCGETS, TCGETS2, TCSBRK, TCSBRKP, TCSETA, TCSETAF, TCSETAW, TCSETS, TCSETS2,
    TCSETSF, TCSETSF2, TCSETSW, TCSETSW2, TCXONC, TIOCEXCL, TIOCGDEV, TIOCGETD, TIOCGEXCL, TIOCGPGRP,
    TIOCGPKT, TIOCGPTLCK, TIOCGPTN, TIOCGPTPEER, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCNXCL, TIOCOUTQ,
    TIOCPKT, TIOCSCTTY, TIOCSETD, TIOCSIG, TIOCSPGRP, TIOCSPTLCK, TIOCSTI, TIOCSWINSZ, TIOCVHANGUP,
};
use bartizan_abi::process::Resource;
use bartizan_abi::signal::Signal;
use bartizan_abi::termios::{NCCS, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON, Termio};
use bartizan_abi::termios::{VSTART, VSTOP};
use bartizan_abi::{Errno, OpenFlags, Termios, Termios2};

use super::Terminal;
use super::job_control::may_administer;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdFlags, File, OpenHow};

/// The only line discipline, `N_TTY`.
const N_TTY: i32 = 0;

/// `TCFLSH` stays the same number for a change that drops input first.
const DROPS_INPUT: [u32; 3] = [TCSETSF, TCSETAF, TCSETSF2];

/// Which end is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Master,
    Slave,
}

impl Terminal {
    /// What `ioctl` does on the master.
    pub(super) fn master_ioctl(
        self: &Arc<Self>,
        file: &File,
        task: &CurrentTask,
        request: u32,
        argument: UserAddr,
    ) -> SysResult<u64> {
        match request {
            TIOCGPTN => task.write_value(UserPtr::new(argument), &self.index)?,
            TIOCSPTLCK => self.set_locked(task.read_value(UserPtr::<i32>::new(argument))? != 0),
            TIOCGPTLCK => {
                let locked = self.state.lock().locked;
                task.write_value(UserPtr::new(argument), &i32::from(locked))?;
            }
            TIOCPKT => {
                let on = task.read_value(UserPtr::<i32>::new(argument))? != 0;
                let mut state = self.state.lock();
                state.packet = on.then(|| state.packet.unwrap_or(0));
            }
            TIOCGPKT => {
                let on = self.state.lock().packet.is_some();
                task.write_value(UserPtr::new(argument), &i32::from(on))?;
            }
            TIOCGPTPEER => return self.open_peer(file, task, argument),
            TIOCSIG => {
                let signal =
                    i32::try_from(argument.0).ok().and_then(Signal::from_raw).ok_or(Errno::EINVAL)?;
                self.signal_foreground(signal);
            }
            _ => return self.common_ioctl(Which::Master, file, task, request, argument),
        }
        Ok(0)
    }

    /// `TIOCGPTPEER`: opens the slave, which lies beside `ptmx` or in `pts` beside it.
    fn open_peer(&self, file: &File, task: &CurrentTask, argument: UserAddr) -> SysResult<u64> {
        let flags = u32::try_from(argument.0).map_err(|_| Errno::EINVAL)?;
        let flags = OpenFlags::from_bits_retain(flags);
        let fs = task.fs_context();
        let ptmx = file.path().text(&fs.root()).ok_or(Errno::EIO)?;
        let beside = ptmx.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let directory = if file.inode().filesystem().ops().type_name() == "devpts" { "" } else { "/pts" };
        let mut path = ptmx.get(..beside).unwrap_or_default().to_vec();
        path.extend_from_slice(format!("{directory}/{}", self.index).as_bytes());
        let how =
            OpenHow::existing(flags & (OpenFlags::O_ACCMODE | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY));
        let slave = fs.open(&task.credentials(), &path, how)?;
        let fd_flags = if flags.contains(OpenFlags::O_CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
        let limit = task.group().limits().soft(Resource::RLIMIT_NOFILE);
        let fd = task.fd_table().add(slave, fd_flags, limit)?;
        Ok(u64::from(fd.0.cast_unsigned()))
    }

    /// What `ioctl` does on the slave.
    pub(super) fn slave_ioctl(
        self: &Arc<Self>,
        file: &File,
        task: &CurrentTask,
        request: u32,
        argument: UserAddr,
    ) -> SysResult<u64> {
        self.common_ioctl(Which::Slave, file, task, request, argument)
    }

    /// What both ends understand: it is always about the terminal that the slave is.
    fn common_ioctl(
        self: &Arc<Self>,
        which: Which,
        file: &File,
        task: &CurrentTask,
        request: u32,
        argument: UserAddr,
    ) -> SysResult<u64> {
        let is_master = which == Which::Master;
        match request {
            TCGETS | TCGETS2 | TCGETA | TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2
            | TCSETA | TCSETAW | TCSETAF => return self.settings(task, request, argument).map(|()| 0),
            TIOCGWINSZ => {
                let size = self.state.lock().size;
                task.write_value(UserPtr::new(argument), &size)?;
            }
            TIOCSWINSZ => self.resize(task.read_value(UserPtr::new(argument))?),
            TIOCGPGRP => task.write_value(UserPtr::new(argument), &self.foreground_for(task, is_master)?)?,
            TIOCSPGRP => self.set_foreground(task, task.read_value(UserPtr::new(argument))?)?,
            TIOCGSID => task.write_value(UserPtr::new(argument), &self.session_for(task, is_master)?)?,
            TIOCSCTTY if is_master => return Err(Errno::EINVAL.into()),
            TIOCSCTTY => self.set_controlling(task, argument.0 == 1, file.flags().readable())?,
            TIOCNOTTY => self.give_up(task)?,
            FIONREAD => {
                let state = self.state.lock();
                let count = if is_master { state.output.len() } else { state.line.available(&state.termios) };
                drop(state);
                task.write_value(UserPtr::new(argument), &i32::try_from(count).unwrap_or(i32::MAX))?;
            }
            TIOCOUTQ => {
                // As Linux: what was written is in the other end's hands at once.
                task.write_value(UserPtr::new(argument), &0i32)?;
            }
            TCFLSH => {
                self.check_background(task, Signal::SIGTTOU)?;
                let what = u32::try_from(argument.0).map_err(|_| Errno::EINVAL)?;
                self.flush(if is_master { other_way(what) } else { what })?;
            }
            TCSBRK | TCSBRKP => self.check_background(task, Signal::SIGTTOU)?,
            TCXONC => {
                self.check_background(task, Signal::SIGTTOU)?;
                self.flow(argument)?;
            }
            TIOCSTI => self.insert(task, argument)?,
            TIOCEXCL => self.state.lock().exclusive = true,
            TIOCNXCL => self.state.lock().exclusive = false,
            TIOCGEXCL => {
                let exclusive = self.state.lock().exclusive;
                task.write_value(UserPtr::new(argument), &i32::from(exclusive))?;
            }
            TIOCGETD => task.write_value(UserPtr::new(argument), &N_TTY)?,
            TIOCSETD if task.read_value(UserPtr::<i32>::new(argument))? != N_TTY => {
                return Err(Errno::EINVAL.into());
            }
            TIOCSETD => {}
            TIOCGDEV => {
                let device = if is_master { bartizan_abi::DeviceNumber::new(5, 2) } else { self.device() };
                let number = u32::try_from(device.to_u64()).unwrap_or(u32::MAX);
                task.write_value(UserPtr::new(argument), &number)?;
            }
            TIOCVHANGUP if !may_administer(task) => return Err(Errno::EPERM.into()),
            TIOCVHANGUP => {
                self.hang_up_session(false);
                self.hang_up_files();
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    /// Getting and setting `termios` in all its forms.
    fn settings(self: &Arc<Self>, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<()> {
        let old = self.state.lock().termios;
        let new = match request {
            TCGETS => return Ok(task.write_value(UserPtr::new(argument), &old)?),
            TCGETS2 => return Ok(task.write_value(UserPtr::new(argument), &with_speeds(&old))?),
            TCGETA => return Ok(task.write_value(UserPtr::new(argument), &old_form(&old))?),
            _ => {
                self.check_background(task, Signal::SIGTTOU)?;
                match request {
                    TCSETS | TCSETSW | TCSETSF => task.read_value(UserPtr::<Termios>::new(argument))?,
                    TCSETS2 | TCSETSW2 | TCSETSF2 => {
                        without_speeds(&task.read_value(UserPtr::new(argument))?)
                    }
                    _ => from_old_form(&old, &task.read_value(UserPtr::new(argument))?),
                }
            }
        };
        if DROPS_INPUT.contains(&request) {
            self.flush(TCIFLUSH)?;
        }
        self.set_termios(Termios { c_line: 0, ..new });
        Ok(())
    }

    /// `TCXONC`.
    fn flow(&self, argument: UserAddr) -> Result<(), Errno> {
        let send = |index: usize| {
            let key = self.state.lock().termios.c_cc[index];
            if key == 0 {
                return Ok(());
            }
            match self.print(&[key]) {
                Err(Errno::EAGAIN) | Ok(_) => Ok(()),
                Err(errno) => Err(errno),
            }
        };
        match u32::try_from(argument.0) {
            Ok(TCOOFF) => self.set_stopped(true),
            Ok(TCOON) => self.set_stopped(false),
            Ok(TCIOFF) => send(VSTOP)?,
            Ok(TCION) => send(VSTART)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// `TIOCSTI`: as if the user had typed it. Only on one's own terminal, or as the administrator.
    fn insert(self: &Arc<Self>, task: &CurrentTask, argument: UserAddr) -> SysResult<()> {
        let own = self.foreground_for(task, false).is_ok();
        if !own && !may_administer(task) {
            return Err(Errno::EPERM.into());
        }
        let byte = task.read_value(UserPtr::<u8>::new(argument))?;
        match self.type_in(&[byte]) {
            // As on Linux, what there is no room for is lost.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The master's output is the slave's input.
fn other_way(what: u32) -> u32 {
    match what {
        TCIFLUSH => TCOFLUSH,
        TCOFLUSH => TCIFLUSH,
        TCIOFLUSH => TCIOFLUSH,
        what => what,
    }
}

/// The speeds that the bits of `CBAUD` name (`bits/termios.h`), slow ones first.
const SPEEDS: [u32; 16] =
    [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
/// Those with the bit `CBAUDEX`, from its value plus one on; its value alone means that the speed is a number of its own.
const MORE_SPEEDS: [u32; 15] = [
    57_600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000,
    2_500_000, 3_000_000, 3_500_000, 4_000_000,
];
/// `CBAUDEX`.
const EXTENDED: u32 = 0o10000;

/// The speed that settings name, baud.
fn speed(c_cflag: u32) -> u32 {
    let index = (c_cflag & 0o17) as usize;
    let named = if c_cflag & EXTENDED == 0 {
        SPEEDS.get(index)
    } else {
        index.checked_sub(1).and_then(|index| MORE_SPEEDS.get(index))
    };
    named.copied().unwrap_or(38400)
}

fn with_speeds(termios: &Termios) -> Termios2 {
    let &Termios { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc } = termios;
    let speed = speed(c_cflag);
    Termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, c_ispeed: speed, c_ospeed: speed }
}

fn without_speeds(termios: &Termios2) -> Termios {
    let &Termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, .. } = termios;
    Termios { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc }
}

/// The lower halves of the modes, and the first characters.
fn old_form(termios: &Termios) -> Termio {
    let mut c_cc = [0; 8];
    c_cc.copy_from_slice(&termios.c_cc[..8]);
    Termio {
        c_iflag: termios.c_iflag as u16,
        c_oflag: termios.c_oflag as u16,
        c_cflag: termios.c_cflag as u16,
        c_lflag: termios.c_lflag as u16,
        c_line: termios.c_line,
        c_cc,
        __pad: 0,
    }
}

fn from_old_form(old: &Termios, new: &Termio) -> Termios {
    let merge = |old: u32, new: u16| old & 0xffff_0000 | u32::from(new);
    let mut c_cc: [u8; NCCS] = old.c_cc;
    c_cc[..8].copy_from_slice(&new.c_cc);
    Termios {
        c_iflag: merge(old.c_iflag, new.c_iflag),
        c_oflag: merge(old.c_oflag, new.c_oflag),
        c_cflag: merge(old.c_cflag, new.c_cflag),
        c_lflag: merge(old.c_lflag, new.c_lflag),
        c_line: new.c_line,
        c_cc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_of_the_headers() {
        assert_eq!(speed(Termios::INITIAL.c_cflag), 38400);
        assert_eq!(speed(bartizan_abi::termios::B115200), 115_200);
        assert_eq!(speed(bartizan_abi::termios::B9600), 9600);
        assert_eq!(speed(0o10017), 4_000_000);
    }
}
