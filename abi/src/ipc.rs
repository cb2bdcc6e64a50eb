//! System V IPC and POSIX message queues: `sysvipc(7)`, `mq_overview(7)`.

use crate::macros::{abi_named_consts, abi_named_flags, abi_structs};

/// The key that makes a new object each time.
pub const IPC_PRIVATE: i32 = 0;

abi_named_flags! {
    /// Flags of `msgget(2)`, `semget(2)` and `shmget(2)`, beside the nine permission bits.
    pub struct IpcFlags: u32 {
        MODE = 0o777,
        IPC_CREAT = 0o1000,
        IPC_EXCL = 0o2000,
        IPC_NOWAIT = 0o4000,
        SHM_HUGETLB = 0o4000,
        SHM_NORESERVE = 0o10000,
    }
}

abi_named_consts! { "`shmctl(2)`, `semctl(2)`, `msgctl(2)`", i32;
    IPC_RMID = 0,
    IPC_SET = 1,
    IPC_STAT = 2,
    IPC_INFO = 3,
    IPC_64 = 0x100,
    MSG_STAT = 11,
    MSG_INFO = 12,
    MSG_STAT_ANY = 13,
    SHM_LOCK = 11,
    SHM_UNLOCK = 12,
    SHM_STAT = 13,
    SHM_INFO = 14,
    SHM_STAT_ANY = 15,
    GETPID = 11,
    GETVAL = 12,
    GETALL = 13,
    GETNCNT = 14,
    GETZCNT = 15,
    SETVAL = 16,
    SETALL = 17,
    SEM_STAT = 18,
    SEM_INFO = 19,
    SEM_STAT_ANY = 20,
}

abi_named_flags! {
    /// Flags of `shmat(2)`.
    pub struct ShmAttachFlags: u32 {
        SHM_RDONLY = 0o10000,
        SHM_RND = 0o20000,
        SHM_REMAP = 0o40000,
        SHM_EXEC = 0o100_000,
    }
}

abi_named_consts! { "bits of `shm_perm.mode`", u32;
    SHM_DEST = 0o1000,
    SHM_LOCKED = 0o2000,
}

abi_named_flags! {
    /// Flags of `semop(2)`.
    pub struct SemopFlags: u16 {
        IPC_NOWAIT = 0o4000,
        SEM_UNDO = 0x1000,
    }
}

abi_named_flags! {
    /// Flags of `msgsnd(2)` and `msgrcv(2)`.
    pub struct MsgQueueFlags: u32 {
        IPC_NOWAIT = 0o4000,
        MSG_NOERROR = 0o10000,
        MSG_EXCEPT = 0o20000,
        MSG_COPY = 0o40000,
    }
}

abi_named_consts! { "limits of a new IPC namespace", u64;
    SHMMIN = 1,
    SHMMNI = 4096,
    SHMMAX = u64::MAX - (1 << 24),
    SHMALL = u64::MAX - (1 << 24),
    SEMMNI = 32000,
    SEMMSL = 32000,
    SEMMNS = 1_024_000_000,
    SEMOPM = 500,
    SEMVMX = 32767,
    SEMAEM = 32767,
    MSGMNI = 32000,
    MSGMAX = 8192,
    MSGMNB = 16384,
}

#[expect(missing_docs, reason = "the names are those of the manual pages")]
mod structs {
    use super::abi_structs;

