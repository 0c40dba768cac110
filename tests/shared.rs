//! `Shared`, `SharedOption`, `Handle` and `Cache`: what they promise, on whatever tier the process
//! has.

#![cfg(target_os = "linux")]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/tiers.rs"]
mod tiers;

use counted::counted;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use stillpoint::Tier;
use stillpoint::rcu::{Cache, Handle, Shared, SharedOption};
use tiers::on_every_tier;

/// A value lives as long as somebody has a handle to it, and is dropped once.
#[test]
fn values_live_as_long_as_handles() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let cell = Shared::new_in(new(1), domain);
        let one = cell.load();
        let sent = thread::spawn({
            let one = one.clone();
            move || one.0
        });
        cell.store(new(2));
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 0, "there is a handle");
        assert_eq!((one.0, cell.load().0, sent.join().unwrap()), (1, 2, 1));
        drop(one);
        assert_eq!(drops.load(SeqCst), 1);
        cell.store(new(3));
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 2);
        let last = cell.into_inner();
        assert_eq!((last.0, Handle::strong_count(&last)), (3, 1));
        drop(last);
        assert_eq!(drops.load(SeqCst), 3);
    });
}

/// The cell's reference goes behind two broadcasts, not before.
#[test]
fn broadcasts_come_before_the_end() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let cell = Shared::new_in(new(0), domain);
        for n in 1..50 {
            let before = domain.statistics().broadcasts;
            cell.store(new(n));
            assert_eq!(drops.load(SeqCst) as u32, n - 1);
            domain.barrier();
            assert_eq!(drops.load(SeqCst) as u32, n);
            let sent = domain.statistics().broadcasts - before;
            assert!(sent >= 2 || domain.tier() == Tier::Fence, "{sent} broadcasts");
        }
    });
}

#[test]
fn one_value_in_many_cells() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let one = Handle::new(new(1));
        let cells: [_; 5] = std::array::from_fn(|_| Shared::new_in(one.clone(), domain));
        assert_eq!(Handle::strong_count(&one), 6);
        for cell in &cells {
            // Out and in again, while it is still on its way.
            cell.store(new(2));
            cell.store(one.clone());
            cell.store(one.clone());
        }
        domain.barrier();
        assert_eq!(Handle::strong_count(&one), 6);
        assert_eq!(drops.load(SeqCst), 5);
        drop(cells);
        let one = Handle::try_unwrap(one).expect("the last one");
        assert_eq!((one.0, drops.load(SeqCst)), (1, 5));
    });
}

#[test]
fn swaps_give_what_was_there() {
    on_every_tier(|domain| {
        let cell = Shared::new_in(1, domain);
        let one = cell.swap(2);
        assert_eq!(*one, 1);
        let found = cell.compare_and_swap(&one, 3);
        assert_eq!((*found, *cell.load()), (2, 2));
        let found = cell.compare_and_swap(&found, 3);
        assert_eq!((*found, *cell.load()), (2, 3));
        assert_eq!(*cell.rcu(|n| **n + 1), 3);
        assert_eq!(*cell.load_full(), 4);
        domain.barrier();
        assert_eq!(Handle::strong_count(&one), 1);
        assert_eq!(Handle::try_unwrap(one), Ok(1));
    });
}

#[test]
fn cells_that_may_be_empty() {
    on_every_tier(|domain| {
        let cell = SharedOption::empty_in(domain);
        assert!(cell.load().is_none() && cell.swap(None).is_none());
        assert!(cell.compare_and_swap(None, Some(Handle::new(1))).is_none());
        assert!(cell.compare_and_swap(None, Some(Handle::new(2))).is_some());
        let one = cell.load().unwrap();
        assert!(cell.compare_and_swap(Some(&one), None).is_some());
        assert!(cell.compare_and_swap(Some(&one), Some(Handle::new(3))).is_none());
        assert!(cell.load().is_none());
        assert!(cell.rcu(|_| Some(4)).is_none());
        assert_eq!(*cell.rcu(|_| None::<i32>).unwrap(), 4);
        assert!(cell.into_inner().is_none());
        let full = SharedOption::from_pointee(5);
        assert_eq!(format!("{full:?}"), "SharedOption(Some(5))");
        assert_eq!(*full.into_inner().unwrap(), 5);
    });
}

