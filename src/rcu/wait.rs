//! Waiting for grace periods: blocking, polling, awaiting.

use super::domain::Domain;
use super::engine::Engine;
use super::grace::Target;
use super::readers::forbid;
use crate::sync::mutant::{Mutant, broken};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

impl Domain {
    /// Waits for a grace period: returns after every read-side critical section of this
    /// domain that was in progress when it was called has ended.
    ///
    /// Concurrent callers share grace periods: one leads, the rest sleep. The leader spins for
    /// some microseconds, then sleeps in growing naps of at most a millisecond; readers wake
    /// nobody.
    ///
    /// # Ordering
    ///
    /// What the caller did before is visible to every section that has not ended on return. All
    /// accesses of the ended sections happen before the return.
    ///
    /// # Deadlock
    ///
    /// Must not be called while the calling thread holds a guard of this domain, nor while it
    /// holds a lock that a reader waits for. Not for signal handlers.
    ///
    /// # Panics
    ///
    /// In a build with debug assertions or feature `debug-readers`: if the calling thread holds
    /// a guard of this domain, with both places. Always: if the kernel begins to refuse the
    /// `membarrier` call that it granted at start-up (a seccomp filter installed late). Nothing
    /// is freed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// static ENABLED: AtomicBool = AtomicBool::new(true);
    ///
    /// ENABLED.store(false, Ordering::Relaxed);
    /// DOMAIN.synchronize();
    /// // Every section from now on sees `false`; none that saw `true` is still running.
    /// ```
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn synchronize(&self) {
        let engine = self.engine();
        forbid(engine, "synchronize");
        let target = engine.grace.snapshot();
        engine.grace.wait(engine, target, None);
    }

    /// As [`synchronize`](Domain::synchronize), but not for longer than `timeout` (and the nap
    /// of a millisecond that it may be in). A timeout of zero advances the grace period as far
    /// as that goes.
    ///
    /// # Errors
    ///
    /// If the time is up: the grace period, to be polled or waited for later.
    ///
    /// # Panics
    ///
    /// As `synchronize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use stillpoint::rcu::Domain;
    ///
    /// let domain = Domain::new();
    /// let guard = domain.read();
    /// # let guard = guard.into_send();
    /// let late = std::thread::scope(|s| {
    ///     s.spawn(|| domain.synchronize_timeout(Duration::from_millis(1)).unwrap_err()).join()
    /// });
    /// drop(guard);
    /// late.unwrap().grace_period.wait();
    /// ```
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn synchronize_timeout(&self, timeout: Duration) -> Result<(), TimedOut<'_>> {
        let engine = self.engine();
        forbid(engine, "synchronize_timeout");
        let target = engine.grace.snapshot();
        // A deadline beyond what the clock can say is none.
        let deadline = Instant::now().checked_add(timeout);
        if engine.grace.wait(engine, target, deadline) {
            return Ok(());
        }
        Err(TimedOut { grace_period: GracePeriod { domain: self, target } })
    }

    /// A grace period that starts now or later, to be polled. Does not start it: whoever
    /// first asks does, or whoever needs one next.
    ///
    /// One fence, one load; may be called with a guard alive, and then does not complete before
    /// that is dropped. Not for signal handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// let domain = Domain::new();
    /// let guard = domain.read();
    /// let period = domain.start_poll();
    /// assert!(!period.is_complete());
    /// drop(guard);
    /// while !period.is_complete() {
    ///     std::thread::yield_now();
    /// }
    /// ```
    pub fn start_poll(&self) -> GracePeriod<'_> {
        GracePeriod { domain: self, target: self.engine().grace.snapshot() }
    }

    /// A grace period to `.await`, under any executor.
    ///
    /// The grace period is one that starts now or later. Each poll advances it; while it must
    /// wait for readers, the [reclaimer](super::Reclaimer) advances it and wakes the task. If the
    /// reclaimer is disabled, the task wakes itself, so that the executor polls again and
    /// again.
    ///
    /// May be dropped at any time. Do not hold a guard of the domain across the `.await`: the task
    /// would wait for itself.
    ///
    /// Does not panic if the kernel refuses broadcasts to the calling thread, as
    /// [`synchronize`](Domain::synchronize) does, since others may be allowed to send them. If
    /// nobody is, the task waits, and that is reported as a [stall](super::StallReport::refused).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// DOMAIN.grace_period().await;
    /// // Every section that began before has ended.
    /// # });
    /// ```
    pub fn grace_period(&self) -> GracePeriodFuture<'_> {
        self.start_poll().into_future()
    }
}

