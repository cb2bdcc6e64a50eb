//! Stops, continuations, process groups and sessions.

use bartizan_abi::signal::Signal;
use bartizan_abi::{Errno, Sysno};

use crate::kernel::ProcessEnd;
use crate::kernel::testing::World;

const WUNTRACED: u64 = 2;
const WCONTINUED: u64 = 8;
const PR_SET_CHILD_SUBREAPER: u64 = 36;

#[test]
fn stop_and_continuation_are_told_to_the_parent() {
    let end = World::run(|guest| {
        let child = guest.fork(|child| {
            child.thread(|thread| {
                let _killed = thread.call(Sysno::pause, [0; 6]);
            });
            let _killed = child.call(Sysno::pause, [0; 6]);
        });
        guest.kill(child, Signal::SIGSTOP).expect("the child is there");
        assert_eq!(guest.wait(-1, WUNTRACED), Ok((child, 0x137f)));
        guest.kill(child, Signal::SIGCONT).expect("the child is there");
        assert_eq!(guest.wait(-1, WCONTINUED), Ok((child, 0xffff)));
        guest.kill(child, Signal::SIGSTOP).expect("the child is there");
        guest.kill(child, Signal::SIGKILL).expect("the child is there");
        assert_eq!(guest.wait(-1, 0), Ok((child, 9)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn stopped_jobs_of_a_leaving_shell_are_hung_up() {
    let end = World::run(|guest| {
        guest.must(Sysno::prctl, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0]);
        let shell = guest.fork(|shell| {
            shell.must(Sysno::setsid, [0; 6]);
            let job = shell.fork(|job| {
                job.must(Sysno::setpgid, [0; 6]);
                let _killed = job.call(Sysno::pause, [0; 6]);
            });
            let _either_may_come_first = shell.call(Sysno::setpgid, [job, job, 0, 0, 0, 0]);
            shell.kill(job, Signal::SIGTSTP).expect("the job is there");
            assert_eq!(shell.wait(-1, WUNTRACED), Ok((job, 0x147f)));
        });
        assert_eq!(guest.wait(shell.cast_signed(), 0), Ok((shell, 0)));
        assert_eq!(guest.wait(-1, 0).map(|(_, status)| status), Ok(1));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn groups_and_sessions_follow_the_rules() {
    let end = World::run(|guest| {
        let own = guest.must(Sysno::getpid, [0; 6]);
        assert_eq!(guest.call(Sysno::setsid, [0; 6]), Err(Errno::EPERM));
        assert_eq!(guest.call(Sysno::setpgid, [0; 6]), Err(Errno::EPERM));
        assert_eq!(guest.call(Sysno::setpgid, [1, 1, 0, 0, 0, 0]), Err(Errno::ESRCH));
        let child = guest.fork(move |child| {
            let pid = child.must(Sysno::getpid, [0; 6]);
            assert_eq!(child.must(Sysno::getpgid, [0; 6]), own);
            assert_eq!(child.must(Sysno::getsid, [0; 6]), own);
            assert_eq!(child.call(Sysno::setpgid, [0, 1, 0, 0, 0, 0]), Err(Errno::EPERM));
            assert_eq!(child.must(Sysno::setsid, [0; 6]), pid);
            assert_eq!(child.must(Sysno::getpgrp, [0; 6]), pid);
            assert_eq!(child.call(Sysno::setpgid, [0, own, 0, 0, 0, 0]), Err(Errno::EPERM));
        });
        assert_eq!(guest.wait(-1, 0), Ok((child, 0)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn signals_to_a_group_reach_all_of_it() {
    let end = World::run(|guest| {
        let children: Vec<u64> = (0..3)
            .map(|_| {
                guest.fork(|child| {
                    let _killed = child.call(Sysno::pause, [0; 6]);
                })
            })
            .collect();
        guest.handle(Signal::SIGTERM, 0, |_, _| {});
        guest.kill(0, Signal::SIGTERM).expect("there is a group");
        for child in children {
            assert_eq!(guest.wait(child.cast_signed(), 0), Ok((child, 15)));
        }
        assert_eq!(guest.kill((-12345i64).cast_unsigned(), Signal::SIGTERM), Err(Errno::ESRCH));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}
