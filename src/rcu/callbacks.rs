//! Callbacks: what runs after a grace period.
//!
//! # State
//!
//! *Incoming*: a stack that anyone pushes to with one compare-and-swap, inside readers and
//! callbacks too. *Waiting*: at most one batch, taken from incoming whole, with the grace-period
//! number it waits for; under a lock. The number is taken after the batch, so it covers every
//! callback in it, and pushing needs neither number nor fence.
//!
//! # Who runs them
//!
//! Retirers, in passing: every [`BATCH`]th, and one that comes [`PATIENCE`] after the last
//! attempt, tries the lock and advances the grace period as far as it goes without waiting. So a
//! slow trickle keeps at most a few objects back, a flood frees in batches, and nobody blocks.
//! `barrier` waits and runs everything; dropping the domain runs the rest.
//!
//! The lock is held while callbacks run, so that whoever gets it after them knows they are
//! done: that is what `barrier` promises. A callback that itself retires only pushes.

use super::domain::Domain;
use super::grace::Target;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering, coarse_millis, const_unless_modelled,
    thread_token,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::TryLockError;

/// Callbacks after which a retirer looks whether some can run.
const BATCH: u64 = if cfg!(stillpoint_loom) { 1 } else { 64 };
/// Milliseconds after which a retirer looks although the batch is not full.
const PATIENCE: u64 = 4;

/// The head of every callback; what to run stands behind it, in the same allocation.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Header {
    next: *mut Header,
    /// Frees the allocation that this header begins, and runs what is to run.
    run: unsafe fn(*mut Header),
}

impl Header {
    pub(super) const fn new(run: unsafe fn(*mut Header)) -> Header {
        Header { next: null_mut(), run }
    }
}

#[derive(Debug)]
pub(super) struct Callbacks {
    incoming: AtomicPtr<Header>,
    queued: AtomicU64,
    done: AtomicU64,
    /// When a retirer last looked, in coarse milliseconds.
    looked: AtomicU64,
    waiting: Mutex<Option<Batch>>,
    /// Which thread runs callbacks: 0, or its token.
    runner: AtomicUsize,
}

#[derive(Debug)]
struct Batch {
    first: *mut Header,
    target: Target,
}

// SAFETY: a batch is a list of callbacks, all of them `Send`, that whoever has the batch owns.
unsafe impl Send for Batch {}

impl Callbacks {
    const_unless_modelled! {
        pub(super) const fn new() -> Callbacks {
            Callbacks {
                incoming: AtomicPtr::new(null_mut()),
                queued: AtomicU64::new(0),
                done: AtomicU64::new(0),
                looked: AtomicU64::new(0),
                waiting: Mutex::new(None),
                runner: AtomicUsize::new(0),
            }
        }
    }

    /// Queued, and not yet run.
    pub(super) fn pending(&self) -> u64 {
        // `done` first: it never overtakes what we then read of `queued`.
        let done = self.done.load(Ordering::Acquire);
        self.queued.load(Ordering::Relaxed).saturating_sub(done)
    }

    /// Puts one callback on the stack.
    ///
    /// # Safety
    ///
    /// `header` begins an allocation that its `run` takes, on any thread, once.
    unsafe fn push(&self, header: *mut Header) -> u64 {
        let n = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        let mut top = self.incoming.load(Ordering::Relaxed);
        loop {
            // SAFETY: until the exchange succeeds, the header is ours.
            unsafe { (*header).next = top };
            // Release: partner is the acquire in `take`. What the retirer unlinked before
            // comes before the batch's number.
            match self.incoming.compare_exchange_weak(
                top,
                header,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return n,
                Err(now) => top = now,
            }
        }
    }

    /// Everything incoming, as a batch, unless there is nothing.
    fn take(&self, domain: &Domain) -> Option<Batch> {
        // Acquire: partner is the release in `push`; later pushes continue its release sequence.
        let first = self.incoming.swap(null_mut(), Ordering::Acquire);
        // After the swap: a grace period from here on covers all of them.
        (!first.is_null()).then(|| Batch { first, target: domain.grace.snapshot() })
    }

    /// Runs a batch whose grace period has ended. With the lock held.
    fn run(&self, batch: Batch) {
        self.runner.store(thread_token(), Ordering::Relaxed);
        let mut next = batch.first;
        while !next.is_null() {
            let header = next;
            // SAFETY: the batch is a list of live headers that only we have. `next` is read before
            // `run` frees its allocation.
            let call = unsafe {
                next = (*header).next;
                (*header).run
            };
            // SAFETY: the contract of `push`: this is the one call.
            let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { call(header) }));
            // The hook has printed the panic; the rest must run all the same, even if dropping
            // the payload panics again.
            if let Err(payload) = outcome
                && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
            {
                std::mem::forget(again);
            }
            // Release: partner is the acquire in `pending`.
            self.done.fetch_add(1, Ordering::Release);
        }
        self.runner.store(0, Ordering::Relaxed);
    }

    /// Runs what can run without waiting, unless somebody else is at it.
    fn collect(&self, domain: &Domain) {
        let mut waiting = match self.waiting.try_lock() {
            Ok(waiting) => waiting,
            // A barrier that could not broadcast panicked, and left everything in its place.
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        loop {
            let Some(batch) = waiting.take().or_else(|| self.take(domain)) else { return };
            if !domain.grace.advance(domain, batch.target) && !broken(Mutant::EarlyCallback) {
                *waiting = Some(batch);
                return;
            }
            self.run(batch);
        }
    }

    /// True if it is time for a retirer, which queued the `n`th callback, to look.
    fn is_due(&self, n: u64) -> bool {
        let now = coarse_millis();
        let looked = self.looked.load(Ordering::Relaxed);
        if n.is_multiple_of(BATCH) || now.wrapping_sub(looked) >= PATIENCE {
            self.looked.store(now, Ordering::Relaxed);
            return true;
        }
        false
    }

    fn barrier(&self, domain: &Domain) {
        assert!(
            self.runner.load(Ordering::Relaxed) != thread_token(),
            "stillpoint: barrier called from a callback of the same domain would wait for itself"
        );
        // Twice: once for what was queued before, once for what those callbacks queued.
        for _ in 0..2 {
            // Poisoned, if a barrier could not broadcast and panicked: everything is in its place.
            let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
            let mut seen_incoming = false;
            while !seen_incoming {
                let batch = match waiting.take() {
                    Some(batch) => Some(batch),
                    None => {
                        seen_incoming = true;
                        self.take(domain)
                    }
                };
                if let Some(batch) = batch {
                    // Back to its place should the wait panic.
                    let target = batch.target;
                    *waiting = Some(batch);
                    domain.grace.wait(domain, target);
                    if let Some(batch) = waiting.take() {
                        self.run(batch);
                    }
                }
            }
        }
    }
}

