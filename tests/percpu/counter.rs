//! Counters: values, wrapping, conservation.

use super::cpus;
use super::tiers::in_time;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::scope;
use stillpoint::percpu::Counter;

/// Additions by four threads that keep changing their CPU, and by short ones; the value that
/// results.
pub(crate) fn wander(counter: &Counter) -> u64 {
    let cpus = cpus::allowed();
    let wanderer = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut told = 0_u64;
        for _ in 0..300 {
            cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]);
            for _ in 0..random.u32(..100) {
                let n = if random.u8(..) == 0 { random.u64(..) } else { random.u64(..9) };
                if random.bool() {
                    counter.add(n);
                    told = told.wrapping_add(n);
                } else {
                    counter.sub(n);
                    told = told.wrapping_sub(n);
                }
            }
        }
        told
    };
    scope(|s| {
        let threads: Vec<_> = (0..4).map(|seed| s.spawn(move || wanderer(seed))).collect();
        threads.into_iter().fold(0_u64, |sum, thread| sum.wrapping_add(thread.join().unwrap()))
    })
}

#[test]
fn counters_are_constants() {
    static ONE: Counter = Counter::new();
    static MANY: [Counter; 3] = [const { Counter::new() }; 3];
    assert_eq!((ONE.sum(), ONE.sum_exact()), (0, 0));
    ONE.add(5);
    MANY[1].add(7);
    assert_eq!(MANY.each_ref().map(Counter::sum), [0, 7, 0]);
    assert_eq!(MANY.each_ref().map(Counter::sum_exact), [0, 7, 0]);
    assert_eq!((ONE.sum(), ONE.sum_exact()), (5, 5));
    assert_eq!(size_of::<Counter>(), 16);
}

#[test]
fn values_wrap_around() {
    let counter = Counter::default();
    let both = || {
        assert_eq!(counter.sum(), counter.sum_exact());
        counter.sum()
    };
    counter.sub(1);
    assert_eq!((both(), counter.sum_signed()), (u64::MAX, -1));
    counter.add(3);
    assert_eq!(both(), 2);
    counter.add(u64::MAX);
    assert_eq!(both(), 1);
    counter.sub(u64::MAX);
    assert_eq!(both(), 2);
    counter.add(1 << 63);
    counter.add(1 << 63);
    assert_eq!(both(), 2);
    counter.sub(i64::MIN as u64);
    counter.sub(2);
    assert_eq!(counter.sum_signed(), i64::MIN);
    assert_eq!(format!("{counter:?}"), format!("Counter({})", 1_u64 << 63));
}

#[test]
fn nothing_is_lost_by_threads_that_move() {
    in_time(|| {
        let counter = Counter::new();
        let told = wander(&counter);
        assert_eq!((counter.sum(), counter.sum_exact()), (told, told));
    });
}

#[test]
fn nothing_is_lost_under_exact_sums() {
    in_time(|| {
        let counter = Counter::new();
        let done = AtomicBool::new(false);
        let told = scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    while !done.load(Relaxed) {
                        counter.sum_exact();
                    }
                });
            }
            let told = wander(&counter);
            done.store(true, Relaxed);
            told
        });
        assert_eq!((counter.sum(), counter.sum_exact()), (told, told));
    });
}

#[test]
fn a_thousand_threads_count() {
    const THREADS: usize = 1000;
    in_time(|| {
        let counter = Counter::new();
        scope(|s| {
            for n in 0..THREADS {
                let counter = &counter;
                let add = move || (0..n).for_each(|_| counter.add(3));
                std::thread::Builder::new().stack_size(1 << 16).spawn_scoped(s, add).unwrap();
            }
        });
        let sum = 3 * (THREADS * (THREADS - 1) / 2) as u64;
        assert_eq!((counter.sum(), counter.sum_exact()), (sum, sum));
    });
}

/// Several are the first to use a counter.
#[test]
fn the_first_use_is_nobody_s_alone() {
    const THREADS: usize = 4;
    let counters: Vec<_> = (0..1000).map(|_| Counter::new()).collect();
    let meet = Barrier::new(THREADS);
    in_time(|| {
        scope(|s| {
            for me in 0..THREADS {
                let (counters, meet) = (&counters, &meet);
                s.spawn(move || {
                    meet.wait();
                    for counter in counters {
                        counter.add(1);
                        if me == 0 {
                            counter.sum_exact();
                        }
                        counter.add(10);
                    }
                });
            }
        });
    });
    assert!(counters.iter().all(|counter| counter.sum() == 11 * THREADS as u64));
}

#[test]
fn ten_thousand_counters_begin_at_zero_every_time() {
    for round in 0..3 {
        let counters: Vec<_> = (0..10_000).map(|_| Counter::new()).collect();
        for (n, counter) in counters.iter().enumerate() {
            assert_eq!(counter.sum(), 0);
            counter.add(n as u64);
            assert_eq!(counter.sum(), n as u64);
        }
        if round == 1 {
            assert!(counters.iter().zip(0..).all(|(counter, n)| counter.sum_exact() == n));
        }
        // None of them has touched another's.
        assert!(counters.iter().enumerate().all(|(n, counter)| counter.sum() == n as u64));
    }
}
