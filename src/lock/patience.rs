//! How long a thread waits for a lock.

use std::time::{Duration, Instant};

/// A thread that has waited so long is handed the lock.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    Until(Instant),
    Forever,
}

impl Wait {
    /// A timeout that ends beyond what the clock can tell is none.
    pub(super) fn at_most(timeout: Duration) -> Wait {
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Wait::Until(deadline) => Some(deadline),
            Wait::No | Wait::Forever => None,
        }
    }

    pub(super) fn is_over(self) -> bool {
        match self {
            Wait::No => true,
            Wait::Until(deadline) => deadline <= Instant::now(),
            Wait::Forever => false,
        }
    }
}
