//! How many entries a map has.

#[cfg(not(stillpoint_loom))]
pub(super) use real::Count;

#[cfg(stillpoint_loom)]
pub(super) use modelled::Count;

#[cfg(not(stillpoint_loom))]
mod real {
    use crate::percpu::Counter;

    /// Writers on several CPUs do not meet here.
    #[derive(Debug)]
    pub(in crate::map) struct Count(Counter);

    impl Count {
        pub(in crate::map) const fn new() -> Count {
            Count(Counter::new())
        }

        pub(in crate::map) fn add(&self, more: i64) {
            if more != 0 {
                // It wraps around.
                self.0.add(more.cast_unsigned());
            }
        }

        /// A removal may be in the sum whose insertion is not.
        pub(in crate::map) fn sum(&self) -> usize {
            usize::try_from(self.0.sum_signed()).unwrap_or(0)
        }
    }
}

/// Counters have models of their own; this is not seen by the checker.
#[cfg(stillpoint_loom)]
mod modelled {
    use std::sync::atomic::{AtomicI64, Ordering};

    #[derive(Debug)]
    pub(in crate::map) struct Count(AtomicI64);

    impl Count {
        pub(in crate::map) fn new() -> Count {
            Count(AtomicI64::new(0))
        }

        pub(in crate::map) fn add(&self, more: i64) {
            self.0.fetch_add(more, Ordering::Relaxed);
        }

        pub(in crate::map) fn sum(&self) -> usize {
            usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
        }
    }
}
