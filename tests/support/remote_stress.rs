//! A structure as others may write them, on `RawPerCpu`: numbers, of which each CPU keeps some. None
//! is had by two, whoever takes numbers and puts them back, while threads migrate, are preempted and
//! interrupted, and others take from any CPU what it keeps.

#[path = "crowd.rs"]
pub(crate) mod crowd;

use crowd::Report;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Duration;
use stillpoint::percpu::RawPerCpu;
use stillpoint::rseq::cache::{self, HEAD};

const ROOM: usize = 16;
/// Numbers that a worker has at most.
const MOST: usize = 12;

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

/// The number is ours now. False if it is somebody's.
fn own(number: NonZero<usize>) -> bool {
    crowd::count();
    let sound = HAD.get(number.get()).is_some_and(|had| !had.swap(true, AcqRel));
    if !sound {
        crowd::violation();
    }
    sound
}

fn disown(number: NonZero<usize>) {
    HAD[number.get()].store(false, Release);
    NUMBERS.put(number);
}

fn work(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut mine = Vec::with_capacity(MOST);
    while !crowd::is_over() {
        match random.u32(..1000) {
            0..2 => crowd::wander(&mut random),
            2..500 if mine.len() < MOST => mine.extend(Some(NUMBERS.get()).filter(|n| own(*n))),
            _ => mine.pop().into_iter().for_each(disown),
        }
    }
    mine.into_iter().for_each(disown);
}

/// The stress, once in a process.
pub(crate) fn run(time: Duration) -> Report {
    let rob = |random: &mut fastrand::Rng| {
        NUMBERS.take_back(random.usize(..stillpoint::machine().slots() as usize));
    };
    crowd::run(time, crowd::nothing, &work, &[&rob, &rob]);
    // All are free, and each is there once.
    (0..NUMBERS.free.len()).for_each(|cpu| _ = NUMBERS.take_back(cpu));
    let mut left: Vec<_> = NUMBERS.others.lock().unwrap().iter().map(|n| n.get()).collect();
    left.sort_unstable();
    if !left.iter().copied().eq(1..=NUMBERS.used.load(Relaxed)) {
        eprintln!("left of {:?}: {left:?}", NUMBERS.used);
        crowd::violation();
    }
    crowd::report()
}
