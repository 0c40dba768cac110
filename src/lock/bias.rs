//! The bias of a lock towards its readers: while it is open, they claim slots instead of the lock.
//!
//! # State
//!
//! Per lock, the *gate*: an id that no other lock of this process ever has, and
//!
//! ```text
//! OPEN               readers may claim
//! CLOSED | DIRTY     they may not, but some may still be there
//! CLOSED             they may not, and none is there; id 0 if it was never open
//! ```
//!
//! Per process, a table of [`SlotLine`]s: one for each CPU, or shards on the lower tiers. A slot that
//! holds the id stands for one reader. Ids, not addresses: a reader that was forgotten must not
//! haunt the next lock at the same place; and a lock may move while forgotten readers hold it.
//!
//! Who has the exclusive lock inside, and has seen its readers leave, may close the gate and call it
//! clean; who has a share inside that only its holder gives up may open it (a reader's, but where
//! readers are tokens: `raw_04.rs`). These exclude each other.
//!
//! # Why a writer is alone
//!
//! A reader stores its id to a slot, then, behind a light fence, looks at the gate again: only if
//! it is still open, it has the lock. A writer stores CLOSED, sends one broadcast, and scans the table.
//! These are the two cases of `machine/fence.rs`. If the reader passes its fence after the broadcast, it finds
//! the gate closed, or opened again by a reader who came in after that writer was done, from whom it
//! acquires. If before, the scan finds its id, or the 0 that it stored in the end. So what the scan does
//! not find has not come in, and the writer waits for what it finds.
//!
//! The section in which a slot is claimed also looks at the gate, before it stores, and a broadcast
//! aborts it. That alone would do, if every abort came: but kernels before "rseq: Protect event mask
//! against membarrier IPI" (Linux 6.18) may lose one, and then a claim is stored late. The second look, two
//! instructions on a line that is there, makes the argument one for all kernels and tiers. What the
//! section must give, and what no kernel takes away, is that two threads never find the same slot free.
//!
//! A writer whose time runs out leaves DIRTY. The next writer needs no broadcast: nobody has
//! claimed since the last. It only scans.
//!
//! # Why nobody sleeps for ever
//!
//! A writer that waits for a slot parks after having closed the gate and sent the broadcast; it looks at the
//! slot under its queue's lock. A reader that ends stores 0 to the slot and then, behind a light fence,
//! loads the gate. If it passes that point after the broadcast, it finds the gate closed and
//! wakes whoever is parked. If before, its 0 is visible to all scans behind that broadcast. No fence, and no
//! flag that readers would have to look for: outside a revocation the gate is open.
//! (A gate that is found open was opened again after that writer gave up, or by a reader inside,
//! so after that writer was done. The next writer sends a broadcast of its own.)
//!
//! # When it opens
//!
//! A revocation costs some microseconds, more than most critical sections. It is paid for in advance: the
//! gate opens only after so many reads through the lock inside that [`MULTIPLE`] times the last
//! revocation fits into them, at [`READ_NANOS`] each, the least that one costs. So revocations add at
//! most one part in [`MULTIPLE`] to what a lock would cost without bias, whatever the pattern, and for any
//! number of locks; that is counted in reads, not in time, because a lock that is rarely used would
//! otherwise always find its time to have come. A revocation counts for [`MOST_NANOS`] at most:
//! one that took longer had its writer preempted, which says nothing of the next. Before the first
//! revocation [`FIRST_READS`] are asked for.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | opening | release | a reader's second look at the gate: acquire |
//! | a reader's 0 | release | the scan's load: acquire |
//! | claiming | below `Rseq` acquire; a sequence's store is ordered behind its load of 0, which is as good where stores reach all others at once, as on the machines that have sections | the 0 of the reader before, which must reach the scan through us |
//! | closing, scanning; claiming, looking again | relaxed | the broadcast, the light fence |

