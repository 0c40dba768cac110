//! A map under stress: threads that put in, take out, replace, look up and iterate, while it grows
//! and shrinks.
//!
//! A value knows its key and whether it was freed. Every writer has keys that only it writes, so it
//! knows what it must find; all readers know in what order each key's values came. In the end the
//! map has what the writers know, and every value was dropped once.

#[path = "alarm.rs"]
mod alarm;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::map::HashMap;
use stillpoint::rcu::Domain;

const WRITERS: u64 = 2;
const READERS: u64 = 2;
/// Of each writer.
const KEYS: u64 = 400;
/// Keys that nobody writes.
const BYSTANDERS: std::ops::Range<u64> = 1 << 20..(1 << 20) + 64;

/// What all threads have done; for whoever watches whether they do anything.
pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static MADE: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

const ALIVE: u64 = 0x600d_600d_600d_600d;
const DEAD: u64 = 0xdead_dead_dead_dead;

#[derive(Debug)]
struct Value {
    state: AtomicU64,
    key: u64,
    version: u64,
}

impl Value {
    fn new(key: u64, version: u64) -> Value {
        MADE.fetch_add(1, Relaxed);
        Value { state: AtomicU64::new(ALIVE), key, version }
    }

    /// False if it is not this key's, or was freed.
    fn is_good(&self, key: u64) -> bool {
        self.state.load(Relaxed) == ALIVE && self.key == key
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.state.swap(DEAD, Relaxed) == ALIVE {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

type Map = HashMap<u64, Value, stillpoint::map::RandomState, &'static Domain>;

struct Shared {
    map: Map,
    /// The version of each key that its writer put in last, and has come back.
    put: Vec<AtomicU64>,
    violations: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    resizes: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn expect(&self, holds: bool, what: &str) {
        if !holds && self.violations.fetch_add(1, Relaxed) < 5 {
            println!("violation: {what}");
        }
    }

    fn goes_on(&self) -> bool {
        OPERATIONS.fetch_add(1, Relaxed);
        !self.stop.load(Relaxed) && self.violations.load(Relaxed) == 0
    }

    /// Its own keys, a few at a time or all of them.
    fn writer(&self, me: u64) {
        let mut random = fastrand::Rng::with_seed(me);
        let mine = me * KEYS;
        // What the map must have.
        let mut known = vec![None; KEYS as usize];
        let mut version = 0;
        while self.goes_on() {
            // Swells and ebbs.
            let wide = random.bool();
            let keys = if wide { KEYS } else { 8 };
            for _ in 0..random.u64(..2 * KEYS) {
                let n = random.u64(..keys);
                let (key, knows) = (mine + n, &mut known[n as usize]);
                let pinned = self.map.pin();
                version += 1;
                let before = match random.u32(..10) {
                    0..6 => {
                        let before = pinned.insert(key, Value::new(key, version));
                        self.put[key as usize].store(version, Release);
                        knows.replace(version).zip(Some(before))
                    }
                    6..9 => Some((knows.take().unwrap_or(0), pinned.remove(&key))),
                    _ => Some((knows.unwrap_or(0), pinned.get(&key))),
                };
                if let Some((knew, before)) = before {
                    let found = before.map_or(0, |value| value.version);
                    self.expect(found == knew, "a writer finds what it put in");
                    self.expect(before.is_none_or(|v| v.is_good(key)), "it is alive");
                }
                self.writes.fetch_add(1, Relaxed);
            }
            if !wide {
                // All but a few go.
                for n in 8..KEYS {
                    let removed = self.map.pin().remove(&(mine + n)).is_some();
                    let knew = known[n as usize].take().is_some();
                    self.expect(removed == knew, "what was put in is taken out");
                }
            }
            if random.u32(..4) == 0 {
                let room = self.map.capacity();
                if random.bool() {
                    self.map.shrink_to_fit()
                } else {
                    self.map.reserve(500)
                }
                self.resizes.fetch_add((self.map.capacity() != room).into(), Relaxed);
            }
        }
        for (n, knows) in known.iter().enumerate() {
            let key = mine + n as u64;
            let found = self.map.pin().get(&key).map(|value| value.version);
            self.expect(found == *knows, "in the end all is there");
        }
    }

    fn reader(&self, me: u64) {
        let mut random = fastrand::Rng::with_seed(100 + me);
        let mut seen = vec![0_u64; (WRITERS * KEYS) as usize];
        while self.goes_on() {
            let pinned = self.map.pin();
            if random.u32(..50) == 0 {
                let mut bystanders = 0;
                for (key, value) in &pinned {
                    self.expect(value.is_good(*key), "an entry is alive");
                    bystanders += u64::from(BYSTANDERS.contains(key));
                }
                let all = BYSTANDERS.end - BYSTANDERS.start;
                self.expect(bystanders == all, "an iteration sees each bystander once");
            }
            for _ in 0..random.u32(..100) {
                let narrow = random.bool();
                let key =
                    random.u64(..WRITERS) * KEYS + random.u64(..if narrow { 8 } else { KEYS });
                let bystander = random.u64(BYSTANDERS);
                let found = pinned.get(&bystander);
                self.expect(found.is_some_and(|v| v.is_good(bystander)), "a bystander stays");
                let put = self.put[key as usize].load(Acquire);
                let seen = &mut seen[key as usize];
                if let Some(value) = pinned.get(&key) {
                    self.expect(value.is_good(key), "a value is alive");
                    // Versions come in order, and what was replaced before is not found any more.
                    self.expect(value.version >= *seen, "no older than what was seen");
                    self.expect(value.version >= put, "no older than what was put in");
                    *seen = value.version;
                    let again = random.u32(..20);
                    (0..again).for_each(|_| std::hint::spin_loop());
                    self.expect(value.is_good(key), "it stays alive");
                }
                self.reads.fetch_add(1, Relaxed);
            }
            if random.u32(..100) == 0 {
                thread::yield_now();
            }
        }
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tier: Tier,
    pub(crate) violations: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) resizes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { tier, violations, reads, writes, resizes } = self;
        write!(f, "{tier}: {violations} violations, {reads} reads, {writes} writes, ")?;
        write!(f, "{resizes} resizes asked for")
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Runs for `time`, or until something is wrong. One run at a time.
pub(crate) fn run(tier: Tier, time: Duration) -> Report {
    let domain = Box::into_raw(Box::new(Domain::builder().tier(tier).build()));
    let (made, dropped) = (MADE.load(Relaxed), DROPPED.load(Relaxed));
    // SAFETY: freed below, when nobody uses it.
    let map = HashMap::new_in(unsafe { &*domain });
    let shared = Shared {
        map,
        put: (0..WRITERS * KEYS).map(|_| AtomicU64::new(0)).collect(),
        violations: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        resizes: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    BYSTANDERS.for_each(|key| _ = shared.map.pin().insert(key, Value::new(key, 1)));
    let timer = alarm::Timer::start(nothing);
    thread::scope(|scope| {
        (0..WRITERS).for_each(|me| {
            _ = scope.spawn({
                let shared = &shared;
                move || shared.writer(me)
            })
        });
        (0..READERS).for_each(|me| {
            _ = scope.spawn({
                let shared = &shared;
                move || shared.reader(me)
            })
        });
        let end = Instant::now() + time;
        while Instant::now() < end && shared.violations.load(Relaxed) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        shared.stop.store(true, Relaxed);
    });
    drop(timer);
    let entries = shared.map.pin().iter().count();
    shared.expect(entries == shared.map.len(), "the count is right");
    let Shared { map, violations, reads, writes, resizes, .. } = shared;
    drop(map);
    // SAFETY: nobody uses it any more.
    drop(unsafe { Box::from_raw(domain) });
    let alike = MADE.load(Relaxed) - made == DROPPED.load(Relaxed) - dropped;
    if !alike {
        println!("violation: every value is dropped once");
    }
    Report {
        tier,
        violations: violations.into_inner() + u64::from(!alike),
        reads: reads.into_inner(),
        writes: writes.into_inner(),
        resizes: resizes.into_inner(),
    }
}
