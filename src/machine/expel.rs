//! The fences of the unsafe floor: what authors of per-CPU structures send.
//!
//! They are `fence::expel` with a name and an error. They are here, since they ask for the
//! tier; `src/rseq/mod.rs` shows them to the public, and nothing on that floor calls them.

use super::fence::expel;
use super::{Tier, shape};
use crate::sync::mutant::{Mutant, broken};
use std::fmt;

/// Why a [`fence`] was not sent. Nothing is ordered then, and nothing was aborted.
///
/// # Examples
///
/// ```
/// use stillpoint::rseq::{FenceError, fence};
///
/// match fence() {
///     Ok(()) => println!("no sequence that began before commits any more"),
///     Err(FenceError::Tier(tier)) => println!("on tier {tier} none is relied upon"),
///     Err(error) => panic!("{error}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FenceError {
    /// The process is on this tier, below [`Tier::Rseq`]: nothing here relies on sequences.
    Tier(Tier),
    /// The kernel refused the broadcast, which it did not before `main`: a filter of system calls
    /// was installed since. Holds the error number.
    Refused(i32),
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FenceError::Tier(tier) => write!(f, "no sequences on tier {tier}"),
            FenceError::Refused(errno) => write!(
                f,
                "the kernel refuses membarrier: {}",
                std::io::Error::from_raw_os_error(*errno)
            ),
        }
    }
}

impl std::error::Error for FenceError {}

/// Waits until no sequence that began before commits any more, on any CPU. What such a sequence has
/// committed the caller sees from here on; one that begins later sees what the caller stored before.
///
/// On tier [`Rseq`](Tier::Rseq) one broadcast to all CPUs that run this process, and two before
/// Linux 6.18, where the kernel may lose the abort of one. Microseconds, and an interrupt on each of
/// those CPUs; the kernel sends one at a time, for all processes of the machine. So it belongs on
/// paths that are rare. Async-signal-safe, but for `errno`.
///
/// It does not keep sequences from beginning. To have a structure for yourself, first store to a word that its
/// sequences compare; that is what [`RawPerCpu::stopped`](crate::percpu::RawPerCpu::stopped) does.
///
/// # Errors
///
/// Below tier `Rseq`, where no structure relies on sequences: none is to be kept away, and what
/// there is instead, atomics and locks, is not ordered by this. Or if the kernel refuses.
///
/// # Examples
///
/// A flag that sequences compare, and the memory that it guards.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use stillpoint::rseq::fence;
///
/// static CLOSED: AtomicU64 = AtomicU64::new(0);
/// CLOSED.store(1, Relaxed);
/// if fence().is_ok() {
///     println!("sequences that find 0 there have committed, and none will");
/// }
/// ```
pub fn fence() -> Result<(), FenceError> {
    send(None)
}

/// As [`fence`], for the sequences on one CPU. None runs on a CPU that is offline, or not there:
/// that is no error.
///
/// A third of a microsecond if the caller is on that CPU, or nobody of this process; else an
/// interrupt there. Others are not disturbed.
///
/// # Errors
///
/// As [`fence`].
///
/// # Examples
///
/// ```
/// use stillpoint::Tier;
/// use stillpoint::rseq::{FenceError, fence_cpu};
///
/// let tier = stillpoint::machine().tier();
/// let sent = fence_cpu(0);
/// assert_eq!(sent, if tier == Tier::Rseq { Ok(()) } else { Err(FenceError::Tier(tier)) });
/// ```
pub fn fence_cpu(cpu: u32) -> Result<(), FenceError> {
    send(Some(cpu))
}

fn send(cpu: Option<u32>) -> Result<(), FenceError> {
    match shape(Tier::Rseq).tier {
        Tier::Rseq if broken(Mutant::NoBroadcast) => Ok(()),
        // Partner: every section.
        tier @ Tier::Rseq => expel(tier, cpu).map_err(FenceError::Refused),
        tier => Err(FenceError::Tier(tier)),
    }
}
