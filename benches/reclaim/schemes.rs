//! The schemes, all doing the same work in the manner that their own documentation shows.
//!
//! Each has some places for an [`Object`]. Writers allocate a new one, exchange it for the old
//! one and retire that; readers enter, find the object, add up its words and leave. As in the C
//! shim, the loops are inside, so that the harness costs all of them the same.

use crate::object::Object;
use crossbeam_epoch as epoch;
use seize::Guard as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use stillpoint::rcu::{self, Domain, RcuCell};

pub(crate) const OURS: &str = "stillpoint";
pub(crate) const OURS_RETIRE: &str = "stillpoint, retire";
pub(crate) const CROSSBEAM: &str = "crossbeam-epoch";
pub(crate) const SEIZE: &str = "seize";
pub(crate) const URCU: &str = "liburcu-memb";

/// Places for an object in each scheme: threads that replace need one each.
pub(crate) const SLOTS: usize = 2;

/// A way to free what readers may still be reading.
pub(crate) trait Scheme: Sync {
    fn name(&self) -> &'static str;

    /// Allocates an object, puts it in the place of the one before and retires that; so often.
    fn replace(&self, slot: usize, times: u64);

    /// Enters, adds up an object's words, and leaves; so often.
    fn read(&self, slot: usize, times: u64) -> u64;

    /// What a thread does that will retire nothing more: lets go of what it has collected.
    fn hand_over(&self) {}

    /// Waits until everything that was handed over is freed, with readers coming and going.
    fn drain(&self);

    /// Waits for a grace period, where there is such a thing.
    fn synchronize(&self) -> Option<fn()> {
        None
    }

    /// The grace periods so far, where one can know.
    fn grace_periods(&self) -> Option<u64> {
        None
    }

    /// The broadcasts so far, where one can know.
    fn broadcasts(&self) -> Option<u64> {
        None
    }
}

/// All of them. Says which are missing.
pub(crate) fn all() -> Vec<Box<dyn Scheme>> {
    let mut all: Vec<Box<dyn Scheme>> = vec![
        Box::new(Ours::default()),
        Box::new(OursRetire::default()),
        Box::new(Crossbeam::default()),
        Box::new(Seize::default()),
    ];
    match peers::urcu() {
        Some(urcu) => all.push(Box::new(Urcu::new(urcu))),
        None => println!("SKIPPED {URCU}: liburcu-dev was not installed when this was built"),
    }
    all
}

fn our_broadcasts() -> u64 {
    rcu::statistics().broadcasts
}

/// Cells: the header is in the object's own allocation.
struct Ours([RcuCell<Object>; SLOTS]);

impl Default for Ours {
    fn default() -> Ours {
        Ours([0; SLOTS].map(|seed| RcuCell::new(Object::new(seed))))
    }
}

impl Scheme for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    #[inline(never)]
    fn replace(&self, slot: usize, times: u64) {
        (0..times).for_each(|seed| self.0[slot].store(Object::new(seed)));
    }

    #[inline(never)]
    fn read(&self, slot: usize, times: u64) -> u64 {
        let cell = &self.0[slot];
        (0..times).fold(0, |sum, _| sum.wrapping_add(cell.load(&rcu::read()).sum()))
    }

    fn drain(&self) {
        rcu::barrier();
    }

    fn synchronize(&self) -> Option<fn()> {
        Some(rcu::synchronize)
    }

    fn grace_periods(&self) -> Option<u64> {
        Some(Domain::global().grace_periods())
    }

    fn broadcasts(&self) -> Option<u64> {
        Some(our_broadcasts())
    }
}

/// A place that other schemes protect. Never null; owns the last object.
struct Slot(AtomicPtr<Object>);

impl Default for Slot {
    fn default() -> Slot {
        Slot(AtomicPtr::new(Box::into_raw(Box::new(Object::new(0)))))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the last object, boxed as all of them are, was not retired.
        drop(unsafe { Box::from_raw(*self.0.get_mut()) });
    }
}

/// The same boxes that the other crates get, through the function that retires anything.
#[derive(Default)]
struct OursRetire([Slot; SLOTS]);

