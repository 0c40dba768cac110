//! Exact sums: values that the counter had at one moment.

use super::cpus;
use super::tiers::in_time;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread::scope;
use stillpoint::percpu::Counter;

/// Two threads take exact sums, and check each with what they know, as long as `work` takes; how
/// many.
fn while_summed<S: Default>(
    counter: &Counter,
    check: impl Fn(u64, &mut S) + Sync,
    work: impl FnOnce(),
) -> u64 {
    let (done, sums) = (AtomicBool::new(false), AtomicU64::new(0));
    scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let mut known = S::default();
                while !done.load(Relaxed) {
                    check(counter.sum_exact(), &mut known);
                    sums.fetch_add(1, Relaxed);
                }
            });
        }
        while sums.load(Relaxed) == 0 {
            std::thread::yield_now();
        }
        work();
        done.store(true, Relaxed);
    });
    sums.into_inner()
}

/// One here, then ten there: never ten alone.
#[test]
fn what_follows_is_not_counted_alone() {
    let cpus = cpus::allowed();
    let (here, there) = (cpus[0], cpus[cpus.len() - 1]);
    let counter = Counter::new();
    let check = |value, _: &mut ()| assert!([0, 1, 11].contains(&value), "{value}");
    in_time(|| {
        let sums = while_summed(&counter, check, || {
            let wander = || {
                for _ in 0..3000 {
                    cpus::restrict(0, &[here]);
                    counter.add(1);
                    cpus::restrict(0, &[there]);
                    counter.add(10);
                    counter.sub(11);
                }
            };
            // On a thread of its own, for it is bound to a CPU.
            scope(|s| s.spawn(wander).join().unwrap());
        });
        println!("{sums} exact sums");
    });
    assert_eq!(counter.sum_exact(), 0);
}

/// The same between two threads: one tells the other, which is on another CPU, that it has counted.
#[test]
fn what_a_friend_has_done_is_not_counted_alone() {
    const ROUNDS: usize = 1000;
    let cpus = cpus::allowed();
    let (here, there) = (cpus[0], cpus[cpus.len() - 1]);
    let counter = Counter::new();
    let ((tell, told), (answer, answered)) = (sync_channel(0), sync_channel(0));
    let check = |value, _: &mut ()| assert!([0, 1, 11].contains(&value), "{value}");
    in_time(|| {
        while_summed(&counter, check, || {
            scope(|s| {
                let counter = &counter;
                s.spawn(move || {
                    cpus::restrict(0, &[here]);
                    for _ in 0..ROUNDS {
                        counter.add(1);
                        tell.send(()).unwrap();
                        answered.recv().unwrap();
                    }
                });
                s.spawn(move || {
                    cpus::restrict(0, &[there]);
                    for () in told {
                        counter.add(10);
                        counter.sub(11);
                        answer.send(()).unwrap();
                    }
                });
            });
        });
    });
    assert_eq!(counter.sum_exact(), 0);
}

/// A counter that only rises is never seen to fall.
#[test]
fn exact_sums_of_what_rises_rise() {
    const THREADS: u64 = 3;
    const EACH: u64 = 200_000;
    let counter = Counter::new();
    let check = |value, last: &mut u64| {
        assert!(value >= *last, "{value} after {last}");
        *last = value;
    };
    in_time(|| {
        while_summed(&counter, check, || {
            scope(|s| {
                (0..THREADS).for_each(|_| drop(s.spawn(|| (0..EACH).for_each(|_| counter.add(1)))))
            });
        });
    });
    assert_eq!(counter.sum_exact(), THREADS * EACH);
}

/// Everything before the call is in it, nothing after it is.
#[test]
fn exact_sums_have_what_came_before() {
    let counter = Counter::new();
    in_time(|| {
        let check = |_, _: &mut ()| {};
        while_summed(&counter, check, || {
            for n in 1..=3000 {
                counter.add(1);
                assert_eq!((counter.sum(), counter.sum_exact()), (n, n));
            }
        });
    });
}