use super::patience::Wait;
use crate::machine::fence::{heavy, light};
use crate::machine::{Shape, Tier, shape, spread};
use crate::rseq::slot::{SLOTS, SlotLine, claim};
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicU32, AtomicU64, Ordering, SpinWait, const_unless_modelled, nanos, park, unpark,
};
use std::ptr::NonNull;

/// A revocation is paid for so many times over before the gate opens again.
pub(super) const MULTIPLE: u64 = 9;
/// What a read through the lock inside costs at least.
const READ_NANOS: u64 = 15;
/// What longer revocations count as: a writer that was preempted meanwhile must not keep the gate
/// closed for millions of reads.
const MOST_NANOS: u64 = 200_000;
/// So many of them open the gate for the first time.
pub(super) const FIRST_READS: u32 = if cfg!(stillpoint_loom) { 0 } else { 1000 };

const CLOSED: u64 = 1 << 63;
const DIRTY: u64 = 1 << 62;
const ID: u64 = DIRTY - 1;

/// What a reader has to give back when it ends: a slot's address, which the low bits tell apart, so
/// that one test finds the frequent case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held(*mut AtomicU64);

impl Held {
    /// A share of the lock inside.
    pub(super) const SHARE: Held = Held(std::ptr::without_provenance_mut(2));
    const ATOMIC: usize = 1;
    const BITS: usize = 3;

    /// A slot that a sequence claimed.
    #[inline(always)]
    pub(super) fn slot(slot: NonNull<AtomicU64>) -> Held {
        Held(slot.as_ptr())
    }

    fn atomic_slot(slot: &AtomicU64) -> Held {
        Held(std::ptr::from_ref(slot).cast_mut().map_addr(|address| address | Held::ATOMIC))
    }

    /// The slot that a sequence claimed, if it is one.
    #[inline(always)]
    fn as_slot(self) -> Option<&'static AtomicU64> {
        // SAFETY: then it is a slot of the table, which lives for ever.
        (self.0.addr() & Held::BITS == 0).then(|| unsafe { &*self.0 })
    }

    /// The slot that was claimed atomically, if it is one.
    fn as_atomic_slot(self) -> Option<&'static AtomicU64> {
        let slot = self.0.map_addr(|address| address & !Held::BITS);
        // SAFETY: as above.
        (self.0.addr() & Held::BITS == Held::ATOMIC).then(|| unsafe { &*slot })
    }
}

/// Why a revocation did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unrevoked {
    /// Readers are still there.
    TimedOut,
    /// The kernel refuses the broadcast, with this error.
    Refused(i32),
}

#[derive(Debug)]
pub(super) struct Bias {
    gate: AtomicU64,
}

impl Bias {
    const_unless_modelled! {
        pub(super) const fn new() -> Bias {
            Bias { gate: AtomicU64::new(CLOSED) }
        }
    }

    /// Where the writer parks until readers have left, of either kind.
    pub(super) fn key(&self) -> *const () {
        (&raw const self.gate).cast()
    }

    /// Tries once to claim a slot by a sequence. What was claimed after the gate was closed goes to
    /// `undo`, which must end it.
    #[inline(always)]
    pub(super) fn claim(&self, undo: impl FnOnce(Held)) -> Option<Held> {
        // SAFETY: the table's lines live for ever; slots become free in `free`, by release.
        let slot = Held::slot(unsafe { claim(table(), &self.gate) }?);
        let once = broken(Mutant::NoSecondLook) || broken(Mutant::BiasOutsideSection);
        if once || self.is_still_open(Tier::Rseq) {
            return Some(slot);
        }
        undo(slot);
        None
    }

    /// A claim's second look at the gate: if it is open, no writer comes in before the claim ends.
    #[inline(always)]
    fn is_still_open(&self, tier: Tier) -> bool {
        // Partner: the heavy fence in `revoke`.
        if !broken(Mutant::NoLightFence) {
            light(tier);
        }
        // Acquire: partner is the release in `open`. What the claim saw of the gate may be older.
        self.gate.load(Ordering::Acquire) & CLOSED == 0
    }

