//! The table of the hash map: lookups, writers, and how it is resized under them.
//!
//! # State
//!
//! * **The root**: a pointer to the current [`Table`], whose low bits say how large it is.
//! * **A table**: `2^n` [buckets](Bucket), each a cache line: six slots with pointers to entries, a
//!   word with a *tag* for each of them, one byte of the hash, and a *link*. A zero tag is a free
//!   slot. What does not fit hangs behind, in more buckets of the same make. An entry stands in the
//!   bucket that the topmost bits of its hash name. It is immutable, and holds its hash.
//! * **The link** of a table's bucket has three bits: *locked*, *parked*, *moved*. All stores to a
//!   bucket and those behind it are made under its lock.
//! * While the table is being resized, its head points at the **next table**. Only the root is
//!   resized, so there are never more than two that change.
//!
//! A lookup touches the root, the bucket's line, the entry's line.
//!
//! # A lookup
//!
//! Under a guard: load the tags; for each slot whose tag fits load the slot and compare hash and
//! key; if the entry is there, that is the answer. Else go on to the bucket behind, if there is
//! one. Last, load the link of the first again: if it is *moved*, do all this in the next table;
//! else the key is absent. All loads, nothing is stored, nothing is looked at twice. It ends after
//! one table, and one more for each resize that passed its bucket meanwhile.
//!
//! # A writer
//!
//! Looks as above, without a lock, and remembers the entries that it compared: the equal one, or
//! the others whose hashes are the same. Then it locks the bucket (if it is moved: the next
//! table's) and looks again, at hashes and addresses only. Is the equal one there still, or is
//! there no entry of this hash that was not compared, then what was found holds, and the change is
//! made: one store. Else all begins again: somebody has changed this very key, or one of the same
//! hash. No address can have come to mean another entry, since the guard is older than the look. So
//! neither `Eq`, `Hash`, `Drop`, closures nor the allocator are ever called under a lock: they may
//! panic, and call the map.
//!
//! # A resize
//!
//! A writer that finds the root crowded (or lonely) publishes a next table, and from then on every
//! writer takes on a few buckets, claimed by a counter, each by exactly one. To *move* a bucket:
//!
//! 1. lock it, and the one or more where its entries go;
//! 2. put its entries there;
//! 3. mark it *moved*;
//! 4. wipe its tags and slots;
//! 5. unlock all of them.
//!
//! Whoever moves the last one makes the next table the root and retires the old one. Entries are
//! not copied; nobody waits for a grace period. Buckets that are not moved yet are used as ever.
//!
//! # Why a lookup is right
//!
//! Claim: each lookup has a moment, between its begin and end, at which the map was as it says.
//!
//! *Hit.* The moment is the load of the slot. A slot holds an entry from the store that inserted it
//! to the one that replaced or removed it; and while the bucket is being moved, from (3) to (4),
//! the slot holds what the next table does, since nobody can change that before (5). Tags do not
//! decide: a slot whose tag is out of date gives what stands in it now, and the key is compared.
//!
//! *Miss, in a bucket that is not moved when its link is loaded last.* So this was the key's bucket
//! all the time. A key's tag is stored before its entry, and removed after it; a slot is used again
//! only after that. If the key was absent when the tags were loaded, that is the moment. Else its
//! tag was among them (or it was behind: then the same holds of that bucket's tags, which are
//! loaded later), and its slot was loaded later: the key was not there any more, so it was removed
//! in between, and the moment is right then.
//!
//! *Miss, in one that is moved.* What was seen in it does not count. From the load on, the next
//! table is the key's place; the rest of the lookup falls in this time.
//!
//! (So lookups only need (2) and (3) to come before (4). Iterators need (2) before (3): from a
//! bucket that is moved they take nothing, and read where it went.)
//!
//! *Wiped means moved.* Whoever loads a zero of the wipe (4) acquires it, and so sees the mark (3)
//! that came first when it loads the link. Whoever was told by anybody about a change in the next
//! table saw the mark through that, as the writer there had followed it, or come through a root
//! that was stored when all were moved.
//!
//! *Two lookups agree on order.* Whoever comes after one that hit loads the tags after the store of
//! the tag, for that came before the store of the slot, released, that the hit acquired. And after
//! one that missed because the tag was gone: that acquired the store of the tag, which releases the
//! store of the slot.
//!
//! # Why nothing is used after it is freed
//!
//! An entry is unlinked by a store to its one slot (two, between (2) and (4), and then no writer
//! can come to either), and retired after that. A section that the grace period does not wait for
//! sees that store. A table is retired when all its buckets are moved and the root is another: such
//! a section finds neither root nor link that leads to it.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | root, next table: store | release | acquire in lookups: the table's contents |
//! | slot: store of an entry | release | acquire in lookups: the entry, its tag |
//! | tags, slots: take out, wipe | release | acquire in lookups: the slot's zero, the mark |
//! | link: put behind, mark, unlock | release | acquire in lookups and lock |
//! | number of moved buckets | acquire-release | itself: the last one has seen all moves |
//!
//! The table of buckets with tags is that of many maps (F14, SwissTable); a table that is moved
//! bucket by bucket by its writers is Click's, as in flurry and papaya, whose lookups look again.
//! That a bucket is wiped while both its places are locked, so that hits need no second look, is
//! ours.

