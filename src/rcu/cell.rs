//! A cell that is read under a guard and replaced as a whole.
//!
//! # State
//!
//! One pointer to a heap allocation: a callback's header, then the value. Readers acquire the
//! pointer; writers exchange it (acquire and release) and retire the old allocation through its
//! own header, so replacing allocates once.
//!
//! # Why a reference stays valid
//!
//! A loaded reference borrows the guard and the cell. While the guard lives, no grace period of
//! its domain that began after the load ends, and the allocation is freed only after one
//! that began after it was unlinked; the guard is checked to be of the cell's domain. While
//! the cell is borrowed, it is neither dropped nor consumed, which free at once.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | load | acquire | the exchange that published the value |
//! | exchange | acquire, release | load; and the exchange that published the value it takes out |

use super::bins::{Header, Kind};
use super::domain::Domain;
use super::guard::ReadGuard;
use super::{DomainRef, Global};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, Ordering};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A shared value that readers reach without writing anything, and that writers replace.
///
/// Reading costs one load, under a guard that costs a few nanoseconds. Replacing costs an
/// allocation and an atomic exchange; the old value is dropped after a grace period, on whatever
/// thread comes to it. Best for what is read far more often than written: configuration, routes,
/// flags.
///
/// `D` says which domain protects it: the global one, a `&'static Domain`, an `Arc<Domain>`.
///
/// # Memory
///
/// Besides the values that readers hold, some dozens of replaced values may be waiting for their
/// grace period; [`rcu::barrier`](crate::rcu::barrier) drops them all.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{self, RcuCell};
/// use std::collections::HashMap;
///
/// let routes = RcuCell::new(HashMap::from([("/", "home")]));
///
/// // Readers:
/// let guard = rcu::read();
/// assert_eq!(routes.load(&guard).get("/"), Some(&"home"));
/// drop(guard);
///
/// // A writer:
/// routes.update(|old| {
///     let mut new = old.clone();
///     new.insert("/about", "about");
///     new
/// });
/// assert_eq!(routes.load(&rcu::read()).len(), 2);
/// ```
///
/// A reference does not outlive its guard:
///
/// ```compile_fail,E0505
/// use stillpoint::rcu::{self, RcuCell};
/// let cell = RcuCell::new(1);
/// let guard = rcu::read();
/// let value = cell.load(&guard);
/// drop(guard);
/// assert_eq!(*value, 1);
/// ```
///
/// ```
/// use stillpoint::rcu::{self, RcuCell};
/// let cell = RcuCell::new(1);
/// let guard = rcu::read();
/// let value = cell.load(&guard);
/// assert_eq!(*value, 1);
/// drop(guard);
/// ```
///
/// Nor the cell:
///
/// ```compile_fail,E0505
/// use stillpoint::rcu::{self, RcuCell};
/// let cell = RcuCell::new(1);
/// let guard = rcu::read();
/// let value = cell.load(&guard);
/// drop(cell);
/// assert_eq!(*value, 1);
/// ```
///
/// A cell of what may not cross threads does not cross threads:
///
/// ```compile_fail,E0277
/// use stillpoint::rcu::RcuCell;
/// let cell = RcuCell::new(std::rc::Rc::new(1));
/// std::thread::spawn(move || drop(cell));
/// ```
///
/// ```
/// use stillpoint::rcu::RcuCell;
/// let cell = RcuCell::new(std::sync::Arc::new(1));
/// std::thread::spawn(move || drop(cell));
/// ```
pub struct RcuCell<T, D: DomainRef = Global> {
    slot: AtomicPtr<Slot<T>>,
    domain: D,
    owns: PhantomData<T>,
}

/// What the pointer points at. The header is used once the slot is retired.
#[repr(C)]
struct Slot<T> {
    header: Header,
    value: T,
}

impl<T> Slot<T> {
    const KIND: &'static Kind = &Kind { run: Self::free, bytes: |_| size_of::<Slot<T>>() };

    fn boxed(value: T) -> *mut Slot<T> {
        Box::into_raw(Box::new(Slot { header: Header::new(Self::KIND), value }))
    }

