//! Work on another CPU's part: what it promises, and a structure that is made of it.

#![cfg(target_os = "linux")]

#[path = "support/remote_stress.rs"]
mod stress;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::percpu::{Counter, Node, Pool, RawPerCpu, Ring, Stack, offline_cpus};
use stillpoint::rseq::{cache, part, stack};
use stress::Numbers;
use stress::crowd::cpus;

fn on_rseq(test: &str) -> bool {
    let tier = stillpoint::machine().tier();
    if tier != Tier::Rseq {
        println!("SKIPPED {test}: tier {tier}");
    }
    tier == Tier::Rseq
}

fn slots() -> usize {
    stillpoint::machine().slots() as usize
}

/// What a CPU keeps is found from any other, and used there.
#[test]
fn a_cpu_s_numbers_are_taken_over() {
    let numbers = Numbers::new();
    let allowed = cpus::allowed();
    let ours: Vec<_> = (0..10).map(|_| numbers.get()).collect();
    assert_eq!(ours.iter().map(|n| n.get()).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cpus::restrict(0, &allowed[..1]);
            ours.into_iter().for_each(|number| numbers.put(number));
        });
    });
    if on_rseq("what a CPU keeps") {
        assert_eq!(numbers.kept(allowed[0]), 10);
    }
    let last = allowed[allowed.len() - 1];
    cpus::restrict(0, &[last]);
    let taken: usize = (0..numbers.free.len()).map(|cpu| numbers.take_back(cpu)).sum();
    assert_eq!(taken, if stillpoint::machine().tier() == Tier::Rseq { 10 } else { 0 });
    assert!((0..10).all(|_| numbers.get().get() <= 10), "there were enough");
}

/// As long as a part is stopped its CPU's sequences are turned away; those of others are not.
#[test]
fn a_stopped_part_is_left_alone() {
    if !on_rseq("a stopped part") {
        return;
    }
    let words = RawPerCpu::new(cache::HEAD + 4);
    let allowed = cpus::allowed();
    let item = 7.try_into().unwrap();
    // SAFETY: an array with this room, and nobody else here stores there.
    let push = || words.attempt(|place| unsafe { cache::push(place, item, 4) }.then_some(()));
    // SAFETY: as above; it is empty.
    let pop = || words.attempt(|place| unsafe { stack::pop(place) }.ok());
    for &cpu in &allowed {
        cpus::restrict(0, &[cpu]);
        assert!(push().is_some());
        let (inside, nested) = words
            .stopped(cpu, |part| {
                assert_eq!(part.word(1).load(Relaxed), 1);
                let nested = words.stopped(cpu, |_| push());
                // Still stopped: the inner one has taken back only its own.
                ((push(), pop().is_some()), nested)
            })
            .unwrap();
        assert_eq!((inside, nested), ((None, false), Some(None)));
        if let Some(&other) = allowed.iter().find(|&&other| other != cpu) {
            words.stopped(other, |_| assert!(push().is_some()));
        } else {
            assert!(push().is_some());
        }
        words.stopped(cpu, |part| assert_eq!(part.word(1).swap(0, Relaxed), 2));
    }
    cpus::restrict(0, &allowed);
}

#[test]
fn a_closed_place_lets_nobody_in() {
    let words = RawPerCpu::new(3);
    // SAFETY: word 2 of each part; nobody else here stores there.
    let add = || words.attempt(|place| unsafe { part::add(place, 16, 1) }.then_some(()));
    let sum = || words.iter().map(|part| part.word(2).load(Relaxed)).sum::<u64>();
    let mut added = (0..100).filter(|_| add().is_some()).count() as u64;
    assert_eq!(words.closed(|_| words.closed(|_| add()).or_else(add)), None);
    added += (0..100).filter(|_| add().is_some()).count() as u64;
    assert_eq!(sum(), added);
    assert_eq!(added, if on_rseq("additions") { 200 } else { 0 });
    words.shared().word(2).fetch_add(5, Relaxed);
    assert_eq!(sum(), added + 5);
}

/// A closure that panics leaves the part in use, the place open.
#[test]
fn panics() {
    let words = RawPerCpu::new(cache::HEAD + 4);
    let stopped = || words.stopped(0, |_| panic!("as told"));
    assert!(catch_unwind(AssertUnwindSafe(stopped)).is_err());
    let each = || words.stopped_each(|_, _| true, |_, _| panic!("as told"));
    assert!(catch_unwind(AssertUnwindSafe(each)).is_err());
    let closed = || words.closed(|_| panic!("as told"));
    assert!(catch_unwind(AssertUnwindSafe(closed)).is_err());
    if on_rseq("use after a panic") {
        // SAFETY: an array with this room, and nobody else here stores there.
        let push = |place: &_| unsafe { cache::push(place, 7.try_into().unwrap(), 4) };
        assert!(words.attempt(|place| push(place).then_some(())).is_some());
    }
}

