//! A hash map that is read under RCU.
//!
//! [`HashMap`]: lookups load and compare, and store nothing; writers lock one bucket; resizes
//! happen underneath. [`RandomState`] is its default hasher. How it works, and why that is right:
//! `raw.rs`.
//!
//! # Examples
//!
//! ```
//! use std::sync::LazyLock;
//! use stillpoint::map::HashMap;
//!
//! static SESSIONS: LazyLock<HashMap<u64, String>> = LazyLock::new(HashMap::new);
//!
//! SESSIONS.pin().insert(17, "ada".to_owned());
//! std::thread::spawn(|| {
//!     assert_eq!(SESSIONS.pin().get(&17).map(String::as_str), Some("ada"));
//! })
//! .join()
//! .unwrap();
//! ```

mod bucket;
mod compute;
mod count;
mod hasher;
mod iter;
#[cfg(stillpoint_loom)]
pub mod model;
mod node;
mod pinned;
mod raw;
mod read;
mod resize;
mod retire;
mod table;
mod traits;
mod write;

pub use compute::{Compute, Operation};
pub use hasher::{FoldHasher, RandomState};
pub use iter::{Iter, Keys, Values};
pub use pinned::Pinned;
pub use write::OccupiedError;

use crate::rcu::{Domain, DomainRef, Global, ReadGuard};
use crate::sync::{AtomicPtr, const_unless_modelled};
use node::Node;
use raw::RawMap;
use std::marker::PhantomData;

/// A hash map whose lookups take no lock, store nothing and never wait.
///
/// The methods follow std's names. They take `&self` and a guard of the map's
/// [domain](HashMap::domain), and give references that live as long as the guard: an entry that is
/// replaced or removed meanwhile is dropped after a grace period. [`pin`](HashMap::pin) joins map
/// and guard, so that `map.pin().get(&key)` does.
///
/// Entries are immutable. [`insert`](HashMap::insert), [`update`](HashMap::update) and
/// [`compute`](HashMap::compute) put a new one, with its key, in the place of the old one. What is
/// to be changed in place goes into a mutex or an atomic in the value.
///
/// # Consistency
///
/// Each operation on one key is linearizable: it takes effect at one moment between its call and
/// its return. Iterators and what is built on them ([`retain`](HashMap::retain),
/// [`clear`](HashMap::clear), comparing, cloning) are not one moment: see [`iter`](HashMap::iter).
/// [`len`](HashMap::len) is a sum over CPUs.
///
/// # Resizing
///
/// The map grows when there are more than four entries a bucket, and shrinks when there is less
/// than one in two, but not below what [`with_capacity`](HashMap::with_capacity) or
/// [`reserve`](HashMap::reserve) asked for. Each writer then moves a few dozen buckets, so none of
/// them stalls for long: some microseconds each. Entries stay where they are in memory. If writers
/// stop before all is moved, lookups of what is moved touch one line more, and both tables stay.
///
/// # Cost
///
/// A lookup loads the map's root, one cache line of the table and the entry, whether it finds it or
/// not (an absent key reaches an entry once in some 80 lookups). Entries whose bucket is full, a
/// few percent, one line more.
///
/// *Memory:* an entry takes 24 bytes, key and value, and what the allocator adds. The table takes
/// 64 bytes for each four entries of [`capacity`](HashMap::capacity): 16 to 32 bytes per entry
/// while it grows, twice that and more after many were removed; and both tables while it is moved.
/// The map itself takes 32 bytes, its hasher and domain, and, once used, 8 bytes for each possible
/// CPU.
///
/// *Writers* allocate an entry, lock a bucket (two atomic instructions), and retire what they
/// replaced: so garbage is bounded by [`Domain::set_limit`] and [`Domain::throttle`], and not by
/// the map. Writers on different buckets do not meet. One that finds its bucket locked spins a
/// little and then parks.
///
/// # Callbacks
///
/// `Hash`, `Eq`, closures and `Drop` are never called with a bucket locked: they may panic, and may
/// call this map. If one panics, the map is as it was. If they are inconsistent (a key is not equal
/// to itself, or hashes to something else each time), keys may be absent, or there twice; nothing
/// else happens. If many keys have the same hash, operations take time proportional to their
/// number, and memory does not grow for it.
///
/// # Where it must not be used
///
/// With a guard alive, do not wait for grace periods of the domain ([`Domain::read`]). Lookups are
/// async-signal-safe if `Hash` and `Eq` are; writers are not. In the child of a `fork`, a bucket
/// that another thread of the parent had locked at that moment stays locked, and a resize that
/// others were at is not finished.
///
/// # Examples
///
/// ```
/// use stillpoint::map::HashMap;
/// use stillpoint::rcu;
///
/// let ports: HashMap<String, u16> = HashMap::new();
/// ports.pin().insert("http".to_owned(), 80);
///
/// let guard = rcu::read();
/// let port = ports.get("http", &guard);
/// ports.remove("http", &guard);
/// assert_eq!(port, Some(&80)); // as long as the guard lives
/// assert_eq!(ports.get("http", &guard), None);
/// ```
///
/// A reference does not outlive the guard:
///
/// ```compile_fail,E0597
/// use stillpoint::{map::HashMap, rcu};
/// let map: HashMap<u32, u32> = HashMap::new();
/// let value = {
///     let guard = rcu::read();
///     map.get(&1, &guard)
/// };
/// assert_eq!(value, None);
/// ```
///
/// ```
/// use stillpoint::{map::HashMap, rcu};
/// let map: HashMap<u32, u32> = HashMap::new();
/// let value = {
///     let guard = rcu::read();
///     map.get(&1, &guard).copied()
/// };
/// assert_eq!(value, None);
/// ```
///
/// Entries that may not be dropped elsewhere do not get in:
///
/// ```compile_fail,E0599
/// let map: stillpoint::map::HashMap<u32, std::rc::Rc<u32>> = stillpoint::map::HashMap::new();
/// map.pin().insert(1, std::rc::Rc::new(1));
/// ```
///
/// ```
/// let map: stillpoint::map::HashMap<u32, std::sync::Arc<u32>> = stillpoint::map::HashMap::new();
/// map.pin().insert(1, std::sync::Arc::new(1));
/// ```
pub struct HashMap<K, V, S = RandomState, D: DomainRef = Global> {
    raw: RawMap,
    hasher: S,
    domain: D,
    owns: PhantomData<(K, V)>,
    /// Not covariant: writers put in what readers of another type would get.
    invariant: PhantomData<AtomicPtr<Node<K, V>>>,
}

