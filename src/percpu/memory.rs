//! Memory that every CPU has a part of.
//!
//! A *chunk* is a mapping of parts, [`STRIDE`] bytes apart: one for each CPU, or shard, and one more
//! that is nobody's, the *rest*. What is taken from it is the same offset in every part: so a pointer to CPU
//! 0's and the stride say it all. Pages are there from the first touch on. Nothing of one CPU shares a
//! page with anything of another.
//!
//! Taking is lock-free, since the first to use something may be a signal handler. Chunks are never
//! unmapped. What was given back is handed out again to whoever wants as much.

use crate::machine::{Shape, Tier, shape};
use crate::rseq::part::{Place, STRIDE, WORD};
use crate::sync::{AtomicU64, Ordering};
use std::ptr::NonNull;

#[cfg(not(stillpoint_loom))]
pub(super) use mapped::{give_back, take, unmap_words, words};
#[cfg(stillpoint_loom)]
pub(super) use modelled::{give_back, take, unmap_words, words};

/// No item is larger.
pub(super) const LARGEST: usize = STRIDE / 2;

/// How many parts there are for CPUs, or shards. The rest is behind them.
pub(super) fn parts() -> usize {
    shape(Tier::Rseq).lines()
}

/// A word of a part.
#[inline]
pub(super) fn word_of(first: &NonNull<u8>, part: usize, word: usize) -> &AtomicU64 {
    // SAFETY: the callers have taken such memory, and see to the numbers: within the part, an
    // aligned word, shared by atomics and, on `Rseq`, one CPU's sequences.
    unsafe { first.byte_add(part * STRIDE + word * WORD).cast().as_ref() }
}

/// How many CPUs' sequences are let in.
pub(super) fn bound(shape: Shape) -> u32 {
    if shape.tier == Tier::Rseq { shape.slots } else { 0 }
}

/// The memory of a place: `size` bytes in each part, taken now unless it was before. The address of
/// CPU 0's. Async-signal-safe.
pub(super) fn made(place: &Place, size: usize) -> NonNull<u8> {
    let bound = bound(shape(Tier::Rseq));
    if let Some(first) = NonNull::new(place.first()) {
        // Whoever took it may never have come to this, as a thread of the parent of a fork.
        if bound != 0 && place.is_unopened() {
            // SAFETY: as below.
            unsafe { place.open(bound) };
        }
        return first;
    }
    let fresh = take(size);
    // SAFETY: parts for all CPUs, until it is given back.
    let first = unsafe { place.set(fresh.as_ptr()) };
    if first != fresh.as_ptr() {
        // SAFETY: nobody has seen it.
        unsafe { give_back(fresh, size) };
    }
    // SAFETY: as above.
    unsafe { place.open(bound) };
    NonNull::new(first).unwrap_or(fresh)
}

