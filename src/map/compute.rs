//! What is decided by what is there.

use super::HashMap;
use super::node::Draft;
use super::write::Step;
use crate::rcu::{DomainRef, ReadGuard};
use std::hash::{BuildHasher, Hash};

/// What [`HashMap::compute`] is to do with a key.
///
/// # Examples
///
/// ```
/// use stillpoint::map::Operation;
/// let operation: Operation<u32, &str> = Operation::Abort("not today");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<V, T> {
    /// Give it this value.
    Insert(V),
    /// Take it out, if it is there.
    Remove,
    /// Leave it, and return this.
    Abort(T),
}

/// What [`HashMap::compute`] has done.
///
/// # Examples
///
/// ```
/// use stillpoint::map::{Compute, HashMap, Operation};
/// let map: HashMap<u32, u32> = HashMap::new();
/// let pinned = map.pin();
/// let done: Compute<'_, u32, u32, ()> = pinned.compute(1, |_| Operation::Insert(2));
/// assert_eq!(done, Compute::Inserted(&1, &2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute<'g, K, V, T> {
    /// The key was not there, and is now.
    Inserted(&'g K, &'g V),
    /// It was there, and has another value.
    Updated {
        /// What was there.
        old: (&'g K, &'g V),
        /// What is there.
        new: (&'g K, &'g V),
    },
    /// It was there, and was taken out.
    Removed(&'g K, &'g V),
    /// It was to be taken out, and was not there.
    Absent,
    /// Nothing was done.
    Aborted(T),
}

impl<K, V, S, D> HashMap<K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    /// Decides what becomes of a key by what is there, as if in one moment.
    ///
    /// `f` is called again if another writer comes first; what it said before is forgotten. It may
    /// call this map, but what it does to this very key makes it be called again.
    ///
    /// # Panics
    ///
    /// If the guard is of another domain.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::{Compute, HashMap, Operation};
    /// use stillpoint::rcu;
    ///
    /// let stock: HashMap<&str, u32> = [("pear", 1)].into_iter().collect();
    /// let guard = rcu::read();
    /// // Takes one out of the stock, and forgets what is sold out.
    /// let sell = |fruit| {
    ///     stock.compute(
    ///         fruit,
    ///         |entry| match entry {
    ///             None | Some((_, 0)) => Operation::Abort("sold out"),
    ///             Some((_, 1)) => Operation::Remove,
    ///             Some((_, n)) => Operation::Insert(n - 1),
    ///         },
    ///         &guard,
    ///     )
    /// };
    /// assert_eq!(sell("pear"), Compute::Removed(&"pear", &1));
    /// assert_eq!(sell("pear"), Compute::Aborted("sold out"));
    /// ```
    pub fn compute<'g, T>(
        &'g self,
        key: K,
        mut f: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, T>,
        guard: &'g ReadGuard<'_>,
    ) -> Compute<'g, K, V, T> {
        let mut aborted = None;
        let done = self.apply(Draft::Key(key), guard, |found, _| {
            match f(found.map(|node| (&node.key, &node.value))) {
                Operation::Insert(value) => Step::Put(value),
                Operation::Remove => Step::Remove,
                Operation::Abort(why) => {
                    aborted = Some(why);
                    Step::Leave
                }
            }
        });
        let entry = |node: &'g super::Node<K, V>| (&node.key, &node.value);
        match (done.before.map(entry), done.put.map(entry), aborted) {
            (_, _, Some(why)) => Compute::Aborted(why),
            (Some(old), Some(new), None) => Compute::Updated { old, new },
            (None, Some((key, value)), None) => Compute::Inserted(key, value),
            (Some((key, value)), None, None) => Compute::Removed(key, value),
            (None, None, None) => Compute::Absent,
        }
    }
}
