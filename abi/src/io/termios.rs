//! Terminals: `termios(3)`, `ioctl_tty(2)`, `asm-generic/termbits.h`.

use crate::macros::{abi_consts, abi_named_flags, abi_structs};

/// Control characters in [`Termios`].
pub const NCCS: usize = 19;

abi_structs! {
    /// `struct termios` of the kernel, as `TCGETS` carries it.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Termios: 36 {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; NCCS],
    }

    /// `struct termios2`: with speeds as numbers.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Termios2: 44 {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; NCCS],
        pub c_ispeed: u32,
        pub c_ospeed: u32,
    }

    /// `struct termio`: the old form.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Termio: 18 {
        pub c_iflag: u16,
        pub c_oflag: u16,
        pub c_cflag: u16,
        pub c_lflag: u16,
        pub c_line: u8,
        pub c_cc: [u8; 8],
        pub __pad: u8,
    }

    /// `struct winsize`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Winsize: 8 {
        pub ws_row: u16,
        pub ws_col: u16,
        pub ws_xpixel: u16,
        pub ws_ypixel: u16,
    }
}

impl Termios {
    /// What a new terminal starts with: cooked, echoing, 38400 baud, the usual control characters.
    pub const INITIAL: Self = Self {
        c_iflag: InputModes::ICRNL.bits() | InputModes::IXON.bits(),
        c_oflag: OutputModes::OPOST.bits() | OutputModes::ONLCR.bits(),
        c_cflag: B38400 | ControlModes::CS8.bits() | ControlModes::CREAD.bits(),
        c_lflag: LocalModes::ISIG.bits()
            | LocalModes::ICANON.bits()
            | LocalModes::ECHO.bits()
            | LocalModes::ECHOE.bits()
            | LocalModes::ECHOK.bits()
            | LocalModes::ECHOCTL.bits()
            | LocalModes::ECHOKE.bits()
            | LocalModes::IEXTEN.bits(),
        c_line: 0,
        c_cc: [3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0],
    };
}

abi_named_flags! {
    /// `c_iflag`.
    pub struct InputModes: u32 {
        IGNBRK = 0o1,
        BRKINT = 0o2,
        IGNPAR = 0o4,
        PARMRK = 0o10,
        INPCK = 0o20,
        ISTRIP = 0o40,
        INLCR = 0o100,
        IGNCR = 0o200,
        ICRNL = 0o400,
        IUCLC = 0o1000,
        IXON = 0o2000,
        IXANY = 0o4000,
        IXOFF = 0o10000,
        IMAXBEL = 0o20000,
        IUTF8 = 0o40000,
    }
}

abi_named_flags! {
    /// `c_oflag`; delays are fields.
    pub struct OutputModes: u32 {
        OPOST = 0o1,
        OLCUC = 0o2,
        ONLCR = 0o4,
        OCRNL = 0o10,
        ONOCR = 0o20,
        ONLRET = 0o40,
        OFILL = 0o100,
        OFDEL = 0o200,
        NLDLY = 0o400,
        CRDLY = 0o3000,
        TABDLY = 0o14000,
        BSDLY = 0o20000,
        VTDLY = 0o40000,
        FFDLY = 0o100_000,
    }
}

abi_named_flags! {
    /// `c_cflag`; speed and character size are fields.
    pub struct ControlModes: u32 {
        CBAUD = 0o10017,
        CSIZE = 0o60,
        CS6 = 0o20,
        CS7 = 0o40,
        CS8 = 0o60,
        CSTOPB = 0o100,
        CREAD = 0o200,
        PARENB = 0o400,
        PARODD = 0o1000,
        HUPCL = 0o2000,
        CLOCAL = 0o4000,
        CIBAUD = 0o2_003_600_000,
        CMSPAR = 0o10_000_000_000,
        CRTSCTS = 0o20_000_000_000,
    }
}