/// Every part once, with few broadcasts; memory that is used again is 0.
#[test]
fn each_part_is_visited() {
    for round in 1..4 {
        let words = RawPerCpu::new(2);
        let mut seen = vec![];
        words.stopped_each(
            |cpu, _| cpu % 2 == 0,
            |cpu, part| {
                assert_eq!(part.word(1).swap(round, Relaxed), 0);
                seen.push(cpu);
            },
        );
        assert_eq!(seen, (0..words.len()).step_by(2).collect::<Vec<_>>());
        assert_eq!(words.iter().count(), words.len() + 1);
        let sum = words.iter().map(|part| part.word(1).load(Relaxed)).sum::<u64>();
        assert_eq!(sum, round * seen.len() as u64);
    }
}

#[test]
fn words_that_are_not_there() {
    let words = RawPerCpu::new(2);
    assert!(words.get(words.len()).is_none());
    assert_eq!(words.stopped(usize::MAX, |_| ()), None);
    for at in [0, 2, usize::MAX] {
        assert!(catch_unwind(|| words.shared().word(at)).is_err(), "{at}");
    }
    for size in [0, 1, 4097] {
        assert!(catch_unwind(|| RawPerCpu::new(size)).is_err(), "{size}");
    }
    RawPerCpu::new(4096).shared().word(4095).store(1, Relaxed);
}

/// Nobody runs on a CPU that is offline.
#[test]
fn cpus_that_are_offline() {
    let offline: Vec<_> = offline_cpus().collect();
    assert!(offline.iter().all(|cpu| *cpu < slots() && !cpus::allowed().contains(cpu)));
    println!("offline: {offline:?}");
}

/// Gives a CPU back that was taken offline.
struct Offline(String);

impl Offline {
    fn take(cpu: usize) -> Offline {
        let switch = format!("/sys/devices/system/cpu/cpu{cpu}/online");
        std::fs::write(&switch, "0").unwrap_or_else(|error| panic!("{switch}: {error}"));
        Offline(switch)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        std::fs::write(&self.0, "1").unwrap();
    }
}

/// A CPU goes offline with all that it keeps, and others take it over.
#[test]
#[ignore = "takes a CPU offline: for machines of one's own"]
fn what_a_cpu_keeps_that_goes_offline() {
    let cpu = *cpus::allowed().last().unwrap();
    let (stack, pool, numbers) = (Stack::new(), Pool::new(), Numbers::new());
    let (counter, ring) = (Counter::new(), Ring::new(4096));
    for round in 1..=3 {
        let boxes: Vec<_> = (0..10).map(|n| pool.boxed(n)).collect();
        let ours: Vec<_> = (0..10).map(|_| numbers.get()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(cpus::restrict(0, &[cpu]));
                (0..10).for_each(|n| stack.push(Box::new(Node::new(n))));
                drop(boxes);
                ours.into_iter().for_each(|number| numbers.put(number));
                counter.add(10);
                ring.push(b"goes offline").unwrap();
            });
        });
        let there = on_rseq("what that CPU keeps");
        if there {
            assert_eq!((pool.statistics().caches[cpu].cached, numbers.kept(cpu)), (10, 10));
        }
        let offline = Offline::take(cpu);
        assert!(offline_cpus().any(|other| other == cpu));
        // It comes back in the middle of the last round.
        let offline = (round < 3).then_some(offline);
        if there {
            assert_eq!(stack.drain(cpu).count(), 10);
            assert_eq!(numbers.take_back(cpu), 10);
            offline_cpus().for_each(|cpu| pool.drain(cpu));
            pool.drain(cpu);
            let seen = pool.statistics();
            assert_eq!((seen.caches[cpu].cached, seen.cells), (0, seen.cached() + seen.depot));
        } else {
            assert_eq!(stack.drain_all().count(), 10);
        }
        assert_eq!(counter.sum_exact(), round * 10);
        let mut consumer = ring.consumer().unwrap();
        assert_eq!(consumer.pop(|record| record.bytes.len()), Some(12));
        assert!(consumer.pop(|_| ()).is_none());
        // What was taken over is used.
        assert!((0..10).all(|_| numbers.get().get() <= 20 * round as usize));
        drop(offline);
        assert!(offline_cpus().all(|other| other != cpu));
    }
}

/// `STILLPOINT_STRESS_SECONDS` says how long.
#[test]
fn no_number_is_had_twice() {
    let seconds = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let report = stress::run(Duration::from_secs(seconds));
    println!("{report:?}");
    assert_eq!(report.violations, 0);
    assert_ne!(report.operations, 0);
}
