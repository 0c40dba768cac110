//! The names that users write.

use super::raw_rwlock::RawRwLock;

/// A reader-writer lock whose readers write only to memory of their CPU.
///
/// Any number of readers, or one writer. A drop-in for `parking_lot::RwLock`: the same methods, no
/// poisoning, guards instead of results. A reader of a lock that is mostly read stores to a cache line of its
/// own CPU, without an atomic instruction and without a fence; so readers on different CPUs do
/// not slow each other down. A writer pays for that: it interrupts every CPU that runs this process,
/// once (some microseconds), when readers were admitted in this way since the last writer.
///
/// For values that are replaced as a whole, [`RcuCell`](crate::rcu::RcuCell) is better still: there a
/// writer does not wait for readers before it publishes, and readers never wait at all.
///
/// # How it works
///
/// While the lock is *biased* towards readers, a reader claims a slot in a line of its CPU, in a
/// restartable sequence. A writer takes the lock inside, ends the bias, sends one broadcast, which
/// aborts claims in progress, and waits for the claims that it finds. Without bias, readers take the lock
/// inside, one word, as in other locks. The bias comes back after so many reads that nine times
/// what ending it cost fits into them (before the first time, after a thousand): so whatever the mix,
/// ending it adds at most a tenth or so, and a writer that comes again soon pays no second broadcast.
///
/// The table of slots is shared by all locks of the process, 128 bytes a CPU, so readers take no
/// memory, and a lock 16 bytes. A CPU has eight slots: if as many guards taken there are alive (of
/// whatever locks, also of readers that were preempted since), further readers take the lock inside.
/// So do threads that cannot be registered for restartable sequences. On the
/// [tiers](crate::Tier) below `Rseq` readers claim slots by atomic operations.
///
/// The design is that of BRAVO (Dice and Kogan, "BRAVO: Biased Locking for Reader-Writer Locks", USENIX ATC
/// 2019), with its two atomic operations taken away by a restartable sequence and a broadcast.
///
/// # Fairness
///
/// * A writer that waits turns new readers away from the lock inside, and before it waits for slots it has
///   ended the bias: no stream of readers keeps it out.
/// * Readers that wait for writers, and writers that wait for other writers, compete with those that
///   arrive, which is good for throughput, but not for longer than about a millisecond: then the next
///   writer that ends *hands* them the lock. Readers that wait are handed it together. So a
///   stream of writers does not keep readers out.
/// * [`unlock_fair`](RwLockWriteGuard::unlock_fair) of a writer, or of the upgradable lock, hands the
///   lock to whoever waits longest, at once. A reader's has nothing to hand over.
///
/// # Recursion
///
/// Do not lock it twice on one thread. Two reads usually succeed, but not if a writer has come between them:
/// it waits for the first, and the second for it, for ever. Nor hold a guard across anything that may
/// wait for a writer of the same lock.
///
/// # Panics and forgotten guards
///
/// * A thread that panics releases what it holds; there is no poisoning. What was protected may be
///   half changed.
/// * A guard that is forgotten (`mem::forget`) holds the lock for ever: writers wait for ever, and a reader's
///   slot is lost to other locks too. It is safe all the same to move or drop the lock afterwards; the next
///   lock at its place knows nothing of it.
/// * More than 134,217,727 readers that hold the lock inside at once make `read` panic, and
///   [`try_read`](RwLock::try_read) fail.
/// * If the kernel refuses the broadcast it granted at start-up, because of a filter that was installed
///   since, locking exclusively panics, and the lock stays as it was.
///
/// # Threads and signals
///
/// A guard stays on its thread, as in std, unless the feature `send_guard` is chosen: a
/// slot may be given back anywhere. A signal handler must not lock: it may wait for the thread that it
/// interrupts. In the child of a fork, locks that other threads held stay held.
///
/// # Time
///
/// Reading and ending it, with bias: some twenty instructions, no locked one among them. Writing
/// without bias: one atomic exchange to lock, one to unlock. Writing that ends the bias: a broadcast,
/// and one look at each CPU's line.
/// [`try_write`](RwLock::try_write) may send a broadcast too, but not if it sees a reader at once; it does not wait.
///
/// # Differences from the standard library's and parking_lot's
///
/// | | std | parking_lot | here |
/// |---|---|---|---|
/// | size besides the value | 9 bytes | 8 bytes | 16 bytes |
/// | poisoning | yes | no | no |
/// | timeouts, upgradable, mapped, `Arc` guards | partly | yes | yes |
/// | guards | of the lock | of the lock | of the lock, and where its reader was counted |
/// | `force_unlock_read` | no | without an argument | with the reader's [`ReadState`](super::ReadState) |
/// | readers on several CPUs | share a cache line | share a cache line | share nothing |
/// | a writer after readers | a few atomics | a few atomics | a broadcast, unless another writer was there shortly before |
///
/// # Examples
///
/// ```
/// use stillpoint::RwLock;
///
/// static ROUTES: RwLock<Vec<(&str, u32)>> = RwLock::new(Vec::new());
///
/// ROUTES.write().push(("/", 80));
/// std::thread::scope(|scope| {
///     for _ in 0..3 {
///         scope.spawn(|| assert_eq!(ROUTES.read()[0].1, 80));
///     }
/// });
/// ```
///
/// Read, then write if need be:
///
/// ```
/// use stillpoint::{RwLock, RwLockUpgradableReadGuard};
///
/// let cache = RwLock::new(None);
/// let guard = cache.upgradable_read();
/// if guard.is_none() {
///     // Others went on reading until here.
///     *RwLockUpgradableReadGuard::upgrade(guard) = Some(7);
/// }
/// assert_eq!(*cache.read(), Some(7));
/// ```
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

