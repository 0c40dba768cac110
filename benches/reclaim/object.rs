//! What is retired, and the count of what was freed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One cache line of content. Where a scheme wants a header, it comes on top.
pub(crate) struct Object([u64; 8]);

impl Object {
    pub(crate) fn new(seed: u64) -> Object {
        Object([seed; 8])
    }

    /// What readers do: a handful of loads.
    #[inline(always)]
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

static COUNTING: AtomicBool = AtomicBool::new(false);
static FREED: AtomicU64 = AtomicU64::new(0);

impl Drop for Object {
    #[inline]
    fn drop(&mut self) {
        // The C shim asks and counts in the same way.
        if COUNTING.load(Ordering::Relaxed) {
            FREED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts what is freed, or stops counting.
pub(crate) fn count_frees(on: bool) {
    COUNTING.store(on, Ordering::Relaxed);
    if let Some(urcu) = peers::urcu() {
        urcu.count_frees(on.then_some(&FREED));
    }
}

/// How many were freed while that was counted.
pub(crate) fn freed() -> u64 {
    FREED.load(Ordering::Relaxed)
}
