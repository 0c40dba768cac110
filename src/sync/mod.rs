//! Floor 0: the one seam between the library and what it runs on.
//!
//! Only this module knows whether atomics, threads and parking are those of std, those of
//! the model checker, or those of the simulator. The cfgs are our own (`stillpoint_loom`,
//! `stillpoint_sim`, set by a test package's or the simulator's build script), so that nobody
//! else's dependencies change under them.

#[cfg_attr(not(stillpoint_mutants), allow(unreachable_pub, reason = "public for its tests"))]
pub mod mutant;

#[cfg(not(any(stillpoint_loom, stillpoint_sim)))]
mod real;
#[cfg(not(any(stillpoint_loom, stillpoint_sim)))]
pub(crate) use real::*;

#[cfg(stillpoint_sim)]
mod simulated;
#[cfg(stillpoint_sim)]
pub(crate) use simulated::*;

#[cfg(stillpoint_loom)]
mod modelled;
#[cfg(stillpoint_loom)]
pub(crate) use modelled::*;

/// Declares a function `const` but under the model checker, whose atomics have no `const`
/// constructor.
macro_rules! const_unless_modelled {
    ($(#[$attr:meta])* $vis:vis const fn $($rest:tt)*) => {
        #[cfg(not(stillpoint_loom))]
        $(#[$attr])* $vis const fn $($rest)*
        #[cfg(stillpoint_loom)]
        $(#[$attr])* $vis fn $($rest)*
    };
}
pub(crate) use const_unless_modelled;

/// What is to become of a parked thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Wake,
    Skip,
    /// As `Skip`, and so for all behind it.
    Stop,
}

/// Wakes every thread parked at `key` whose token is `now` or was before it, and one other.
pub(crate) fn unpark(key: *const (), now: u64) {
    unpark_reached(key, now, 1);
}

/// Wakes every thread parked at `key` whose token is `now` or was before it, and so many others.
pub(crate) fn unpark_reached(key: *const (), now: u64, mut others: usize) {
    let choose = |token: u64| {
        // Where words have 32 bits the upper halves are lost on the way; nobody waits for what is
        // 2^31 steps away.
        let reached = (now as usize).wrapping_sub(token as usize).cast_signed() >= 0;
        if !reached && others == 0 {
            return Choice::Skip;
        }
        others -= usize::from(!reached);
        Choice::Wake
    };
    wake(key, choose, |_| 0);
}