/// What [`RwLock::read`] returns: reads until it is dropped.
///
/// While it is alive, do not write or upgrade the same lock on this thread: that waits for ever.
///
/// # Examples
///
/// ```
/// use stillpoint::{RwLock, RwLockReadGuard};
///
/// let lock = RwLock::new((1, "one"));
/// let name = RwLockReadGuard::map(lock.read(), |pair| &pair.1);
/// assert_eq!(*name, "one");
/// ```
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// What [`RwLock::write`] returns: writes until it is dropped.
///
/// # Examples
///
/// ```
/// use stillpoint::{RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(1);
/// let mut write = lock.write();
/// *write = 2;
/// let read = RwLockWriteGuard::downgrade(write);
/// assert_eq!(*read, 2);
/// ```
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// What [`RwLock::upgradable_read`] returns: reads, beside other readers, until it is dropped or
/// becomes a writer. There is at most one at a time.
///
/// # Examples
///
/// ```
/// use stillpoint::{RwLock, RwLockUpgradableReadGuard};
///
/// let lock = RwLock::new(1);
/// let mut guard = lock.upgradable_read();
/// guard.with_upgraded(|value| *value += 1);
/// assert_eq!(*RwLockUpgradableReadGuard::downgrade(guard), 2);
/// ```
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// A [`RwLockReadGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
///
/// let lock = RwLock::new(vec![1, 2]);
/// let first: MappedRwLockReadGuard<'_, i32> = RwLockReadGuard::map(lock.read(), |v| &v[0]);
/// assert_eq!(*first, 1);
/// ```
pub type MappedRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;

/// A [`RwLockWriteGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::{MappedRwLockWriteGuard, RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(vec![1, 2]);
/// let mut first: MappedRwLockWriteGuard<'_, i32> = RwLockWriteGuard::map(lock.write(), |v| &mut v[0]);
/// *first = 3;
/// drop(first);
/// assert_eq!(*lock.read(), [3, 2]);
/// ```
pub type MappedRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

/// A [`RwLockReadGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use stillpoint::RwLock;
/// use std::sync::Arc;
///
/// let lock = Arc::new(RwLock::new(1));
/// let guard = lock.read_arc();
/// drop(lock);
/// assert_eq!(*guard, 1);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcRwLockReadGuard<T> = lock_api::ArcRwLockReadGuard<RawRwLock, T>;

/// A [`RwLockWriteGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use stillpoint::RwLock;
/// use std::sync::Arc;
///
/// let lock = Arc::new(RwLock::new(1));
/// *lock.write_arc() += 1;
/// assert_eq!(*lock.read(), 2);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcRwLockWriteGuard<T> = lock_api::ArcRwLockWriteGuard<RawRwLock, T>;

/// A [`RwLockUpgradableReadGuard`] that keeps an `Arc` of its lock.
///
/// # Examples
///
/// ```
/// use stillpoint::RwLock;
/// use std::sync::Arc;
///
/// let lock = Arc::new(RwLock::new(1));
/// assert_eq!(*lock.upgradable_read_arc(), 1);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcRwLockUpgradableReadGuard<T> = lock_api::ArcRwLockUpgradableReadGuard<RawRwLock, T>;
