//! Every piece of memory of a pool belongs to one value at a time, while threads migrate, are
//! preempted and interrupted, hand values to each other, and others trim and drain.

#[path = "cpus.rs"]
pub(crate) mod cpus;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use stillpoint::percpu::{Pool, PoolBox, PoolLimits};

const WORKERS: usize = 4;
/// Values that a worker has at most.
const MOST: usize = 48;
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// Filled with its number as long as it lives.
type Value = [u64; 6];
type Owned = PoolBox<Value>;

const LIMITS: PoolLimits = PoolLimits::new().per_cpu(16, 4096).depot(64, 1 << 20).room(32);
static POOL: Pool<Value> = Pool::with_limits(LIMITS);
static NUMBERS: AtomicU64 = AtomicU64::new(1);
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
/// Values that were made so far.
pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

fn make() -> Owned {
    OPERATIONS.fetch_add(1, Relaxed);
    POOL.boxed([NUMBERS.fetch_add(1, Relaxed); 6])
}

fn end(mut value: Owned) {
    let number = value[0];
    if number == 0 || value.iter().any(|n| *n != number) {
        VIOLATIONS.fetch_add(1, Relaxed);
        STOP.store(true, Relaxed);
    }
    *value = [0; 6];
}

fn work(seed: u64, to: &std::sync::mpsc::SyncSender<Owned>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let cpus = cpus::allowed();
    let mut mine = Vec::with_capacity(MOST);
    while !STOP.load(Relaxed) {
        match random.u32(..1000) {
            0 => std::thread::yield_now(),
            1 => {
                cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]);
            }
            2..500 if mine.len() < MOST => mine.push(make()),
            500..510 => {
                if let Some(Err(error)) = mine.pop().map(|value| to.try_send(value)) {
                    let (std::sync::mpsc::TrySendError::Full(value)
                    | std::sync::mpsc::TrySendError::Disconnected(value)) = error;
                    end(value);
                }
            }
            _ if !mine.is_empty() => {
                let at = random.usize(..mine.len());
                end(mine.swap_remove(at));
            }
            _ => {}
        }
    }
    mine.into_iter().for_each(end);
}

/// A signal that comes and goes aborts sections.
extern "C" fn handler(_: libc::c_int) {}

/// What came out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    pub(crate) operations: u64,
}

/// The stress, once in a process.
pub(crate) fn run(time: Duration) -> Report {
    // SAFETY: a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(SIGNAL, &action, std::ptr::null_mut()), 0);
    }
    let threads = &[const { AtomicUsize::new(0) }; WORKERS];
    let (to, from) = sync_channel(MOST);
    std::thread::scope(|scope| {
        let workers = threads.iter().enumerate().map(|(seed, thread)| {
            let to = to.clone();
            scope.spawn(move || {
                // SAFETY: no preconditions.
                thread.store(unsafe { libc::pthread_self() } as usize, Relaxed);
                work(seed as u64, &to);
            })
        });
        let workers: Vec<_> = workers.collect();
        drop(to);
        scope.spawn(move || from.into_iter().for_each(end));
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !STOP.load(Relaxed) {
                match random.usize(..9) {
                    0 => POOL.trim(),
                    8 => POOL.set_limits(LIMITS.per_cpu(random.usize(..40), 4096)),
                    cpu => POOL.drain(cpu % stillpoint::machine().slots() as usize),
                }
                (0..random.u32(..500)).for_each(|_| std::hint::spin_loop());
            }
        });
        let begin = Instant::now();
        while begin.elapsed() < time && !STOP.load(Relaxed) {
            for thread in threads.iter().map(|thread| thread.load(Relaxed)) {
                if thread != 0 {
                    // SAFETY: not joined yet.
                    unsafe { libc::pthread_kill(thread as libc::pthread_t, SIGNAL) };
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        STOP.store(true, Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    // All is free, and each piece is there once.
    let seen = POOL.statistics();
    let free = seen.cached() + seen.depot;
    if free != seen.cells {
        eprintln!("{free} pieces of {} are free", seen.cells);
        VIOLATIONS.fetch_add(1, Relaxed);
    }
    POOL.trim();
    let seen = POOL.statistics();
    if (seen.cells, seen.cached(), seen.depot) != (0, 0, 0) {
        eprintln!("{seen:?} after trimming");
        VIOLATIONS.fetch_add(1, Relaxed);
    }
    Report { violations: VIOLATIONS.load(Relaxed), operations: OPERATIONS.load(Relaxed) }
}
