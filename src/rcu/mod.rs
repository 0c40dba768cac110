//! Read-copy update: readers that never wait, and grace periods.
//!
//! Readers wrap what they do in a [`ReadGuard`]; writers replace what readers may be looking at
//! and free the old only after a *grace period*, when every reader that could have seen it is
//! gone.
//!
//! * [`RcuCell`]: a value that is read under a guard and replaced as a whole.
//! * [`SnapshotCell`]: a plain value that is copied out whole, without a guard.
//! * [`Shared`]: a value that is handed out in owned, counted handles.
//! * [`read`], [`synchronize`], [`defer`], [`retire`], [`barrier`]: the global domain.
//! * [`Domain`]: one of your own.
//!
//! # Examples
//!
//! ```
//! use stillpoint::rcu::{self, RcuCell};
//! use std::sync::LazyLock;
//!
//! static LIMITS: LazyLock<RcuCell<Vec<u32>>> = LazyLock::new(|| RcuCell::new(vec![10, 20]));
//!
//! fn limit(class: usize) -> Option<u32> {
//!     LIMITS.load(&rcu::read()).get(class).copied()
//! }
//!
//! assert_eq!(limit(1), Some(20));
//! LIMITS.store(vec![15, 25]);
//! assert_eq!(limit(1), Some(25));
//! ```

mod bins;
mod builder;
mod callbacks;
mod cell;
mod domain;
mod engine;
mod grace;
mod guard;
mod handle;
mod hooks;
mod readers;
mod shared;
mod sleepers;
mod snapshot;
mod stall;
mod statistics;
mod wait;

#[cfg(not(stillpoint_loom))]
mod fork;
#[cfg(not(stillpoint_loom))]
mod global;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(stillpoint_loom))]
mod reclaimer;
#[cfg(not(stillpoint_loom))]
mod registry;

pub(crate) use bins::{Header, Kind};
pub use builder::DomainBuilder;
pub use cell::{CompareExchangeError, RcuCell, Removed};
pub use domain::Domain;
pub use guard::{ReadGuard, SendGuard};
pub use handle::Handle;
pub use readers::Reader;
pub use shared::{Cache, Shared, SharedOption};
pub use snapshot::SnapshotCell;
pub use stall::{PhaseCount, StallReport};
pub use statistics::{Latency, Pending, Statistics};
pub use wait::{GracePeriod, GracePeriodFuture, TimedOut};

#[cfg(not(stillpoint_loom))]
pub use global::{
    Global, barrier, defer, grace_period, pending, read, retire, retire_raw, retire_sized,
    start_poll, statistics, synchronize, synchronize_timeout, throttle, try_retire,
};
#[cfg(stillpoint_loom)]
pub use modelled::Global;
#[cfg(not(stillpoint_loom))]
pub use reclaimer::{Reclaimer, Session};

use std::sync::Arc;

mod sealed {
    pub trait Sealed {}
}

/// A handle to the domain that protects a cell: [`Global`], a reference, or an `Arc`.
///
/// Sealed: a handle must name the same domain for as long as it, or a clone of it, lives.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{Domain, RcuCell};
/// use std::sync::Arc;
///
/// let domain = Arc::new(Domain::new());
/// let cell = RcuCell::new_in(1, domain.clone());
/// assert_eq!(*cell.load(&domain.read()), 1);
/// ```
pub trait DomainRef: sealed::Sealed + Clone {
    /// The domain.
    fn domain(&self) -> &Domain;

    /// A read-side critical section of it, begun the shortest way.
    #[doc(hidden)]
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    fn read_here(&self) -> ReadGuard<'_> {
        self.domain().read()
    }
}

impl sealed::Sealed for &Domain {}
impl DomainRef for &Domain {
    #[inline(always)]
    fn domain(&self) -> &Domain {
        self
    }
}

impl sealed::Sealed for Arc<Domain> {}
impl DomainRef for Arc<Domain> {
    #[inline(always)]
    fn domain(&self) -> &Domain {
        self
    }
}

#[cfg(stillpoint_loom)]
mod modelled {
    use super::{Domain, DomainRef, sealed};

    /// The models have no global domain.
    #[derive(Clone, Copy, Debug)]
    pub struct Global;

    impl sealed::Sealed for Global {}
    impl DomainRef for Global {
        fn domain(&self) -> &Domain {
            unreachable!("the models have no global domain")
        }
    }
}
