//! A map and a guard in one.

use super::compute::{Compute, Operation};
use super::iter::{Iter, Keys, Values};
use super::write::OccupiedError;
use super::{HashMap, RandomState};
use crate::rcu::{DomainRef, Global, ReadGuard};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A map with a guard: made by [`HashMap::pin`]. Has the map's methods, without the guard.
///
/// Not `Send`, and not to be kept: see [`ReadGuard`].
///
/// # Examples
///
/// ```
/// let map = stillpoint::map::HashMap::new();
/// let pinned = map.pin();
/// pinned.insert("a", 1);
/// for (name, n) in &pinned {
///     println!("{name}: {n}");
/// }
/// ```
#[must_use = "it holds a read-side critical section until it is dropped"]
pub struct Pinned<'m, K, V, S = RandomState, D: DomainRef = Global> {
    map: &'m HashMap<K, V, S, D>,
    guard: ReadGuard<'m>,
}

impl<'m, K, V, S, D: DomainRef> Pinned<'m, K, V, S, D> {
    #[inline(always)]
    pub(super) fn new(
        map: &'m HashMap<K, V, S, D>,
        guard: ReadGuard<'m>,
    ) -> Pinned<'m, K, V, S, D> {
        Pinned { map, guard }
    }

    /// The map.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: stillpoint::map::HashMap<u32, u32> = stillpoint::map::HashMap::new();
    /// assert_eq!(map.pin().map().len(), 0);
    /// ```
    pub fn map(&self) -> &'m HashMap<K, V, S, D> {
        self.map
    }

    /// The guard.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: stillpoint::map::HashMap<u32, u32> = stillpoint::map::HashMap::new();
    /// let pinned = map.pin();
    /// assert_eq!(map.get(&1, pinned.guard()), None);
    /// ```
    pub fn guard(&self) -> &ReadGuard<'m> {
        &self.guard
    }

    /// [`HashMap::iter`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().iter().count(), 1);
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.map.iter(&self.guard)
    }

    /// [`HashMap::keys`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().keys().count(), 1);
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V> {
        self.map.keys(&self.guard)
    }

    /// [`HashMap::values`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().values().sum::<i32>(), 1);
    /// ```
    pub fn values(&self) -> Values<'_, K, V> {
        self.map.values(&self.guard)
    }
}

impl<K, V, S, D> Pinned<'_, K, V, S, D>
where
    K: Hash + Eq,
    S: BuildHasher,
    D: DomainRef,
{
    /// [`HashMap::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().get("a"), Some(&1));
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.get(key, &self.guard)
    }

    /// [`HashMap::get_key_value`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().get_key_value("a"), Some((&"a", &1)));
    /// ```
    #[inline]
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.get_key_value(key, &self.guard)
    }

    /// [`HashMap::contains_key`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert!(map.pin().contains_key("a"));
    /// ```
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.contains_key(key, &self.guard)
    }
}

impl<K, V, S, D> Pinned<'_, K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    /// [`HashMap::insert`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().insert("a", 1), None);
    /// ```
    pub fn insert(&self, key: K, value: V) -> Option<&V> {
        self.map.insert(key, value, &self.guard)
    }

    /// [`HashMap::try_insert`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().try_insert("a", 1), Ok(&1));
    /// ```
    pub fn try_insert(&self, key: K, value: V) -> Result<&V, OccupiedError<'_, V>> {
        self.map.try_insert(key, value, &self.guard)
    }

    /// [`HashMap::replace`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().replace("a", 1), Err(("a", 1)));
    /// ```
    pub fn replace(&self, key: K, value: V) -> Result<&V, (K, V)> {
        self.map.replace(key, value, &self.guard)
    }

    /// [`HashMap::get_or_insert`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().get_or_insert("a", 1), &1);
    /// ```
    pub fn get_or_insert(&self, key: K, value: V) -> &V {
        self.map.get_or_insert(key, value, &self.guard)
    }

    /// [`HashMap::get_or_insert_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().get_or_insert_with("a", || 1), &1);
    /// ```
    pub fn get_or_insert_with(&self, key: K, value: impl FnOnce() -> V) -> &V {
        self.map.get_or_insert_with(key, value, &self.guard)
    }

    /// [`HashMap::update`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().update("a", |n| n + 1), Some(&2));
    /// ```
    pub fn update(&self, key: K, f: impl FnMut(&V) -> V) -> Option<&V> {
        self.map.update(key, f, &self.guard)
    }

    /// [`HashMap::update_or_insert`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().update_or_insert("a", |n| n + 1, 1), &1);
    /// ```
    pub fn update_or_insert(&self, key: K, f: impl FnMut(&V) -> V, value: V) -> &V
    where
        V: Clone,
    {
        self.map.update_or_insert(key, f, value, &self.guard)
    }

    /// [`HashMap::update_or_insert_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// assert_eq!(map.pin().update_or_insert_with("a", |n| n + 1, || 1), &1);
    /// ```
    pub fn update_or_insert_with(
        &self,
        key: K,
        f: impl FnMut(&V) -> V,
        value: impl FnMut() -> V,
    ) -> &V {
        self.map.update_or_insert_with(key, f, value, &self.guard)
    }

    /// [`HashMap::compute`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = HashMap::new();
    /// use stillpoint::map::{Compute, Operation};
    /// let pinned = map.pin();
    /// let done = pinned.compute("a", |_| Operation::<_, ()>::Insert(1));
    /// assert_eq!(done, Compute::Inserted(&"a", &1));
    /// ```
    pub fn compute<'g, T>(
        &'g self,
        key: K,
        f: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, T>,
    ) -> Compute<'g, K, V, T> {
        self.map.compute(key, f, &self.guard)
    }

    /// [`HashMap::remove`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().remove("a"), Some(&1));
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.remove(key, &self.guard)
    }

    /// [`HashMap::remove_entry`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().remove_entry("a"), Some((&"a", &1)));
    /// ```
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.remove_entry(key, &self.guard)
    }

    /// [`HashMap::remove_if`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.pin().remove_if("a", |_, n| *n > 1), Err((&"a", &1)));
    /// ```
    pub fn remove_if<Q>(
        &self,
        key: &Q,
        condition: impl FnMut(&K, &V) -> bool,
    ) -> Result<Option<(&K, &V)>, (&K, &V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.remove_if(key, condition, &self.guard)
    }

    /// [`HashMap::retain`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// map.pin().retain(|_, n| *n > 1);
    /// assert!(map.is_empty());
    /// ```
    pub fn retain(&self, keep: impl FnMut(&K, &V) -> bool) {
        self.map.retain(keep, &self.guard);
    }

    /// [`HashMap::clear`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use stillpoint::map::HashMap;
    /// let map: HashMap<&str, i32> = [("a", 1)].into_iter().collect();
    /// map.pin().clear();
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&self) {
        self.map.clear(&self.guard);
    }
}

impl<'p, K, V, S, D: DomainRef> IntoIterator for &'p Pinned<'_, K, V, S, D> {
    type Item = (&'p K, &'p V);
    type IntoIter = Iter<'p, K, V>;

    fn into_iter(self) -> Iter<'p, K, V> {
        self.iter()
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S, D: DomainRef> fmt::Debug for Pinned<'_, K, V, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}
