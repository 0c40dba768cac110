//! Sequences on an array of items that each CPU has: push and pop at its end.
//!
//! A part of the [`Place`](super::part::Place) begins with four words, of which these sequences
//! know two: how many have *stopped* it, as in [`stack`](super::stack), and how many items there
//! are. The items follow: words, not 0. A push stores its item behind the last one, where the array
//! says nothing, and commits by counting it.

#[cfg(stillpoint_loom)]
pub use super::model::array::{pop, push};

#[cfg(stillpoint_sections)]
pub use native::{pop, push};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{pop, push};

/// Words before the items.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::RawPerCpu;
/// use stillpoint::rseq::cache::HEAD;
///
/// static NUMBERS: RawPerCpu = RawPerCpu::new(HEAD + 16); // room for sixteen items
/// # assert!(NUMBERS.len() >= 1);
/// ```
pub const HEAD: usize = 4;

#[cfg(stillpoint_sections)]
mod native {
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::part::Place;
    use crate::rseq::section::section;
    use crate::sync::{sequence_acquires, sequence_releases};
    use std::num::NonZero;
    use std::ptr::from_ref;

    /// Tries once to put `item` at the end of the array of the calling thread's CPU. Returns false,
    /// with nothing changed, if there are `limit` or more, the section was aborted, the place is
    /// closed, has no part for this CPU, or the part is stopped.
    ///
    /// One section; counting the item commits, and orders nothing but for who has fenced. On x86-64
    /// twelve instructions, none atomic. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// The place is as [`Place::set`] and [`Place::open`] ask for. Each part begins with
    /// [`HEAD`](super::HEAD) words, 0 at first, and has room for `limit` behind them. Nobody stores
    /// to its second word and to the items but these sequences, and who has stopped the part and
    /// sent a broadcast since, twice on a kernel before 6.18.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::part::{Place, STRIDE};
    /// use stillpoint::rseq::cache::{pop, push};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// let item = 7.try_into().unwrap();
    /// // SAFETY: a part for CPU 0, which lives for ever.
    /// unsafe {
    ///     place.set(part.as_mut_ptr().cast());
    ///     place.open(1);
    ///     println!("on CPU 0, without interruption: {}", push(&place, item, 100));
    ///     println!("the item again, with some luck: {:?}", pop(&place));
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn push(place: &Place, item: NonZero<usize>, limit: usize) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        sequence_releases(from_ref(place).cast());
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the place and, within the bound, a part; it stores within
        // its array, by the limit, and to its second word. No stack is used.
        unsafe {
            section!(
                "cache_push", "landing_cold",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                item = in(reg) item.get(),
                limit = in(reg) limit,
                mark = out(reg) _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// Tries once to take the last item off the array of the calling thread's CPU. `None`, with
    /// nothing changed, if there is none, or as [`push`] returns false.
    ///
    /// One section; the new count commits. On x86-64 twelve instructions, none atomic.
    /// Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`push`].
    ///
    /// # Examples
    ///
    /// See [`push`].
    #[inline(always)]
    pub unsafe fn pop(place: &Place) -> Option<NonZero<usize>> {
        let o = hoisted_offset();
        if o == 0 {
            return None;
        }
        let item: usize;
        // SAFETY: as in `push`.
        unsafe {
            section!(
                "cache_pop", "landing_null",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                mark = out(reg) item,
                part = out(reg) _,
                options(nostack),
            );
        }
        let item = NonZero::new(item)?;
        sequence_acquires(from_ref(place).cast());
        Some(item)
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use crate::rseq::part::Place;
    use std::num::NonZero;

    /// This target has no sequences: never pushes.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such arrays.
    #[inline(always)]
    pub unsafe fn push(_: &Place, _: NonZero<usize>, _: usize) -> bool {
        false
    }

    /// This target has no sequences: never pops.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such arrays.
    #[inline(always)]
    pub unsafe fn pop(_: &Place) -> Option<NonZero<usize>> {
        None
    }
}