/// A grace period that can be polled: a cookie. Made by [`Domain::start_poll`].
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Domain;
///
/// static DOMAIN: Domain = Domain::new();
/// let period = DOMAIN.start_poll();
/// // … do something else …
/// if !period.is_complete() {
///     period.wait();
/// }
/// assert!(period.is_complete());
/// ```
#[derive(Clone, Copy)]
pub struct GracePeriod<'d> {
    domain: &'d Domain,
    target: Target,
}

impl<'d> GracePeriod<'d> {
    fn engine(&self) -> &'d Engine {
        self.domain.engine()
    }

    /// True if it has ended. Once true, always true.
    ///
    /// Never blocks. Advances the grace period as far as that goes without waiting, which may
    /// cost a broadcast: no other thread is needed to complete it. What
    /// [`synchronize`](Domain::synchronize) orders on return, this does when it returns true.
    ///
    /// If the kernel refuses the broadcast, this returns false, until some thread has sent it; that
    /// is reported as a [stall](super::StallReport::refused).
    ///
    /// # Examples
    ///
    /// ```
    /// let period = stillpoint::rcu::start_poll();
    /// while !period.is_complete() {
    ///     std::thread::yield_now();
    /// }
    /// ```
    pub fn is_complete(&self) -> bool {
        let target = if broken(Mutant::PollEarly) { self.target.previous() } else { self.target };
        let engine = self.engine();
        engine.grace.advance(engine, target)
    }

    /// Waits until it has ended.
    ///
    /// # Deadlock, panics
    ///
    /// As for [`synchronize`](Domain::synchronize), which is `start_poll` and `wait`.
    ///
    /// # Examples
    ///
    /// ```
    /// stillpoint::rcu::start_poll().wait();
    /// ```
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn wait(self) {
        let engine = self.engine();
        if !engine.grace.has_reached(self.target) {
            forbid(engine, "GracePeriod::wait");
            engine.grace.wait(engine, self.target, None);
        }
    }

    /// The domain whose readers it waits for.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, Domain};
    /// assert!(std::ptr::eq(rcu::start_poll().domain(), Domain::global()));
    /// ```
    pub fn domain(&self) -> &'d Domain {
        self.domain
    }
}

impl fmt::Debug for GracePeriod<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.engine().grace.has_reached(self.target);
        f.debug_struct("GracePeriod").field("is_complete", &ended).finish_non_exhaustive()
    }
}

impl<'d> IntoFuture for GracePeriod<'d> {
    type Output = ();
    type IntoFuture = GracePeriodFuture<'d>;

    fn into_future(self) -> GracePeriodFuture<'d> {
        GracePeriodFuture { period: self, key: 0 }
    }
}

/// The error of [`Domain::synchronize_timeout`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::rcu;
///
/// if let Err(late) = rcu::synchronize_timeout(Duration::from_secs(1)) {
///     eprintln!("{late}");
///     late.grace_period.wait();
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimedOut<'d> {
    /// The grace period that has not ended yet.
    pub grace_period: GracePeriod<'d>,
}

impl fmt::Display for TimedOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the grace period has not ended in time")
    }
}

impl std::error::Error for TimedOut<'_> {}

/// Completes when a grace period has ended. Made by [`Domain::grace_period`].
///
/// # Examples
///
/// ```
/// use std::future::Future;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let mut period = pin!(stillpoint::rcu::grace_period());
/// let mut context = Context::from_waker(Waker::noop());
/// while period.as_mut().poll(&mut context).is_pending() {
///     std::thread::yield_now();
/// }
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct GracePeriodFuture<'d> {
    period: GracePeriod<'d>,
    /// Under which its waker is known, or 0.
    key: u64,
}

impl Future for GracePeriodFuture<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let engine = self.period.engine();
        if self.period.is_complete() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        self.key = engine.grace.sleepers.put(self.key, self.period.target, waker);
        // It may have ended before the waker was known.
        if engine.grace.has_reached(self.period.target) {
            engine.grace.sleepers.remove(std::mem::take(&mut self.key));
            return Poll::Ready(());
        }
        if !will_be_advanced(engine) {
            waker.wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for GracePeriodFuture<'_> {
    fn drop(&mut self) {
        if self.key != 0 {
            self.period.engine().grace.sleepers.remove(self.key);
        }
    }
}

/// Sees to it that somebody advances the grace period. False if nobody will.
#[cfg(not(stillpoint_loom))]
fn will_be_advanced(_: &Engine) -> bool {
    super::reclaimer::hurry()
}

/// The models have no reclaimer: somebody else waits, or retires.
#[cfg(stillpoint_loom)]
fn will_be_advanced(_: &Engine) -> bool {
    true
}
