//! A cell of small plain values that are copied out whole, without a guard.
//!
//! # State
//!
//! The value that the cell was made with, which nobody changes, and an address: that of [nothing]
//! as
//! long as that value counts, then that of a heap allocation, a callback's header and the value.
//! Writers exchange the address and retire the old allocation through its own header.
//!
//! There are two words for the address, of which a cell uses one for its whole life: one that the
//! sequences load, and one for where they must not, which is below tier `Rseq`, and with values
//! that do not [fit]. The other one remains the address of nothing.
//!
//! # Readers
//!
//! A *leaf read* is one restartable section: load the address, copy the words; it stores nothing,
//! so nobody knows of it. Whoever cannot (the other word is in use, the thread is not registered,
//! one
//! attempt after the other was aborted) reads under a guard of the cell's domain.
//!
//! # Why a copy is whole
//!
//! An allocation is not written to after its address was released, and not freed before two grace
//! periods of the domain that began after the address was replaced ([`super::bins`]).
//!
//! *Under a guard*: as in [`super::cell`].
//!
//! *In a section*: each of these grace periods sends one broadcast, unconditionally, whether or not
//! there are readers, and whoever drives it. On tier `Rseq` that aborts the sections which run when
//! it arrives; what is not running was preempted, and is aborted when it goes on. The kernel skips
//! the broadcast of a process with one thread, and on a machine with one CPU: there nobody else
//! runs. So behind the first of the two broadcasts no section has the old address any more, and
//! behind the second not even one whose abort was lost, as kernels before 6.18 may; that is what
//! `expel` in `src/machine/fence.rs` gives by the same means. No grace period waits for a section,
//! so no reader can keep
//! memory from being freed, whatever happens to it.
//!
//! *Freed earlier*: by the end of the cell, or of the domain. Both are borrowed by whoever reads.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | address, in a section | acquire | the exchange that published it |
//! | address, under a guard | acquire | the same |
//! | exchange | acquire, release | both; and the exchange that published what it takes out |
//!
//! [nothing]: crate::rseq::leaf::nothing
//! [fit]: crate::rseq::leaf::fits

use super::bins::{Header, Kind};
use super::domain::Domain;
use super::{DomainRef, Global};
use crate::machine::Tier;
use crate::rseq::leaf::{self, Area};
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, Ordering, const_unless_modelled};
use std::fmt;
use std::mem::offset_of;

/// A shared plain value, read by copying it out whole; without a guard, without a retry when
/// somebody writes, and without storing anything that others see.
///
/// [`get`](SnapshotCell::get) of a small value costs less than entering a read-side critical
/// section
/// does, and cannot hold up anybody: a reader that is stopped in the middle of it has no hold on
/// the memory. Replacing costs an allocation and an atomic exchange; the old value's memory is
/// freed
/// after two grace periods, which writers of all cells of a domain, and everybody else who retires
/// into it, share: some thousand values for one broadcast. Best for what is small and read much
/// more
/// often than written: rates, thresholds, coordinates, a pair that must match.
///
/// Where nobody can run restartable sequences ([`Tier`] below `Rseq`), and for values of
/// more than 4096 bytes ([`leaf::LIMIT`](crate::rseq::leaf::LIMIT)), a read is a copy under a
/// guard.
///
/// `D` says which domain the old values wait in: the global one, a `&'static Domain`, an
/// `Arc<Domain>`.
///
/// # Memory
///
/// The cell has a `T` in itself, the one it was made with, and an allocation once it was
/// written to. Besides, some thousand replaced values may be waiting. Leaf readers never hold them
/// up. Guards of the same domain do, others' and those of the few reads that go by a guard: a cell
/// whose memory must stay flat whatever the program does gets a domain of its own, in which nobody
/// reads.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::SnapshotCell;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// struct Limits {
///     per_second: u32,
///     burst: u32,
/// }
///
/// static LIMITS: SnapshotCell<Limits> = SnapshotCell::new(Limits { per_second: 100, burst: 10 });
///
/// assert_eq!(LIMITS.get().burst, 10);
/// LIMITS.set(Limits { per_second: 200, burst: 20 });
/// let Limits { per_second, burst } = LIMITS.get(); // never one of each
/// assert_eq!((per_second, burst), (200, 20));
/// ```
///
/// A cell of what may not cross threads does not cross threads:
///
/// ```compile_fail,E0277
/// use stillpoint::rcu::SnapshotCell;
/// let cell = SnapshotCell::new(std::ptr::null::<u8>());
/// std::thread::spawn(move || cell.get());
/// ```
///
/// ```
/// use stillpoint::rcu::SnapshotCell;
/// let cell = SnapshotCell::new(0_u8);
/// std::thread::spawn(move || cell.get());
/// ```
pub struct SnapshotCell<T: Copy, D: DomainRef = Global> {
    /// What sequences load.
    leaf: AtomicPtr<Area<T>>,
    /// What is loaded under guards, where sequences must not.
    guarded: AtomicPtr<Area<T>>,
    first: T,
    domain: D,
}

