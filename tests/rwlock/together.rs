//! Random operations of several threads, each of which says what it holds: nothing that excludes the
//! other is held at once.

use crate::{tiers, warm};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, yield_now};
use std::time::Duration;
use stillpoint::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};

const THREADS: u64 = 6;
const STEPS: usize = 10_000;

/// What is held, by whose word; told after taking and before giving up, so that it is never more
/// than what is held.
#[derive(Debug, Default)]
struct Shadow {
    readers: AtomicUsize,
    upgradable: AtomicBool,
    writer: AtomicBool,
    writes: AtomicUsize,
}

/// A lock and its shadow.
#[derive(Debug, Default)]
struct Watched {
    lock: RwLock<[usize; 2]>,
    shadow: Shadow,
}

impl Shadow {
    fn reader(&self) {
        self.readers.fetch_add(1, SeqCst);
        assert!(!self.writer.load(SeqCst), "a reader beside a writer");
    }

    fn no_reader(&self) {
        self.readers.fetch_sub(1, SeqCst);
    }

    fn upgradable(&self) {
        assert!(!self.upgradable.swap(true, SeqCst), "two upgradable readers");
        assert!(!self.writer.load(SeqCst), "an upgradable reader beside a writer");
    }

    fn not_upgradable(&self) {
        assert!(self.upgradable.swap(false, SeqCst));
    }

    fn writer(&self) {
        assert!(!self.writer.swap(true, SeqCst), "two writers");
        assert_eq!(self.readers.load(SeqCst), 0, "a writer beside readers");
        assert!(!self.upgradable.load(SeqCst), "a writer beside an upgradable reader");
    }

    fn no_writer(&self) {
        assert!(self.writer.swap(false, SeqCst));
    }
}

type Value = [usize; 2];

impl Watched {
    fn read(&self, guard: RwLockReadGuard<'_, Value>, random: &mut fastrand::Rng) {
        self.shadow.reader();
        self.go_on_reading(guard, random);
    }

    fn go_on_reading(&self, guard: RwLockReadGuard<'_, Value>, random: &mut fastrand::Rng) {
        linger(random);
        assert_eq!(guard[0], guard[1]);
        self.shadow.no_reader();
    }

    fn write(&self, guard: RwLockWriteGuard<'_, Value>, random: &mut fastrand::Rng) {
        self.shadow.writer();
        self.go_on_writing(guard, random);
    }

    fn go_on_writing(&self, mut guard: RwLockWriteGuard<'_, Value>, random: &mut fastrand::Rng) {
        assert_eq!(guard[0], guard[1]);
        guard[0] += 1;
        linger(random);
        guard[1] += 1;
        self.shadow.writes.fetch_add(1, SeqCst);
        match random.u8(..6) {
            0 => {
                // Said beforehand, for others may come in at once.
                self.shadow.no_writer();
                self.shadow.reader();
                self.go_on_reading(RwLockWriteGuard::downgrade(guard), random);
            }
            1 => {
                self.shadow.no_writer();
                self.shadow.upgradable();
                let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                self.go_on_upgradable(guard, random);
            }
            2 => {
                self.shadow.no_writer();
                RwLockWriteGuard::unlock_fair(guard);
            }
            3 => {
                self.shadow.no_writer();
                RwLockWriteGuard::bump(&mut guard);
                self.shadow.writer();
                assert_eq!(guard[0], guard[1]);
                self.shadow.no_writer();
            }
            _ => self.shadow.no_writer(),
        }
    }

    fn upgradable(&self, guard: RwLockUpgradableReadGuard<'_, Value>, random: &mut fastrand::Rng) {
        self.shadow.upgradable();
        self.go_on_upgradable(guard, random);
    }

    fn go_on_upgradable(
        &self,
        guard: RwLockUpgradableReadGuard<'_, Value>,
        random: &mut fastrand::Rng,
    ) {
        let before = *guard;
        linger(random);
        assert_eq!(guard[0], guard[1]);
        let upgraded = match random.u8(..5) {
            0 => RwLockUpgradableReadGuard::try_upgrade(guard),
            1 => RwLockUpgradableReadGuard::try_upgrade_for(guard, brief(random)),
            2 => Ok(RwLockUpgradableReadGuard::upgrade(guard)),
            3 => {
                self.shadow.not_upgradable();
                self.shadow.reader();
                let guard = RwLockUpgradableReadGuard::downgrade(guard);
                assert_eq!(*guard, before);
                return self.go_on_reading(guard, random);
            }
            _ => Err(guard),
        };
        match upgraded {
            Ok(guard) => {
                assert_eq!(*guard, before, "somebody wrote before an upgrade");
                self.shadow.not_upgradable();
                self.write(guard, random);
            }
            Err(guard) => {
                assert_eq!(*guard, before, "somebody wrote beside an upgradable reader");
                self.shadow.not_upgradable();
                drop(guard);
            }
        }
    }
}

fn linger(random: &mut fastrand::Rng) {
    match random.u8(..50) {
        0 => std::thread::sleep(Duration::from_micros(random.u64(..100))),
        1 | 2 => yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
}

/// A time to wait that is sometimes enough.
fn brief(random: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(random.u64(..200))
}

#[test]
fn what_excludes_each_other_is_never_held_at_once() {
    tiers::in_time(|| {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let locks: [Watched; 2] = Default::default();
        warm::warm(&locks[0].lock);
        scope(|s| {
            for thread in 0..THREADS {
                let locks = &locks;
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                s.spawn(move || (0..STEPS).for_each(|_| step(locks, &mut random)));
            }
        });
        for Watched { lock, shadow } in locks {
            let writes = shadow.writes.into_inner();
            assert!(!lock.is_locked() && writes > 0);
            assert_eq!(lock.into_inner(), [writes; 2]);
        }
    });
}

/// One lock at a time: who waits holds nothing.
fn step(locks: &[Watched; 2], random: &mut fastrand::Rng) {
    let watched = &locks[random.usize(..2)];
    let lock = &watched.lock;
    match random.u32(..200) {
        // Mostly readers, or the bias would never come back.
        0..150 => watched.read(lock.read(), random),
        150..160 => {
            if let Some(guard) = lock.try_read() {
                watched.read(guard, random);
            }
        }
        160..165 => {
            if let Some(guard) = lock.try_read_for(brief(random)) {
                watched.read(guard, random);
            }
        }
        165..170 => watched.upgradable(lock.upgradable_read(), random),
        170..175 => {
            if let Some(guard) = lock.try_upgradable_read() {
                watched.upgradable(guard, random);
            }
        }
        175..180 => {
            if let Some(guard) = lock.try_upgradable_read_for(brief(random)) {
                watched.upgradable(guard, random);
            }
        }
        180..185 => watched.write(lock.write(), random),
        185..190 => {
            if let Some(guard) = lock.try_write() {
                watched.write(guard, random);
            }
        }
        190..199 => {
            if let Some(guard) = lock.try_write_for(brief(random)) {
                watched.write(guard, random);
            }
        }
        // A burst, after which the bias may be back.
        _ => (0..3000).for_each(|_| drop(lock.read())),
    }
}
