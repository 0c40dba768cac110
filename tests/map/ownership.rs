//! Each key and each value is dropped once.

use crate::counted::{Counted, counted};
use crate::tiers::{on_every_tier, on_every_tier_with};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use stillpoint::map::{HashMap, Operation};

#[test]
fn every_value_is_dropped_once() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let mut made = 0;
        let mut next = |n| {
            made += 1;
            new(n)
        };
        {
            let map = HashMap::new_in(domain);
            let mut random = fastrand::Rng::with_seed(3);
            for _ in 0..3_000 {
                let key = random.u32(..500);
                let pinned = map.pin();
                match random.u32(..8) {
                    0..3 => drop(pinned.insert(key, next(key))),
                    3 => drop(pinned.remove(&key)),
                    4 => drop(pinned.get_or_insert(key, next(key))),
                    5 => drop(pinned.replace(key, next(key))),
                    6 => {
                        pinned.update(key, |_| next(key));
                    }
                    _ => {
                        pinned.compute(key, |entry| match entry {
                            None => Operation::Insert(next(key)),
                            Some((_, value)) if value.0 % 2 == 0 => Operation::Remove,
                            Some(_) => Operation::Abort(()),
                        });
                    }
                }
            }
            domain.barrier();
            assert_eq!(drops.load(SeqCst) + map.len(), made);
            map.pin().retain(|key, _| key % 3 != 0);
            domain.barrier();
            assert_eq!(drops.load(SeqCst) + map.len(), made);
        }
        assert_eq!(drops.load(SeqCst), made, "the map's drop waits for nobody");
    });
}

#[test]
fn keys_too() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        #[derive(Clone)]
        struct Key(u32, #[allow(dead_code, reason = "counts")] Counted);
        impl PartialEq for Key {
            fn eq(&self, other: &Key) -> bool {
                self.0 == other.0
            }
        }
        impl Eq for Key {}
        impl std::hash::Hash for Key {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
        let key = |n| Key(n, new(n));
        let map = HashMap::new_in(domain);
        (0..100).for_each(|n| _ = map.pin().insert(key(n), n));
        assert_eq!(drops.load(SeqCst), 0);
        // The old key goes, the new one stays.
        map.pin().insert(key(1), 0);
        // Those that were only looked for go at once.
        map.pin().get_or_insert(key(2), 0);
        assert_eq!(map.pin().update(key(200), |n| n + 1), None);
        assert!(map.pin().try_insert(key(3), 0).is_err());
        map.pin().remove(&key(4));
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 6);
        drop(map);
        assert_eq!(drops.load(SeqCst), 105);
    });
}

#[test]
fn a_map_that_is_dropped_while_it_is_moved_loses_nothing() {
    on_every_tier(|domain| {
        for entries in [600, 4_000] {
            let (drops, new) = counted();
            let map = HashMap::new_in(domain);
            let mut before = map.capacity();
            let mut made = 0;
            // Until just after a resize has begun: the old table is the root still.
            for n in 0.. {
                map.pin().insert(n, new(n));
                made += 1;
                let now = map.capacity();
                if made > entries && now != before {
                    break;
                }
                before = now;
            }
            drop(map);
            assert_eq!(drops.load(SeqCst), made);
        }
    });
}

#[test]
fn a_value_that_panics_when_dropped_keeps_no_other() {
    struct Bomb(#[allow(dead_code, reason = "counts")] Counted, bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.1, "a bomb");
        }
    }
    let (drops, new) = counted();
    let map = HashMap::new();
    (0..100).for_each(|n| _ = map.pin().insert(n, Bomb(new(n), n == 50)));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(map))).is_err());
    assert_eq!(drops.load(SeqCst), 100);
}

#[test]
fn garbage_counts_and_is_bounded_by_throttling() {
    on_every_tier_with(
        |builder| builder.limit(100),
        |domain| {
            let map = HashMap::new_in(domain);
            for n in 0..2_000 {
                map.pin().insert(n % 10, n);
                domain.throttle();
                assert!(domain.pending().callbacks <= 100);
            }
            domain.barrier();
            assert_eq!(domain.pending().callbacks, 0);
        },
    );
}

#[test]
fn the_old_table_is_retired_with_its_bytes() {
    on_every_tier(|domain| {
        let map = HashMap::new_in(domain);
        (0..10_000).for_each(|n| _ = map.pin().insert(n, n));
        domain.barrier();
        let guard = domain.read();
        map.reserve(100_000);
        assert!(domain.pending().bytes >= 10_000 / 4 * 64 / 2, "{:?}", domain.pending());
        drop(guard);
        domain.barrier();
        assert_eq!(domain.pending().bytes, 0);
    });
}

#[test]
fn inserting_inside_a_section_waits_for_nobody() {
    on_every_tier(|domain| {
        let map = HashMap::new_in(domain);
        // Over many resizes, none of whose tables can be freed.
        let guard = domain.read();
        (0..20_000).for_each(|n| _ = map.insert(n, n, &guard));
        (0..20_000).for_each(|n| _ = map.remove(&n, &guard));
        assert!(map.is_empty());
    });
}

#[test]
fn a_map_goes_from_thread_to_thread() {
    let map: HashMap<u32, String> = HashMap::new();
    map.pin().insert(1, "one".to_owned());
    let map = thread::spawn(move || {
        map.pin().insert(2, "two".to_owned());
        map
    })
    .join()
    .unwrap();
    assert_eq!(map.len(), 2);
    thread::spawn(move || drop(map)).join().unwrap();
}
