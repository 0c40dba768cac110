//! The names that users write, and the lock as `lock_api` wants it.

use super::raw::Taken;
use super::{ByNode, Cohorts, Handovers, RawCohortMutex};
use crate::lock::patience::Wait;
use crate::lock::raw_mutex::HoldState;
use lock_api::{RawMutexFair, RawMutexTimed};
use std::time::{Duration, Instant};

#[cfg(not(feature = "send_guard"))]
type Marker = lock_api::GuardNoSend;
#[cfg(feature = "send_guard")]
type Marker = lock_api::GuardSend;

/// What the guard of a [`CohortMutex`] keeps.
///
/// Only those who lock without a guard meet it.
///
/// # Examples
///
/// ```
/// use stillpoint::CohortMutex;
/// use stillpoint::lock::lock_api::RawMutex;
/// use stillpoint::lock::{ByNode, RawCohortMutex};
///
/// static RAW: RawCohortMutex<ByNode> = RawCohortMutex::INIT;
/// let state = RAW.lock();
/// // SAFETY: locked above.
/// unsafe { RAW.unlock(state) };
/// ```
pub struct CohortState {
    held: Held,
    _marker: Marker,
}

/// Which lock it was that was taken, and how.
#[derive(Debug)]
enum Held {
    /// The plain one, since there is one cohort.
    Plain(HoldState),
    /// That of several cohorts.
    Word { was_handed: bool },
}

impl std::fmt::Debug for CohortState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CohortState").field("held", &self.held).finish_non_exhaustive()
    }
}

impl CohortState {
    #[inline(always)]
    fn new(held: Held) -> CohortState {
        CohortState { held, _marker: Marker::new() }
    }
}

impl<C: Cohorts> RawCohortMutex<C> {
    #[inline(always)]
    fn take_within(&self, wait: Wait) -> Option<CohortState> {
        if self.is_plain() {
            return self.take_plain(wait).map(Held::Plain).map(CohortState::new);
        }
        let taken = if self.take_free() { Taken::Free } else { self.take(wait) };
        let was_handed = taken == Taken::Handed;
        (taken != Taken::Not).then(|| CohortState::new(Held::Word { was_handed }))
    }
}

// SAFETY: `raw.rs` argues that there is one holder, of the word; `one.rs`, that all take the word, or
// all the plain lock, which has one holder, too. Taking acquires and giving up releases. Nothing
// that the lock points to is its own but threads that wait, who borrow it: it may be moved and
// dropped while a forgotten guard holds it.
unsafe impl<C: Cohorts> lock_api::RawMutex for RawCohortMutex<C> {
    const INIT: RawCohortMutex<C> = RawCohortMutex::unlocked();

    type Guard = CohortState;

    #[inline(always)]
    fn lock(&self) -> CohortState {
        match self.take_within(Wait::Forever) {
            Some(state) => state,
            None => unreachable!("waited for ever"),
        }
    }

    #[inline(always)]
    fn try_lock(&self) -> Option<CohortState> {
        if self.is_plain() {
            return self.plain().try_take().map(Held::Plain).map(CohortState::new);
        }
        self.try_take().then(|| CohortState::new(Held::Word { was_handed: false }))
    }

    #[inline(always)]
    unsafe fn unlock(&self, state: CohortState) {
        match state.held {
            Held::Plain(hold) => self.plain().give(hold),
            Held::Word { was_handed } => self.give_up(was_handed),
        }
    }

    fn is_locked(&self) -> bool {
        self.plain().is_taken() || self.is_taken()
    }
}

// SAFETY: as above.
unsafe impl<C: Cohorts> RawMutexFair for RawCohortMutex<C> {
    unsafe fn unlock_fair(&self, state: CohortState) {
        match state.held {
            Held::Plain(hold) => self.plain().give_fairly(hold),
            Held::Word { .. } => self.pass_on(true),
        }
    }
}

