//! The cell that is never empty.

use super::SharedOption;
use crate::rcu::{Domain, DomainRef, Global, Handle};
use std::fmt;

/// A cell whose value is handed out in owned, counted handles: what `ArcSwap` is for.
///
/// A [`Handle`] may be kept for as long as one likes, sent to other threads and held across
/// `.await`. Loading one costs a restartable section with one atomic addition in it, and dropping
/// it
/// another atomic instruction; threads that load at the same time share the line of the count. Who
/// only looks is better off with [`RcuCell`](crate::rcu::RcuCell), who copies with
/// [`SnapshotCell`](crate::rcu::SnapshotCell); who looks often, with a [`Cache`](super::Cache).
///
/// Storing costs an allocation, if the value is new, and an atomic exchange; the cell's reference
/// to
/// the old value is given back after two grace periods, so a value that nobody has a handle
/// to is dropped then, on whatever thread comes to it.
///
/// # Panics
///
/// As [`SharedOption`], with allocators that tag addresses.
///
/// # Coming from `arc_swap`
///
/// The names are the same, `Arc` is [`Handle`], and both kinds of load give one. `ArcSwapOption` is
/// [`SharedOption`]. Other than there, a value that was replaced is dropped some time later;
/// [`rcu::barrier`](crate::rcu::barrier) waits for that.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Shared;
///
/// let config = Shared::from_pointee(vec!["a", "b"]);
/// let before = config.load();
/// config.store(vec!["c"]);
/// let other = std::thread::spawn(move || before.len()); // for as long as it takes
/// assert_eq!(config.load()[0], "c");
/// assert_eq!(other.join().unwrap(), 2);
/// ```
///
/// A cell of what may not be shared between threads stays on its thread:
///
/// ```compile_fail,E0277
/// use stillpoint::rcu::Shared;
/// let cell = Shared::from_pointee(std::cell::Cell::new(1));
/// std::thread::spawn(move || cell.load());
/// ```
///
/// ```
/// use stillpoint::rcu::Shared;
/// let cell = Shared::from_pointee(1);
/// std::thread::spawn(move || cell.load());
/// ```
pub struct Shared<T, D: DomainRef = Global>(pub(super) SharedOption<T, D>);

impl<T> Shared<T> {
    /// A cell of the global domain: of a handle, or of a value. Allocates in the latter case.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, Shared};
    /// let handle = Handle::new(1);
    /// let cell = Shared::new(handle.clone());
    /// assert!(Handle::ptr_eq(&cell.load(), &handle));
    /// ```
    pub fn new(handle: impl Into<Handle<T>>) -> Shared<T> {
        Shared::new_in(handle, Global)
    }

    /// As [`new`](Shared::new), of a value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(*stillpoint::rcu::Shared::from_pointee(1).load(), 1);
    /// ```
    pub fn from_pointee(value: T) -> Shared<T> {
        Shared::new(value)
    }
}

impl<T, D: DomainRef> Shared<T, D> {
    /// A cell of a domain of one's own.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, Shared};
    /// static DOMAIN: Domain = Domain::new();
    /// let cell = Shared::new_in(1, &DOMAIN);
    /// assert_eq!(*cell.load(), 1);
    /// ```
    pub fn new_in(handle: impl Into<Handle<T>>, domain: D) -> Shared<T, D> {
        Shared(SharedOption::new_in(Some(handle.into()), domain))
    }

    /// The domain that old references wait in.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, Shared};
    /// assert!(std::ptr::eq(Shared::new(1).domain(), Domain::global()));
    /// ```
    pub fn domain(&self) -> &Domain {
        self.0.domain()
    }

    /// A handle to the current value.
    ///
    /// One restartable section that ends with an atomic addition. Never blocks; begins again only
    /// if the kernel aborted it; after eight times, and where there are no sequences, it is an
    /// atomic
    /// addition under a guard. Async-signal-safe, as dropping the handle is not.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::Shared::from_pointee("value");
    /// assert_eq!(*cell.load(), "value");
    /// ```
    #[inline(always)]
    pub fn load(&self) -> Handle<T> {
        some(self.0.load())
    }

    /// As [`load`](Shared::load): the name that `arc_swap` has for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::Shared::from_pointee("value");
    /// assert_eq!(*cell.load_full(), "value");
    /// ```
    #[inline(always)]
    pub fn load_full(&self) -> Handle<T> {
        self.load()
    }

    /// The handle in the cell, by exclusive access.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, Shared};
    /// let handle = Shared::from_pointee(1).into_inner();
    /// assert_eq!(Handle::try_unwrap(handle).unwrap(), 1);
    /// ```
    pub fn into_inner(self) -> Handle<T> {
        some(self.0.into_inner())
    }
}

/// What is in a cell that is never empty.
#[inline(always)]
fn some<T>(handle: Option<Handle<T>>) -> Handle<T> {
    // SAFETY: a `Shared` is made full, and stores and swaps put handles in.
    unsafe { handle.unwrap_unchecked() }
}

impl<T: Send + Sync + 'static, D: DomainRef> Shared<T, D> {
    /// Replaces the value.
    ///
    /// Never waits; may be called with a guard alive, and by any number of threads at once. Whoever
    /// loads later gets the new one. Not for signal handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::Shared::from_pointee(1);
    /// cell.store(2);
    /// assert_eq!(*cell.load(), 2);
    /// ```
    pub fn store(&self, handle: impl Into<Handle<T>>) {
        self.0.store(Some(handle.into()));
    }

    /// Replaces the value and gives a handle to the one before.
    ///
    /// As [`store`](Shared::store). For some grace periods the cell has another handle to the old
    /// value.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::Shared::from_pointee(1);
    /// assert_eq!(*cell.swap(2), 1);
    /// ```
    pub fn swap(&self, handle: impl Into<Handle<T>>) -> Handle<T> {
        some(self.0.swap(Some(handle.into())))
    }

    /// Replaces the value if it is the one, in the same place, that `current` is a handle to;
    /// gives a
    /// handle to what was there.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, Shared};
    /// let cell = Shared::from_pointee(1);
    /// let one = cell.load();
    /// assert!(Handle::ptr_eq(&cell.compare_and_swap(&one, 2), &one));
    /// assert_eq!(*cell.compare_and_swap(&one, 3), 2);
    /// ```
    pub fn compare_and_swap(&self, current: &Handle<T>, new: impl Into<Handle<T>>) -> Handle<T> {
        some(self.0.compare_and_swap(Some(current), Some(new.into())))
    }

    /// Replaces the value with what `f` makes of it, again if another writer came first; gives a
    /// handle to the one before.
    ///
    /// `f` runs under no guard. If it panics, nothing is replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Shared;
    ///
    /// let total = Shared::from_pointee(0);
    /// std::thread::scope(|s| {
    ///     for _ in 0..4 {
    ///         s.spawn(|| total.rcu(|n| **n + 1));
    ///     }
    /// });
    /// assert_eq!(*total.load(), 4);
    /// ```
    pub fn rcu<R: Into<Handle<T>>>(&self, mut f: impl FnMut(&Handle<T>) -> R) -> Handle<T> {
        // Never empty: see `some`.
        some(self.0.rcu(|current| current.map(&mut f)))
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared::from_pointee(T::default())
    }
}

impl<T> From<Handle<T>> for Shared<T> {
    fn from(handle: Handle<T>) -> Shared<T> {
        Shared::new(handle)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared::from_pointee(value)
    }
}

impl<T: fmt::Debug, D: DomainRef> fmt::Debug for Shared<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&*self.load()).finish()
    }
}
