//! Promises 10 and 11: the end of stubs, and that nothing stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bartizan_platform::{Exit, PlatformError};

use crate::code;
use crate::environment::{Environment, run, run_to_call};

/// Set for the test program that is to be killed.
const VICTIM: &str = "BARTIZAN_CONFORMANCE_VICTIM";

/// All processes whose parent is this one.
pub fn children() -> BTreeSet<u32> {
    descendants_of(std::process::id())
}

fn descendants_of(parent: u32) -> BTreeSet<u32> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the platform runs guest code in processes of its own: what is none cannot be killed.
fn has_processes() -> bool {
    !children().is_empty()
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Processes, descriptors and threads of this process.
fn belongings() -> (BTreeSet<u32>, usize, usize) {
    (children(), count("/proc/self/fd"), count("/proc/self/task"))
}

/// Fails unless all that came after `before` goes away. A thread that was joined is listed a moment longer.
#[track_caller]
fn assert_back_to(before: &(BTreeSet<u32>, usize, usize)) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while belongings() != *before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(belongings(), *before);
}

fn kill_children() {
    for child in children() {
        let _gone = Command::new("/bin/kill").args(["-KILL", &child.to_string()]).status();
    }
}

pub fn a_killed_stub_is_an_error(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    run_to_call(&mut *context, &space, &mut registers);
    if !has_processes() {
        return;
    }
    kill_children();
    for _ in 0..3 {
        let result = context.switch(&space.space, &mut registers);
        assert!(matches!(result, Err(PlatformError::Died { .. })), "{result:?}");
    }
    let page = space.page(bartizan_platform::Access::READ);
    space.space.unmap(page.range()).unwrap();
    // Nothing runs there, so nothing can reach what was unmapped.
    space.space.flush(Some(&mut *context)).unwrap();
    assert!(context.save_fpu().is_ok());
    context.leave(&space.space);
    // The seed is dead too.
    assert!(environment.platform.new_address_space().is_err());
}

pub fn a_killed_running_stub_is_an_error(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::spin());
    if !has_processes() {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            kill_children();
        });
        let result = context.switch(&space.space, &mut registers);
        assert!(matches!(result, Err(PlatformError::Died { .. })), "{result:?}");
    });
}

pub fn nothing_stays_behind(environment: &Environment) {
    // The environment's own platform is there all the time.
    let before = belongings();
    for _ in 0..20 {
        let other = Environment::new(environment.constructor).unwrap();
        let space = other.space();
        let mut context = other.context();
        let mut registers = space.program(code::system_calls());
        run_to_call(&mut *context, &space, &mut registers);
        let second = other.space();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut context = other.context();
                run_to_call(&mut *context, &space, &mut space.program(code::system_calls()));
                run_to_call(&mut *context, &second, &mut second.program(code::system_calls()));
                context.leave(&second.space);
            });
        });
        drop(space);
    }
    assert_back_to(&before);
}

pub fn many_platforms_side_by_side(environment: &Environment) {
    let before = belongings();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let other = Environment::new(environment.constructor).unwrap();
                let space = other.space();
                let mut context = other.context();
                let mut registers = space.program(code::system_calls());
                for _ in 0..100 {
                    run_to_call(&mut *context, &space, &mut registers);
                }
            });
        }
    });
    assert_back_to(&before);
}

pub fn many_contexts_come_and_go(environment: &Environment) {
    let space = environment.space();
    let program = space.program(code::system_calls());
    for _ in 0..10 {
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut context = environment.context();
                    let own = environment.space();
                    for _ in 0..10 {
                        run_to_call(&mut *context, &space, &mut { program });
                    }
                    let mut registers = own.program(code::spin());
                    context.interrupter().interrupt();
                    assert_eq!(run(&mut *context, &own, &mut registers), Exit::Interrupted);
                });
            }
        });
    }
}

/// Starts this very test in a process of its own, where it makes stubs and tells of them, then kills that process.
pub fn all_processes_die_with_the_host(environment: &Environment) {
    if std::env::var_os(VICTIM).is_some() {
        be_the_victim(environment);
    }
    if !has_processes() {
        return;
    }
    let test = thread::current().name().expect("the harness names its threads").to_owned();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let stubs = loop {
        let stubs = descendants_of(victim.id());
        // The seed, the stub of the spinning guest and that of the resting one.
        if stubs.len() >= 3 {
            break stubs;
        }
        assert!(Instant::now() < deadline, "the victim made no stubs");
        thread::sleep(Duration::from_millis(10));
    };
    thread::sleep(Duration::from_millis(100));
    victim.kill().unwrap();
    victim.wait().unwrap();
    while stubs.iter().any(|stub| is_alive(*stub)) {
        assert!(Instant::now() < deadline, "{stubs:?} survived");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains("bartizan") && !stat.contains(") Z "))
}

fn be_the_victim(environment: &Environment) -> ! {
    let resting = environment.space();
    run_to_call(&mut *environment.context(), &resting, &mut resting.program(code::system_calls()));
    let spinning = environment.space();
    let mut context = environment.context();
    let mut registers = spinning.program(code::spin());
    loop {
        run(&mut *context, &spinning, &mut registers);
    }
}
