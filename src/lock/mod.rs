//! Floor 4: locks.
//!
//! * [`CohortMutex`]: a mutex that prefers waiters of its holder's memory node, or cache.
//! * [`RwLock`]: a reader-writer lock whose readers store to memory of their CPU only.
//!
//! The types are those of [`lock_api`], which brings guards, mapping, `Arc` guards and `serde`; what is
//! ours is the raw lock below. `v04`, with the feature `lock_api_04`, has the same for version 0.4.

mod bias;
mod cohort;
mod inner;
mod patience;
mod raw_rwlock;

#[cfg(not(stillpoint_loom))]
mod api;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
mod api_04;
#[cfg(stillpoint_loom)]
mod modelled;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
mod raw_04;
#[cfg(not(stillpoint_loom))]
mod rwlock;
#[cfg(all(not(stillpoint_loom), feature = "lock_api_04"))]
pub mod v04;

#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use cohort::ArcCohortMutexGuard;
#[cfg(not(stillpoint_loom))]
pub use cohort::{
    ByLastLevelCache, CohortMutex, CohortMutexGuard, CohortState, CountHandovers,
    MappedCohortMutexGuard,
};
pub use cohort::{ByNode, Cohorts, Handovers, RawCohortMutex};
#[cfg(not(stillpoint_loom))]
pub use lock_api;
pub use raw_rwlock::{RawRwLock, ReadState};
#[cfg(all(not(stillpoint_loom), feature = "arc_lock"))]
pub use rwlock::{ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard};
#[cfg(not(stillpoint_loom))]
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};
