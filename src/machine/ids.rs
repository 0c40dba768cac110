//! Where the calling thread is: CPU, node, concurrency id. Hints, all of them.

use super::decide::decision;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of the CPU that the calling thread runs on.
///
/// A hint: the thread may be elsewhere before the caller looks at it. Below
/// [`Machine::slots`](crate::Machine::slots), on Linux.
///
/// One load from the thread's rseq area; where that is not registered, or the architecture has no
/// sequences, `sched_getcpu`, which glibc answers from its own area, if it has one. The same on every
/// tier. 0 on other systems than Linux. Async-signal-safe.
///
/// # Examples
///
/// ```
/// assert!(stillpoint::current_cpu() < stillpoint::machine().slots());
/// ```
#[inline]
pub fn current_cpu() -> u32 {
    #[cfg(stillpoint_sim)]
    if let Some(cpu) = crate::sync::simulated_cpu() {
        return cpu;
    }
    #[cfg(stillpoint_sections)]
    if let Some(cpu) = field::<CPU>()
        && cpu as i32 >= 0
    {
        return cpu;
    }
    asked_cpu()
}

/// The number of the memory node that the calling thread runs on; 0 on a machine with one.
///
/// A hint, as [`current_cpu`] is. Two loads where the kernel keeps it (Linux 6.3); else the
/// `getcpu` system call, some 50 ns. Async-signal-safe.
///
/// # Examples
///
/// ```
/// let node = stillpoint::current_node();
/// assert!(stillpoint::machine().nodes().iter().any(|group| group.id == node));
/// ```
#[inline]
pub fn current_node() -> u32 {
    #[cfg(stillpoint_sim)]
    if let Some(node) = crate::sync::simulated_node() {
        return node;
    }
    #[cfg(stillpoint_sections)]
    if features() & HAS_NODE != 0
        && let (Some(cpu), Some(node)) = (field::<CPU>(), field::<NODE>())
        && cpu as i32 >= 0
    {
        return node;
    }
    asked_node()
}

/// A number that no other running thread of this process has, as small as can be: with `n` threads,
/// on `m` CPUs, about the smaller of `n` and `m`.
///
/// A hint, as [`current_cpu`] is. Memory that is indexed by it grows with the threads that run at
/// once, not with the machine. It says nothing about where the thread runs: a
/// broadcast cannot be aimed at it. Below [`Machine::slots`](crate::Machine::slots).
///
/// Two loads where the kernel keeps it (Linux 6.3); elsewhere it is the CPU's number, which is as
/// unique. Async-signal-safe.
///
/// # Examples
///
/// ```
/// assert!(stillpoint::concurrency_id() < stillpoint::machine().slots());
/// ```
#[inline]
pub fn concurrency_id() -> u32 {
    #[cfg(stillpoint_sections)]
    if features() & HAS_MM_CID != 0
        && let (Some(cpu), Some(id)) = (field::<CPU>(), field::<MM_CID>())
        && cpu as i32 >= 0
    {
        return id;
    }
    asked_cpu()
}

#[cfg(stillpoint_sections)]
use crate::rseq::ids::{CPU, MM_CID, NODE, field};

/// Which fields the kernel fills; 0 until it is known.
static FEATURES: AtomicU32 = AtomicU32::new(0);
const KNOWN: u32 = 1;
const HAS_NODE: u32 = 2;
const HAS_MM_CID: u32 = 4;

#[cfg_attr(not(stillpoint_sections), allow(dead_code, reason = "no fields here"))]
#[inline]
fn features() -> u32 {
    match FEATURES.load(Ordering::Relaxed) {
        0 => look(),
        known => known,
    }
}

#[cold]
fn look() -> u32 {
    let mut features = KNOWN;
    if let Ok(registration) = &decision().registration {
        features |= if registration.has_node_id() { HAS_NODE } else { 0 };
        features |= if registration.has_mm_cid() { HAS_MM_CID } else { 0 };
    }
    FEATURES.store(features, Ordering::Relaxed);
    features
}

/// The CPU, by asking the C library. Registers the thread, if that is ours to do.
#[cfg_attr(stillpoint_sections, cold)]
fn asked_cpu() -> u32 {
    decision();
    #[cfg(stillpoint_sections)]
    crate::rseq::area::ensure_registered();
    // SAFETY: no arguments. It fails where the kernel lacks the call: then 0.
    #[cfg(target_os = "linux")]
    return u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0);
    #[cfg(not(target_os = "linux"))]
    0
}

/// The node, by asking the kernel.
#[cold]
fn asked_node() -> u32 {
    decision();
    let mut node = 0_u32;
    #[cfg(target_os = "linux")]
    // SAFETY: the kernel may write to the second of three pointers, a live local.
    unsafe {
        let null = std::ptr::null_mut::<u8>();
        libc::syscall(libc::SYS_getcpu, null, &raw mut node, null)
    };
    node
}
