//! One thread, one thing.

use crate::tiers::on_every_tier;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use stillpoint::map::{Compute, HashMap, Operation};
use stillpoint::rcu::{self, Domain};

#[test]
fn a_map_can_be_a_static() {
    static MAP: HashMap<u32, u32, BuildHasherDefault<DefaultHasher>> =
        HashMap::with_hasher(BuildHasherDefault::new());
    assert_eq!(MAP.pin().get(&1), None);
    MAP.pin().insert(1, 2);
    assert_eq!(MAP.pin().get(&1), Some(&2));
}

#[test]
fn an_empty_map_allocates_no_table() {
    let map: HashMap<u32, u32> = HashMap::new();
    assert_eq!((map.capacity(), map.len()), (0, 0));
    let pinned = map.pin();
    assert_eq!(pinned.remove(&1), None);
    assert_eq!(pinned.iter().count(), 0);
    pinned.clear();
    map.shrink_to_fit();
    assert_eq!(map.capacity(), 0);
}

#[test]
fn what_is_there_is_found_while_it_grows_and_shrinks() {
    on_every_tier(|domain| {
        const N: u64 = if cfg!(miri) { 200 } else { 5_000 };
        let map = HashMap::new_in(domain);
        let mut most = 0;
        for n in 0..N {
            assert_eq!(map.pin().insert(n, n * 10), None);
            // Those that were moved, those that were not, and some that are not there.
            for seen in [0, n / 2, n] {
                assert_eq!(map.pin().get(&seen), Some(&(seen * 10)));
            }
            assert_eq!(map.pin().get(&(n + 1)), None);
            most = most.max(map.capacity());
        }
        assert_eq!(map.len() as u64, N);
        assert!(most as u64 >= N / 2, "it never grew: {most}");
        for n in 0..N {
            assert_eq!(map.pin().remove(&n), Some(&(n * 10)));
            assert_eq!(map.pin().get(&n), None);
            assert_eq!(map.pin().get(&(N - 1)).is_some(), n < N - 1);
        }
        assert!(map.is_empty());
        let least = map.capacity();
        assert!(least < most / 8, "it never shrank: {most} to {least}");
    });
}

#[test]
fn a_reference_outlives_its_entry_in_the_map() {
    on_every_tier(|domain| {
        let map = HashMap::new_in(domain);
        let pinned = map.pin();
        pinned.insert(1, "one".to_owned());
        let one = pinned.get(&1).unwrap();
        let (key, _) = pinned.get_key_value(&1).unwrap();
        pinned.insert(1, "another".to_owned());
        pinned.remove(&1);
        // Whatever is freed meanwhile, this is not.
        (2..5_000).for_each(|n| _ = map.pin().insert(n, n.to_string()));
        map.pin().clear();
        assert_eq!((key, one.as_str()), (&1, "one"));
    });
}

#[test]
fn compute_inserts_updates_removes_and_aborts() {
    let map: HashMap<&str, u32> = HashMap::new();
    let pinned = map.pin();
    let compute = |operation| pinned.compute("a", |_| operation);
    assert_eq!(compute(Operation::Remove), Compute::Absent);
    assert_eq!(compute(Operation::Abort(())), Compute::Aborted(()));
    assert_eq!(compute(Operation::Insert(1)), Compute::Inserted(&"a", &1));
    let (old, new) = ((&"a", &1), (&"a", &2));
    assert_eq!(compute(Operation::Insert(2)), Compute::Updated { old, new });
    assert_eq!(compute(Operation::Abort(())), Compute::Aborted(()));
    assert_eq!(compute(Operation::Remove), Compute::Removed(&"a", &2));
    assert!(map.is_empty());
}

#[test]
fn a_closure_may_call_the_map() {
    let map: HashMap<u32, u32> = HashMap::new();
    let pinned = map.pin();
    pinned.insert(1, 1);
    let mut calls = 0;
    // What it does to this very key makes it be called again.
    let value = pinned.update(1, |n| {
        calls += 1;
        if calls < 3 {
            pinned.insert(1, n + 10);
        }
        pinned.insert(100 + calls, 0);
        n + 1
    });
    assert_eq!((value, calls, map.len()), (Some(&22), 3, 4));
    pinned.retain(|key, _| {
        (1_000..1_100).for_each(|n| _ = pinned.insert(n, 0));
        *key == 1
    });
    assert_eq!(pinned.get(&1), Some(&22));
}

