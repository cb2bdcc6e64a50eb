//! Promises 1, 2, 5 and 6: contexts and address spaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bartizan_platform::memory::{PAGE_SIZE, zero};
use bartizan_platform::{Access, BackingFile, Exit, Fault, Populate, Registers};

use crate::code;
use crate::environment::{Environment, READ_EXECUTE, READ_WRITE, run, run_to_call};

pub fn two_contexts_share_an_address_space(environment: &Environment) {
    let space = environment.space();
    let page = space.page(READ_WRITE);
    let (store, load) = (space.program(code::store()), space.program(code::load()));
    let mut context = environment.context();
    run_to_call(&mut *context, &space, &mut Registers { rdi: page.address, rsi: 11, ..store });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut context = environment.context();
                for _ in 0..100 {
                    let mut registers = Registers { rdi: page.address, ..load };
                    run_to_call(&mut *context, &space, &mut registers);
                    assert_eq!(registers.rsi, 11);
                }
            });
        }
    });
    run_to_call(&mut *context, &space, &mut Registers { rdi: page.address, rsi: 12, ..store });
    assert_eq!(space.word(&page), 12);
}

pub fn operations_take_effect_in_order(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let (first, mut second) = (space.piece(4 * PAGE_SIZE), space.piece(4 * PAGE_SIZE));
    second.address = first.address;
    space.put(&first, &1_u64.to_le_bytes());
    space.put(&second, &2_u64.to_le_bytes());
    let load = Registers { rdi: first.address, ..space.program(code::load()) };
    let mut look = || {
        let mut registers = load;
        match run(&mut *context, &space, &mut registers) {
            Exit::Syscall => Some(registers.rsi),
            Exit::Fault(_) => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(look(), None);
    space.map(&first, Access::READ);
    assert_eq!(look(), Some(1));
    space.map(&second, Access::READ);
    space.space.unmap(first.address + PAGE_SIZE..first.range().end).unwrap();
    assert_eq!(look(), Some(2));
    space.space.unmap(first.range()).unwrap();
    space.map(&first, Access::READ);
    space.space.unmap(first.address..first.address + PAGE_SIZE).unwrap();
    assert_eq!(look(), None);
    space.map(&second, READ_EXECUTE);
    space.space.protect(second.range(), READ_WRITE).unwrap();
    space.space.unmap(first.address + 2 * PAGE_SIZE..first.range().end).unwrap();
    space.space.unmap(first.range().end..first.range().end + 8 * PAGE_SIZE).unwrap();
    assert_eq!(look(), Some(2));
}

/// Runs a guest that touches `page` all the time until it faults; returns the fault. Calls `act` meanwhile.
fn while_running(
    environment: &Environment,
    code: &'static [u8],
    act: impl FnOnce(&crate::environment::Space, &crate::environment::Piece) + Send,
) -> Fault {
    let space = environment.space();
    let page = space.page(READ_WRITE);
    let program = Registers { rdi: page.address, ..space.program(code) };
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut context = environment.context();
            let mut registers = program;
            // One exit to be sure that it is running.
            context.interrupter().interrupt();
            assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
            started.store(true, Ordering::Release);
            match run(&mut *context, &space, &mut registers) {
                Exit::Fault(fault) => fault,
                other => panic!("{other:?}"),
            }
        });
        while !started.load(Ordering::Acquire) {
            thread::yield_now();
        }
        thread::sleep(std::time::Duration::from_millis(5));
        act(&space, &page);
        guest.join().unwrap()
    })
}

pub fn unmapping_is_confirmed_while_others_run(environment: &Environment) {
    for _ in 0..20 {
        let fault = while_running(environment, code::store_spin(), |space, page| {
            space.space.unmap(page.range()).unwrap();
            space.space.flush(None).unwrap();
            // From here on nobody writes to it.
            let view = space.memory.view(page.offset, 8).unwrap();
            zero(&view);
            thread::sleep(std::time::Duration::from_millis(1));
            assert_eq!(space.word(page), 0);
        });
        assert_eq!(fault.access & Access::EXECUTE, Access::empty());
    }
}

pub fn protecting_is_confirmed_while_others_run(environment: &Environment) {
    let fault = while_running(environment, code::store_spin(), |space, page| {
        // By a context of the caller's own, which has never been there.
        let mut context = environment.context();
        space.space.protect(page.range(), Access::READ).unwrap();
        space.space.flush(Some(&mut *context)).unwrap();
        let now = space.word(page);
        thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(space.word(page), now);
    });
    assert_eq!(fault.access, Access::WRITE);
}

struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub fn retired_objects_wait_for_what_was_queued(environment: &Environment) {
    let dropped = Arc::new(AtomicBool::new(false));
    while_running(environment, code::load_spin(), |space, page| {
        space.space.unmap(page.range()).unwrap();
        space.space.retire(Box::new(Flag(Arc::clone(&dropped))));
        assert!(!dropped.load(Ordering::SeqCst), "the guest still runs with the mapping");
        space.space.flush(None).unwrap();
        assert!(dropped.load(Ordering::SeqCst));
    });
    // A switch does it too.
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    run_to_call(&mut *context, &space, &mut registers);
    let page = space.page(Access::READ);
    space.space.unmap(page.range()).unwrap();
    let dropped = Arc::new(AtomicBool::new(false));
    space.space.retire(Box::new(Flag(Arc::clone(&dropped))));
    run_to_call(&mut *context, &space, &mut registers);
    assert!(dropped.load(Ordering::SeqCst));
}

