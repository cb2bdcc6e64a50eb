//! Sockets: `socket(2)`, `socket(7)`, `unix(7)`, `ip(7)`.

use crate::macros::{abi_named_consts, abi_named_flags, abi_open_enum, abi_structs};

/// The largest address, bytes (`struct sockaddr_storage`).
pub const SOCKADDR_STORAGE_SIZE: usize = 128;
/// Bytes of a path in [`SockaddrUn`].
pub const UNIX_PATH_MAX: usize = 108;
/// The longest queue of connections: `/proc/sys/net/core/somaxconn`.
pub const SOMAXCONN: u32 = 4096;
/// Most descriptors in one `SCM_RIGHTS` message.
pub const SCM_MAX_FD: usize = 253;

abi_open_enum! {
    /// An address family.
    pub struct AddressFamily: u16 {
        AF_UNSPEC = 0,
        AF_UNIX = 1,
        AF_INET = 2,
        AF_INET6 = 10,
        AF_NETLINK = 16,
        AF_PACKET = 17,
        AF_ALG = 38,
        AF_VSOCK = 40,
    }
}

abi_open_enum! {
    /// A type of socket: the low four bits of `socket(2)`'s second argument.
    pub struct SocketType: u32 {
        SOCK_STREAM = 1,
        SOCK_DGRAM = 2,
        SOCK_RAW = 3,
        SOCK_RDM = 4,
        SOCK_SEQPACKET = 5,
        SOCK_DCCP = 6,
        SOCK_PACKET = 10,
    }
}

/// The bits of `socket(2)`'s second argument that hold the type.
pub const SOCK_TYPE_MASK: u32 = 0xf;

abi_named_flags! {
    /// Flags in `socket(2)`'s second argument and of `accept4(2)`.
    pub struct SocketFlags: u32 {
        SOCK_NONBLOCK = 0o4000,
        SOCK_CLOEXEC = 0o2_000_000,
    }
}

abi_named_consts! { "`protocols(5)`", i32;
    IPPROTO_IP = 0,
    IPPROTO_ICMP = 1,
    IPPROTO_TCP = 6,
    IPPROTO_UDP = 17,
    IPPROTO_IPV6 = 41,
    IPPROTO_ICMPV6 = 58,
    IPPROTO_RAW = 255,
    NETLINK_ROUTE = 0,
    NETLINK_KOBJECT_UEVENT = 15,
}

abi_named_consts! { "levels of `setsockopt(2)`", i32;
    SOL_IP = 0,
    SOL_SOCKET = 1,
    SOL_TCP = 6,
    SOL_UDP = 17,
    SOL_IPV6 = 41,
    SOL_RAW = 255,
    SOL_NETLINK = 270,
}

abi_named_consts! { "`socket(7)`", i32;
    SO_DEBUG = 1,
    SO_REUSEADDR = 2,
    SO_TYPE = 3,
    SO_ERROR = 4,
    SO_DONTROUTE = 5,
    SO_BROADCAST = 6,
    SO_SNDBUF = 7,
    SO_RCVBUF = 8,
    SO_KEEPALIVE = 9,
    SO_OOBINLINE = 10,
    SO_NO_CHECK = 11,
    SO_PRIORITY = 12,
    SO_LINGER = 13,
    SO_BSDCOMPAT = 14,
    SO_REUSEPORT = 15,
    SO_PASSCRED = 16,
    SO_PEERCRED = 17,
    SO_RCVLOWAT = 18,
    SO_SNDLOWAT = 19,
    SO_RCVTIMEO = 20,
    SO_SNDTIMEO = 21,
    SO_BINDTODEVICE = 25,
    SO_ATTACH_FILTER = 26,
    SO_DETACH_FILTER = 27,
    SO_PEERNAME = 28,
    SO_TIMESTAMP = 29,
    SO_ACCEPTCONN = 30,
    SO_PEERSEC = 31,
    SO_SNDBUFFORCE = 32,
    SO_RCVBUFFORCE = 33,
    SO_PASSSEC = 34,
    SO_TIMESTAMPNS = 35,
    SO_MARK = 36,
    SO_TIMESTAMPING = 37,
    SO_PROTOCOL = 38,
    SO_DOMAIN = 39,
    SO_RXQ_OVFL = 40,
    SO_PEEK_OFF = 42,
    SO_LOCK_FILTER = 44,
    SO_BUSY_POLL = 46,
    SO_INCOMING_CPU = 49,
    SO_COOKIE = 57,
    SO_PEERGROUPS = 59,
    SO_ZEROCOPY = 60,
    SO_PASSPIDFD = 76,
    SO_PEERPIDFD = 77,
}

abi_named_consts! { "`tcp(7)`", i32;
    TCP_NODELAY = 1,
    TCP_MAXSEG = 2,
    TCP_CORK = 3,
    TCP_KEEPIDLE = 4,
    TCP_KEEPINTVL = 5,
    TCP_KEEPCNT = 6,
    TCP_SYNCNT = 7,
    TCP_LINGER2 = 8,
    TCP_DEFER_ACCEPT = 9,
    TCP_WINDOW_CLAMP = 10,
    TCP_INFO = 11,
    TCP_QUICKACK = 12,
    TCP_CONGESTION = 13,
    TCP_USER_TIMEOUT = 18,
    TCP_FASTOPEN = 23,
}

abi_named_consts! { "control messages of `unix(7)`", i32;
    SCM_RIGHTS = 1,
    SCM_CREDENTIALS = 2,
    SCM_SECURITY = 3,
    SCM_PIDFD = 4,
}

