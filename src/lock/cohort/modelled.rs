//! The raw lock for the models: its operations, without the traits, whose constants the checker's
//! atomics cannot make.

use super::raw::Taken;
use super::{Cohorts, Handovers, RawCohortMutex};
use crate::lock::patience::Wait;
use std::time::Instant;

#[allow(missing_docs, reason = "as in lock_api")]
#[allow(clippy::missing_safety_doc, clippy::new_without_default, reason = "as in lock_api")]
impl<C: Cohorts> RawCohortMutex<C> {
    pub fn new() -> RawCohortMutex<C> {
        RawCohortMutex::unlocked()
    }

    /// True if it was passed on by another thread.
    pub fn lock(&self) -> bool {
        !self.take_free() && self.take(Wait::Forever) == Taken::Handed
    }

    pub fn try_lock(&self) -> Option<bool> {
        self.try_take().then_some(false)
    }

    /// Queues, and finds at the next look that its time is over.
    pub fn try_lock_soon(&self) -> Option<bool> {
        self.try_within(Wait::Until(Instant::now()))
    }

    /// Queues, and parks; then its time is over, be it woken or not.
    pub fn try_lock_until_parked(&self) -> Option<bool> {
        crate::sync::shorten_time();
        self.try_within(Wait::UntilParked)
    }

    fn try_within(&self, wait: Wait) -> Option<bool> {
        if self.take_free() {
            return Some(false);
        }
        match self.take(wait) {
            Taken::Not => None,
            taken => Some(taken == Taken::Handed),
        }
    }

    pub unsafe fn unlock(&self, was_handed: bool) {
        self.give_up(was_handed);
    }

    pub unsafe fn unlock_fair(&self) {
        self.pass_on(true);
    }

    pub fn is_locked(&self) -> bool {
        self.is_taken()
    }

    /// Tells, by what it was before, whether somebody has arrived since. Not while the lock is
    /// passed on.
    pub fn latest_arrival(&self) -> *const () {
        self.latest()
    }

    pub fn counted(&self) -> Handovers {
        let (local, remote) = self.handovers();
        Handovers { local, remote }
    }
}
