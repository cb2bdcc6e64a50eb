//! Numbers of `ioctl(2)`: `asm-generic/ioctls.h`, `linux/fs.h`, `linux/sockios.h`.

use crate::macros::abi_consts;

abi_consts! { u32;
    /// Get [`super::Termios`].
    TCGETS = 0x5401;
    /// Set [`super::Termios`] now.
    TCSETS = 0x5402;
    /// Set it when the output has drained.
    TCSETSW = 0x5403;
    /// Set it when the output has drained, dropping input.
    TCSETSF = 0x5404;
    /// Get [`super::Termio`].
    TCGETA = 0x5405;
    /// Set [`super::Termio`] now.
    TCSETA = 0x5406;
    /// Set it when the output has drained.
    TCSETAW = 0x5407;
    /// Set it when the output has drained, dropping input.
    TCSETAF = 0x5408;
    /// Send a break, or wait for the output.
    TCSBRK = 0x5409;
    /// Suspend or restart output or input.
    TCXONC = 0x540a;
    /// Drop input, output or both.
    TCFLSH = 0x540b;
    /// Exclusive mode on.
    TIOCEXCL = 0x540c;
    /// Exclusive mode off.
    TIOCNXCL = 0x540d;
    /// Become the session's controlling terminal.
    TIOCSCTTY = 0x540e;
    /// Get the foreground process group.
    TIOCGPGRP = 0x540f;
    /// Set the foreground process group.
    TIOCSPGRP = 0x5410;
    /// Bytes not yet written.
    TIOCOUTQ = 0x5411;
    /// Insert a byte into the input.
    TIOCSTI = 0x5412;
    /// Get [`super::Winsize`].
    TIOCGWINSZ = 0x5413;
    /// Set [`super::Winsize`].
    TIOCSWINSZ = 0x5414;
    /// Get the modem lines.
    TIOCMGET = 0x5415;
    /// Set some modem lines.
    TIOCMBIS = 0x5416;
    /// Clear some modem lines.
    TIOCMBIC = 0x5417;
    /// Set all modem lines.
    TIOCMSET = 0x5418;
    /// Whether carrier is ignored: get.
    TIOCGSOFTCAR = 0x5419;
    /// Whether carrier is ignored: set.
    TIOCSSOFTCAR = 0x541a;
    /// Bytes that can be read.
    FIONREAD = 0x541b;
    /// A console's own calls.
    TIOCLINUX = 0x541c;
    /// Become the console.
    TIOCCONS = 0x541d;
    /// Packet mode of a pseudo-terminal.
    TIOCPKT = 0x5420;
    /// Set or clear `O_NONBLOCK`.
    FIONBIO = 0x5421;
    /// Give the controlling terminal up.
    TIOCNOTTY = 0x5422;
    /// Set the line discipline.
    TIOCSETD = 0x5423;
    /// Get the line discipline.
    TIOCGETD = 0x5424;
    /// Send a break of this length.
    TCSBRKP = 0x5425;
    /// Break on.
    TIOCSBRK = 0x5427;
    /// Break off.
    TIOCCBRK = 0x5428;
    /// Get the session of the terminal.
    TIOCGSID = 0x5429;
    /// Get [`super::Termios2`].
    TCGETS2 = 0x802c_542a;
    /// Set [`super::Termios2`] now.
    TCSETS2 = 0x402c_542b;
    /// Set it when the output has drained.
    TCSETSW2 = 0x402c_542c;
    /// Set it when the output has drained, dropping input.
    TCSETSF2 = 0x402c_542d;
    /// The number of a pseudo-terminal.
    TIOCGPTN = 0x8004_5430;
    /// Lock or unlock a pseudo-terminal.
    TIOCSPTLCK = 0x4004_5431;
    /// The device of the terminal behind.
    TIOCGDEV = 0x8004_5432;
    /// Send a signal to the foreground group.
    TIOCSIG = 0x4004_5436;
    /// Hang up.
    TIOCVHANGUP = 0x5437;
    /// Get packet mode.
    TIOCGPKT = 0x8004_5438;
    /// Whether a pseudo-terminal is locked.
    TIOCGPTLCK = 0x8004_5439;
    /// Get exclusive mode.
    TIOCGEXCL = 0x8004_5440;
    /// Open the other end of a pseudo-terminal.
    TIOCGPTPEER = 0x5441;
    /// Clear close-on-exec.
    FIONCLEX = 0x5450;
    /// Set close-on-exec.
    FIOCLEX = 0x5451;
    /// Set or clear `FASYNC`.
    FIOASYNC = 0x5452;
    /// Bytes that a file occupies.
    FIOQSIZE = 0x5460;

    /// Set read-only.
    BLKROSET = 0x125d;
    /// Get read-only.
    BLKROGET = 0x125e;
    /// Read the partition table again.
    BLKRRPART = 0x125f;
    /// Size in sectors of 512 bytes.
    BLKGETSIZE = 0x1260;
    /// Write the buffers back.
    BLKFLSBUF = 0x1261;
    /// Bytes of a logical sector.
    BLKSSZGET = 0x1268;
    /// Bytes of a block: get.
    BLKBSZGET = 0x8008_1270;
    /// Bytes of a block: set.
    BLKBSZSET = 0x4008_1271;
    /// Size in bytes.
    BLKGETSIZE64 = 0x8008_1272;
    /// Discard a range.
    BLKDISCARD = 0x1277;
    /// The smallest good transfer.
    BLKIOMIN = 0x1278;
    /// The best transfer.
    BLKIOOPT = 0x1279;
    /// Bytes off the alignment.
    BLKALIGNOFF = 0x127a;
    /// Bytes of a physical sector.
    BLKPBSZGET = 0x127b;
    /// Write zeros to a range.
    BLKZEROOUT = 0x127f;

    /// The block behind a block of a file.
    FIBMAP = 1;
    /// Bytes of a block.
    FIGETBSZ = 2;
    /// Freeze.
    FIFREEZE = 0xc004_5877;
    /// Thaw.
    FITHAW = 0xc004_5878;
    /// Discard free blocks.
    FITRIM = 0xc018_5879;
    /// Share all of another file's blocks.
    FICLONE = 0x4004_9409;
    /// Share some of another file's blocks.
    FICLONERANGE = 0x4020_940d;
    /// Share what is the same.
    FIDEDUPERANGE = 0xc018_9436;
    /// The extents of a file.
    FS_IOC_FIEMAP = 0xc020_660b;
    /// Get the attributes of `chattr(1)`.
    FS_IOC_GETFLAGS = 0x8008_6601;
    /// Set them.
    FS_IOC_SETFLAGS = 0x4008_6602;
    /// Get the generation of the inode.
    FS_IOC_GETVERSION = 0x8008_7601;
    /// Set it.
    FS_IOC_SETVERSION = 0x4008_7602;
    /// Get the extended attributes of `chattr(1)`.
    FS_IOC_FSGETXATTR = 0x801c_581f;
    /// Set them.
    FS_IOC_FSSETXATTR = 0x401c_5820;
    /// The volume's label.
    FS_IOC_GETFSLABEL = 0x8100_9431;
    /// The volume's UUID.
    FS_IOC_GETFSUUID = 0x8011_1500;
    /// Turn on fs-verity.
    FS_IOC_ENABLE_VERITY = 0x4080_6685;
    /// The digest of fs-verity.
    FS_IOC_MEASURE_VERITY = 0xc004_6686;

    /// Who gets `SIGIO`: set.
    FIOSETOWN = 0x8901;
    /// The same of a socket.
    SIOCSPGRP = 0x8902;
    /// Who gets `SIGIO`: get.
    FIOGETOWN = 0x8903;
    /// The same of a socket.
    SIOCGPGRP = 0x8904;
    /// Whether at the urgent mark.
    SIOCATMARK = 0x8905;
    /// When the last packet came.
    SIOCGSTAMP_OLD = 0x8906;
    /// The name of a network interface.
    SIOCGIFNAME = 0x8910;
    /// All network interfaces.
    SIOCGIFCONF = 0x8912;
    /// Get an interface's flags.
    SIOCGIFFLAGS = 0x8913;
    /// Set them.
    SIOCSIFFLAGS = 0x8914;
    /// Get an interface's address.
    SIOCGIFADDR = 0x8915;
    /// Get an interface's MTU.
    SIOCGIFMTU = 0x8921;
    /// Get an interface's hardware address.
    SIOCGIFHWADDR = 0x8927;
    /// Get an interface's number.
    SIOCGIFINDEX = 0x8933;

    /// Start a perf counter.
    PERF_EVENT_IOC_ENABLE = 0x2400;
    /// Bytes of entropy.
    RNDGETENTCNT = 0x8004_5200;
    /// Add bytes and entropy.
    RNDADDENTROPY = 0x4008_5203;
    /// Which namespace owns this one.
    NS_GET_USERNS = 0xb701;
    /// The parent namespace.
    NS_GET_PARENT = 0xb702;
    /// The kind of namespace.
    NS_GET_NSTYPE = 0xb703;
    /// The owner of a user namespace.
    NS_GET_OWNER_UID = 0xb704;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        let pairs = [
            (TCGETS, libc::TCGETS),
            (TIOCGWINSZ, libc::TIOCGWINSZ),
            (TIOCSCTTY, libc::TIOCSCTTY),
            (FIONREAD, libc::FIONREAD),
            (FIONBIO, libc::FIONBIO),
            (FIOCLEX, libc::FIOCLEX),
            (FICLONE, libc::FICLONE),
            (FS_IOC_GETFLAGS, libc::FS_IOC_GETFLAGS),
            (FS_IOC_SETVERSION, libc::FS_IOC_SETVERSION),
            (TCSETSF2, libc::TCSETSF2),
            (TIOCGPTN, libc::TIOCGPTN),
            (TIOCSPTLCK, libc::TIOCSPTLCK),
            (TIOCGPTPEER, libc::TIOCGPTPEER),
            (BLKSSZGET, libc::BLKSSZGET),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(u64::from(ours), theirs);
        }
    }
}
