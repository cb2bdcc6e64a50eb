//! A statically linked program with eight threads that pass numbers on through channels.

use std::collections::BTreeMap;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 8;
const ITEMS: u64 = 20_000;

fn main() {
    fan_in();
    pipeline();
    shared_state();
    scoped_sort();
    timeouts();
    panics();
}

/// Eight producers, one consumer.
fn fan_in() {
    let (sender, receiver) = channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let sender = sender.clone();
            thread::spawn(move || {
                for item in 0..ITEMS {
                    sender.send((thread, item)).expect("the receiver lives");
                }
            })
        })
        .collect();
    drop(sender);
    let mut sums = BTreeMap::new();
    let mut in_order = true;
    let mut last = BTreeMap::new();
    for (thread, item) in receiver {
        *sums.entry(thread).or_insert(0_u64) += item;
        in_order &= last.insert(thread, item).is_none_or(|before| before + 1 == item);
    }
    for thread in threads {
        thread.join().expect("a producer ends well");
    }
    println!("fan in: {sums:?}, in order: {in_order}");
}

/// Eight threads in a row, each with a bounded channel to the next.
fn pipeline() {
    let (first, mut receiver) = sync_channel::<u64>(4);
    let mut threads = Vec::new();
    for step in 0..THREADS {
        let (sender, next) = sync_channel(4);
        let input = std::mem::replace(&mut receiver, next);
        threads.push(thread::spawn(move || {
            for value in input {
                if sender.send(value * 3 % 1_000_003 + step).is_err() {
                    break;
                }
            }
        }));
    }
    let feeder = thread::spawn(move || (0..2000).try_for_each(|value| first.send(value)).is_ok());
    let sum: u64 = receiver.iter().sum();
    println!("pipeline: {sum}, fed: {:?}", feeder.join().ok());
    let ended = threads.into_iter().map(thread::JoinHandle::join).filter(Result::is_ok).count();
    println!("pipeline threads: {ended}");
}

fn shared_state() {
    let state = Arc::new((Mutex::new(0_u64), Condvar::new(), RwLock::new(Vec::new()), Barrier::new(THREADS as usize)));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let (turn, changed, log, barrier) = &*state;
                barrier.wait();
                for round in 0..50 {
                    let mut now = turn.lock().expect("not poisoned");
                    while *now % THREADS != number {
                        now = changed.wait(now).expect("not poisoned");
                    }
                    log.write().expect("not poisoned").push((round, number));
                    *now += 1;
                    changed.notify_all();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread ends well");
    }
    let log = state.2.read().expect("not poisoned");
    let sorted = log.is_sorted();
    println!("turns: {}, sorted: {sorted}", log.len());
}

fn scoped_sort() {
    let mut values: Vec<u64> = (0..200_000).map(|value: u64| value.wrapping_mul(6_364_136_223_846_793_005) >> 20).collect();
    thread::scope(|scope| {
        for part in values.chunks_mut(25_000) {
            scope.spawn(|| part.sort_unstable());
        }
    });
    let sorted = values.chunks(25_000).filter(|part| part.is_sorted()).count();
    println!("sorted parts: {sorted}");
}

fn timeouts() {
    let (sender, receiver) = channel::<()>();
    let start = Instant::now();
    let result = receiver.recv_timeout(Duration::from_millis(20));
    println!("timeout: {result:?}, not early: {}", start.elapsed() >= Duration::from_millis(20));
    drop(sender);
    println!("closed: {:?}", receiver.recv());
    thread::park_timeout(Duration::from_millis(1));
}

fn panics() {
    std::panic::set_hook(Box::new(|_| {}));
    let result = thread::spawn(|| {
        let empty: Vec<u8> = Vec::new();
        empty[std::hint::black_box(3)]
    });
    println!("panic is caught: {}", result.join().is_err());
}
