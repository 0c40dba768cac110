//! What a domain has done so far.
//!
//! The counts are std's atomics under the model checker too: they order nothing, and models
//! should not explore them.

use super::domain::Domain;
use super::engine::Engine;
use crate::machine::Tier;
use crate::rseq::reader::Line;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Powers of two of nanoseconds: the last bucket takes everything from nine minutes on.
const BUCKETS: usize = 40;

/// The counts that are kept beside what the algorithm itself counts. All on cold paths.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) broadcasts: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) most_callbacks: AtomicU64,
    pub(super) most_bytes: AtomicU64,
    latency: Buckets,
}

#[derive(Debug)]
struct Buckets([AtomicU64; BUCKETS]);

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counts {
    /// A grace period took this long.
    pub(super) fn took(&self, nanos: u64) {
        let bucket = (nanos.checked_ilog2().unwrap_or(0) as usize).min(BUCKETS - 1);
        add(&self.latency.0[bucket]);
    }

    /// So much is waiting now.
    pub(super) fn holds(&self, pending: Pending) {
        // Mostly neither is a record: then nothing is written.
        for (most, now) in
            [(&self.most_callbacks, pending.callbacks), (&self.most_bytes, pending.bytes)]
        {
            if most.load(Ordering::Relaxed) < now {
                most.fetch_max(now, Ordering::Relaxed);
            }
        }
    }
}

/// One more. Relaxed: statistics order nothing.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Callbacks that are queued and have not run, and the memory they hold.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{Domain, Pending};
///
/// let domain = Domain::new();
/// assert_eq!(domain.pending(), Pending { callbacks: 0, bytes: 0 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub callbacks: u64,
    /// The bytes of their allocations, each rounded up to a multiple of 16, and what
    /// [`retire_sized`](Domain::retire_sized) was told. What a value owns elsewhere is not in it.
    pub bytes: u64,
}

/// How long grace periods took, from the first step to the end.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Domain;
///
/// let domain = Domain::new();
/// domain.synchronize();
/// let latency = domain.statistics().latency;
/// assert_eq!(latency.count(), 1);
/// println!("median at most {:?}", latency.quantile(0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    buckets: [u64; BUCKETS],
}

impl Latency {
    /// How many grace periods.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::rcu::Domain::new().statistics().latency.count(), 0);
    /// ```
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration that a fraction `q` of the grace periods did not exceed, rounded up to a
    /// power of two nanoseconds; zero if there were none. `q` is clamped to 0 … 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// domain.synchronize();
    /// let latency = domain.statistics().latency;
    /// assert!(latency.quantile(0.5) <= latency.quantile(1.0));
    /// ```
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.count() as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (upper, n) in self.buckets() {
            seen += n;
            if seen >= rank {
                return upper;
            }
        }
        Duration::ZERO
    }

    /// The histogram: each bucket's upper bound, and how many grace periods took less than
    /// that but not less than half of it. Everything longer than nine minutes is in the last one.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// domain.synchronize();
    /// let latency = domain.statistics().latency;
    /// assert_eq!(latency.buckets().map(|(_, n)| n).sum::<u64>(), latency.count());
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.buckets.iter().enumerate().map(|(i, &n)| (Duration::from_nanos(2 << i), n))
    }
}

/// What a domain has done since it was made; from [`Domain::statistics`].
///
/// Taken without stopping anybody, so numbers that belong together may differ by what happened
/// meanwhile.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Domain;
///
/// let domain = Domain::new();
/// domain.retire("value");
/// domain.barrier();
/// let statistics = domain.statistics();
/// assert_eq!((statistics.callbacks, statistics.pending.callbacks), (1, 0));
/// assert!(statistics.grace_periods >= 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Grace periods that have ended.
    pub grace_periods: u64,
    /// `membarrier` broadcasts sent for them.
    pub broadcasts: u64,
    /// How long the grace periods took.
    pub latency: Latency,
    /// Callbacks that have run, the panicking ones included.
    pub callbacks: u64,
    /// Callbacks that panicked.
    pub callback_panics: u64,
    /// What waits to be run.
    pub pending: Pending,
    /// The most that ever waited, as seen at every sixteenth callback of a CPU and at every call
    /// of [`Domain::pending`].
    pub high_water: Pending,
    /// Stall reports.
    pub stalls: u64,
    /// Read-side critical sections that counted atomically: on the `Rseq` tier those of threads
    /// without registration, or whose retries were spent; below it, all.
    pub atomic_sections: u64,
    /// Attempts to enter a section that the kernel aborted, as far as the cold path met them.
    pub aborts: u64,
    /// Read-side critical sections that were entered, or zero if nobody has read yet.
    pub sections: u64,
}

impl Engine {
    fn statistics(&self) -> Statistics {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let entered = |line: &Line| -> u64 {
            line.phases.iter().map(|phase| phase.entered.load(Ordering::Relaxed)).sum()
        };
        let sections = self.lines().iter().map(entered).sum();
        let atomic = self.tier() != Tier::Rseq;
        let counts = &self.counts;
        let pending = self.pending();
        Statistics {
            grace_periods: self.grace.completed(),
            broadcasts: load(&counts.broadcasts),
            latency: Latency { buckets: counts.latency.0.each_ref().map(load) },
            callbacks: self.done(),
            callback_panics: load(&counts.panics),
            pending,
            high_water: Pending {
                callbacks: load(&counts.most_callbacks).max(pending.callbacks),
                bytes: load(&counts.most_bytes).max(pending.bytes),
            },
            stalls: load(&counts.stalls),
            atomic_sections: if atomic { sections } else { entered(&self.lines()[0]) },
            aborts: load(&counts.retries),
            sections,
        }
    }
}

impl Domain {
    /// What this domain has done so far. Reads one or two cache lines per CPU.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// Domain::global().synchronize();
    /// println!("{:#?}", Domain::global().statistics());
    /// ```
    pub fn statistics(&self) -> Statistics {
        self.engine().statistics()
    }

    /// How many callbacks are queued and have not run, and the memory they hold. Reads one cache
    /// line or two per CPU.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// let guard = domain.read();
    /// domain.retire("held up by the guard");
    /// assert_eq!(domain.pending().callbacks, 1);
    /// drop(guard);
    /// domain.barrier();
    /// assert_eq!(domain.pending().callbacks, 0);
    /// ```
    pub fn pending(&self) -> Pending {
        let Some(engine) = self.engine_if_used() else { return Pending::default() };
        let pending = engine.pending();
        engine.counts.holds(pending);
        pending
    }

    /// How many grace periods of this domain have ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// domain.synchronize();
    /// assert_eq!(domain.grace_periods(), 1);
    /// ```
    pub fn grace_periods(&self) -> u64 {
        self.engine_if_used().map_or(0, |engine| engine.grace.completed())
    }
}
