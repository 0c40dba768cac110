//! Sequences that take what a word of a CPU's part holds: for something else, or for what that
//! leads to.
//!
//! The part's first word says whether somebody has *stopped* it, as in [`cache`](super::cache): if
//! it is not 0 they leave the part alone. It is read inside the section, so whoever changes it, and
//! then sends a broadcast, has the part for himself.
//!
//! Nothing is planned before, unlike in [`change`](super::change): what is taken was there at the commit. So it
//! does not matter how often the word has come back to a value that it had: a pop needs no tag.
//!
//! # Orderings
//!
//! The first word is loaded before the others, on aarch64 by a dependency of their address; its
//! partner is the release of who ends a stop. The commit releases: on x86-64 by being a store. What is
//! found was stored by threads of this CPU, or by who had stopped the part: both come before, and what
//! they stored before is there.

pub use super::stack::TurnedAway;

#[cfg(stillpoint_loom)]
pub use super::model::exchange::{pop, swap};

#[cfg(stillpoint_sections)]
pub use native::{pop, swap};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{pop, swap};

#[cfg(stillpoint_sections)]
mod native {
    use super::TurnedAway;
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::part::Place;
    use crate::rseq::section::section;
    use crate::sync::{sequence_acquires, sequence_releases};
    use std::num::NonZero;
    use std::ptr::from_ref;

    /// Tries once to store `new` to the word at offset `at` of the calling thread's CPU's part.
    /// Returns what was there.
    ///
    /// One section; the store commits and releases. On x86-64 nine instructions, none
    /// atomic. Async-signal-safe.
    ///
    /// # Errors
    ///
    /// With nothing stored, if the section was aborted, the place is closed, has no part for this
    /// CPU, or the part is stopped.
    ///
    /// # Safety
    ///
    /// The place is as [`Place::set`] and [`Place::open`] ask for. Each part begins with a word that is 0
    /// at first, and has an aligned one at `at`, not the same. Nobody stores to that but sequences
    /// on its CPU, and who has made the first word something else and called
    /// [`fence_cpu`](crate::rseq::fence_cpu) for that CPU since, until it is 0 again.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::exchange::swap;
    /// use stillpoint::rseq::part::{Place, STRIDE};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// // SAFETY: a part for CPU 0, which lives for ever.
    /// unsafe {
    ///     place.set(part.as_mut_ptr().cast());
    ///     place.open(1);
    ///     println!("0, on CPU 0, without interruption: {:?}", swap(&place, 8, 7));
    ///     println!("7, with some luck: {:?}", swap(&place, 8, 0));
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn swap(place: &Place, at: usize, new: u64) -> Result<u64, TurnedAway> {
        let o = hoisted_offset();
        if o == 0 {
            return Err(TurnedAway);
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::TakenOutsideSection) {
            // SAFETY: as the caller promises, but for the defect.
            return unsafe { swap_in_two_steps(place, at, new) };
        }
        sequence_releases(from_ref(place).cast());
        let (old, part): (u64, usize);
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the place and, within the bound, a part; it stores to a
        // word of that, as the caller promises that it may. No stack is used.
        unsafe {
            section!(
                "exchange_swap", "landing_null",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                at = in(reg) at,
                new = in(reg) new,
                old = out(reg) old,
                mark = out(reg) part,
                options(nostack),
            );
        }
        if part == 0 {
            return Err(TurnedAway);
        }
        sequence_acquires(from_ref(place).cast());
        Ok(old)
    }

    /// The mutant: what is given back was read before the section began.
    #[cfg(stillpoint_mutants)]
    unsafe fn swap_in_two_steps(place: &Place, at: usize, new: u64) -> Result<u64, TurnedAway> {
        use crate::rseq::part::STRIDE;
        use crate::rseq::word::{current_cpu, replace};
        use std::ptr::{NonNull, with_exposed_provenance_mut};
        use std::sync::atomic::{AtomicPtr, Ordering};
        let (Some(first), Some(cpu)) = (NonNull::new(place.first()), current_cpu()) else {
            return Err(TurnedAway);
        };
        // SAFETY: a part for every CPU; a pointer and this number have one size.
        let word =
            unsafe { first.byte_add(cpu as usize * STRIDE + at).cast::<AtomicPtr<u8>>().as_ref() };
        let old = word.load(Ordering::Acquire);
        crate::sync::dither();
        let now = word.load(Ordering::Acquire);
        // SAFETY: a word of that CPU.
        let done = unsafe { replace(cpu, word, now, with_exposed_provenance_mut(new as usize)) };
        if done { Ok(old.expose_provenance() as u64) } else { Err(TurnedAway) }
    }