    /// # Safety
    ///
    /// `header` begins a boxed `Slot<T>` that nobody else uses.
    unsafe fn free(header: *mut Header) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(header.cast::<Slot<T>>()) });
    }

    /// # Safety
    ///
    /// `slot` is a boxed `Slot<T>` that nobody else uses.
    unsafe fn into_value(slot: *mut Slot<T>) -> T {
        // SAFETY: the caller's promise.
        unsafe { Box::from_raw(slot) }.value
    }
}

// SAFETY: sending the cell sends the values in it.
unsafe impl<T: Send, D: DomainRef + Send> Send for RcuCell<T, D> {}
// SAFETY: a shared cell gives `&T` to any thread, takes `T` from any thread, and drops `T` on any.
unsafe impl<T: Send + Sync, D: DomainRef + Sync> Sync for RcuCell<T, D> {}

impl<T> RcuCell<T> {
    /// A cell of the global domain. Allocates.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    /// let cell = RcuCell::new("value");
    /// assert_eq!(*cell.load(&rcu::read()), "value");
    /// ```
    pub fn new(value: T) -> RcuCell<T> {
        RcuCell::new_in(value, Global)
    }
}

impl<T, D: DomainRef> RcuCell<T, D> {
    /// A cell of a domain of one's own. Allocates.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, RcuCell};
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let cell = RcuCell::new_in("value", &DOMAIN);
    /// assert_eq!(*cell.load(&DOMAIN.read()), "value");
    /// ```
    pub fn new_in(value: T, domain: D) -> RcuCell<T, D> {
        RcuCell { slot: AtomicPtr::new(Slot::boxed(value)), domain, owns: PhantomData }
    }

    /// The domain that protects this cell.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, RcuCell};
    /// let cell = RcuCell::new(1);
    /// let guard = cell.domain().read();
    /// assert_eq!(*cell.load(&guard), 1);
    /// assert!(std::ptr::eq(cell.domain(), Domain::global()));
    /// ```
    pub fn domain(&self) -> &Domain {
        self.domain.domain()
    }

    /// The current value, for as long as the guard and the cell are borrowed.
    ///
    /// One load. Two loads under one guard may give two values, both valid.
    ///
    /// # Panics
    ///
    /// If the guard is of another domain. For the global domain this is decided when compiling
    /// the caller; for others it is one comparison.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    /// let names = RcuCell::new(vec!["a", "b"]);
    /// let guard = rcu::read();
    /// assert_eq!(names.load(&guard)[1], "b");
    /// ```
    #[inline(always)]
    pub fn load<'g>(&'g self, guard: &'g ReadGuard<'_>) -> &'g T {
        self.check(guard);
        // Acquire: partner is the exchange that published the slot.
        let slot = self.slot.load(Ordering::Acquire);
        // SAFETY: see the module's head: a slot of this cell, reached under a guard of its domain.
        unsafe { &(*slot).value }
    }

    #[inline(always)]
    fn check(&self, guard: &ReadGuard<'_>) {
        if !std::ptr::eq(guard.domain(), self.domain.domain()) {
            foreign_guard();
        }
    }

    /// The value, by exclusive access: no guard needed.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = stillpoint::rcu::RcuCell::new(1);
    /// *cell.get_mut() += 1;
    /// assert_eq!(cell.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        // Relaxed: `&mut self` came here after all use.
        let slot = self.slot.load(Ordering::Relaxed);
        // SAFETY: every reference from `load` borrows the cell, so none is left.
        unsafe { &mut (*slot).value }
    }

    /// The value, without waiting: nobody else can hold a reference to it any more.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::RcuCell::new(String::from("value"));
    /// assert_eq!(cell.into_inner(), "value");
    /// ```
    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // Relaxed: as in `get_mut`.
        let slot = this.slot.load(Ordering::Relaxed);
        // SAFETY: `this` is not used again; the domain handle is dropped once, here.
        unsafe { std::ptr::drop_in_place(&raw mut this.domain) };
        // SAFETY: the current slot is the cell's alone, and no reference is left (see `get_mut`).
        unsafe { Slot::into_value(slot) }
    }

    fn exchange(&self, new: *mut Slot<T>) -> *mut Slot<T> {
        // Release: partner is the load. Acquire: whoever gets the old slot owns its value next.
        let order =
            if broken(Mutant::RelaxedPublish) { Ordering::Relaxed } else { Ordering::AcqRel };
        self.slot.swap(new, order)
    }
}

