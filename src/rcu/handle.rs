//! Counted handles to shared values.
//!
//! Why not `Arc`: the [sequence](crate::rseq::leaf::retain) that takes a reference adds to the
//! count
//! at an address that it has just loaded, so it must know where the count is; and a cell gives its
//! reference back behind a grace period, for which a callback's header is wanted. No crate's `Arc`
//! says where its count is, nor has room for a header.
//!
//! # State
//!
//! One allocation: the count, a callback's header with a word that says whether that is in use, the
//! value. Who brings the count to 0 drops the value. A cell's own reference is counted like any
//! other, and is [given back later](Handle::release_later): by the header, or, if that is on its
//! way already since the same value left another cell, by a callback of its own.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | count, up | relaxed | whoever counts has, or borrows, a reference |
//! | count, down | release | the acquire of whoever finds himself the last |
//! | header in use, set | acquire | the release of whoever used it before |

use super::bins::{Header, Kind};
use super::domain::Domain;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::{cmp, fmt, hash};

/// An owned, counted handle to a value, as `Arc` is; what a [`Shared`](super::Shared) cell gives.
///
/// May be kept, sent to other threads, and held across `.await`: it is no guard, and holds up
/// nobody.
/// The value is dropped with its last handle. A cell that held the value has a handle of its own
/// until
/// some grace periods after it was replaced.
///
/// An allocation of 40 bytes and the value; no weak handles. Cloning and dropping cost one atomic
/// instruction each. Dropping may drop the value, and free memory: not for signal handlers.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Handle;
///
/// let one = Handle::new(vec![1, 2, 3]);
/// let other = one.clone();
/// let sum = std::thread::spawn(move || other.iter().sum::<i32>()).join().unwrap();
/// assert_eq!((sum, one.len()), (6, 3));
/// ```
///
/// A handle to what may not be shared between threads stays on its thread:
///
/// ```compile_fail,E0277
/// use stillpoint::rcu::Handle;
/// let handle = Handle::new(std::cell::Cell::new(1));
/// std::thread::spawn(move || handle.get());
/// ```
///
/// ```
/// use stillpoint::rcu::Handle;
/// let handle = Handle::new(1);
/// std::thread::spawn(move || *handle);
/// ```
pub struct Handle<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

// SAFETY: a handle gives `&T`, and the last one, on any thread, drops the `T`.
unsafe impl<T: Send + Sync> Send for Handle<T> {}
// SAFETY: as above; a shared handle can be cloned.
unsafe impl<T: Send + Sync> Sync for Handle<T> {}

/// What handles point at. Begins with the count: the sequence adds there.
#[repr(C)]
pub(super) struct Inner<T> {
    count: AtomicUsize,
    /// 1 while the header is some domain's.
    retired: AtomicU32,
    header: Header,
    value: T,
}

const _: () = assert!(offset_of!(Inner<u8>, count) == 0);

/// Beyond it, somebody forgets handles in a loop.
const MOST: usize = isize::MAX as usize;

impl<T> Inner<T> {
    const KIND: &'static Kind = &Kind { run: Self::release, bytes: |_| size_of::<Inner<T>>() };

    /// Gives back the reference that the header stood for.
    ///
    /// # Safety
    ///
    /// `header` is that of an `Inner<T>`, in use, and no list's any more.
    unsafe fn release(header: *mut Header) {
        let inner = header.wrapping_byte_sub(offset_of!(Inner<T>, header)).cast::<Inner<T>>();
        // SAFETY: the caller's promise; the reference keeps it alive.
        let handle = unsafe { Handle::from_raw(inner) };
        // Release: partner is the acquire in `release_later`.
        handle.inner().retired.store(0, Ordering::Release);
        drop(handle);
    }
}

impl<T> Handle<T> {
    /// A handle to `value`. Allocates.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(*stillpoint::rcu::Handle::new(1), 1);
    /// ```
    pub fn new(value: T) -> Handle<T> {
        let inner = Inner {
            count: AtomicUsize::new(1),
            retired: AtomicU32::new(0),
            header: Header::new(Inner::<T>::KIND),
            value,
        };
        // SAFETY: boxed, with one reference.
        unsafe { Handle::from_raw(Box::into_raw(Box::new(inner))) }
    }

    /// # Safety
    ///
    /// A boxed `Inner`; one of the references that it counts is the caller's, and becomes the
    /// handle's.
    #[inline(always)]
    pub(super) unsafe fn from_raw(inner: *mut Inner<T>) -> Handle<T> {
        // SAFETY: a box is somewhere.
        Handle { inner: unsafe { NonNull::new_unchecked(inner) }, owns: PhantomData }
    }

    /// The other way round.
    pub(super) fn into_raw(self) -> *mut Inner<T> {
        ManuallyDrop::new(self).inner.as_ptr()
    }

