//! Where there is but one cohort there is nothing to prefer: the lock is a [`RawMutex`], which every
//! [`RawCohortMutex`] has beside its word, and the queue is never used.
//!
//! # State and argument
//!
//! All users of a lock must come to the same answer, or two of them would hold it, one by each word.
//! So the answer is none of the lock's user, whose functions may say what they like, but what the
//! library found for an [`Extent`], a constant of the lock's type: it is found once in a process, and
//! whoever looks at the same time agrees by compare-and-exchange. (The lock's type is invariant in that
//! of its cohorts: a subtype may be of another extent.) CPUs that come later do not change it; a node
//! that comes later is not preferred.
//!
//! # Orderings
//!
//! Relaxed: the answer is all there is, and says nothing of other memory.

use super::{Cohorts, Extent, RawCohortMutex};
use crate::lock::patience::Wait;
use crate::lock::raw_mutex::HoldState;
use crate::machine::topology::{is_one_cache, is_one_node};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Nobody has looked yet.
const UNKNOWN: u8 = 0;
const ONE: u8 = 1;
const SEVERAL: u8 = 2;

static NODES: AtomicU8 = AtomicU8::new(UNKNOWN);
static CACHES: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The same answer for the rest of the process.
#[cold]
fn look(answer: &AtomicU8, is_one: fn() -> bool) -> u8 {
    let found = if is_one() { ONE } else { SEVERAL };
    answer.compare_exchange(UNKNOWN, found, Relaxed, Relaxed).err().unwrap_or(found)
}

impl<C: Cohorts> RawCohortMutex<C> {
    /// Whether the lock is a plain one.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        let (answer, find): (_, fn() -> bool) = match C::EXTENT {
            // The machine that is simulated has as many as it likes.
            _ if cfg!(stillpoint_sim) => return false,
            Extent::Any => return false,
            Extent::Nodes => (&NODES, is_one_node),
            Extent::LastLevelCaches => (&CACHES, is_one_cache),
        };
        match answer.load(Relaxed) {
            UNKNOWN => look(answer, find) == ONE,
            known => known == ONE,
        }
    }

    /// Takes the plain lock.
    #[inline(always)]
    pub(super) fn take_plain(&self, wait: Wait) -> Option<HoldState> {
        self.plain().try_take().or_else(|| self.wait_plainly(wait))
    }

    /// Waits, and counts it as a handover within the only cohort there is.
    #[cold]
    fn wait_plainly(&self, wait: Wait) -> Option<HoldState> {
        let hold = self.plain().take_within(wait);
        if hold.is_some() {
            self.count_local();
        }
        hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_stays() {
        let answer = AtomicU8::new(UNKNOWN);
        assert_eq!(look(&answer, || true), ONE);
        assert_eq!(look(&answer, || false), ONE);
        assert_eq!(answer.into_inner(), ONE);
    }
}