    /// Claims a slot if the gate is open, by repeated sequences, or atomically below `Rseq`.
    /// `undo` as above.
    #[inline(always)]
    pub(super) fn claim_again(&self, undo: impl Fn(Held)) -> Option<Held> {
        if !self.is_open() {
            return None;
        }
        let shape = shape(Tier::Rseq);
        if shape.tier != Tier::Rseq {
            return match self.claim_atomically(shape)? {
                (held, true) => Some(held),
                (held, false) => {
                    undo(held);
                    None
                }
            };
        }
        for _ in 0..RETRIES {
            if !sequences_may_work(shape.slots) || !self.is_open() {
                return None;
            }
            if let Some(held) = self.claim(&undo) {
                return Some(held);
            }
        }
        None
    }

    /// The slot, and whether the gate was still open then.
    #[cold]
    fn claim_atomically(&self, shape: Shape) -> Option<(Held, bool)> {
        let gate = self.gate.load(Ordering::Relaxed);
        let lines = lines();
        let line = lines.get(spread(lines.len()))?;
        let free = |slot: &&AtomicU64| {
            // Acquire: the writer that acquires our 0 must acquire that of the reader before us too. That
            // the claim comes before what follows is the light fence's business.
            let order = (Ordering::Acquire, Ordering::Relaxed);
            slot.load(Ordering::Relaxed) == 0
                && slot.compare_exchange(0, gate & ID, order.0, order.1).is_ok()
        };
        let slot = line.slots.iter().find(free)?;
        let held = Held::atomic_slot(slot);
        Some((held, self.is_still_open(shape.tier)))
    }

    /// Ends a reader whose slot a sequence claimed, on any thread. False if it has none such.
    #[inline(always)]
    pub(super) fn give_back(&self, held: Held) -> bool {
        let Some(slot) = held.as_slot() else { return false };
        self.free(slot, Tier::Rseq);
        true
    }

    /// The same for a slot that was claimed atomically.
    pub(super) fn give_back_atomic(&self, held: Held) -> bool {
        let Some(slot) = held.as_atomic_slot() else { return false };
        self.free(slot, shape(Tier::Rseq).tier);
        true
    }

    #[inline(always)]
    fn free(&self, slot: &AtomicU64, tier: Tier) {
        let order =
            if broken(Mutant::RelaxedLeave) { Ordering::Relaxed } else { Ordering::Release };
        let was_open = broken(Mutant::WakeBeforeSlot) && self.is_open();
        // Release: partner is the scan.
        slot.store(0, order);
        self.freed(tier, was_open);
    }

    /// Wakes a writer that waits for a slot which is free now.
    #[inline(always)]
    fn freed(&self, tier: Tier, was_open: bool) {
        // Partner: the heavy fence in `revoke`.
        light(tier);
        if !was_open && !self.is_open() {
            self.wake_writer();
        }
    }

    /// Frees a slot of this lock in the line of the calling thread's CPU, or in its shard, whoever
    /// claimed it. False if none is there. For `raw_04.rs` only, which says why that is right.
    #[cfg(feature = "lock_api_04")]
    #[inline(always)]
    pub(super) fn free_near(&self) -> bool {
        let (lines, shape) = (lines(), shape(Tier::Rseq));
        let line = match shape.tier {
            Tier::Rseq => crate::rseq::word::current_cpu().map(|cpu| cpu as usize),
            Tier::Membarrier | Tier::Fence => Some(spread(lines.len())),
        };
        line.and_then(|line| lines.get(line)).is_some_and(|line| self.free_one(&line.slots, shape))
    }

    /// The same, in all lines.
    #[cfg(feature = "lock_api_04")]
    pub(super) fn free_anywhere(&self) -> bool {
        let shape = shape(Tier::Rseq);
        lines().iter().any(|line| self.free_one(&line.slots, shape))
    }

