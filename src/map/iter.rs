//! Iterators.

use super::HashMap;
use super::node::{Head, Node};
use super::raw::RawMap;
use super::table::Table;
use crate::rcu::{DomainRef, ReadGuard};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

impl<K, V, S, D: DomainRef> HashMap<K, V, S, D> {
    /// The entries, in no particular order, while others may change them.
    ///
    /// Entries that are there all the time, from this call to the end of the iteration, are yielded
    /// once each, also if the map is resized. Those that are put in or taken out meanwhile may be
    /// yielded or not; a key that is taken out and put in again may be yielded twice. What is
    /// yielded was in the map at some moment of the call to `next` that yielded it or of one
    /// before.
    ///
    /// Reads bucket by bucket, and keeps the entries of one in a vector: it allocates.
    ///
    /// # Panics
    ///
    /// If the guard is of another domain.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
    /// let guard = rcu::read();
    /// assert_eq!(map.iter(&guard).map(|(_, n)| n).sum::<i32>(), 3);
    /// ```
    pub fn iter<'g>(&'g self, guard: &'g ReadGuard<'_>) -> Iter<'g, K, V> {
        self.check(guard);
        Iter { nodes: Iter::nodes(&self.raw, guard) }
    }

    /// The keys: see [`iter`](HashMap::iter).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.keys(&rcu::read()).collect::<Vec<_>>(), [&"a"]);
    /// ```
    pub fn keys<'g>(&'g self, guard: &'g ReadGuard<'_>) -> Keys<'g, K, V> {
        Keys(self.iter(guard))
    }

    /// The values: see [`iter`](HashMap::iter).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.values(&rcu::read()).collect::<Vec<_>>(), [&1]);
    /// ```
    pub fn values<'g>(&'g self, guard: &'g ReadGuard<'_>) -> Values<'g, K, V> {
        Values(self.iter(guard))
    }
}

/// The iterator of [`HashMap::iter`].
///
/// # Examples
///
/// ```
/// let map: stillpoint::map::HashMap<_, _> = [("a", 1)].into_iter().collect();
/// assert_eq!(map.pin().iter().next(), Some((&"a", &1)));
/// ```
#[must_use = "iterators are lazy"]
pub struct Iter<'g, K, V> {
    nodes: Nodes<'g, K, V>,
}

impl<'g, K, V> Iter<'g, K, V> {
    /// The guard is of the map's domain.
    pub(super) fn nodes(raw: &'g RawMap, _section: &'g ReadGuard<'_>) -> Nodes<'g, K, V> {
        Nodes { table: raw.root(), index: 0, found: vec![], section: PhantomData }
    }
}

/// The entries, table by table.
pub(super) struct Nodes<'g, K, V> {
    table: Option<Table>,
    /// The first bucket that was not read yet.
    index: usize,
    /// What the one before had.
    found: Vec<*mut Head>,
    section: PhantomData<&'g (K, V)>,
}

// SAFETY: it stands for a shared borrow of map and guard, which may both be shared.
unsafe impl<K: Sync, V: Sync> Send for Nodes<'_, K, V> {}
// SAFETY: shared, it gives nothing.
unsafe impl<K: Sync, V: Sync> Sync for Nodes<'_, K, V> {}

impl<'g, K, V> Iterator for Nodes<'g, K, V> {
    type Item = &'g Node<K, V>;

    fn next(&mut self) -> Option<&'g Node<K, V>> {
        loop {
            if let Some(head) = self.found.pop() {
                // SAFETY: a node of the map, found in the guard's section.
                return Some(unsafe { Node::of(head) });
            }
            let table = self.table?;
            if self.index == table.len() {
                return None;
            }
            // SAFETY: the root, in the guard's section.
            unsafe { collect(table, table.log(), self.index, &mut self.found) };
            self.index += 1;
        }
    }
}

/// The entries whose hashes have `index` for their topmost `log` bits. If their bucket was moved,
/// what was seen in it is forgotten: they are where it went.
///
/// # Safety
///
/// Inside a read-side critical section of the map's domain, in which the table was reached.
unsafe fn collect(table: Table, log: u32, index: usize, found: &mut Vec<*mut Head>) {
    if table.log() > log {
        // Each part by itself: it may have been moved further, to buckets larger than it.
        let shift = table.log() - log;
        for part in index << shift..(index + 1) << shift {
            // SAFETY: the caller's promise.
            unsafe { collect(table, table.log(), part, found) };
        }
        return;
    }
    let before = found.len();
    // SAFETY: the caller's promise, for all that follows; it has no more bits than the index.
    let first = unsafe { table.bucket(index >> (log - table.log())) };
    // SAFETY: as above.
    for bucket in unsafe { first.chain() } {
        for slot in &bucket.slots {
            // Acquire: as in a lookup. The tags tell nothing here.
            let node = slot.load(Ordering::Acquire);
            // SAFETY: an entry that was there just now.
            if !node.is_null() && Table::top(unsafe { (*node).hash }, log) == index {
                found.push(node);
            }
        }
    }
    if first.link().is_moved() {
        found.truncate(before);
        // SAFETY: as above.
        let next = unsafe { table.next() }.expect("a bucket is moved to the next table");
        // SAFETY: as above.
        unsafe { collect(next, log, index, found) };
    }
}

impl<'g, K, V> Iterator for Iter<'g, K, V> {
    type Item = (&'g K, &'g V);

    fn next(&mut self) -> Option<(&'g K, &'g V)> {
        self.nodes.next().map(|node| (&node.key, &node.value))
    }
}

impl<K, V> std::iter::FusedIterator for Iter<'_, K, V> {}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

/// The iterator of [`HashMap::keys`].
///
/// # Examples
///
/// ```
/// let map: stillpoint::map::HashMap<_, _> = [("a", 1)].into_iter().collect();
/// assert_eq!(map.pin().keys().next(), Some(&"a"));
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Keys<'g, K, V>(Iter<'g, K, V>);

impl<'g, K, V> Iterator for Keys<'g, K, V> {
    type Item = &'g K;

    fn next(&mut self) -> Option<&'g K> {
        self.0.next().map(|(key, _)| key)
    }
}

impl<K, V> std::iter::FusedIterator for Keys<'_, K, V> {}

/// The iterator of [`HashMap::values`].
///
/// # Examples
///
/// ```
/// let map: stillpoint::map::HashMap<_, _> = [("a", 1)].into_iter().collect();
/// assert_eq!(map.pin().values().next(), Some(&1));
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Values<'g, K, V>(Iter<'g, K, V>);

impl<'g, K, V> Iterator for Values<'g, K, V> {
    type Item = &'g V;

    fn next(&mut self) -> Option<&'g V> {
        self.0.next().map(|(_, value)| value)
    }
}

impl<K, V> std::iter::FusedIterator for Values<'_, K, V> {}