    abi_structs! {
        /// `struct ipc64_perm`.
        pub struct IpcPerm: 48 {
            pub key: i32,
            pub uid: u32,
            pub gid: u32,
            pub cuid: u32,
            pub cgid: u32,
            pub mode: u32,
            pub seq: u16,
            pub __pad0: u16,
            pub __pad1: u32,
            pub __unused: [u64; 2],
        }

        /// `struct shmid64_ds`: `shmctl(2)`.
        pub struct ShmidDs: 112 {
            pub shm_perm: IpcPerm,
            pub shm_segsz: u64,
            pub shm_atime: i64,
            pub shm_dtime: i64,
            pub shm_ctime: i64,
            pub shm_cpid: i32,
            pub shm_lpid: i32,
            pub shm_nattch: u64,
            pub __unused: [u64; 2],
        }

        /// `struct shminfo64`: `IPC_INFO`.
        pub struct ShmInfoLimits: 72 {
            pub shmmax: u64,
            pub shmmin: u64,
            pub shmmni: u64,
            pub shmseg: u64,
            pub shmall: u64,
            pub __unused: [u64; 4],
        }

        /// `struct shm_info`: `SHM_INFO`.
        pub struct ShmInfo: 48 {
            pub used_ids: i32,
            pub __pad0: u32,
            pub shm_tot: u64,
            pub shm_rss: u64,
            pub shm_swp: u64,
            pub swap_attempts: u64,
            pub swap_successes: u64,
        }

        /// `struct semid64_ds` of x86-64: `semctl(2)`.
        pub struct SemidDs: 104 {
            pub sem_perm: IpcPerm,
            pub sem_otime: i64,
            pub __unused1: u64,
            pub sem_ctime: i64,
            pub __unused2: u64,
            pub sem_nsems: u64,
            pub __unused: [u64; 2],
        }

        /// `struct sembuf`: `semop(2)`.
        pub struct Sembuf: 6 {
            pub sem_num: u16,
            pub sem_op: i16,
            pub sem_flg: u16,
        }

        /// `struct seminfo`: `IPC_INFO` and `SEM_INFO`.
        pub struct Seminfo: 40 {
            pub semmap: i32,
            pub semmni: i32,
            pub semmns: i32,
            pub semmnu: i32,
            pub semmsl: i32,
            pub semopm: i32,
            pub semume: i32,
            pub semusz: i32,
            pub semvmx: i32,
            pub semaem: i32,
        }

        /// `struct msqid64_ds`: `msgctl(2)`.
        pub struct MsqidDs: 120 {
            pub msg_perm: IpcPerm,
            pub msg_stime: i64,
            pub msg_rtime: i64,
            pub msg_ctime: i64,
            pub msg_cbytes: u64,
            pub msg_qnum: u64,
            pub msg_qbytes: u64,
            pub msg_lspid: i32,
            pub msg_lrpid: i32,
            pub __unused: [u64; 2],
        }

        /// `struct msginfo`: `IPC_INFO` and `MSG_INFO`.
        pub struct Msginfo: 32 {
            pub msgpool: i32,
            pub msgmap: i32,
            pub msgmax: i32,
            pub msgmnb: i32,
            pub msgmni: i32,
            pub msgssz: i32,
            pub msgtql: i32,
            pub msgseg: u16,
            pub __pad0: u16,
        }

        /// `struct mq_attr`: `mq_getattr(3)`.
        pub struct MqAttr: 64 {
            pub mq_flags: i64,
            pub mq_maxmsg: i64,
            pub mq_msgsize: i64,
            pub mq_curmsgs: i64,
            pub __reserved: [i64; 4],
        }
    }
}

pub use structs::{
    IpcPerm, MqAttr, Msginfo, MsqidDs, Sembuf, SemidDs, Seminfo, ShmInfo, ShmInfoLimits, ShmidDs,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<ShmidDs>(), size_of::<libc::shmid_ds>());
        assert_eq!(size_of::<SemidDs>(), size_of::<libc::semid_ds>());
        assert_eq!(size_of::<MsqidDs>(), size_of::<libc::msqid_ds>());
        assert_eq!(size_of::<IpcPerm>(), size_of::<libc::ipc_perm>());
        assert_eq!(size_of::<MqAttr>(), size_of::<libc::mq_attr>());
        assert_eq!(
            std::mem::offset_of!(ShmidDs, shm_nattch),
            std::mem::offset_of!(libc::shmid_ds, shm_nattch)
        );
        assert_eq!(std::mem::offset_of!(MsqidDs, msg_lspid), std::mem::offset_of!(libc::msqid_ds, msg_lspid));
    }
}
