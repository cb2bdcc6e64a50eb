//! What comes with a signal: `siginfo_t`, `sigevent`, `signalfd_siginfo`.

use zerocopy::{FromBytes, IntoBytes};

use super::Signal;
use crate::macros::{abi_enum, abi_named_flags, abi_open_enum, abi_structs};

/// Bytes of `siginfo_t`.
pub const SI_MAX_SIZE: usize = 128;

abi_structs! {
    /// `siginfo_t` of x86-64: what all share, then a union by `si_code`, here as bytes with typed access.
    pub struct SigInfo: 128 {
        /// The signal.
        pub si_signo: i32,
        /// An error number; almost always zero.
        pub si_errno: i32,
        /// Why it was sent: [`SigCode`].
        pub si_code: i32,
        /// Padding.
        pub __pad0: u32,
        /// The union, from byte 16.
        pub fields: [u8; 112],
    }

    struct KillFields: 16 { pid: i32, uid: u32, value: u64 }
    struct ChildFields: 32 { pid: i32, uid: u32, status: i32, pad: u32, user_time: i64, system_time: i64 }
    struct TimerFields: 24 { id: i32, overrun: i32, value: u64, private: i32, pad: u32 }
    struct FaultFields: 24 { address: u64, lsb: u64, upper: u64 }
    struct PollFields: 16 { band: i64, fd: i32, pad: u32 }
    struct SysFields: 16 { address: u64, call: i32, arch: u32 }
}

abi_open_enum! {
    /// `si_code`: positive values belong to the kernel and depend on the signal, others to senders.
    pub struct SigCode: i32 {
        SI_USER = 0,
        SI_KERNEL = 0x80,
        SI_QUEUE = -1,
        SI_TIMER = -2,
        SI_MESGQ = -3,
        SI_ASYNCIO = -4,
        SI_SIGIO = -5,
        SI_TKILL = -6,
        SI_DETHREAD = -7,
        SI_ASYNCNL = -60,
    }
}