#[test]
fn the_new_key_replaces_the_old_one() {
    #[derive(Debug)]
    struct Key(u32, &'static str);
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
    let map = HashMap::new();
    let pinned = map.pin();
    pinned.insert(Key(1, "old"), ());
    pinned.insert(Key(1, "new"), ());
    assert_eq!(pinned.get_key_value(&Key(1, "")).unwrap().0.1, "new");
    assert_eq!(map.len(), 1);
}

#[test]
fn iterators_yield_each_entry_once_while_the_map_is_resized() {
    on_every_tier(|domain| {
        let map = HashMap::new_in(domain);
        (0..100).for_each(|n| _ = map.pin().insert(n, n));
        let pinned = map.pin();
        let mut seen: Vec<i32> = vec![];
        // Grows by so much that what was read first is two tables behind.
        for (n, (key, _)) in pinned.iter().enumerate() {
            seen.extend(Some(*key).filter(|key| *key < 100));
            if n < 90 {
                (0..100).for_each(|more| {
                    map.pin().insert(1_000 + n as i32 * 100 + more, 0);
                });
            }
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..100), "{seen:?}");
        // And shrinks.
        let mut seen: Vec<i32> = vec![];
        for (n, (key, _)) in pinned.iter().enumerate() {
            seen.extend(Some(*key).filter(|key| *key < 100));
            if n == 10 {
                map.pin().retain(|key, _| *key < 100);
                map.shrink_to_fit();
            }
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..100), "{seen:?}");
        assert_eq!(map.len(), 100);
    });
}

#[test]
fn reserving_and_fitting() {
    let map: HashMap<u32, u32> = HashMap::with_capacity(1000);
    let room = map.capacity();
    assert!(room >= 1000);
    map.pin().insert(1, 1);
    map.pin().remove(&1);
    assert_eq!(map.capacity(), room, "it does not shrink below what was asked for");
    map.shrink_to_fit();
    assert!(map.capacity() < 100);
    (0..50).for_each(|n| _ = map.pin().insert(n, n));
    map.reserve(100_000);
    assert!(map.capacity() >= 100_050);
    assert!((0..50).all(|n| map.pin().get(&n) == Some(&n)));
    map.shrink_to_fit();
    assert!(map.capacity() < 200);
    assert!((0..50).all(|n| map.pin().get(&n) == Some(&n)));
}

#[test]
fn traits_of_stds_map() {
    let entries = || (0..100).map(|n| (n, n.to_string()));
    let map: HashMap<_, _> = entries().collect();
    let copy = map.clone();
    assert_eq!(map, copy);
    copy.pin().insert(1, String::new());
    assert_ne!(map, copy);
    copy.pin().remove(&1);
    assert_ne!(map, copy);
    let mut extended: HashMap<_, _> = HashMap::default();
    extended.extend(entries());
    (&extended).extend(entries());
    assert_eq!(map, extended);
    // With a hasher of its own it is in another order.
    assert_eq!(map.pin().into_iter().count(), 100);
    let one: HashMap<_, _> = [("a", 1)].into_iter().collect();
    assert_eq!(format!("{one:?} {:?}", one.pin()), r#"{"a": 1} {"a": 1}"#);
}

#[test]
fn a_guard_of_another_domain_is_refused() {
    let map: HashMap<u32, u32> = HashMap::new();
    map.pin().insert(1, 1);
    let domain = Domain::new();
    let guard = domain.read();
    let refused = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_err();
    assert!(refused(&|| _ = map.get(&1, &guard)));
    assert!(refused(&|| _ = map.insert(1, 2, &guard)));
    assert!(refused(&|| _ = map.remove(&1, &guard)));
    assert!(refused(&|| drop(map.iter(&guard))));
    assert!(refused(&|| map.clear(&guard)));
    assert_eq!(map.get(&1, &rcu::read()), Some(&1));
}
