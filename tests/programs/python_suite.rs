//! CPython's own regression suite (`libpython3.11-testsuite`): each module ends in a sandbox as it does on the host.
//!
//! There are no Internet sockets in a sandbox: tests that need one are left out by name, on both sides. Modules that take long are run in
//! long runs alone.

use crate::case::Case;

/// What the cases need: a file of the suite stands for all of it.
const NEEDS: &[&str] = &["bash", "python3", "/usr/lib/python3.11/test/test_posix.py"];

/// Runs the suite with these arguments for each module of a list, after some commands, and tells how it ends; where it fails, also which
/// tests do.
macro_rules! modules {
    ($name:literal, $arguments:literal, $list:literal $(, $before:literal)?) => {
        Case::bash(
            $name,
            NEEDS,
            concat!(
                $($before,)?
                "for m in ",
                $list,
                "; do python3 -m test --timeout 300 ",
                $arguments,
                " $m > log 2>&1; code=$?; echo $m $code; ",
                "[ $code = 0 ] || { grep -E '^(ERROR|FAIL): ' log | sort; cat log >&2; }; done"
            ),
        )
    };
}

/// Modules that take some seconds.
pub const SHORT: &[Case] = &[
    modules!(
        "python_suite_small_modules",
        "",
        "test_posix test_thread test_poll test_pipes test_fcntl test_mmap test_resource test_pwd test_grp test_pty"
    )
    .within(120),
    modules!("python_suite_files", "", "test_tempfile test_shutil test_glob test_pathlib").within(120),
    modules!(
        "python_suite_files_of_the_root",
        "-i TestSocketSendfile",
        "test_posixpath test_stat test_fileio test_largefile test_tempfile test_shutil test_pathlib",
        "mkdir -p /var/tmp/suite; cd /var/tmp/suite; export TMPDIR=$PWD; "
    )
    .changing_root()
    .within(120),
    modules!("python_suite_terminals", "", "test_openpty test_pty test_tty test_ioctl test_termios").within(120),
    modules!("python_suite_time_and_select", "", "test_time test_select test_gc").within(120),
    modules!("python_suite_os", "-i TestSendfile", "test_os").within(120),
    modules!(
        "python_suite_epoll",
        "-i test_add -i test_badcreate -i test_close -i test_context_manager -i test_control_and_wait -i test_create \
         -i test_errors -i test_fd_non_inheritable -i test_fromfd -i test_unregister_closed",
        "test_epoll"
    )
    .within(120),
    modules!("python_suite_unix_sockets", "-m '*Unix*' -m '*SocketPair*'", "test_socket").within(120),
];

/// Modules that take up to some minutes.
pub const LONG: &[Case] = &[
    modules!(
        "long_python_suite_files_of_the_root",
        "",
        "test_io",
        "mkdir -p /var/tmp/suite; cd /var/tmp/suite; export TMPDIR=$PWD; "
    )
    .changing_root()
    .within(600),
    modules!("long_python_suite_subprocess", "", "test_subprocess").within(300),
    modules!("long_python_suite_threads", "", "test_threading test_threadsignals test_queue").within(300),
    modules!("long_python_suite_selectors", "", "test_selectors test_faulthandler").within(300),
    modules!(
        "long_python_suite_signals",
        "-i test_invalid_socket -i test_set_wakeup_fd_socket_result",
        "test_signal"
    )
    .within(300),
    modules!("long_python_suite_archives", "", "test_zipfile test_tarfile test_regrtest").within(300),
    modules!("long_python_suite_futures", "", "test_concurrent_futures").within(600),
    modules!(
        "long_python_suite_multiprocessing_fork",
        "-i test_closefd -i '*TestTimeouts*' -i test_wait_socket -i test_wait_socket_slow -i test_rapid_restart \
         -i test_multiple_bind -i test_issue16955 -i test_listener_client -i '*PicklingConnections*' -i '*RemoteManager*'",
        "test_multiprocessing_fork"
    )
    .within(600),
    modules!(
        "long_python_suite_multiprocessing_spawn",
        "-i test_closefd -i '*TestTimeouts*' -i test_wait_socket -i test_wait_socket_slow -i test_rapid_restart \
         -i test_multiple_bind -i test_issue16955 -i test_listener_client -i '*PicklingConnections*' -i '*RemoteManager*'",
        "test_multiprocessing_spawn"
    )
    .within(600),
    modules!(
        "long_python_suite_asyncio",
        "$(for p in context futures futures2 locks pep492 protocols queues runners selector_events subprocess unix_events \
         tasks taskgroups timeouts threads transports waitfor; do echo -m test.test_asyncio.test_$p.*; done) \
         -i '*UnixSockSendfileTests*' -i '*inetsock*'",
        "test_asyncio"
    )
    .within(600),
];
