//! Sequences that change a word of a CPU as planned: if nothing has happened since, and nobody
//! keeps the CPU's sequences away.
//!
//! Who changes a structure of several words reads it first, plainly, and plans: which word is to be
//! changed, from what to what. The sequence then compares, and does what was planned, or
//! nothing. It compares three things: the number of the CPU; a *second word*, by which others keep
//! sequences away, as the first word of a part of a [`RawPerCpu`](crate::percpu::RawPerCpu) does
//! (2 for each who has stopped it); and the word itself.
//!
//! # What can be planned
//!
//! That a word holds what it held does not say that nothing has happened: others of this CPU may
//! have changed it, and changed it back. Where a plan rests on more than the word says,
//! such as an item that was read, or what comes behind the top of a list, the word must never
//! come back to a value that it had: a position that only grows, a count in its upper half. Or
//! the plan is to be made inside: see [`exchange`](super::exchange).
//!
//! # What can be staged
//!
//! [`store`] and [`copy`] store elsewhere before they commit: where *nobody looks until the commit*,
//! behind the end of an array or the head of a ring. That is what makes it sound: an aborted
//! try leaves bytes there that mean nothing, and the next one writes them again. It has to be inside
//! all the same: a thread that stored there before the section, and was preempted in between,
//! would write over what another one of this CPU has committed there since. It is no way
//! to change two words that mean something together: if the section is aborted between the two stores,
//! only the first is done.
//!
//! # Orderings
//!
//! The second word is loaded before the word and what is staged: on aarch64 the address depends on it. Its
//! partner is the release of who lets sequences in again. The commit releases, on x86-64 by being
//! a store; its partners are loads of others that acquire. Nothing acquires: what was read for the
//! plan was read before, with an order of the caller's choice.

use crate::sync::AtomicU64;

/// What is planned.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use stillpoint::rseq::change::Change;
///
/// let (length, stopped) = (AtomicU64::new(3), AtomicU64::new(0));
/// let old = length.load(Relaxed);
/// let one_more = Change { cpu: 0, word: &length, old, new: old + 1, also: &stopped, is: 0 };
/// assert_eq!(one_more.new, 4);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// On this CPU only.
    pub cpu: u32,
    /// The word that is changed.
    pub word: &'a AtomicU64,
    /// What it holds.
    pub old: u64,
    /// What it is to hold.
    pub new: u64,
    /// A second word. Who needs none gives the first one again, and `old` as what it holds.
    pub also: &'a AtomicU64,
    /// What that holds.
    pub is: u64,
}

#[cfg(stillpoint_loom)]
pub use super::model::change::{commit, copy, store};

#[cfg(stillpoint_sections)]
pub use native::{commit, copy, store};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{commit, copy, store};

#[cfg(stillpoint_sections)]
mod native {
    use super::Change;
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::section::section;
    use crate::sync::sequence_releases;
    use std::sync::atomic::AtomicU64;

