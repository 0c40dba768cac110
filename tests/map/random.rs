//! Random operations, of this map and of std's.

use crate::tiers::on_every_tier;
use std::collections::HashMap as Std;
use std::hash::{BuildHasher, Hasher};
use stillpoint::map::{Compute, HashMap, Operation, RandomState};
use stillpoint::rcu::Domain;

/// Gives so few hashes that most buckets overflow.
#[derive(Clone, Default)]
struct Few(u64);

impl BuildHasher for Few {
    type Hasher = Few;
    fn build_hasher(&self) -> Few {
        self.clone()
    }
}

impl Hasher for Few {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.wrapping_add((*byte).into())) % 16;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

fn compare<S: BuildHasher>(domain: &'static Domain, hasher: S, keys: u32, rounds: u32) {
    let map = HashMap::with_hasher_in(hasher, domain);
    let mut std = Std::new();
    let mut random = fastrand::Rng::with_seed(keys.into());
    for round in 0..rounds {
        // Swells and ebbs.
        let keys = if round / 2_000 % 2 == 0 { keys } else { keys.div_ceil(20) };
        let (key, value) = (random.u32(..keys), random.u32(..));
        let pinned = map.pin();
        match random.u32(..100) {
            0..25 => assert_eq!(pinned.insert(key, value).copied(), std.insert(key, value)),
            25..50 => assert_eq!(pinned.remove(&key).copied(), std.remove(&key)),
            50..70 => {
                assert_eq!(pinned.get(&key), std.get(&key));
                assert_eq!(pinned.contains_key(&key), std.contains_key(&key));
            }
            70..75 => {
                let new = *std.entry(key).or_insert(value);
                assert_eq!(pinned.get_or_insert_with(key, || value), &new);
            }
            75..80 => {
                let old = std.get_mut(&key).map(|old| {
                    *old ^= value;
                    *old
                });
                assert_eq!(pinned.update(key, |old| old ^ value).copied(), old);
            }
            80..84 => {
                let old = std.get(&key).copied();
                match pinned.try_insert(key, value) {
                    Ok(new) => assert_eq!((old, *new), (std.insert(key, value), value)),
                    Err(error) => assert_eq!(Some(*error.current), old),
                }
            }
            84..88 => {
                let is_odd = |n: &u32| n % 2 == 1;
                let removed = match pinned.remove_if(&key, |_, n| is_odd(n)) {
                    Ok(removed) => removed.is_some(),
                    Err((_, kept)) => {
                        assert!(!is_odd(kept));
                        false
                    }
                };
                assert_eq!(removed, std.get(&key).is_some_and(is_odd));
                std.retain(|k, n| *k != key || !is_odd(n));
            }
            88..94 => {
                let done = pinned.compute(key, |entry| match entry {
                    None if value % 2 == 0 => Operation::Abort(()),
                    None => Operation::Insert(value),
                    Some((_, n)) if n % 2 == 0 => Operation::Remove,
                    Some((_, n)) => Operation::Insert(n + 1),
                });
                match done {
                    Compute::Aborted(()) => assert!(!std.contains_key(&key)),
                    Compute::Absent => unreachable!(),
                    Compute::Inserted(_, n) => assert_eq!(std.insert(key, *n), None),
                    Compute::Removed(_, n) => assert_eq!(std.remove(&key), Some(*n)),
                    Compute::Updated { old, new } => {
                        assert_eq!(std.insert(key, *new.1), Some(*old.1));
                    }
                }
            }
            94..98 => {
                let replaced = pinned.replace(key, value).copied().ok();
                assert_eq!(replaced, std.get_mut(&key).map(|old| std::mem::replace(old, value)));
            }
            98 if round % 50 == 0 => {
                pinned.retain(|_, n| n % 3 != 0);
                std.retain(|_, n| *n % 3 != 0);
            }
            _ if round % 1_000 == 0 => map.shrink_to_fit(),
            _ => {}
        }
        assert_eq!(map.len(), std.len());
        if round % 500 == 0 {
            let mut entries: Vec<_> = pinned.iter().map(|(k, v)| (*k, *v)).collect();
            entries.sort_unstable();
            let mut wanted: Vec<_> = std.iter().map(|(k, v)| (*k, *v)).collect();
            wanted.sort_unstable();
            assert_eq!(entries, wanted);
        }
    }
}

#[test]
fn the_same_as_stds() {
    on_every_tier(|domain| {
        compare(domain, RandomState::new(), 16, 5_000);
        compare(domain, RandomState::new(), 3_000, 20_000);
        compare(domain, Few::default(), 200, 10_000);
    });
}
