//! The lock for `lock_api` 0.4, which `parking_lot` 0.12 and many other crates are written for.
//!
//! With the feature `lock_api_04`. [`RwLock`] is [`stillpoint::RwLock`](super::RwLock) behind the
//! older traits, and all that is said there about fairness, recursion, panics, signals and writing
//! holds here too. What differs:
//!
//! * The older `unlock_shared` is not told where its reader was counted. It looks for a slot of its
//!   lock, in the line of the CPU that it runs on, and empties it by an atomic exchange: one
//!   exchange, and a look at up to eight slots, for each reader that ends. If it finds none, since
//!   the thread has moved, it takes a share of the lock inside if there is one, and looks at the
//!   lines of all CPUs if there is none. Locking is the same: no atomic instruction, no fence.
//! * So readers that were moved still share a cache line now and then, with who runs where they
//!   came from.
//! * `force_unlock_read` takes no argument.
//! * [`try_upgradable_read`](RwLock::try_upgradable_read) may fail while a reader is about to open
//!   the lock for slots: for some nanoseconds, every few thousand reads at most.
//!
//! [`Mutex`] and [`SpinLock`] are those of the crate in all but one thing: they ask for no longer
//! time slices, for the older `unlock` is not told whether its lock did.
//!
//! A lock of this module is another type than [`stillpoint::RwLock`](super::RwLock); prefer that
//! where the choice is yours.
//!
//! # Examples
//!
//! ```
//! use stillpoint::lock::v04::RwLock;
//!
//! static ROUTES: RwLock<Vec<(&str, u32)>> = RwLock::new(Vec::new());
//!
//! ROUTES.write().push(("/", 80));
//! std::thread::scope(|scope| {
//!     for _ in 0..3 {
//!         scope.spawn(|| assert_eq!(ROUTES.read()[0].1, 80));
//!     }
//! });
//! ```
//!
//! In code that is generic over the older traits:
//!
//! ```
//! use stillpoint::lock::v04::{RawRwLock, lock_api};
//!
//! struct Shared<R, T>(lock_api::RwLock<R, T>);
//!
//! impl<R: lock_api::RawRwLock, T: Clone> Shared<R, T> {
//!     fn get(&self) -> T {
//!         self.0.read().clone()
//!     }
//! }
//!
//! let shared: Shared<RawRwLock, u32> = Shared(lock_api::RwLock::new(3));
//! assert_eq!(shared.get(), 3);
//! ```

pub use super::raw_04::RawRwLock;
pub use super::raw_mutex::{RawMutex, RawSpinLock};
pub use lock_api_04 as lock_api;

/// [`stillpoint::RwLock`](super::RwLock) behind the traits of `lock_api` 0.4. 16 bytes and the
/// value.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::RwLock;
///
/// let lock = RwLock::new(1);
/// *lock.write() += 1;
/// assert_eq!(*lock.read(), 2);
/// ```
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

/// What [`RwLock::read`] returns: reads until it is dropped.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::{RwLock, RwLockReadGuard};
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
/// use stillpoint::lock::v04::{RwLock, RwLockWriteGuard};
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
/// use stillpoint::lock::v04::{RwLock, RwLockUpgradableReadGuard};
///
/// let cache = RwLock::new(None);
/// let guard = cache.upgradable_read();
/// if guard.is_none() {
///     *RwLockUpgradableReadGuard::upgrade(guard) = Some(7);
/// }
/// assert_eq!(*cache.read(), Some(7));
/// ```
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// A [`RwLockReadGuard`] for a part of what it protects.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
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
/// use stillpoint::lock::v04::{MappedRwLockWriteGuard, RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(vec![1, 2]);
/// let mut first: MappedRwLockWriteGuard<'_, i32> =
///     RwLockWriteGuard::map(lock.write(), |v| &mut v[0]);
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
/// use stillpoint::lock::v04::RwLock;
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
/// use stillpoint::lock::v04::RwLock;
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
/// use stillpoint::lock::v04::RwLock;
/// use std::sync::Arc;
///
/// let lock = Arc::new(RwLock::new(1));
/// assert_eq!(*lock.upgradable_read_arc(), 1);
/// ```
#[cfg(feature = "arc_lock")]
pub type ArcRwLockUpgradableReadGuard<T> = lock_api::ArcRwLockUpgradableReadGuard<RawRwLock, T>;

/// [`stillpoint::Mutex`](super::Mutex) behind the traits of `lock_api` 0.4. 8 bytes and the value.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::Mutex;
///
/// static LOCK: Mutex<u32> = Mutex::new(1);
/// *LOCK.lock() += 1;
/// assert_eq!(*LOCK.lock(), 2);
/// ```
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// What [`Mutex::lock`] returns: holds the lock until it is dropped.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::{Mutex, MutexGuard};
///
/// let lock = Mutex::new(1);
/// let guard: MutexGuard<'_, u32> = lock.lock();
/// MutexGuard::unlock_fair(guard);
/// assert!(!lock.is_locked());
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// [`stillpoint::SpinLock`](super::SpinLock) behind the traits of `lock_api` 0.4. 8 bytes and the
/// value.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::SpinLock;
///
/// static LOCK: SpinLock<u32> = SpinLock::new(1);
/// *LOCK.lock() += 1;
/// assert_eq!(*LOCK.lock(), 2);
/// ```
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// What [`SpinLock::lock`] returns: holds the lock until it is dropped.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::v04::{SpinLock, SpinLockGuard};
///
/// let lock = SpinLock::new(1);
/// let guard: SpinLockGuard<'_, u32> = lock.lock();
/// SpinLockGuard::unlock_fair(guard);
/// assert!(!lock.is_locked());
/// ```
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;
