//! A concurrent map: many small maps, each behind a lock, so that readers never meet.
//!
//! `cargo run --release --example sharded_map -- [SECONDS]` reads on all CPUs while one thread
//! writes. Its tests compare it with `std::collections::HashMap`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

/// A map that any number of threads may use at once.
#[derive(Debug)]
pub struct ShardedMap<K, V> {
    shards: Box<[RwLock<HashMap<K, V>>]>,
    hasher: RandomState,
}

/// What [`ShardedMap::get`] returns. While it is alive, do not write to the map on this thread.
pub type Value<'a, V> = MappedRwLockReadGuard<'a, V>;

impl<K: Eq + Hash, V> ShardedMap<K, V> {
    /// An empty map. More shards make writers meet less; readers do not meet anyway.
    pub fn new(shards: usize) -> ShardedMap<K, V> {
        let shards = (0..shards.max(1)).map(|_| RwLock::new(HashMap::new())).collect();
        ShardedMap { shards, hasher: RandomState::new() }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V>> {
        &self.shards[self.hasher.hash_one(key) as usize % self.shards.len()]
    }

    /// The value of a key, as long as the guard lives.
    pub fn get<Q>(&self, key: &Q) -> Option<Value<'_, V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let shard = self.shard(key).read();
        RwLockReadGuard::try_map(shard, |map| map.get(key)).ok()
    }

    /// Gives a key a value; returns the one it had.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.shard(&key).write().insert(key, value)
    }

    /// Takes a key away; returns its value.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shard(key).write().remove(key)
    }

    /// Changes a value in one step. `f` sees `None` if there is none, and leaves `None` to remove
    /// it.
    pub fn update<R>(&self, key: K, f: impl FnOnce(&mut Option<V>) -> R) -> R {
        let mut shard = self.shard(&key).write();
        let mut value = shard.remove(&key);
        let result = f(&mut value);
        if let Some(value) = value {
            shard.insert(key, value);
        }
        result
    }

    /// How many keys there are; shard after shard, not at one moment.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const KEYS: u64 = 1024;

/// Reads per second of a reader on each CPU, while a writer comes once a millisecond.
fn rate(map: &ShardedMap<u64, u64>, length: Duration) -> f64 {
    let stop = &AtomicBool::new(false);
    let read_all = || {
        let mut reads = 0;
        while !stop.load(Ordering::Relaxed) {
            reads += (0..KEYS).filter(|key| map.get(key).is_some()).count();
        }
        reads
    };
    let begin = Instant::now();
    let reads: usize = thread::scope(|s| {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let readers: Vec<_> = (0..cpus).map(|_| s.spawn(read_all)).collect();
        for key in (0..KEYS).cycle().take_while(|_| begin.elapsed() < length) {
            map.insert(key, key);
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("reads do not panic")).sum()
    });
    reads as f64 / begin.elapsed().as_secs_f64()
}

fn main() {
    let wanted = std::env::args().nth(1).map_or(Ok(1.0), |seconds| seconds.parse());
    let Ok(Ok(length)) = wanted.map(Duration::try_from_secs_f64) else {
        eprintln!("usage: sharded_map [SECONDS]");
        std::process::exit(2);
    };
    for shards in [1, 16] {
        let map = ShardedMap::new(shards);
        (0..KEYS).for_each(|key| assert_eq!(map.insert(key, key), None));
        println!("{shards} shards: {:.1} million reads a second", rate(&map, length) / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, ShardedMap};
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    const THREADS: u64 = 4;
    const STEPS: u64 = 30_000;

    /// Each thread has keys of its own in the shards of all, and a plain map to compare with.
    #[test]
    fn it_does_what_a_plain_map_does() {
        let map = ShardedMap::new(8);
        let check = |me: u64| {
            let mut random = fastrand::Rng::with_seed(me);
            let mut plain = HashMap::new();
            for step in 0..STEPS {
                let key = random.u64(0..KEYS / THREADS) * THREADS + me;
                match random.u32(0..20) {
                    0 => assert_eq!(map.insert(key, step), plain.insert(key, step)),
                    1 => assert_eq!(map.remove(&key), plain.remove(&key)),
                    2 => {
                        map.update(key, |value| *value.get_or_insert(0) += 1);
                        *plain.entry(key).or_insert(0) += 1;
                    }
                    _ => assert_eq!(map.get(&key).as_deref(), plain.get(&key)),
                }
            }
            assert!(plain.iter().all(|(key, value)| map.get(key).as_deref() == Some(value)));
            plain.len()
        };
        let lengths: usize = thread::scope(|s| {
            let threads: Vec<_> = (0..THREADS).map(|me| s.spawn(move || check(me))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((map.len(), map.is_empty()), (lengths, false));
    }

    /// All threads at the same keys: no update is lost, and no reader sees half of one.
    #[test]
    fn updates_are_one_step() {
        let (map, reads) = (ShardedMap::new(2), AtomicU32::new(0));
        thread::scope(|s| {
            for _ in 0..THREADS {
                s.spawn(|| {
                    for step in 0..STEPS {
                        if step % 8 == 0 {
                            map.update(step % 3 * 8, |pair| {
                                let (a, b) = pair.unwrap_or((0, 0));
                                *pair = Some((a + 1, b + 1));
                            });
                        } else if let Some(pair) = map.get(&(step % 3 * 8)) {
                            assert_eq!(pair.0, pair.1);
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let total: u64 = (0..3).map(|key| map.get(&(key * 8)).unwrap().0).sum();
        assert_eq!(total, THREADS * STEPS.div_ceil(8));
        assert!(reads.into_inner() > 0);
    }
}
