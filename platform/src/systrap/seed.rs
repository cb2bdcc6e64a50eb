//! The seed: a small process from which all stub processes of a platform are forked.
//!
//! A thread of the host, the *keeper*, clones it once; forking the host itself for each address space would cost in proportion to
//! the host's memory. Stubs are made with `CLONE_PARENT`, so that the host is their parent, and with an exit signal of 0, so that the host's own `wait` and
//! `SIGCHLD` handler never see them. All of them get `PR_SET_PDEATHSIG`: they die with the keeper, and so with the host.

#![expect(unsafe_code, reason = "clones the seed, and reads and writes raw descriptors")]

use std::arch::asm;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::layout::{BASE, END, PAGE, SCRATCH};
use super::stub;

/// How long the seed may take for what takes a millisecond: only one that was killed takes this long.
const PATIENCE_MILLISECONDS: i32 = 10_000;

/// The seed process, and the thread whose child it is.
#[derive(Debug)]
pub struct Seed {
    pid: i32,
    /// Can be read when the process has ended.
    end: OwnedFd,
    orders: OwnedFd,
    reports: OwnedFd,
    /// Dropped to let the keeper end.
    release: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// What the keeper needs to make the seed.
struct Parts {
    code: OwnedFd,
    orders: OwnedFd,
    reports: OwnedFd,
}

impl Seed {
    /// Makes the keeper and the seed.
    pub fn new() -> io::Result<Self> {
        let code = code_file()?;
        let (orders_read, orders) = pipe()?;
        let (reports, reports_write) = pipe()?;
        let parts = Parts { code, orders: orders_read, reports: reports_write };
        let (release, released) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let keeper = std::thread::Builder::new()
            .name("bartizan-keeper".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                let _nobody_waits = started.send(clone_seed(&parts));
                // Ends when the sender is dropped.
                let _released = released.recv();
                drop(parts);
            })?;
        let pid = start.recv().unwrap_or_else(|_| Err(io::Error::other("the keeper thread ended")))?;
        let end = pidfd(pid).inspect_err(|_| kill_and_reap(pid))?;
        Ok(Self { pid, end, orders, reports, release: Some(release), keeper: Some(keeper) })
    }

    /// Forks a stub process that finds the given descriptors, and returns its id. Callers take turns.
    pub fn fork(&self, control: RawFd, order_event: RawFd, done_event: RawFd) -> io::Result<i32> {
        let mut order = [0; 16];
        for (field, descriptor) in order.chunks_exact_mut(4).zip([control, order_event, done_event]) {
            field.copy_from_slice(&descriptor.to_ne_bytes());
        }
        write_all(self.orders.as_raw_fd(), &order)?;
        wait_readable(&self.reports, &self.end, PATIENCE_MILLISECONDS)?;
        let pid = i64::from_ne_bytes(read_word(self.reports.as_raw_fd())?);
        if pid < 0 {
            return Err(io::Error::from_raw_os_error(i32::try_from(-pid).unwrap_or(libc::EAGAIN)));
        }
        i32::try_from(pid).map_err(io::Error::other)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        kill_and_reap(self.pid);
        self.release = None;
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has nothing left to clean up.
            let _panicked = keeper.join();
        }
    }
}

/// Ends the stub process `pid`, a child of ours that nobody has waited for.
pub fn kill(pid: i32) {
    // SAFETY: the child has not been waited for, so that the number still names it.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Ends the stub process `pid`, a child of ours that nobody else waits for, and waits for its end.
pub fn kill_and_reap(pid: i32) {
    kill(pid);
    loop {
        // SAFETY: no status is asked for.
        let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        if result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
    }
}

/// Clones the seed from the calling thread.
///
/// A fork inherits the registration of the C library's restartable sequences, whose memory the seed will unmap, which would kill
/// it. A child that shares the host's memory inherits none; so such a child, the *midwife*, is made first, forks the seed, and ends.
fn clone_seed(parts: &Parts) -> io::Result<i32> {
    let local = 0u8;
    let here = &raw const local as u64;
    if (BASE - (1 << 20)..END).contains(&here) {
        return Err(io::Error::other("the keeper's stack lies where the stubs' code has to be; try again"));
    }
    let mut birth = Birth {
        code: parts.code.as_raw_fd(),
        orders: parts.orders.as_raw_fd(),
        reports: parts.reports.as_raw_fd(),
        seed: 0,
    };
    let mut stack = vec![0u128; MIDWIFE_STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: CLONE_VFORK keeps this thread waiting until the midwife has ended, so that the stack, `birth` and the thread's own storage, which
    // the midwife shares, are used by one of them at a time.
    let midwife =
        unsafe { libc::clone(midwife, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut birth).cast()) };
    if midwife < 0 {
        return Err(io::Error::last_os_error());
    }
    kill_and_reap(midwife);
    match birth.seed {
        pid if pid > 0 => i32::try_from(pid).map_err(io::Error::other),
        error => Err(io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EAGAIN))),
    }
}

/// Bytes of stack for the midwife and, in its copy, for the seed until it needs none.
const MIDWIFE_STACK: usize = 64 << 10;

/// What the midwife gets, and what it leaves.
struct Birth {
    code: RawFd,
    orders: RawFd,
    reports: RawFd,
    seed: i64,
}

