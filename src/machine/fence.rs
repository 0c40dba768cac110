//! The asymmetric fence: the one place that states what everything above it assumes.
//!
//! Rust has no such fence, so here is the assumption in prose. Let a reader do, in program
//! order, a store A, [`light`], a load B; let an updater do a store C, [`heavy`], a load D.
//!
//! * **Either** the reader's thread passes the point of its `light` after the broadcast reached
//!   it: then B sees C and all that came before it. On the `Rseq` tier this holds in particular
//!   for a section that starts after the broadcast; one that was running when the broadcast came
//!   has committed before it, or is aborted and starts again, after it.
//! * **Or** it passed it before: then D sees A and all that came before it.
//!
//! Two `light`s order nothing between their threads. On x86-64 and aarch64 Linux this is what
//! `membarrier` gives: each CPU that runs a thread of the process executes a full barrier between
//! two of that thread's instructions, and threads that do not run pass one in the scheduler.
//! `light` then only has to stop the compiler. On the `Fence` tier both are full fences, and the
//! two cases are those of store buffering.

use super::Tier;
use crate::sync::{Ordering, fence};

#[cfg(stillpoint_loom)]
pub(crate) use crate::rseq::model::{broadcast, light_of_broadcast};
#[cfg(not(stillpoint_loom))]
pub(crate) use kernel::{broadcast, broadcasts, light_of_broadcast};

/// The frequent side. Partner: [`heavy`] of the same tier.
#[inline]
pub(crate) fn light(tier: Tier) {
    match tier {
        Tier::Rseq | Tier::Membarrier => light_of_broadcast(),
        Tier::Fence => fence(Ordering::SeqCst),
    }
}

/// The rare side. Partner: [`light`] of the same tier, and every section on `Rseq`. Orders
/// nothing if it fails; then holds the error number.
pub(crate) fn heavy(tier: Tier) -> Result<(), i32> {
    match tier {
        Tier::Rseq | Tier::Membarrier => broadcast(tier),
        Tier::Fence => {
            fence(Ordering::SeqCst);
            Ok(())
        }
    }
}

#[cfg(not(stillpoint_loom))]
mod kernel {
    use super::Tier;
    use crate::machine::membarrier;
    use crate::rseq::abi;
    use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

    static BROADCASTS: AtomicU64 = AtomicU64::new(0);

    /// The reader's half of a broadcast: the compiler keeps its order, the kernel does the rest.
    #[inline(always)]
    pub(crate) fn light_of_broadcast() {
        compiler_fence(Ordering::SeqCst);
    }

    /// One `membarrier` to all CPUs that run this process. Some microseconds, an interrupt each;
    /// the kernel serialises all processes' broadcasts.
    pub(crate) fn broadcast(tier: Tier) -> Result<(), i32> {
        BROADCASTS.fetch_add(1, Ordering::Relaxed);
        membarrier::call(match tier {
            Tier::Rseq => abi::MEMBARRIER_PRIVATE_EXPEDITED_RSEQ,
            _ => abi::MEMBARRIER_PRIVATE_EXPEDITED,
        })
        .map(drop)
    }

    /// Broadcasts this process has sent.
    pub(crate) fn broadcasts() -> u64 {
        BROADCASTS.load(Ordering::Relaxed)
    }
}