/// What the address points into. The header is used once the slot is retired.
#[repr(C)]
struct Slot<T> {
    header: Header,
    area: Area<T>,
}

impl<T: Copy> Slot<T> {
    const KIND: &'static Kind = &Kind { run: Self::free, bytes: |_| size_of::<Slot<T>>() };

    fn boxed(value: T) -> Box<Slot<T>> {
        Box::new(Slot { header: Header::new(Self::KIND), area: Area::new(value) })
    }

    /// Where the value of a slot is.
    fn into_address(slot: Box<Slot<T>>) -> *mut Area<T> {
        let slot = Box::into_raw(slot);
        // SAFETY: a place within the slot.
        unsafe { &raw mut (*slot).area }
    }

    /// The slot whose value is there.
    fn around(area: *mut Area<T>) -> *mut Slot<T> {
        area.wrapping_byte_sub(offset_of!(Slot<T>, area)).cast()
    }

    /// # Safety
    ///
    /// `header` begins a boxed `Slot<T>` that nobody else uses.
    unsafe fn free(header: *mut Header) {
        // SAFETY: the caller's promise.
        let slot = unsafe { Box::from_raw(header.cast::<Slot<T>>()) };
        slot.area.spoil();
        if cfg!(stillpoint_loom) {
            std::mem::forget(slot);
        }
    }
}

// SAFETY: sending the cell sends the values in it.
unsafe impl<T: Copy + Send, D: DomainRef + Send> Send for SnapshotCell<T, D> {}
// SAFETY: a shared cell takes `T` from any thread and gives copies of it to any thread. References
// to what is inside it gives to nobody.
unsafe impl<T: Copy + Send, D: DomainRef + Sync> Sync for SnapshotCell<T, D> {}

impl<T: Copy> SnapshotCell<T> {
    const_unless_modelled! {
        /// A cell whose old values wait in the global domain. Allocates nothing; can stand in a
        /// `static`.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::SnapshotCell;
        /// static CELL: SnapshotCell<(u32, u32)> = SnapshotCell::new((1, 2));
        /// assert_eq!(CELL.get(), (1, 2));
        /// ```
        #[must_use]
        pub const fn new(value: T) -> SnapshotCell<T> {
            SnapshotCell::new_in(value, Global)
        }
    }
}

impl<T: Copy, D: DomainRef> SnapshotCell<T, D> {
    const_unless_modelled! {
        /// A cell whose old values wait in a domain of one's own.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::{Domain, SnapshotCell};
        ///
        /// static DOMAIN: Domain = Domain::new();
        /// static CELL: SnapshotCell<u64, &Domain> = SnapshotCell::new_in(1, &DOMAIN);
        /// assert_eq!(CELL.get(), 1);
        /// ```
        #[must_use]
        pub const fn new_in(value: T, domain: D) -> SnapshotCell<T, D> {
            let leaf = AtomicPtr::new(leaf::nothing());
            let guarded = AtomicPtr::new(leaf::nothing());
            SnapshotCell { leaf, guarded, first: value, domain }
        }
    }

    /// The domain that old values wait in.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, SnapshotCell};
    /// assert!(std::ptr::eq(SnapshotCell::new(1).domain(), Domain::global()));
    /// ```
    pub fn domain(&self) -> &Domain {
        self.domain.domain()
    }

