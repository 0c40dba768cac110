//! Floor 4: locks.
//!
//! * [`RwLock`]: a reader-writer lock whose readers store to memory of their CPU only.
//!
//! The types are those of [`lock_api`], which brings guards, mapping, `Arc` guards and `serde`; what is
//! ours is the raw lock below.

mod bias;
mod inner;
mod patience;
mod raw_rwlock;

#[cfg(not(stillpoint_loom))]
mod api;
#[cfg(stillpoint_loom)]
mod modelled;
#[cfg(not(stillpoint_loom))]
mod rwlock;

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
