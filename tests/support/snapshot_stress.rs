//! Leaf readers and owners of handles against writers, over an allocator that poisons what is
//! freed.
//!
//! A value says by its words what it is: all of them are one stamp, whose halves belong together.
//! So half a value shows, and so does freed memory. Values of a word, of a cache line, and of the
//! largest size, whose reads last long enough to meet a writer who frees at once. Shared objects
//! have
//! a mark that their end overwrites, and are counted.
//!
//! Threads move from CPU to CPU; a 1 ms timer's handler reads too.

#[path = "alarm.rs"]
mod alarm;
#[path = "cpus.rs"]
mod cpus;

use alarm::Timer;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rcu::{Domain, Handle, Shared, SharedOption, SnapshotCell};

/// The system's allocator, but that it overwrites what is given back.
struct Poisoning;

// SAFETY: the system's allocator does the work; writing to a block before it is given back is the
// owner's right.
unsafe impl GlobalAlloc for Poisoning {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise. Volatile, so that it happens.
        unsafe {
            for at in 0..layout.size() / 8 {
                block.cast::<u64>().add(at).write_volatile(0xdead_dead_dead_dead);
            }
            System.dealloc(block, layout);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Poisoning = Poisoning;

const READERS: usize = 4;
/// Words of the largest value that is read by a section.
const MANY: usize = 512;
const LIVE: u64 = 0x51ee_9017;

static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
pub(crate) static READS: AtomicU64 = AtomicU64::new(0);
static READS_IN_HANDLERS: AtomicU64 = AtomicU64::new(0);
static OBJECTS: AtomicU64 = AtomicU64::new(0);

/// A word that is nothing else by accident.
fn stamp(n: u64) -> u64 {
    let low = n & u64::from(u32::MAX);
    low | (!low.wrapping_mul(0x9e37_79b9)) << 32
}

fn check<const N: usize>(words: [u64; N]) {
    let first = words[0];
    if stamp(first) != first || words.iter().any(|word| *word != first) {
        VIOLATIONS.fetch_add(1, Relaxed);
    }
}

/// What handles point at.
struct Object(AtomicU64);

impl Object {
    fn new() -> Object {
        OBJECTS.fetch_add(1, Relaxed);
        Object(AtomicU64::new(LIVE))
    }

    fn check(&self) {
        if self.0.load(Relaxed) != LIVE {
            VIOLATIONS.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        OBJECTS.fetch_sub(1, Relaxed);
        if self.0.swap(0, Relaxed) != LIVE {
            VIOLATIONS.fetch_add(1, Relaxed);
        }
    }
}

type Cell<const N: usize> = SnapshotCell<[u64; N], &'static Domain>;

struct World {
    domain: &'static Domain,
    one: Cell<1>,
    line: Cell<8>,
    many: Cell<MANY>,
    shared: Shared<Object, &'static Domain>,
    option: SharedOption<Object, &'static Domain>,
    stop: AtomicBool,
}

/// The world that signal handlers act in; worlds are leaked.
static CURRENT: AtomicPtr<World> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn read_in_handler(_: libc::c_int) {
    // SAFETY: leaked.
    if let Some(world) = unsafe { CURRENT.load(Acquire).as_ref() } {
        check(world.one.get());
        check(world.line.get());
        check(world.many.get());
        READS_IN_HANDLERS.fetch_add(1, Relaxed);
    }
}

fn reader(
    world: &World,
    seed: u64,
    out: mpsc::SyncSender<Handle<Object>>,
    from: &std::sync::Mutex<mpsc::Receiver<Handle<Object>>>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let allowed = cpus::allowed();
    let mut kept = Vec::new();
    while !world.stop.load(Relaxed) {
        READS.fetch_add(1, Relaxed);
        match random.u32(..1000) {
            0..200 => check(world.one.get()),
            200..400 => check(world.line.get()),
            400..700 => check(world.many.get()),
            700..850 => {
                let handle = world.shared.load();
                handle.check();
                kept.push(handle);
            }
            850..900 => kept.extend(world.option.load()),
            900..980 => {
                if !kept.is_empty() {
                    let handle = kept.swap_remove(random.usize(..kept.len()));
                    handle.check();
                    let _ = out.try_send(handle);
                }
            }
            980..995 => {
                if let Ok(from) = from.try_lock() {
                    kept.extend(from.try_iter());
                }
            }
            995..999 => thread::yield_now(),
            _ => {
                cpus::restrict(0, &[allowed[random.usize(..allowed.len())]]);
            }
        }
        if kept.len() > 64 {
            kept.drain(..).for_each(|handle| handle.check());
        }
    }
}

fn writer(world: &World, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut last = Handle::new(Object::new());
    while !world.stop.load(Relaxed) {
        let word = stamp(random.u64(..));
        match random.u32(..100) {
            0..15 => world.one.set([word]),
            15..25 => world.line.set([word; 8]),
            25..30 => check(world.line.swap([word; 8])),
            30..35 => {
                world.one.update(|old| {
                    check(old);
                    [word]
                });
            }
            35..40 => _ = world.one.compare_exchange(world.one.get(), [word]),
            40..60 => {
                world.many.set([word; MANY]);
                // Frees at once: who still reads meets it.
                world.domain.barrier();
            }
            60..70 => {
                world.shared.store(Object::new());
                world.domain.barrier();
            }
            70..75 => last = world.shared.swap(Object::new()),
            // The same one again, and in two cells.
            75..80 => world.shared.store(last.clone()),
            80..85 => world.option.store(Some(last.clone())),
            85..90 => world.option.store(random.bool().then(|| Handle::new(Object::new()))),
            90..95 => drop(world.shared.rcu(|old| {
                old.check();
                Object::new()
            })),
            _ => _ = world.option.compare_and_swap(Some(&last), None),
        }
        last.check();
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tier: Tier,
    pub(crate) violations: u64,
    pub(crate) reads: u64,
    pub(crate) reads_in_handlers: u64,
    pub(crate) broadcasts: u64,
    /// Objects that were not dropped, or too often.
    pub(crate) left: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} violations in {} reads and {} in handlers, {} broadcasts, {} objects left",
            self.tier,
            self.violations,
            self.reads,
            self.reads_in_handlers,
            self.broadcasts,
            self.left
        )
    }
}

/// Runs for `time`, or until something is wrong, on a tier no higher than `tier`. One at a time.
pub(crate) fn run(tier: Tier, time: Duration) -> Report {
    let counters = [&VIOLATIONS, &READS, &READS_IN_HANDLERS, &OBJECTS];
    let before = counters.map(|counter| counter.load(Relaxed));
    let domain: &'static Domain = Box::leak(Box::new(Domain::builder().tier(tier).build()));
    let world: &'static World = Box::leak(Box::new(World {
        domain,
        one: SnapshotCell::new_in([stamp(1)], domain),
        line: SnapshotCell::new_in([stamp(1); 8], domain),
        many: SnapshotCell::new_in([stamp(1); MANY], domain),
        shared: Shared::new_in(Object::new(), domain),
        option: SharedOption::empty_in(domain),
        stop: AtomicBool::new(false),
    }));
    CURRENT.store(std::ptr::from_ref(world).cast_mut(), Release);
    let timer = Timer::start(read_in_handler);
    let (out, from) = mpsc::sync_channel(16);
    let from = Arc::new(std::sync::Mutex::new(from));
    thread::scope(|scope| {
        for seed in 0..READERS as u64 {
            let (out, from) = (out.clone(), from.clone());
            scope.spawn(move || reader(world, seed, out, &from));
        }
        for seed in 100..102 {
            scope.spawn(move || writer(world, seed));
        }
        let end = Instant::now() + time;
        while Instant::now() < end && VIOLATIONS.load(Relaxed) == before[0] {
            // A thread that the library has never seen.
            let short = thread::spawn(|| {
                check(world.many.get());
                world.shared.load().check();
            });
            short.join().unwrap();
        }
        world.stop.store(true, Relaxed);
    });
    drop(timer);
    CURRENT.store(std::ptr::null_mut(), Release);
    drop((out, from));
    world.option.store(None);
    domain.barrier();
    let after = counters.map(|counter| counter.load(Relaxed));
    Report {
        tier: domain.tier(),
        violations: after[0] - before[0],
        reads: after[1] - before[1],
        reads_in_handlers: after[2] - before[2],
        broadcasts: domain.statistics().broadcasts,
        // The world keeps one.
        left: (after[3] - before[3]).wrapping_sub(1),
    }
}