use super::bucket::{Bucket, Hold, Matches};
use super::count::Count;
use super::node::Head;
use super::resize::log_for;
use super::retire::Retired;
use super::table::Table;
use crate::rcu::Domain;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, const_unless_modelled};
use std::ptr::null_mut;

/// Entries per bucket above which a table grows.
pub(super) const FULL: usize = if cfg!(stillpoint_loom) { 1 } else { 4 };
/// Entries per bucket, halved, below which it shrinks.
const SPARSE_HALVES: usize = 1;
/// The logarithm of the first table's buckets.
pub(super) const FIRST: u32 = if cfg!(stillpoint_loom) { 0 } else { 2 };
/// A map of hashes to entries, which it does not own: see [`drain`](RawMap::drain).
#[derive(Debug)]
pub(super) struct RawMap {
    /// As [`Table`] has it; null before the first entry.
    pub(super) root: AtomicPtr<super::table::Head>,
    /// Below this logarithm it does not shrink on its own.
    pub(super) floor: AtomicUsize,
    count: Count,
    pub(super) retired: Retired,
}

/// What a look without a lock has found.
#[derive(Debug)]
pub(super) struct Look {
    /// The entry of the key, or null.
    pub(super) found: *mut Head,
    /// If there is none: the entries of the same hash, which are of other keys.
    others: Vec<*mut Head>,
}

impl Look {
    /// As of a look that found this entry.
    pub(super) fn only(found: *mut Head) -> Look {
        Look { found, others: vec![] }
    }
}

/// The map was changed since the look.
#[derive(Debug)]
pub(super) struct Changed;

impl RawMap {
    const_unless_modelled! {
        pub(super) const fn new() -> RawMap {
            RawMap {
                root: AtomicPtr::new(null_mut()),
                floor: AtomicUsize::new(0),
                count: Count::new(),
                retired: Retired::new(),
            }
        }
    }

    /// Acquire: partner is the release of whoever made it the root.
    #[inline(always)]
    pub(super) fn root(&self) -> Option<Table> {
        let root = self.root.load(Ordering::Acquire);
        (!root.is_null()).then_some(Table(root))
    }

    /// The number of entries, if nobody changes it meanwhile.
    pub(super) fn len(&self) -> usize {
        self.count.sum()
    }

    /// The entry of this hash that `is_it` accepts.
    ///
    /// # Safety
    ///
    /// Inside a read-side critical section of the map's domain, and the result is used within it.
    #[inline(always)]
    pub(super) unsafe fn find(
        &self,
        hash: u64,
        mut is_it: impl FnMut(*mut Head) -> bool,
    ) -> *mut Head {
        let Some(mut table) = self.root() else { return null_mut() };
        loop {
            // SAFETY: the root, or what a table that was reached points at, in this section: for
            // all that follows, see the module's head.
            let first = unsafe { table.of(hash) };
            let mut bucket = first;
            let link = loop {
                // Acquire: partners are the stores in `put`, `take` and `wipe`.
                let tags = bucket.tags.load(Ordering::Acquire);
                for slot in Matches::new(tags, hash) {
                    // Acquire: as above.
                    let node = bucket.slots[slot].load(Ordering::Acquire);
                    // SAFETY: as above.
                    if !node.is_null() && unsafe { (*node).hash } == hash && is_it(node) {
                        return node;
                    }
                }
                let link = bucket.link();
                // SAFETY: as above.
                match unsafe { link.behind() } {
                    Some(behind) => bucket = behind,
                    None if std::ptr::eq(bucket, first) => break link,
                    None => break first.link(),
                }
            };
            if !link.is_moved() || broken(Mutant::NoMovedLook) {
                return null_mut();
            }
            // SAFETY: as above.
            match unsafe { table.next() } {
                Some(next) => table = next,
                None => unreachable!("a bucket is moved to the next table"),
            }
        }
    }

