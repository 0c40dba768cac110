//! A handle that is kept as long as it is the current one.

use super::Shared;
use crate::rcu::{DomainRef, Handle};
use crate::rseq::leaf;
use crate::sync::Ordering;
use std::ops::Deref;

/// A handle that is kept beside a cell, and looks each time whether it is still the current one.
///
/// Costs one load, and a comparison, as long as the value is the same. The old value lives until
/// the
/// next [`load`](Cache::load), or the end of the cache.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{Cache, Shared};
///
/// let cell = Shared::from_pointee(1);
/// let mut cache = Cache::new(&cell);
/// assert_eq!(**cache.load(), 1);
/// cell.store(2);
/// assert_eq!(**cache.load(), 2);
/// ```
#[derive(Debug)]
pub struct Cache<C, T> {
    cell: C,
    held: Handle<T>,
}

impl<C, T, D> Cache<C, T>
where
    C: Deref<Target = Shared<T, D>>,
    D: DomainRef,
{
    /// Beside a reference to a cell, or an `Arc` of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use stillpoint::rcu::{Cache, Shared};
    /// let cell = Arc::new(Shared::from_pointee(1));
    /// let mut cache = Cache::new(cell.clone());
    /// assert_eq!(**cache.load(), 1);
    /// ```
    pub fn new(cell: C) -> Cache<C, T> {
        let held = cell.load();
        Cache { cell, held }
    }

    /// The current value's handle.
    ///
    /// # Examples
    ///
    /// See [`Cache`].
    #[inline]
    pub fn load(&mut self) -> &Handle<T> {
        // Relaxed: if it is the one we hold, what was to be acquired was when it was loaded. There
        // is
        // no ABA: the handle keeps its place.
        let now = self.cell.0.address.load(Ordering::Relaxed);
        if leaf::opened(now) != self.held.as_raw() {
            self.held = self.cell.load();
        }
        &self.held
    }

    /// The cell.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Cache, Shared};
    /// let cell = Shared::from_pointee(1);
    /// assert!(std::ptr::eq(*Cache::new(&cell).cell(), &cell));
    /// ```
    pub fn cell(&self) -> &C {
        &self.cell
    }
}
