//! Locks whose waiters look inside a section, in the simulator: the section ends as the kernel
//! would end it, one thread at a time has the lock, and threads without a CPU do not ruin it.
//!
//! Simulated time is the model's: these comparisons do not depend on how busy the machine is.

use sim::Shape;
use sim::locks::make;
use sim::workload::{Outcome, Setting, simulate};
use sim_machine::atomic::{AtomicU32, AtomicU64, Ordering};
use sim_machine::{Costs, Report, compute, run, thread};
use std::cell::Cell;
use stillpoint::rseq::wait::{HELD, Watched, watch, watch_counting};

const BOTH: [&str; 2] = ["mutex", "spin"];

fn now() -> u64 {
    thread().map_or(0, |(_, now)| now)
}

/// Runs threads on so many CPUs of one node.
fn on(cpus: usize, threads: usize, body: impl Fn(usize)) -> Report {
    run(Shape { cpus, nodes: 1, caches_per_node: 1 }, Costs::default(), threads, body)
}

/// The name of a CPU in the word of a lock that is held.
fn held_on(cpu: u32) -> u32 {
    HELD | (cpu + 1) << 3
}

#[test]
fn a_waiter_is_told_what_is_so() {
    let word = AtomicU32::new(0);
    let ended = Cell::new(None);
    let watched = |value: u32| {
        word.real().store(value, Ordering::Relaxed);
        // The CPU is the thread's own: nobody takes it away.
        on(2, 1, |_| ended.set(Some(watch_counting(&word, 5))));
        ended.take()
    };
    assert_eq!(watched(0), Some((Watched::Free, 5)));
    assert_eq!(watched(held_on(0)), Some((Watched::Here, 5)));
    assert_eq!(watched(held_on(1)), Some((Watched::Held, 0)));
    assert_eq!(watched(HELD), Some((Watched::Held, 0)));
    // Nobody is simulated.
    assert_eq!(watch(&word, 5), Watched::Unable);
}

/// Longer than many quanta, if nobody else wants the CPU.
const FOR_LONG: u32 = 1_000;

#[test]
fn a_waiter_that_loses_its_cpu_learns_it() {
    let quantum = Costs::default().quantum;
    for (threads, expected) in [(1, Watched::Held), (2, Watched::Aborted)] {
        let word = AtomicU32::new(held_on(1));
        let ended = Cell::new(None);
        // Both are on the one CPU.
        let report = on(1, threads, |number| {
            if number == 0 {
                ended.set(Some((watch(&word, FOR_LONG), now())));
            } else {
                compute(quantum / 2);
            }
        });
        let (watched, at) = ended.take().expect("it watched");
        assert_eq!(watched, expected);
        if threads == 2 {
            // It runs again when the other one is done, and then does not go on pausing.
            assert!((quantum..2 * quantum).contains(&at), "at {at}");
            assert_eq!(report.preemptions, 1);
        } else {
            assert!(at > 10 * quantum, "at {at}");
        }
    }
}

#[test]
fn a_broadcast_ends_a_wait_elsewhere() {
    let word = AtomicU32::new(held_on(2));
    let seen = [const { Cell::new(None) }; 2];
    let report = on(2, 2, |number| {
        if number == 0 {
            seen[0].set(Some((watch(&word, FOR_LONG), now())));
            // What is no section goes on, later.
            let before = now();
            compute(1_000_000);
            seen[1].set(Some((Watched::Held, now() - before)));
        } else {
            compute(10_000);
            sim_machine::broadcast();
            sim_machine::broadcast();
        }
    });
    let [first, second] = seen.map(|cell| cell.take().expect("it did"));
    assert_eq!(first.0, Watched::Aborted);
    assert!((10_000..20_000).contains(&first.1), "at {}", first.1);
    assert_eq!(second.1, 1_000_000 + Costs::default().interrupt);
    assert_eq!(report.broadcasts, 2);
}

