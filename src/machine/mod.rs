//! Floor 2: who runs where. Tiers, fences, topology.
//!
//! [`machine`] tells what this process has and why; the rest of the library asks
//! `decide::decision` for the same facts without the report's allocations.

mod expel;
pub(crate) mod fence;
mod tier;
pub use expel::{FenceError, fence, fence_cpu};
pub use tier::{Tier, UnknownTier};

#[cfg(not(stillpoint_loom))]
pub(crate) mod cpus;
#[cfg(not(stillpoint_loom))]
pub(crate) mod decide;
#[cfg(not(stillpoint_loom))]
mod ids;
#[cfg(not(stillpoint_loom))]
mod membarrier;
#[cfg(not(stillpoint_loom))]
mod report;
#[cfg(not(stillpoint_loom))]
mod selftest;
#[cfg(not(stillpoint_loom))]
pub(crate) mod slice;
#[cfg(stillpoint_loom)]
pub(crate) mod slice {
    //! Nobody's time is up in a model.

    pub(crate) fn ask() -> bool {
        false
    }

    pub(crate) fn done(_: bool) {}

    pub(crate) fn is_granted() -> bool {
        false
    }
}
#[cfg(not(stillpoint_loom))]
pub(crate) mod topology;

#[cfg(not(stillpoint_loom))]
pub(crate) use cpus::online;
#[cfg(not(stillpoint_loom))]
pub(crate) use decide::masked;
#[cfg(not(stillpoint_loom))]
pub use ids::{concurrency_id, current_cpu, current_node};
#[cfg(not(stillpoint_loom))]
pub use report::{Machine, machine};
#[cfg(not(stillpoint_loom))]
pub use selftest::SelfTest;
#[cfg(not(stillpoint_loom))]
pub use topology::Group;

/// How per-CPU lines are laid out: for which tier, and how many CPUs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tier: Tier,
    pub(crate) slots: u32,
}

/// Shards per CPU on the lower tiers. Threads are spread by hash: with one shard a CPU, two that
/// run at once would often meet in one.
const SHARDS_PER_CPU: u32 = 4;
/// More shards than this do not make the lower tiers faster, but their scans slower.
const MOST_SHARDS: u32 = 256;

impl Shape {
    /// How many lines its threads mark themselves in: one for each CPU, or shards.
    pub(crate) fn lines(self) -> usize {
        let lines = match self.tier {
            Tier::Rseq => self.slots,
            Tier::Membarrier | Tier::Fence if cfg!(stillpoint_loom) => self.slots,
            Tier::Membarrier | Tier::Fence => (self.slots * SHARDS_PER_CPU).min(MOST_SHARDS),
        };
        lines as usize
    }
}

/// Which of `length` shards is the calling thread's; the same one at every call.
#[inline]
pub(crate) fn spread(length: usize) -> usize {
    // The top half of the product scales the hash to the number of shards.
    let hash = (crate::sync::thread_token() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((hash * length as u64) >> 32) as usize
}

/// The shape of a domain on the simulated machine, which has everything, whatever the one has that
/// it runs on.
#[cfg(stillpoint_sim)]
pub(crate) fn shape(ceiling: Tier) -> Shape {
    Shape { tier: ceiling, slots: decide::decision().slots }
}

/// The shape of a domain whose tier is bounded by `ceiling`. The same at every call.
#[cfg(not(any(stillpoint_loom, stillpoint_sim)))]
#[inline]
pub(crate) fn shape(ceiling: Tier) -> Shape {
    let decision = decide::decision();
    let tier = if ceiling >= decision.tier { decision.tier } else { decision.at_most(ceiling) };
    Shape { tier, slots: decision.slots }
}

/// The shape of a domain in a model: the tier it asks for, and the model's CPUs.
#[cfg(stillpoint_loom)]
pub(crate) fn shape(ceiling: Tier) -> Shape {
    let tier = ceiling.min(crate::rseq::model::limit());
    Shape { tier, slots: crate::rseq::model::CPUS as u32 }
}
