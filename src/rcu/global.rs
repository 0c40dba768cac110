//! The global domain, and the free functions that act on it.

use super::domain::Domain;
use super::engine::{Settings, closed_gate};
use super::guard::ReadGuard;
use super::statistics::{Pending, Statistics};
use super::wait::{GracePeriod, GracePeriodFuture, TimedOut};
use super::{DomainRef, sealed};
use crate::rseq::reader::Gate;
use std::time::Duration;

/// Where the global domain's readers enter: at an address that is known when linking.
static GATE: Gate = closed_gate();

static GLOBAL: Domain =
    Domain::with(Settings { name: "global", gate: Some(&GATE), ..Settings::DEFAULT });

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
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{DomainRef, Global};
/// assert!(Global.domain().tier() <= stillpoint::machine().tier());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global;

impl sealed::Sealed for Global {}
impl DomainRef for Global {
    #[inline(always)]
    fn domain(&self) -> &Domain {
        &GLOBAL
    }

    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    fn read_here(&self) -> ReadGuard<'_> {
        read()
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
#[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
pub fn read() -> ReadGuard<'static> {
    // SAFETY: the gate in its settings.
    unsafe { GLOBAL.read_through(&GATE) }
}

/// Waits for a grace period of the global domain: see [`Domain::synchronize`].
///
/// # Examples
///
/// ```
/// stillpoint::rcu::synchronize();
/// ```
#[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
pub fn synchronize() {
    GLOBAL.synchronize();
}

/// Waits for a grace period of the global domain, but not for ever: see
/// [`Domain::synchronize_timeout`].
///
/// # Errors
///
/// If the time is up: the grace period, to be polled or waited for later.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// if let Err(late) = stillpoint::rcu::synchronize_timeout(Duration::from_secs(1)) {
///     eprintln!("{late}");
/// }
/// ```
#[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
pub fn synchronize_timeout(timeout: Duration) -> Result<(), TimedOut<'static>> {
    GLOBAL.synchronize_timeout(timeout)
}

/// A grace period of the global domain, to be polled: see [`Domain::start_poll`].
///
/// # Examples
///
/// ```
/// let period = stillpoint::rcu::start_poll();
/// while !period.is_complete() {
///     std::thread::yield_now();
/// }
/// ```
pub fn start_poll() -> GracePeriod<'static> {
    GLOBAL.start_poll()
}

/// A grace period of the global domain, to `.await`: see [`Domain::grace_period`].
///
/// # Examples
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// stillpoint::rcu::grace_period().await;
/// # });
/// ```
pub fn grace_period() -> GracePeriodFuture<'static> {
    GLOBAL.grace_period()
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

/// As [`retire`], for a value that owns `bytes` elsewhere: see [`Domain::retire_sized`].
///
/// # Examples
///
/// ```
/// stillpoint::rcu::retire_sized(vec![0_u8; 4096], 4096);
/// ```
pub fn retire_sized<T: Send + 'static>(value: T, bytes: usize) {
    GLOBAL.retire_sized(value, bytes);
}

/// Calls `free(pointer)` after a grace period of the global domain: see [`Domain::retire_raw`].
///
/// # Safety
///
/// As for [`Domain::retire_raw`].
///
/// # Examples
///
/// ```
/// unsafe fn free(value: *mut u64) {
///     // SAFETY: from `Box::into_raw`, and retired once.
///     drop(unsafe { Box::from_raw(value) });
/// }
/// let value = Box::into_raw(Box::new(42));
/// // SAFETY: nobody reads it, and boxes may be freed on any thread.
/// unsafe { stillpoint::rcu::retire_raw(value, free) };
/// ```
pub unsafe fn retire_raw<T: 'static>(pointer: *mut T, free: unsafe fn(*mut T)) {
    // SAFETY: the caller's promise.
    unsafe { GLOBAL.retire_raw(pointer, free) };
}

/// [`retire`], unless the global domain is at its limit: see [`Domain::try_retire`].
///
/// # Errors
///
/// Gives the value back at the limit.
///
/// # Examples
///
/// ```
/// assert_eq!(stillpoint::rcu::try_retire("value"), Ok(()));
/// ```
pub fn try_retire<T: Send + 'static>(value: T) -> Result<(), T> {
    GLOBAL.try_retire(value)
}

/// Waits until the global domain is below its limit: see [`Domain::throttle`].
///
/// # Examples
///
/// ```
/// stillpoint::rcu::throttle();
/// ```
#[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
pub fn throttle() {
    GLOBAL.throttle();
}

/// What waits in the global domain: see [`Domain::pending`].
///
/// # Examples
///
/// ```
/// println!("{} callbacks", stillpoint::rcu::pending().callbacks);
/// ```
pub fn pending() -> Pending {
    GLOBAL.pending()
}

/// What the global domain has done: see [`Domain::statistics`].
///
/// # Examples
///
/// ```
/// println!("{} grace periods", stillpoint::rcu::statistics().grace_periods);
/// ```
pub fn statistics() -> Statistics {
    GLOBAL.statistics()
}

/// Waits for the global domain's callbacks: see [`Domain::barrier`].
///
/// # Examples
///
/// ```
/// stillpoint::rcu::defer(|| println!("done"));
/// stillpoint::rcu::barrier(); // printed by now
/// ```
#[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
pub fn barrier() {
    GLOBAL.barrier();
}
