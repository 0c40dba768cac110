//! Futures that wait for a grace period.
//!
//! A table of wakers under a lock that is held for a few instructions and never while foreign
//! code runs: wakers are cloned before and woken after. How registering and waking find each
//! other: see [`super::grace`].

use super::grace::Target;
use super::hooks::caught;
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, fence};
use std::ptr::null_mut;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Sleepers {
    /// How many there are: a leader that reads 0 has nothing to do.
    asleep: AtomicUsize,
    /// Made by the first future. The child of a fork leaves it behind: it may be locked for ever.
    table: AtomicPtr<Mutex<Table>>,
    /// The last key. Not in the table: futures from before a fork have theirs in the child too.
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    sleepers: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    key: u64,
    target: Target,
    waker: Waker,
}

impl Sleepers {
    pub(super) fn new() -> Sleepers {
        Sleepers {
            asleep: AtomicUsize::new(0),
            table: AtomicPtr::new(null_mut()),
            last: AtomicU64::new(0),
        }
    }

    /// Works on the table, if there is one.
    fn with<R>(&self, work: impl FnOnce(&mut Table) -> R) -> Option<R> {
        // Acquire: partner is the release in `make`.
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: from a box in `make`; freed only with the engine.
        let table = unsafe { table.as_ref() }?;
        // Nothing panics under the lock but an allocation.
        let mut table = table.lock().unwrap_or_else(|e| e.into_inner());
        let result = work(&mut table);
        self.asleep.store(table.sleepers.len(), Ordering::Relaxed);
        Some(result)
    }

    fn make(&self) {
        if self.table.load(Ordering::Acquire).is_null() {
            let fresh = Box::into_raw(Box::new(Mutex::new(Table::default())));
            let won =
                self.table.compare_exchange(null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
            if won.is_err() {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }

    /// Wakes `waker` when `target` is reached; in the place of the one that was put under `key`
    /// before, if that is not 0. The caller looks at the number again afterwards.
    pub(super) fn put(&self, key: u64, target: Target, waker: &Waker) -> u64 {
        self.make();
        let waker = waker.clone();
        let put = self.with(|table| {
            if let Some(sleeper) = table.sleepers.iter_mut().find(|s| s.key == key) {
                return (key, Some(std::mem::replace(&mut sleeper.waker, waker)));
            }
            let key = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            table.sleepers.push(Sleeper { key, target, waker });
            (key, None)
        });
        // Partner: the fence behind the leader's unlock.
        fence(Ordering::SeqCst);
        // What `put` holds of the old waker is dropped here, without the lock.
        put.map_or(0, |(key, _old)| key)
    }

    /// Forgets a waker. Nothing happens if it was woken meanwhile.
    pub(super) fn remove(&self, key: u64) {
        let removed = self.with(|table| {
            let at = table.sleepers.iter().position(|s| s.key == key)?;
            Some(table.sleepers.swap_remove(at))
        });
        drop(removed);
    }

    /// Wakes everyone whose number has come. Behind a fence.
    pub(super) fn wake(&self, now: Target) {
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken: Option<Vec<_>> =
            self.with(|table| table.sleepers.extract_if(.., |s| s.target <= now).collect());
        for sleeper in woken.into_iter().flatten() {
            caught(|| sleeper.waker.wake());
        }
    }

    /// True if somebody's number has come. Behind a fence.
    pub(super) fn any_reached(&self, now: Target) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0
            && self.with(|table| table.sleepers.iter().any(|s| s.target <= now)) == Some(true)
    }

    /// What the last of them waits for.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn wanted(&self) -> Option<Target> {
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.with(|table| table.sleepers.iter().map(|s| s.target).max()).flatten()
    }

    /// In the child of a fork.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn forget_after_fork(&self) {
        self.table.store(null_mut(), Ordering::Relaxed);
        self.asleep.store(0, Ordering::Relaxed);
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let table = self.table.load(Ordering::Relaxed);
        if !table.is_null() {
            // SAFETY: from a box in `make`; nobody uses it any more.
            let table = *unsafe { Box::from_raw(table) };
            // Those of futures that were forgotten, one by one: each may panic.
            for sleeper in table.into_inner().unwrap_or_else(|e| e.into_inner()).sleepers {
                caught(|| drop(sleeper));
            }
        }
    }
}
