//! A bucket: one cache line, its lock, and those behind it.

use super::node::Head;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, AtomicU64, Choice, Ordering, SpinWait, park, wake};
use std::ptr::null_mut;

/// Entries of a bucket; in models few, so that they overflow.
pub(super) const SLOTS: usize = if cfg!(stillpoint_loom) { 2 } else { 6 };

/// In `link`: a writer has the bucket.
const LOCKED: usize = 1;
/// In `link`: somebody may be parked until it has not.
const PARKED: usize = 2;
/// In `link`: look in the next table instead. Never taken back.
const MOVED: usize = 4;
const BITS: usize = LOCKED | PARKED | MOVED;

/// A byte of each kind per slot.
const ONES: u64 = u64::from_ne_bytes([1; 8]) >> (64 - 8 * SLOTS);
const HIGHS: u64 = ONES << 7;

/// Up to [`SLOTS`] entries. A table is an array of these; what does not fit hangs behind them.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// A byte of each entry's hash, and zero for a free slot.
    pub(super) tags: AtomicU64,
    pub(super) slots: [AtomicPtr<Head>; SLOTS],
    /// The bucket behind this one or null, and in the low bits of a table's own bucket, its state.
    link: AtomicPtr<Bucket>,
}

/// What an entry's tag is: never zero.
pub(super) fn tag(hash: u64) -> u64 {
    u64::from((hash as u8).max(1))
}

/// The tag in its slot's place.
fn tag_at(slot: usize, hash: u64) -> u64 {
    tag(hash) << (8 * slot)
}

/// The slots whose bytes are equal to a tag, and perhaps some behind one that is. Each is a bit.
#[derive(Clone, Copy)]
pub(super) struct Matches(u64);

impl Matches {
    #[inline(always)]
    pub(super) fn new(tags: u64, hash: u64) -> Matches {
        let differs = tags ^ (ONES * tag(hash));
        Matches(differs.wrapping_sub(ONES) & !differs & HIGHS)
    }
}

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() / 8;
        self.0 &= self.0 - 1;
        Some(slot as usize)
    }
}

/// A link, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Link(*mut Bucket);

impl Link {
    #[inline(always)]
    fn has(self, bits: usize) -> bool {
        self.0.addr() & bits != 0
    }

    fn with(self, bits: usize) -> Link {
        Link(self.0.map_addr(|addr| addr | bits))
    }

    fn without(self, bits: usize) -> Link {
        Link(self.0.map_addr(|addr| addr & !bits))
    }

    #[inline(always)]
    pub(super) fn is_moved(self) -> bool {
        self.has(MOVED)
    }

    /// The bucket behind.
    ///
    /// # Safety
    ///
    /// The link's table is not freed while the result is used.
    #[inline(always)]
    pub(super) unsafe fn behind<'t>(self) -> Option<&'t Bucket> {
        let bucket = self.0.map_addr(|addr| addr & !BITS);
        // SAFETY: null, or a bucket that was put behind this one and is freed with the table.
        unsafe { bucket.as_ref() }
    }
}

impl Bucket {
    pub(super) fn new() -> Bucket {
        Bucket {
            tags: AtomicU64::new(0),
            slots: std::array::from_fn(|_| AtomicPtr::new(null_mut())),
            link: AtomicPtr::new(null_mut()),
        }
    }

    /// Acquire: partners are the stores that make a bucket moved, or put one behind it.
    #[inline(always)]
    pub(super) fn link(&self) -> Link {
        Link(self.link.load(Ordering::Acquire))
    }

    /// Changes the link, whose bits others change too.
    fn change(&self, how: impl Fn(Link) -> Link) -> Link {
        let mut now = self.link.load(Ordering::Relaxed);
        loop {
            // Release: partner is the acquire in `link` and `lock`.
            let new = how(Link(now)).0;
            let done =
                self.link.compare_exchange_weak(now, new, Ordering::Release, Ordering::Relaxed);
            match done {
                Ok(before) => return Link(before),
                Err(other) => now = other,
            }
        }
    }

    fn key(&self) -> *const () {
        (&raw const self.link).cast()
    }

