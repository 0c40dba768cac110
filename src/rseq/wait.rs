//! The sequence by which a thread waits for a lock whose word names the holder's CPU.
//!
//! ```text
//! bit 0      the lock is held
//! bits 1, 2  the lock's own
//! bits 3..   the number of the CPU on which its holder took it, plus 1; 0 if that is not known
//! ```
//!
//! The wait commits nothing. It is a section because of what a section's end tells: if the kernel
//! took the CPU away from the waiter, it aborts the section, and the waiter knows, without asking.

#[cfg(stillpoint_loom)]
use crate::sync::AtomicU32;

/// Pauses after the first look: about a microsecond. Whoever looks takes the line with the word away
/// from the holder, which has to fetch it back to give the lock up; of two threads that do little but
/// lock, the one that waits lets the other have its turn some times before it looks again.
pub(crate) const FIRST_GAP: u32 = 40;

/// In the word of a lock: it is held.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use stillpoint::rseq::wait::{HELD, Watched, watch};
///
/// let held = AtomicU32::new(HELD); // nobody knows where
/// assert!(!matches!(watch(&held, 3), Watched::Free | Watched::Here));
/// ```
pub const HELD: u32 = 1;
/// Where the CPU begins in the word of a lock.
const CPU_SHIFT: u32 = 3;

/// How a wait ended.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use stillpoint::rseq::wait::{Watched, watch};
///
/// let free = AtomicU32::new(0);
/// assert!(matches!(watch(&free, 10), Watched::Free | Watched::Aborted | Watched::Unable));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The lock was free a moment ago. So many looks were left.
    Free,
    /// Whoever took it did so on the CPU that the caller is on: unless that thread has moved
    /// since, it does not run.
    Here,
    /// It is held, and all looks were spent.
    Held,
    /// The kernel took the CPU away from the caller meanwhile, sent it a signal, or another thread
    /// sent a broadcast.
    Aborted,
    /// The thread is not registered: nothing was watched.
    Unable,
}

/// The name of a CPU in the word of a lock.
#[cfg(any(stillpoint_sections, stillpoint_loom, stillpoint_sim))]
pub(crate) const fn named(cpu: u32) -> u32 {
    // -1, which an unregistered thread has, becomes 0: not known.
    cpu.wrapping_add(1) << CPU_SHIFT
}

/// Whether two words of locks, or one and the name of a CPU, name one CPU.
pub(crate) const fn name_the_same(one: u32, other: u32) -> bool {
    (one ^ other) >> CPU_SHIFT == 0
}

#[cfg(stillpoint_loom)]
pub use super::model::{here, watch};

#[cfg(stillpoint_sections)]
pub(crate) use native::here;
#[cfg(stillpoint_sections)]
pub use native::{watch, watch_counting};

#[cfg(stillpoint_sim)]
pub(crate) use simulated::here;
#[cfg(stillpoint_sim)]
pub use simulated::{watch, watch_counting};

#[cfg(not(any(stillpoint_sections, stillpoint_loom, stillpoint_sim)))]
pub(crate) use absent::here;
#[cfg(not(any(stillpoint_sections, stillpoint_loom, stillpoint_sim)))]
pub use absent::{watch, watch_counting};

/// As [`watch`], with the looks that were left: none.
#[cfg(stillpoint_loom)]
pub fn watch_counting(word: &AtomicU32, _: u32) -> (Watched, u32) {
    (watch(word, 1), 0)
}

#[cfg(stillpoint_sections)]
mod native {
    use super::{FIRST_GAP, HELD, Watched, name_the_same, named};
    use crate::rseq::area::hoisted_offset;
    use crate::rseq::ids::{CPU, field};
    use crate::rseq::section::section;
    use std::sync::atomic::AtomicU32;

    /// The name of the calling thread's CPU in the word of a lock; 0 if it is not known. Stale at
    /// once.
    #[inline(always)]
    pub(crate) fn here() -> u32 {
        match field::<CPU>() {
            Some(cpu) => named(cpu),
            None => 0,
        }
    }

