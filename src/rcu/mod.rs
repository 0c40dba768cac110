//! Floor 4: read-copy update.
//!
//! Readers wrap what they do in a [`ReadGuard`]; writers replace what readers may be looking at
//! and free the old only after a *grace period*, when every reader that could have seen it is
//! gone.
//!
//! * [`RcuCell`]: a value that is read under a guard and replaced as a whole.
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

mod callbacks;
mod cell;
mod domain;
mod grace;
mod guard;
mod lines;

pub use cell::{CompareExchangeError, RcuCell, Removed};
pub use domain::{Domain, DomainBuilder};
pub use guard::{ReadGuard, SendGuard};

#[cfg(not(stillpoint_loom))]
pub use global::{Global, barrier, defer, read, retire, synchronize};
#[cfg(stillpoint_loom)]
pub use modelled::Global;

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

#[cfg(not(stillpoint_loom))]
mod global {
    use super::{Domain, DomainRef, ReadGuard, sealed};

    static GLOBAL: Domain = Domain::new();

    impl Domain {
        /// The domain that the free functions of [`rcu`](crate::rcu) act on.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::{self, Domain};
        /// assert!(std::ptr::eq(rcu::read().domain(), Domain::global()));
        /// ```
        #[inline(always)]
        pub fn global() -> &'static Domain {
            &GLOBAL
        }
    }

    /// The [`DomainRef`] of the global domain: no bytes, known when compiling.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Global;

    impl sealed::Sealed for Global {}
    impl DomainRef for Global {
        #[inline(always)]
        fn domain(&self) -> &Domain {
            &GLOBAL
        }
    }

    /// Begins a read-side critical section of the global domain: see [`Domain::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// let guard = stillpoint::rcu::read();
    /// // … read what others may replace …
    /// drop(guard);
    /// ```
    #[inline(always)]
    pub fn read() -> ReadGuard<'static> {
        GLOBAL.read()
    }

    /// Waits for a grace period of the global domain: see [`Domain::synchronize`].
    ///
    /// # Examples
    ///
    /// ```
    /// stillpoint::rcu::synchronize();
    /// ```
    pub fn synchronize() {
        GLOBAL.synchronize();
    }

    /// Runs a callback after a grace period of the global domain: see [`Domain::defer`].
    ///
    /// # Examples
    ///
    /// ```
    /// stillpoint::rcu::defer(|| println!("every earlier reader is gone"));
    /// stillpoint::rcu::barrier();
    /// ```
    pub fn defer<F: FnOnce() + Send + 'static>(callback: F) {
        GLOBAL.defer(callback);
    }

    /// Drops a value after a grace period of the global domain: see [`Domain::retire`].
    ///
    /// # Examples
    ///
    /// ```
    /// stillpoint::rcu::retire(Box::new(42));
    /// ```
    pub fn retire<T: Send + 'static>(value: T) {
        GLOBAL.retire(value);
    }

    /// Waits for the global domain's callbacks: see [`Domain::barrier`].
    ///
    /// # Examples
    ///
    /// ```
    /// stillpoint::rcu::defer(|| println!("done"));
    /// stillpoint::rcu::barrier(); // printed by now
    /// ```
    pub fn barrier() {
        GLOBAL.barrier();
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
