//! The types, with what they promise.

use super::raw_mutex::{RawMutex, RawSpinLock};

/// A mutex that knows when its holder does not run: 8 bytes and the value.
///
/// Taking it writes the number of the CPU into the lock's word. So a thread that must wait, on the
/// very CPU on which the lock was taken, knows that the holder has been preempted, or sleeps: it
/// parks at once, instead of spinning in the holder's place. A waiter on another CPU spins for a
/// while, in a restartable sequence, which the kernel aborts if it takes the CPU away: so it
/// knows, too, when there are more threads than CPUs, and parks.
///
/// # How it works
///
/// Uncontended, taking it is one atomic instruction, and giving it up is a plain store, as
/// long as nobody is parked: who wants to park first ends that by one broadcast (as
/// [`RwLock`](super::RwLock) does), and it comes back after a thousand unlocks for which nobody
/// was parked. Before, and on [tier](crate::Tier) `Fence`, giving up is an atomic instruction too.
///
/// Under contention one thread at a time spins, the *heir*; the others are parked, and unlocking
/// wakes nobody as long as there is an heir. How long it spins follows the average of what it took
/// lately, up to about what parking costs.
///
/// On Linux 7.0 and later, if the kernel was built for it, and the C library registered more than
/// 32 bytes or left that to us, who had to wait for the lock asks for a few microseconds more if
/// its time slice ends while it holds it ([`has_slice_extension`](super::has_slice_extension),
/// [`slice_statistics`](super::slice_statistics)); not with the feature `send_guard`.
///
/// # Fairness
///
/// * Whoever comes first gets it, also before those that are parked: that keeps the lock busy. At
///   most 250 unlocks in a row pass those that are parked, then one of them is woken, in order.
/// * A thread that was woken in vain after it had waited for a millisecond is *handed* the lock
///   when its turn comes again.
/// * [`unlock_fair`](MutexGuard::unlock_fair) hands it to whoever has been parked longest, at once;
///   [`bump`](MutexGuard::bump) does so and takes it again.
///
/// # Recursion
///
/// Do not lock it twice on one thread: that waits for ever. Several locks must always be taken in
/// the same order.
///
/// # Panics and forgotten guards
///
/// A thread that panics releases what it holds; there is no poisoning. What was protected may be
/// half changed. A guard that is forgotten (`mem::forget`) holds the lock for ever; and the kernel
/// may grant that thread, once, some microseconds that nobody needs. Nothing of the lock stays
/// behind where it was: it may be moved and dropped.
///
/// If the kernel begins to refuse the broadcast, because of a filter installed since, waiters nap
/// instead of parking, until the lock is free.
///
/// # Threads and signals
///
/// A guard stays on its thread, as in std, unless the feature `send_guard` is chosen. A signal
/// handler must not lock: it may wait for the thread that it interrupts. In the child of a fork,
/// locks that other threads held stay held.
///
/// # Time
///
/// Uncontended: one atomic exchange, one store, about ten other instructions. The first thread to
/// park since the lock was quiet sends a broadcast, some microseconds, which interrupts the CPUs
/// that run this process. [`try_lock`](Mutex::try_lock) never waits and sends none.
///
/// # Differences from the standard library's and parking_lot's
///
/// | | std | parking_lot | here |
/// |---|---|---|---|
/// | size besides the value | 5 bytes | 1 byte | 8 bytes |
/// | poisoning | yes | no | no |
/// | timeouts, mapped, `Arc` guards, fair unlock | no | yes | yes |
/// | uncontended | two atomics | two atomics | an atomic and a store |
/// | a waiter on the CPU of a preempted holder | spins, then parks | yields, then parks | parks |
///
/// # Examples
///
/// ```
/// use stillpoint::Mutex;
///
/// static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
///
/// std::thread::scope(|scope| {
///     for i in 0..3 {
///         scope.spawn(move || LOG.lock().push(format!("from {i}")));
///     }
/// });
/// assert_eq!(LOG.lock().len(), 3);
/// ```
///
/// With a timeout:
///
/// ```
/// use std::time::Duration;
/// use stillpoint::Mutex;
///
/// let lock = Mutex::new(1);
/// let _guard = lock.lock();
/// assert!(lock.try_lock_for(Duration::from_millis(1)).is_none());
/// ```
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// What [`Mutex::lock`] returns: holds the lock until it is dropped.
///
/// While it is alive, do not lock the same lock on this thread: that waits for ever.
///
/// # Examples
///
/// ```
/// use stillpoint::{Mutex, MutexGuard};
///
/// let lock = Mutex::new((1, "one"));
/// let mut guard: MutexGuard<'_, _> = lock.lock();
/// guard.0 = 2;
/// MutexGuard::unlock_fair(guard);
/// assert_eq!(lock.lock().0, 2);
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::{MappedMutexGuard, Mutex, MutexGuard};
///
/// let lock = Mutex::new(vec![1, 2]);
/// let mut first: MappedMutexGuard<'_, i32> = MutexGuard::map(lock.lock(), |v| &mut v[0]);
/// *first = 3;
/// drop(first);
/// assert_eq!(*lock.lock(), [3, 2]);
/// ```
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use stillpoint::Mutex;
///
/// let lock = Arc::new(Mutex::new(1));
/// let guard = lock.lock_arc();
/// drop(lock);
/// assert_eq!(*guard, 1);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcMutexGuard<T> = lock_api::ArcMutexGuard<RawMutex, T>;

