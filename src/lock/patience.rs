//! How long a thread waits for a lock.

use crate::sync::nanos;
use std::time::{Duration, Instant};

/// A thread that has waited so long, in nanoseconds, is handed the lock.
const PATIENCE: u64 = 1_000_000;

/// Since when a thread waits.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<u64>);

impl Patience {
    /// Whether it has waited for long. Asked whenever it is about to park.
    pub(super) fn is_over(&mut self) -> bool {
        match self.0 {
            // In a model, who waits for the second time has waited for long: time stands still there.
            Some(since) => cfg!(stillpoint_loom) || nanos().saturating_sub(since) > PATIENCE,
            None => {
                self.0 = Some(nanos());
                false
            }
        }
    }
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(stillpoint_loom, allow(dead_code, reason = "time stands still in a model"))]
pub(super) enum Wait {
    No,
    Until(Instant),
    /// In a model: until somebody has woken the thread.
    #[cfg(stillpoint_loom)]
    UntilWoken,
    /// In a model: until the thread has parked, and others may have run meanwhile.
    #[cfg(stillpoint_loom)]
    UntilParked,
    Forever,
}

#[cfg_attr(stillpoint_loom, allow(dead_code, reason = "time stands still in a model"))]
impl Wait {
    /// A timeout that ends beyond what the clock can tell is none.
    pub(super) fn at_most(timeout: Duration) -> Wait {
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Wait::Until(deadline) => Some(deadline),
            #[cfg(stillpoint_loom)]
            Wait::UntilParked => Some(Instant::now()),
            _ => None,
        }
    }

    pub(super) fn is_over(self) -> bool {
        match self {
            Wait::No => true,
            Wait::Until(deadline) => deadline <= Instant::now(),
            #[cfg(stillpoint_loom)]
            Wait::UntilWoken => false,
            #[cfg(stillpoint_loom)]
            Wait::UntilParked => crate::sync::is_time_over(),
            Wait::Forever => false,
        }
    }
}