abi_named_consts! { "`shutdown(2)`", i32;
    SHUT_RD = 0,
    SHUT_WR = 1,
    SHUT_RDWR = 2,
}

abi_named_flags! {
    /// Flags of `send(2)` and `recv(2)`.
    pub struct MsgFlags: u32 {
        MSG_OOB = 0x01,
        MSG_PEEK = 0x02,
        MSG_DONTROUTE = 0x04,
        MSG_CTRUNC = 0x08,
        MSG_PROBE = 0x10,
        MSG_TRUNC = 0x20,
        MSG_DONTWAIT = 0x40,
        MSG_EOR = 0x80,
        MSG_WAITALL = 0x100,
        MSG_FIN = 0x200,
        MSG_SYN = 0x400,
        MSG_CONFIRM = 0x800,
        MSG_RST = 0x1000,
        MSG_ERRQUEUE = 0x2000,
        MSG_NOSIGNAL = 0x4000,
        MSG_MORE = 0x8000,
        MSG_WAITFORONE = 0x10000,
        MSG_BATCH = 0x40000,
        MSG_ZEROCOPY = 0x0400_0000,
        MSG_FASTOPEN = 0x2000_0000,
        MSG_CMSG_CLOEXEC = 0x4000_0000,
    }
}

#[expect(missing_docs, reason = "the names are those of the manual pages")]
mod structs {
    use super::abi_structs;

    abi_structs! {
        /// `struct user_msghdr`: `sendmsg(2)`.
        pub struct Msghdr: 56 {
            pub msg_name: u64,
            pub msg_namelen: i32,
            pub __pad0: u32,
            pub msg_iov: u64,
            pub msg_iovlen: u64,
            pub msg_control: u64,
            pub msg_controllen: u64,
            pub msg_flags: u32,
            pub __pad1: u32,
        }

        /// `struct mmsghdr`: `sendmmsg(2)`.
        pub struct Mmsghdr: 64 {
            pub msg_hdr: Msghdr,
            pub msg_len: u32,
            pub __pad0: u32,
        }

        /// `struct cmsghdr`: what precedes control data; entries are aligned to 8 bytes.
        pub struct Cmsghdr: 16 {
            pub cmsg_len: u64,
            pub cmsg_level: i32,
            pub cmsg_type: i32,
        }

        /// `struct sockaddr_un`.
        pub struct SockaddrUn: 110 {
            pub sun_family: u16,
            pub sun_path: [u8; super::UNIX_PATH_MAX],
        }

        /// `struct sockaddr_in`; port and address in network order.
        pub struct SockaddrIn: 16 {
            pub sin_family: u16,
            pub sin_port: [u8; 2],
            pub sin_addr: [u8; 4],
            pub sin_zero: [u8; 8],
        }

        /// `struct sockaddr_in6`; port, flow and address in network order.
        pub struct SockaddrIn6: 28 {
            pub sin6_family: u16,
            pub sin6_port: [u8; 2],
            pub sin6_flowinfo: [u8; 4],
            pub sin6_addr: [u8; 16],
            pub sin6_scope_id: u32,
        }

        /// `struct sockaddr_nl`: `netlink(7)`.
        pub struct SockaddrNl: 12 {
            pub nl_family: u16,
            pub nl_pad: u16,
            pub nl_pid: u32,
            pub nl_groups: u32,
        }

        /// `struct ucred`: `SCM_CREDENTIALS`, `SO_PEERCRED`.
        pub struct Ucred: 12 {
            pub pid: i32,
            pub uid: u32,
            pub gid: u32,
        }

        /// `struct linger`: `SO_LINGER`.
        pub struct Linger: 8 {
            pub l_onoff: i32,
            pub l_linger: i32,
        }

        /// `struct nlmsghdr`: `netlink(7)`.
        pub struct Nlmsghdr: 16 {
            pub nlmsg_len: u32,
            pub nlmsg_type: u16,
            pub nlmsg_flags: u16,
            pub nlmsg_seq: u32,
            pub nlmsg_pid: u32,
        }
    }
}

pub use structs::{
    Cmsghdr, Linger, Mmsghdr, Msghdr, Nlmsghdr, SockaddrIn, SockaddrIn6, SockaddrNl, SockaddrUn, Ucred,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<Msghdr>(), size_of::<libc::msghdr>());
        assert_eq!(
            std::mem::offset_of!(Msghdr, msg_control),
            std::mem::offset_of!(libc::msghdr, msg_control)
        );
        assert_eq!(size_of::<Mmsghdr>(), size_of::<libc::mmsghdr>());
        assert_eq!(size_of::<Cmsghdr>(), size_of::<libc::cmsghdr>());
        assert_eq!(size_of::<SockaddrUn>(), size_of::<libc::sockaddr_un>());
        assert_eq!(size_of::<SockaddrIn6>(), size_of::<libc::sockaddr_in6>());
        assert_eq!(size_of::<SockaddrNl>(), size_of::<libc::sockaddr_nl>());
    }

    #[test]
    fn values_are_those_of_the_c_library() {
        assert_eq!(SO_PEERGROUPS, libc::SO_PEERGROUPS);
        assert_eq!(SO_PROTOCOL, libc::SO_PROTOCOL);
        assert_eq!(MsgFlags::MSG_CMSG_CLOEXEC.bits() as i32, libc::MSG_CMSG_CLOEXEC);
        assert_eq!(TCP_USER_TIMEOUT, libc::TCP_USER_TIMEOUT);
        assert_eq!(AddressFamily(16).name(), Some("AF_NETLINK"));
    }
}
