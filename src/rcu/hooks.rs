//! What a program may attach to a domain: who hears of stalls and of panics.

use super::domain::Domain;
use super::stall::StallReport;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function, or none. Replaced ones are leaked: they may be running, in a program that
/// could not wait for them without hooks of its own.
pub(super) struct Hook<F: ?Sized>(AtomicPtr<Box<F>>);

impl<F: ?Sized> fmt::Debug for Hook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.get().is_some()).finish()
    }
}

impl<F: ?Sized> Hook<F> {
    const fn new() -> Hook<F> {
        Hook(AtomicPtr::new(null_mut()))
    }

    fn set(&self, hook: Box<F>) {
        // Release: partner is the acquire in `get`.
        self.0.store(Box::into_raw(Box::new(hook)), Ordering::Release);
    }

    fn get(&self) -> Option<&F> {
        // SAFETY: from a box in `set`, never freed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }.map(|hook| &**hook)
    }
}

impl<F: ?Sized> Drop for Hook<F> {
    fn drop(&mut self) {
        let hook = *self.0.get_mut();
        if !hook.is_null() {
            // SAFETY: from a box in `set`; nobody runs it any more.
            let hook = unsafe { Box::from_raw(hook) };
            // Whoever was the last to know the domain is here, perhaps the reclaimer.
            caught(|| drop(hook));
        }
    }
}

type OnStall = dyn Fn(&StallReport) + Send + Sync;
type OnPanic = dyn Fn(&(dyn Any + Send)) + Send + Sync;

#[derive(Debug)]
pub(super) struct Hooks {
    stall: Hook<OnStall>,
    panic: Hook<OnPanic>,
}

impl Hooks {
    pub(super) const fn new() -> Hooks {
        Hooks { stall: Hook::new(), panic: Hook::new() }
    }

    /// Hands a report on. A hook's own panic ends here.
    pub(super) fn stalled(&self, report: &StallReport) {
        caught(|| match self.stall.get() {
            Some(hook) => hook(report),
            None => log(report),
        });
    }

    /// Hands a callback's panic on. A hook's own panic ends here.
    pub(super) fn panicked(&self, payload: Box<dyn Any + Send>) {
        if let Some(hook) = self.panic.get() {
            caught(|| hook(&*payload));
        }
        caught(|| drop(payload));
    }
}

#[cfg(feature = "log")]
fn log(report: &StallReport) {
    log::warn!("{report}");
}

#[cfg(not(feature = "log"))]
fn log(report: &StallReport) {
    eprintln!("{report}");
}

/// Runs foreign code whose panic must not get out. The panic hook has printed it; dropping the
/// payload may panic again.
pub(super) fn caught(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        std::mem::forget(again);
    }
}

impl Domain {
    /// Calls `hook` when a grace period has [stalled](StallReport), instead of printing the
    /// report to standard error (with feature `log`: to the `log` crate).
    ///
    /// The hook runs on the thread that waits for, or tried to advance, the grace period; that
    /// thread may be in a read-side critical section, or run a callback's drop glue next. It
    /// must not wait for grace periods of this domain. Its panics are caught. The one it
    /// replaces is leaked: set it once, when the program starts. The last one is dropped after the
    /// domain, on the thread that drops that or on the reclaimer's; panics are caught there, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// Domain::global().on_stall(|report| eprintln!("held up for {:?}", report.age));
    /// ```
    pub fn on_stall(&self, hook: impl Fn(&StallReport) + Send + Sync + 'static) {
        self.engine().hooks.stall.set(Box::new(hook));
    }

    /// Calls `hook` with the payload of every panic that a callback raised. The process's panic
    /// hook has run by then.
    ///
    /// As for [`on_stall`](Domain::on_stall) otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static CAUGHT: AtomicU32 = AtomicU32::new(0);
    /// let domain = Domain::new();
    /// domain.on_callback_panic(|_| {
    ///     CAUGHT.fetch_add(1, Ordering::Relaxed);
    /// });
    /// domain.defer(|| panic!("a callback may panic"));
    /// domain.barrier();
    /// assert_eq!(CAUGHT.load(Ordering::Relaxed), 1);
    /// ```
    pub fn on_callback_panic(&self, hook: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static) {
        self.engine().hooks.panic.set(Box::new(hook));
    }
}
