//! Delivery of signals: handlers, masks, restarts, who takes what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bartizan_abi::signal::{SIG_DFL, SigAction, SigCode, SigInfo, Signal};
use bartizan_abi::{Errno, Sysno};
use bartizan_platform::Trap;

use crate::kernel::ProcessEnd;
use crate::kernel::testing::{Guest, World, handler_address};

const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SIG_BLOCK: u64 = 0;
const SIG_SETMASK: u64 = 2;

fn bit(signal: Signal) -> u64 {
    1 << signal.index()
}

fn set_mask(guest: &Guest, how: u64, mask: u64) {
    let mask = guest.put(0xd00, &mask);
    guest.must(Sysno::rt_sigprocmask, [how, mask, 0, 8, 0, 0]);
}

/// A handler that counts.
fn counter() -> (Arc<AtomicU32>, impl Fn(&Guest, SigInfo) + Clone + use<>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    (count, move |_: &Guest, _: SigInfo| {
        counted.fetch_add(1, Ordering::Relaxed);
    })
}

fn tell_self(guest: &Guest, signal: Signal) {
    let pid = guest.must(Sysno::getpid, [0; 6]);
    guest.kill(pid, signal).expect("oneself can be signalled");
}

#[test]
fn handler_runs_once_and_registers_come_back() {
    let end = World::run(|guest| {
        let (count, handler) = counter();
        guest.handle(Signal::SIGUSR1, 0, handler);
        let before = guest.registers();
        tell_self(guest, Signal::SIGUSR1);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        let after = guest.registers();
        assert_eq!((before.rsp, before.rbx, before.eflags), (after.rsp, after.rbx, after.eflags));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn handler_is_told_who_sent_the_signal() {
    let end = World::run(|guest| {
        let pid = guest.must(Sysno::getpid, [0; 6]);
        guest.handle(Signal::SIGUSR1, 4, move |handler, info| {
            assert_eq!(info.signal(), Some(Signal::SIGUSR1));
            assert_eq!(info.code(), SigCode::SI_USER);
            assert_eq!(u64::try_from(info.pid()), Ok(pid));
            // Its own signal is blocked meanwhile.
            let set = handler.put(0xd00, &0u64);
            handler.must(Sysno::rt_sigprocmask, [SIG_BLOCK, 0, set, 8, 0, 0]);
            assert_eq!(handler.load::<u64>(set), bit(Signal::SIGUSR1));
        });
        tell_self(guest, Signal::SIGUSR1);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn lowest_numbers_come_first_and_nested_handlers_unwind() {
    let end = World::run(|guest| {
        let order = Arc::new(AtomicU32::new(0));
        for (signal, digit) in [(Signal::SIGHUP, 1), (Signal::SIGUSR1, 2), (Signal::SIGTERM, 3)] {
            let order = Arc::clone(&order);
            guest.handle(signal, 0, move |_, _| {
                let so_far = order.load(Ordering::Relaxed);
                order.store(so_far * 10 + digit, Ordering::Relaxed);
            });
        }
        let all = bit(Signal::SIGHUP) | bit(Signal::SIGUSR1) | bit(Signal::SIGTERM);
        set_mask(guest, SIG_SETMASK, all);
        for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGHUP, Signal::SIGUSR1] {
            tell_self(guest, signal);
        }
        assert_eq!(order.load(Ordering::Relaxed), 0);
        set_mask(guest, SIG_SETMASK, 0);
        // The frames are pushed lowest number first, so that the highest runs first.
        assert_eq!(order.load(Ordering::Relaxed), 321);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn one_shot_handlers_and_those_that_may_nest() {
    let end = World::run(|guest| {
        let (count, handler) = counter();
        guest.handle(Signal::SIGUSR1, SA_RESETHAND, handler);
        tell_self(guest, Signal::SIGUSR1);
        let old = guest.put(0xc00, &SigAction::default());
        guest.must(Sysno::rt_sigaction, [10, 0, old, 8, 0, 0]);
        assert_eq!(guest.load::<SigAction>(old).handler, SIG_DFL);
        assert_eq!(count.load(Ordering::Relaxed), 1);

        let depth = AtomicU32::new(0);
        guest.handle(Signal::SIGUSR2, SA_NODEFER, move |handler, _| {
            if depth.fetch_add(1, Ordering::Relaxed) < 2 {
                tell_self(handler, Signal::SIGUSR2);
            } else {
                assert_eq!(depth.load(Ordering::Relaxed), 3);
            }
        });
        tell_self(guest, Signal::SIGUSR2);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

/// Has a child of `guest` send it SIGUSR1 again and again until it says that it was told.
fn poke(guest: &Guest, result: impl FnOnce(&Guest) -> Result<u64, Errno>) -> Result<u64, Errno> {
    let parent = guest.must(Sysno::getpid, [0; 6]);
    let child = guest.fork(move |child| {
        child.must(Sysno::nanosleep, [child.put(0, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
        child.kill(parent, Signal::SIGUSR1).expect("the parent is there");
        child.must(Sysno::nanosleep, [child.put(0, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
        child.exit(1)
    });
    let result = result(guest);
    let _already = guest.wait(child.cast_signed(), 0);
    result
}

#[test]
fn interrupted_wait_is_restarted_only_if_asked() {
    let end = World::run(|guest| {
        let (count, handler) = counter();
        guest.handle(Signal::SIGUSR1, 0, handler.clone());
        let wait = |guest: &Guest| guest.wait(-1, 0).map(|(_, status)| u64::from(status.cast_unsigned()));
        assert_eq!(poke(guest, wait), Err(Errno::EINTR));
        guest.handle(Signal::SIGUSR1, SA_RESTART, handler);
        assert_eq!(poke(guest, wait), Ok(1 << 8));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn pause_is_never_restarted_and_sleep_goes_on_without_a_handler() {
    let end = World::run(|guest| {
        let (_, handler) = counter();
        guest.handle(Signal::SIGUSR1, SA_RESTART, handler);
        let pause = |guest: &Guest| guest.call(Sysno::pause, [0; 6]);
        assert_eq!(poke(guest, pause), Err(Errno::EINTR));
        let own = guest.must(Sysno::getpid, [0; 6]);
        let child = guest.fork(move |child| {
            child.kill(own, Signal::SIGSTOP).expect("the parent is there");
            child.must(Sysno::nanosleep, [child.put(0, &[0u64, 10_000_000]), 0, 0, 0, 0, 0]);
            child.kill(own, Signal::SIGCONT).expect("the parent is there");
        });
        guest.must(Sysno::nanosleep, [guest.put(0, &[0u64, 60_000_000]), 0, 0, 0, 0, 0]);
        assert_eq!(guest.wait(-1, 0), Ok((child, 0)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn suspended_mask_comes_back() {
    let end = World::run(|guest| {
        let (count, handler) = counter();
        guest.handle(Signal::SIGUSR1, 0, handler.clone());
        guest.handle(Signal::SIGUSR2, 0, handler);
        set_mask(guest, SIG_SETMASK, bit(Signal::SIGUSR1));
        tell_self(guest, Signal::SIGUSR1);
        // Blocked by the temporary mask, but not by the one that comes back.
        let temporary = guest.put(0xc00, &bit(Signal::SIGUSR2));
        let suspended = guest.call(Sysno::rt_sigsuspend, [temporary, 8, 0, 0, 0, 0]);
        assert_eq!(suspended, Err(Errno::EINTR));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tell_self(guest, Signal::SIGUSR2);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn signal_that_the_temporary_mask_held_back_is_not_forgotten() {
    let end = World::run(|guest| {
        let (count, handler) = counter();
        guest.handle(Signal::SIGUSR1, 0, handler.clone());
        let parent = guest.must(Sysno::getpid, [0; 6]);
        let child = guest.fork(move |child| {
            child.must(Sysno::nanosleep, [child.put(0, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
            child.kill(parent, Signal::SIGUSR1).expect("the parent is there");
        });
        let temporary = guest.put(0xc00, &bit(Signal::SIGUSR1));
        let time = guest.put(0xc10, &[0u64, 60_000_000]);
        let set = guest.put(0xc20, &[temporary, 8]);
        assert_eq!(guest.call(Sysno::pselect6, [0, 0, 0, 0, time, set]), Ok(0));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(guest.wait(-1, 0), Ok((child, 0)));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn realtime_signals_queue_with_their_values() {
    let end = World::run(|guest| {
        let signal = Signal::from_raw(40).expect("40 is a signal");
        set_mask(guest, SIG_SETMASK, bit(signal));
        let pid = guest.must(Sysno::getpid, [0; 6]);
        for value in [7u64, 8] {
            let mut info = SigInfo::kill(signal, SigCode::SI_QUEUE, 1, 2);
            info.si_errno = i32::try_from(value).expect("a small number");
            let info = guest.put(0xc00, &info);
            guest.must(Sysno::rt_sigqueueinfo, [pid, 40, info, 0, 0, 0]);
        }
        let set = guest.put(0xd00, &bit(signal));
        let info = guest.put(0xc00, &[0u8; 128]);
        for value in [7, 8] {
            assert_eq!(guest.must(Sysno::rt_sigtimedwait, [set, info, 0, 8, 0, 0]), 40);
            assert_eq!(guest.load::<i32>(info + 4), value);
        }
        let zero = guest.put(0xe80, &[0u64, 0]);
        let nothing = guest.call(Sysno::rt_sigtimedwait, [set, info, zero, 8, 0, 0]);
        assert_eq!(nothing, Err(Errno::EAGAIN));
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn blocked_exception_takes_its_default_action() {
    let trap = Trap { signal: 4, code: 2, address: 0x40_0000 };
    let end = World::run(move |guest| {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        guest.handle(Signal::SIGILL, 4, move |_, info| {
            assert_eq!(info.signal(), Some(Signal::SIGILL));
            counted.fetch_add(1, Ordering::Relaxed);
        });
        guest.trap(trap);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        set_mask(guest, SIG_SETMASK, bit(Signal::SIGILL));
        guest.trap(trap);
    });
    assert_eq!(end, ProcessEnd::Signaled(4));
}

#[test]
fn blocking_a_signal_hands_it_to_another_thread() {
    let end = World::run(|guest| {
        let word = guest.put(0, &0u32);
        set_mask(guest, SIG_SETMASK, bit(Signal::SIGUSR1));
        // The thread inherits the mask, and the actions.
        let pid = guest.must(Sysno::getpid, [0; 6]);
        guest.thread(move |thread| {
            thread.handle(Signal::SIGUSR1, 0, move |handler, _| handler.store(word, &1u32));
            set_mask(thread, SIG_SETMASK, 0);
            let _handled = thread.call(Sysno::pause, [0; 6]);
            thread.must(Sysno::exit, [0; 6]);
        });
        guest.must(Sysno::nanosleep, [guest.put(0x10, &[0u64, 20_000_000]), 0, 0, 0, 0, 0]);
        guest.kill(pid, Signal::SIGUSR1).expect("oneself can be signalled");
        while guest.load::<u32>(word) == 0 {
            guest.must(Sysno::sched_yield, [0; 6]);
        }
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}

#[test]
fn init_takes_no_signal_that_it_does_not_handle() {
    let world = World::new();
    let mut init = world.start(|guest| {
        for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGSTOP] {
            guest.kill(1, signal).expect("init is there");
        }
        let child = guest.fork(|child| {
            child.kill(1, Signal::SIGKILL).expect("init is there");
        });
        assert_eq!(guest.wait(-1, 0), Ok((child, 0)));
        set_mask(guest, SIG_SETMASK, bit(Signal::SIGTERM));
        guest.kill(1, Signal::SIGTERM).expect("init is there");
        set_mask(guest, SIG_SETMASK, 0);
        let (count, handler) = counter();
        guest.handle(Signal::SIGTERM, 0, handler);
        guest.kill(1, Signal::SIGTERM).expect("init is there");
        assert_eq!(count.load(Ordering::Relaxed), 1);
        guest.exit(5)
    });
    assert_eq!(world.end_of(&mut init), ProcessEnd::Exited(5));
    world.finish();
}

#[test]
fn host_can_end_init() {
    let world = World::new();
    let mut init = world.start(|guest| {
        let _killed = guest.call(Sysno::pause, [0; 6]);
    });
    init.signal(9);
    assert_eq!(world.end_of(&mut init), ProcessEnd::Signaled(9));
    world.finish();
}

#[test]
fn frame_that_cannot_be_is_a_fault() {
    let end = World::run(|guest| {
        guest.handle(Signal::SIGUSR1, 0, |handler, _| {
            // Far from any frame: the stack pointer comes from the caller.
            let _killed = handler.call(Sysno::munmap, [handler.scratch(), 0x1_0000, 0, 0, 0, 0]);
        });
        tell_self(guest, Signal::SIGUSR1);
    });
    assert_eq!(end, ProcessEnd::Signaled(11));
}

#[test]
fn handler_without_a_way_back_is_a_fault() {
    let end = World::run(|guest| {
        let handler = handler_address(Signal::SIGUSR1);
        guest.act(Signal::SIGUSR1, SigAction { handler, ..SigAction::default() });
        tell_self(guest, Signal::SIGUSR1);
    });
    assert_eq!(end, ProcessEnd::Signaled(11));
}

#[test]
fn alternate_stack_is_used_and_told() {
    const SA_ONSTACK: u64 = 0x0800_0000;
    let end = World::run(|guest| {
        let place = guest.must(Sysno::mmap, [0, 0x1_0000, 3, 0x22, u64::MAX, 0]);
        let stack = guest.put(0xc00, &[place, 0, 0x1_0000]);
        guest.must(Sysno::sigaltstack, [stack, 0, 0, 0, 0, 0]);
        let old = guest.put(0xc80, &[0u64; 3]);
        guest.handle(Signal::SIGUSR1, SA_ONSTACK, move |handler, _| {
            let rsp = handler.registers().rsp;
            assert!((place..place + 0x1_0000).contains(&rsp));
            handler.must(Sysno::sigaltstack, [0, old, 0, 0, 0, 0]);
            assert_eq!(handler.load::<[u64; 3]>(old), [place, 1, 0x1_0000]);
            assert_eq!(handler.call(Sysno::sigaltstack, [stack, 0, 0, 0, 0, 0]), Err(Errno::EPERM));
        });
        tell_self(guest, Signal::SIGUSR1);
        guest.must(Sysno::sigaltstack, [0, old, 0, 0, 0, 0]);
        assert_eq!(guest.load::<[u64; 3]>(old), [place, 0, 0x1_0000]);
    });
    assert_eq!(end, ProcessEnd::Exited(0));
}
