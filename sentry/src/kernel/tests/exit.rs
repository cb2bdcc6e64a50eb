//! The end of tasks and processes, and who is told.

use bartizan_abi::signal::{SIG_IGN, SigAction, Signal};
use bartizan_abi::{Errno, Sysno};

use crate::kernel::ProcessEnd;
use crate::kernel::testing::World;

const PR_SET_PDEATHSIG: u64 = 1;
const PR_SET_CHILD_SUBREAPER: u64 = 36;
const SIGKILL: u64 = 9;
const WNOHANG: u64 = 1;

#[test]
fn end_of_init_ends_everybody() {
    let world = World::new();
    let mut init = world.start(|guest| {
        guest.fork(|child| {
            child.fork(|grandchild| {
                let _killed = grandchild.call(Sysno::pause, [0; 6]);
            });
            let _killed = child.call(Sysno::pause, [0; 6]);
        });
        guest.exit(3)
    });
    assert_eq!(world.end_of(&mut init), ProcessEnd::Exited(3));
    world.finish();
}

#[test]
fn death_signal_of_kill_reaches_the_child() {
    let end = World::run(|guest| {
        guest.must(Sysno::prctl, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0]);
        guest.fork(|child| {
            child.fork(|grandchild| {
                grandchild.must(Sysno::prctl, [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0]);
                let _killed = grandchild.call(Sysno::pause, [0; 6]);
            });
            child.must(Sysno::nanosleep, [child.put(0, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
        });
        let mut ends = [guest.wait(-1, 0), guest.wait(-1, 0)].map(|end| end.expect("two ends").1);
        ends.sort_unstable();
        assert_eq!(ends, [0, 9]);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn exit_signal_may_kill_the_parent() {
    let end = World::run(|guest| {
        guest.clone_task(SIGKILL, 0, |_| ());
        let _killed = guest.call(Sysno::pause, [0; 6]);
    });
    assert_eq!(end, ProcessEnd::Signaled(9));
}

#[test]
fn ignored_children_are_not_waited_for() {
    let end = World::run(|guest| {
        guest.act(Signal::SIGCHLD, SigAction { handler: SIG_IGN, ..SigAction::default() });
        guest.fork(|child| child.exit(1));
        assert_eq!(guest.wait(-1, 0), Err(Errno::ECHILD));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn code_of_the_leader_is_that_of_the_process() {
    let end = World::run(|guest| {
        let child = guest.fork(|leader| {
            leader.thread(|thread| {
                thread.must(Sysno::nanosleep, [thread.put(0, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
                thread.must(Sysno::exit, [9, 0, 0, 0, 0, 0]);
            });
            leader.must(Sysno::exit, [4, 0, 0, 0, 0, 0]);
        });
        assert_eq!(guest.wait(-1, 0), Ok((child, 4 << 8)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn one_thread_ends_the_others() {
    let end = World::run(|guest| {
        for _ in 0..3 {
            guest.thread(|thread| {
                let _killed = thread.call(Sysno::pause, [0; 6]);
            });
        }
        guest.thread(|thread| {
            loop {
                thread.spin();
            }
        });
        guest.exit(6)
    });
    assert_eq!(end, ProcessEnd::Exited(6));
}

#[test]
fn waiting_without_hanging_tells_of_the_living() {
    let end = World::run(|guest| {
        let child = guest.fork(|child| {
            let _killed = child.call(Sysno::pause, [0; 6]);
        });
        assert_eq!(guest.wait(-1, WNOHANG), Ok((0, 0)));
        guest.kill(child, Signal::SIGTERM).expect("the child is there");
        assert_eq!(guest.wait(child.cast_signed(), 0), Ok((child, 15)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn descriptor_of_a_process_can_be_waited_for() {
    const P_PIDFD: u64 = 3;
    const WEXITED: u64 = 4;
    let end = World::run(|guest| {
        let child = guest.fork(|child| child.exit(2));
        let pidfd = guest.must(Sysno::pidfd_open, [child, 0, 0, 0, 0, 0]);
        let info = guest.put(0, &[0u8; 128]);
        guest.must(Sysno::waitid, [P_PIDFD, pidfd, info, WEXITED, 0, 0]);
        assert_eq!(u64::from(guest.load::<u32>(info + 16)), child);
        assert_eq!(guest.load::<i32>(info + 24), 2);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}