// SAFETY: sending the map sends the entries in it.
unsafe impl<K: Send, V: Send, S: Send, D: DomainRef + Send> Send for HashMap<K, V, S, D> {}
// SAFETY: a shared map gives `&K` and `&V` to any thread, takes entries from any thread, and drops
// them on any.
unsafe impl<K, V, S, D> Sync for HashMap<K, V, S, D>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Sync,
    D: DomainRef + Sync,
{
}

impl<K, V> HashMap<K, V> {
    /// An empty map of the global domain. Allocates nothing yet.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: stillpoint::map::HashMap<u32, u32> = stillpoint::map::HashMap::new();
    /// assert!(map.is_empty());
    /// ```
    #[must_use]
    pub fn new() -> HashMap<K, V> {
        HashMap::with_hasher(RandomState::new())
    }

    /// A map of the global domain with room for so many entries, below which it does not shrink.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let map: HashMap<u32, u32> = HashMap::with_capacity(1000);
    /// assert!(map.capacity() >= 1000);
    /// ```
    #[must_use]
    pub fn with_capacity(capacity: usize) -> HashMap<K, V> {
        HashMap::with_capacity_and_hasher(capacity, RandomState::new())
    }
}

impl<K, V, D: DomainRef> HashMap<K, V, RandomState, D> {
    /// A map of a domain of one's own.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let map = HashMap::new_in(&DOMAIN);
    /// map.pin().insert("a", 1);
    /// assert_eq!(map.get("a", &DOMAIN.read()), Some(&1));
    /// ```
    #[must_use]
    pub fn new_in(domain: D) -> HashMap<K, V, RandomState, D> {
        HashMap::with_hasher_in(RandomState::new(), domain)
    }
}

impl<K, V, S> HashMap<K, V, S> {
    const_unless_modelled! {
        /// An empty map of the global domain with a hasher of one's own. Can stand in a `static`.
        ///
        /// The hasher need not be good at all bits: what it gives is mixed once more.
        ///
        /// # Examples
        ///
        /// ```
        /// use std::hash::{BuildHasherDefault, DefaultHasher};
        /// use stillpoint::map::HashMap;
        ///
        /// static MAP: HashMap<u32, u32, BuildHasherDefault<DefaultHasher>> =
        ///     HashMap::with_hasher(BuildHasherDefault::new());
        /// MAP.pin().insert(1, 2);
        /// ```
        #[must_use]
        pub const fn with_hasher(hasher: S) -> HashMap<K, V, S> {
            HashMap::with_hasher_in(hasher, Global)
        }
    }

