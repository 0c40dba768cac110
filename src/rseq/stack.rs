//! Sequences on a list of nodes that each CPU has: push, pop, take all.
//!
//! A part of the [`Place`](super::part::Place) begins with three words. The first says which of two
//! lists is *in use*, 0 or 1; if it is 2 or more, the part is *stopped*. The others are the tops of
//! the lists. Sequences change the list in use plainly, and only on its CPU; a part that is stopped
//! they leave alone. The word is read inside the sequence: so whoever changes it and then sends a
//! broadcast has the list that is no longer in use, or, while the part is stopped, both, for
//! himself.
//!
//! A pop reads the top's `next` inside the sequence, too. Between reading the top and storing what
//! comes behind it nobody has run on this CPU, so the top is still what it was, however often its
//! address was pushed and popped before; and nobody else has taken it off to free it, since that
//! takes the broadcast that aborts the sequence.

use crate::sync::{AtomicU64, Ordering};
use std::ptr::{NonNull, with_exposed_provenance_mut};

/// What makes something a node: the first field of it.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::stack::Link;
///
/// #[repr(C)]
/// struct Buffer {
///     link: Link,
///     bytes: [u8; 64],
/// }
/// let buffer = Buffer { link: Link::new(), bytes: [0; 64] };
/// assert_eq!(buffer.bytes.len(), 64);
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Link {
    /// The address of the next one; 0 for none.
    next: AtomicU64,
}

impl Link {
    crate::sync::const_unless_modelled! {
        /// On no list.
        ///
        /// # Examples
        ///
        /// See the type's.
        pub const fn new() -> Link {
            Link { next: AtomicU64::new(0) }
        }
    }

    /// The node behind this one. Relaxed: who may look at it has it for himself, or is a sequence.
    pub(crate) fn next(&self) -> Option<NonNull<Link>> {
        link(self.next.load(Ordering::Relaxed))
    }

    pub(crate) fn set_next(&self, next: Option<NonNull<Link>>) {
        self.next.store(address(next), Ordering::Relaxed);
    }
}

impl Default for Link {
    fn default() -> Link {
        Link::new()
    }
}

/// The node at an address that came from [`address`].
pub(crate) fn link(address: u64) -> Option<NonNull<Link>> {
    NonNull::new(with_exposed_provenance_mut(address as usize))
}

/// A node's address, as lists hold it.
pub(crate) fn address(node: Option<NonNull<Link>>) -> u64 {
    node.map_or(0, |node| node.as_ptr().expose_provenance() as u64)
}

/// A sequence did nothing: it was aborted, or turned away.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::{part::Place, stack};
/// // SAFETY: a place that lets nobody in.
/// let nothing = unsafe { stack::pop(&Place::new()) };
/// assert_eq!(nothing, Err(stack::TurnedAway));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway;

impl std::fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sequence was aborted, or turned away")
    }
}

impl std::error::Error for TurnedAway {}

#[cfg(stillpoint_loom)]
pub use super::model::list::{pop, push, take};

#[cfg(stillpoint_sections)]
pub use native::{pop, push, take};

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
pub use absent::{pop, push, take};

#[cfg(stillpoint_sections)]
mod native {
    use super::{Link, TurnedAway};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::part::Place;
    use crate::rseq::section::section;
    use crate::sync::{sequence_acquires, sequence_releases};
    use std::ptr::{NonNull, from_ref};

    /// Tries once to put `node` on top of the list of the calling thread's CPU. Returns false, with
    /// nothing changed but the node's link, if the section was aborted, the place is closed, has no
    /// part for this CPU, or the part is stopped.
    ///
    /// One section; storing the top commits, and orders nothing but for who has fenced. On x86-64
    /// twelve instructions, none atomic. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// The place is as [`Place::set`] and [`Place::open`] ask for. Each part begins with three
    /// words, 0 at first: which list is in use, or how often it is stopped, twice; and the tops of
    /// the lists. Nobody stores to the tops but these sequences, and who has stopped the part, or
    /// put the other list in use, and sent a broadcast since, twice on a kernel before 6.18. The
    /// node lives and is the caller's, and from here on the list's: until it is taken off nobody
    /// else may touch it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use stillpoint::rseq::part::{Place, STRIDE};
    /// use stillpoint::rseq::stack::{Link, pop, push};
    ///
    /// let place = Place::new();
    /// let part: &'static mut [u64] = vec![0; STRIDE / 8].leak();
    /// let node = NonNull::from(Box::leak(Box::new(Link::new())));
    /// // SAFETY: a part for CPU 0 and a node, which live for ever.
    /// unsafe {
    ///     place.set(part.as_mut_ptr().cast());
    ///     place.open(1);
    ///     println!("on CPU 0, without interruption: {}", push(&place, node));
    ///     println!("the node again, with some luck: {:?}", pop(&place));
    /// }
    /// ```
    #[inline(always)]
    pub unsafe fn push(place: &Place, node: NonNull<Link>) -> bool {
        let o = hoisted_offset();
        if o == 0 {
            return false;
        }
        sequence_releases(from_ref(place).cast());
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the place and, within the bound, a part; it stores to
        // the caller's node and to the part's second word. No stack is used.
        unsafe {
            section!(
                "stack_push", "landing_cold",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                node = in(reg) node.as_ptr().expose_provenance(),
                mark = out(reg) _,
                cold = label { return false },
                options(nostack),
            );
        }
        true
    }