    /// A copy of the value.
    ///
    /// One restartable section, on x86-64 six instructions for up to eight bytes, none of them
    /// atomic; if that was aborted eight times in a row, on a thread that cannot be registered,
    /// below
    /// tier `Rseq`, and in a cell that was never written to, some nanoseconds more. Never blocks,
    /// never fails; does not wait for writers, nor begin again because of them. Async-signal-safe.
    ///
    /// Acquires: what a writer did before it stored the value happened before the return.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::SnapshotCell::new([1, 2, 3]);
    /// assert_eq!(cell.get(), [1, 2, 3]);
    /// ```
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: it is nothing's, or that of an area which nobody writes to, and which is freed
        // after
        // two broadcasts of tier `Rseq`: see the module's head.
        match unsafe { leaf::copy(&self.leaf) } {
            Some(value) => value,
            None => self.get_cold(),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_cold(&self) -> T {
        // Relaxed: these decide only how to read.
        let is_nothing = |word: &AtomicPtr<_>| word.load(Ordering::Relaxed) == leaf::nothing();
        if is_nothing(&self.leaf) && is_nothing(&self.guarded) {
            return self.first;
        }
        for _ in 0..RETRIES {
            if is_nothing(&self.leaf) || !sequences_may_work(u32::MAX) {
                break;
            }
            // SAFETY: as in `get`.
            if let Some(value) = unsafe { leaf::copy(&self.leaf) } {
                return value;
            }
        }
        let _guard = self.domain().read();
        // Acquire: partner is the exchange that published the value.
        let address = self.address().load(Ordering::Acquire);
        // SAFETY: found under a guard, which lives.
        unsafe { self.value_at(address) }
    }

    /// The word that this cell uses.
    fn address(&self) -> &AtomicPtr<Area<T>> {
        if leaf::fits::<T>() && self.domain().tier() == Tier::Rseq {
            &self.leaf
        } else {
            &self.guarded
        }
    }

    /// # Safety
    ///
    /// The address stood in this cell, was acquired, and the slot there is not freed yet.
    unsafe fn value_at(&self, address: *mut Area<T>) -> T {
        if address == leaf::nothing() {
            return self.first;
        }
        // SAFETY: the caller's promise; nobody writes to a slot that was published.
        unsafe { (*address).get() }
    }

    /// Replaces the value.
    ///
    /// Never waits; may be called with a guard alive, and by any number of threads at once. One
    /// allocation. Whoever reads later finds the new value. Not for signal handlers.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::SnapshotCell::new(1);
    /// cell.set(2);
    /// assert_eq!(cell.get(), 2);
    /// ```
    pub fn set(&self, value: T) {
        self.swap(value);
    }

    /// Replaces the value, and gives the one before.
    ///
    /// As [`set`](SnapshotCell::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::SnapshotCell::new(1);
    /// assert_eq!(cell.swap(2), 1);
    /// ```
    pub fn swap(&self, value: T) -> T {
        let new = Slot::into_address(Slot::boxed(value));
        // Release: partner is the load of whoever reads. Acquire: we read the old one.
        let order =
            if broken(Mutant::RelaxedPublish) { Ordering::Relaxed } else { Ordering::AcqRel };
        let old = self.address().swap(new, order);
        // SAFETY: just unlinked, by us, who retire it behind this.
        unsafe {
            let value = self.value_at(old);
            self.retire(old);
            value
        }
    }

    /// Replaces the value with what `f` makes of it, again if another writer came first; gives the
    /// one before.
    ///
    /// `f` runs inside a read-side critical section of the cell's domain: it must not wait for
    /// grace
    /// periods. If it panics, nothing is replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::SnapshotCell;
    ///
    /// let total = SnapshotCell::new((0, 0));
    /// std::thread::scope(|s| {
    ///     for n in 1..=4 {
    ///         let total = &total;
    ///         s.spawn(move || total.update(|(count, sum)| (count + 1, sum + n)));
    ///     }
    /// });
    /// assert_eq!(total.get(), (4, 10));
    /// ```
    pub fn update(&self, mut f: impl FnMut(T) -> T) -> T {
        match self.try_update(|value| Some(f(value))) {
            Ok(before) | Err(before) => before,
        }
    }

    /// Replaces the value with `new` if it is equal to `current`; gives the one before.
    ///
    /// Compares values, inside a read-side critical section of the cell's domain, as
    /// [`update`](SnapshotCell::update) calls its function.
    ///
    /// # Errors
    ///
    /// The value, which is not `current`.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = stillpoint::rcu::SnapshotCell::new(1);
    /// assert_eq!(cell.compare_exchange(1, 2), Ok(1));
    /// assert_eq!(cell.compare_exchange(1, 3), Err(2));
    /// ```
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T>
    where
        T: PartialEq,
    {
        self.try_update(|value| (value == current).then_some(new))
    }

    /// Replaces the value with what `f` makes of it, until it makes nothing.
    fn try_update(&self, mut f: impl FnMut(T) -> Option<T>) -> Result<T, T> {
        let guard = self.domain().read();
        // Acquire: partner is the exchange that published the value.
        let mut found = self.address().load(Ordering::Acquire);
        loop {
            // SAFETY: found under the guard, which lives.
            let value = unsafe { self.value_at(found) };
            let Some(new) = f(value) else { return Err(value) };
            let new = Slot::into_address(Slot::boxed(new));
            // As in `swap`. There is no ABA: what we found is not freed while the guard lives, and
            // no
            // address is stored twice before it is; nor does a cell go back to the first value.
            match self.address().compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    drop(guard);
                    // SAFETY: just unlinked, by us.
                    unsafe { self.retire(found) };
                    return Ok(value);
                }
                Err(now) => {
                    // SAFETY: boxed above, and nobody has seen it.
                    drop(unsafe { Box::from_raw(Slot::around(new)) });
                    found = now;
                }
            }
        }
    }

    /// # Safety
    ///
    /// The address was just taken out of this cell, by the caller, and is not used again.
    unsafe fn retire(&self, address: *mut Area<T>) {
        if address != leaf::nothing() {
            let slot = Slot::around(address);
            // SAFETY: a boxed slot begins with its header, for which `free` was made; behind two
            // grace periods nobody uses it. It is memory and nothing else: any thread may free it.
            unsafe { self.domain().defer_raw(slot.cast()) };
        }
    }

    /// The value, by exclusive access.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = stillpoint::rcu::SnapshotCell::new((1, 2));
    /// cell.get_mut().1 += 1;
    /// assert_eq!(cell.get(), (1, 3));
    /// ```
    #[cfg(not(stillpoint_loom))]
    pub fn get_mut(&mut self) -> &mut T {
        let address = self.last();
        if address == leaf::nothing() {
            return &mut self.first;
        }
        // SAFETY: the current slot is the cell's alone, and nobody reads it.
        unsafe { (*address).get_mut() }
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(stillpoint::rcu::SnapshotCell::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        // SAFETY: the cell's alone, and freed when it is dropped, which comes next.
        unsafe { self.value_at(self.last()) }
    }

    /// The address, for those who have the cell to themselves.
    fn last(&self) -> *mut Area<T> {
        // Relaxed: they came here after all use.
        match self.leaf.load(Ordering::Relaxed) {
            address if address == leaf::nothing() => self.guarded.load(Ordering::Relaxed),
            address => address,
        }
    }
}

impl<T: Copy, D: DomainRef> Drop for SnapshotCell<T, D> {
    /// Frees the current value's memory at once: every reader borrowed the cell.
    fn drop(&mut self) {
        let address = self.last();
        if address != leaf::nothing() {
            // SAFETY: the current slot is the cell's alone.
            unsafe { Slot::<T>::free(Slot::around(address).cast()) };
        }
    }
}

impl<T: Copy + Default> Default for SnapshotCell<T> {
    fn default() -> SnapshotCell<T> {
        SnapshotCell::new(T::default())
    }
}

impl<T: Copy> From<T> for SnapshotCell<T> {
    fn from(value: T) -> SnapshotCell<T> {
        SnapshotCell::new(value)
    }
}

impl<T: Copy + fmt::Debug, D: DomainRef> fmt::Debug for SnapshotCell<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotCell").field(&self.get()).finish()
    }
}