    /// Watches the word of a lock, which names its holder's CPU as told at the head of this module,
    /// with so many looks at most, forty pauses after the first, and after each four more than after
    /// the one before.
    ///
    /// One section, which commits nothing and orders nothing: who finds the lock free has not taken
    /// it. A pause takes some ten to fifty nanoseconds. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::AtomicU32;
    /// use stillpoint::rseq::wait::{HELD, Watched, watch};
    ///
    /// // Held, on a CPU that is not known.
    /// let word = AtomicU32::new(HELD);
    /// assert!(matches!(watch(&word, 10), Watched::Held | Watched::Aborted | Watched::Unable));
    /// ```
    #[inline(always)]
    pub fn watch(word: &AtomicU32, looks: u32) -> Watched {
        watch_counting(word, looks).0
    }

    /// As [`watch`]; also says how many looks were left.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::AtomicU32;
    /// use stillpoint::rseq::wait::{Watched, watch_counting};
    ///
    /// let free = AtomicU32::new(0);
    /// if let (Watched::Free, left) = watch_counting(&free, 10) {
    ///     assert_eq!(left, 10);
    /// }
    /// ```
    #[inline(always)]
    pub fn watch_counting(word: &AtomicU32, looks: u32) -> (Watched, u32) {
        let o = hoisted_offset();
        if o == 0 || here() == 0 {
            return (Watched::Unable, looks);
        }
        let (mut mark, mut left): (u64, u64) = (1, looks.max(1).into());
        let (me, seen): (u64, u64);
        // SAFETY: `o` is the offset of this thread's area, to which the prologue writes its
        // `rseq_cs` field. The text reads the word and stores nothing. No stack is used.
        unsafe {
            section!(
                "lock_wait", "landing_null",
                o = in(reg) o,
                word = in(reg) word.as_ptr(),
                n = inout(reg) left,
                me = out(reg) me,
                seen = out(reg) seen,
                gap = inout(reg) u64::from(FIRST_GAP) => _,
                mark = inout(reg) mark,
                options(nostack),
            );
        }
        let (me, seen) = (me as u32, seen as u32);
        let ended = match mark {
            0 => Watched::Aborted,
            _ if seen & HELD == 0 => Watched::Free,
            _ if name_the_same(seen, me) => Watched::Here,
            _ => Watched::Held,
        };
        (ended, left as u32)
    }
}

#[cfg(stillpoint_sim)]
mod simulated {
    use super::{FIRST_GAP, HELD, Watched, name_the_same, named};
    use crate::sync::{AtomicU32, Ordering, pause, simulated_cpu};
    use crate::sync::{begin_section, end_section, is_aborted};

    /// The name of the simulated CPU that the caller is on; 0 outside of a simulation.
    pub(crate) fn here() -> u32 {
        simulated_cpu().map_or(0, named)
    }

    /// Watches as the sequence does.
    pub fn watch(word: &AtomicU32, looks: u32) -> Watched {
        watch_counting(word, looks).0
    }

    /// As [`watch`], with the looks that were left. The text of `lock_wait`, line by line, in a
    /// section of the simulated machine, which aborts it as the kernel would.
    pub fn watch_counting(word: &AtomicU32, looks: u32) -> (Watched, u32) {
        if here() == 0 {
            return (Watched::Unable, looks);
        }
        begin_section();
        let (me, mut gap, mut left) = (here(), FIRST_GAP, looks.max(1));
        let ended = loop {
            let seen = word.load(Ordering::Relaxed);
            if is_aborted() {
                break Watched::Aborted;
            }
            if seen & HELD == 0 {
                break Watched::Free;
            }
            if name_the_same(seen, me) {
                break Watched::Here;
            }
            pause(gap);
            if is_aborted() {
                break Watched::Aborted;
            }
            gap += 4;
            left -= 1;
            if left == 0 {
                break Watched::Held;
            }
        };
        end_section();
        (ended, left)
    }
}

#[cfg(not(any(stillpoint_sections, stillpoint_loom, stillpoint_sim)))]
mod absent {
    use super::Watched;
    use crate::sync::AtomicU32;

    /// This target has no sequences: not known.
    #[inline(always)]
    pub(crate) fn here() -> u32 {
        0
    }

    /// This target has no sequences: never watches.
    #[inline(always)]
    pub fn watch(_: &AtomicU32, _: u32) -> Watched {
        Watched::Unable
    }

    /// This target has no sequences: never watches.
    #[inline(always)]
    pub fn watch_counting(_: &AtomicU32, looks: u32) -> (Watched, u32) {
        (Watched::Unable, looks)
    }
}
