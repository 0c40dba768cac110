//! Words that every CPU has, and anyone may add to: what counters are made of.
//!
//! # State
//!
//! * A word in each CPU's part. Its CPU's sequences add to it plainly; below `Rseq` everyone adds
//!   atomically to a shard.
//! * A word in the *rest*. What cannot be added in a part is added there, atomically: by a thread that the
//!   kernel will not register, or whose sequences are aborted again and again, and by all while the
//!   parts are closed.
//!
//! The value is the sum of all, modulo 2^64.
//!
//! # An exact sum
//!
//! Adding up words while others add to them gives a value that the counter may never have had: a
//! thread that adds to one word, and then itself, or through another thread that learned of it, to
//! another word, can be seen to have done only the second. Whoever wants the exact value closes the parts: all sections that have not
//! committed by the broadcast find them closed, and add to the rest. Then the parts stand still, and the moment
//! at which the rest is loaded is the moment of the sum.
//!
//! They stand still but for additions that were under way: below `Rseq` those of threads that
//! had looked at the bound before, and on kernels before 6.18 a section whose abort was lost. These
//! are in progress as long as the sum is, at most one for each thread, so they may count or not, but
//! what follows from them must not count without them. So the parts are added up before the rest and
//! behind it, until both agree: then nothing happened between, and the moment is one between
//! the two.
//!
//! Several may close the same parts; the last one opens them. A child of `fork` may inherit closed
//! parts. There they stay closed, and everything goes to the rest: slower, and right.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | closing, then the broadcast, then loading the parts | relaxed | sections that load the bound: before the broadcast and visible, or behind it and turned away |
//! | adding to a part | relaxed | none: a count says nothing of other memory. Who must see an addition has been told of it, and that orders it |
//! | adding to the rest, or a shard | release | an exact sum's load of the rest: it finds in the parts what came before |
//! | loading parts, rest, parts | acquire, then a full fence | each other |

use super::memory::{self, bound, word_of};
#[cfg(not(stillpoint_loom))]
use crate::machine::fence::expel;
use crate::machine::fence::heavy;
use crate::machine::{Shape, Tier, shape, spread};
use crate::rseq::part::{Place, WORD, add};
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{Ordering, const_unless_modelled, fence};
use std::ptr::NonNull;

/// `WORDS` words for each CPU.
#[derive(Debug)]
pub(super) struct Parts<const WORDS: usize> {
    place: Place,
}

impl<const WORDS: usize> Parts<WORDS> {
    const SIZE: usize = {
        assert!(WORDS * WORD <= memory::LARGEST);
        WORDS * WORD
    };

    const_unless_modelled! {
        pub(super) const fn new() -> Parts<WORDS> {
            Parts { place: Place::new() }
        }
    }

    /// Adds to one of this CPU's words, or to the rest.
    #[inline(always)]
    pub(super) fn add(&self, word: usize, n: u64) {
        assert!(word < WORDS);
        // SAFETY: the place describes memory as `made` has taken it: so many words in each part,
        // to which only this line stores on `Rseq`, and the one like it.
        if !unsafe { add(&self.place, word * WORD, n) } {
            self.add_cold(word, n);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_cold(&self, word: usize, n: u64) {
        let (shape, first) = (shape(Tier::Rseq), self.made());
        let mut part = memory::parts();
        if shape.tier != Tier::Rseq {
            if !self.place.is_closed() {
                part = spread(part);
            }
        } else {
            for _ in 0..RETRIES {
                if self.place.is_closed() || !sequences_may_work(shape.slots) {
                    break;
                }
                // SAFETY: as in `add`.
                if unsafe { add(&self.place, word * WORD, n) } {
                    return;
                }
            }
        }
        // The rest, or a shard. Release: partner is the acquire of an exact sum, which finds what we, or
        // who told us, added to a shard before.
        word_of(&first, part, word).fetch_add(n, Ordering::Release);
    }

    /// CPU 0's part; makes the parts unless they are there. Async-signal-safe.
    fn made(&self) -> NonNull<u8> {
        memory::made(&self.place, Self::SIZE)
    }

    fn first(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.place.first())
    }

    /// The sum of one word over all parts but the rest.
    fn sum_of_parts(&self, first: NonNull<u8>, word: usize) -> u64 {
        let words = (0..memory::parts()).map(|part| word_of(&first, part, word));
        // Acquire: what is loaded next is loaded later.
        words.fold(0, |sum, word| sum.wrapping_add(word.load(Ordering::Acquire)))
    }

    /// The sum of one word.
    pub(super) fn sum(&self, word: usize) -> u64 {
        assert!(word < WORDS);
        let Some(first) = self.first() else { return 0 };
        let rest = word_of(&first, memory::parts(), word).load(Ordering::Acquire);
        self.sum_of_parts(first, word).wrapping_add(rest)
    }

    /// The sum of one word at one moment.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast, which it did not before.
    pub(super) fn sum_exactly(&self, word: usize) -> u64 {
        assert!(word < WORDS);
        let first = self.made();
        let rest = word_of(&first, memory::parts(), word);
        let early = broken(Mutant::RestFirst).then(|| rest.load(Ordering::Acquire));
        let _closed = Closed::close(&self.place);
        let mut before = self.sum_of_parts(first, word);
        loop {
            fence(Ordering::SeqCst);
            let rest = early.unwrap_or_else(|| rest.load(Ordering::Acquire));
            fence(Ordering::SeqCst);
            let behind = self.sum_of_parts(first, word);
            if before == behind || broken(Mutant::OneCollect) {
                return before.wrapping_add(rest);
            }
            before = behind;
        }
    }
}

/// Keeps parts closed as long as it lives.
pub(super) struct Closed<'a> {
    place: &'a Place,
    shape: Shape,
}

impl<'a> Closed<'a> {
    /// The parts are made.
    fn close(place: &'a Place) -> Self {
        Closed::close_by(place, heavy)
    }

    /// The same; and no section that began before commits any more, on any kernel.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn close_for_good(place: &'a Place) -> Self {
        Closed::close_by(place, |tier| expel(tier, None))
    }

    fn close_by(place: &'a Place, send: impl FnOnce(Tier) -> Result<(), i32>) -> Self {
        let closed = Closed { place, shape: shape(Tier::Rseq) };
        place.close();
        // Partner: the section that loads the bound.
        if !broken(Mutant::NoBroadcast)
            && let Err(errno) = send(closed.shape.tier)
        {
            panic!("the kernel refuses membarrier: {}", std::io::Error::from_raw_os_error(errno));
        }
        closed
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        // SAFETY: closed in `close`; there are parts for so many.
        unsafe { self.place.reopen(bound(self.shape)) };
    }
}

impl<const WORDS: usize> Drop for Parts<WORDS> {
    fn drop(&mut self) {
        // SAFETY: nobody else is here.
        unsafe { memory::give_back_place(&self.place, Self::SIZE) };
    }
}