    /// The lock, or nothing if the bucket was moved. Of a table's own buckets only.
    ///
    /// Nobody calls out while it has a lock: held for some dozen instructions, unless preempted.
    pub(super) fn lock(&self) -> Option<Hold<'_>> {
        let mut spin = SpinWait::new();
        // Acquire: as in `link`.
        let mut link = self.link();
        loop {
            if link.is_moved() && !broken(Mutant::MovedUnderLock) {
                return None;
            }
            let wanted = if !link.has(LOCKED) {
                LOCKED
            } else if spin.spin() {
                link = self.link();
                continue;
            } else {
                PARKED
            };
            // Acquire: partner is the release of the unlock.
            let new = link.with(wanted).0;
            let order = Ordering::Acquire;
            match self.link.compare_exchange_weak(link.0, new, order, Ordering::Acquire) {
                Ok(_) if wanted == LOCKED => return Some(Hold(self)),
                Ok(_) => {
                    // Relaxed: what parks and what wakes agree by the queue's lock.
                    let waits = || {
                        let now = Link(self.link.load(Ordering::Relaxed));
                        now.has(LOCKED) && now.has(PARKED)
                    };
                    park(self.key(), 0, None, waits);
                    spin.reset();
                    link = self.link();
                }
                Err(other) => link = Link(other),
            }
        }
    }

    /// The lock of a bucket that nobody else has come to yet.
    ///
    /// Relaxed: whoever comes here follows a link that was stored later, with release.
    pub(super) fn lock_unshared(&self) {
        self.link.store(null_mut::<Bucket>().map_addr(|_| LOCKED), Ordering::Relaxed);
    }

    /// What the drop of a [`Hold`] does.
    pub(super) fn unlock(&self) {
        // Release: partner is the acquire in `lock`.
        let before = self.change(|link| link.without(LOCKED | PARKED));
        if before.has(PARKED) {
            self.wake(before.is_moved());
        }
    }

    /// Wakes one that waits for the lock, or all.
    #[cold]
    fn wake(&self, all: bool) {
        let mut woken = false;
        let choose = |_| {
            if all || !std::mem::replace(&mut woken, true) { Choice::Wake } else { Choice::Stop }
        };
        let mut left_behind = false;
        // With the queue locked: nobody adds itself between the look and the store.
        let then = |more| {
            if more {
                left_behind = self.change(|link| link.with(PARKED)).is_moved();
            }
            0
        };
        wake(self.key(), choose, then);
        // Moved since it was unlocked, by one who found nobody parked: then there is no next unlock
        // to wake the rest. Who moves it later finds the bit.
        if left_behind && !broken(Mutant::MovedAsleep) {
            wake(self.key(), |_| Choice::Wake, |_| 0);
        }
    }

    /// Puts an entry into a free slot.
    ///
    /// The tag first: whoever has seen the entry, and whoever comes after that one, sees the tag.
    pub(super) fn put(&self, slot: usize, hash: u64, node: *mut Head) {
        let tags = self.tags.load(Ordering::Relaxed) | tag_at(slot, hash);
        if !broken(Mutant::TagLast) {
            // Relaxed: the store of the entry releases it.
            self.tags.store(tags, Ordering::Relaxed);
        }
        self.set(slot, node);
        if broken(Mutant::TagLast) {
            self.tags.store(tags, Ordering::Release);
        }
    }

    /// Replaces an entry by one of the same key.
    pub(super) fn set(&self, slot: usize, node: *mut Head) {
        // Release: partner is the acquire in the lookup.
        let order =
            if broken(Mutant::RelaxedEntry) { Ordering::Relaxed } else { Ordering::Release };
        self.slots[slot].store(node, order);
    }

    /// Takes an entry out. The entry first: no slot whose tag is gone has one.
    pub(super) fn take(&self, slot: usize) {
        // Release: in the order of these two. Partners are the acquires in the lookup.
        self.slots[slot].store(null_mut(), Ordering::Release);
        let tags = self.tags.load(Ordering::Relaxed) & !(0xff << (8 * slot));
        self.tags.store(tags, Ordering::Release);
    }

    /// Empties a bucket that was moved: whoever finds it empty finds it moved.
    pub(super) fn wipe(&self) {
        // Release: partners are the acquires in the lookup, which then loads the link.
        self.tags.store(0, Ordering::Release);
        self.slots.iter().for_each(|slot| slot.store(null_mut(), Ordering::Release));
    }

    /// How many entries are in it, by its tags. Under the lock.
    pub(super) fn entries(&self) -> usize {
        let tags = self.tags.load(Ordering::Relaxed);
        (0..SLOTS).filter(|slot| tags >> (8 * slot) & 0xff != 0).count()
    }

    /// A slot whose tag is zero. Under the lock.
    pub(super) fn free_slot(&self) -> Option<usize> {
        let tags = self.tags.load(Ordering::Relaxed);
        (0..SLOTS).find(|slot| tags >> (8 * slot) & 0xff == 0)
    }

    /// Puts `bucket` behind this one, which has none and whose table's bucket the caller has
    /// locked.
    pub(super) fn append(&self, bucket: Box<Bucket>) {
        let bucket = Box::into_raw(bucket);
        // The release hands on what is in it. Behind a table's own bucket others may set bits.
        self.change(|link| Link(bucket.map_addr(|addr| addr | link.0.addr() & BITS)));
    }

    /// This bucket and those behind it.
    ///
    /// # Safety
    ///
    /// The table is not freed while what this yields is used.
    pub(super) unsafe fn chain(&self) -> impl Iterator<Item = &Bucket> {
        // SAFETY: the caller's promise.
        std::iter::successors(Some(self), |bucket| unsafe { bucket.link().behind() })
    }

    /// Frees the buckets behind this one.
    ///
    /// # Safety
    ///
    /// Nobody else uses the table any more.
    pub(super) unsafe fn free_behind(&mut self) {
        // Relaxed: whoever has exclusive access came here after all use.
        let mut link = Link(self.link.load(Ordering::Relaxed));
        loop {
            let bucket = link.0.map_addr(|addr| addr & !BITS);
            if bucket.is_null() {
                return;
            }
            // SAFETY: made by `append` from a box, and linked once.
            let bucket = unsafe { Box::from_raw(bucket) };
            link = Link(bucket.link.load(Ordering::Relaxed));
        }
    }
}

/// A table's bucket, locked.
#[derive(Debug)]
pub(super) struct Hold<'t>(&'t Bucket);

impl<'t> Hold<'t> {
    pub(super) fn bucket(&self) -> &'t Bucket {
        self.0
    }

    /// From here on, look in the next table.
    pub(super) fn mark_moved(&self) {
        self.0.change(|link| link.with(MOVED));
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}
