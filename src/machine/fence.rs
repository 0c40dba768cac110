//! The asymmetric fence: the one place that states what everything above it assumes.
//!
//! Rust has no such fence, so here is the assumption in prose. Let a reader do, in program
//! order, a store A, [`light`], a load B; let an updater do a store C, [`heavy`], a load D.
//!
//! * **Either** the reader's thread passes the point of its `light` after the broadcast reached
//!   it: then B sees C and all that came before it. On the `Rseq` tier this holds in particular
//!   for a section that starts after the broadcast; one that was running when the broadcast came
//!   has committed before it, or is aborted and starts again, after it. (Kernels before 6.18 may
//!   lose the abort of one broadcast; who needs it uses [`expel`].)
//! * **Or** it passed it before: then D sees A and all that came before it.
//!
//! Two `light`s order nothing between their threads. On Linux this is what `membarrier` gives, on
//! every architecture (riscv64 since 6.9, before which it is not used): each CPU that runs a thread of the process executes a full barrier between
//! two of that thread's instructions, and threads that do not run pass one in the scheduler.
//! `light` then only has to stop the compiler. On the `Fence` tier both are full fences, and the
//! two cases are those of store buffering.

use super::Tier;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{Ordering, fence};

#[cfg(stillpoint_loom)]
pub(crate) use crate::rseq::model::{broadcast, broadcast_to, light_of_broadcast, loses_aborts};
#[cfg(not(stillpoint_loom))]
pub(crate) use kernel::release;
#[cfg(not(stillpoint_loom))]
pub(crate) use kernel::{broadcast, broadcast_to, broadcasts, light_of_broadcast, loses_aborts};

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

/// [`heavy`] aimed at one CPU: orders as that does against what runs there, now or later. Below
/// `Rseq` threads do not say where they run, so it is the same as [`heavy`].
pub(crate) fn heavy_on(tier: Tier, cpu: u32) -> Result<(), i32> {
    match tier {
        Tier::Rseq => broadcast_to(cpu),
        Tier::Membarrier | Tier::Fence => heavy(tier),
    }
}

/// As [`heavy`], or, with a CPU, [`heavy_on`]. Behind it no section commits any more that began
/// before: kernels before 6.18 may lose the abort of one broadcast, if it arrives while an earlier
/// interrupt is being looked at. The second one arrives behind that, and sections are short.
pub(crate) fn expel(tier: Tier, cpu: Option<u32>) -> Result<(), i32> {
    let send = || cpu.map_or_else(|| heavy(tier), |cpu| heavy_on(tier, cpu));
    send()?;
    if tier == Tier::Rseq && loses_aborts() && !broken(Mutant::OneBroadcast) {
        send()
    } else {
        Ok(())
    }
}

#[cfg(not(stillpoint_loom))]
mod kernel {
    use super::Tier;
    use crate::machine::membarrier;
    use crate::rseq::abi;
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence};

    static BROADCASTS: AtomicU64 = AtomicU64::new(0);

    /// The reader's half of a broadcast: the compiler keeps its order, the kernel does the rest.
    #[inline(always)]
    pub(crate) fn light_of_broadcast() {
        compiler_fence(Ordering::SeqCst);
    }

    /// One `membarrier` to all CPUs that run this process. Some microseconds, an interrupt each;
    /// the kernel serialises all processes' broadcasts.
    #[cfg(not(stillpoint_sim))]
    pub(crate) fn broadcast(tier: Tier) -> Result<(), i32> {
        BROADCASTS.fetch_add(1, Ordering::Relaxed);
        membarrier::call(match tier {
            Tier::Rseq => abi::MEMBARRIER_PRIVATE_EXPEDITED_RSEQ,
            _ => abi::MEMBARRIER_PRIVATE_EXPEDITED,
        })
        .map(drop)
    }

    /// One of the simulated machine's.
    #[cfg(stillpoint_sim)]
    pub(crate) fn broadcast(_: Tier) -> Result<(), i32> {
        BROADCASTS.fetch_add(1, Ordering::Relaxed);
        crate::sync::simulated_broadcast();
        Ok(())
    }

    /// The broadcast of `Rseq` to one CPU: 0.3 microseconds if the caller is there, or nobody of
    /// ours.
    pub(crate) fn broadcast_to(cpu: u32) -> Result<(), i32> {
        BROADCASTS.fetch_add(1, Ordering::Relaxed);
        // Filters exist that know the command, but not its flag.
        membarrier::call_on(cpu).or_else(|_| broadcast(Tier::Rseq))
    }

    /// True if this kernel may lose the abort of a broadcast: before 6.18, unless it was mended.
    /// The version lies in one direction only, and being wrong costs speed.
    pub(crate) fn loses_aborts() -> bool {
        const YES: u8 = 1;
        const NO: u8 = 2;
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        // Relaxed: who asks gets the same answer.
        match KNOWN.load(Ordering::Relaxed) {
            YES => true,
            NO => false,
            _ => {
                let yes = release() < [6, 18];
                KNOWN.store(if yes { YES } else { NO }, Ordering::Relaxed);
                yes
            }
        }
    }

    /// The first two numbers of the kernel's release; 0 for what is not there.
    pub(crate) fn release() -> [u32; 2] {
        let mut name = std::mem::MaybeUninit::<libc::utsname>::zeroed();
        // SAFETY: all-zero names are valid, and the call fills in others. Byte strings that end in
        // 0.
        let name = unsafe {
            libc::uname(name.as_mut_ptr());
            name.assume_init()
        };
        numbers(&name.release.map(|c| c as u8))
    }

    /// The first two numbers of a text.
    fn numbers(text: &[u8]) -> [u32; 2] {
        let mut numbers = text.split(|c| !c.is_ascii_digit()).map(|digits| {
            digits
                .iter()
                .fold(0_u32, |n, c| n.saturating_mul(10).saturating_add(u32::from(c - b'0')))
        });
        let mut next = || numbers.next().unwrap_or(0);
        [next(), next()]
    }

    /// Broadcasts this process has sent.
    pub(crate) fn broadcasts() -> u64 {
        BROADCASTS.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    mod tests {
        use super::super::heavy_on;
        use super::numbers;
        use crate::machine::Tier;
        use crate::machine::decide::decision;

        #[test]
        fn releases_are_read() {
            for (text, expected) in
                [("6.18.44-fc\0", [6, 18]), ("6.1.0-rc3", [6, 1]), ("7.0", [7, 0]), ("", [0, 0])]
            {
                assert_eq!(numbers(text.as_bytes()), expected, "{text}");
            }
        }

        /// A CPU that is not there, or not online, has no section to abort.
        #[test]
        fn a_broadcast_to_no_cpu() {
            if decision().rseq_broadcast.is_ok() {
                for cpu in [0, decision().slots, 60_000, i32::MAX as u32] {
                    assert_eq!(heavy_on(Tier::Rseq, cpu), Ok(()), "{cpu}");
                }
            }
        }
    }
}
