//! The raw lock for the models: its operations, without the traits, whose constants the checker's
//! atomics cannot make.

use super::{Cohorts, Handovers, RawCohortMutex};
use crate::lock::patience::Wait;
use std::time::Instant;

#[allow(missing_docs, reason = "as in lock_api")]
#[allow(clippy::missing_safety_doc, clippy::new_without_default, reason = "as in lock_api")]
impl<C: Cohorts> RawCohortMutex<C> {
    pub fn new() -> RawCohortMutex<C> {
        RawCohortMutex::unlocked()
    }

    pub fn lock(&self) {
        if !self.take_free() {
            self.take(Wait::Forever);
        }
    }

    pub fn try_lock(&self) -> bool {
        self.try_take()
    }

    /// Queues, and finds at the next look that its time is over.
    pub fn try_lock_soon(&self) -> bool {
        self.take_free() || self.take(Wait::Until(Instant::now()))
    }

    pub unsafe fn unlock(&self) {
        self.give_up();
    }

    pub unsafe fn unlock_fair(&self) {
        self.pass_on(true);
    }

    pub fn is_locked(&self) -> bool {
        self.is_taken()
    }

    /// Tells, by what it was before, whether somebody has arrived since. Not while the lock is passed on.
    pub fn latest_arrival(&self) -> *const () {
        self.latest()
    }

    pub fn counted(&self) -> Handovers {
        let (local, remote) = self.handovers();
        Handovers { local, remote }
    }
}