    /// Tries once to take the node whose address stands in the word at offset `at` of the calling
    /// thread's CPU's part, and to store there what the node holds at offset `next`: to take the
    /// first one off a list. `None` if there is none, that is, the word is 0.
    ///
    /// One section; the store commits and releases. On x86-64 twelve instructions, none
    /// atomic. Async-signal-safe.
    ///
    /// Putting a node there is a [`change`](super::super::change): its `next` is set, plainly, to what the word
    /// holds, and then the word is changed from that to the node's address.
    ///
    /// # Errors
    ///
    /// With nothing changed, as [`swap`].
    ///
    /// # Safety
    ///
    /// As for [`swap`]. What the word holds is 0 or the address, exposed, of a node with an aligned word at
    /// `next`, which can be read for as long as the node is there, and until a broadcast behind that,
    /// as [`fence_cpu`](crate::rseq::fence_cpu) sends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::exchange::pop;
    /// use stillpoint::rseq::part::{Place, STRIDE};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// let node: &'static mut [u64; 2] = Box::leak(Box::new([7, 0]));
    /// part[1] = node.as_mut_ptr().expose_provenance() as u64;
    /// // SAFETY: a part for CPU 0, which lives for ever, with a list of one node, which does too.
    /// unsafe {
    ///     place.set(part.as_mut_ptr().cast());
    ///     place.open(1);
    ///     println!("a node, on CPU 0, without interruption: {:?}", pop(&place, 8, 8));
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn pop(
        place: &Place,
        at: usize,
        next: usize,
    ) -> Result<Option<NonZero<usize>>, TurnedAway> {
        let o = hoisted_offset();
        if o == 0 {
            return Err(TurnedAway);
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::NextOutsideSection) {
            // SAFETY: as the caller promises, but for the defect.
            return unsafe { pop_in_two_steps(place, at, next) };
        }
        sequence_releases(from_ref(place).cast());
        let (node, part): (usize, usize);
        // SAFETY: as in `swap`; the text reads the node, which can be read as long as it is there.
        unsafe {
            section!(
                "exchange_pop", "landing_null",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                at = in(reg) at,
                next = in(reg) next,
                node = out(reg) node,
                mark = out(reg) part,
                options(nostack),
            );
        }
        if part == 0 {
            return Err(TurnedAway);
        }
        sequence_acquires(from_ref(place).cast());
        Ok(NonZero::new(node))
    }

    /// The mutant: what comes behind the node is known before the section begins.
    #[cfg(stillpoint_mutants)]
    #[inline(always)]
    unsafe fn pop_in_two_steps(
        place: &Place,
        at: usize,
        next: usize,
    ) -> Result<Option<NonZero<usize>>, TurnedAway> {
        use crate::rseq::part::STRIDE;
        use crate::rseq::word::{current_cpu, replace};
        use std::ptr::NonNull;
        use std::sync::atomic::{AtomicPtr, Ordering};
        let (Some(first), Some(cpu)) = (NonNull::new(place.first()), current_cpu()) else {
            return Err(TurnedAway);
        };
        // SAFETY: a part for every CPU; a pointer and this number have one size.
        let word =
            unsafe { first.byte_add(cpu as usize * STRIDE + at).cast::<AtomicPtr<u8>>().as_ref() };
        let node = word.load(Ordering::Acquire);
        let Some(found) = NonNull::new(node) else { return Ok(None) };
        // SAFETY: it may be gone: that is the defect.
        let behind = unsafe { found.byte_add(next).cast::<AtomicPtr<u8>>().as_ref() };
        let behind = behind.load(Ordering::Relaxed);
        crate::sync::dither();
        // SAFETY: a word of that CPU.
        let done = unsafe { replace(cpu, word, node, behind) };
        if done { Ok(NonZero::new(node.expose_provenance())) } else { Err(TurnedAway) }
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::TurnedAway;
    use crate::rseq::part::Place;
    use std::num::NonZero;

    /// This target has no sequences: never swaps.
    ///
    /// # Errors
    ///
    /// Always.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such a word.
    #[inline(always)]
    pub unsafe fn swap(_: &Place, _: usize, _: u64) -> Result<u64, TurnedAway> {
        Err(TurnedAway)
    }

    /// This target has no sequences: never pops.
    ///
    /// # Errors
    ///
    /// Always.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such lists.
    #[inline(always)]
    pub unsafe fn pop(_: &Place, _: usize, _: usize) -> Result<Option<NonZero<usize>>, TurnedAway> {
        Err(TurnedAway)
    }
}
