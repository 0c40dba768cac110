//! Callbacks: what runs after a grace period. How they wait: [`super::bins`].

use super::bins::{Bin, Header, Hold, Kind};
use super::domain::Domain;
use super::engine::Engine;
use super::grace::Target;
use super::readers::forbid;
use crate::sync::mutant::{Mutant, broken};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a throttled writer waits for readers before it looks again what can be run.
const THROTTLE_NAP: Duration = Duration::from_millis(2);

/// A closure, or a value, behind its header, in one allocation.
#[repr(C)]
struct Deferred<T> {
    header: Header,
    /// Bytes it holds besides its own.
    extra: usize,
    what: T,
}

impl<T> Deferred<T> {
    /// To be dropped where it is: it may be larger than the stack of the thread that does.
    const DROPPED: &'static Kind = &Kind { run: Self::free, bytes: Self::bytes };

    /// # Safety
    ///
    /// `header` begins a boxed `Deferred<T>` that nobody else uses.
    unsafe fn free(header: *mut Header) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(header.cast::<Deferred<T>>()) });
    }

    /// # Safety
    ///
    /// `header` begins a live `Deferred<T>`.
    unsafe fn bytes(header: *const Header) -> usize {
        // SAFETY: the caller's promise.
        let extra = unsafe { (*header.cast::<Deferred<T>>()).extra };
        size_of::<Deferred<T>>().saturating_add(extra)
    }
}

impl<F: FnOnce()> Deferred<F> {
    /// To be called, for which it is moved to the stack.
    const CALLED: &'static Kind = &Kind { run: Self::call, bytes: Self::bytes };

    /// # Safety
    ///
    /// `header` begins a boxed `Deferred<F>` that nobody else uses.
    unsafe fn call(header: *mut Header) {
        // SAFETY: the caller's promise.
        let deferred = unsafe { Box::from_raw(header.cast::<Deferred<F>>()) };
        (deferred.what)();
    }
}

/// A pointer and what frees it, for another thread to do.
struct Raw<T>(*mut T, unsafe fn(*mut T));

// SAFETY: `retire_raw`'s caller promised that any thread may free it.
unsafe impl<T> Send for Raw<T> {}

impl<T> Raw<T> {
    /// # Safety
    ///
    /// As `retire_raw`'s caller promised, which is: after a grace period, once.
    unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe { (self.1)(self.0) }
    }
}

