#![doc = include_str!("../README.md")]

pub mod rcu;
pub mod rseq;

mod machine;
mod sync;

#[cfg(not(stillpoint_loom))]
pub use machine::{Group, Machine, SelfTest, machine};
pub use machine::{Tier, UnknownTier};

#[cfg(stillpoint_mutants)]
pub use sync::mutant;
