//! Making tasks: numbers, what is shared, limits.

use bartizan_abi::{Errno, Sysno};

use crate::kernel::testing::World;
use crate::kernel::{Credentials, INIT, ProcessEnd};

const CLONE_VM: u64 = 0x100;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const SIGCHLD: u64 = 17;

#[test]
fn first_process_is_init_and_its_code_is_the_hosts() {
    let world = World::new();
    let mut init = world.start(|guest| {
        assert_eq!(guest.must(Sysno::getpid, [0; 6]), 1);
        assert_eq!(guest.must(Sysno::gettid, [0; 6]), 1);
        assert_eq!(guest.must(Sysno::getppid, [0; 6]), 0);
        guest.exit(7)
    });
    assert_eq!(init.pid(), INIT);
    assert_eq!(world.end_of(&mut init), ProcessEnd::Exited(7));
    world.finish();
}

#[test]
fn child_has_a_copy_of_the_memory() {
    let end = World::run(|guest| {
        let word = guest.put(0, &1u32);
        let parent = guest.must(Sysno::getpid, [0; 6]);
        let child = guest.fork(move |child| {
            assert_eq!(child.must(Sysno::getppid, [0; 6]), parent);
            assert_eq!(child.load::<u32>(word), 1);
            child.store(word, &2u32);
            child.exit(5)
        });
        assert_eq!(guest.wait(-1, 0), Ok((child, 5 << 8)));
        assert_eq!(guest.load::<u32>(word), 1);
        assert_eq!(guest.wait(-1, 0), Err(Errno::ECHILD));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn threads_share_memory_and_process() {
    let end = World::run(|guest| {
        let pid = guest.must(Sysno::getpid, [0; 6]);
        let word = guest.put(0, &0u32);
        let tid = guest.thread(move |thread| {
            assert_eq!(thread.must(Sysno::getpid, [0; 6]), pid);
            assert_ne!(thread.must(Sysno::gettid, [0; 6]), pid);
            thread.store(word, &1u32);
            thread.must(Sysno::exit, [0; 6]);
        });
        assert_ne!(tid, pid);
        while guest.load::<u32>(word) == 0 {
            guest.must(Sysno::sched_yield, [0; 6]);
        }
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn vfork_returns_when_the_child_has_ended() {
    let end = World::run(|guest| {
        let word = guest.put(0, &0u32);
        let child = guest.clone_task(CLONE_VM | CLONE_VFORK | SIGCHLD, 0, move |child| {
            for _ in 0..20 {
                child.must(Sysno::sched_yield, [0; 6]);
            }
            child.store(word, &1u32);
        });
        assert_eq!(guest.load::<u32>(word), 1);
        assert_eq!(guest.wait(-1, 0), Ok((child, 0)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn clones_that_cannot_be_leave_nothing_behind() {
    let end = World::run(|guest| {
        let clone = |flags, tls| guest.call(Sysno::clone, [flags, 0, 0, 0, tls, 0]);
        assert_eq!(clone(CLONE_THREAD | CLONE_VM, 0), Err(Errno::EINVAL));
        assert_eq!(clone(CLONE_SIGHAND, 0), Err(Errno::EINVAL));
        assert_eq!(clone(CLONE_SETTLS | SIGCHLD, u64::MAX), Err(Errno::EPERM));
        assert_eq!(guest.wait(-1, 0), Err(Errno::ECHILD));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn init_cannot_have_siblings() {
    let world = World::new();
    let mut init = world.start(|guest| {
        let clone = guest.call(Sysno::clone, [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, 0]);
        assert_eq!(clone, Err(Errno::EINVAL));
    });
    assert_eq!(world.end_of(&mut init), ProcessEnd::Exited(0));
    world.finish();
}

#[test]
fn process_limit_counts_those_that_have_ended() {
    const RLIMIT_NPROC: u64 = 6;
    let end = World::new().run_as(Credentials::user(1000, 1000, Vec::new()), |guest| {
        let limits = guest.put(0, &[3u64, 3]);
        guest.must(Sysno::setrlimit, [RLIMIT_NPROC, limits, 0, 0, 0, 0]);
        for _ in 0..2 {
            guest.fork(|_| ());
        }
        let refused = guest.call(Sysno::fork, [0; 6]);
        assert_eq!(refused, Err(Errno::EAGAIN));
        guest.wait(-1, 0).expect("a child");
        guest.fork(|_| ());
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}
