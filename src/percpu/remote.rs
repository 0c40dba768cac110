//! Work on another CPU's part.
//!
//! # Protocol
//!
//! A part begins with a word that says whether it is *stopped*: each who stops it adds 2. Sequences
//! read it inside their section, before anything else of the part, and leave a stopped part alone;
//! their callers then use what all share. To change a CPU's part from elsewhere:
//!
//! 1. stop it;
//! 2. send a broadcast to that CPU: a section that was under way there has committed, which we see,
//!    or is aborted and begins again, when it finds the part stopped, as those do that begin later;
//! 3. change the part at will, by atomics, since others may have stopped it as well;
//! 4. take the 2 back, with release: a section that finds it gone finds what was changed.
//!
//! To take a list without turning anyone away there are two, and the word's lowest bit says which
//! is in use:
//!
//! 1. flip the bit: sections that begin behind that use the other list, which is empty;
//! 2. send a broadcast to that CPU, as above: none uses the old list any more;
//! 3. take that, by an exchange, since others may have stopped the part.
//!
//! Only one may do so at a time for a CPU, or one would take a list that the other has put in use
//! again. Who finds that another is at it stops the part instead, and takes both.
//!
//! Sequences of `rseq/cache.rs` and `rseq/stack.rs` look at the word; that of `rseq/part.rs`, which
//! counts, does not: for it a place is closed, for all CPUs at once.
//!
//! Other CPUs go on. A CPU that is offline runs no sections; a thread that was preempted in one
//! when it went down is aborted before it goes on, elsewhere. Threads that come to the CPU behind
//! the broadcast, or that it brings back, read the word: coming is a full barrier.
//!
//! # Where it could break
//!
//! A kernel before 6.18 may lose the abort of a broadcast. A section that commits behind
//! step 2 would put back what was taken: so there two broadcasts are sent.
//!
//! Nobody ever waits for another. A child of `fork` may inherit a part that nobody will start
//! again: sections of that CPU stay turned away, and use what all share: slower, and right.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | stopping a part | acquire | taking that back, by who had stopped it before |
//! | flipping the bit | release, acquire | a section's load of the word: it finds the other list as who flipped before left it |
//! | a section's load of the word | dependency of all other loads on it; on x86-64 the order of loads | the two below and above |
//! | a section's commit | plain | the broadcast: before it and visible to the caller, or never |
//! | taking a stop back | release | as above |

use super::memory::{bound, word_of};
use crate::machine::fence::expel;
use crate::machine::{Shape, Tier, shape};
use crate::rseq::part::Place;
use crate::rseq::word::current_cpu;
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicU64, Ordering};
use std::ptr::NonNull;

/// The word of a part that says who has stopped it, and which list is in use.
pub(super) const STOPPED: usize = 0;
/// What each who stops it adds there.
pub(super) const STOP: u64 = 2;
/// Of so many CPUs' parts a mask can speak.
pub(super) const MOST: usize = u64::BITS as usize;

/// Keeps sections away from some CPUs' parts as long as it lives.
#[derive(Debug)]
pub(super) struct Stopped {
    first: NonNull<u8>,
    base: usize,
    mask: u64,
}

impl Stopped {
    /// Stops the parts of the CPUs `base + i` for each bit `i` of the mask: all by one broadcast,
    /// aimed if it is only one. On tier `Rseq`.
    ///
    /// # Safety
    ///
    /// `place` has such parts, as long as this lives.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast, which it did not before.
    pub(super) unsafe fn stop(place: &Place, first: NonNull<u8>, base: usize, mask: u64) -> Self {
        let stopped = Stopped { first, base, mask };
        if !broken(Mutant::NoStop) {
            for cpu in stopped.cpus() {
                // Acquire: see the table.
                word_of(&first, cpu, STOPPED).fetch_add(STOP, Ordering::Acquire);
            }
        }
        let one = mask.is_power_of_two().then(|| (base + mask.trailing_zeros() as usize) as u32);
        send(place, mask, one);
        stopped
    }