/// Threads that add to a number by a load and a store, with a quantum so short that many are
/// preempted while they hold the lock, or wait for it. Before, one of them takes it so often that it
/// is given up by a store, which the others end by a broadcast.
fn count(name: &str, threads: usize, quantum: u64) -> Report {
    const TURNS: u64 = 200;
    const QUIET: u64 = 1_500;
    let lock = make(name, threads, 2).expect("there is such a lock");
    let value = AtomicU64::new(0);
    let inside = Cell::new(false);
    let add = |number: usize| {
        lock.acquire(number);
        assert!(!inside.replace(true), "two threads have {name}");
        let before = value.load(Ordering::Relaxed);
        compute(50 + (before * 37) % 400);
        value.store(before + 1, Ordering::Relaxed);
        assert!(inside.replace(false), "two threads had {name}");
        lock.release(number);
    };
    let is_used = Cell::new(false);
    let costs = Costs { quantum, ..Costs::default() };
    let shape = Shape { cpus: 8, nodes: 2, caches_per_node: 1 };
    let report = run(shape, costs, threads, |number| {
        if number == 0 {
            (0..QUIET).for_each(|_| add(number));
            is_used.set(true);
        }
        while !is_used.get() {
            compute(20_000);
        }
        for turn in 0..TURNS {
            add(number);
            compute((turn * 61 + number as u64 * 97) % 900);
        }
    });
    assert_eq!(value.into_inner(), QUIET + threads as u64 * TURNS, "{name}: sections were lost");
    report
}

#[test]
fn one_thread_at_a_time_has_the_lock() {
    for lock in BOTH {
        let (alone, crowded) = (count(lock, 8, 2_800_000), count(lock, 40, 15_000));
        // With a CPU for each, nobody has to park for `SpinLock`.
        assert_eq!(alone.parks > 0, lock == "mutex", "{lock}: {alone:?}");
        assert_eq!(alone.broadcasts > 0, lock == "mutex", "{lock}: {alone:?}");
        assert!(crowded.broadcasts > 0 && crowded.preemptions > 100, "{lock}: {crowded:?}");
        assert!(crowded.parks > 0, "{lock}: {crowded:?}");
        assert_eq!(crowded, count(lock, 40, 15_000), "{lock} is not the same again");
    }
}

/// One node of 16 CPUs.
fn contended(lock: &str, threads: usize, millis: u64, seed: u64) -> Outcome {
    let setting = Setting {
        shape: Shape { cpus: 16, nodes: 1, caches_per_node: 1 },
        threads,
        nanos: millis * 1_000_000,
        seed,
        ..Setting::default()
    };
    simulate(lock, &setting).expect("there is such a lock")
}

/// Four threads for each CPU. Those who spin, or queue in order, wait for threads without a CPU for
/// whole quanta; ours keep what they have with a thread for each CPU.
#[test]
fn more_threads_than_cpus_do_not_ruin_it() {
    for seed in 1..=2 {
        let kept = |lock| {
            let [few, many] = [16, 64].map(|threads| contended(lock, threads, 20, seed).per_micro);
            (many / few, many)
        };
        let (others, ours) = (["tas", "ticket", "mcs"].map(kept), BOTH.map(kept));
        for (kept, _) in others {
            assert!(kept < 0.4, "should have collapsed: {others:?}");
        }
        let best = others.map(|(_, many)| many).into_iter().fold(0.0, f64::max);
        for (kept, many) in ours {
            assert!(kept > 0.8 && many > 4.0 * best, "mutex, spin: {ours:?}, others: {others:?}");
        }
    }
}

/// The same sections, in the same simulated time, by the same threads.
#[test]
fn the_same_seed_gives_the_same_run() {
    for lock in BOTH {
        let run = |seed| contended(lock, 40, 5, seed);
        assert_eq!(run(1), run(1), "{lock}");
        assert_ne!(run(1), run(2), "{lock}");
    }
}
