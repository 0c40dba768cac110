//! How a map gets another table. What must hold of it: [`super::raw`].

use super::bucket::{Bucket, SLOTS};
use super::node::Head;
use super::raw::{FIRST, FULL, RawMap};
use super::table::Table;
use crate::rcu::Domain;
use crate::sync::Ordering;
use crate::sync::mutant::{Mutant, broken};
use std::ptr::null_mut;

/// Buckets that a writer moves for others.
const CHUNK: usize = if cfg!(stillpoint_loom) { 1 } else { 32 };

impl RawMap {
    /// Begins to move everything to a table of `2^log` buckets, unless `table` is not the root, or
    /// is being moved.
    ///
    /// # Safety
    ///
    /// Inside a read-side critical section of the map's domain in which `table` was reached.
    #[cold]
    pub(super) unsafe fn resize(&self, table: Table, log: u32) {
        // SAFETY: the caller's promise.
        if self.root() != Some(table) || unsafe { table.next() }.is_some() || log > Table::MAX_LOG {
            return;
        }
        let next = Table::new(log);
        // SAFETY: as above.
        let word = &unsafe { table.head() }.next;
        // Release: partner is the acquire in `next`. It was the root, and is as long as there is no
        // next one.
        let order = Ordering::AcqRel;
        if word.compare_exchange(null_mut(), next.0, order, Ordering::Relaxed).is_err() {
            // SAFETY: made above, and nobody else has seen it.
            unsafe { next.free() };
        }
    }

    /// Moves up to so many chunks of buckets, if the root is being moved.
    ///
    /// # Safety
    ///
    /// Inside a read-side critical section of `domain`, which is the map's.
    pub(super) unsafe fn help(&self, domain: &Domain, chunks: usize) {
        let Some(table) = self.root() else { return };
        // SAFETY: the root, in this section.
        let Some(next) = (unsafe { table.next() }) else { return };
        // SAFETY: as above.
        let head = unsafe { table.head() };
        let mut spares = vec![];
        for _ in 0..chunks {
            if head.claimed.load(Ordering::Relaxed) >= table.len() {
                return;
            }
            // Relaxed: whoever gets a number is the only one.
            let from = head.claimed.fetch_add(CHUNK, Ordering::Relaxed);
            let to = table.len().min(from.saturating_add(CHUNK));
            if from >= to {
                return;
            }
            for index in from..to {
                // SAFETY: claimed just now; as above.
                unsafe { move_bucket(table, next, index, &mut spares) };
            }
            // Acquire and release: the last one has seen all moves, and hands them on.
            let moved = head.moved.fetch_add(to - from, Ordering::AcqRel) + (to - from);
            if moved == table.len() {
                // SAFETY: all are moved, and only the last one comes here.
                return unsafe { self.finish(domain, table, next) };
            }
        }
    }

    /// # Safety
    ///
    /// Called once, when all buckets of `table` are moved to `next`.
    #[cold]
    unsafe fn finish(&self, domain: &Domain, table: Table, next: Table) {
        // Release: partner is the acquire in `root`.
        self.root.store(next.0, Ordering::Release);
        if broken(Mutant::TableAtOnce) {
            // SAFETY: it is not sound, and so to be noticed.
            return unsafe { table.free() };
        }
        // SAFETY: a table begins with its header, and nobody reaches it any more who comes later.
        unsafe { self.retired.push(domain, table.header()) };
    }

    /// Gives the map a table for so many entries, now. `floor`: and lets it not become smaller on
    /// its own.
    ///
    /// Does not wait for other writers that move buckets.
    ///
    /// # Safety
    ///
    /// Inside a read-side critical section of `domain`, which is the map's.
    pub(super) unsafe fn reserve(&self, domain: &Domain, entries: usize) {
        let log = log_for(entries, FULL);
        self.floor.fetch_max(log as usize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.resize_to(domain, |now| now.is_none_or(|now| now < log), log) };
    }

    /// As small as it can be.
    ///
    /// # Safety
    ///
    /// As for [`reserve`](RawMap::reserve).
    pub(super) unsafe fn shrink_to_fit(&self, domain: &Domain) {
        self.floor.store(0, Ordering::Relaxed);
        let log = log_for(self.len(), FULL);
        // SAFETY: the caller's promise.
        unsafe { self.resize_to(domain, |now| now.is_some_and(|now| now > log), log) };
    }

