//! Several threads, for a moment. For longer: `map_stress.rs`.

use crate::recorded;
use crate::tiers::on_every_tier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use stillpoint::map::HashMap;

#[test]
fn histories_are_linearizable() {
    on_every_tier(|domain| {
        let report = recorded::run(domain, Duration::from_millis(700));
        println!("{} histories, {} overlaps", report.histories, report.overlaps);
        assert_eq!(report.wrong, None);
        assert!(report.histories > 0);
    });
}

#[test]
fn no_update_is_lost() {
    on_every_tier(|domain| {
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 2_000;
        let map = HashMap::new_in(domain);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for n in 0..ROUNDS {
                        map.pin().update_or_insert(n % 7, |sum| sum + 1, 1_u64);
                    }
                });
            }
        });
        assert_eq!(map.pin().values().sum::<u64>(), THREADS * ROUNDS);
    });
}

/// Threads that grow one map together, each with keys of its own: all are there in the end.
#[test]
fn no_insertion_is_lost() {
    on_every_tier(|domain| {
        const THREADS: u64 = 4;
        const EACH: u64 = 5_000;
        let map = HashMap::new_in(domain);
        thread::scope(|scope| {
            for me in 0..THREADS {
                let map = &map;
                scope.spawn(move || {
                    for n in 0..EACH {
                        assert_eq!(map.pin().insert(me * EACH + n, n), None);
                    }
                });
            }
        });
        assert_eq!(map.len() as u64, THREADS * EACH);
        assert!((0..THREADS * EACH).all(|n| map.pin().get(&n) == Some(&(n % EACH))));
        thread::scope(|scope| {
            for me in 0..THREADS {
                let map = &map;
                scope.spawn(move || {
                    for n in 0..EACH {
                        assert_eq!(map.pin().remove(&(me * EACH + n)), Some(&n));
                    }
                });
            }
        });
        assert_eq!((map.len(), map.pin().iter().count()), (0, 0));
    });
}

/// One key among threads that insert and remove it: as often as it got in, it got out.
#[test]
fn who_inserts_and_who_removes_agree() {
    on_every_tier(|domain| {
        let map = HashMap::new_in(domain);
        let (came, went) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for me in 0..4 {
                let (map, came, went) = (&map, &came, &went);
                scope.spawn(move || {
                    for n in 0..3_000 {
                        let pinned = map.pin();
                        if (n + me) % 2 == 0 {
                            let is_new = pinned.try_insert(n % 3, ()).is_ok();
                            came.fetch_add(is_new.into(), Relaxed);
                        } else {
                            let was_there = pinned.remove(&(n % 3)).is_some();
                            went.fetch_add(was_there.into(), Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(came.load(Relaxed) - went.load(Relaxed), map.len() as u64);
        assert_eq!(map.len(), map.pin().iter().count());
    });
}

/// What nobody touches is there at every look, and in every iteration, once.
#[test]
fn bystanders_stay() {
    on_every_tier(|domain| {
        const STAY: u32 = 50;
        let map = HashMap::new_in(domain);
        (0..STAY).for_each(|n| _ = map.pin().insert(n, n));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20 {
                    let from = 1_000 * (round + 1);
                    (from..from + 1_000).for_each(|n| _ = map.pin().insert(n, n));
                    (from..from + 1_000).for_each(|n| _ = map.pin().remove(&n));
                }
                stop.store(true, Relaxed);
            });
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let pinned = map.pin();
                    assert!((0..STAY).all(|n| pinned.get(&n) == Some(&n)));
                    assert!((STAY..100).all(|n| pinned.get(&n).is_none()));
                }
            });
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let pinned = map.pin();
                    let mut seen: Vec<u32> =
                        pinned.keys().copied().filter(|key| *key < STAY).collect();
                    seen.sort_unstable();
                    assert!(seen.iter().copied().eq(0..STAY), "{seen:?}");
                }
            });
        });
    });
}
