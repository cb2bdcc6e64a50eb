//! Where tracing is forbidden the platform says so, and leaves nothing behind.

#![expect(unsafe_code, reason = "a filter that forbids ptrace, as container profiles have it")]

use bartizan_platform::PlatformError;
use bartizan_platform::ptrace::PtracePlatform;

/// Makes every `ptrace` of this thread, and of the threads that it starts, fail with `EPERM`.
fn forbid_ptrace() {
    const RETURN_EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_ptrace as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, RETURN_EPERM),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // SAFETY: changes attributes of this thread only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: reads the filter.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    assert_eq!(result, 0);
}

#[test]
fn the_reason_and_the_remedy_are_told() {
    forbid_ptrace();
    let error = PtracePlatform::new().expect_err("ptrace is forbidden");
    assert!(matches!(error, PlatformError::Unavailable { platform: "ptrace", .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("PTRACE_SEIZE was refused") && text.contains("CAP_SYS_PTRACE"), "{text}");
    // SAFETY: no memory is involved.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) };
    assert_eq!(left, -1, "no child is left");
}
