//! Per-CPU data: each CPU has its own, and threads use that of the CPU they run on.
//!
//! * [`PerCpu`]: a value for each CPU, made when it is first used.
//! * [`Counter`]: counts with one plain store to memory of the CPU.
//! * [`Histogram`]: how often which values occurred, counted the same way.
//! * [`Ring`]: records that many threads write and one reads, in order of time.
//!
//! What threads keep for themselves grows with threads, and is lost with them. What all
//! share bounces between caches. What belongs to a CPU grows with the machine, stays in its cache, and a
//! restartable sequence changes it without an atomic instruction, since nobody else does meanwhile.
//!
//! Below [`Tier::Rseq`](crate::Tier::Rseq) threads are spread over shards, and the stores are atomic.
//!
//! All of this takes its memory from one place, `memory.rs`: pages for each CPU, which
//! are there from the first touch on, so on the node of whoever touches them: their CPU's threads.

mod counter;
mod memory;
mod parts;
mod ring;

#[cfg(not(stillpoint_loom))]
mod histogram;
#[cfg(not(stillpoint_loom))]
mod slots;

pub use counter::Counter;
#[cfg(not(stillpoint_loom))]
pub use histogram::{Distribution, Histogram};
pub use ring::{
    Consumer, ConsumerTaken, Entry, Loss, Merged, Policy, PushError, Record, Reservation, Ring,
};
#[cfg(not(stillpoint_loom))]
pub use ring::{ConsumerOf, RingOf};
#[cfg(not(stillpoint_loom))]
pub use slots::{ByConcurrency, ByCpu, Index, PerCpu};
