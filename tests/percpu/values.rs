//! Values per CPU.

use super::cpus;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread::scope;
use stillpoint::percpu::{ByConcurrency, PerCpu};
use stillpoint::{concurrency_id, machine};

fn slots() -> usize {
    machine().slots() as usize
}

#[test]
fn each_value_is_made_once_by_the_first_who_wants_it() {
    const THREADS: usize = 4;
    for _ in 0..50 {
        let made = Mutex::new(BTreeMap::new());
        let make = |index: usize| {
            std::thread::yield_now();
            *made.lock().unwrap().entry(index).or_insert(0) += 1;
            index
        };
        let values: PerCpu<usize, stillpoint::percpu::ByCpu, _> = PerCpu::new(make);
        assert!(values.iter().next().is_none());
        let meet = Barrier::new(THREADS);
        scope(|s| {
            for _ in 0..THREADS {
                s.spawn(|| {
                    meet.wait();
                    assert!(*values.current() < slots());
                    assert_eq!(values.get(0), Some(&0));
                });
            }
        });
        let made = made.lock().unwrap();
        assert!(made.values().all(|&times| times == 1), "{made:?}");
        let there: Vec<_> = values.iter().map(|(at, &value)| (at, value)).collect();
        assert_eq!(there, made.keys().map(|&at| (at, at)).collect::<Vec<_>>());
    }
}

#[test]
fn the_value_is_that_of_the_cpu() {
    let values: PerCpu<usize> = PerCpu::new(|cpu| cpu);
    let everywhere = || {
        for cpu in cpus::allowed() {
            assert!(cpus::restrict(0, &[cpu]));
            assert_eq!(*values.current(), cpu);
        }
    };
    scope(|s| s.spawn(everywhere).join().unwrap());
    assert_eq!(values.iter().map(|(at, _)| at).collect::<Vec<_>>(), cpus::allowed());
}

#[test]
fn every_index_has_a_value_and_no_other() {
    let mut values: PerCpu<Box<usize>> = PerCpu::new(Box::new);
    assert_eq!(values.len(), slots());
    for index in 0..slots() {
        assert_eq!(values.get(index).map(|value| **value), Some(index));
    }
    assert_eq!((values.get(slots()), values.get(usize::MAX)), (None, None));
    values.iter_mut().for_each(|(at, value)| **value += at);
    assert!(values.iter().all(|(at, value)| **value == 2 * at));
    // Nobody shares a line, or a pair of lines, with another one.
    let mut places: Vec<_> =
        values.iter().map(|(_, value)| std::ptr::from_ref(value).addr()).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 128), "{places:x?}");
    assert!(places.iter().all(|place| place.is_multiple_of(128)));
}

#[test]
fn after_a_panic_the_next_one_makes_the_value() {
    let attempts = AtomicUsize::new(0);
    let make = |index: usize| {
        assert!(attempts.fetch_add(1, SeqCst) > 1, "not yet");
        index
    };
    let values: PerCpu<usize, stillpoint::percpu::ByCpu, _> = PerCpu::new(make);
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| values.get(0))).is_err());
        assert!(values.iter().next().is_none());
    }
    assert_eq!(values.get(0), Some(&0));
    assert_eq!((values.get(0), attempts.load(SeqCst)), (Some(&0), 3));
}

/// It would wait for itself.
#[test]
fn a_value_is_not_made_of_itself() {
    static VALUES: PerCpu<usize> = PerCpu::new(|index| match index {
        // Another one may be asked for.
        0 => VALUES.get(slots() - 1).map_or(0, |_| 0),
        _ => 1,
    });
    static OF_ITSELF: PerCpu<usize> =
        PerCpu::new(|index| OF_ITSELF.get(index).copied().unwrap_or(0));
    if slots() > 1 {
        assert_eq!(VALUES.get(0), Some(&0));
    }
    for _ in 0..2 {
        let panic = catch_unwind(|| OF_ITSELF.get(0)).unwrap_err();
        let said = panic.downcast_ref::<&str>().unwrap();
        assert!(said.contains("asks for that value"), "{said}");
    }
}

#[test]
fn values_are_dropped_once() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Noted;
    impl Drop for Noted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    let values: PerCpu<Noted> = PerCpu::new(|_| Noted);
    drop(values);
    assert_eq!(DROPPED.load(SeqCst), 0, "nobody wanted any");
    let values: PerCpu<Noted> = PerCpu::new(|_| Noted);
    assert!((0..slots()).all(|index| values.get(index).is_some()));
    values.current();
    assert_eq!(DROPPED.load(SeqCst), 0);
    drop(values);
    assert_eq!(DROPPED.load(SeqCst), slots());
}

#[test]
fn it_shows_what_is_there() {
    let values: PerCpu<u8> = PerCpu::new(|_| 7);
    assert_eq!(format!("{values:?}"), "{}");
    values.get(0);
    assert_eq!(format!("{values:?}"), "{0: 7}");
    assert_eq!(format!("{:?}", PerCpu::<u8>::default()), "{}");
}

#[test]
fn it_may_go_by_concurrency() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static VALUES: PerCpu<AtomicU64, ByConcurrency> = PerCpu::new(|_| {
        MADE.fetch_add(1, SeqCst);
        AtomicU64::new(0)
    });
    assert_eq!(VALUES.len(), slots());
    let mut expected = 0;
    for threads in 1..=8 {
        expected += threads * 1000;
        scope(|s| {
            for _ in 0..threads {
                s.spawn(|| (0..1000).for_each(|_| _ = VALUES.current().fetch_add(1, SeqCst)));
            }
        });
    }
    assert_eq!(VALUES.iter().map(|(_, value)| value.load(SeqCst)).sum::<u64>(), expected);
    assert_eq!(VALUES.iter().count(), MADE.load(SeqCst));
    // Bound to a CPU and alone there, the number stays; a moment later another one may be right.
    assert!(VALUES.get(concurrency_id() as usize).is_some());
}

/// What is `Send` and `Sync` follows the values and the function.
#[test]
fn it_is_for_threads_if_the_values_are() {
    fn shared<T: Send + Sync>() {}
    shared::<PerCpu<AtomicU64>>();
    shared::<PerCpu<String, ByConcurrency>>();
    shared::<stillpoint::percpu::Counter>();
    shared::<stillpoint::percpu::Histogram>();
    shared::<stillpoint::percpu::Distribution>();
}
