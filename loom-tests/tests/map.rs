//! Models of the hash map, on the shipped source: a bucket has two slots, the first table one
//! bucket.
//!
//! All threads share one guard, and nothing is freed before the end: domains have models of their
//! own. What was unlinked is told by its value.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::hash::{BuildHasherDefault, Hasher};
use stillpoint::Tier;
use stillpoint::map::HashMap;
use stillpoint::map::model::Latch;
use stillpoint::mutant::Mutant;
use stillpoint::rcu::{Domain, SendGuard};
use support::Tracked;

/// The map mixes it.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

type Map<V> = HashMap<u64, V, BuildHasherDefault<Identity>, std::sync::Arc<Domain>>;

struct World<V: Send + 'static> {
    map: Map<V>,
    /// In front of what it borrows.
    guard: SendGuard<'static>,
    _domain: std::sync::Arc<Domain>,
}

impl<V: Send + 'static> World<V> {
    fn new(capacity: usize, entries: impl IntoIterator<Item = (u64, V)>) -> Arc<World<V>> {
        let domain = std::sync::Arc::new(Domain::builder().tier(Tier::Fence).build());
        let guard = domain.read().into_send();
        // SAFETY: it is dropped before the domain that it borrows, with the world.
        let guard = unsafe { std::mem::transmute::<SendGuard<'_>, SendGuard<'static>>(guard) };
        let hasher = BuildHasherDefault::default();
        let map = HashMap::with_capacity_and_hasher_in(capacity, hasher, domain.clone());
        for (key, value) in entries {
            map.insert(key, value, &guard);
        }
        Arc::new(World { map, guard, _domain: domain })
    }
}

impl World<u64> {
    fn get(&self, key: u64) -> Option<u64> {
        self.map.get(&key, &self.guard).copied()
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.map.insert(key, value, &self.guard).copied()
    }

    fn remove(&self, key: u64) -> Option<u64> {
        self.map.remove(&key, &self.guard).copied()
    }

    /// What is there in the end, by lookups and by iterator.
    fn check(&self, keys: std::ops::Range<u64>, wanted: &[(u64, u64)]) {
        let found: Vec<_> = keys.filter_map(|key| Some((key, self.get(key)?))).collect();
        assert_eq!(found, wanted, "no moment has that");
        let mut entries: Vec<_> = self.map.iter(&self.guard).map(|(k, v)| (*k, *v)).collect();
        entries.sort_unstable();
        assert_eq!(entries, wanted, "no moment has that");
    }
}

fn spawn<V: Send + 'static, R: 'static>(
    world: &Arc<World<V>>,
    run: impl FnOnce(&World<V>) -> R + 'static,
) -> JoinHandle<R> {
    let world = world.clone();
    thread::spawn(move || run(&world))
}

/// From one bucket to two, or back.
#[derive(Clone, Copy)]
enum Resize {
    Grow,
    Shrink,
}

use Resize::{Grow, Shrink};

impl Resize {
    fn world(self, entries: &[(u64, u64)]) -> Arc<World<u64>> {
        let capacity = match self {
            Grow => 0,
            Shrink => 2,
        };
        World::new(capacity, entries.iter().copied())
    }

    fn run<V: Send + 'static>(self, world: &World<V>) {
        match self {
            Grow => world.map.reserve(2),
            Shrink => world.map.shrink_to_fit(),
        }
    }
}

/// What is there is found, and what is not is not, while the bucket is moved.
fn looked_up(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = resize.world(&[(1, 10)]);
        let reader = spawn(&world, |world| (world.get(1), world.get(2)));
        resize.run(&world);
        assert_eq!(reader.join().unwrap(), (Some(10), None), "no moment has that");
        world.check(0..3, &[(1, 10)]);
    }
}

/// What is removed is gone, for whoever removed it and for whoever comes later.
fn removed(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = resize.world(&[(1, 10)]);
        let writer = spawn(&world, |world| (world.remove(1), world.get(1)));
        resize.run(&world);
        assert_eq!(writer.join().unwrap(), (Some(10), None), "no moment has that");
        world.check(0..3, &[]);
    }
}

/// What is put in stays, for whoever put it in and for whoever comes later.
fn inserted(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = resize.world(&[(1, 10)]);
        let writer = spawn(&world, |world| (world.insert(2, 20), world.get(2)));
        resize.run(&world);
        assert_eq!(writer.join().unwrap(), (None, Some(20)), "no moment has that");
        world.check(0..3, &[(1, 10), (2, 20)]);
    }
}

/// And what is replaced is not seen again.
fn replaced(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = resize.world(&[(1, 10)]);
        let writer = spawn(&world, |world| (world.insert(1, 11), world.get(1)));
        resize.run(&world);
        assert_eq!(writer.join().unwrap(), (Some(10), Some(11)), "no moment has that");
        world.check(0..3, &[(1, 11)]);
    }
}

/// Who iterates sees what is there all the time, once.
fn iterated(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let entries = [(1, 10), (2, 20)];
        // Two would not let it shrink.
        let entries = match resize {
            Grow => &entries[..],
            Shrink => &entries[..1],
        };
        let world = resize.world(entries);
        let reader = spawn(&world, |world| {
            let mut keys: Vec<u64> = world.map.keys(&world.guard).copied().collect();
            keys.sort_unstable();
            keys
        });
        resize.run(&world);
        let wanted: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
        assert_eq!(reader.join().unwrap(), wanted, "no moment has that");
    }
}

