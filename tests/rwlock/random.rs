//! Random operations of one thread against a model: what is tried succeeds if and only if it may.

use crate::{tiers, warm};
use std::time::{Duration, Instant};
use stillpoint::{
    MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};

const LOCKS: usize = 12;
const STEPS: usize = 60_000;
/// A time that is over as soon as it is looked at.
const INSTANT: Duration = Duration::from_nanos(1);

/// A guard that is held, with the lock it is of.
enum Held<'l> {
    Read(RwLockReadGuard<'l, u64>),
    Mapped(MappedRwLockReadGuard<'l, u64>),
    Upgradable(RwLockUpgradableReadGuard<'l, u64>),
    Write(RwLockWriteGuard<'l, u64>),
}

/// What the model knows of a lock.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    readers: usize,
    upgradable: bool,
    writer: bool,
    value: u64,
}

impl Model {
    fn allows_reader(&self) -> bool {
        !self.writer
    }

    fn allows_upgradable(&self) -> bool {
        !self.writer && !self.upgradable
    }

    fn allows_writer(&self) -> bool {
        self.allows_upgradable() && self.readers == 0
    }

    fn add(&mut self, held: &Held<'_>) {
        match held {
            Held::Read(_) | Held::Mapped(_) => self.readers += 1,
            Held::Upgradable(_) => self.upgradable = true,
            Held::Write(_) => self.writer = true,
        }
    }

    fn remove(&mut self, held: &Held<'_>) {
        match held {
            Held::Read(_) | Held::Mapped(_) => self.readers -= 1,
            Held::Upgradable(_) => self.upgradable = false,
            Held::Write(_) => self.writer = false,
        }
    }
}

#[test]
fn what_may_succeed_does_and_what_may_not_does_not() {
    tiers::in_time(|| {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        play(seed);
    });
}

fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let locks: [RwLock<u64>; LOCKS] = std::array::from_fn(|_| RwLock::new(0));
    let mut models = [Model::default(); LOCKS];
    let mut held: Vec<(usize, Held<'_>)> = Vec::new();
    // How many guards are to be held about now.
    let mut wanted = 10;
    for step in 0..STEPS {
        if step % 500 == 0 {
            wanted = random.usize(0..60);
        }
        let n = random.usize(..LOCKS);
        if held.len() > wanted || random.u8(..4) == 0 {
            if !held.is_empty() {
                let (n, guard) = held.swap_remove(random.usize(..held.len()));
                models[n].remove(&guard);
                if let Some(guard) = change(&mut random, &mut models[n], guard) {
                    models[n].add(&guard);
                    held.push((n, guard));
                }
            }
        } else if let Some(guard) = take(&mut random, &models[n], &locks[n]) {
            models[n].add(&guard);
            held.push((n, guard));
        } else if models[n].allows_reader() && random.u8(..100) == 0 {
            warm::warm(&locks[n]);
        }
        let (lock, model) = (&locks[n], &models[n]);
        assert_eq!(lock.is_locked(), !model.allows_writer(), "step {step}: {model:?}");
        assert_eq!(lock.is_locked_exclusive(), model.writer, "step {step}: {model:?}");
    }
    drop(held);
    let values = models.map(|model| model.value);
    assert_eq!(locks.map(RwLock::into_inner), values);
}

/// Takes a lock in a random way, if it lets itself be taken, which must be as the model says.
fn take<'l>(random: &mut fastrand::Rng, model: &Model, lock: &'l RwLock<u64>) -> Option<Held<'l>> {
    let until = || Instant::now() + INSTANT;
    let (held, may) = match random.u8(..11) {
        0 | 1 => (lock.try_read().map(Held::Read), model.allows_reader()),
        2 if model.allows_reader() => (Some(Held::Read(lock.read())), true),
        3 => (lock.try_read_for(INSTANT).map(Held::Read), model.allows_reader()),
        4 => (lock.try_read_until(until()).map(Held::Read), model.allows_reader()),
        5 => (lock.try_upgradable_read().map(Held::Upgradable), model.allows_upgradable()),
        6 => {
            let taken = lock.try_upgradable_read_for(INSTANT);
            (taken.map(Held::Upgradable), model.allows_upgradable())
        }
        7 => (lock.try_write().map(Held::Write), model.allows_writer()),
        8 => (lock.try_write_for(INSTANT).map(Held::Write), model.allows_writer()),
        9 => (lock.try_write_until(until()).map(Held::Write), model.allows_writer()),
        _ if model.allows_writer() => (Some(Held::Write(lock.write())), true),
        _ => return None,
    };
    assert_eq!(held.is_some(), may, "{model:?}");
    held
}

/// Does something with a guard; gives back what is held then. The model does not count it.
fn change<'l>(random: &mut fastrand::Rng, model: &mut Model, held: Held<'l>) -> Option<Held<'l>> {
    let choice = random.u8(..8);
    match held {
        Held::Read(guard) => {
            assert_eq!(*guard, model.value);
            match choice {
                0 => Some(Held::Mapped(RwLockReadGuard::map(guard, |value| value))),
                1 => {
                    RwLockReadGuard::unlock_fair(guard);
                    None
                }
                _ => None,
            }
        }
        Held::Mapped(guard) => {
            assert_eq!(*guard, model.value);
            None
        }
        Held::Upgradable(mut guard) => {
            assert_eq!(*guard, model.value);
            let alone = model.readers == 0;
            let upgraded = match choice {
                0 => RwLockUpgradableReadGuard::try_upgrade(guard),
                1 => RwLockUpgradableReadGuard::try_upgrade_for(guard, INSTANT),
                2 if alone => Ok(RwLockUpgradableReadGuard::upgrade(guard)),
                3 => {
                    let done = guard.try_with_upgraded(|value| *value += 1).is_some();
                    assert_eq!(done, alone, "{model:?}");
                    model.value += u64::from(done);
                    return Some(Held::Upgradable(guard));
                }
                4 => return Some(Held::Read(RwLockUpgradableReadGuard::downgrade(guard))),
                _ => return None,
            };
            assert_eq!(upgraded.is_ok(), alone, "{model:?}");
            Some(upgraded.map_or_else(Held::Upgradable, Held::Write))
        }
        Held::Write(mut guard) => {
            assert_eq!(*guard, model.value);
            *guard += 1;
            model.value += 1;
            match choice {
                0 | 1 => Some(Held::Read(RwLockWriteGuard::downgrade(guard))),
                2 => Some(Held::Upgradable(RwLockWriteGuard::downgrade_to_upgradable(guard))),
                3 => {
                    RwLockWriteGuard::unlock_fair(guard);
                    None
                }
                _ => None,
            }
        }
    }
}
