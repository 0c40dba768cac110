//! Sequences that append to a CPU's ring: by a whole record, or by the head of one.
//!
//! A ring has a *head*: the position behind its last record. It belongs to a CPU, is stored to
//! plainly, and only by sequences on that CPU; anyone may load it. What is behind it, up to where
//! the ring is full, nobody looks at. So a sequence may store there as often as it likes before it
//! commits: it *stages* a record, and publishes it by the store to the head, which releases.
//!
//! Where the record goes, and whether there is space, is found out before, for a head `old`. The
//! sequence compares: if the head still is `old` nobody has appended meanwhile, and space only
//! grows. A head never comes back to a value that it had, so that nothing is mistaken.

use crate::sync::AtomicU64;
use std::mem::MaybeUninit;

/// A record to be copied. The sequence knows this layout.
///
/// # Examples
///
/// See [`copy`].
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    /// The first word.
    pub header: u64,
    /// The second word.
    pub stamp: u64,
    /// What is copied behind it. Need not be aligned.
    pub from: *const u8,
    /// So many bytes of that, a multiple of 8.
    pub whole: usize,
    /// And then this word, whose bytes may be padding.
    pub last: MaybeUninit<u64>,
    /// Where it goes.
    pub end: *const AtomicU64,
}

#[cfg(stillpoint_loom)]
pub use super::model::{append_copy as copy, append_head as reserve};

#[cfg(stillpoint_sections)]
pub use native::{copy, reserve};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{copy, reserve};

#[cfg(stillpoint_sections)]
mod native {
    use super::Record;
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use crate::sync::sequence_releases;
    use std::mem::offset_of;
    use std::sync::atomic::AtomicU64;

    // The layout that the texts in `asm/` spell out.
    const _: () = {
        assert!(offset_of!(Record, header) == 0 && offset_of!(Record, stamp) == 8);
        assert!(offset_of!(Record, from) == 16 && offset_of!(Record, whole) == 24);
        assert!(offset_of!(Record, last) == 32 && offset_of!(Record, end) == 40);
    };

    /// Tries once to stage `record` at `at` and to publish it by changing `head`, of CPU `cpu`,
    /// from `old` to `new`. Returns false, with nothing published, if the section was aborted, the
    /// thread is not on that CPU, or the head holds something else.
    ///
    /// One section; the store to the head commits and releases. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// `head` lives, and is stored to only by sequences on this CPU, and never twice with one
    /// value. As long as it holds `old`, nobody but sequences on this CPU accesses what is staged:
    /// two words at `at`, `record.whole` bytes behind them, and the word at `record.end`; all of
    /// that is there. The source can be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::mem::MaybeUninit;
    /// use std::sync::atomic::{AtomicU64, Ordering::Acquire};
    /// use stillpoint::rseq::ring::{Record, copy};
    /// use stillpoint::rseq::word::current_cpu;
    ///
    /// // For each CPU a head, and space for one record.
    /// let rings: Vec<[AtomicU64; 4]> = (0..4096).map(|_| Default::default()).collect();
    /// if let Some(cpu) = current_cpu() {
    ///     let [head, at, _, end] = &rings[cpu as usize];
    ///     let last = MaybeUninit::new(7);
    ///     let record =
    ///         Record { header: 1, stamp: 2, from: [].as_ptr(), whole: 0, last, end };
    ///     // SAFETY: a ring for each CPU, of which this one is still empty.
    ///     if unsafe { copy(cpu, head, 0, 24, at, &record) } {
    ///         assert_eq!((head.load(Acquire), end.load(Acquire)), (24, 7));
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn copy(
        cpu: u32,
        head: &AtomicU64,
        old: u64,
        new: u64,
        at: *const AtomicU64,
        record: &Record,
    ) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::RingCommitFirst) {
            // SAFETY: not; that is the defect.
            return unsafe { copy_late(cpu, head, old, new, at, record) };
        }
        sequence_releases(head);
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the record and its source, stores where the caller says
        // that nobody else does, and to the head. No stack is used.
        unsafe {
            section!(
                "ring_copy", "landing_cold",
                o = in(reg) o,
                cpu = in(reg) cpu,
                head = in(reg) head.as_ptr(),
                old = in(reg) old,
                new = in(reg) new,
                at = in(reg) at,
                record = in(reg) std::ptr::from_ref(record),
                from = out(reg) _,
                n = out(reg) _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// Publishes first, and copies then.
    #[cfg(stillpoint_mutants)]
    unsafe fn copy_late(
        cpu: u32,
        head: &AtomicU64,
        old: u64,
        new: u64,
        at: *const AtomicU64,
        record: &Record,
    ) -> bool {
        // SAFETY: as far as it goes, the caller's promise.
        unsafe {
            if !reserve(cpu, head, old, new, at, record.header, record.stamp) {
                return false;
            }
            crate::sync::dither();
            let to = at.add(2).cast_mut().cast::<u8>();
            std::ptr::copy_nonoverlapping(record.from, to, record.whole);
            record.end.cast_mut().cast::<std::mem::MaybeUninit<u64>>().write(record.last);
        }
        true
    }

    /// Tries once to stage `header` and `stamp` at `at` and to publish them by changing `head`, of
    /// CPU `cpu`, from `old` to `new`. Returns false, with nothing published, for the reasons that
    /// [`copy`] has.
    ///
    /// One section; the store to the head commits and releases. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`copy`], of two words at `at`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Acquire};
    /// use stillpoint::rseq::{ring::reserve, word::current_cpu};
    ///
    /// let rings: Vec<[AtomicU64; 3]> = (0..4096).map(|_| Default::default()).collect();
    /// if let Some(cpu) = current_cpu() {
    ///     let [head, at, _] = &rings[cpu as usize];
    ///     // SAFETY: a ring for each CPU, of which this one is still empty.
    ///     if unsafe { reserve(cpu, head, 0, 16, at, 1, 2) } {
    ///         assert_eq!((head.load(Acquire), at.load(Acquire)), (16, 1));
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn reserve(
        cpu: u32,
        head: &AtomicU64,
        old: u64,
        new: u64,
        at: *const AtomicU64,
        header: u64,
        stamp: u64,
    ) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        sequence_releases(head);
        // SAFETY: as in `copy`.
        unsafe {
            section!(
                "ring_reserve", "landing_cold",
                o = in(reg) o,
                cpu = in(reg) cpu,
                head = in(reg) head.as_ptr(),
                old = in(reg) old,
                new = in(reg) new,
                at = in(reg) at,
                header = in(reg) header,
                stamp = in(reg) stamp,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::Record;
    use std::sync::atomic::AtomicU64;

    /// This target has no sequences: never copies.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the head must belong to the CPU.
    #[inline(always)]
    pub unsafe fn copy(
        _: u32,
        _: &AtomicU64,
        _: u64,
        _: u64,
        _: *const AtomicU64,
        _: &Record,
    ) -> bool {
        false
    }

    /// This target has no sequences: never reserves.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the head must belong to the CPU.
    #[inline(always)]
    pub unsafe fn reserve(
        _: u32,
        _: &AtomicU64,
        _: u64,
        _: u64,
        _: *const AtomicU64,
        _: u64,
        _: u64,
    ) -> bool {
        false
    }
}
