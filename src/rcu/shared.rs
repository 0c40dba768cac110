//! Cells that give owned, counted handles to what is in them.
//!
//! # State
//!
//! The address of what a [`Handle`](super::Handle) points at, one of whose references is the
//! cell's;
//! [nowhere](crate::rseq::leaf::nowhere) if there is none. Below tier `Rseq` the address is
//! [closed](crate::rseq::leaf).
//!
//! # Taking a reference
//!
//! One restartable section loads the address and adds one to the count there; the atomic addition
//! commits. Whoever cannot run it adds under a guard of the cell's domain.
//!
//! # Why the count is there, and not 0
//!
//! Who replaces the address gives the cell's reference back only behind two grace periods that
//! began
//! after that. Before these have ended, the count has that reference in it. Behind them no
//! section adds any more that found the old address, by the broadcasts, and nobody under a guard
//! does; the argument is that of [`super::snapshot`], and here as there one broadcast would be
//! enough if kernels before 6.18 lost none of its aborts. A reference that was added before is its
//! owner's,
//! and has nothing to do with grace periods any more.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | address | acquire | the exchange that published it |
//! | exchange | acquire, release | both; and the exchange that published what it takes out |
//! | count, up | relaxed | the cell's reference keeps it from 0 |

mod cache;
mod full;

pub use cache::Cache;
pub use full::Shared;

use super::domain::Domain;
use super::handle::{Handle, Inner};
use super::{DomainRef, Global};
use crate::machine::Tier;
use crate::rseq::{RETRIES, leaf, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, Ordering, const_unless_modelled};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

/// A [`Shared`] cell that may be empty.
///
/// Loading from an empty one costs some nanoseconds more.
///
/// # Panics
///
/// On x86-64 and aarch64 whatever puts a handle into a cell panics if the allocator gave the
/// handle's value an address with the highest bit set: allocators that tag addresses do, as
/// HWASan's.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::SharedOption;
///
/// static BANNER: SharedOption<String> = SharedOption::empty();
///
/// assert!(BANNER.load().is_none());
/// BANNER.store(Some("hello".to_owned().into()));
/// assert_eq!(*BANNER.load().unwrap(), "hello");
/// ```
pub struct SharedOption<T, D: DomainRef = Global> {
    address: AtomicPtr<Inner<T>>,
    domain: D,
    owns: PhantomData<Handle<T>>,
}

// SAFETY: sending the cell sends a handle.
unsafe impl<T: Send + Sync, D: DomainRef + Send> Send for SharedOption<T, D> {}
// SAFETY: a shared cell gives handles to any thread and takes them from any.
unsafe impl<T: Send + Sync, D: DomainRef + Sync> Sync for SharedOption<T, D> {}

impl<T> SharedOption<T> {
    const_unless_modelled! {
        /// An empty cell of the global domain. Allocates nothing; can stand in a `static`.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::SharedOption;
        /// static CELL: SharedOption<u8> = SharedOption::empty();
        /// assert!(CELL.load().is_none());
        /// ```
        #[must_use]
        pub const fn empty() -> SharedOption<T> {
            SharedOption::empty_in(Global)
        }
    }

    /// A cell of the global domain that holds the handle, if it is given one.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, SharedOption};
    /// let cell = SharedOption::new(Some(Handle::new(1)));
    /// assert_eq!(*cell.load().unwrap(), 1);
    /// ```
    pub fn new(handle: Option<Handle<T>>) -> SharedOption<T> {
        SharedOption::new_in(handle, Global)
    }

    /// A cell of the global domain that holds a new handle to the value, if it is given one.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::SharedOption;
    /// assert_eq!(*SharedOption::from_pointee(1).load().unwrap(), 1);
    /// ```
    pub fn from_pointee(value: impl Into<Option<T>>) -> SharedOption<T> {
        SharedOption::new(value.into().map(Handle::new))
    }
}

impl<T, D: DomainRef> SharedOption<T, D> {
    const_unless_modelled! {
        /// An empty cell of a domain of one's own.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::{Domain, SharedOption};
        /// static DOMAIN: Domain = Domain::new();
        /// static CELL: SharedOption<u8, &Domain> = SharedOption::empty_in(&DOMAIN);
        /// assert!(CELL.load().is_none());
        /// ```
        #[must_use]
        pub const fn empty_in(domain: D) -> SharedOption<T, D> {
            SharedOption { address: AtomicPtr::new(leaf::nowhere()), domain, owns: PhantomData }
        }
    }