/// A key is removed while it is moved, and another thread looks twice.
fn watched(resize: Resize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = resize.world(&[(1, 10)]);
        let remover = spawn(&world, |world| world.remove(1));
        let reader = spawn(&world, |world| (world.get(1), world.get(1)));
        resize.run(&world);
        assert_eq!(remover.join().unwrap(), Some(10), "no moment has that");
        let seen = reader.join().unwrap();
        assert!(!matches!(seen, (None, Some(_))), "no moment has {seen:?}");
    }
}

/// A key is removed and put in again: whoever has seen the new one sees it again.
fn again() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::new(0, [(1, 10)]);
        let reader = spawn(&world, |world| (world.get(1), world.get(1)));
        assert_eq!((world.remove(1), world.insert(1, 11)), (Some(10), None));
        let seen = reader.join().unwrap();
        let wrong = match seen {
            (Some(11), second) => second != Some(11),
            (None, second) => second == Some(10),
            _ => false,
        };
        assert!(!wrong, "no moment has {seen:?}");
    }
}

/// The value behind a pointer that is found is whole.
fn published(resize: Option<Resize>) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new(0, [(1, Tracked::new(10))]);
        let reader = spawn(&world, |world| {
            for key in [1, 2] {
                if let Some(value) = world.map.get(&key, &world.guard) {
                    assert!(value.get() >= 10);
                }
            }
        });
        world.map.insert(2, Tracked::new(20), &world.guard);
        world.map.insert(1, Tracked::new(11), &world.guard);
        if let Some(resize) = resize {
            resize.run(&world);
        }
        reader.join().unwrap();
    }
}

/// Two that write one bucket: the same key, and others, so that it overflows and the map grows.
fn two_writers() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::new(0, [(3, 30)]);
        let other = spawn(&world, |world| (world.insert(1, 10), world.insert(2, 20)));
        let mine = world.insert(1, 11);
        let (theirs, second) = other.join().unwrap();
        assert_eq!(second, None);
        let one = match (mine, theirs) {
            (None, Some(11)) => 10,
            (Some(10), None) => 11,
            both => panic!("no moment has {both:?}"),
        };
        world.check(0..5, &[(1, one), (2, 20), (3, 30)]);
    }
}

/// Three that want one bucket's lock while it is moved. Nobody sleeps on who was woken by none of
/// its holders: the last of them may have found nobody parked.
fn crowd() -> impl Fn() + Sync + Send + 'static {
    || {
        let latch = Arc::new(Latch::default());
        let spawn = |run: fn(&Latch)| {
            let latch = latch.clone();
            thread::spawn(move || run(&latch))
        };
        let pass = |latch: &Latch| _ = latch.pass();
        let others = [spawn(pass), spawn(pass), spawn(Latch::leave)];
        latch.pass();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(!latch.pass());
    }
}

/// Two that compute on one key: none is lost.
fn two_updates() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::new(0, [(1, 10)]);
        let add = |world: &World<u64>| {
            world.map.update(1, |n| n + 1, &world.guard);
        };
        let other = spawn(&world, add);
        add(&world);
        other.join().unwrap();
        world.check(0..3, &[(1, 12)]);
    }
}

models! {
    looked_up_growing: 2, looked_up(Grow);
    looked_up_shrinking: 2, looked_up(Shrink);
    removed_growing: 2, removed(Grow);
    removed_shrinking: 2, removed(Shrink);
    inserted_growing: 2, inserted(Grow);
    inserted_shrinking: 1, inserted(Shrink);
    #[ignore = "takes five seconds"]
    inserted_shrinking_longer: 2, inserted(Shrink);
    replaced_growing: 2, replaced(Grow);
    replaced_shrinking: 2, replaced(Shrink);
    iterated_growing: 1, iterated(Grow);
    iterated_shrinking: 1, iterated(Shrink);
    #[ignore = "takes five seconds"]
    iterated_growing_longer: 2, iterated(Grow);
    #[ignore = "takes ten seconds"]
    watched_growing: 1, watched(Grow);
    #[ignore = "takes twenty seconds"]
    watched_shrinking: 1, watched(Shrink);
    removed_and_put_in_again: 2, again();
    published_entries: 2, published(None);
    published_and_moved: 2, published(Some(Grow));
    two_writers_of_a_bucket: 2, two_writers();
    two_updates_of_a_key: 2, two_updates();
    #[ignore = "fifteen seconds"]
    crowd_at_a_bucket: 2, crowd();
}

mutants! {
    mark_first: MarkFirst, 3, iterated(Grow);
    wipe_first: WipeFirst, 3, looked_up(Grow);
    wipe_first_of_writers: WipeFirst, 3, removed(Shrink);
    moved_stays: MovedStays, 3, removed(Grow);
    unlock_early: UnlockEarly, 3, removed(Grow);
    unlock_early_shrinking: UnlockEarly, 3, removed(Shrink);
    no_moved_look: NoMovedLook, 3, looked_up(Grow);
    moved_under_lock: MovedUnderLock, 3, inserted(Grow);
    tag_last: TagLast, 3, again();
    relaxed_entry: RelaxedEntry, 3, published(None);
    moved_asleep: MovedAsleep, 2, crowd();
}