    /// Both.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let hasher = std::hash::RandomState::new();
    /// let map: HashMap<u32, u32, _> = HashMap::with_capacity_and_hasher(100, hasher);
    /// ```
    #[must_use]
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> HashMap<K, V, S> {
        HashMap::with_capacity_and_hasher_in(capacity, hasher, Global)
    }
}

impl<K, V, S, D: DomainRef> HashMap<K, V, S, D> {
    const_unless_modelled! {
        /// An empty map with hasher and domain of one's own.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::map::{HashMap, RandomState};
        /// use stillpoint::rcu::Domain;
        /// use std::sync::Arc;
        ///
        /// let domain = Arc::new(Domain::new());
        /// let map = HashMap::with_hasher_in(RandomState::new(), domain);
        /// map.pin().insert(1, 2);
        /// ```
        #[must_use]
        pub const fn with_hasher_in(hasher: S, domain: D) -> HashMap<K, V, S, D> {
            let (owns, invariant) = (PhantomData, PhantomData);
            HashMap { raw: RawMap::new(), hasher, domain, owns, invariant }
        }
    }

    /// All three.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::{HashMap, RandomState};
    /// use stillpoint::rcu::Domain;
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let map = HashMap::with_capacity_and_hasher_in(16, RandomState::new(), &DOMAIN);
    /// map.pin().insert(1, 2);
    /// ```
    #[must_use]
    pub fn with_capacity_and_hasher_in(capacity: usize, hasher: S, domain: D) -> Self {
        let mut map = HashMap::with_hasher_in(hasher, domain);
        map.raw.begin_with(capacity);
        map
    }

    /// The domain whose guards protect this map.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::HashMap;
    /// let map: HashMap<u32, u32> = HashMap::new();
    /// let guard = map.domain().read();
    /// assert_eq!(map.get(&1, &guard), None);
    /// ```
    pub fn domain(&self) -> &Domain {
        self.domain.domain()
    }

    /// The hasher.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::hash::BuildHasher;
    /// let map: stillpoint::map::HashMap<u32, u32> = stillpoint::map::HashMap::new();
    /// println!("{:x}", map.hasher().hash_one(1));
    /// ```
    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// The map with a guard of its own: a read-side critical section that ends when it is dropped.
    ///
    /// For several operations in a row: each `pin` costs a nanosecond.
    ///
    /// # Examples
    ///
    /// ```
    /// let map = stillpoint::map::HashMap::new();
    /// let pinned = map.pin();
    /// pinned.insert("a", 1);
    /// assert_eq!(pinned.get("a"), Some(&1));
    /// ```
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn pin(&self) -> Pinned<'_, K, V, S, D> {
        Pinned::new(self, self.domain.read_here())
    }

    /// How many entries there are. Sums up a word per CPU.
    ///
    /// While others write, it may be off by as many entries as they have written meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: stillpoint::map::HashMap<_, _> = [(1, 2), (3, 4)].into_iter().collect();
    /// assert_eq!(map.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// True if there are none. Costs what [`len`](HashMap::len) does.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: stillpoint::map::HashMap<u32, u32> = stillpoint::map::HashMap::new();
    /// assert!(map.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn check(&self, guard: &ReadGuard<'_>) {
        if !std::ptr::eq(guard.domain(), self.domain.domain()) {
            foreign_guard();
        }
    }
}

#[cold]
#[inline(never)]
fn foreign_guard() -> ! {
    panic!("stillpoint: the guard is of another domain than the map and does not protect it");
}

impl<K, V, S, D: DomainRef> Drop for HashMap<K, V, S, D> {
    /// Drops the entries at once: every reference to one borrowed the map. If one of them panics
    /// while it is dropped, the others are dropped all the same.
    fn drop(&mut self) {
        struct Rest<'m, K, V>(&'m mut RawMap, PhantomData<(K, V)>);

        impl<K, V> Rest<'_, K, V> {
            fn free(&mut self) {
                // SAFETY: all entries are boxed nodes of this map, and are taken out one by one.
                self.0.drain(|head| unsafe { Node::<K, V>::free(head) });
            }
        }

        impl<K, V> Drop for Rest<'_, K, V> {
            fn drop(&mut self) {
                self.free();
            }
        }

        let mut rest = Rest::<K, V>(&mut self.raw, PhantomData);
        rest.free();
        std::mem::forget(rest);
    }
}
