//! Asynchronous I/O: `io_submit(2)`, `linux/aio_abi.h`.

use crate::macros::{abi_named_consts, abi_structs};

abi_named_consts! { "`aio_lio_opcode`", u16;
    IOCB_CMD_PREAD = 0,
    IOCB_CMD_PWRITE = 1,
    IOCB_CMD_FSYNC = 2,
    IOCB_CMD_FDSYNC = 3,
    IOCB_CMD_POLL = 5,
    IOCB_CMD_NOOP = 6,
    IOCB_CMD_PREADV = 7,
    IOCB_CMD_PWRITEV = 8,
}

/// `aio_resfd` is an event counter that is told.
pub const IOCB_FLAG_RESFD: u32 = 1;
/// `aio_reqprio` is a priority.
pub const IOCB_FLAG_IOPRIO: u32 = 2;

abi_structs! {
    /// `struct iocb`: a request.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Iocb: 64 {
        pub aio_data: u64,
        pub aio_key: u32,
        pub aio_rw_flags: u32,
        pub aio_lio_opcode: u16,
        pub aio_reqprio: i16,
        pub aio_fildes: u32,
        pub aio_buf: u64,
        pub aio_nbytes: u64,
        pub aio_offset: i64,
        pub aio_reserved2: u64,
        pub aio_flags: u32,
        pub aio_resfd: u32,
    }

    /// `struct io_event`: how a request ended.
    pub struct IoEvent: 32 {
        /// The request's `aio_data`.
        pub data: u64,
        /// The address of the request.
        pub obj: u64,
        /// Its result.
        pub res: i64,
        /// Zero.
        pub res2: i64,
    }

    /// `struct __aio_sigset`: the mask of `io_pgetevents(2)`.
    pub struct AioSigset: 16 {
        /// Where the mask is.
        pub sigmask: u64,
        /// Its size.
        pub sigsetsize: u64,
    }
}
