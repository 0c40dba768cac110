//! A machine that exists in arithmetic only: CPUs in nodes, cache lines that move between them, a
//! scheduler.
//!
//! Threads are coroutines of one thread of the system. Each access to an atomic of [`atomic`]
//! yields to the event loop with the address of its cache line; the loop says when that line is
//! there, and resumes the coroutine at that simulated time, which then does the access on real
//! memory. So the code that runs is the code that is shipped, and what it computes is real; only
//! time is not. One event after the other, in the order of time and then of their making: the same
//! seed gives the same run.
//!
//! * [`Shape`], [`Costs`]: what the machine is like, with the source of each figure.
//! * [`run`]: runs threads to their end.
//! * [`atomic`], [`park`], [`wake`], [`spin_while`], [`nanos`], …: what simulated code calls.
//!   Outside of a simulation the atomics are plain ones and nothing takes time.

pub mod atomic;
mod calls;
mod costs;
mod lines;
mod scheduler;

pub use calls::{
    begin_section, broadcast, compute, current_cache, current_cpu, current_node, end_section, hold,
    is_aborted, is_simulated, nanos, node_of, park, pause, spin_while, thread, wake, yield_cpu,
};
pub use costs::{Costs, Shape};
pub use scheduler::{Report, run};

/// What is to become of a parked thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is woken.
    Wake,
    /// It stays.
    Skip,
    /// It stays, and so do all behind it.
    Stop,
}