macro_rules! codes {
    ($($name:ident = $value:literal, $meaning:literal;)*) => {
        impl SigCode {
            $(#[doc = concat!($meaning, ".")] pub const $name: Self = Self($value);)*
        }
    };
}

codes! {
    ILL_ILLOPC = 1, "`SIGILL`: illegal opcode";
    ILL_ILLOPN = 2, "`SIGILL`: illegal operand";
    ILL_ILLADR = 3, "`SIGILL`: illegal addressing mode";
    ILL_ILLTRP = 4, "`SIGILL`: illegal trap";
    ILL_PRVOPC = 5, "`SIGILL`: privileged opcode";
    ILL_PRVREG = 6, "`SIGILL`: privileged register";
    ILL_COPROC = 7, "`SIGILL`: coprocessor error";
    ILL_BADSTK = 8, "`SIGILL`: internal stack error";
    FPE_INTDIV = 1, "`SIGFPE`: integer division by zero";
    FPE_INTOVF = 2, "`SIGFPE`: integer overflow";
    FPE_FLTDIV = 3, "`SIGFPE`: floating-point division by zero";
    FPE_FLTOVF = 4, "`SIGFPE`: floating-point overflow";
    FPE_FLTUND = 5, "`SIGFPE`: floating-point underflow";
    FPE_FLTRES = 6, "`SIGFPE`: inexact floating-point result";
    FPE_FLTINV = 7, "`SIGFPE`: invalid floating-point operation";
    FPE_FLTSUB = 8, "`SIGFPE`: subscript out of range";
    FPE_FLTUNK = 14, "`SIGFPE`: undiagnosed floating-point exception";
    SEGV_MAPERR = 1, "`SIGSEGV`: nothing is mapped at the address";
    SEGV_ACCERR = 2, "`SIGSEGV`: the mapping does not allow it";
    SEGV_BNDERR = 3, "`SIGSEGV`: a bound check failed";
    SEGV_PKUERR = 4, "`SIGSEGV`: a protection key forbids it";
    BUS_ADRALN = 1, "`SIGBUS`: not aligned";
    BUS_ADRERR = 2, "`SIGBUS`: beyond the end of what is mapped";
    BUS_OBJERR = 3, "`SIGBUS`: hardware error of the object";
    BUS_MCEERR_AR = 4, "`SIGBUS`: memory error, action required";
    BUS_MCEERR_AO = 5, "`SIGBUS`: memory error, action optional";
    TRAP_BRKPT = 1, "`SIGTRAP`: breakpoint";
    TRAP_TRACE = 2, "`SIGTRAP`: single step";
    TRAP_BRANCH = 3, "`SIGTRAP`: branch taken";
    TRAP_HWBKPT = 4, "`SIGTRAP`: hardware breakpoint";
    TRAP_UNK = 5, "`SIGTRAP`: undiagnosed";
    TRAP_PERF = 6, "`SIGTRAP`: performance event";
    CLD_EXITED = 1, "`SIGCHLD`: it exited";
    CLD_KILLED = 2, "`SIGCHLD`: a signal killed it";
    CLD_DUMPED = 3, "`SIGCHLD`: a signal killed it, with a core dump";
    CLD_TRAPPED = 4, "`SIGCHLD`: the traced child has trapped";
    CLD_STOPPED = 5, "`SIGCHLD`: it stopped";
    CLD_CONTINUED = 6, "`SIGCHLD`: it continued";
    POLL_IN = 1, "`SIGIO`: there is something to read";
    POLL_OUT = 2, "`SIGIO`: writing would not block";
    POLL_MSG = 3, "`SIGIO`: a message is there";
    POLL_ERR = 4, "`SIGIO`: an error";
    POLL_PRI = 5, "`SIGIO`: something urgent is there";
    POLL_HUP = 6, "`SIGIO`: hung up";
    SYS_SECCOMP = 1, "`SIGSYS`: a seccomp filter trapped it";
    SYS_USER_DISPATCH = 2, "`SIGSYS`: system call user dispatch";
}

impl SigInfo {
    fn new(signal: Signal, code: SigCode, union: &impl IntoBytesImmutable) -> Self {
        let mut info = Self { si_signo: signal.raw(), si_code: code.0, ..Self::default() };
        union.write_into(&mut info.fields);
        info
    }

    /// Sent by `kill(2)`, `tgkill(2)` or `sigqueue(3)`, by `SI_USER`, `SI_TKILL` or `SI_QUEUE`.
    pub fn kill(signal: Signal, code: SigCode, pid: i32, uid: u32) -> Self {
        Self::queue(signal, code, pid, uid, 0)
    }

    /// Sent with a value.
    pub fn queue(signal: Signal, code: SigCode, pid: i32, uid: u32, value: u64) -> Self {
        Self::new(signal, code, &KillFields { pid, uid, value })
    }

    /// Sent by the kernel itself: nothing is known about it.
    pub fn kernel(signal: Signal) -> Self {
        Self::kill(signal, SigCode::SI_KERNEL, 0, 0)
    }

    /// What became of a child; times are in ticks of [`crate::USER_HZ`].
    pub fn child(signal: Signal, code: SigCode, child: ChildInfo) -> Self {
        let ChildInfo { pid, uid, status, user_time, system_time } = child;
        Self::new(signal, code, &ChildFields { pid, uid, status, pad: 0, user_time, system_time })
    }

    /// A fault at this address.
    pub fn fault(signal: Signal, code: SigCode, address: u64) -> Self {
        Self::new(signal, code, &FaultFields { address, lsb: 0, upper: 0 })
    }

    /// A POSIX timer has expired.
    pub fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        Self::new(signal, SigCode::SI_TIMER, &TimerFields { id, overrun, value, private: 0, pad: 0 })
    }

    /// Input or output has become possible.
    pub fn poll(signal: Signal, code: SigCode, band: i64, fd: i32) -> Self {
        Self::new(signal, code, &PollFields { band, fd, pad: 0 })
    }

    /// A system call was refused; `arch` is an `AUDIT_ARCH_*`.
    pub fn sys(signal: Signal, code: SigCode, address: u64, call: i32, arch: u32) -> Self {
        Self::new(signal, code, &SysFields { address, call, arch })
    }

    /// The signal, if `si_signo` holds one.
    pub const fn signal(&self) -> Option<Signal> {
        Signal::from_raw(self.si_signo)
    }

    /// `si_code`.
    pub const fn code(&self) -> SigCode {
        SigCode(self.si_code)
    }

    fn field<T: FromBytes>(&self, offset: usize) -> Option<T> {
        T::read_from_prefix(self.fields.get(offset..)?).ok().map(|(value, _)| value)
    }

    /// `si_pid`, where the union holds one.
    pub fn pid(&self) -> i32 {
        self.field(0).unwrap_or_default()
    }

    /// Whether it tells who sent it or of which child it is: `si_pid` and `si_uid` (`siginfo_layout`).
    pub fn has_sender(&self) -> bool {
        let of_child = Signal::from_raw(self.si_signo) == Some(Signal::SIGCHLD) && self.si_code > 0;
        let sent = self.si_code <= 0 && self.code() != SigCode::SI_TIMER && self.code() != SigCode::SI_SIGIO;
        sent || of_child
    }

    /// `si_uid`, where the union holds one.
    pub fn uid(&self) -> u32 {
        self.field(4).unwrap_or_default()
    }

    /// `si_status` of a child.
    pub fn status(&self) -> i32 {
        self.field(8).unwrap_or_default()
    }

    /// `si_value` of a queued signal or a timer: both have it at the same place.
    pub fn value(&self) -> u64 {
        self.field(8).unwrap_or_default()
    }

    /// `si_addr` of a fault, `si_call_addr` of a refused call.
    pub fn address(&self) -> u64 {
        self.field(0).unwrap_or_default()
    }

    /// `si_overrun` of a timer.
    pub fn overrun(&self) -> i32 {
        self.field(4).unwrap_or_default()
    }

    /// `si_timerid`.
    pub fn timer_id(&self) -> i32 {
        self.field(0).unwrap_or_default()
    }

    /// Sets `si_pid` and `si_uid`, as the receiver's namespaces see the sender.
    pub fn set_sender(&mut self, pid: i32, uid: u32) {
        self.fields[..4].copy_from_slice(&pid.to_ne_bytes());
        self.fields[4..8].copy_from_slice(&uid.to_ne_bytes());
    }

    /// Sets `si_overrun` of a timer.
    pub fn set_overrun(&mut self, overrun: i32) {
        self.fields[4..8].copy_from_slice(&overrun.to_ne_bytes());
    }
}