impl Domain {
    /// Runs `callback` after a grace period: on a thread that retires something into this
    /// domain, or waits in [`barrier`](Domain::barrier) or [`throttle`](Domain::throttle),
    /// or drops the domain; or, when the process would otherwise sit on it, on the
    /// [reclaimer](super::Reclaimer).
    ///
    /// Never blocks; may be called with a guard alive, inside a callback, while panicking, in
    /// thread-local destructors. One allocation; on the `Rseq` tier no atomic instruction. Every 16th
    /// call it also runs a few callbacks that are due, and advances the grace period as far as
    /// that goes without waiting. A callback's panic is caught, [counted and handed
    /// on](Domain::on_callback_panic). Callbacks of one domain run in no particular order,
    /// and several at a time.
    ///
    /// The thread that runs a callback may hold a guard of this domain, or locks of the program: a
    /// callback must not wait for grace periods of the domain, nor take a lock that is held
    /// around `retire` and the like. It may be a thread whose thread-local destructors have
    /// begun: what a callback wants from thread-locals may be gone there
    /// ([`try_with`](std::thread::LocalKey::try_with) tells).
    ///
    /// It may also be a thread with less of a stack than the caller's; the reclaimer's own has 2
    /// MiB at least. What a callback has captured is moved to that stack when it is called: put
    /// what is large into a box.
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
        // SAFETY: the closure's own kind.
        unsafe { self.queue(Deferred::<F>::CALLED, callback, 0) };
    }

    /// # Safety
    ///
    /// `kind` is one of `Deferred<T>`'s.
    unsafe fn queue<T: Send + 'static>(&self, kind: &'static Kind, what: T, extra: usize) {
        let deferred = Deferred { header: Header::new(kind), extra, what };
        // SAFETY: a boxed `Deferred<T>` that begins with its header, whose kind it is; what is in
        // it is `Send`.
        unsafe { self.defer_raw(Box::into_raw(Box::new(deferred)).cast()) }
    }

    /// Drops `value` after a grace period: for what was just unlinked and may still be read.
    ///
    /// As [`defer`](Domain::defer) with a closure that drops it; but it is dropped where it is, and
    /// never moved to a stack again, whatever its size.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// DOMAIN.retire(vec![1, 2, 3]);
    /// DOMAIN.barrier();
    /// assert_eq!(DOMAIN.pending().callbacks, 0);
    /// ```
    pub fn retire<T: Send + 'static>(&self, value: T) {
        self.retire_sized(value, 0);
    }

    /// As [`retire`](Domain::retire), for a value that owns `bytes` elsewhere: they count in
    /// [`pending`](Domain::pending) and towards the limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let guard = DOMAIN.read();
    /// let page = vec![0_u8; 4096];
    /// DOMAIN.retire_sized(page, 4096);
    /// assert!(DOMAIN.pending().bytes >= 4096);
    /// ```
    pub fn retire_sized<T: Send + 'static>(&self, value: T, bytes: usize) {
        // SAFETY: the value's own kind.
        unsafe { self.queue(Deferred::<T>::DROPPED, value, bytes) };
    }

    /// Calls `free(pointer)` after a grace period.
    ///
    /// # Safety
    ///
    /// Any thread may make that call, at any time after a grace period of this domain. If
    /// there are readers of what it frees, they are under guards of this domain that they got
    /// before it was unlinked, and it was unlinked before this call. What `free` uses lives
    /// until it has run: [`barrier`](Domain::barrier) tells.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// unsafe fn free(page: *mut [u8; 64]) {
    ///     // SAFETY: from `Box::into_raw`, and retired once.
    ///     drop(unsafe { Box::from_raw(page) });
    /// }
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let page = Box::into_raw(Box::new([0; 64]));
    /// // SAFETY: nobody reads the page, and boxes may be freed on any thread.
    /// unsafe { DOMAIN.retire_raw(page, free) };
    /// ```
    pub unsafe fn retire_raw<T: 'static>(&self, pointer: *mut T, free: unsafe fn(*mut T)) {
        let raw = Raw(pointer, free);
        // SAFETY: the caller's promise; callbacks run after a grace period, once.
        self.defer(move || unsafe { raw.free() });
    }

    /// [`retire`](Domain::retire), unless the domain is at its [limit](Domain::set_limit).
    ///
    /// Never blocks: at the limit it runs what can be run without waiting, and looks again. Reads
    /// a cache line per CPU, if there is a limit.
    ///
    /// # Errors
    ///
    /// Gives the value back if the domain's callbacks or bytes are at their limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// let domain = Domain::builder().limit(2).build();
    /// let guard = domain.read();
    /// assert_eq!(domain.try_retire("one"), Ok(()));
    /// assert_eq!(domain.try_retire("two"), Ok(()));
    /// assert_eq!(domain.try_retire("three"), Err("three"));
    /// drop(guard);
    /// assert_eq!(domain.try_retire("three"), Ok(()));
    /// ```
    pub fn try_retire<T: Send + 'static>(&self, value: T) -> Result<(), T> {
        let engine = self.engine();
        if engine.is_at_limit() {
            if may_run() {
                engine.make_room();
            }
            if engine.is_at_limit() {
                return Err(value);
            }
        }
        self.retire(value);
        Ok(())
    }

    /// Waits until the domain is below its [limit](Domain::set_limit), and helps: advances grace
    /// periods, runs callbacks. Returns at once if there is no limit.
    ///
    /// For writers that retire more than readers let go: call it between updates, outside of
    /// sections and locks.
    ///
    /// # Deadlock
    ///
    /// As for [`synchronize`](Domain::synchronize): not with a guard of this domain alive.
    ///
    /// # Panics
    ///
    /// If called at the limit from a callback of this domain: that counts until it has returned, so
    /// it would wait for itself. In a build with debug assertions or feature `debug-readers`: if
    /// the calling thread holds a guard of this domain. If the kernel refuses broadcasts, as
    /// `synchronize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    ///
    /// let domain = Domain::builder().limit(100).build();
    /// for n in 0..1000 {
    ///     domain.retire(n);
    ///     domain.throttle();
    ///     assert!(domain.pending().callbacks < 100);
    /// }
    /// ```
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn throttle(&self) {
        let engine = self.engine();
        forbid(engine, "throttle");
        // A limit of zero lets nothing wait; more than nothing waiting cannot be asked for.
        while engine.is_at_limit() && engine.pending().callbacks > 0 {
            assert!(
                !engine.is_in_callback(),
                "stillpoint: throttle called from a callback of the same domain would wait for itself"
            );
            engine.make_room();
            if engine.is_at_limit() {
                // What readers hold up: naps, and panics if no grace period can end.
                let target = engine.grace.snapshot();
                engine.grace.wait(engine, target, Instant::now().checked_add(THROTTLE_NAP));
            }
        }
    }

    /// Limits the garbage of this domain: at so many callbacks, or bytes,
    /// [`try_retire`](Domain::try_retire) refuses and [`throttle`](Domain::throttle) waits.
    /// `u64::MAX` means no limit, which is how a domain begins.
    ///
    /// [`retire`](Domain::retire) and [`defer`](Domain::defer) have no limit: they can neither
    /// block nor fail.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// Domain::global().set_limit(1_000_000, 64 << 20);
    /// # Domain::global().set_limit(u64::MAX, u64::MAX);
    /// ```
    pub fn set_limit(&self, callbacks: u64, bytes: u64) {
        let engine = self.engine();
        engine.most_callbacks.store(callbacks, Ordering::Relaxed);
        engine.most_bytes.store(bytes, Ordering::Relaxed);
    }

    /// [`defer`](Domain::defer) for a callback that has its header already.
    ///
    /// # Safety
    ///
    /// As for [`Engine::push`].
    pub(crate) unsafe fn defer_raw(&self, header: *mut Header) {
        let engine = self.engine();
        let full = {
            let _section = (!broken(Mutant::PushOutsideSection)).then(|| self.read());
            // SAFETY: the caller's promise; inside a section.
            unsafe { engine.push(header) }
        };
        if let Some(bin) = full
            && may_run()
        {
            engine.tend(bin);
        }
        engine.see_to_it();
    }

    /// Waits until every callback queued before the call has run, and those that they queued.
    ///
    /// Covers all CPUs and threads, and callbacks that other threads are running. Of those that
    /// callbacks queue, the first generation: a callback that queues itself again and again
    /// does not keep `barrier` for ever. May be called concurrently. Costs some four grace
    /// periods, which concurrent callers share.
    ///
    /// # Deadlock
    ///
    /// As for [`synchronize`](Domain::synchronize): not with a guard of this domain alive.
    ///
    /// # Panics
    ///
    /// If called from a callback of this domain, which it would wait for; and as `synchronize`.
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
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn barrier(&self) {
        let Some(engine) = self.engine_if_used() else { return };
        assert!(
            !engine.is_in_callback(),
            "stillpoint: barrier called from a callback of the same domain would wait for itself"
        );
        forbid(engine, "barrier");
        // Once for what was queued before, once for what those callbacks queued.
        engine.flush();
        engine.flush();
    }
}

