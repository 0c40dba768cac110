//! The sequence by which a reader claims a slot of its CPU for a lock.
//!
//! A slot holds the id of a lock that someone reads, or 0. It changes from 0 to an id only by a
//! sequence on its CPU (or, where there are no sequences, only by atomics), and from an id to 0 by
//! a plain store of whoever claimed it, on any thread: so it always belongs to one.

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64};

/// Slots in a line: so many locks can be read on one CPU at once without touching shared memory.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::slot::{SLOTS, SlotLine};
/// assert_eq!(SlotLine::default().slots.len(), SLOTS);
/// ```
pub const SLOTS: usize = if cfg!(stillpoint_loom) { 2 } else { 8 };

/// The slots of a CPU. One cache line; adjacent lines are fetched in pairs, so it stands apart. On
/// s390x one line has 256 bytes.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::slot::SlotLine;
/// use std::sync::atomic::Ordering::Relaxed;
///
/// let line = SlotLine::default();
/// assert!(line.slots.iter().all(|slot| slot.load(Relaxed) == 0));
/// ```
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "s390x"), repr(C, align(128)))]
#[cfg_attr(target_arch = "s390x", repr(C, align(256)))]
pub struct SlotLine {
    /// 0, or the id of a lock.
    pub slots: [AtomicU64; SLOTS],
}

/// Where the lines are. The sequence knows this layout.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::slot::Table;
///
/// // Turns everyone away.
/// static EMPTY: Table = Table::new();
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// The line of CPU 0.
    pub lines: AtomicPtr<SlotLine>,
    /// How many CPUs have a line. Published after `lines`.
    pub bound: AtomicU32,
}

impl Table {
    crate::sync::const_unless_modelled! {
        /// A table without lines.
        ///
        /// # Examples
        ///
        /// ```
        /// static TABLE: stillpoint::rseq::slot::Table = stillpoint::rseq::slot::Table::new();
        /// ```
        pub const fn new() -> Table {
            Table { lines: AtomicPtr::new(std::ptr::null_mut()), bound: AtomicU32::new(0) }
        }
    }
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

#[cfg(stillpoint_loom)]
pub use super::model::claim;

#[cfg(stillpoint_sections)]
pub use native::claim;

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::claim;

#[cfg(stillpoint_sections)]
mod native {
    use super::{SLOTS, SlotLine, Table};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use crate::sync::sequence_acquires;
    use std::mem::offset_of;
    use std::ptr::NonNull;
    use std::sync::atomic::AtomicU64;

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(size_of::<SlotLine>() == 128 && size_of::<AtomicU64>() * SLOTS == 64);
        assert!(offset_of!(Table, lines) == 0 && offset_of!(Table, bound) == 8);
    };

    /// Tries once to claim a slot of the calling thread's CPU for the lock behind `gate`.
    ///
    /// One section: load the gate, whose sign bit means closed; load the CPU number and compare
    /// it with the table's bound; find a slot that holds 0; storing the gate's id commits.
    /// Returns the slot, which now holds the id, or `None`, with nothing claimed, if the section
    /// was aborted, the gate is closed, all slots are taken, the thread is not registered, or its
    /// CPU has no line.
    ///
    /// Orders nothing: whoever needs to know that the gate still is open looks at it again, behind a
    /// light fence. The store to the slot is ordered behind the load that found it free.
    /// Async-signal-safe. No instruction of it is atomic, no fence.
    ///
    /// # Safety
    ///
    /// If `table.bound` is `n > 0`, `table.lines` must point at `n` contiguous [`SlotLine`]s
    /// that live for ever. Slots become free only by a release store of whoever claimed them.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::slot::{SlotLine, Table, claim};
    /// use std::sync::atomic::{AtomicU64, Ordering::{Release, Relaxed}};
    ///
    /// let lines: &'static mut [SlotLine] = (0..1024).map(|_| SlotLine::default()).collect::<Vec<_>>().leak();
    /// let table = Table::new();
    /// table.lines.store(lines.as_mut_ptr(), Relaxed);
    /// table.bound.store(1024, Release);
    /// let gate = AtomicU64::new(7);
    /// // SAFETY: the lines live for ever.
    /// if let Some(slot) = unsafe { claim(&table, &gate) } {
    ///     // SAFETY: a slot of the lines.
    ///     let slot = unsafe { slot.as_ref() };
    ///     assert_eq!(slot.load(Relaxed), 7);
    ///     slot.store(0, Release);
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn claim(table: &Table, gate: &AtomicU64) -> Option<NonNull<AtomicU64>> {
        let o = hoisted_offset();
        if o == 0 {
            return None;
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::BiasOutsideSection) {
            // What the gate says is known before the section begins.
            let stale = AtomicU64::new(gate.load(std::sync::atomic::Ordering::Acquire));
            crate::sync::dither();
            // SAFETY: as the caller promises.
            return unsafe { claim_at(table, &stale, o) };
        }
        // SAFETY: as the caller promises.
        unsafe { claim_at(table, gate, o) }
    }

    /// [`claim`] with a known offset.
    #[inline(always)]
    unsafe fn claim_at(table: &Table, gate: &AtomicU64, o: isize) -> Option<NonNull<AtomicU64>> {
        let slot: *mut AtomicU64;
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads gate and table and, within the bound, stores to a
        // free slot, which the caller says is there. No stack is used.
        unsafe {
            section!(
                "slot_claim", "landing_null",
                o = in(reg) o,
                gate = in(reg) gate,
                table = in(reg) table,
                mark = out(reg) slot,
                id = out(reg) _,
                options(nostack),
            );
        }
        let slot = NonNull::new(slot)?;
        sequence_acquires(slot.as_ptr());
        Some(slot)
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::Table;
    use crate::sync::AtomicU64;
    use std::ptr::NonNull;

    /// This target has no sequences: never claims.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the table must describe lines that live for ever.
    #[inline(always)]
    pub unsafe fn claim(_: &Table, _: &AtomicU64) -> Option<NonNull<AtomicU64>> {
        None
    }
}
