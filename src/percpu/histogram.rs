//! A histogram whose recorders do not meet.

use super::parts::Parts;
use std::fmt;

/// Each power of two has 2^5 buckets.
const BITS: u32 = 5;
const LINEAR: usize = 2 << BITS;
const BUCKETS: usize = ((65 - BITS) << BITS) as usize;
/// Behind the buckets: the sum of all values.
const SUM: usize = BUCKETS;

/// The bucket of a value. The first [`LINEAR`] have one value each; behind them each power of two is
/// cut into equal pieces.
#[inline(always)]
fn bucket(value: u64) -> usize {
    // Below the linear part's end the shift is 0.
    let shift = (63 - BITS).saturating_sub((value | 1).leading_zeros());
    ((shift as usize) << BITS) + (value >> shift) as usize
}

/// The lowest and the highest value of a bucket.
fn edges(bucket: usize) -> (u64, u64) {
    if bucket < LINEAR {
        return (bucket as u64, bucket as u64);
    }
    let shift = (bucket >> BITS) - 1;
    let low = ((bucket - (shift << BITS)) as u64) << shift;
    (low, low + ((1 << shift) - 1))
}

/// How often which values occurred: latencies, sizes. For statics and statistics.
///
/// Values are `u64`, in the unit of your choice. Up to 63 each is counted for itself, above with all that are
/// in one bucket with it: 32 to each power of two, so no value is further than 1/32 from the edges of
/// its bucket. The sum of all values is exact, modulo 2^64, and so are counts.
///
/// Recording never waits and never fails, on any thread, in signal handlers too.
///
/// # Cost
///
/// Two additions as [`Counter`](super::Counter)'s, to the bucket and to the sum. 16 bytes, and from
/// the first record on 15 KiB of address space for each possible CPU, of which the pages are used that
/// are written. A [snapshot](Histogram::snapshot) loads all of it, some microseconds for each CPU.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::Histogram;
///
/// static NANOS: Histogram = Histogram::new();
///
/// for nanos in [100, 110, 120, 9000] {
///     NANOS.record(nanos);
/// }
/// let seen = NANOS.snapshot();
/// assert_eq!((seen.count(), seen.sum()), (4, 9330));
/// assert!((110..=113).contains(&seen.quantile(0.5)));
/// ```
pub struct Histogram {
    parts: Parts<{ BUCKETS + 1 }>,
}

impl Histogram {
    /// A histogram of nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Histogram::new().snapshot().count(), 0);
    /// ```
    pub const fn new() -> Histogram {
        Histogram { parts: Parts::new() }
    }

    /// Counts a value. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// sizes.record(512);
    /// assert_eq!(sizes.snapshot().count(), 1);
    /// ```
    #[inline]
    pub fn record(&self, value: u64) {
        self.parts.add(bucket(value), 1);
        self.parts.add(SUM, value);
    }

    /// Counts a value that occurred `times` times. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// sizes.record_n(512, 3);
    /// assert_eq!(sizes.snapshot().sum(), 3 * 512);
    /// ```
    #[inline]
    pub fn record_n(&self, value: u64, times: u64) {
        self.parts.add(bucket(value), times);
        self.parts.add(SUM, value.wrapping_mul(times));
    }

    /// What was recorded so far, added up while others may record: what happened before this call is
    /// in it, of what happens meanwhile some may be, and a value may be in the sum but not yet
    /// in its bucket, or the other way round.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// sizes.record(1);
    /// assert_eq!(sizes.snapshot().quantile(1.0), 1);
    /// ```
    pub fn snapshot(&self) -> Distribution {
        let counts: Box<[u64]> = (0..BUCKETS).map(|bucket| self.parts.sum(bucket)).collect();
        Distribution { counts, sum: self.parts.sum(SUM) }
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// What a [`Histogram`] had counted: its quantiles, its buckets.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Distribution, Histogram};
///
/// let mut all = Distribution::default();
/// for _ in 0..3 {
///     let shard = Histogram::new();
///     shard.record(10);
///     all.merge(&shard.snapshot());
/// }
/// assert_eq!((all.count(), all.mean()), (3, Some(10.0)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Distribution {
    counts: Box<[u64]>,
    sum: u64,
}

impl Distribution {
    /// How many values.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Distribution::default().count(), 0);
    /// ```
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The sum of the values, modulo 2^64.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Distribution::default().sum(), 0);
    /// ```
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean of the values; `None` if there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::percpu::Distribution::default().mean(), None);
    /// ```
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The value that the part `q` of all values does not exceed: 0.5 gives the median, 0.99 what one
    /// in a hundred exceeds. The highest of its bucket, so at most 1/32 too high. 0 if there are none.
    ///
    /// What is below 0, or not a number, is taken for 0; what is above 1 for 1.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// (1..=60).for_each(|size| sizes.record(size));
    /// assert_eq!(sizes.snapshot().quantile(0.9), 54);
    /// ```
    pub fn quantile(&self, q: f64) -> u64 {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        let reaches = |(_, _, n): &(u64, u64, u64)| {
            seen = seen.saturating_add(*n);
            seen >= rank
        };
        self.buckets().find(reaches).map_or(0, |(_, highest, _)| highest)
    }

    /// How many values are `limit` or less, and how many of those in its bucket may be more: the
    /// second number is 0 if `limit` is the highest value of a bucket, and below 64.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// (1..=60).for_each(|size| sizes.record(size));
    /// assert_eq!(sizes.snapshot().count_up_to(30), (30, 0));
    /// ```
    pub fn count_up_to(&self, limit: u64) -> (u64, u64) {
        let own = bucket(limit);
        let below = self.counts[..=own].iter().fold(0_u64, |sum, n| sum.wrapping_add(*n));
        (below, if edges(own).1 == limit { 0 } else { self.counts[own] })
    }

    /// The buckets that are not empty, rising: their lowest and highest value, and how many there are.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = stillpoint::percpu::Histogram::new();
    /// sizes.record(64);
    /// assert_eq!(sizes.snapshot().buckets().next(), Some((64, 65, 1)));
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(at, count)| (edges(at).0, edges(at).1, *count))
    }

    /// Adds what another one has.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn merge(&mut self, other: &Distribution) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: vec![0; BUCKETS].into(), sum: 0 }
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("sum", &self.sum)
            .field("median", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("highest", &self.quantile(1.0))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_values_without_gaps() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let (low, high) = edges(at);
            assert_eq!(low, next, "{at}");
            assert_eq!((bucket(low), bucket(high)), (at, at), "{low}..={high}");
            assert!(high - low <= low / 32, "{low}..={high} is too wide");
            next = high.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last one ends at the highest value");
    }
}
