//! Guards of read-side critical sections.

use super::domain::Domain;
use super::readers::Record;
use crate::rseq::reader::Mark;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// A read-side critical section of a [`Domain`]; ends when dropped.
///
/// Not `Send`: a guard that wanders holds up grace periods from wherever it ends up, above all
/// across an `.await`. [`into_send`](ReadGuard::into_send) makes that a decision. A reference to a
/// guard may be shared with other threads.
///
/// While one is alive, the thread must not wait for a grace period of its domain: see
/// [`Domain::read`].
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{self, RcuCell};
///
/// let limit = RcuCell::new(10);
/// let guard = rcu::read();
/// assert_eq!(*limit.load(&guard), 10);
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// let guard = stillpoint::rcu::read();
/// std::thread::spawn(move || drop(guard));
/// ```
///
/// ```
/// let guard = stillpoint::rcu::read().into_send();
/// std::thread::spawn(move || drop(guard)).join().unwrap();
/// ```
#[must_use = "the read-side critical section ends when the guard is dropped"]
pub struct ReadGuard<'d> {
    domain: &'d Domain,
    mark: Mark,
    record: Record,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: through a shared guard one can only ask for its domain. Ending the section takes the
// guard itself.
unsafe impl Sync for ReadGuard<'_> {}

impl<'d> ReadGuard<'d> {
    /// # Safety
    ///
    /// `mark` counts one entry in `domain` that nobody else ends.
    #[inline(always)]
    pub(super) unsafe fn new(domain: &'d Domain, mark: Mark, record: Record) -> ReadGuard<'d> {
        ReadGuard { domain, mark, record, not_send: PhantomData }
    }

    /// The domain whose grace periods wait for this guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{self, Domain};
    /// assert!(std::ptr::eq(rcu::read().domain(), Domain::global()));
    /// ```
    #[inline(always)]
    pub fn domain(&self) -> &'d Domain {
        self.domain
    }

    /// The same section, in a guard that may move to another thread and end there.
    ///
    /// Costs nothing. Sound because ends are counted on whatever CPU they happen, and
    /// whatever hands the guard over also orders the section's accesses.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu;
    ///
    /// let guard = rcu::read().into_send();
    /// std::thread::spawn(move || drop(guard)).join().unwrap();
    /// rcu::synchronize();
    /// ```
    #[inline(always)]
    pub fn into_send(self) -> SendGuard<'d> {
        self.record.sent();
        SendGuard(self)
    }
}

impl Drop for ReadGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.record.ended();
        // SAFETY: the mark is this guard's own, by `new`, and a guard is dropped once.
        unsafe { self.domain.leave(self.mark) }
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").field("domain", self.domain).finish_non_exhaustive()
    }
}

/// A [`ReadGuard`] that may move to another thread; made by [`ReadGuard::into_send`].
///
/// Dereferences to the guard it was made of, so cells take either.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::{self, RcuCell};
///
/// static WORDS: std::sync::LazyLock<RcuCell<Vec<&str>>> =
///     std::sync::LazyLock::new(|| RcuCell::new(vec!["still", "point"]));
///
/// let guard = rcu::read().into_send();
/// let count = std::thread::spawn(move || WORDS.load(&guard).len()).join().unwrap();
/// assert_eq!(count, 2);
/// ```
#[derive(Debug)]
#[must_use = "the read-side critical section ends when the guard is dropped"]
pub struct SendGuard<'d>(ReadGuard<'d>);

// SAFETY: a section may end on any thread: the sums over all CPUs count it wherever it ends,
// and leaving releases. Accesses made under the guard on the first thread come before those
// on the second by whatever synchronisation moved the guard.
unsafe impl Send for SendGuard<'_> {}

impl<'d> Deref for SendGuard<'d> {
    type Target = ReadGuard<'d>;

    #[inline(always)]
    fn deref(&self) -> &ReadGuard<'d> {
        &self.0
    }
}