/// Of all that many writers do nothing is lost, and every value ends once.
#[test]
fn many_at_once() {
    const EACH: u32 = 2000;
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let cell = Shared::new_in(new(0), domain);
        let (stop, made) = (AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(1));
        thread::scope(|scope| {
            let readers: [_; 2] = std::array::from_fn(|_| {
                scope.spawn(|| {
                    let mut cache = Cache::new(&cell);
                    let (mut before, mut seen) = (0, Vec::new());
                    while !stop.load(SeqCst) {
                        let loaded = cell.load();
                        let cached = cache.load();
                        assert!(before <= loaded.0 && loaded.0 <= cached.0, "it went back");
                        before = cached.0;
                        seen.push(loaded);
                        seen.truncate(100);
                    }
                })
            });
            let writers: [_; 2] = std::array::from_fn(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        cell.rcu(|old| {
                            made.fetch_add(1, SeqCst);
                            new(old.0 + 1)
                        });
                    }
                })
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            stop.store(true, SeqCst);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
        assert_eq!(cell.load().0, 2 * EACH);
        domain.barrier();
        assert_eq!(drops.load(SeqCst) + 1, made.load(SeqCst));
    });
}

/// Held across `.await`, and dropped by another thread.
#[test]
fn tasks_keep_handles() {
    static CELL: std::sync::LazyLock<Shared<String>> =
        std::sync::LazyLock::new(|| Shared::from_pointee("before".to_owned()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                tokio::spawn(async move {
                    let text = CELL.load();
                    tokio::task::yield_now().await;
                    if n == 10 {
                        CELL.store("after".to_owned());
                    }
                    tokio::task::yield_now().await;
                    assert!(["before", "after"].contains(&&text[..]));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(*CELL.load(), "after");
}

#[test]
fn functions_and_ends_that_panic() {
    struct Panics(bool);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.0, "as told");
        }
    }
    on_every_tier(|domain| {
        let cell = Shared::new_in(Panics(true), domain);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            cell.rcu(|_| -> Panics { panic!("as told") });
        }));
        assert!(panic.is_err() && cell.load().0);
        let before = domain.statistics().callback_panics;
        cell.store(Panics(false));
        domain.barrier();
        assert_eq!(domain.statistics().callback_panics, before + 1);
        // By whoever has the last handle.
        let last = Handle::new(Panics(true));
        assert!(catch_unwind(AssertUnwindSafe(|| drop(last))).is_err());
    });
}

#[test]
fn handles_are_like_their_values() {
    let (one, two) = (Handle::new(1), Handle::from(2));
    assert!(one < two && one != two && one == Handle::new(1));
    assert_eq!(format!("{one} {one:?}"), "1 1");
    let map = HashMap::from([(Handle::new("key".to_owned()), 3)]);
    assert_eq!(map[&"key".to_owned()], 3);
    assert_eq!(*Handle::<u8>::default(), 0);
    assert_eq!(size_of::<Option<Handle<u8>>>(), size_of::<usize>());
    let mut unique = Handle::new(vec![1]);
    Handle::get_mut(&mut unique).unwrap().push(2);
    let other = unique.clone();
    assert!(Handle::get_mut(&mut unique).is_none());
    let unique = Handle::try_unwrap(unique).unwrap_err();
    assert_eq!((Handle::into_inner(unique), other.len()), (None, 2));
    assert_eq!(Handle::into_inner(other), Some(vec![1, 2]));
    // Of several who give theirs at the same time, one gets the value.
    let all = Handle::new(1);
    let (to, from) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mine, to) = (all.clone(), to.clone());
            scope.spawn(move || to.send(Handle::into_inner(mine)).unwrap());
        }
        drop((all, to));
    });
    assert!(from.iter().flatten().count() <= 1);
}

/// A cell whose domain ends with it.
#[test]
fn a_domain_of_its_own() {
    let (drops, new) = counted();
    let domain = Arc::new(stillpoint::rcu::Domain::new());
    let cell = Shared::new_in(new(1), domain.clone());
    (2..20).for_each(|n| cell.store(new(n)));
    let kept = cell.load();
    drop((cell, domain));
    assert_eq!(drops.load(SeqCst), 18);
    drop(kept);
    assert_eq!(drops.load(SeqCst), 19);
}