    #[cfg(feature = "lock_api_04")]
    #[inline(always)]
    fn free_one(&self, slots: &[AtomicU64], shape: Shape) -> bool {
        let id = self.gate.load(Ordering::Relaxed) & ID;
        let ours = |slot: &AtomicU64| slot.load(Ordering::Relaxed) == id;
        id != 0 && slots.iter().any(|slot| ours(slot) && self.free_if_ours(slot, id, shape.tier))
    }

    /// Frees a slot that was claimed too late. False if somebody else has done it.
    #[cfg(feature = "lock_api_04")]
    pub(super) fn free_late(&self, held: Held) -> bool {
        let id = self.gate.load(Ordering::Relaxed) & ID;
        let tier = shape(Tier::Rseq).tier;
        let slot = held.as_slot().or_else(|| held.as_atomic_slot());
        slot.is_some_and(|slot| self.free_if_ours(slot, id, tier))
    }

    #[cfg(feature = "lock_api_04")]
    #[inline(always)]
    fn free_if_ours(&self, slot: &AtomicU64, id: u64, tier: Tier) -> bool {
        // Release: partner is the scan. Acquire: partner is the release of whoever freed the slot
        // of a late claim, which has to be handed on.
        if broken(Mutant::TokenByStore) {
            slot.store(0, Ordering::Release);
        } else if slot.compare_exchange(id, 0, Ordering::Release, Ordering::Acquire).is_err() {
            return false;
        }
        self.freed(tier, false);
        true
    }

    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & CLOSED == 0
    }

    #[cold]
    fn wake_writer(&self) {
        unpark(self.key(), 0);
    }

    /// Counts a read through the lock inside. True if there were enough to [`open`](Bias::open).
    pub(super) fn count_read(&self, reads_left: &AtomicU32) -> bool {
        // Not one step: readers that meet here may be counted as one.
        let left = reads_left.load(Ordering::Relaxed);
        if left > 0 {
            reads_left.store(left - 1, Ordering::Relaxed);
            return false;
        }
        !self.is_open()
    }

    /// Opens the gate. The caller has a share inside, which keeps writers out until it returns.
    #[cold]
    pub(super) fn open(&self) {
        let gate = self.gate.load(Ordering::Relaxed);
        let id = match gate & ID {
            0 if table_is_ready() => new_id(),
            // No memory for the table: this lock does without.
            0 => return,
            id => id,
        };
        // Release: partner is the acquire of whoever claims; it hands on what the writer before us
        // stored. Others may open it too, the first time with another id.
        let order = if broken(Mutant::RelaxedOpen) { Ordering::Relaxed } else { Ordering::Release };
        let _ = self.gate.compare_exchange(gate, id, order, Ordering::Relaxed);
    }

    /// True if readers may have slots, or may claim some.
    #[inline(always)]
    pub(super) fn may_have_readers(&self) -> bool {
        // Relaxed: the lock inside orders it.
        self.gate.load(Ordering::Relaxed) & (CLOSED | DIRTY) != CLOSED
    }

    /// Closes the gate and waits, as told, until no reader has a slot. The caller has the lock inside
    /// exclusively. Without waiting, a gate whose readers are plain to see stays open.
    #[cold]
    pub(super) fn revoke(&self, reads_left: &AtomicU32, wait: Wait) -> Result<(), Unrevoked> {
        let gate = self.gate.load(Ordering::Relaxed);
        let id = gate & ID;
        if gate & CLOSED == 0 {
            if wait == Wait::No && has_readers(id) {
                return Err(Unrevoked::TimedOut);
            }
            let begin = nanos();
            // Relaxed, as the claims' look at it is: the broadcast orders them.
            self.gate.store(id | CLOSED | DIRTY, Ordering::Relaxed);
            if !broken(Mutant::NoBroadcast)
                && let Err(errno) = heavy(shape(Tier::Rseq).tier)
            {
                // As it was. Release, as in `open`.
                self.gate.store(id, Ordering::Release);
                return Err(Unrevoked::Refused(errno));
            }
            // A first scan, for its cost: readers that are waited for cost the same without bias.
            has_readers(id);
            let cost = (nanos() - begin).min(MOST_NANOS);
            reads_left.store((cost * MULTIPLE / READ_NANOS) as u32, Ordering::Relaxed);
        }
        for slot in slots() {
            if !self.wait_for(slot, id, wait) {
                if broken(Mutant::ForgottenReaders) {
                    self.gate.store(id | CLOSED, Ordering::Relaxed);
                }
                return Err(Unrevoked::TimedOut);
            }
        }
        self.gate.store(id | CLOSED, Ordering::Relaxed);
        Ok(())
    }

    fn wait_for(&self, slot: &AtomicU64, id: u64, wait: Wait) -> bool {
        let mut spin = SpinWait::new();
        // Acquire: partner is the release in `give_back`.
        while slot.load(Ordering::Acquire) == id {
            if wait.is_over() {
                return false;
            }
            if !spin.spin() {
                let still = || slot.load(Ordering::Relaxed) == id;
                park(self.key(), 0, wait.deadline(), still);
            }
        }
        true
    }

    /// Whether a reader has a slot right now.
    pub(super) fn has_readers(&self) -> bool {
        has_readers(self.gate.load(Ordering::Relaxed) & ID)
    }
}

