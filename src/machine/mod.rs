//! Floor 2: who runs where. Tiers, fences, topology.
//!
//! [`machine`] tells what this process has and why; the rest of the library asks
//! `decide::decision` for the same facts without the report's allocations.

pub(crate) mod fence;
mod tier;
pub use tier::{Tier, UnknownTier};

#[cfg(not(stillpoint_loom))]
mod cpus;
#[cfg(not(stillpoint_loom))]
pub(crate) mod decide;
#[cfg(not(stillpoint_loom))]
mod membarrier;
#[cfg(not(stillpoint_loom))]
mod report;
#[cfg(not(stillpoint_loom))]
mod selftest;
#[cfg(not(stillpoint_loom))]
mod topology;

#[cfg(not(stillpoint_loom))]
pub(crate) use decide::masked;
#[cfg(not(stillpoint_loom))]
pub use report::{Machine, machine};
#[cfg(not(stillpoint_loom))]
pub use selftest::SelfTest;
#[cfg(not(stillpoint_loom))]
pub use topology::Group;

/// How a domain's counters are laid out: its tier, and how many lines it has use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tier: Tier,
    pub(crate) slots: u32,
}

/// The shape of a domain whose tier is bounded by `ceiling`. The same at every call.
#[cfg(not(stillpoint_loom))]
#[inline]
pub(crate) fn shape(ceiling: Tier) -> Shape {
    let decision = decide::decision();
    let tier = if ceiling >= decision.tier { decision.tier } else { decision.at_most(ceiling) };
    Shape { tier, slots: decision.slots }
}

/// The shape of a domain in a model: the tier it asks for, and the model's CPUs.
#[cfg(stillpoint_loom)]
pub(crate) fn shape(ceiling: Tier) -> Shape {
    Shape { tier: ceiling, slots: crate::rseq::model::CPUS as u32 }
}
