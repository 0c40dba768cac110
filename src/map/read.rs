//! What reads the map.

use super::HashMap;
use super::node::Node;
use super::raw::Look;
use crate::rcu::{DomainRef, ReadGuard};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, D> HashMap<K, V, S, D>
where
    K: Hash + Eq,
    S: BuildHasher,
    D: DomainRef,
{
    /// The value of a key, for as long as guard and map are borrowed.
    ///
    /// Loads only: no atomic instruction, no allocation, no second attempt. Also while the map is
    /// being resized.
    ///
    /// # Panics
    ///
    /// If the guard is of another domain. For maps of the global domain this is decided when
    /// compiling.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// let guard = rcu::read();
    /// assert_eq!(map.get("a", &guard), Some(&1));
    /// assert_eq!(map.get("b", &guard), None);
    /// ```
    #[inline]
    pub fn get<'g, Q>(&'g self, key: &Q, guard: &'g ReadGuard<'_>) -> Option<&'g V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.node(key, guard).map(|node| &node.value)
    }

    /// The key that stands in the map, and its value.
    ///
    /// # Panics
    ///
    /// As [`get`](HashMap::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a".to_owned(), 1)].into_iter().collect();
    /// assert_eq!(map.get_key_value("a", &rcu::read()), Some((&"a".to_owned(), &1)));
    /// ```
    #[inline]
    pub fn get_key_value<'g, Q>(
        &'g self,
        key: &Q,
        guard: &'g ReadGuard<'_>,
    ) -> Option<(&'g K, &'g V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.node(key, guard).map(|node| (&node.key, &node.value))
    }

    /// True if the key is there.
    ///
    /// # Panics
    ///
    /// As [`get`](HashMap::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// assert!(map.contains_key("a", &rcu::read()));
    /// ```
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q, guard: &ReadGuard<'_>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.node(key, guard).is_some()
    }

    #[inline(always)]
    fn node<'g, Q>(&'g self, key: &Q, guard: &'g ReadGuard<'_>) -> Option<&'g Node<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.check(guard);
        let hash = self.hash(key);
        // SAFETY: what the table gives is a node of this map, alive in the guard's section.
        let is_it = |head| unsafe { Node::<K, V>::of(head) }.key.borrow() == key;
        // SAFETY: in the guard's section, of the map's domain; so is `'g`.
        let head = unsafe { self.raw.find(hash, is_it) };
        // SAFETY: null, or as above.
        (!head.is_null()).then(|| unsafe { Node::of(head) })
    }

    /// The entry of a key, for a writer.
    pub(super) fn look<'g, Q>(
        &'g self,
        hash: u64,
        key: &Q,
        _section: &'g ReadGuard<'_>,
    ) -> (Look, Option<&'g Node<K, V>>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // SAFETY: as in `node`.
        let is_it = |head| unsafe { Node::<K, V>::of(head) }.key.borrow() == key;
        // SAFETY: as in `node`; callers have checked the guard.
        let look = unsafe { self.raw.look(hash, is_it) };
        // SAFETY: as in `node`.
        let found = (!look.found.is_null()).then(|| unsafe { Node::of(look.found) });
        (look, found)
    }

    /// The user's hash, mixed: some hashers leave some bits as they are, and the table uses the
    /// topmost and the lowest.
    #[inline(always)]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        super::hasher::folded(self.hasher.hash_one(key), 0x9e37_79b9_7f4a_7c15)
    }
}
