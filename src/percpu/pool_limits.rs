//! What pools keep to, and what they tell.

#[cfg(doc)]
use super::pool::Pool;

/// How much free memory a [`Pool`] keeps. For each CPU, and in the depot that all share: a number
/// of values, and of bytes; the lower one counts.
///
/// # Examples
///
/// ```
/// use stillpoint::percpu::{Pool, PoolLimits};
///
/// static PAGES: Pool<[u8; 4096]> = Pool::with_limits(
///     PoolLimits::new().per_cpu(32, 64 << 10).depot(1000, 1 << 20),
/// );
/// assert_eq!(PAGES.capacity_per_cpu(), 16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    pub(super) per_cpu: (usize, usize),
    pub(super) depot: (usize, usize),
    pub(super) room: usize,
}

impl PoolLimits {
    /// 64 values and 256 KiB for each CPU, 1024 values and 4 MiB in the depot.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub const fn new() -> PoolLimits {
        PoolLimits { per_cpu: (64, 256 << 10), depot: (1024, 4 << 20), room: 0 }
    }

    /// At most so many values, and bytes, for each CPU. More than 4092 values are not kept.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub const fn per_cpu(self, values: usize, bytes: usize) -> PoolLimits {
        PoolLimits { per_cpu: (values, bytes), ..self }
    }

    /// At most so many values, and bytes, in the depot.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub const fn depot(self, values: usize, bytes: usize) -> PoolLimits {
        PoolLimits { depot: (values, bytes), ..self }
    }

    /// Room for so many values for each CPU, so that the limit can be
    /// [raised](Pool::set_limits) that far later. At least what it is at first; at most 4092.
    ///
    /// # Examples
    ///
    /// See [`Pool::set_limits`].
    pub const fn room(self, values: usize) -> PoolLimits {
        PoolLimits { room: values, ..self }
    }
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits::new()
    }
}

/// The lower of a number and what fits in some bytes.
pub(super) const fn lower((values, bytes): (usize, usize), size: usize) -> usize {
    let fit = bytes / size;
    if values < fit { values } else { fit }
}

pub(super) const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// What one CPU, or, below tier `Rseq`, one shard, keeps.
///
/// # Examples
///
/// See [`PoolStatistics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCache {
    /// Memory for so many values.
    pub cached: u64,
    /// How often it was empty, and got a batch from the depot.
    pub refills: u64,
    /// How often it was full, and gave one away.
    pub spills: u64,
}

/// What a [`Pool`] has. In values, not in bytes.
///
/// # Examples
///
/// ```
/// let pool = stillpoint::percpu::Pool::new();
/// let used = pool.boxed(7);
/// let seen = pool.statistics();
/// assert_eq!((seen.cells, seen.cached(), seen.depot), (1, 0, 0));
/// assert!(seen.caches.iter().all(|cache| cache.spills == 0));
/// # drop(used);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Memory from the allocator, for so many values: in use, cached, in the depot.
    pub cells: u64,
    /// In the depot.
    pub depot: u64,
    /// What CPUs keep, by their number; below tier `Rseq`, shards.
    pub caches: Vec<PoolCache>,
    /// What is kept for threads that could not use their CPU's.
    pub shared: PoolCache,
}

impl PoolStatistics {
    /// What all CPUs keep.
    ///
    /// # Examples
    ///
    /// See the type's.
    pub fn cached(&self) -> u64 {
        let caches = self.caches.iter().chain([&self.shared]);
        caches.fold(0, |sum, cache| sum.wrapping_add(cache.cached))
    }
}
