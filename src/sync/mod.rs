//! Floor 0: the one seam between the library and what it runs on.
//!
//! Only this module knows whether atomics, threads and parking are those of std or those of
//! the model checker. The cfg is our own (`stillpoint_loom`, set by a test package's build
//! script), so that nobody else's dependencies change under it.

#[cfg_attr(not(stillpoint_mutants), allow(unreachable_pub, reason = "public for its tests"))]
pub mod mutant;

#[cfg(not(stillpoint_loom))]
mod real;
#[cfg(not(stillpoint_loom))]
pub(crate) use real::*;

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