// SAFETY: as above.
unsafe impl<C: Cohorts> RawMutexTimed for RawCohortMutex<C> {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> Option<CohortState> {
        self.take_within(Wait::at_most(timeout))
    }

    fn try_lock_until(&self, timeout: Instant) -> Option<CohortState> {
        self.take_within(Wait::Until(timeout))
    }
}

/// A mutex that stays on one memory node for a while before it goes to the next.
///
/// On a machine with several memory nodes (or last-level caches) it costs several times as much to
/// fetch a cache line from another node as from another core of the same one. A lock that is passed
/// on in the order of arrival fetches itself and all it protects from elsewhere nearly every time.
/// This one prefers waiters of its holder's *cohort*, within bounds, so that most handovers stay
/// near.
///
/// For locks that many threads of a large machine fight for. If they seldom meet, any mutex is as
/// good.
///
/// On a machine with one cohort, as the [extent](Cohorts::EXTENT) of `C` tells, it is a
/// [`Mutex`](crate::Mutex): it costs the same, and waits, wakes and hands over as that one does. What
/// is said below of queues and turns is of machines with several; who wants the queue on any machine
/// brings cohorts of their own, which have no extent.
///
/// `C` says what a cohort is: [`ByNode`], [`ByLastLevelCache`](super::ByLastLevelCache), or your
/// own [`Cohorts`].
///
/// # How it works
///
/// Taking it when it is free is one atomic exchange, and so is giving it up when nobody waits. Who
/// finds it taken looks again a few times, and then queues, with a node on its own stack; nothing
/// is allocated. Only then is the cohort asked for, once. The holder sorts those that arrived by
/// cohort when it gives the lock up, and passes it on: to the first of its own cohort that runs, 64
/// times in a row or for a millisecond ([`Cohorts::PASSES`], [`Cohorts::NANOS`]), then to the next
/// cohort that has a waiter who runs.
///
/// A waiter spins on its node, for a time that adapts (4 to 500 µs), then parks. Who is parked, or
/// has not looked at its node for 10 µs, because it was preempted, is passed over in favour of one
/// that runs; after as many passes it is woken ahead of its turn, and after sixteen times as many
/// it gets the lock in any case. If nobody runs, the lock is set free, and one waiter woken to
/// compete for it.
///
/// # Fairness
///
/// * Cohorts have their turns in order. While other cohorts have waiters that run, a turn ends
///   after [`PASSES`](Cohorts::PASSES) handovers, or [`NANOS`](Cohorts::NANOS).
/// * Within a cohort the order is that of arrival, but for those who do not run.
/// * Who arrives while the lock is free, or before anybody else queues, may take it at once. Free
///   with waiters it is only while all of them sleep; and once in a millisecond the one whose turn
///   it is gets the lock directly, if it has waited for longer than that.
/// * [`unlock_fair`](CohortMutexGuard::unlock_fair) gives the lock to a waiter directly: to the one
///   that has waited longest of those that are first of their cohort.
///
/// # Recursion, panics, forgotten guards
///
/// Locking it twice on one thread waits for ever. A thread that panics releases it; there is no
/// poisoning. A guard that is forgotten holds it for ever; it is safe to move or drop the lock
/// afterwards. If [`Cohorts::cohort`] panics, so does the call that asked, and nothing has
/// happened.
///
/// # Threads and signals
///
/// A guard stays on its thread, unless the feature `send_guard` is chosen. A signal handler must
/// not lock: it may wait for the thread that it interrupts. In the child of a fork, locks that
/// other threads held stay held. On a machine with several cohorts, a lock that others waited for at
/// the fork is of no use to the child either, not even if the thread that forked has it: it may be
/// handed to one that is not there. Fork while nobody waits, or `exec` in the child.
///
/// # Timeouts
///
/// [`try_lock_for`](CohortMutex::try_lock_for) and [`try_lock_until`](CohortMutex::try_lock_until)
/// take their node out of the queue when the time is over. For that they wait for whoever is
/// looking through the queue just then.
///
/// # Memory
///
/// 128 bytes: one cache line for those who arrive, one for those who hand it on. A thread that
/// waits has a node of 64 bytes on its stack.
///
/// # When it is the wrong tool
///
/// * For many small locks: 128 bytes each.
/// * When every waiter must be served in the order of arrival.
/// * In signal handlers, and for threads with real-time priorities: nothing is inherited.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::CohortMutex;
///
/// static LOG: CohortMutex<Vec<String>> = CohortMutex::new(Vec::new());
///
/// std::thread::scope(|scope| {
///     for i in 0..4 {
///         scope.spawn(move || LOG.lock().push(format!("thread {i}")));
///     }
/// });
/// assert_eq!(LOG.lock().len(), 4);
///
/// let held = LOG.lock();
/// let late = std::thread::spawn(|| LOG.try_lock_for(Duration::from_millis(1)).is_none());
/// assert!(late.join().unwrap());
/// ```
pub type CohortMutex<T, C = ByNode> = lock_api::Mutex<RawCohortMutex<C>, T>;