/// Gives back what [`made`] took, if it did.
///
/// # Safety
///
/// Nobody uses the place any more.
pub(super) unsafe fn give_back_place(place: &Place, size: usize) {
    let Some(first) = NonNull::new(place.first()) else { return };
    for part in 0..=parts() {
        for word in 0..size / WORD {
            let word = word_of(&first, part, word);
            // Looked at before: a page that nobody touched stays untouched.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
    // SAFETY: taken in `made`, all zero, and nobody else is here.
    unsafe { give_back(first, size) };
}

#[cfg(not(stillpoint_loom))]
mod mapped {
    use super::{LARGEST, parts};
    use crate::machine::masked;
    use crate::rseq::part::{STRIDE, WORD};
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Mutex, TryLockError};

    /// At the start of the rest; no item begins there.
    #[repr(C)]
    struct Head {
        /// How much of each part is taken.
        used: AtomicUsize,
    }

    /// Items of a cache line and more begin at multiples of this.
    const APART: usize = 128;

    /// The chunk in use: CPU 0's part.
    static CHUNK: AtomicPtr<u8> = AtomicPtr::new(null_mut());

    /// What was given back, by size in words: CPU 0's part of the first. The word in the rest links it to
    /// the next: nothing is allocated here, for handlers come by.
    static FREE: Mutex<[Item; LARGEST / WORD + 1]> =
        Mutex::new([const { Item(null_mut()) }; LARGEST / WORD + 1]);

    #[derive(Debug)]
    struct Item(*mut u8);

    // SAFETY: memory that nobody uses.
    unsafe impl Send for Item {}

    /// The word that links an item to the next.
    ///
    /// # Safety
    ///
    /// Nobody uses the item.
    unsafe fn link(item: NonNull<u8>) -> NonNull<*mut u8> {
        // SAFETY: the caller's item, within its chunk.
        unsafe { item.byte_add(parts() * STRIDE).cast() }
    }

    /// `size` bytes, all zero, in every part and in the rest: the address of CPU 0's. Aborts if there
    /// is no memory. Async-signal-safe.
    ///
    /// A multiple of 8. Of 64 and more, aligned to 128; of less, to the next power of two.
    pub(in crate::percpu) fn take(size: usize) -> NonNull<u8> {
        debug_assert!(size.is_multiple_of(8) && size <= LARGEST);
        let mut taken = None;
        masked(|| {
            // Whoever is here may have been interrupted by us, or have died in the parent of a fork.
            if let Ok(mut free) = FREE.try_lock() {
                let first = &mut free[size / WORD];
                taken = NonNull::new(first.0);
                if let Some(item) = taken {
                    // SAFETY: on the list, so nobody uses it. What is taken is all zero.
                    first.0 = unsafe { link(item).replace(null_mut()) };
                }
            }
            taken = taken.or_else(|| take_fresh(size));
        });
        taken.unwrap_or_else(|| handle_alloc_error(Layout::new::<[u8; STRIDE]>()))
    }

    /// Whoever has the lock so long will hardly give it back: it died in the parent of a fork.
    const PATIENCE: u32 = 1000;
    /// Set when somebody waited in vain; then nobody waits, until the lock is found free.
    static IN_VAIN: AtomicBool = AtomicBool::new(false);

    /// Gives back what [`take`] gave. In the child of a fork, it may be lost. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// It came from there, with this size, nobody uses it any more, and it is all zero.
    pub(in crate::percpu) unsafe fn give_back(first: NonNull<u8>, size: usize) {
        let attempts = if IN_VAIN.load(Ordering::Relaxed) { 1 } else { PATIENCE };
        for _ in 0..attempts {
            match FREE.try_lock() {
                Ok(mut free) => {
                    let head = &mut free[size / WORD];
                    // SAFETY: the caller's promise.
                    unsafe { link(first).write(head.0) };
                    head.0 = first.as_ptr();
                    return IN_VAIN.store(false, Ordering::Relaxed);
                }
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
                // Nobody panics with the lock.
                Err(TryLockError::Poisoned(_)) => return,
            }
        }
        IN_VAIN.store(true, Ordering::Relaxed);
    }

    fn take_fresh(size: usize) -> Option<NonNull<u8>> {
        let align = if size < 64 { size.next_power_of_two() } else { APART };
        let rest = parts() * STRIDE;
        loop {
            // Acquire: partner is the release below.
            let chunk = CHUNK.load(Ordering::Acquire);
            if !chunk.is_null() {
                // SAFETY: a chunk, with a head at the start of its rest; never unmapped.
                let head = unsafe { &*chunk.byte_add(rest).cast::<Head>() };
                let behind = |used: usize| {
                    let end = used.next_multiple_of(align) + size;
                    (end <= STRIDE).then_some(end)
                };
                let used = head.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, behind);
                if let Ok(used) = used {
                    return NonNull::new(chunk.wrapping_byte_add(used.next_multiple_of(align)));
                }
            }
            let fresh = map(rest + STRIDE)?;
            // SAFETY: fresh memory, all zero, which is a valid head.
            let head = unsafe { &*fresh.byte_add(rest).cast::<Head>() };
            head.used.store(APART, Ordering::Relaxed);
            // Release: partner is the acquire above.
            if CHUNK.compare_exchange(chunk, fresh, Ordering::Release, Ordering::Relaxed).is_err() {
                // SAFETY: ours, and nobody has seen it.
                unsafe { libc::munmap(fresh.cast(), rest + STRIDE) };
            }
        }
    }

    /// A mapping of one's own, of so many words, all zero. Async-signal-safe.
    pub(in crate::percpu) fn words(words: usize) -> Option<NonNull<AtomicU64>> {
        let (bytes, mut mapped) = (words.checked_mul(size_of::<AtomicU64>())?, None);
        masked(|| mapped = map(bytes));
        NonNull::new(mapped?.cast())
    }

    /// Gives back what [`words`] gave.
    ///
    /// # Safety
    ///
    /// It came from there, with this size, and nobody uses it any more.
    pub(in crate::percpu) unsafe fn unmap_words(first: NonNull<AtomicU64>, words: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(first.as_ptr().cast(), words * size_of::<AtomicU64>()) };
    }

    /// Fresh pages. There are fewer than 2^16 CPUs, so nothing overflows.
    fn map(bytes: usize) -> Option<*mut u8> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: a fresh anonymous mapping touches nobody's memory.
        let p = unsafe { libc::mmap(null_mut(), bytes, access, kind | libc::MAP_NORESERVE, -1, 0) };
        (p != libc::MAP_FAILED).then(|| p.cast())
    }
}

