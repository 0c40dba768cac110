//! A counter whose adders do not meet.

use super::parts::Parts;
use crate::sync::const_unless_modelled;
use std::fmt;

/// A counter for statics and statistics: adding is one plain store to memory of the CPU.
///
/// Adding never waits and never fails, on any thread, in signal handlers too. The counter wraps
/// around: it is the true value modulo 2^64. One that goes below zero is read [as `i64`](Counter::sum_signed).
///
/// # Cost
///
/// On tier `Rseq` adding is one restartable section of six instructions; no atomic instruction, no fence, no line
/// that another CPU writes. Below, an atomic addition to a shard.
/// [`sum`](Counter::sum) loads one word per CPU, [`sum_exact`](Counter::sum_exact) sends a broadcast
/// as well: microseconds, and an interrupt for each CPU that runs this process.
///
/// 16 bytes, and 8 for each possible CPU from the first addition on, which takes them: by a
/// system call once in eight thousand counters, aborting if there is no memory. Memory that was touched by a CPU stays
/// with the process, for the counters to come.
///
/// # Orderings
///
/// None: who sees a count sees nothing else for that. An addition that happens before a sum is in
/// it.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::Counter;
///
/// static REQUESTS: Counter = Counter::new();
///
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| REQUESTS.add(10));
///     }
/// });
/// assert_eq!(REQUESTS.sum(), 40);
/// ```
pub struct Counter {
    parts: Parts<1>,
}

impl Counter {
    const_unless_modelled! {
        /// A counter that is 0.
        ///
        /// # Examples
        ///
        /// ```
        /// assert_eq!(stillpoint::percpu::Counter::new().sum(), 0);
        /// ```
        pub const fn new() -> Counter {
            Counter { parts: Parts::new() }
        }
    }

    /// Adds `n`. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let counter = stillpoint::percpu::Counter::new();
    /// counter.add(2);
    /// counter.add(3);
    /// assert_eq!(counter.sum(), 5);
    /// ```
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.parts.add(0, n);
    }

    /// Takes `n` away. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let open = stillpoint::percpu::Counter::new();
    /// open.add(1);
    /// open.sub(1);
    /// assert_eq!(open.sum(), 0);
    /// ```
    #[inline(always)]
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// The value, added up while others may add.
    ///
    /// What happened before this call is counted, what happens after it is not. Of what happens meanwhile
    /// some may be: the counter need never have had this value. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let counter = stillpoint::percpu::Counter::new();
    /// counter.add(7);
    /// assert_eq!(counter.sum(), 7);
    /// ```
    pub fn sum(&self) -> u64 {
        self.parts.sum(0)
    }

    /// [`sum`](Counter::sum) for a counter that may be below zero.
    ///
    /// # Examples
    ///
    /// ```
    /// let balance = stillpoint::percpu::Counter::new();
    /// balance.sub(3);
    /// assert_eq!(balance.sum_signed(), -3);
    /// ```
    pub fn sum_signed(&self) -> i64 {
        self.sum() as i64
    }

    /// The value that the counter has at one moment during this call.
    ///
    /// Nobody waits for it. As long as it takes, others add to one shared word, atomically. It sends
    /// one broadcast; any number of threads may call it at once.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the broadcast although it did not before: a filter that was installed
    /// since.
    ///
    /// # Examples
    ///
    /// ```
    /// let counter = stillpoint::percpu::Counter::new();
    /// counter.add(7);
    /// assert_eq!(counter.sum_exact(), 7);
    /// ```
    pub fn sum_exact(&self) -> u64 {
        self.parts.sum_exactly(0)
    }
}

impl Default for Counter {
    fn default() -> Counter {
        Counter::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.sum()).finish()
    }
}
