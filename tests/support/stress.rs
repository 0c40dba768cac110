//! Readers of every kind against writers that poison and free what they replace.
//!
//! The objects stand in a static arena and are never unmapped: "freed" is a state, so that a
//! reader who meets it tells, instead of reading whatever the allocator put there. An object is
//! freed when its [`Handle`] is dropped, and reused only after a thousand others.
//!
//! Readers: nested, overlapping in any order, moved to other threads, inside signal handlers
//! (a 1 ms timer), in thread-local destructors, in threads that exit at once; eight threads that
//! move from CPU to CPU all the time.

#[path = "alarm.rs"]
mod alarm;
#[path = "cpus.rs"]
pub(crate) mod cpus;
#[path = "obstacles.rs"]
pub(crate) mod obstacles;

use alarm::Timer;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rcu::{Domain, RcuCell, ReadGuard, SendGuard};

const READERS: usize = 8;
const OBJECTS: usize = 4096;
/// Freed objects rest this long before they are used again.
const QUARANTINE: usize = 1000;

/// Odd: alive. Even: freed. Rises with each use.
static ARENA: [AtomicU64; OBJECTS] = [const { AtomicU64::new(0) }; OBJECTS];
static FREE: Mutex<VecDeque<usize>> = Mutex::new(VecDeque::new());
static ALIVE: AtomicU64 = AtomicU64::new(0);
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
static READS: AtomicU64 = AtomicU64::new(0);
static READS_IN_HANDLERS: AtomicU64 = AtomicU64::new(0);
static READS_IN_DESTRUCTORS: AtomicU64 = AtomicU64::new(0);
static DESTROYED_EARLY: AtomicU64 = AtomicU64::new(0);

/// The value in the cells: an object of the arena, freed on drop.
pub(crate) struct Handle(usize);

impl Handle {
    fn new() -> Handle {
        let mut free = FREE.lock().unwrap();
        // All objects rest: the writers outran the callbacks. Waiting would be unfair to them;
        // take the oldest.
        let object = free.pop_front().expect("fewer objects alive than in the arena");
        drop(free);
        ALIVE.fetch_add(1, Relaxed);
        if ARENA[object].fetch_add(1, AcqRel) & 1 != 0 {
            DESTROYED_EARLY.fetch_add(1, Relaxed);
        }
        Handle(object)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if ARENA[self.0 % OBJECTS].fetch_add(1, AcqRel) & 1 == 0 {
            // Dropped twice.
            VIOLATIONS.fetch_add(1, Relaxed);
        }
        ALIVE.fetch_sub(1, Relaxed);
        FREE.lock().unwrap().push_back(self.0 % OBJECTS);
    }
}

type Cell = RcuCell<Handle, &'static Domain>;

/// What all threads of one run share.
struct Shared {
    domain: &'static Domain,
    cells: [Cell; 4],
    stop: AtomicBool,
}

/// A look at an object that must stay alive and the same.
struct Look {
    object: usize,
    state: u64,
}

impl Look {
    fn at(handle: &Handle) -> Look {
        // A freed handle's memory may hold anything.
        let object = handle.0 % OBJECTS;
        let look = Look { object, state: ARENA[object].load(Acquire) };
        if look.state & 1 == 0 {
            VIOLATIONS.fetch_add(1, Relaxed);
        }
        look
    }

    fn again(&self) {
        if ARENA[self.object].load(Acquire) != self.state {
            VIOLATIONS.fetch_add(1, Relaxed);
        }
    }
}

fn look(cell: &Cell, guard: &ReadGuard<'_>, linger: usize) {
    let look = Look::at(cell.load(guard));
    for _ in 0..linger {
        look.again();
        std::hint::spin_loop();
    }
    look.again();
    READS.fetch_add(1, Relaxed);
}

/// Something that outlives its run: a late signal may still look at it. Kept reachable, so that
/// leak checkers can tell it from a leak.
fn immortal<T: Send + Sync>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let value = Box::leak(Box::new(value));
    KEPT.lock().unwrap().push(std::ptr::from_ref(value).expose_provenance());
    value
}

/// The run that signal handlers and thread-local destructors take part in.
static CURRENT: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

fn current() -> Option<&'static Shared> {
    // SAFETY: runs are leaked.
    unsafe { CURRENT.load(Acquire).as_ref() }
}

