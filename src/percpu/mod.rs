//! Per-CPU data: each CPU has its own, and threads use that of the CPU they run on.
//!
//! * [`PerCpu`]: a value for each CPU, made when it is first used.
//! * [`Counter`]: counts with one plain store to memory of the CPU.
//! * [`CpuLock`]: a value for each CPU with a lock on it, for operations too long for a section.
//! * [`Histogram`]: how often which values occurred, counted the same way.
//! * [`Pool`]: memory for values of one type.
//! * [`RawPerCpu`]: words for structures of your own, whose parts can be stopped from elsewhere.
//! * [`Stack`]: free lists of boxes; [`RawStack`]: of nodes in memory of your own.
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
mod cpu_lock;
mod memory;
mod parts;
mod raw_stack;
mod remote;
mod ring;
mod shared;
mod stack;

#[cfg(not(stillpoint_loom))]
mod histogram;
mod pool;
mod pool_box;
mod pool_cells;
mod pool_limits;
#[cfg(not(stillpoint_loom))]
mod raw_per_cpu;
#[cfg(not(stillpoint_loom))]
mod slots;

pub use crate::rseq::stack::Link;
pub use counter::Counter;
pub use cpu_lock::{CpuLock, CpuLockGuard};
#[cfg(not(stillpoint_loom))]
pub use histogram::{Distribution, Histogram};
pub use pool::Pool;
pub use pool_box::PoolBox;
pub use pool_limits::{PoolCache, PoolLimits, PoolStatistics};
#[cfg(not(stillpoint_loom))]
pub use raw_per_cpu::{RawPart, RawPerCpu, offline_cpus};
pub use raw_stack::{Chain, RawStack};
pub use ring::{
    Consumer, ConsumerTaken, Entry, Loss, Merged, Policy, PushError, Record, Reservation, Ring,
};
#[cfg(not(stillpoint_loom))]
pub use ring::{ConsumerOf, RingOf};
#[cfg(not(stillpoint_loom))]
pub use slots::{ByConcurrency, ByCpu, Index, PerCpu};
pub use stack::{Node, Nodes, Stack};
