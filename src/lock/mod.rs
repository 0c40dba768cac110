//! Locks that know their CPUs.
//!
//! * [`CohortMutex`]: a mutex that prefers waiters of its holder's memory node, or cache.
//! * [`Mutex`]: a mutex that knows when its holder does not run.
//! * [`RwLock`]: a reader-writer lock whose readers store to memory of their CPU only.
//! * [`SpinLock`]: the same as `Mutex` for critical sections so short that parking would be the longest part.
//!
//! The types are those of [`lock_api`], which brings guards, mapping, `Arc` guards and `serde`; what is
//! ours is the raw lock below. `v04`, with the feature `lock_api_04`, has the same for version 0.4.

mod bias;
mod cohort;
mod exclusive;
mod inner;
mod patience;
mod raw_mutex;
mod raw_rwlock;

#[cfg(not(stillpoint_loom))]
mod api;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
mod api_04;
#[cfg(not(stillpoint_loom))]
mod api_mutex;
#[cfg(stillpoint_loom)]
mod modelled;
#[cfg(not(stillpoint_loom))]
mod mutex;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
mod raw_04;
#[cfg(not(stillpoint_loom))]
mod rwlock;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
pub mod v04;

#[cfg(not(stillpoint_loom))]
pub use crate::machine::slice::{SliceStatistics, has_slice_extension, slice_statistics};
#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use cohort::ArcCohortMutexGuard;
#[cfg(not(stillpoint_loom))]
pub use cohort::{
    ByLastLevelCache, CohortMutex, CohortMutexGuard, CohortState, CountHandovers,
    MappedCohortMutexGuard,
};
pub use cohort::{ByNode, Cohorts, Extent, Handovers, RawCohortMutex};
#[cfg(not(stillpoint_loom))]
pub use lock_api;
#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use mutex::{ArcMutexGuard, ArcSpinLockGuard};
#[cfg(not(stillpoint_loom))]
pub use mutex::{
    MappedMutexGuard, MappedSpinLockGuard, Mutex, MutexGuard, SpinLock, SpinLockGuard,
};
pub use raw_mutex::{HoldState, RawMutex, RawSpinLock};
pub use raw_rwlock::{RawRwLock, ReadState};
#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use rwlock::{ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard};
#[cfg(not(stillpoint_loom))]
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};