/// What [`CohortMutex::lock`](lock_api::Mutex::lock) returns: unlocks when it is dropped.
///
/// # Examples
///
/// ```
/// use stillpoint::{CohortMutex, CohortMutexGuard};
///
/// let lock = CohortMutex::<_>::new(1);
/// let mut guard: CohortMutexGuard<'_, i32> = lock.lock();
/// *guard = 2;
/// CohortMutexGuard::unlock_fair(guard);
/// assert_eq!(lock.into_inner(), 2);
/// ```
pub type CohortMutexGuard<'a, T, C = ByNode> = lock_api::MutexGuard<'a, RawCohortMutex<C>, T>;

/// A [`CohortMutexGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::MappedCohortMutexGuard;
/// use stillpoint::{CohortMutex, CohortMutexGuard};
///
/// let lock = CohortMutex::<_>::new(vec![1, 2]);
/// let mut first: MappedCohortMutexGuard<'_, i32> = CohortMutexGuard::map(lock.lock(), |v| &mut v[0]);
/// *first = 3;
/// drop(first);
/// assert_eq!(*lock.lock(), [3, 2]);
/// ```
pub type MappedCohortMutexGuard<'a, T, C = ByNode> =
    lock_api::MappedMutexGuard<'a, RawCohortMutex<C>, T>;

/// A [`CohortMutexGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use stillpoint::CohortMutex;
///
/// let lock = Arc::new(CohortMutex::<_>::new(1));
/// *lock.lock_arc() += 1;
/// assert_eq!(*lock.lock(), 2);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcCohortMutexGuard<T, C = ByNode> = lock_api::ArcMutexGuard<RawCohortMutex<C>, T>;

/// Statistics of a [`CohortMutex`].
///
/// # Examples
///
/// ```
/// use stillpoint::CohortMutex;
/// use stillpoint::lock::CountHandovers;
///
/// let lock = CohortMutex::<_>::new(());
/// drop(lock.lock()); // from nobody to nobody
/// assert_eq!((lock.handovers().local, lock.handovers().remote), (0, 0));
/// ```
pub trait CountHandovers {
    /// How often the lock has been passed on to a waiter since it was made. Acquisitions that found
    /// it free are not counted; on a machine with one cohort, those that had to wait for it are, all
    /// of them as local. Two loads; not of one moment, if others use the lock meanwhile.
    fn handovers(&self) -> Handovers;
}

impl<T: ?Sized, C: Cohorts> CountHandovers for CohortMutex<T, C> {
    fn handovers(&self) -> Handovers {
        // SAFETY: reads counters; locks and unlocks nothing.
        let (local, remote) = unsafe { self.raw() }.handovers();
        Handovers { local, remote }
    }
}
