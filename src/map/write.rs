//! What changes the map.

use super::HashMap;
use super::iter::Iter;
use super::node::{Draft, Head, Node};
use super::raw::{Changed, Look};
use crate::rcu::{DomainRef, ReadGuard};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// What is to become of a key.
pub(super) enum Step<V> {
    /// It gets this value.
    Put(V),
    /// It gets the value that the draft has.
    PutDraft,
    Remove,
    Leave,
}

/// What became of it.
pub(super) struct Done<'g, K, V> {
    pub(super) before: Option<&'g Node<K, V>>,
    /// The entry that was put there, if one was.
    pub(super) put: Option<&'g Node<K, V>>,
    pub(super) draft: Draft<K, V>,
}

impl<K, V, S, D> HashMap<K, V, S, D>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher,
    D: DomainRef,
{
    /// Puts a value in, and gives the one it replaces, if there is one. The key is replaced, too.
    ///
    /// # Panics
    ///
    /// As [`get`](HashMap::get); so do all that follow.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.insert("a", 1, &guard), None);
    /// assert_eq!(map.insert("a", 2, &guard), Some(&1));
    /// ```
    pub fn insert<'g>(&'g self, key: K, value: V, guard: &'g ReadGuard<'_>) -> Option<&'g V> {
        let done = self.apply(self.draft(key, value), guard, |_, _| Step::PutDraft);
        done.before.map(|node| &node.value)
    }

    /// Puts a value in, unless the key is there; gives the value that is.
    ///
    /// # Errors
    ///
    /// If the key is there: its value, and the one that was not put in.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.try_insert("a", 1, &guard), Ok(&1));
    /// let error = map.try_insert("a", 2, &guard).unwrap_err();
    /// assert_eq!((error.current, error.not_inserted), (&1, 2));
    /// ```
    pub fn try_insert<'g>(
        &'g self,
        key: K,
        value: V,
        guard: &'g ReadGuard<'_>,
    ) -> Result<&'g V, OccupiedError<'g, V>> {
        let done = self.apply(self.draft(key, value), guard, |found, _| match found {
            Some(_) => Step::Leave,
            None => Step::PutDraft,
        });
        match (done.before, done.put, done.draft.into_entry()) {
            (Some(node), _, Some((_, not_inserted))) => {
                Err(OccupiedError { current: &node.value, not_inserted })
            }
            (_, Some(node), _) => Ok(&node.value),
            _ => unreachable!("it was there, or was put there"),
        }
    }

    /// Replaces the value of a key that is there; gives the old one.
    ///
    /// # Errors
    ///
    /// If the key is not there: key and value.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.replace("a", 1, &guard), Err(("a", 1)));
    /// map.insert("a", 1, &guard);
    /// assert_eq!(map.replace("a", 2, &guard), Ok(&1));
    /// ```
    pub fn replace<'g>(
        &'g self,
        key: K,
        value: V,
        guard: &'g ReadGuard<'_>,
    ) -> Result<&'g V, (K, V)> {
        let done = self.apply(self.draft(key, value), guard, |found, _| match found {
            Some(_) => Step::PutDraft,
            None => Step::Leave,
        });
        match (done.before, done.draft.into_entry()) {
            (Some(node), _) => Ok(&node.value),
            (None, Some(entry)) => Err(entry),
            (None, None) => unreachable!("it was there, or was left"),
        }
    }

    /// The value of a key, put in now if it is not there.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.get_or_insert("a", 1, &guard), &1);
    /// assert_eq!(map.get_or_insert("a", 2, &guard), &1);
    /// ```
    pub fn get_or_insert<'g>(&'g self, key: K, value: V, guard: &'g ReadGuard<'_>) -> &'g V {
        match self.try_insert(key, value, guard) {
            Ok(value) => value,
            Err(error) => error.current,
        }
    }

    /// The value of a key, put in now if it is not there. `value` is called at most once; what it
    /// gives is dropped if somebody else comes first.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.get_or_insert_with("a", || 1, &guard), &1);
    /// assert_eq!(map.get_or_insert_with("a", || unreachable!(), &guard), &1);
    /// ```
    pub fn get_or_insert_with<'g>(
        &'g self,
        key: K,
        value: impl FnOnce() -> V,
        guard: &'g ReadGuard<'_>,
    ) -> &'g V {
        let mut value = Some(value);
        let done = self.apply(Draft::Key(key), guard, |found, has_draft| match value.take() {
            _ if found.is_some() => Step::Leave,
            Some(value) if !has_draft => Step::Put(value()),
            _ => Step::PutDraft,
        });
        let node = done.put.or(done.before).expect("it was there, or was put there");
        &node.value
    }

    /// Replaces the value of a key that is there by what `f` makes of it; gives the new one.
    ///
    /// `f` is called again if another writer comes first. It sees the value that it replaces.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.update("a", |n| n + 1, &guard), None);
    /// map.insert("a", 1, &guard);
    /// assert_eq!(map.update("a", |n| n + 1, &guard), Some(&2));
    /// ```
    pub fn update<'g>(
        &'g self,
        key: K,
        mut f: impl FnMut(&V) -> V,
        guard: &'g ReadGuard<'_>,
    ) -> Option<&'g V> {
        let done = self.apply(Draft::Key(key), guard, |found, _| match found {
            Some(node) => Step::Put(f(&node.value)),
            None => Step::Leave,
        });
        done.put.map(|node| &node.value)
    }

    /// [`update`](HashMap::update), or `value` if the key is not there; gives the value that is.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.update_or_insert("a", |n| n + 1, 1, &guard), &1);
    /// assert_eq!(map.update_or_insert("a", |n| n + 1, 1, &guard), &2);
    /// ```
    pub fn update_or_insert<'g>(
        &'g self,
        key: K,
        f: impl FnMut(&V) -> V,
        value: V,
        guard: &'g ReadGuard<'_>,
    ) -> &'g V
    where
        V: Clone,
    {
        self.update_or_insert_with(key, f, || value.clone(), guard)
    }

    /// [`update`](HashMap::update), or what `value` gives if the key is not there.
    ///
    /// Either may be called again if another writer comes first.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map = HashMap::new();
    /// let guard = rcu::read();
    /// assert_eq!(map.update_or_insert_with("a", |n| n + 1, || 1, &guard), &1);
    /// ```
    pub fn update_or_insert_with<'g>(
        &'g self,
        key: K,
        mut f: impl FnMut(&V) -> V,
        mut value: impl FnMut() -> V,
        guard: &'g ReadGuard<'_>,
    ) -> &'g V {
        let done = self.apply(Draft::Key(key), guard, |found, _| {
            Step::Put(found.map_or_else(&mut value, |node| f(&node.value)))
        });
        &done.put.expect("it was put there").value
    }

    /// Takes a key out; gives its value.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// let guard = rcu::read();
    /// assert_eq!(map.remove("a", &guard), Some(&1));
    /// assert_eq!(map.remove("a", &guard), None);
    /// ```
    pub fn remove<'g, Q>(&'g self, key: &Q, guard: &'g ReadGuard<'_>) -> Option<&'g V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_entry(key, guard).map(|(_, value)| value)
    }

    /// Takes a key out; gives the one that stood in the map, and its value.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// assert_eq!(map.remove_entry("a", &rcu::read()), Some((&"a", &1)));
    /// ```
    pub fn remove_entry<'g, Q>(
        &'g self,
        key: &Q,
        guard: &'g ReadGuard<'_>,
    ) -> Option<(&'g K, &'g V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_, _| true, guard).ok().flatten()
    }

    /// Takes a key out if `condition` holds of it and its value; gives what was taken out.
    ///
    /// `condition` is called again if another writer comes first. It sees what is taken out.
    ///
    /// # Errors
    ///
    /// If it does not hold: the entry.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = [("a", 1)].into_iter().collect();
    /// let guard = rcu::read();
    /// assert_eq!(map.remove_if("a", |_, n| *n > 1, &guard), Err((&"a", &1)));
    /// assert_eq!(map.remove_if("a", |_, n| *n == 1, &guard), Ok(Some((&"a", &1))));
    /// assert_eq!(map.remove_if("a", |_, n| *n == 1, &guard), Ok(None));
    /// ```
    pub fn remove_if<'g, Q>(
        &'g self,
        key: &Q,
        mut condition: impl FnMut(&K, &V) -> bool,
        guard: &'g ReadGuard<'_>,
    ) -> Result<Option<(&'g K, &'g V)>, (&'g K, &'g V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.check(guard);
        let hash = self.hash(key);
        loop {
            let (look, found) = self.look(hash, key, guard);
            let Some(node) = found else { return Ok(None) };
            let entry = (&node.key, &node.value);
            if !condition(entry.0, entry.1) {
                return Err(entry);
            }
            // SAFETY: looked in this section, and found something.
            if unsafe { self.exchange(hash, &look, std::ptr::null_mut()) }.is_ok() {
                return Ok(Some(entry));
            }
        }
    }

    /// Keeps only entries of which `keep` holds. An entry that is replaced after `keep` saw it
    /// stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = (0..10).map(|n| (n, n)).collect();
    /// map.retain(|_, n| n % 2 == 0, &rcu::read());
    /// assert_eq!(map.len(), 5);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool, guard: &ReadGuard<'_>) {
        self.check(guard);
        for node in Iter::nodes(&self.raw, guard) {
            if !keep(&node.key, &node.value) {
                let found: *const Node<K, V> = node;
                let look = Look::only(found.cast::<Head>().cast_mut());
                // If it was replaced or removed: so be it.
                // SAFETY: found in this section.
                drop(unsafe { self.exchange(node.head.hash, &look, std::ptr::null_mut()) });
            }
        }
    }

    /// Removes every entry that is there from the call on. Those that are put in meanwhile may
    /// stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{map::HashMap, rcu};
    /// let map: HashMap<_, _> = (0..10).map(|n| (n, n)).collect();
    /// map.clear(&rcu::read());
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&self, guard: &ReadGuard<'_>) {
        self.retain(|_, _| false, guard);
    }

    /// For how many entries the table is made: four for each bucket. With more, it grows.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let map: HashMap<u32, u32> = HashMap::with_capacity(100);
    /// assert_eq!(map.capacity(), 128);
    /// ```
    pub fn capacity(&self) -> usize {
        let _section = self.domain.read_here();
        self.raw.capacity()
    }

    /// Makes room for so many entries more, at once, and keeps it. Moves all buckets itself, but
    /// for those that other writers are moving. Aborts the process if there is no memory, as every
    /// insertion does.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let map: HashMap<u32, u32> = HashMap::new();
    /// map.reserve(1000);
    /// assert!(map.capacity() >= 1000);
    /// ```
    pub fn reserve(&self, additional: usize) {
        let guard = self.domain.read_here();
        let entries = self.len().saturating_add(additional);
        // SAFETY: in a section of the map's domain.
        unsafe { self.raw.reserve(guard.domain(), entries) }
    }

    /// Makes the table as small as its entries let it be, and forgets what
    /// [`reserve`](HashMap::reserve) and [`with_capacity`](HashMap::with_capacity) asked for. The
    /// old table is freed after a grace period.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let map: HashMap<u32, u32> = HashMap::with_capacity(1000);
    /// map.shrink_to_fit();
    /// assert!(map.capacity() < 100);
    /// ```
    pub fn shrink_to_fit(&self) {
        let guard = self.domain.read_here();
        // SAFETY: in a section of the map's domain.
        unsafe { self.raw.shrink_to_fit(guard.domain()) }
    }

    fn draft(&self, key: K, value: V) -> Draft<K, V> {
        let hash = self.hash(&key);
        Draft::Node(Node::boxed(hash, key, value))
    }

    /// Looks for the draft's key, and does to it what `step` says, which is told whether the draft
    /// has a value; again, if another writer comes first.
    pub(super) fn apply<'g>(
        &'g self,
        mut draft: Draft<K, V>,
        guard: &'g ReadGuard<'_>,
        mut step: impl FnMut(Option<&'g Node<K, V>>, bool) -> Step<V>,
    ) -> Done<'g, K, V> {
        self.check(guard);
        let hash = match &draft {
            Draft::Node(node) => node.head.hash,
            _ => self.hash(draft.key()),
        };
        loop {
            let (look, before) = self.look(hash, draft.key(), guard);
            let new = match step(before, draft.has_value()) {
                Step::Put(value) => {
                    draft.set_value(hash, value);
                    draft.take_raw()
                }
                Step::PutDraft => draft.take_raw(),
                Step::Remove if before.is_some() => std::ptr::null_mut(),
                Step::Remove | Step::Leave => return Done { before, put: None, draft },
            };
            // SAFETY: looked in this section; `new` is a node of this hash that nobody knows, or
            // null where there is something to take out.
            match unsafe { self.exchange(hash, &look, new) } {
                Ok(()) => {
                    // SAFETY: published by a guard's section, and not freed before its end.
                    let put = (!new.is_null()).then(|| unsafe { Node::of(new) });
                    return Done { before, put, draft };
                }
                Err(Changed) if new.is_null() => {}
                // SAFETY: not published.
                Err(Changed) => draft = unsafe { Draft::from_raw(new) },
            }
        }
    }

    /// Changes what was found, and retires it.
    ///
    /// # Safety
    ///
    /// As for [`RawMap::exchange`](super::raw::RawMap::exchange).
    unsafe fn exchange(&self, hash: u64, look: &Look, new: *mut Head) -> Result<(), Changed> {
        let domain = self.domain.domain();
        // SAFETY: the caller's promise.
        unsafe { self.raw.exchange(domain, hash, look, new) }?;
        if !look.found.is_null() {
            // SAFETY: unlinked just now, by us; a boxed node, which begins with its header. `K` and
            // `V` are `Send`.
            unsafe { self.raw.retired.push(domain, look.found.cast()) };
        }
        Ok(())
    }
}

/// The error of [`HashMap::try_insert`].
///
/// # Examples
///
/// ```
/// use stillpoint::map::HashMap;
/// let map = HashMap::new();
/// let pinned = map.pin();
/// pinned.insert("a", 1);
/// let error = pinned.try_insert("a", 2).unwrap_err();
/// assert_eq!((error.current, error.not_inserted), (&1, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccupiedError<'g, V> {
    /// The value that is there.
    pub current: &'g V,
    /// The value that was not put in.
    pub not_inserted: V,
}

impl<V> fmt::Display for OccupiedError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key is there already")
    }
}

impl<V: fmt::Debug> std::error::Error for OccupiedError<'_, V> {}