fn has_readers(id: u64) -> bool {
    id != 0 && slots().any(|slot| slot.load(Ordering::Relaxed) == id)
}

fn slots() -> impl Iterator<Item = &'static AtomicU64> {
    lines().iter().flat_map(|line: &SlotLine| -> &[AtomicU64; SLOTS] { &line.slots })
}

use process::{lines, new_id, table, table_is_ready};

#[cfg(not(stillpoint_loom))]
mod process {
    use super::SlotLine;
    use crate::machine::{Tier, shape};
    use crate::rseq::slot::Table;
    use std::alloc::{Layout, alloc_zeroed};
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// For the sequences: without a bound below `Rseq`.
    static TABLE: Table = Table::new();

    #[inline(always)]
    pub(super) fn table() -> &'static Table {
        &TABLE
    }

    /// An id that no lock had before.
    pub(super) fn new_id() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes the table unless it is there. False if there is no memory for it.
    pub(super) fn table_is_ready() -> bool {
        // Acquire: partner is the release below.
        if !TABLE.lines.load(Ordering::Acquire).is_null() {
            return true;
        }
        let shape = shape(Tier::Rseq);
        let Ok(layout) = Layout::array::<SlotLine>(shape.lines()) else { return false };
        // SAFETY: there is at least one line. All-zero bytes are lines of free slots.
        let lines = unsafe { alloc_zeroed(layout) }.cast::<SlotLine>();
        if lines.is_null() {
            return false;
        }
        let order = (Ordering::AcqRel, Ordering::Acquire);
        if TABLE.lines.compare_exchange(null_mut(), lines, order.0, order.1).is_err() {
            // SAFETY: ours, of this layout, and nobody has seen it.
            unsafe { std::alloc::dealloc(lines.cast(), layout) };
        }
        if shape.tier == Tier::Rseq {
            // Release: after the lines, as the sequence expects.
            TABLE.bound.store(shape.slots, Ordering::Release);
        }
        true
    }

    /// All lines; none before the first lock has opened.
    pub(super) fn lines() -> &'static [SlotLine] {
        // Acquire: partner is the release in `table_is_ready`.
        let lines = TABLE.lines.load(Ordering::Acquire);
        if lines.is_null() {
            return &[];
        }
        // SAFETY: made with this length, by a shape that never changes; never freed.
        unsafe { std::slice::from_raw_parts(lines, shape(Tier::Rseq).lines()) }
    }
}

#[cfg(stillpoint_loom)]
mod process {
    pub(super) use crate::rseq::model::{slot_lines as lines, slot_table as table};
    use loom::sync::atomic::{AtomicU64, Ordering};

    loom::lazy_static! {
        static ref LAST: AtomicU64 = AtomicU64::new(0);
    }

    pub(super) fn new_id() -> u64 {
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn table_is_ready() -> bool {
        true
    }
}