extern "C" fn read_in_handler(_: libc::c_int) {
    if let Some(shared) = current() {
        let guard = shared.domain.read();
        look(&shared.cells[0], &guard, 4);
        let inner = shared.domain.read();
        drop(guard);
        look(&shared.cells[1], &inner, 4);
        READS_IN_HANDLERS.fetch_add(1, Relaxed);
    }
}

struct ReadsOnExit;

impl Drop for ReadsOnExit {
    fn drop(&mut self) {
        if let Some(shared) = current() {
            look(&shared.cells[2], &shared.domain.read(), 16);
            READS_IN_DESTRUCTORS.fetch_add(1, Relaxed);
        }
    }
}

thread_local!(static ON_EXIT: RefCell<Option<ReadsOnExit>> = const { RefCell::new(None) });

type Sent = SendGuard<'static>;

/// One reader: sections of all shapes, guards sent to and taken from the others.
fn reader(
    shared: &'static Shared,
    seed: u64,
    out: mpsc::SyncSender<Sent>,
    from: &Mutex<mpsc::Receiver<Sent>>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let allowed = cpus::allowed();
    while !shared.stop.load(Relaxed) {
        let cell = &shared.cells[random.usize(..shared.cells.len())];
        let linger = random.usize(..64);
        match random.u32(..100) {
            0..50 => look(cell, &shared.domain.read(), linger),
            50..70 => {
                let mut nested: Vec<_> = (0..random.usize(2..5))
                    .map(|_| {
                        let guard = shared.domain.read();
                        let look = Look::at(cell.load(&guard));
                        (guard, look)
                    })
                    .collect();
                random.shuffle(&mut nested);
                for (guard, earlier) in nested {
                    look(cell, &guard, linger);
                    earlier.again();
                }
            }
            70..80 => {
                let guard = shared.domain.read();
                let look = Look::at(cell.load(&guard));
                thread::yield_now();
                look.again();
            }
            80..88 => {
                let guard = shared.domain.read().into_send();
                look(cell, &guard, linger);
                let _ = out.try_send(guard);
            }
            88..94 => {
                if let Ok(from) = from.try_lock()
                    && let Ok(guard) = from.try_recv()
                {
                    look(cell, &guard, linger);
                }
            }
            94..99 => {
                if let Some(&cpu) = random.choice(&allowed) {
                    cpus::restrict(0, &[cpu]);
                }
            }
            _ => {
                let guard = shared.domain.read();
                let look = Look::at(cell.load(&guard));
                thread::sleep(Duration::from_micros(random.u64(..200)));
                look.again();
            }
        }
    }
}

/// One writer: every way to replace, in turn.
fn writer(shared: &'static Shared, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !shared.stop.load(Relaxed) {
        let cell = &shared.cells[random.usize(..shared.cells.len())];
        match random.u32(..10) {
            0..3 => cell.store(Handle::new()),
            3..5 => drop(cell.swap(Handle::new()).into_inner()),
            5 => drop(cell.swap(Handle::new())),
            6 => cell.update(|old| {
                Look::at(old).again();
                Handle::new()
            }),
            7 => {
                let guard = shared.domain.read();
                let now = cell.load(&guard);
                let _ = cell.compare_exchange(now, Handle::new(), &guard);
            }
            8 => shared.domain.synchronize(),
            _ => shared.domain.barrier(),
        }
        // Callbacks may lag behind readers that sleep; the arena must not run dry.
        while ALIVE.load(Relaxed) > (OBJECTS - QUARANTINE) as u64 {
            shared.domain.barrier();
        }
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    pub(crate) reads: u64,
    pub(crate) reads_in_handlers: u64,
    pub(crate) reads_in_destructors: u64,
    pub(crate) grace_periods: u64,
    pub(crate) tier: Tier,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} violations in {} reads ({} in handlers, {} in destructors), {} grace periods",
            self.tier,
            self.violations,
            self.reads,
            self.reads_in_handlers,
            self.reads_in_destructors,
            self.grace_periods,
        )
    }
}

