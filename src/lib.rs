#![doc = include_str!("../README.md")]

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(stillpoint_loom)))]
pub mod interrupt;
pub mod lock;
pub mod percpu;
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
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

#[cfg(stillpoint_mutants)]
pub use sync::mutant;