/// A closure and its header, in one allocation.
#[repr(C)]
struct Deferred<F> {
    header: Header,
    call: F,
}

impl<F: FnOnce()> Deferred<F> {
    /// # Safety
    ///
    /// `header` begins a boxed `Deferred<F>` that nobody else uses.
    unsafe fn run(header: *mut Header) {
        // SAFETY: the caller's promise.
        let deferred = unsafe { Box::from_raw(header.cast::<Deferred<F>>()) };
        (deferred.call)();
    }
}

impl Domain {
    /// Runs `callback` after a grace period, on some thread that retires something into this
    /// domain, or calls [`barrier`](Domain::barrier), or drops the domain.
    ///
    /// Never blocks; may be called with a guard alive, inside a callback, while panicking, in
    /// thread-local destructors. One allocation, one compare-and-swap; every 64th call, or after
    /// some milliseconds, it also advances the grace period and runs callbacks that are due. A
    /// callback's panic is caught and reported by the panic hook. Callbacks of one domain run in
    /// no particular order.
    ///
    /// The thread that runs a callback may hold a guard of this domain, and other callbacks wait
    /// meanwhile: a callback must not wait for grace periods of the domain, nor for a thread that
    /// does.
    ///
    /// Not for signal handlers: it allocates.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// static RAN: AtomicBool = AtomicBool::new(false);
    ///
    /// DOMAIN.defer(|| RAN.store(true, Ordering::Relaxed));
    /// DOMAIN.barrier();
    /// assert!(RAN.load(Ordering::Relaxed));
    /// ```
    pub fn defer<F: FnOnce() + Send + 'static>(&self, callback: F) {
        let deferred = Deferred { header: Header::new(Deferred::<F>::run), call: callback };
        // SAFETY: a boxed `Deferred<F>` that begins with its header, for which `run` was made;
        // the closure is `Send`.
        unsafe { self.defer_raw(Box::into_raw(Box::new(deferred)).cast()) }
    }

    /// Drops `value` after a grace period: for what was just unlinked and may still be read.
    ///
    /// As [`defer`](Domain::defer) with a closure that drops it.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// DOMAIN.retire(vec![1, 2, 3]);
    /// DOMAIN.barrier();
    /// assert_eq!(DOMAIN.pending(), 0);
    /// ```
    pub fn retire<T: Send + 'static>(&self, value: T) {
        self.defer(move || drop(value));
    }

    /// [`defer`](Domain::defer) for a callback that has its header already.
    ///
    /// # Safety
    ///
    /// As for [`Callbacks::push`].
    pub(super) unsafe fn defer_raw(&self, header: *mut Header) {
        // SAFETY: the caller's promise.
        let n = unsafe { self.callbacks.push(header) };
        if self.callbacks.is_due(n) {
            self.callbacks.collect(self);
        }
    }

    /// Waits until every callback queued before the call has run, and those that they queued.
    ///
    /// Also waits for callbacks that are running in other threads. Callbacks queued meanwhile by
    /// others may run too. May be called concurrently.
    ///
    /// # Deadlock
    ///
    /// As for [`synchronize`](Domain::synchronize): not with a guard of this domain alive.
    ///
    /// # Panics
    ///
    /// If called from a callback of this domain; and as `synchronize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    /// use std::sync::Arc;
    ///
    /// let old = Arc::new("old");
    /// let cell = RcuCell::new(old.clone());
    /// cell.store(Arc::new("new"));
    /// rcu::barrier();
    /// assert_eq!(Arc::strong_count(&old), 1);
    /// ```
    pub fn barrier(&self) {
        self.callbacks.barrier(self);
    }

    /// How many callbacks are queued and have not run.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// let guard = domain.read();
    /// domain.retire("held up by the guard");
    /// assert_eq!(domain.pending(), 1);
    /// drop(guard);
    /// domain.barrier();
    /// assert_eq!(domain.pending(), 0);
    /// ```
    pub fn pending(&self) -> u64 {
        self.callbacks.pending()
    }
}

impl Drop for Domain {
    /// Runs every pending callback, at once: no guard borrows the domain any more, so nobody can
    /// reach what they free. Callbacks have no way to queue more.
    fn drop(&mut self) {
        let batch =
            self.callbacks.waiting.lock().map_or_else(|e| e.into_inner().take(), |mut w| w.take());
        let incoming = self.callbacks.take(self);
        for batch in batch.into_iter().chain(incoming) {
            self.callbacks.run(batch);
        }
    }
}