/// Runs for `time`, or until something is wrong, with a domain of a tier no higher than `tier`.
///
/// One run at a time: timer, signal handler and arena are the process's.
pub(crate) fn run(tier: Tier, time: Duration) -> Report {
    {
        let mut free = FREE.lock().unwrap();
        if free.is_empty() && ALIVE.load(Relaxed) == 0 {
            free.extend(0..OBJECTS);
        }
    }
    let domain = immortal(Domain::builder().tier(tier).build());
    let shared = immortal(Shared {
        domain,
        cells: std::array::from_fn(|_| RcuCell::new_in(Handle::new(), domain)),
        stop: AtomicBool::new(false),
    });
    let counters = [&VIOLATIONS, &READS, &READS_IN_HANDLERS, &READS_IN_DESTRUCTORS];
    let before = counters.map(|counter| counter.load(Relaxed));
    CURRENT.store(std::ptr::from_ref(shared).cast_mut(), Release);
    let timer = Timer::start(read_in_handler);
    let (out, from) = mpsc::sync_channel(4);
    let from = immortal(Mutex::new(from));

    let mut threads: Vec<_> = (0..READERS as u64)
        .map(|seed| {
            let out = out.clone();
            thread::spawn(move || reader(shared, seed, out, from))
        })
        .collect();
    threads.extend((100..102).map(|seed| thread::spawn(move || writer(shared, seed))));
    let end = Instant::now() + time;
    while Instant::now() < end && VIOLATIONS.load(Relaxed) == before[0] {
        let short = thread::spawn(move || {
            ON_EXIT.set(Some(ReadsOnExit));
            look(&shared.cells[3], &shared.domain.read(), 8);
        });
        short.join().unwrap();
    }
    shared.stop.store(true, Relaxed);
    // Guards still under way would hold up the writers.
    let drain = thread::spawn(move || {
        while !threads.iter().all(thread::JoinHandle::is_finished) {
            drop(from.lock().unwrap().recv_timeout(Duration::from_millis(1)));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while from.lock().unwrap().try_recv().is_ok() {}
    });
    drain.join().unwrap();
    drop(timer);
    CURRENT.store(std::ptr::null_mut(), Release);
    domain.barrier();
    assert_eq!(domain.pending().callbacks, 0, "callbacks left behind by a barrier");
    let after = counters.map(|counter| counter.load(Relaxed));
    Report {
        violations: after[0] - before[0] + DESTROYED_EARLY.load(Relaxed),
        reads: after[1] - before[1],
        reads_in_handlers: after[2] - before[2],
        reads_in_destructors: after[3] - before[3],
        grace_periods: domain.grace_periods(),
        tier: domain.tier(),
    }
}

const LIVE: u64 = 1;
const FREED: u64 = 0xdead;

/// One reader and one writer, each on a CPU of its own, as fast as they go: the shortest way from
/// unlinking to freeing, against a reader whose count may still be in its store buffer. Returns
/// how often the reader met a freed object, and how many grace periods there were; `None` with
/// fewer than two CPUs.
pub(crate) fn duel(tier: Tier, time: Duration) -> Option<(u64, u64)> {
    static OBJECTS: [AtomicU64; 64] = [const { AtomicU64::new(LIVE) }; 64];
    static CURRENT: AtomicUsize = AtomicUsize::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let cpus = cpus::allowed();
    let (first, second) = (*cpus.first()?, *cpus.get(1)?);
    let domain = immortal(Domain::builder().tier(tier).build());
    STOP.store(false, Relaxed);
    let reader = thread::spawn(move || {
        cpus::restrict(0, &[second]);
        let mut violations = 0;
        while !STOP.load(Relaxed) {
            obstacles::pass();
            let guard = domain.read();
            let object = &OBJECTS[CURRENT.load(Acquire)];
            for _ in 0..20 {
                violations += u64::from(object.load(Relaxed) == FREED);
            }
            drop(guard);
            if violations > 0 {
                STOP.store(true, Relaxed);
            }
        }
        violations
    });
    let writer = thread::spawn(move || {
        cpus::restrict(0, &[first]);
        let end = Instant::now() + time;
        let mut next = 0;
        let mut random = fastrand::Rng::with_seed(7);
        while Instant::now() < end && !STOP.load(Relaxed) {
            obstacles::vary(&mut random);
            for _ in 0..100 {
                next = (next + 1) % OBJECTS.len();
                OBJECTS[next].store(LIVE, Relaxed);
                obstacles::pass();
                let old = CURRENT.swap(next, AcqRel);
                domain.synchronize();
                OBJECTS[old].store(FREED, Relaxed);
            }
        }
        STOP.store(true, Relaxed);
    });
    writer.join().unwrap();
    Some((reader.join().unwrap(), domain.grace_periods()))
}