/// A lock whose waiters spin as long as the holder seems to run: 8 bytes and the value.
///
/// It is [`Mutex`], but for how it waits: longer, and all who wait look, as long as nobody had to
/// park. A waiter parks if
///
/// * it is on the CPU on which the lock was taken: the holder cannot be running there;
/// * it has itself lost its CPU twice while it waited: there are more threads than CPUs. That is
///   what the kernel tells through restartable sequences; where there are none
///   ([tiers](crate::Tier) below `Rseq`, threads without registration), this is not known;
/// * it has looked in vain for some tens of microseconds: a holder that ran would have been done;
/// * somebody is parked, for one of these reasons, and another one looks.
///
/// So it is safe where spin locks are not: with more threads than CPUs, and under real-time
/// priorities, a waiter does not burn the time that the holder needs. Time slices, fairness,
/// recursion, panics, forgotten guards, threads, signals and the uncontended cost: as with
/// [`Mutex`].
///
/// # When it is the wrong tool
///
/// * Critical sections of more than about a microsecond, or of unknown length: each waiter keeps
///   its CPU busy for as long. [`Mutex`] parks.
/// * Critical sections that may block: read a file, wait for another lock, page in. The holder does
///   not run, but on another CPU nobody knows: each waiter there spins for those tens of
///   microseconds.
/// * Many waiters on a large machine: all of them look at one cache line.
/// * Battery, or a hypervisor that sells time: spinning is paid for.
///
/// It is the right tool if sections are a few dozen instructions and a waiter can expect the lock
/// before a system call would have returned.
///
/// # Examples
///
/// ```
/// use stillpoint::SpinLock;
///
/// static NEXT: SpinLock<(u64, u64)> = SpinLock::new((0, 1));
///
/// fn fibonacci() -> u64 {
///     let mut pair = NEXT.lock();
///     *pair = (pair.1, pair.0 + pair.1);
///     pair.0
/// }
/// assert_eq!([fibonacci(), fibonacci(), fibonacci()], [1, 1, 2]);
/// ```
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// What [`SpinLock::lock`] returns: holds the lock until it is dropped.
///
/// While it is alive, do not lock the same lock on this thread: that waits for ever.
///
/// # Examples
///
/// ```
/// use stillpoint::{SpinLock, SpinLockGuard};
///
/// let lock = SpinLock::new((1, "one"));
/// let mut guard: SpinLockGuard<'_, _> = lock.lock();
/// guard.0 = 2;
/// SpinLockGuard::unlock_fair(guard);
/// assert_eq!(lock.lock().0, 2);
/// ```
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;

/// A [`SpinLockGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::{MappedSpinLockGuard, SpinLock, SpinLockGuard};
///
/// let lock = SpinLock::new(vec![1, 2]);
/// let mut first: MappedSpinLockGuard<'_, i32> = SpinLockGuard::map(lock.lock(), |v| &mut v[0]);
/// *first = 3;
/// drop(first);
/// assert_eq!(*lock.lock(), [3, 2]);
/// ```
pub type MappedSpinLockGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawSpinLock, T>;

/// A [`SpinLockGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use stillpoint::SpinLock;
///
/// let lock = Arc::new(SpinLock::new(1));
/// let guard = lock.lock_arc();
/// drop(lock);
/// assert_eq!(*guard, 1);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcSpinLockGuard<T> = lock_api::ArcMutexGuard<RawSpinLock, T>;
