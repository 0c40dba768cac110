//! A value in memory from a pool.

use super::pool::Pool;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A value in memory from a [`Pool`], to which that goes back when this is dropped, on whatever
/// thread.
///
/// `P` is a handle to the pool: a reference, by default to a static, or an `Arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use stillpoint::percpu::{Pool, PoolBox};
///
/// let pool = Arc::new(Pool::new());
/// let mut name = PoolBox::new_in(String::from("a"), pool.clone());
/// drop(pool);
/// name.push('b');
/// assert_eq!(*name, "ab");
/// ```
pub struct PoolBox<T, P = &'static Pool<T>>
where
    P: Deref<Target = Pool<T>>,
{
    value: NonNull<T>,
    pool: P,
    owned: PhantomData<T>,
}

// SAFETY: it owns its value, and gives the memory back on any thread.
unsafe impl<T: Send, P: Deref<Target = Pool<T>> + Send> Send for PoolBox<T, P> {}
// SAFETY: a reference gives references.
unsafe impl<T: Sync, P: Deref<Target = Pool<T>> + Sync> Sync for PoolBox<T, P> {}

impl<T, P: Deref<Target = Pool<T>>> PoolBox<T, P> {
    /// Puts a value into memory from a pool.
    ///
    /// Aborts, as boxes do, if there is no memory.
    ///
    /// # Examples
    ///
    /// See the type's.
    #[inline]
    pub fn new_in(value: T, pool: P) -> Self {
        let cell = pool.take();
        // SAFETY: large enough, aligned, and ours.
        unsafe { cell.write(value) };
        PoolBox { value: cell, pool, owned: PhantomData }
    }

    /// The value; its memory goes back.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = stillpoint::percpu::Pool::new();
    /// assert_eq!(pool.boxed(String::from("a")).into_inner(), "a");
    /// ```
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: nobody drops or uses the fields any more; the value is moved out of its cell,
        // which goes back once.
        unsafe {
            let (value, pool) = (this.value.read(), std::ptr::read(&this.pool));
            pool.put(this.value);
            value
        }
    }
}

impl<T, P: Deref<Target = Pool<T>>> Drop for PoolBox<T, P> {
    #[inline]
    fn drop(&mut self) {
        /// Gives the cell back even if the value's end panics.
        struct Cell<'a, T>(NonNull<T>, &'a Pool<T>);
        impl<T> Drop for Cell<'_, T> {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: from a pool of this type; the value has ended.
                unsafe { self.1.put(self.0) };
            }
        }
        let cell = Cell(self.value, &self.pool);
        // SAFETY: the value is ours, and nobody uses it any more.
        unsafe { cell.0.drop_in_place() };
    }
}

impl<T, P: Deref<Target = Pool<T>>> Deref for PoolBox<T, P> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: ours.
        unsafe { self.value.as_ref() }
    }
}

impl<T, P: Deref<Target = Pool<T>>> DerefMut for PoolBox<T, P> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: ours.
        unsafe { self.value.as_mut() }
    }
}

impl<T: fmt::Debug, P: Deref<Target = Pool<T>>> fmt::Debug for PoolBox<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display, P: Deref<Target = Pool<T>>> fmt::Display for PoolBox<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