abi_named_flags! {
    /// `c_lflag`.
    pub struct LocalModes: u32 {
        ISIG = 0o1,
        ICANON = 0o2,
        XCASE = 0o4,
        ECHO = 0o10,
        ECHOE = 0o20,
        ECHOK = 0o40,
        ECHONL = 0o100,
        NOFLSH = 0o200,
        TOSTOP = 0o400,
        ECHOCTL = 0o1000,
        ECHOPRT = 0o2000,
        ECHOKE = 0o4000,
        FLUSHO = 0o10000,
        PENDIN = 0o40000,
        IEXTEN = 0o100_000,
        EXTPROC = 0o200_000,
    }
}

abi_consts! { u32;
    /// Hung up.
    B0 = 0;
    /// 9600 baud.
    B9600 = 0o15;
    /// 38400 baud.
    B38400 = 0o17;
    /// 115200 baud.
    B115200 = 0o10002;
}

abi_consts! { usize;
    /// Index in `c_cc`: interrupt.
    VINTR = 0;
    /// Index in `c_cc`: quit.
    VQUIT = 1;
    /// Index in `c_cc`: erase a character.
    VERASE = 2;
    /// Index in `c_cc`: erase the line.
    VKILL = 3;
    /// Index in `c_cc`: end of file.
    VEOF = 4;
    /// Index in `c_cc`: time-out of raw reads, tenths of a second.
    VTIME = 5;
    /// Index in `c_cc`: smallest raw read, bytes.
    VMIN = 6;
    /// Index in `c_cc`: switch shells.
    VSWTC = 7;
    /// Index in `c_cc`: restart output.
    VSTART = 8;
    /// Index in `c_cc`: stop output.
    VSTOP = 9;
    /// Index in `c_cc`: suspend.
    VSUSP = 10;
    /// Index in `c_cc`: another end of line.
    VEOL = 11;
    /// Index in `c_cc`: print the line again.
    VREPRINT = 12;
    /// Index in `c_cc`: drop output.
    VDISCARD = 13;
    /// Index in `c_cc`: erase a word.
    VWERASE = 14;
    /// Index in `c_cc`: the next character is literal.
    VLNEXT = 15;
    /// Index in `c_cc`: another end of line.
    VEOL2 = 16;
}

abi_consts! { u32;
    /// `TCFLSH`: drop input.
    TCIFLUSH = 0;
    /// `TCFLSH`: drop output.
    TCOFLUSH = 1;
    /// `TCFLSH`: drop both.
    TCIOFLUSH = 2;
    /// `TCXONC`: suspend output.
    TCOOFF = 0;
    /// `TCXONC`: restart output.
    TCOON = 1;
    /// `TCXONC`: send the stop character.
    TCIOFF = 2;
    /// `TCXONC`: send the start character.
    TCION = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_the_c_library() {
        assert_eq!(LocalModes::ECHOKE.bits(), libc::ECHOKE);
        assert_eq!(LocalModes::EXTPROC.bits(), libc::EXTPROC);
        assert_eq!(ControlModes::CRTSCTS.bits(), libc::CRTSCTS);
        assert_eq!(ControlModes::CIBAUD.bits(), libc::CIBAUD);
        assert_eq!(ControlModes::CMSPAR.bits(), libc::CMSPAR);
        assert_eq!(InputModes::IUTF8.bits(), libc::IUTF8);
        assert_eq!(OutputModes::FFDLY.bits(), libc::FFDLY);
        assert_eq!(VEOL2, libc::VEOL2);
        assert_eq!(B115200, libc::B115200);
    }

    #[test]
    fn sizes_are_those_of_the_headers() {
        assert_eq!(size_of::<Termios2>(), size_of::<libc::termios2>());
        assert_eq!(size_of::<Winsize>(), size_of::<libc::winsize>());
        assert_eq!(Termios::INITIAL.c_lflag, 0o105_073);
    }
}