/// Forks the seed and ends.
extern "C" fn midwife(birth: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone_seed` passes a live `Birth` and waits meanwhile.
    let birth = unsafe { &mut *birth.cast::<Birth>() };
    let result: i64;
    // SAFETY: without CLONE_VM and with a null stack this is a fork: the child goes on with a copy of this stack, and runs only
    // `seed_main`, which makes raw calls. The result is taken as it is, without the C library's errno.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") i64::from(libc::CLONE_FILES | libc::CLONE_PARENT),
            in("rsi") 0, in("rdx") 0, in("r10") 0, in("r8") 0,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if result == 0 {
        seed_main(birth.code, birth.orders, birth.reports);
    }
    birth.seed = result;
    0
}

/// The seed's life: it readies itself with raw calls and jumps to the code page. It shares the host's descriptors, so it must
/// close none.
fn seed_main(code: RawFd, orders: RawFd, reports: RawFd) -> ! {
    let no_signals = 0u64;
    // SAFETY: prctl with integers.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: a session of its own keeps the terminal's signals away.
    unsafe { libc::syscall(libc::SYS_setsid) };
    let no_core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: a live rlimit. Neither a file nor a pipe gets a core of a guest that breaks its stub: for pipes 1 is the number that says so.
    unsafe { libc::syscall(libc::SYS_setrlimit, libc::RLIMIT_CORE, &raw const no_core) };
    let ignore = [libc::SIG_IGN as u64, 0, 0, 0];
    for signal in 1..=64 {
        // SAFETY: the kernel's `struct sigaction` is four words. Nothing that is sent from outside ends a stub, but what nobody can ignore.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, ignore.as_ptr(), 0, 8) };
    }
    // SAFETY: the mask is eight bytes on this stack.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const no_signals, 0, 8) };
    // SAFETY: nothing that this process still uses lies in the stub's region: the caller has checked its stack, and code runs from
    // the program's text far below.
    let mapped = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            BASE,
            PAGE,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_SHARED | libc::MAP_FIXED,
            code,
            0i64,
        )
    };
    // SAFETY: as above.
    let scratch = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            SCRATCH,
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1i64,
            0i64,
        )
    };
    if mapped < 0 || scratch < 0 {
        // SAFETY: ends this process.
        unsafe { libc::syscall(libc::SYS_exit_group, 1) };
    }
    // SAFETY: the code page is mapped at BASE and starts with the seed's code, which needs these two registers and no stack.
    unsafe {
        asm!("jmp {entry}", entry = in(reg) BASE, in("r12") orders, in("r13") reports, options(noreturn))
    }
}

/// A file with the code page.
fn code_file() -> io::Result<OwnedFd> {
    // SAFETY: the name is a constant C string.
    let file = unsafe { libc::memfd_create(c"bartizan-code".as_ptr(), libc::MFD_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a new descriptor.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    write_all(file.as_raw_fd(), &stub::code_page())?;
    Ok(file)
}

/// A pipe: the reading and the writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// An event descriptor with count 0.
pub fn event() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes integers.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(event) })
}

/// Writes all of `bytes`.
pub fn write_all(descriptor: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is a live slice.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) => interrupted_or_error()?,
        }
    }
    Ok(())
}

/// Reads eight bytes, as pipes of reports and events give them in one piece.
pub fn read_word(descriptor: RawFd) -> io::Result<[u8; 8]> {
    loop {
        let mut word = [0; 8];
        // SAFETY: the buffer is a live array.
        match unsafe { libc::read(descriptor, word.as_mut_ptr().cast(), word.len()) } {
            8 => return Ok(word),
            count if count < 0 => interrupted_or_error()?,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Waits until `descriptor` can be read.
///
/// # Errors
/// When the process whose pidfd is `end` ends, or after `milliseconds`.
pub fn wait_readable(descriptor: &OwnedFd, end: &OwnedFd, milliseconds: i32) -> io::Result<()> {
    let mut polls = [descriptor, end].map(|descriptor| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: two live pollfds.
        let count = unsafe { libc::poll(polls.as_mut_ptr(), 2, milliseconds) };
        match count {
            0 => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
            count if count < 0 => interrupted_or_error()?,
            _ if polls[0].revents != 0 => return Ok(()),
            _ => return Err(io::Error::other("it has ended")),
        }
    }
}

/// A descriptor that can be read when process `pid`, a child that was not waited for, has ended.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// The signal that ended the child whose pidfd is `end`, if it ends within `milliseconds`. The child stays to be waited for.
pub fn ending_signal(end: &OwnedFd, milliseconds: i32) -> Option<i32> {
    let mut poll = libc::pollfd { fd: end.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    let info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: all zeroes is a siginfo.
    let mut info = unsafe { info.assume_init() };
    let descriptor = libc::id_t::try_from(end.as_raw_fd()).ok()?;
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the result goes to a live siginfo.
    let result = unsafe { libc::waitid(libc::P_PIDFD, descriptor, &raw mut info, options) };
    let by_signal = result == 0 && matches!(info.si_code, libc::CLD_KILLED | libc::CLD_DUMPED);
    // SAFETY: the kernel has filled in the status of a child, or left zeroes.
    by_signal.then(|| unsafe { info.si_status() })
}

/// Whether the process whose pidfd is `end` has ended.
pub fn has_ended(end: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: end.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd, and no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// `Ok` if the last call was merely interrupted by a signal.
fn interrupted_or_error() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