    /// Where it points.
    pub(super) fn as_raw(&self) -> *mut Inner<T> {
        self.inner.as_ptr()
    }

    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: alive as long as one of its references is.
        unsafe { self.inner.as_ref() }
    }

    /// True if both are handles to one value, in one place.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Handle;
    /// let one = Handle::new(1);
    /// assert!(Handle::ptr_eq(&one, &one.clone()));
    /// assert!(!Handle::ptr_eq(&one, &Handle::new(1)));
    /// ```
    #[must_use]
    pub fn ptr_eq(one: &Handle<T>, other: &Handle<T>) -> bool {
        one.inner == other.inner
    }

    /// How many handles there are, those of cells included; stale at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Handle;
    /// let one = Handle::new(1);
    /// let other = one.clone();
    /// assert_eq!(Handle::strong_count(&other), 2);
    /// ```
    #[must_use]
    pub fn strong_count(this: &Handle<T>) -> usize {
        this.inner().count.load(Ordering::Relaxed)
    }

    /// The value, if there is no other handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Handle;
    /// let mut handle = Handle::new(1);
    /// *Handle::get_mut(&mut handle).unwrap() += 1;
    /// let other = handle.clone();
    /// assert_eq!(Handle::get_mut(&mut handle), None);
    /// assert_eq!(*other, 2);
    /// ```
    pub fn get_mut(this: &mut Handle<T>) -> Option<&mut T> {
        // Acquire: partners are the releases of those who gave theirs back. A cell has a reference
        // as
        // long as anybody can count himself in through it, so nobody can.
        (this.inner().count.load(Ordering::Acquire) == 1)
            // SAFETY: the only handle, borrowed exclusively.
            .then(|| unsafe { &mut (*this.inner.as_ptr()).value })
    }

    /// The value itself, if there is no other handle.
    ///
    /// # Errors
    ///
    /// Gives the handle back.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Handle;
    /// let handle = Handle::new(String::from("value"));
    /// assert_eq!(Handle::try_unwrap(handle).unwrap(), "value");
    /// ```
    pub fn try_unwrap(mut this: Handle<T>) -> Result<T, Handle<T>> {
        if Handle::get_mut(&mut this).is_none() {
            return Err(this);
        }
        // SAFETY: boxed, and ours alone.
        Ok(unsafe { Box::from_raw(this.into_raw()) }.value)
    }

    /// The value itself, if this is the last handle. Of several threads that give theirs at the
    /// same
    /// time, one gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Handle;
    /// let handle = Handle::new(1);
    /// let other = handle.clone();
    /// assert_eq!(Handle::into_inner(handle), None);
    /// assert_eq!(Handle::into_inner(other), Some(1));
    /// ```
    pub fn into_inner(this: Handle<T>) -> Option<T> {
        let this = ManuallyDrop::new(this);
        // SAFETY: given back once, here; if it was the last, the box is ours alone.
        unsafe { this.give_back().then(|| Box::from_raw(this.as_raw()).value) }
    }

    /// True if that was the last reference: what it pointed at is the caller's then.
    ///
    /// # Safety
    ///
    /// Once for each handle, which is not used any more.
    unsafe fn give_back(&self) -> bool {
        // Release: partner is the acquire of the last one.
        if self.inner().count.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        // Acquire: partners are the releases of all others. The load could be a fence, if
        // ThreadSanitizer understood those.
        self.inner().count.load(Ordering::Acquire);
        true
    }

    #[cold]
    #[inline(never)]
    fn free(inner: *mut Inner<T>) {
        if cfg!(stillpoint_loom) {
            // The models mark what was dropped, and keep it.
            // SAFETY: as below.
            return unsafe { std::ptr::drop_in_place(&raw mut (*inner).value) };
        }
        // SAFETY: called for the last reference.
        drop(unsafe { Box::from_raw(inner) });
    }
}

impl<T: Send + Sync + 'static> Handle<T> {
    /// Gives it back behind some grace periods of `domain`: until then others may count themselves
    /// in on the strength of it.
    pub(super) fn release_later(self, domain: &Domain) {
        // Acquire: partner is the release of whoever used the header before.
        if self.inner().retired.swap(1, Ordering::Acquire) != 0 {
            return domain.retire(self);
        }
        let inner = self.into_raw();
        // SAFETY: the header was free and is ours now; it stands for the reference, by its kind,
        // and
        // any thread may drop what is left of the value.
        unsafe { domain.defer_raw(&raw mut (*inner).header) };
    }
}

impl<T> Clone for Handle<T> {
    /// # Panics
    ///
    /// Aborts the process if there are more than `isize::MAX` handles, as `Arc` does: somebody
    /// forgets them.
    #[inline]
    fn clone(&self) -> Handle<T> {
        // Relaxed: this one keeps it alive.
        if self.inner().count.fetch_add(1, Ordering::Relaxed) > MOST {
            std::process::abort();
        }
        Handle { inner: self.inner, owns: PhantomData }
    }
}

impl<T> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped once.
        if unsafe { self.give_back() } {
            Handle::free(self.as_raw());
        }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> AsRef<T> for Handle<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T> Borrow<T> for Handle<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T> From<T> for Handle<T> {
    fn from(value: T) -> Handle<T> {
        Handle::new(value)
    }
}

impl<T: Default> Default for Handle<T> {
    fn default() -> Handle<T> {
        Handle::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Handle<T> {
    fn eq(&self, other: &Handle<T>) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Handle<T> {}

impl<T: PartialOrd> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Handle<T>) -> Option<cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord> Ord for Handle<T> {
    fn cmp(&self, other: &Handle<T>) -> cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: hash::Hash> hash::Hash for Handle<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}