    /// [`find`](RawMap::find) for a writer.
    ///
    /// # Safety
    ///
    /// As for `find`.
    pub(super) unsafe fn look(&self, hash: u64, mut is_it: impl FnMut(*mut Head) -> bool) -> Look {
        let mut others = vec![];
        let compare = |node| {
            let equal = is_it(node);
            if !equal {
                others.push(node);
            }
            equal
        };
        // SAFETY: the caller's promise.
        let found = unsafe { self.find(hash, compare) };
        Look { found, others }
    }

    /// Makes a change of what a look found: puts `new` there, or takes it out if that is null.
    /// Takes part in a resize.
    ///
    /// # Errors
    ///
    /// If the map was changed since.
    ///
    /// # Safety
    ///
    /// In the section of the look, of this domain, which is the map's. `new` has this hash, and
    /// nobody else uses it. If there is nothing to take out, it is not null.
    pub(super) unsafe fn exchange(
        &self,
        domain: &Domain,
        hash: u64,
        look: &Look,
        new: *mut Head,
    ) -> Result<(), Changed> {
        let mut spare = None;
        let end = loop {
            // SAFETY: the caller's promise.
            let (table, hold) = unsafe { self.lock(hash) };
            // SAFETY: as above.
            let place = unsafe { Place::of(hold.bucket(), hash, look) }.ok_or(Changed)?;
            match place {
                Place::Found(bucket, slot) if new.is_null() => {
                    bucket.take(slot);
                    let first = hold.bucket();
                    break End { table, lonely: first.entries() == 0, crowded: false, more: -1 };
                }
                Place::Found(bucket, slot) => {
                    bucket.set(slot, new);
                    break End { table, lonely: false, crowded: false, more: 0 };
                }
                Place::Free(bucket, slot) => {
                    bucket.put(slot, hash, new);
                    let crowded = !std::ptr::eq(bucket, hold.bucket());
                    break End { table, lonely: false, crowded, more: 1 };
                }
                Place::Behind(last) => {
                    if let Some(behind) = spare.take() {
                        let behind: Box<Bucket> = behind;
                        behind.put(0, hash, new);
                        last.append(behind);
                        break End { table, lonely: false, crowded: true, more: 1 };
                    }
                    // Not with a lock held.
                    drop(hold);
                    spare = Some(Box::new(Bucket::new()));
                }
            }
        };
        // SAFETY: the caller's promise.
        unsafe { self.after(domain, &end) };
        Ok(())
    }

    /// What a writer does for the map, once it has let its bucket go.
    ///
    /// # Safety
    ///
    /// As for [`exchange`](RawMap::exchange).
    unsafe fn after(&self, domain: &Domain, end: &End) {
        self.count.add(end.more);
        // SAFETY: the caller's promise.
        let head = unsafe { end.table.head() };
        if end.crowded && end.is_time_to_look(&head.crowded) {
            let len = self.len();
            if len > end.table.len() * FULL {
                // SAFETY: as above.
                unsafe { self.resize(end.table, log_for(len, FULL).max(end.table.log() + 1)) };
            }
        } else if end.lonely && end.is_time_to_look(&head.lonely) {
            let len = self.len();
            let floor = self.floor.load(Ordering::Relaxed) as u32;
            // Twice as many entries as there were a bucket may then come before it grows again.
            let log = log_for(len, FULL / 2).max(floor);
            if 2 * len < end.table.len() * SPARSE_HALVES && log < end.table.log() {
                // SAFETY: as above.
                unsafe { self.resize(end.table, log) };
            }
        }
        // SAFETY: as above.
        unsafe { self.help(domain, 1) };
    }

