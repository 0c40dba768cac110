#![doc = include_str!("../README.md")]
//! (Links to `docs/`, and the commands for examples and benchmarks, are for a checkout of the
//! repository.)
// Badges of features and targets, on docs.rs; not of what only our own models and tools choose.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    docsrs,
    doc(auto_cfg(hide(
        debug_assertions,
        stillpoint_loom,
        stillpoint_mutants,
        stillpoint_sections,
        stillpoint_sim,
        stillpoint_tsan
    )))
)]
#![cfg_attr(stillpoint_sim, allow(dead_code, unused_imports, reason = "only locks are simulated"))]

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(stillpoint_loom)))]
pub mod interrupt;
pub mod lock;
// The simulator judges locks; the rest stays outside.
#[cfg(not(stillpoint_sim))]
pub mod map;
#[cfg(not(stillpoint_sim))]
pub mod percpu;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(any(stillpoint_loom, stillpoint_sim))
))]
pub mod perf;
#[cfg(not(stillpoint_sim))]
pub mod rcu;
pub mod rseq;

mod machine;
mod sync;

#[cfg(not(stillpoint_loom))]
pub use machine::{Group, Machine, SelfTest, concurrency_id, current_cpu, current_node, machine};
pub use machine::{Tier, UnknownTier};

#[cfg(not(stillpoint_loom))]
#[doc(inline)]
pub use lock::{
    CohortMutex, CohortMutexGuard, MappedMutexGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard,
    MappedSpinLockGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
    RwLockWriteGuard, SpinLock, SpinLockGuard,
};

#[cfg(stillpoint_mutants)]
pub use sync::mutant;