    /// Tries once to make a change: compares two words, and stores to one of them. Returns false,
    /// with nothing changed, if the section was aborted, the thread is not on that CPU, or one of the
    /// words holds something else.
    ///
    /// One section; the store commits and releases. On x86-64 seven instructions, none
    /// atomic. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// The word is stored to only by sequences on this CPU, and by who has changed the second word
    /// to something else, and called [`fence_cpu`](crate::rseq::fence_cpu) for this CPU since.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::AtomicU64;
    /// use stillpoint::rseq::change::{Change, commit};
    /// use stillpoint::rseq::word::current_cpu;
    ///
    /// let words: Vec<[AtomicU64; 2]> = (0..4096).map(|_| Default::default()).collect();
    /// while let Some(cpu) = current_cpu() {
    ///     let [stopped, word] = &words[cpu as usize];
    ///     let change = Change { cpu, word, old: 0, new: 7, also: stopped, is: 0 };
    ///     // SAFETY: a word for each CPU, to which only this line stores.
    ///     if unsafe { commit(&change) } {
    ///         break;
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn commit(change: &Change<'_>) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        let &Change { cpu, word, old, new, also, is } = change;
        sequence_releases(word);
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads two live words, and stores to one of them, as the caller
        // promises that it may. No stack is used.
        unsafe {
            section!(
                "change_commit", "landing_cold",
                o = in(reg) o,
                cpu = in(reg) cpu,
                word = in(reg) word.as_ptr(),
                old = in(reg) old,
                new = in(reg) new,
                also = in(reg) also.as_ptr(),
                is = in(reg) is,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// As [`commit`], with `value` stored to `to` before.
    ///
    /// One section; the store to the word commits, and releases what was staged. On x86-64
    /// eight instructions, none atomic. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`commit`]. As long as the words hold `old` and `is`, nobody but sequences on this CPU
    /// accesses `to`, and it means nothing what is there; it may hold `value` although nothing was
    /// changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::{Acquire, Relaxed}};
    /// use stillpoint::rseq::change::{Change, store};
    /// use stillpoint::rseq::word::current_cpu;
    ///
    /// // For each CPU an array: a stop, a length, items.
    /// let arrays: Vec<[AtomicU64; 10]> = (0..4096).map(|_| Default::default()).collect();
    /// if let Some(cpu) = current_cpu() {
    ///     let [stopped, length, items @ ..] = &arrays[cpu as usize];
    ///     let old = length.load(Relaxed);
    ///     let change = Change { cpu, word: length, old, new: old + 1, also: stopped, is: 0 };
    ///     // SAFETY: an array for each CPU, to which only this line stores, and one that is not full.
    ///     if unsafe { store(&change, &items[old as usize], 7) } {
    ///         assert_eq!((length.load(Acquire), items[0].load(Relaxed)), (1, 7));
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn store(change: &Change<'_>, to: &AtomicU64, value: u64) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        let &Change { cpu, word, old, new, also, is } = change;
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::StageOutsideSection) {
            to.store(value, std::sync::atomic::Ordering::Relaxed);
            crate::sync::dither();
            // SAFETY: not; that is the defect.
            return unsafe { commit(change) };
        }
        sequence_releases(word);
        // SAFETY: as in `commit`; the text stores to another live word, too, at which nobody looks.
        unsafe {
            section!(
                "change_store", "landing_cold",
                o = in(reg) o,
                cpu = in(reg) cpu,
                word = in(reg) word.as_ptr(),
                old = in(reg) old,
                new = in(reg) new,
                also = in(reg) also.as_ptr(),
                is = in(reg) is,
                to = in(reg) to.as_ptr(),
                value = in(reg) value,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// As [`store`], with words copied to others of the same number, which may be none.
    ///
    /// One section; the store to the word commits, and releases what was staged. On x86-64
    /// nine instructions, and four for each word, none atomic. A section is run again from its
    /// beginning if the thread is interrupted: copy a few cache lines, not pages. Async-signal-safe.
    ///
    /// # Panics
    ///
    /// If they are not of the same number.
    ///
    /// # Safety
    ///
    /// As for [`store`], for all of `to`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::{Acquire, Relaxed}};
    /// use stillpoint::rseq::change::{Change, copy};
    /// use stillpoint::rseq::word::current_cpu;
    ///
    /// // For each CPU a log: a stop, how many words it has, the words.
    /// let logs: Vec<[AtomicU64; 10]> = (0..4096).map(|_| Default::default()).collect();
    /// if let Some(cpu) = current_cpu() {
    ///     let [stopped, length, words @ ..] = &logs[cpu as usize];
    ///     let change = Change { cpu, word: length, old: 0, new: 3, also: stopped, is: 0 };
    ///     // SAFETY: a log for each CPU, to which only this line stores.
    ///     if unsafe { copy(&change, &words[..3], &[7, 8, 9]) } {
    ///         assert_eq!((length.load(Acquire), words[2].load(Relaxed)), (3, 9));
    ///     }
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn copy(change: &Change<'_>, to: &[AtomicU64], from: &[u64]) -> bool {
        assert_eq!(to.len(), from.len(), "as many words as there is space for");
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        let &Change { cpu, word, old, new, also, is } = change;
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::StageOutsideSection) {
            for (to, from) in to.iter().zip(from) {
                to.store(*from, std::sync::atomic::Ordering::Relaxed);
            }
            crate::sync::dither();
            // SAFETY: not; that is the defect.
            return unsafe { commit(change) };
        }
        sequence_releases(word);
        // SAFETY: as in `store`; so many words are there to be read, and to be stored to.
        unsafe {
            section!(
                "change_copy", "landing_cold",
                o = in(reg) o,
                cpu = in(reg) cpu,
                word = in(reg) word.as_ptr(),
                old = in(reg) old,
                new = in(reg) new,
                also = in(reg) also.as_ptr(),
                is = in(reg) is,
                to = in(reg) to.as_ptr(),
                from = in(reg) from.as_ptr(),
                n = inout(reg) size_of_val(from) => _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::Change;
    use std::sync::atomic::AtomicU64;

    /// This target has no sequences: never commits.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the word must belong to the CPU.
    #[inline(always)]
    pub unsafe fn commit(_: &Change<'_>) -> bool {
        false
    }

    /// This target has no sequences: never stores.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the words must belong to the CPU.
    #[inline(always)]
    pub unsafe fn store(_: &Change<'_>, _: &AtomicU64, _: u64) -> bool {
        false
    }

    /// This target has no sequences: never copies.
    ///
    /// # Panics
    ///
    /// If they are not of the same number.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the words must belong to the CPU.
    #[inline(always)]
    pub unsafe fn copy(_: &Change<'_>, to: &[AtomicU64], from: &[u64]) -> bool {
        assert_eq!(to.len(), from.len(), "as many words as there is space for");
        false
    }
}