    /// Which they are.
    pub(super) fn cpus(&self) -> impl Iterator<Item = usize> + use<> {
        let (base, mut mask) = (self.base, self.mask);
        std::iter::from_fn(move || {
            let next = (mask != 0).then(|| base + mask.trailing_zeros() as usize);
            mask &= mask.wrapping_sub(1);
            next
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if broken(Mutant::NoStop) {
            return;
        }
        let order = match broken(Mutant::RelaxedRestart) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        for cpu in self.cpus() {
            word_of(&self.first, cpu, STOPPED).fetch_sub(STOP, order);
        }
    }
}

/// The broadcast of either protocol: to one CPU, or to all, unless there is none to tell.
fn send(place: &Place, mask: u64, one: Option<u32>) {
    // Partner: the section that loads the word.
    if mask != 0
        && !broken(Mutant::NoBroadcast)
        && let Err(errno) = expel(Tier::Rseq, one)
    {
        panic!("the kernel refuses membarrier: {}", std::io::Error::from_raw_os_error(errno));
    }
    #[cfg(stillpoint_sections)]
    crate::sync::sequence_acquires(std::ptr::from_ref(place).cast());
    let _ = place;
}

/// Keeps others from flipping a CPU's lists as long as it lives.
struct Flipping<'a>(&'a AtomicU64);

impl Drop for Flipping<'_> {
    fn drop(&mut self) {
        // Release: partner is the acquire in `flip`.
        self.0.store(0, Ordering::Release);
    }
}

/// Puts the other list of a CPU in use, and calls `take` with the number of the one that was.
/// `None` if another is doing so. On tier `Rseq`. `flipping` is a word of that part, 0 at first.
///
/// # Safety
///
/// As for [`Stopped::stop`]; the part has two lists.
///
/// # Panics
///
/// As [`Stopped::stop`]; then the lists may be drained by stopping only.
pub(super) unsafe fn flip<R>(
    place: &Place,
    first: NonNull<u8>,
    cpu: usize,
    flipping: usize,
    take: impl FnOnce(usize) -> R,
) -> Option<R> {
    let flipping = word_of(&first, cpu, flipping);
    // Acquire: partner is the release in `Flipping`.
    flipping.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
    let word = word_of(&first, cpu, STOPPED);
    let used = if broken(Mutant::NoStop) {
        word.load(Ordering::Relaxed) & 1
    } else {
        // See the table.
        word.fetch_xor(1, Ordering::AcqRel) & 1
    };
    // If this panics, the old list may be in use still: nobody flips again.
    send(place, 1, Some(cpu as u32));
    let flipping = Flipping(flipping);
    let taken = take(used as usize);
    drop(flipping);
    Some(taken)
}

/// Calls `each` with every CPU that has something by `has`, while that CPU's part is stopped. What
/// a CPU had before the call is there; what it gets meanwhile may be missed.
///
/// # Safety
///
/// As for [`Stopped::stop`], for CPUs below `cpus`.
///
/// # Panics
///
/// As [`Stopped::stop`].
pub(super) unsafe fn visit(
    place: &Place,
    first: NonNull<u8>,
    cpus: usize,
    has: impl Fn(usize) -> bool,
    mut each: impl FnMut(usize),
) {
    for base in (0..cpus).step_by(MOST) {
        let found = (base..cpus.min(base + MOST)).filter(|cpu| has(*cpu));
        let mask = found.fold(0, |mask, cpu| mask | 1_u64 << (cpu - base));
        if mask != 0 {
            // SAFETY: as the caller promises.
            let stopped = unsafe { Stopped::stop(place, first, base, mask) };
            stopped.cpus().for_each(&mut each);
        }
    }
}

/// Whether someone keeps the calling thread's CPU's part stopped: another attempt would be in vain.
pub(super) fn stopped_here(first: NonNull<u8>) -> bool {
    let cpu = current_cpu().filter(|cpu| *cpu < bound(shape(Tier::Rseq)));
    cpu.is_some_and(|cpu| word_of(&first, cpu as usize, STOPPED).load(Ordering::Relaxed) >= STOP)
}

/// Tries a sequence again, as long as that makes sense.
pub(super) fn attempt<R>(first: NonNull<u8>, sequence: impl Fn() -> Option<R>) -> Option<R> {
    let Shape { tier, slots } = shape(Tier::Rseq);
    if tier != Tier::Rseq {
        return None;
    }
    for _ in 0..RETRIES {
        if !sequences_may_work(slots) || stopped_here(first) {
            return None;
        }
        let result = sequence();
        if result.is_some() {
            return result;
        }
    }
    None
}