/// What [`SigInfo::child`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildInfo {
    /// Its process ID.
    pub pid: i32,
    /// Its real user ID.
    pub uid: u32,
    /// Its exit code, or the signal.
    pub status: i32,
    /// Its user time, ticks.
    pub user_time: i64,
    /// Its system time, ticks.
    pub system_time: i64,
}

trait IntoBytesImmutable {
    fn write_into(&self, target: &mut [u8]);
}

impl<T: IntoBytes + zerocopy::Immutable> IntoBytesImmutable for T {
    fn write_into(&self, target: &mut [u8]) {
        let bytes = self.as_bytes();
        target[..bytes.len()].copy_from_slice(bytes);
    }
}

abi_structs! {
    /// `struct sigevent`: how a timer or a queue tells; `timer_create(2)`, `mq_notify(2)`.
    pub struct SigEvent: 64 {
        /// Goes into `si_value`.
        pub sigev_value: u64,
        /// Which signal.
        pub sigev_signo: i32,
        /// [`SigEventNotify`].
        pub sigev_notify: i32,
        /// The thread of `SIGEV_THREAD_ID`.
        pub sigev_notify_thread_id: i32,
        /// Unused by the kernel.
        pub __pad: [u32; 11],
    }

    /// `struct signalfd_siginfo`: `signalfd(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct SignalfdSiginfo: 128 {
        pub ssi_signo: u32,
        pub ssi_errno: i32,
        pub ssi_code: i32,
        pub ssi_pid: u32,
        pub ssi_uid: u32,
        pub ssi_fd: i32,
        pub ssi_tid: u32,
        pub ssi_band: u32,
        pub ssi_overrun: u32,
        pub ssi_trapno: u32,
        pub ssi_status: i32,
        pub ssi_int: i32,
        pub ssi_ptr: u64,
        pub ssi_utime: u64,
        pub ssi_stime: u64,
        pub ssi_addr: u64,
        pub ssi_addr_lsb: u16,
        pub __pad2: u16,
        pub ssi_syscall: i32,
        pub ssi_call_addr: u64,
        pub ssi_arch: u32,
        pub __pad: [u8; 28],
    }
}