    /// The lock of a hash's bucket, in the table where it is now.
    ///
    /// # Safety
    ///
    /// Inside a read-side critical section of the map's domain, and the result is used within it.
    unsafe fn lock<'g>(&self, hash: u64) -> (Table, Hold<'g>) {
        let mut table = self.root_or_first();
        loop {
            // SAFETY: as in `find`.
            if let Some(hold) = unsafe { table.of(hash) }.lock() {
                return (table, hold);
            }
            // SAFETY: as in `find`.
            table = unsafe { table.next() }.expect("a bucket is moved to the next table");
        }
    }

    fn root_or_first(&self) -> Table {
        match self.root() {
            Some(table) => table,
            None => self.first(log_for(0, FULL).max(self.floor.load(Ordering::Relaxed) as u32)),
        }
    }

    /// Makes the first table, if nobody else does.
    #[cold]
    pub(super) fn first(&self, log: u32) -> Table {
        let table = Table::new(log);
        // Release: partner is the acquire in `root`.
        let order = Ordering::AcqRel;
        match self.root.compare_exchange(null_mut(), table.0, order, Ordering::Acquire) {
            Ok(_) => table,
            Err(theirs) => {
                // SAFETY: made above, and nobody else has seen it.
                unsafe { table.free() };
                Table(theirs)
            }
        }
    }

    /// For how many entries the table is made.
    pub(super) fn capacity(&self) -> usize {
        self.root().map_or(0, |table| table.len() * FULL)
    }

    /// Before anybody else has the map: so many entries will come.
    pub(super) fn begin_with(&mut self, entries: usize) {
        if entries > 0 {
            let log = log_for(entries, FULL);
            self.floor.store(log as usize, Ordering::Relaxed);
            self.first(log);
        }
    }

    /// Takes every entry out and gives it to `free`. Can be called again if that panics.
    pub(super) fn drain(&mut self, mut free: impl FnMut(*mut Head)) {
        let mut table = self.root();
        while let Some(here) = table {
            for index in 0..here.len() {
                // SAFETY: exclusive access; the tables are freed by `drop`.
                for bucket in unsafe { here.bucket(index).chain() } {
                    for slot in &bucket.slots {
                        // Relaxed: `&mut self` came here after all use.
                        let node = slot.load(Ordering::Relaxed);
                        if !node.is_null() {
                            slot.store(null_mut(), Ordering::Relaxed);
                            free(node);
                        }
                    }
                }
            }
            // Each entry stands in one of the two: who moves a bucket wipes it.
            // SAFETY: as above.
            table = unsafe { here.next() };
        }
    }
}

impl Drop for RawMap {
    fn drop(&mut self) {
        let mut table = self.root();
        while let Some(here) = table {
            // SAFETY: exclusive access, and each is freed once.
            table = unsafe { here.next() };
            // SAFETY: as above.
            unsafe { here.free() };
        }
    }
}

/// What a writer has done.
struct End {
    table: Table,
    /// The entry found its bucket full.
    crowded: bool,
    /// The entry left its bucket empty.
    lonely: bool,
    /// How many entries more there are.
    more: i64,
}

impl End {
    /// Adding all CPUs' counts up takes long: not more than some dozens of times in a table's life.
    fn is_time_to_look(&self, count: &AtomicUsize) -> bool {
        let period = (self.table.len() / 64).max(1);
        (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(period)
    }
}

/// Where in a locked bucket's chain a change is to be made.
enum Place<'t> {
    /// The entry of the key.
    Found(&'t Bucket, usize),
    /// There is none, and here is room.
    Free(&'t Bucket, usize),
    /// There is none, and no room; this is the last bucket.
    Behind(&'t Bucket),
}

impl<'t> Place<'t> {
    /// Nothing if the look does not hold any more.
    ///
    /// # Safety
    ///
    /// `first` is locked; in the section of the look.
    unsafe fn of(first: &'t Bucket, hash: u64, look: &Look) -> Option<Place<'t>> {
        let (mut free, mut last) = (None, first);
        // Entries keep their order, mostly.
        let mut others = look.others.iter().cycle();
        // SAFETY: the caller's promise.
        for bucket in unsafe { first.chain() } {
            last = bucket;
            // Relaxed, here and below: the lock's acquire.
            let tags = bucket.tags.load(Ordering::Relaxed);
            for slot in Matches::new(tags, hash) {
                let node = bucket.slots[slot].load(Ordering::Relaxed);
                if node == look.found && !node.is_null() {
                    return Some(Place::Found(bucket, slot));
                }
                // SAFETY: an entry in its bucket, in a section.
                let has_hash = !node.is_null() && unsafe { (*node).hash } == hash;
                if has_hash && look.found.is_null() {
                    let many = look.others.len();
                    // One that was not compared.
                    others.by_ref().take(many).find(|other| **other == node)?;
                }
            }
            if free.is_none() {
                free = bucket.free_slot().map(|slot| (bucket, slot));
            }
        }
        match free {
            _ if !look.found.is_null() => None,
            Some((bucket, slot)) => Some(Place::Free(bucket, slot)),
            None => Some(Place::Behind(last)),
        }
    }
}