impl Scheme for OursRetire {
    fn name(&self) -> &'static str {
        OURS_RETIRE
    }

    #[inline(never)]
    fn replace(&self, slot: usize, times: u64) {
        for seed in 0..times {
            let new = Box::into_raw(Box::new(Object::new(seed)));
            let old = self.0[slot].0.swap(new, Ordering::AcqRel);
            // SAFETY: a box, just unlinked, which nobody but earlier readers can reach.
            rcu::retire(unsafe { Box::from_raw(old) });
        }
    }

    #[inline(never)]
    fn read(&self, slot: usize, times: u64) -> u64 {
        (0..times).fold(0, |sum, _| {
            let _guard = rcu::read();
            // SAFETY: never null, and dropped a grace period after it is unlinked.
            sum.wrapping_add(unsafe { &*self.0[slot].0.load(Ordering::Acquire) }.sum())
        })
    }

    fn drain(&self) {
        rcu::barrier();
    }

    fn broadcasts(&self) -> Option<u64> {
        Some(our_broadcasts())
    }
}

struct Crossbeam([epoch::Atomic<Object>; SLOTS]);

impl Default for Crossbeam {
    fn default() -> Crossbeam {
        Crossbeam([0; SLOTS].map(|seed| epoch::Atomic::new(Object::new(seed))))
    }
}

impl Scheme for Crossbeam {
    fn name(&self) -> &'static str {
        CROSSBEAM
    }

    #[inline(never)]
    fn replace(&self, slot: usize, times: u64) {
        for seed in 0..times {
            let guard = epoch::pin();
            let new = epoch::Owned::new(Object::new(seed));
            let old = self.0[slot].swap(new, Ordering::AcqRel, &guard);
            // SAFETY: never null, and just unlinked.
            unsafe { guard.defer_destroy(old) };
        }
    }

    #[inline(never)]
    fn read(&self, slot: usize, times: u64) -> u64 {
        (0..times).fold(0, |sum, _| {
            let guard = epoch::pin();
            // SAFETY: never null.
            sum.wrapping_add(unsafe { self.0[slot].load(Ordering::Acquire, &guard).deref() }.sum())
        })
    }

    fn hand_over(&self) {
        epoch::pin().flush();
    }

    fn drain(&self) {
        // The queue is in order: this comes after everything that was handed over.
        let done = Arc::new(AtomicBool::new(false));
        let last = done.clone();
        epoch::pin().defer(move || last.store(true, Ordering::Relaxed));
        while !done.load(Ordering::Relaxed) {
            epoch::pin().flush();
        }
    }
}

#[derive(Default)]
struct Seize {
    collector: seize::Collector,
    slots: [Slot; SLOTS],
}

impl Scheme for Seize {
    fn name(&self) -> &'static str {
        SEIZE
    }

    #[inline(never)]
    fn replace(&self, slot: usize, times: u64) {
        for seed in 0..times {
            let guard = self.collector.enter();
            let new = Box::into_raw(Box::new(Object::new(seed)));
            let old = guard.swap(&self.slots[slot].0, new, Ordering::AcqRel);
            // SAFETY: a box, just unlinked.
            unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
        }
    }

    #[inline(never)]
    fn read(&self, slot: usize, times: u64) -> u64 {
        (0..times).fold(0, |sum, _| {
            let guard = self.collector.enter();
            // SAFETY: never null.
            sum.wrapping_add(
                unsafe { &*guard.protect(&self.slots[slot].0, Ordering::Acquire) }.sum(),
            )
        })
    }

    fn hand_over(&self) {
        self.collector.enter().flush();
    }

    /// Nothing to wait for: the last reader of a batch frees it when it leaves.
    fn drain(&self) {}
}

struct Urcu {
    urcu: peers::Urcu,
    slots: [peers::Slot; SLOTS],
}

impl Urcu {
    fn new(urcu: peers::Urcu) -> Urcu {
        // On this thread, which may run anywhere.
        urcu.start_worker();
        Urcu { urcu, slots: Default::default() }
    }
}

impl Scheme for Urcu {
    fn name(&self) -> &'static str {
        URCU
    }

    fn replace(&self, slot: usize, times: u64) {
        self.urcu.registered(|thread| thread.replace(&self.slots[slot], times));
    }

    fn read(&self, slot: usize, times: u64) -> u64 {
        self.urcu.registered(|thread| thread.sum(&self.slots[slot], times))
    }

    fn drain(&self) {
        self.urcu.barrier();
    }

    fn synchronize(&self) -> Option<fn()> {
        Some(|| _ = peers::urcu().map(peers::Urcu::synchronize))
    }
}
