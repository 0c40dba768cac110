//! The maps, all with the same hasher.

use crate::mix::{self, Cell};
use std::collections::HashMap as Std;
use std::hint::black_box;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use stillpoint::map::RandomState;

pub(crate) trait Map: Send + Sync + 'static {
    fn new() -> Self;
    /// The value, copied.
    fn get(&self, key: u64) -> Option<u64>;
    fn insert(&self, key: u64, value: u64);
    fn remove(&self, key: u64);
    /// Adds one to the value of a key that is there.
    fn update(&self, key: u64);
    /// Frees what can be freed.
    fn settle(&self) {}
}

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Cell, &[usize], u64) -> Duration,
    pub(crate) tight: fn(Kind, u64) -> Loop,
    /// Bytes for each of so many entries.
    pub(crate) memory: fn(u64) -> f64,
}

/// So many operations in a row.
pub(crate) type Loop = Box<dyn FnMut(u64)>;

/// A tight loop of one thread.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Get,
    Absent,
    InsertRemove,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Get, Kind::Absent, Kind::InsertRemove];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Absent => "absent",
            Kind::InsertRemove => "insert_remove",
        }
    }
}

fn filled<M: Map>(entries: u64) -> M {
    let map = M::new();
    (0..entries).for_each(|key| map.insert(key, key));
    map.settle();
    map
}

fn tight<M: Map>(kind: Kind, entries: u64) -> Loop {
    let map: M = filled(entries);
    let mut random = fastrand::Rng::with_seed(1);
    let keys: Vec<u64> = (0..1 << 16).map(|_| random.u64(..entries)).collect();
    let mut at = 0;
    Box::new(move |n| {
        for _ in 0..n {
            at = (at + 1) % keys.len();
            let key = keys[at];
            match kind {
                Kind::Get => _ = black_box(map.get(key)),
                Kind::Absent => _ = black_box(map.get(key + entries)),
                Kind::InsertRemove => {
                    map.insert(key + entries, key);
                    map.remove(key + entries);
                }
            }
        }
    })
}

fn memory<M: Map>(entries: u64) -> f64 {
    let before = allocated();
    let map: M = filled(entries);
    let bytes = allocated().saturating_sub(before);
    drop(map);
    bytes as f64 / entries as f64
}

/// Bytes that the C library's allocator has given out.
fn allocated() -> usize {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it only counts.
        let info = unsafe { libc::mallinfo2() };
        info.uordblks + info.hblkhd
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    0
}

const fn peer<M: Map>(name: &'static str) -> Peer {
    Peer { name, run: mix::run::<M>, tight: tight::<M>, memory: memory::<M> }
}

pub(crate) const OURS: &str = "stillpoint";

pub(crate) static ALL: &[Peer] = &[
    peer::<stillpoint::map::HashMap<u64, u64>>(OURS),
    peer::<papaya::HashMap<u64, u64, RandomState>>("papaya"),
    peer::<scc::HashMap<u64, u64, RandomState>>("scc"),
    peer::<dashmap::DashMap<u64, u64, RandomState>>("dashmap"),
    peer::<flurry::HashMap<u64, u64, RandomState>>("flurry"),
    peer::<RwLock<Std<u64, u64, RandomState>>>("std RwLock<HashMap>"),
];

impl Map for stillpoint::map::HashMap<u64, u64> {
    fn new() -> Self {
        stillpoint::map::HashMap::new()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    fn insert(&self, key: u64, value: u64) {
        self.pin().insert(key, value);
    }
    fn remove(&self, key: u64) {
        self.pin().remove(&key);
    }
    fn update(&self, key: u64) {
        self.pin().update(key, |n| n + 1);
    }
    fn settle(&self) {
        self.domain().barrier();
    }
}

impl Map for papaya::HashMap<u64, u64, RandomState> {
    fn new() -> Self {
        papaya::HashMap::with_hasher(RandomState::new())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    fn insert(&self, key: u64, value: u64) {
        self.pin().insert(key, value);
    }
    fn remove(&self, key: u64) {
        self.pin().remove(&key);
    }
    fn update(&self, key: u64) {
        self.pin().update(key, |n| n + 1);
    }
}

impl Map for scc::HashMap<u64, u64, RandomState> {
    fn new() -> Self {
        scc::HashMap::with_hasher(RandomState::new())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read_sync(&key, |_, n| *n)
    }
    fn insert(&self, key: u64, value: u64) {
        self.upsert_sync(key, value);
    }
    fn remove(&self, key: u64) {
        self.remove_sync(&key);
    }
    fn update(&self, key: u64) {
        self.update_sync(&key, |_, n| *n += 1);
    }
}

impl Map for dashmap::DashMap<u64, u64, RandomState> {
    fn new() -> Self {
        dashmap::DashMap::with_hasher(RandomState::new())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key).map(|n| *n)
    }
    fn insert(&self, key: u64, value: u64) {
        self.insert(key, value);
    }
    fn remove(&self, key: u64) {
        self.remove(&key);
    }
    fn update(&self, key: u64) {
        if let Some(mut n) = self.get_mut(&key) {
            *n += 1;
        }
    }
}

impl Map for flurry::HashMap<u64, u64, RandomState> {
    fn new() -> Self {
        flurry::HashMap::with_hasher(RandomState::new())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    fn insert(&self, key: u64, value: u64) {
        self.pin().insert(key, value);
    }
    fn remove(&self, key: u64) {
        self.pin().remove(&key);
    }
    fn update(&self, key: u64) {
        self.pin().compute_if_present(&key, |_, n| Some(n + 1));
    }
}

impl Map for RwLock<Std<u64, u64, RandomState>> {
    fn new() -> Self {
        RwLock::new(Std::with_hasher(RandomState::new()))
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }
    fn insert(&self, key: u64, value: u64) {
        self.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }
    fn remove(&self, key: u64) {
        self.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
    fn update(&self, key: u64) {
        if let Some(n) = self.write().unwrap_or_else(PoisonError::into_inner).get_mut(&key) {
            *n += 1;
        }
    }
}
