//! A structure as others may write them, on `RawPerCpu`: numbers, of which each CPU keeps some. None
//! is had by two, whoever takes numbers and puts them back, while threads migrate, are preempted and
//! interrupted, and others take from any CPU what it keeps.

#[path = "cpus.rs"]
pub(crate) mod cpus;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};
use stillpoint::percpu::RawPerCpu;
use stillpoint::rseq::cache::{self, HEAD};

const ROOM: usize = 16;
const WORKERS: usize = 4;
/// Numbers that a worker has at most.
const MOST: usize = 12;
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// Numbers that are used again.
pub(crate) struct Numbers {
    pub(crate) free: RawPerCpu,
    others: Mutex<Vec<NonZero<usize>>>,
    used: AtomicUsize,
}

impl Numbers {
    pub(crate) const fn new() -> Numbers {
        let free = RawPerCpu::new(HEAD + ROOM);
        Numbers { free, others: Mutex::new(Vec::new()), used: AtomicUsize::new(0) }
    }

    pub(crate) fn get(&self) -> NonZero<usize> {
        // SAFETY: an array with this room; only sequences and `take_back` store there.
        let here = self.free.attempt(|place| unsafe { cache::pop(place) });
        let other = || self.others.lock().unwrap().pop();
        let fresh = || NonZero::new(self.used.fetch_add(1, Relaxed) + 1).unwrap();
        here.or_else(other).unwrap_or_else(fresh)
    }

    pub(crate) fn put(&self, number: NonZero<usize>) {
        // SAFETY: as in `get`.
        let push = |place: &_| unsafe { cache::push(place, number, ROOM) }.then_some(());
        if self.free.attempt(push).is_none() {
            self.others.lock().unwrap().push(number);
        }
    }

    /// What a CPU keeps goes to all. Returns how many they were.
    pub(crate) fn take_back(&self, cpu: usize) -> usize {
        let taken = self.free.stopped(cpu, |part| {
            let length = part.word(1).swap(0, Acquire) as usize;
            let items = (0..length).map(|at| part.word(HEAD + at).load(Relaxed) as usize);
            items.filter_map(NonZero::new).collect::<Vec<_>>()
        });
        let taken = taken.unwrap_or_default();
        self.others.lock().unwrap().extend(&taken);
        taken.len()
    }

    /// How many each CPU keeps.
    #[allow(dead_code, reason = "the mutants do not ask")]
    pub(crate) fn kept(&self, cpu: usize) -> usize {
        self.free.get(cpu).map_or(0, |part| part.word(1).load(Relaxed) as usize)
    }
}

static NUMBERS: Numbers = Numbers::new();
/// Those that are somebody's.
static HAD: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
/// Numbers that were taken so far.
pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

fn violation() {
    VIOLATIONS.fetch_add(1, Relaxed);
    STOP.store(true, Relaxed);
}

/// The number is ours now. False if it is somebody's.
fn own(number: NonZero<usize>) -> bool {
    OPERATIONS.fetch_add(1, Relaxed);
    let sound = HAD.get(number.get()).is_some_and(|had| !had.swap(true, AcqRel));
    if !sound {
        violation();
    }
    sound
}

fn disown(number: NonZero<usize>) {
    HAD[number.get()].store(false, Release);
    NUMBERS.put(number);
}

fn work(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let cpus = cpus::allowed();
    let mut mine = Vec::with_capacity(MOST);
    while !STOP.load(Relaxed) {
        match random.u32(..1000) {
            0 => std::thread::yield_now(),
            1 => _ = cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]),
            2..500 if mine.len() < MOST => mine.extend(Some(NUMBERS.get()).filter(|n| own(*n))),
            _ => mine.pop().into_iter().for_each(disown),
        }
    }
    mine.into_iter().for_each(disown);
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
    std::thread::scope(|scope| {
        let workers = threads.iter().enumerate().map(|(seed, thread)| {
            scope.spawn(move || {
                // SAFETY: no preconditions.
                thread.store(unsafe { libc::pthread_self() } as usize, Relaxed);
                work(seed as u64);
            })
        });
        let workers: Vec<_> = workers.collect();
        for seed in 0..2 {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(100 + seed);
                while !STOP.load(Relaxed) {
                    NUMBERS.take_back(random.usize(..stillpoint::machine().slots() as usize));
                    (0..random.u32(..500)).for_each(|_| std::hint::spin_loop());
                }
            });
        }
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
    // All are free, and each is there once.
    (0..NUMBERS.free.len()).for_each(|cpu| _ = NUMBERS.take_back(cpu));
    let mut left: Vec<_> = NUMBERS.others.lock().unwrap().iter().map(|n| n.get()).collect();
    left.sort_unstable();
    if !left.iter().copied().eq(1..=NUMBERS.used.load(Relaxed)) {
        eprintln!("left of {:?}: {left:?}", NUMBERS.used);
        violation();
    }
    Report { violations: VIOLATIONS.load(Relaxed), operations: OPERATIONS.load(Relaxed) }
}