    /// # Safety
    ///
    /// As for [`reserve`](RawMap::reserve).
    unsafe fn resize_to(&self, domain: &Domain, is_wanted: impl Fn(Option<u32>) -> bool, log: u32) {
        // Once for a resize that others have begun, once for ours.
        for _ in 0..2 {
            match self.root() {
                None if is_wanted(None) => drop(self.first(log)),
                // SAFETY: the root, in this section.
                Some(table) if is_wanted(Some(table.log())) => unsafe { self.resize(table, log) },
                _ => return,
            }
            // SAFETY: the caller's promise.
            unsafe { self.help(domain, usize::MAX) };
        }
    }
}

/// The smallest logarithm of a number of buckets with which each has at most `full` entries: not
/// less than the first table's.
pub(super) fn log_for(entries: usize, full: usize) -> u32 {
    entries.div_ceil(full.max(1)).max(1).next_power_of_two().ilog2().clamp(FIRST, Table::MAX_LOG)
}

/// # Safety
///
/// Inside a read-side critical section of the map's domain; `next` is where `table` is moved to,
/// and the caller has claimed the bucket.
#[expect(clippy::vec_box, reason = "each is put behind a bucket, and stays where it is")]
unsafe fn move_bucket(table: Table, next: Table, index: usize, spares: &mut Vec<Box<Bucket>>) {
    // SAFETY: the caller's promise, here and below.
    let first = unsafe { table.bucket(index) };
    let grows = next.log() >= table.log();
    let hold = loop {
        let hold = first.lock().expect("whoever claims a bucket moves it");
        // SAFETY: as above.
        let entries: usize = unsafe { first.chain() }.map(Bucket::entries).sum();
        // So many buckets may have to be put behind others, wherever the entries go; and they are
        // not to be made with a lock held. In a larger table only these entries come there.
        let wanted =
            if grows { entries.saturating_sub(1) / SLOTS } else { entries.div_ceil(SLOTS) };
        if wanted <= spares.len() {
            break hold;
        }
        drop(hold);
        spares.resize_with(wanted, || Box::new(Bucket::new()));
    };
    // Where it goes.
    let targets = if grows {
        let shift = next.log() - table.log();
        index << shift..(index + 1) << shift
    } else {
        let target = index >> (table.log() - next.log());
        target..target + 1
    };
    // SAFETY: as above; an index of `next`.
    let target = |index| unsafe { next.bucket(index) };
    for index in targets.clone() {
        if grows {
            // Nobody else has come there yet.
            target(index).lock_unshared();
        } else {
            // Who waits here waits for nobody who waits for us: writers hold one lock, and movers
            // one of this table and one of the next.
            let hold = target(index).lock().expect("only the root is moved");
            std::mem::forget(hold);
        }
    }
    let unlock = || targets.clone().for_each(|index| target(index).unlock());
    if broken(Mutant::MarkFirst) {
        hold.mark_moved();
    }
    // SAFETY: as above.
    for bucket in unsafe { first.chain() } {
        for slot in &bucket.slots {
            // Relaxed: the lock's acquire.
            let node = slot.load(Ordering::Relaxed);
            if !node.is_null() {
                // SAFETY: an entry in its bucket, in a section.
                let hash = unsafe { (*node).hash };
                // SAFETY: as above; its target is locked.
                unsafe { put(next.of(hash), hash, node, spares) };
            }
        }
    }
    if broken(Mutant::WipeFirst) {
        // SAFETY: as above.
        unsafe { first.chain() }.for_each(Bucket::wipe);
    }
    hold.mark_moved();
    if broken(Mutant::UnlockEarly) {
        unlock();
    }
    if !broken(Mutant::MovedStays) {
        // SAFETY: as above.
        unsafe { first.chain() }.for_each(Bucket::wipe);
    }
    if !broken(Mutant::UnlockEarly) {
        unlock();
    }
    drop(hold);
}

/// # Safety
///
/// `first` is locked, and its table is not freed meanwhile.
#[expect(clippy::vec_box, reason = "as above")]
unsafe fn put(first: &Bucket, hash: u64, node: *mut Head, spares: &mut Vec<Box<Bucket>>) {
    let mut last = first;
    // SAFETY: the caller's promise.
    for bucket in unsafe { first.chain() } {
        if let Some(slot) = bucket.free_slot() {
            return bucket.put(slot, hash, node);
        }
        last = bucket;
    }
    let behind = spares.pop().expect("as many as can be wanted");
    behind.put(0, hash, node);
    last.append(behind);
}
