//! The fault handler acts on the copy routines alone: everything else happens as if it was not there.

#![expect(unsafe_code, reason = "handlers of the host program, and wild accesses")]

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use bartizan_platform::memory::{BackingFile, HostFile, PAGE_SIZE, read, write};

const CHILD: &str = "BARTIZAN_FAULT_CHAIN_CHILD";

/// A view that faults, and one that does not.
fn copies_work() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE_SIZE).unwrap();
    let host = HostFile::new(file.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(read(&host.view(PAGE_SIZE, 100).unwrap(), &mut [0; 100]), 0);
    assert_eq!(write(&[1; 100], &host.view(PAGE_SIZE - 50, 100).unwrap()), 50);
}

/// Runs `test` of this file in a process of its own, which is expected to die of `signal`.
fn expect_death(test: &str, signal: i32, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        body();
        std::process::abort();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(signal), "{status:?}");
}

/// Loads from where nothing is.
fn wild_access() {
    let nowhere = std::ptr::without_provenance::<u8>(PAGE_SIZE as usize);
    // SAFETY: none; it faults, which is the point, in a process that is to die of it.
    let _byte = unsafe { nowhere.read_volatile() };
}

fn set_handler(signal: i32, handler: usize, flags: i32) {
    // SAFETY: zeroes are a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handlers of this test do only what handlers may.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

fn raise(signal: i32) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
fn a_fault_of_the_host_still_kills_it() {
    expect_death("a_fault_of_the_host_still_kills_it", libc::SIGSEGV, || {
        set_handler(libc::SIGSEGV, libc::SIG_DFL, 0);
        copies_work();
        wild_access();
    });
}

#[test]
fn a_fault_kills_even_where_the_signal_is_ignored() {
    expect_death("a_fault_kills_even_where_the_signal_is_ignored", libc::SIGSEGV, || {
        set_handler(libc::SIGSEGV, libc::SIG_IGN, 0);
        copies_work();
        // One that is sent is ignored.
        raise(libc::SIGSEGV);
        copies_work();
        wild_access();
    });
}

#[test]
fn a_signal_that_is_sent_kills() {
    expect_death("a_signal_that_is_sent_kills", libc::SIGBUS, || {
        set_handler(libc::SIGBUS, libc::SIG_DFL, 0);
        copies_work();
        raise(libc::SIGBUS);
    });
}

#[test]
fn rust_s_own_handler_is_kept() {
    expect_death("rust_s_own_handler_is_kept", libc::SIGABRT, || {
        copies_work();
        fn overflow(depth: u64) -> u64 {
            let big = std::hint::black_box([depth; 512]);
            if depth == u64::MAX { big[0] } else { overflow(depth + 1) + big[1] }
        }
        std::hint::black_box(overflow(std::hint::black_box(0)));
    });
}

static SEEN: AtomicU32 = AtomicU32::new(0);
static PAGE: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the page accessible and lets the access repeat, as garbage collectors do.
extern "C" fn make_accessible(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let page = PAGE.load(Ordering::Relaxed);
    // SAFETY: the kernel passes a valid siginfo.
    let info = unsafe { &*info };
    // SAFETY: signals of faults have an address.
    let address = unsafe { info.si_addr() };
    if address == page {
        SEEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the page belongs to the test.
        unsafe { libc::mprotect(page, PAGE_SIZE as usize, libc::PROT_READ | libc::PROT_WRITE) };
    }
}

extern "C" fn count(_signal: i32) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn the_host_s_handlers_get_what_is_theirs() {
    let size = PAGE_SIZE as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: fresh memory.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    PAGE.store(page, Ordering::Relaxed);
    set_handler(libc::SIGSEGV, make_accessible as *const () as usize, libc::SA_SIGINFO);
    set_handler(libc::SIGBUS, count as *const () as usize, 0);
    copies_work();
    assert_eq!(SEEN.load(Ordering::Relaxed), 0, "faults of copies are not the host's");
    // SAFETY: the handler makes the page accessible.
    let byte = unsafe { page.cast::<u8>().read_volatile() };
    assert_eq!((byte, SEEN.load(Ordering::Relaxed)), (0, 1));
    raise(libc::SIGBUS);
    assert_eq!(SEEN.load(Ordering::Relaxed), 2);
    copies_work();
}