/// Words that the model checker watches.
#[cfg(stillpoint_loom)]
mod modelled {
    use super::parts;
    use crate::rseq::part::{STRIDE, WORD};
    use crate::sync::AtomicU64;
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    fn layout() -> Layout {
        let words = (parts() + 1) * STRIDE / WORD;
        Layout::array::<AtomicU64>(words).expect("few parts")
    }

    pub(in crate::percpu) fn take(size: usize) -> NonNull<u8> {
        // SAFETY: not of size 0.
        let first = unsafe { alloc(layout()) };
        let Some(first) = NonNull::new(first) else { handle_alloc_error(layout()) };
        for part in 0..=parts() {
            for at in (0..size).step_by(WORD) {
                // SAFETY: within the memory, aligned.
                unsafe { first.byte_add(part * STRIDE + at).cast().write(AtomicU64::new(0)) };
            }
        }
        first
    }

    pub(in crate::percpu) fn words(words: usize) -> Option<NonNull<AtomicU64>> {
        let all: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        NonNull::new(Box::into_raw(all).cast())
    }

    pub(in crate::percpu) unsafe fn unmap_words(first: NonNull<AtomicU64>, words: usize) {
        let all = std::ptr::slice_from_raw_parts_mut(first.as_ptr(), words);
        // SAFETY: from `words`, with this length.
        drop(unsafe { Box::from_raw(all) });
    }

    pub(in crate::percpu) unsafe fn give_back(first: NonNull<u8>, size: usize) {
        for part in 0..=parts() {
            for at in (0..size).step_by(WORD) {
                // SAFETY: a word of `take`'s, which nobody uses.
                unsafe { first.byte_add(part * STRIDE + at).cast::<AtomicU64>().drop_in_place() };
            }
        }
        // SAFETY: from `take`.
        unsafe { dealloc(first.as_ptr(), layout()) };
    }
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_do_not_overlap_and_are_aligned() {
        let sizes = [8, 16, 24, 64, 8, 128, 4096, 8, LARGEST, LARGEST, 8, 200];
        let mut items: Vec<_> =
            sizes.iter().cycle().take(60).map(|&size| (take(size).addr().get(), size)).collect();
        for &(at, size) in &items {
            let align = if size < 64 { size.next_power_of_two() } else { 128 };
            assert!(at.is_multiple_of(align), "{size} at {at:#x}");
        }
        items.sort();
        assert!(items.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{items:x?}");
    }

    #[test]
    fn what_was_given_back_is_taken_again() {
        let first = take(40);
        // SAFETY: just taken, and untouched.
        unsafe { give_back(first, 40) };
        // Whoever comes while another test is here gets something fresh.
        assert!((0..100).any(|_| take(40) == first));
    }

    /// A fork may come before the place is open; the child opens it.
    #[test]
    fn what_was_taken_is_opened() {
        let (place, first) = (Place::new(), take(8));
        // SAFETY: parts for all CPUs, for ever.
        unsafe { place.set(first.as_ptr()) };
        assert!(place.is_unopened());
        assert_eq!(made(&place, 8), first);
        assert_eq!(place.is_unopened(), shape(Tier::Rseq).tier != Tier::Rseq);
    }

    #[test]
    fn every_part_is_there_and_zero() {
        let first = take(8);
        for part in 0..=parts() {
            // SAFETY: within the part.
            let word = unsafe { first.byte_add(part * STRIDE).cast::<u64>().as_mut() };
            assert_eq!(*word, 0);
            *word = part as u64;
        }
    }
}