abi_enum! {
    /// `sigev_notify`.
    pub enum SigEventNotify: i32 {
        /// A signal to the process.
        SIGEV_SIGNAL = 0,
        /// Nothing.
        SIGEV_NONE = 1,
        /// A thread of the C library.
        SIGEV_THREAD = 2,
        /// A signal to one thread.
        SIGEV_THREAD_ID = 4,
    }
}

abi_named_flags! {
    /// Flags of `signalfd4(2)`.
    pub struct SignalfdFlags: u32 {
        SFD_NONBLOCK = 0o4000,
        SFD_CLOEXEC = 0o2_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a `siginfo_t` of the C library, filled by it.
    fn theirs(info: &SigInfo) -> libc::siginfo_t {
        // SAFETY: both are 128 bytes of plain data, and any bytes are a valid `siginfo_t`.
        #[expect(unsafe_code, reason = "comparing layouts with the C library")]
        unsafe {
            std::mem::transmute_copy(info)
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the accessors of the C library read a union")]
    fn constructors_fill_what_the_c_library_reads() {
        let queued = SigInfo::queue(Signal::SIGUSR1, SigCode::SI_QUEUE, 12, 34, 0x5678);
        let seen = theirs(&queued);
        assert_eq!((seen.si_signo, seen.si_code), (libc::SIGUSR1, libc::SI_QUEUE));
        // SAFETY: the union of a queued signal holds pid, uid and value.
        assert_eq!(unsafe { seen.si_pid() }, 12);
        // SAFETY: as above.
        assert_eq!(unsafe { seen.si_uid() }, 34);
        // SAFETY: as above.
        let value = unsafe { seen.si_value() };
        assert_eq!(value.sival_ptr.addr(), 0x5678);

        let child = ChildInfo { pid: 5, uid: 6, status: 7, user_time: 8, system_time: 9 };
        let seen = theirs(&SigInfo::child(Signal::SIGCHLD, SigCode::CLD_EXITED, child));
        // SAFETY: the union of SIGCHLD holds a status.
        assert_eq!(unsafe { seen.si_status() }, 7);
        // SAFETY: the union of SIGCHLD holds times.
        assert_eq!(unsafe { seen.si_stime() }, 9);

        let seen = theirs(&SigInfo::fault(Signal::SIGSEGV, SigCode::SEGV_MAPERR, 0x1000));
        // SAFETY: the union of SIGSEGV holds an address.
        assert_eq!(unsafe { seen.si_addr() }.addr(), 0x1000);
    }

    #[test]
    fn fields_are_read_back() {
        let mut timer = SigInfo::timer(Signal::SIGALRM, 3, 4, 5);
        timer.set_overrun(9);
        assert_eq!((timer.timer_id(), timer.overrun(), timer.value()), (3, 9, 5));
        let mut kill = SigInfo::kill(Signal::SIGTERM, SigCode::SI_USER, 1, 2);
        kill.set_sender(0, 65534);
        assert_eq!((kill.pid(), kill.uid(), kill.signal()), (0, 65534, Some(Signal::SIGTERM)));
        assert_eq!(kill.code().name(), Some("SI_USER"));
    }

    #[test]
    fn signalfd_is_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<SignalfdSiginfo>(), size_of::<libc::signalfd_siginfo>());
        assert_eq!(
            std::mem::offset_of!(SignalfdSiginfo, ssi_call_addr),
            std::mem::offset_of!(libc::signalfd_siginfo, ssi_call_addr)
        );
        assert_eq!(size_of::<SigEvent>(), size_of::<libc::sigevent>());
    }
}