impl<T: Send + 'static, D: DomainRef> RcuCell<T, D> {
    /// Replaces the value. The old one is dropped after a grace period.
    ///
    /// Never waits; may be called with a guard alive. Readers that come later see the new value.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    /// let cell = RcuCell::new(1);
    /// cell.store(2);
    /// assert_eq!(*cell.load(&rcu::read()), 2);
    /// ```
    pub fn store(&self, value: T) {
        let old = self.exchange(Slot::boxed(value));
        // SAFETY: just unlinked, so nobody retires it again.
        unsafe { retire(self.domain(), old) };
    }

    /// Replaces the value and returns the old one, which readers may still be reading.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::RcuCell;
    ///
    /// let cell = RcuCell::new(String::from("old"));
    /// let old = cell.swap(String::from("new"));
    /// assert_eq!(*old, "old");
    /// let old: String = old.into_inner(); // waits for a grace period
    /// ```
    pub fn swap(&self, value: T) -> Removed<T, D> {
        let slot = self.exchange(Slot::boxed(value));
        Removed { slot, domain: self.domain.clone(), owns: PhantomData }
    }

    /// Replaces the value with what `f` makes of it; again, if another writer came first.
    ///
    /// `f` sees the value it replaces. It runs inside a read-side critical section of the cell's
    /// domain: it must not wait for grace periods. If it panics, nothing is replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    ///
    /// let total = RcuCell::new(0);
    /// std::thread::scope(|s| {
    ///     for _ in 0..4 {
    ///         s.spawn(|| total.update(|n| n + 1));
    ///     }
    /// });
    /// assert_eq!(*total.load(&rcu::read()), 4);
    /// ```
    pub fn update(&self, mut f: impl FnMut(&T) -> T) {
        let guard = self.domain().read();
        let mut current = self.load(&guard);
        let mut new = f(current);
        loop {
            match self.compare_exchange(current, new, &guard) {
                Ok(old) => return drop(old),
                Err(lost) => {
                    current = lost.current;
                    // The rejected value is dropped only after the next one is made.
                    new = f(current);
                }
            }
        }
    }

    /// Replaces the value if it is still the one at `current`, which was loaded under `guard`.
    ///
    /// Compares addresses, not values. There is no ABA: as long as `current` is borrowed under
    /// the guard, nothing else can come to stand at its address. (Values of a type without size
    /// all stand at one address, and are all the same.)
    ///
    /// # Errors
    ///
    /// Gives `new` back, and the value that is current now.
    ///
    /// # Panics
    ///
    /// If the guard is of another domain.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, RcuCell};
    ///
    /// let cell = RcuCell::new(1);
    /// let guard = rcu::read();
    /// let one = cell.load(&guard);
    /// let removed = cell.compare_exchange(one, 2, &guard).unwrap();
    /// assert_eq!(*removed, 1);
    /// let lost = cell.compare_exchange(one, 3, &guard).unwrap_err();
    /// assert_eq!((*lost.current, lost.new), (2, 3));
    /// ```
    pub fn compare_exchange<'g>(
        &'g self,
        current: &T,
        new: T,
        guard: &'g ReadGuard<'_>,
    ) -> Result<Removed<T, D>, CompareExchangeError<'g, T>> {
        self.check(guard);
        let new = Slot::boxed(new);
        // Acquire: partner is the exchange that published the slot.
        let mut slot = self.slot.load(Ordering::Acquire);
        loop {
            // SAFETY: as in `load`.
            let found: &'g T = unsafe { &(*slot).value };
            if !std::ptr::eq(found, current) {
                // SAFETY: `new` was never published.
                let new = unsafe { Slot::into_value(new) };
                return Err(CompareExchangeError { current: found, new });
            }
            // As in `exchange`.
            match self.slot.compare_exchange(slot, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    return Ok(Removed { slot, domain: self.domain.clone(), owns: PhantomData });
                }
                Err(now) => slot = now,
            }
        }
    }
}

/// # Safety
///
/// `slot` was unlinked from a cell of `domain`, by the caller, and nobody retires it again.
unsafe fn retire<T: Send + 'static>(domain: &Domain, slot: *mut Slot<T>) {
    // SAFETY: a boxed slot begins with its header, for which `free` was made; after a grace
    // period nobody uses it. `T` is `Send`.
    unsafe { domain.defer_raw(slot.cast()) }
}

