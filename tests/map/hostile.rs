//! Keys that misbehave.

use crate::counted::counted;
use crate::tiers::on_every_tier;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use stillpoint::map::HashMap;

thread_local! {
    /// Panics after so many calls.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
}

fn burn() {
    let left = FUSE.get();
    assert!(left > 0, "the fuse has burnt");
    FUSE.set(left - 1);
}

#[derive(Clone, Debug)]
struct Touchy(u32);

impl PartialEq for Touchy {
    fn eq(&self, other: &Touchy) -> bool {
        burn();
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        // So that it comes to comparing.
        (self.0 % 7).hash(state);
    }
}

#[test]
fn panics_in_hash_and_eq_leave_the_map_as_it_was() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let map = HashMap::new_in(domain);
        (0..50).for_each(|n| _ = map.pin().insert(Touchy(n), new(n)));
        let mut made = 50;
        let mut unhurt = false;
        for fuse in 0..1_000 {
            for n in [3, 49, 70] {
                FUSE.set(fuse);
                let put = catch_unwind(AssertUnwindSafe(|| {
                    map.pin().insert(Touchy(n), new(n));
                }));
                made += 1;
                let updated = catch_unwind(AssertUnwindSafe(|| {
                    map.pin().update(Touchy(n), Clone::clone).is_some()
                }));
                made += usize::from(updated.as_ref().is_ok_and(|was_there| *was_there));
                let taken = catch_unwind(AssertUnwindSafe(|| {
                    map.pin().remove(&Touchy(n));
                }));
                FUSE.set(u32::MAX);
                unhurt = put.is_ok() && updated.is_ok() && taken.is_ok();
                // No lock is held, and what is there can be found and changed.
                assert!(map.pin().iter().all(|(key, value)| key.0 == value.0));
                map.pin().remove(&Touchy(n));
                made += usize::from(map.pin().insert(Touchy(n), new(n)).is_none());
                assert_eq!(map.pin().get(&Touchy(n)).map(|v| v.0), Some(n));
            }
            assert_eq!(map.len(), 51);
            if unhurt {
                break;
            }
        }
        assert!(unhurt);
        domain.barrier();
        // An update that panicked may have cloned or not.
        assert!(drops.load(SeqCst) + map.len() >= made);
        drop(map);
    });
}

#[test]
fn panics_in_closures_drop_what_was_not_put_in() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let map = HashMap::new_in(domain);
        map.pin().insert(1, new(1));
        let panics = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
        panics(&|| _ = map.pin().update(1, |_| panic!("no value")));
        panics(&|| _ = map.pin().get_or_insert_with(2, || panic!("no value")));
        panics(&|| _ = map.pin().compute::<()>(1, |_| panic!("no idea")));
        panics(&|| _ = map.pin().remove_if(&1, |_, _| panic!("no idea")));
        panics(&|| map.pin().retain(|_, _| panic!("no idea")));
        assert_eq!((map.len(), drops.load(SeqCst)), (1, 0));
        assert_eq!(map.pin().get(&1).unwrap().0, 1);
    });
}

/// All hashes are the same.
#[derive(Clone, Default)]
struct Same;

impl BuildHasher for Same {
    type Hasher = Same;
    fn build_hasher(&self) -> Same {
        Same
    }
}

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}
    fn finish(&self) -> u64 {
        0
    }
}

#[test]
fn keys_of_one_hash() {
    on_every_tier(|domain| {
        const N: u32 = 400;
        let map = HashMap::with_hasher_in(Same, domain);
        (0..N).for_each(|n| assert_eq!(map.pin().insert(n, n), None));
        (0..N).for_each(|n| assert_eq!(map.pin().insert(n, n + 1), Some(&n)));
        (0..N).for_each(|n| assert_eq!(map.pin().get(&n), Some(&(n + 1))));
        assert_eq!(map.pin().get(&N), None);
        assert_eq!(map.len(), N as usize);
        // The table is as large as it would be for good hashes.
        assert!(map.capacity() <= 4 * N as usize, "{}", map.capacity());
        map.reserve(10_000);
        assert_eq!(map.pin().iter().count(), N as usize);
        map.shrink_to_fit();
        assert_eq!(map.pin().iter().count(), N as usize);
        (0..N).filter(|n| n % 2 == 0).for_each(|n| _ = map.pin().remove(&n));
        (0..N).for_each(|n| assert_eq!(map.pin().contains_key(&n), n % 2 == 1));
        // What was freed is used again.
        (0..N).for_each(|n| _ = map.pin().insert(n, n));
        assert_eq!(map.len(), N as usize);
    });
}

/// Equal to nothing, and of another hash each time.
#[derive(Debug)]
struct Fickle;

impl PartialEq for Fickle {
    fn eq(&self, _: &Fickle) -> bool {
        fastrand::u32(..4) == 0
    }
}

impl Eq for Fickle {}

impl Hash for Fickle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fastrand::u32(..4).hash(state);
    }
}

#[test]
fn keys_that_are_not_equal_to_themselves() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let map = HashMap::new_in(domain);
        for n in 0..500 {
            map.pin().insert(Fickle, new(n));
            map.pin().get(&Fickle);
            if n % 3 == 0 {
                map.pin().remove(&Fickle);
            }
        }
        assert_eq!(map.pin().iter().count(), map.len());
        map.reserve(10_000);
        assert_eq!(map.pin().iter().count(), map.len());
        drop(map);
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 500);
    });
}
