//! A mutex for machines with several memory nodes, or several last-level caches.

mod queue;
mod raw;

#[cfg(not(stillpoint_loom))]
mod api;
#[cfg(not(stillpoint_loom))]
mod by_cache;
#[cfg(stillpoint_loom)]
mod modelled;
#[cfg(not(stillpoint_loom))]
mod one;

#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use api::ArcCohortMutexGuard;
#[cfg(not(stillpoint_loom))]
pub use api::{CohortMutex, CohortMutexGuard, CohortState, CountHandovers, MappedCohortMutexGuard};
#[cfg(not(stillpoint_loom))]
pub use by_cache::ByLastLevelCache;
pub use raw::RawCohortMutex;

/// How threads are told apart by a [`CohortMutex`](crate::CohortMutex): which of them are near each
/// other.
///
/// [`ByNode`] and [`ByLastLevelCache`] are there; implement it for what you know better.
///
/// # Examples
///
/// Threads that belong to the same tenant's data, wherever they run:
///
/// ```
/// use std::cell::Cell;
/// use stillpoint::CohortMutex;
/// use stillpoint::lock::Cohorts;
///
/// thread_local!(static TENANT: Cell<u32> = const { Cell::new(0) });
///
/// struct ByTenant;
///
/// impl Cohorts for ByTenant {
///     const PASSES: u32 = 16; // a tenant that waits must not wait long
///
///     fn cohort() -> u32 {
///         TENANT.get()
///     }
/// }
///
/// static QUOTA: CohortMutex<u64, ByTenant> = CohortMutex::new(100);
/// *QUOTA.lock() -= 1;
/// ```
pub trait Cohorts {
    /// The lock is passed on within a cohort so many times at most while runnable others wait. In
    /// the long run one handover in `PASSES + 1` leaves the cohort, when all wait for the lock all
    /// the time.
    const PASSES: u32 = if cfg!(stillpoint_loom) { 1 } else { 64 };

    /// Nor for longer than this, in nanoseconds.
    const NANOS: u64 = 1_000_000;

    /// Of what cohorts are made. On a machine with one of these there is but one cohort: then the
    /// lock is a plain mutex, and nobody is asked for a cohort.
    const EXTENT: Extent = Extent::Any;

    /// The cohort of the calling thread.
    ///
    /// Called once by each acquisition that has to queue, before it does. Any number will do, and
    /// it may be another one each time: who may have the lock does not depend on it. Cohorts that
    /// wait at the same time are looked through one by one, so they should be few.
    ///
    /// It may panic: then [`lock`](lock_api::Mutex::lock) does, and has done nothing. It must not
    /// lock the mutex that asks.
    fn cohort() -> u32;
}

/// What threads of one [cohort](Cohorts) have in common, as far as a lock need know.
///
/// What the machine has of these is looked up once, when the first such lock is taken: a file or two
/// of `/sys`, no allocation.
///
/// # Examples
///
/// By node, unless there is but one; with a shorter turn than [`ByNode`]:
///
/// ```
/// use stillpoint::CohortMutex;
/// use stillpoint::lock::{ByNode, Cohorts, Extent};
///
/// struct Impatient;
///
/// impl Cohorts for Impatient {
///     const PASSES: u32 = 8;
///     const EXTENT: Extent = Extent::Nodes;
///
///     fn cohort() -> u32 {
///         ByNode::cohort()
///     }
/// }
///
/// static LOCK: CohortMutex<u32, Impatient> = CohortMutex::new(0);
/// *LOCK.lock() += 1;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extent {
    /// There may be several cohorts on any machine.
    #[default]
    Any,
    /// A memory node, or several: on a machine with one node there is one cohort.
    Nodes,
    /// A last-level cache, or several: where all CPUs share one, there is one cohort.
    LastLevelCaches,
}

/// Threads on CPUs of one memory node are a cohort, as [`current_node`](crate::current_node) tells.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::{ByNode, Cohorts};
///
/// assert!(stillpoint::machine().nodes().iter().any(|node| node.id == ByNode::cohort()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByNode;

impl Cohorts for ByNode {
    const EXTENT: Extent = Extent::Nodes;

    fn cohort() -> u32 {
        #[cfg(not(stillpoint_loom))]
        return crate::current_node();
        #[cfg(stillpoint_loom)]
        0
    }
}

/// How often a [`CohortMutex`](crate::CohortMutex) was passed from a thread that gave it up to one
/// that waited.
///
/// # Examples
///
/// See [`CountHandovers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handovers {
    /// To a waiter of the cohort that was handed it before.
    pub local: u64,
    /// To one of another.
    pub remote: u64,
}