impl Engine {
    /// True if the calling thread is in a callback: it would wait for itself.
    fn is_in_callback(&self) -> bool {
        self.bins().iter().any(Bin::is_held_here)
    }

    fn is_at_limit(&self) -> bool {
        let callbacks = self.most_callbacks.load(Ordering::Relaxed);
        let bytes = self.most_bytes.load(Ordering::Relaxed);
        if (callbacks, bytes) == (u64::MAX, u64::MAX) {
            return false;
        }
        let pending = self.pending();
        pending.callbacks >= callbacks || pending.bytes >= bytes
    }

    /// Runs what can be run without waiting for readers.
    fn make_room(&self) {
        let all = |hold: &Hold<'_>| {
            hold.run_due_and_tell(self, |_| false);
        };
        self.drain_some(Target::NOW, Bin::try_hold, all);
    }

    /// Makes sure that somebody will run what was just queued, even if nobody retires any more.
    #[cfg(not(stillpoint_loom))]
    fn see_to_it(&self) {
        super::reclaimer::call_if_idle(self);
    }

    #[cfg(stillpoint_loom)]
    fn see_to_it(&self) {}
}

/// False on a thread whose thread-local destructors have come to ours: what callbacks of others
/// want from thread-locals may be gone there. Others may have been destroyed before.
#[cfg(not(stillpoint_loom))]
fn may_run() -> bool {
    struct Alive;
    impl Drop for Alive {
        fn drop(&mut self) {}
    }
    thread_local!(static ALIVE: Alive = const { Alive });
    ALIVE.try_with(|_| ()).is_ok()
}

#[cfg(stillpoint_loom)]
fn may_run() -> bool {
    true
}