    /// A cell of a domain of one's own.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, Handle, SharedOption};
    /// static DOMAIN: Domain = Domain::new();
    /// let cell = SharedOption::new_in(Some(Handle::new(1)), &DOMAIN);
    /// assert_eq!(*cell.load().unwrap(), 1);
    /// ```
    pub fn new_in(handle: Option<Handle<T>>, domain: D) -> SharedOption<T, D> {
        let cell = SharedOption::empty_in(domain);
        // Release, for those who get to know the cell by other means than that orders.
        cell.address.store(cell.stored(handle), Ordering::Release);
        cell
    }

    /// The domain that old references wait in.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, SharedOption};
    /// assert!(std::ptr::eq(SharedOption::<u8>::empty().domain(), Domain::global()));
    /// ```
    pub fn domain(&self) -> &Domain {
        self.domain.domain()
    }

    /// A handle to the current value, if there is one.
    ///
    /// One restartable section that ends with an atomic addition. Never blocks; begins again only
    /// if the kernel aborted it; after eight times, and where there are no sequences, it is an
    /// atomic
    /// addition under a guard. Async-signal-safe, as dropping the handle is not.
    ///
    /// # Examples
    ///
    /// See [`SharedOption`].
    #[inline(always)]
    pub fn load(&self) -> Option<Handle<T>> {
        // SAFETY: an open address is that of an `Inner`, which begins with its count. The cell's
        // reference is in that count, and is given back after two broadcasts of tier `Rseq`: see
        // the
        // module's head.
        match unsafe { leaf::retain(&self.address) } {
            // SAFETY: just counted for us.
            Some(inner) => Some(unsafe { Handle::from_raw(inner.as_ptr()) }),
            None => self.load_cold(),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_cold(&self) -> Option<Handle<T>> {
        for _ in 0..RETRIES {
            // Relaxed: decides only how to read.
            let address = self.address.load(Ordering::Relaxed);
            if leaf::is_closed(address) || !sequences_may_work(u32::MAX) {
                break;
            }
            // SAFETY: as in `load`.
            if let Some(inner) = unsafe { leaf::retain(&self.address) } {
                // SAFETY: just counted for us.
                return Some(unsafe { Handle::from_raw(inner.as_ptr()) });
            }
        }
        let _guard = self.domain().read();
        // Acquire: partner is the exchange that published the value.
        let address = self.address.load(Ordering::Acquire);
        // SAFETY: found under a guard, which lives: the cell's reference is not given back.
        unsafe { self.borrowed(address) }.map(|handle| Handle::clone(&handle))
    }

    /// As [`load`](SharedOption::load): the name that `arc_swap` has for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::SharedOption;
    /// assert!(SharedOption::<u8>::empty().load_full().is_none());
    /// ```
    #[inline(always)]
    pub fn load_full(&self) -> Option<Handle<T>> {
        self.load()
    }

    /// The handle that the cell has, or had, not to be dropped.
    ///
    /// # Safety
    ///
    /// The address stood in this cell, and the reference there is not given back as long as the
    /// handle is used.
    unsafe fn borrowed(&self, address: *mut Inner<T>) -> Option<ManuallyDrop<Handle<T>>> {
        // SAFETY: the caller's promise.
        unsafe { taken(address) }.map(ManuallyDrop::new)
    }

    /// The address as readers of this cell may have it.
    fn stored(&self, handle: Option<Handle<T>>) -> *mut Inner<T> {
        let for_sequences = || self.domain().tier() == Tier::Rseq;
        match handle {
            Some(handle) => leaf::stored(handle.into_raw(), for_sequences()),
            None => leaf::nowhere(),
        }
    }

    fn exchange(&self, new: Option<Handle<T>>) -> Option<Handle<T>> {
        // Release: partner is the load of whoever reads. Acquire: we use the old one.
        let order =
            if broken(Mutant::RelaxedPublish) { Ordering::Relaxed } else { Ordering::AcqRel };
        // SAFETY: the cell's reference, which is the caller's now.
        unsafe { taken(self.address.swap(self.stored(new), order)) }
    }

    /// The handle in the cell, by exclusive access.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::SharedOption;
    /// assert!(SharedOption::<u8>::empty().into_inner().is_none());
    /// ```
    pub fn into_inner(self) -> Option<Handle<T>> {
        // Leaves an empty cell to drop. Nobody can be loading from it.
        self.exchange(None)
    }
}

/// The handle whose reference stood in a cell.
///
/// # Safety
///
/// The reference is the caller's.
unsafe fn taken<T>(address: *mut Inner<T>) -> Option<Handle<T>> {
    // SAFETY: the caller's promise.
    (address != leaf::nowhere()).then(|| unsafe { Handle::from_raw(leaf::opened(address)) })
}

impl<T: Send + Sync + 'static, D: DomainRef> SharedOption<T, D> {
    /// Replaces the handle.
    ///
    /// Never waits; may be called with a guard alive, and by any number of threads at once. Whoever
    /// loads later gets the new one. Not for signal handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, SharedOption};
    /// let cell = SharedOption::empty();
    /// cell.store(Some(Handle::new(1)));
    /// assert_eq!(*cell.load().unwrap(), 1);
    /// cell.store(None);
    /// ```
    pub fn store(&self, handle: Option<Handle<T>>) {
        if let Some(old) = self.exchange(handle) {
            old.release_later(self.domain());
        }
    }

    /// Replaces the handle and gives the one before.
    ///
    /// As [`store`](SharedOption::store). For some grace periods the cell has another handle to the
    /// old value.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, SharedOption};
    /// let cell = SharedOption::from_pointee(1);
    /// assert_eq!(*cell.swap(None).unwrap(), 1);
    /// ```
    pub fn swap(&self, handle: Option<Handle<T>>) -> Option<Handle<T>> {
        let old = self.exchange(handle)?;
        let ours = old.clone();
        old.release_later(self.domain());
        Some(ours)
    }

    /// Replaces the handle if it is to the same value in the same place as `current`, or if there
    /// is
    /// none and `current` is `None`; gives the one that was there.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, SharedOption};
    /// let cell = SharedOption::empty();
    /// assert!(cell.compare_and_swap(None, Some(Handle::new(1))).is_none());
    /// let found = cell.compare_and_swap(None, Some(Handle::new(2))).unwrap();
    /// assert_eq!((*found, *cell.load().unwrap()), (1, 1));
    /// ```
    pub fn compare_and_swap(
        &self,
        current: Option<&Handle<T>>,
        new: Option<Handle<T>>,
    ) -> Option<Handle<T>> {
        match self.try_exchange(current, new) {
            Ok(()) => current.cloned(),
            Err(found) => found,
        }
    }

    /// Replaces the handle with one to what `f` makes of it, again if another writer came first;
    /// gives the one before.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Handle, SharedOption};
    /// let cell = SharedOption::empty();
    /// cell.rcu(|n| Some(n.map_or(1, |n| **n + 1)));
    /// cell.rcu(|n| Some(n.map_or(1, |n| **n + 1)));
    /// assert_eq!(*cell.load().unwrap(), 2);
    /// ```
    pub fn rcu<R: Into<Handle<T>>>(
        &self,
        mut f: impl FnMut(Option<&Handle<T>>) -> Option<R>,
    ) -> Option<Handle<T>> {
        let mut current = self.load();
        loop {
            let new = f(current.as_ref()).map(Into::into);
            match self.try_exchange(current.as_ref(), new) {
                Ok(()) => return current,
                Err(found) => current = found,
            }
        }
    }

    /// Replaces the handle if it is still `current`; else gives what was found.
    fn try_exchange(
        &self,
        current: Option<&Handle<T>>,
        new: Option<Handle<T>>,
    ) -> Result<(), Option<Handle<T>>> {
        let is = |address| match current {
            Some(current) => {
                address != leaf::nowhere() && leaf::opened(address) == current.as_raw()
            }
            None => address == leaf::nowhere(),
        };
        let new = self.stored(new);
        loop {
            // Relaxed: only compared. There is no ABA: `current` keeps its place.
            let now = self.address.load(Ordering::Relaxed);
            if is(now) {
                // As in `exchange`.
                let exchanged =
                    self.address.compare_exchange(now, new, Ordering::AcqRel, Ordering::Relaxed);
                if exchanged.is_ok() {
                    // SAFETY: the cell's reference, which is ours now.
                    if let Some(old) = unsafe { taken(now) } {
                        old.release_later(self.domain());
                    }
                    return Ok(());
                }
                continue;
            }
            let found = self.load();
            // It may have come back meanwhile: then what we found does not say that we failed.
            let same = match (current, &found) {
                (Some(current), Some(found)) => Handle::ptr_eq(current, found),
                (None, None) => true,
                _ => false,
            };
            if !same {
                // SAFETY: the reference that never was the cell's.
                drop(unsafe { taken(new) });
                return Err(found);
            }
        }
    }
}

impl<T, D: DomainRef> Drop for SharedOption<T, D> {
    /// Gives the cell's reference back at once: nobody can be loading it.
    fn drop(&mut self) {
        drop(self.exchange(None));
    }
}

impl<T> Default for SharedOption<T> {
    fn default() -> SharedOption<T> {
        SharedOption::empty()
    }
}

impl<T> From<Option<Handle<T>>> for SharedOption<T> {
    fn from(handle: Option<Handle<T>>) -> SharedOption<T> {
        SharedOption::new(handle)
    }
}

impl<T: fmt::Debug, D: DomainRef> fmt::Debug for SharedOption<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedOption").field(&self.load()).finish()
    }
}