#[cold]
#[inline(never)]
fn foreign_guard() -> ! {
    panic!("stillpoint: the guard is of another domain than the cell and does not protect it");
}

impl<T, D: DomainRef> Drop for RcuCell<T, D> {
    /// Drops the current value at once: every reference to it borrowed the cell.
    fn drop(&mut self) {
        // Relaxed: `&mut self` came here after all use.
        let slot = self.slot.load(Ordering::Relaxed);
        // SAFETY: the current slot is the cell's alone.
        unsafe { Slot::<T>::free(slot.cast()) };
    }
}

impl<T: Default> Default for RcuCell<T> {
    fn default() -> RcuCell<T> {
        RcuCell::new(T::default())
    }
}

impl<T> From<T> for RcuCell<T> {
    fn from(value: T) -> RcuCell<T> {
        RcuCell::new(value)
    }
}

impl<T: fmt::Debug, D: DomainRef> fmt::Debug for RcuCell<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.domain().read();
        f.debug_tuple("RcuCell").field(self.load(&guard)).finish()
    }
}

/// A value taken out of a cell, which readers may still be reading.
///
/// Dropping it drops the value after a grace period, without waiting.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::RcuCell;
///
/// let cell = RcuCell::new(1);
/// let old = cell.swap(2);
/// assert_eq!(*old, 1);
/// drop(old); // retired
/// ```
#[must_use = "dropping it retires the value; `store` does that directly"]
pub struct Removed<T: Send + 'static, D: DomainRef = Global> {
    slot: *mut Slot<T>,
    domain: D,
    owns: PhantomData<T>,
}

// SAFETY: it owns the value, and shares it with readers on other threads.
unsafe impl<T: Send + Sync, D: DomainRef + Send> Send for Removed<T, D> {}
// SAFETY: shared, it gives `&T` only.
unsafe impl<T: Send + Sync, D: DomainRef + Sync> Sync for Removed<T, D> {}

impl<T: Send + 'static, D: DomainRef> Removed<T, D> {
    /// The value itself, after waiting for a grace period.
    ///
    /// # Deadlock
    ///
    /// As for [`Domain::synchronize`]: not with a guard of the cell's domain alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::RcuCell;
    /// let cell = RcuCell::new(vec![1]);
    /// let old: Vec<i32> = cell.swap(vec![2]).into_inner();
    /// assert_eq!(old, [1]);
    /// ```
    pub fn into_inner(self) -> T {
        self.domain.domain().synchronize();
        let mut this = ManuallyDrop::new(self);
        let slot = this.slot;
        // SAFETY: `this` is not used again; the domain handle is dropped once, here.
        unsafe { std::ptr::drop_in_place(&raw mut this.domain) };
        // SAFETY: unlinked before the grace period, so no reader is left; ours alone, and not
        // retired, since `this` is not dropped.
        unsafe { Slot::into_value(slot) }
    }
}

impl<T: Send + 'static, D: DomainRef> Deref for Removed<T, D> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: not retired before `self` is dropped.
        unsafe { &(*self.slot).value }
    }
}

impl<T: Send + 'static, D: DomainRef> Drop for Removed<T, D> {
    fn drop(&mut self) {
        // SAFETY: unlinked by whoever made `self`, retired once, here.
        unsafe { retire(self.domain.domain(), self.slot) };
    }
}

impl<T: fmt::Debug + Send + 'static, D: DomainRef> fmt::Debug for Removed<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Removed").field(&**self).finish()
    }
}

/// The error of [`RcuCell::compare_exchange`].
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{self, RcuCell};
/// let cell = RcuCell::new(1);
/// let guard = rcu::read();
/// let lost = cell.compare_exchange(&0, 5, &guard).unwrap_err();
/// assert_eq!((*lost.current, lost.new), (1, 5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompareExchangeError<'g, T> {
    /// The value that stands in the cell.
    pub current: &'g T,
    /// The value that was to replace it.
    pub new: T,
}

impl<T> fmt::Display for CompareExchangeError<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cell holds another value by now")
    }
}

impl<T: fmt::Debug> std::error::Error for CompareExchangeError<'_, T> {}
