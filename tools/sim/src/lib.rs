//! Locks, the shipped ones and others, on a machine that is simulated: see `sim_machine`.
//!
//! ```text
//! cargo run --release -p sim -- --lock cohort --nodes 4 --cpus 128 --threads 256
//! cargo run --release -p sim -- --lock cna --lock mcs
//! cargo run --release -p sim -- --curve --svg curve.svg
//! ```
//!
//! Beside the shipped ones there are test-and-set (`tas`), `ticket`, the queue of Mellor-Crummey
//! and Scott (`mcs`), cohorts of such queues (`c-bo-mcs`, `c-tkt-mcs`) and the compact NUMA-aware
//! lock (`cna`): [`locks::NAMES`], [`peers`].
//!
//! The shipped locks are compiled from the library's own sources, with the third face of
//! `src/sync/`. Figures are those of the model, to compare locks with each other; they are no claim
//! about any machine.

pub mod chart;
pub mod locks;
pub mod peers;
pub mod workload;

pub use sim_machine::{Costs, Shape};