pub fn wrong_ranges_are_refused(environment: &Environment) {
    let space = environment.space();
    let user = environment.platform.user_addresses();
    let good = space.page(READ_WRITE);
    let wrong = [
        0..PAGE_SIZE,
        user.start - PAGE_SIZE..user.start + PAGE_SIZE,
        user.end - PAGE_SIZE..user.end + PAGE_SIZE,
        user.end..user.end + PAGE_SIZE,
        good.address..good.address,
        good.address + PAGE_SIZE..good.address,
        good.address + 1..good.address + PAGE_SIZE,
        good.address..good.address + 5,
        0..u64::MAX,
        u64::MAX - PAGE_SIZE..u64::MAX,
    ];
    for range in wrong {
        assert!(space.space.unmap(range.clone()).is_err(), "{range:x?}");
        assert!(space.space.protect(range.clone(), Access::READ).is_err());
        let mut mapping = space.mapping(&good, Access::READ);
        mapping.range = range;
        assert!(space.space.map(mapping).is_err());
    }
    let mut mapping = space.mapping(&good, Access::READ);
    mapping.offset = 100;
    assert!(space.space.map(mapping).is_err());
    run_to_call(&mut *environment.context(), &space, &mut space.program(code::system_calls()));
}

pub fn many_mappings_at_once(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let pieces: Vec<_> = (0..501).map(|_| space.piece(PAGE_SIZE)).collect();
    for (value, piece) in (1_u64..).zip(&pieces) {
        space.put(piece, &value.to_le_bytes());
        space.map(piece, Access::READ);
    }
    let load = space.program(code::load());
    for (value, piece) in (1_u64..).zip(&pieces) {
        let mut registers = Registers { rdi: piece.address, ..load };
        run_to_call(&mut *context, &space, &mut registers);
        assert_eq!(registers.rsi, value);
    }
}

pub fn populated_mappings_hold_data(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let piece = space.piece(2 << 20);
    space.put(&piece, &5_u64.to_le_bytes());
    let mut mapping = space.mapping(&piece, READ_WRITE);
    mapping.populate = Populate::Now;
    space.space.map(mapping).unwrap();
    let mut registers = Registers { rdi: piece.address, ..space.program(code::load()) };
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!(registers.rsi, 5);
    // The other way round: a populated page that the sentry has not seen yet.
    let last = piece.range().end - 8;
    run_to_call(&mut *context, &space, &mut Registers { rdi: last, rsi: 6, ..space.program(code::store()) });
    let last = crate::environment::Piece { offset: piece.offset + piece.length - 8, ..piece };
    assert_eq!(space.word(&last), 6);
}

pub fn a_refused_operation_stops_the_guest(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    run_to_call(&mut *context, &space, &mut registers);
    // A page that is not mapped cannot be protected.
    let hole = space.place(PAGE_SIZE);
    space.space.protect(hole..hole + PAGE_SIZE, Access::READ).unwrap();
    for _ in 0..3 {
        assert!(context.switch(&space.space, &mut registers).is_err(), "guest code must not run past it");
    }
    space.space.unmap(hole..hole + PAGE_SIZE).unwrap();
    run_to_call(&mut *context, &space, &mut registers);
}

pub fn an_interrupt_finds_the_right_address_space(environment: &Environment) {
    let (first, second) = (environment.space(), environment.space());
    let mut context = environment.context();
    run_to_call(&mut *context, &first, &mut first.program(code::system_calls()));
    run_to_call(&mut *context, &second, &mut second.program(code::system_calls()));
    // The second stays in use; what is kept for the first is given up.
    context.leave(&first.space);
    let interrupter = context.interrupter();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(std::time::Duration::from_millis(10));
            interrupter.interrupt();
        });
        let mut registers = second.program(code::spin());
        assert_eq!(run(&mut *context, &second, &mut registers), Exit::Interrupted);
    });
}

pub fn a_context_moves_between_address_spaces(environment: &Environment) {
    let vectors = std::is_x86_feature_detected!("avx2");
    let mut context = environment.context();
    let mut old = environment.space();
    if vectors {
        let mut registers = Registers { rsi: 5, ..old.program(code::set_vector()) };
        run_to_call(&mut *context, &old, &mut registers);
    }
    for round in 0..10 {
        let new = environment.space();
        if vectors {
            let mut registers = new.program(code::get_vector());
            run_to_call(&mut *context, &new, &mut registers);
            assert_eq!(registers.rbx, 15, "vector state goes along");
        }
        if round % 2 == 0 {
            context.leave(&old.space);
        }
        // And back, as long as the old one is there.
        run_to_call(&mut *context, &old, &mut old.program(code::system_calls()));
        run_to_call(&mut *context, &new, &mut new.program(code::system_calls()));
        old = new;
    }
}
