//! The locks that can be asked for.

use crate::peers::{Cna, CohortOfQueues, Queue, TestAndSet, Ticket};
use stillpoint::lock::lock_api::{RawMutex, RawRwLock as _};
use stillpoint::lock::{
    ByNode, Cohorts, RawCohortMutex, RawMutex as Mutex, RawRwLock, RawSpinLock,
};

/// A lock, as threads with numbers use it.
pub trait Lock {
    /// Takes it.
    fn acquire(&self, thread: usize);
    /// Gives it up.
    fn release(&self, thread: usize);
}

/// A lock that is shipped. Another one takes a line in [`NAMES`] and one in [`make`].
#[repr(align(64))]
struct Shipped<R: RawMutex> {
    raw: R,
    guards: Guards<R::Guard>,
}

/// What the holder keeps.
type Guards<G> = std::cell::Cell<Option<G>>;

impl<R: RawMutex> Shipped<R> {
    fn boxed() -> Box<dyn Lock>
    where
        R: 'static,
    {
        Box::new(Shipped { raw: R::INIT, guards: Guards::new(None) })
    }
}

impl<R: RawMutex> Lock for Shipped<R> {
    fn acquire(&self, _: usize) {
        let guard = self.raw.lock();
        self.guards.set(Some(guard));
    }

    fn release(&self, _: usize) {
        let guard = self.guards.take().expect("held");
        // SAFETY: this lock's guard, given back once.
        unsafe { self.raw.unlock(guard) };
    }
}

/// The writers of the reader-writer lock: one word, waiters in the parking lot.
#[repr(align(64))]
struct Writers {
    raw: RawRwLock,
    guards: Guards<<RawRwLock as stillpoint::lock::lock_api::RawRwLock>::ExclusiveGuard>,
}

impl Lock for Writers {
    fn acquire(&self, _: usize) {
        let guard = self.raw.lock_exclusive();
        self.guards.set(Some(guard));
    }

    fn release(&self, _: usize) {
        let guard = self.guards.take().expect("held");
        // SAFETY: this lock's guard, given back once.
        unsafe { self.raw.unlock_exclusive(guard) };
    }
}

/// Nodes with another bound than the default.
struct Bounded<const PASSES: u32>;

impl<const PASSES: u32> Cohorts for Bounded<PASSES> {
    const PASSES: u32 = PASSES;

    fn cohort() -> u32 {
        ByNode::cohort()
    }
}

/// By simulated last-level caches: the shipped table is that of the machine that this runs on.
struct ByCache;

impl Cohorts for ByCache {
    fn cohort() -> u32 {
        sim_machine::current_cache().unwrap_or(0)
    }
}

struct One;

impl Cohorts for One {
    fn cohort() -> u32 {
        0
    }
}

/// What [`make`] makes. `cohort-10` and `cohort-100` have another bound of passes; `cohort-one`
/// has all threads in one cohort, and is a queue that passes over those who do not run. `cna`
/// leaves its node by chance, once in 65536 handovers, as in the paper; `cna-64` once in 64.
pub const NAMES: [&str; 16] = [
    "mutex",
    "spin",
    "cohort",
    "cohort-10",
    "cohort-100",
    "cohort-cache",
    "cohort-one",
    "rwlock",
    "tas",
    "ticket",
    "mcs",
    "c-bo-mcs",
    "c-tkt-mcs",
    "c-tkt-mcs-10",
    "cna",
    "cna-64",
];

/// The lock of that name, for so many threads, on so many nodes.
pub fn make(name: &str, threads: usize, nodes: usize) -> Option<Box<dyn Lock>> {
    Some(match name {
        "mutex" => Shipped::<Mutex>::boxed(),
        "spin" => Shipped::<RawSpinLock>::boxed(),
        "cohort" => Shipped::<RawCohortMutex<ByNode>>::boxed(),
        "cohort-10" => Shipped::<RawCohortMutex<Bounded<10>>>::boxed(),
        "cohort-100" => Shipped::<RawCohortMutex<Bounded<100>>>::boxed(),
        "cohort-cache" => Shipped::<RawCohortMutex<ByCache>>::boxed(),
        "cohort-one" => Shipped::<RawCohortMutex<One>>::boxed(),
        "rwlock" => Box::new(Writers { raw: RawRwLock::INIT, guards: Guards::new(None) }),
        "tas" => Box::new(TestAndSet::default()),
        "ticket" => Box::new(Ticket::default()),
        "mcs" => Box::new(Queue::new(threads)),
        "c-bo-mcs" => Box::new(CohortOfQueues::new(threads, nodes, 64, false)),
        "c-tkt-mcs" => Box::new(CohortOfQueues::new(threads, nodes, 64, true)),
        "c-tkt-mcs-10" => Box::new(CohortOfQueues::new(threads, nodes, 10, true)),
        "cna" => Box::new(Cna::new(threads, 1 << 16)),
        "cna-64" => Box::new(Cna::new(threads, 64)),
        _ => return None,
    })
}
