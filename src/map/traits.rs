//! What std's map implements.

use super::HashMap;
use crate::rcu::{DomainRef, ReadGuard};
use std::fmt;
use std::hash::{BuildHasher, Hash};

impl<K, V, S: Default> Default for HashMap<K, V, S> {
    fn default() -> HashMap<K, V, S> {
        HashMap::with_hasher(S::default())
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S, D: DomainRef> fmt::Debug for HashMap<K, V, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pin().fmt(f)
    }
}

impl<K, V, S, D> HashMap<K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    fn put_all(&self, entries: impl IntoIterator<Item = (K, V)>, guard: &ReadGuard<'_>) {
        let entries = entries.into_iter();
        for (key, value) in entries {
            self.insert(key, value, guard);
        }
    }
}

/// Also of a map that others use: each entry is [inserted](HashMap::insert) by itself.
impl<K, V, S, D> Extend<(K, V)> for &HashMap<K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            // The iterator is called outside of sections: it may wait.
            self.put_all([(key, value)], &self.domain.read_here());
        }
    }
}

impl<K, V, S, D> Extend<(K, V)> for HashMap<K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        (&*self).extend(entries);
    }
}

impl<K, V, S> FromIterator<(K, V)> for HashMap<K, V, S>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher + Default,
{
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> HashMap<K, V, S> {
        let entries = entries.into_iter();
        let mut map = HashMap::default();
        map.reserve(entries.size_hint().0);
        map.extend(entries);
        map
    }
}

impl<K, V, S, D> Clone for HashMap<K, V, S, D>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
    S: BuildHasher + Clone,
    D: DomainRef,
{
    /// A map of the same domain and hasher with the entries that an [iterator](HashMap::iter)
    /// yields.
    fn clone(&self) -> HashMap<K, V, S, D> {
        let (hasher, domain) = (self.hasher.clone(), self.domain.clone());
        let new = HashMap::with_hasher_in(hasher, domain);
        new.reserve(self.len());
        let guard = self.domain.read_here();
        for (key, value) in self.iter(&guard) {
            new.insert(key.clone(), value.clone(), &guard);
        }
        new
    }
}

impl<K, V, S, D, T, E> PartialEq<HashMap<K, V, T, E>> for HashMap<K, V, S, D>
where
    K: Hash + Eq,
    V: PartialEq,
    S: BuildHasher,
    T: BuildHasher,
    D: DomainRef,
    E: DomainRef,
{
    /// Exact if nobody changes either map meanwhile.
    fn eq(&self, other: &HashMap<K, V, T, E>) -> bool {
        let (here, there) = (self.pin(), other.pin());
        self.len() == other.len() && here.iter().all(|(key, value)| there.get(key) == Some(value))
    }
}

impl<K, V, S, D> Eq for HashMap<K, V, S, D>
where
    K: Hash + Eq,
    V: Eq,
    S: BuildHasher,
    D: DomainRef,
{
}