    /// Tries once to take the top off the list of the calling thread's CPU. `None` if that is
    /// empty.
    ///
    /// One section; storing what is behind the top commits. On x86-64 fourteen instructions, none
    /// atomic. Async-signal-safe.
    ///
    /// # Errors
    ///
    /// With nothing changed, as [`push`] returns false.
    ///
    /// # Safety
    ///
    /// As for [`push`], but for the node.
    ///
    /// # Examples
    ///
    /// See [`push`].
    #[inline(always)]
    pub unsafe fn pop(place: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
        let o = hoisted_offset();
        if o == 0 {
            return Err(TurnedAway);
        }
        #[cfg(stillpoint_mutants)]
        if crate::sync::mutant::broken(crate::sync::mutant::Mutant::NextOutsideSection) {
            // SAFETY: as the caller promises, but for the defect.
            return unsafe { pop_in_two_steps(place) };
        }
        let (node, part): (*mut Link, usize);
        // SAFETY: as in `push`; the text reads the top node, which lives as long as it is there.
        unsafe {
            section!(
                "stack_pop", "landing_null",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                node = out(reg) node,
                mark = out(reg) part,
                options(nostack),
            );
        }
        if part == 0 {
            return Err(TurnedAway);
        }
        sequence_acquires(from_ref(place).cast());
        Ok(NonNull::new(node))
    }

    /// The mutant: what comes behind the top is known before the section begins, which compares the
    /// top.
    #[cfg(stillpoint_mutants)]
    #[inline(always)]
    unsafe fn pop_in_two_steps(place: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
        use crate::rseq::part::STRIDE;
        use crate::rseq::word::{current_cpu, replace};
        use std::sync::atomic::{AtomicPtr, Ordering};
        let (Some(first), Some(cpu)) = (NonNull::new(place.first()), current_cpu()) else {
            return Err(TurnedAway);
        };
        // SAFETY: a part for every CPU.
        let top =
            unsafe { first.byte_add(cpu as usize * STRIDE + 8).cast::<AtomicPtr<Link>>().as_ref() };
        let node = top.load(Ordering::Acquire);
        let Some(found) = NonNull::new(node) else { return Ok(None) };
        // SAFETY: it may be gone: that is the defect.
        let next = super::address(unsafe { found.as_ref() }.next());
        crate::sync::dither();
        let next = super::link(next).map_or(std::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: a word of that CPU.
        if unsafe { replace(cpu, top, node, next) } { Ok(Some(found)) } else { Err(TurnedAway) }
    }

    /// Tries once to take the whole list of the calling thread's CPU: returns its top.
    ///
    /// # Errors
    ///
    /// As for [`pop`].
    ///
    /// # Safety
    ///
    /// As for [`pop`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rseq::{part::Place, stack};
    /// // SAFETY: a place that lets nobody in.
    /// assert!(unsafe { stack::take(&Place::new()) }.is_err());
    /// ```
    #[inline(always)]
    pub unsafe fn take(place: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
        let o = hoisted_offset();
        if o == 0 {
            return Err(TurnedAway);
        }
        let (node, part): (*mut Link, usize);
        // SAFETY: as in `push`.
        unsafe {
            section!(
                "stack_take", "landing_null",
                o = in(reg) o,
                place = in(reg) from_ref(place),
                node = out(reg) node,
                mark = out(reg) part,
                options(nostack),
            );
        }
        if part == 0 {
            return Err(TurnedAway);
        }
        sequence_acquires(from_ref(place).cast());
        Ok(NonNull::new(node))
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom)))]
mod absent {
    use super::{Link, TurnedAway};
    use crate::rseq::part::Place;
    use std::ptr::NonNull;

    /// This target has no sequences: never pushes.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such lists.
    #[inline(always)]
    pub unsafe fn push(_: &Place, _: NonNull<Link>) -> bool {
        false
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
    pub unsafe fn pop(_: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
        Err(TurnedAway)
    }

    /// This target has no sequences: never takes.
    ///
    /// # Errors
    ///
    /// Always.
    ///
    /// # Safety
    ///
    /// None here; elsewhere the place must describe parts with such lists.
    #[inline(always)]
    pub unsafe fn take(_: &Place) -> Result<Option<NonNull<Link>>, TurnedAway> {
        Err(TurnedAway)
    }
}
