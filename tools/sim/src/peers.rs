//! Locks from the literature, to compare with. They spin without end, as their papers have them.

use crate::locks::Lock;
use sim_machine::atomic::{AtomicU32, AtomicUsize, Ordering};
use sim_machine::{current_node, pause, spin_while};
use std::cell::Cell;

const FOR_EVER: u32 = u32::MAX;

/// A word on a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Line<T>(T);

/// One word that everybody exchanges until it was free.
#[derive(Default)]
pub(crate) struct TestAndSet(Line<AtomicU32>);

impl Lock for TestAndSet {
    fn acquire(&self, _: usize) {
        while self.0.0.swap(1, Ordering::Acquire) != 0 {
            pause(1);
        }
    }

    fn release(&self, _: usize) {
        self.0.0.store(0, Ordering::Release);
    }
}

/// In the order of tickets; everybody spins on the number that is served.
#[derive(Default)]
pub(crate) struct Ticket {
    next: Line<AtomicU32>,
    served: Line<AtomicU32>,
}

impl Lock for Ticket {
    fn acquire(&self, _: usize) {
        let mine = self.next.0.fetch_add(1, Ordering::Relaxed);
        let mut now = self.served.0.load(Ordering::Acquire);
        while now != mine {
            now = spin_while(&self.served.0, now, FOR_EVER);
        }
    }

    fn release(&self, _: usize) {
        let now = self.served.0.load(Ordering::Relaxed);
        self.served.0.store(now.wrapping_add(1), Ordering::Release);
    }
}

const WAITS: u32 = 0;
/// The lock is handed over, in a cohort with the global lock.
const HANDED: u32 = 1;
/// The local lock alone is.
const LOCAL: u32 = 2;

/// One thread's node in a queue; numbers of threads are one higher, 0 is none.
#[derive(Default)]
#[repr(align(64))]
struct Node {
    state: AtomicU32,
    next: AtomicUsize,
}

/// The queue of Mellor-Crummey and Scott (1991): each spins on its own node.
pub(crate) struct Queue {
    tail: Line<AtomicUsize>,
    nodes: Vec<Node>,
}

impl Queue {
    pub(crate) fn new(threads: usize) -> Queue {
        Queue { tail: Line::default(), nodes: (0..threads).map(|_| Node::default()).collect() }
    }

    /// Returns what the predecessor told; `LOCAL` if there was none.
    fn enter(&self, thread: usize) -> u32 {
        let node = &self.nodes[thread];
        node.state.store(WAITS, Ordering::Relaxed);
        node.next.store(0, Ordering::Relaxed);
        match self.tail.0.swap(thread + 1, Ordering::AcqRel) {
            0 => LOCAL,
            before => {
                self.nodes[before - 1].next.store(thread + 1, Ordering::Release);
                spin_while(&node.state, WAITS, FOR_EVER)
            }
        }
    }

    fn has_next(&self, thread: usize) -> bool {
        self.nodes[thread].next.load(Ordering::Acquire) != 0
    }

    fn leave(&self, thread: usize, told: u32) {
        let mut next = self.nodes[thread].next.load(Ordering::Acquire);
        if next == 0 {
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            if self.tail.0.compare_exchange(thread + 1, 0, release, relaxed).is_ok() {
                return;
            }
            while next == 0 {
                pause(1);
                next = self.nodes[thread].next.load(Ordering::Acquire);
            }
        }
        self.nodes[next - 1].state.store(told, Ordering::Release);
    }
}

impl Lock for Queue {
    fn acquire(&self, thread: usize) {
        self.enter(thread);
    }

    fn release(&self, thread: usize) {
        self.leave(thread, HANDED);
    }
}

/// C-BO-MCS of "Lock Cohorting" (Dice, Marathe, Shavit; PPoPP 2012): a queue per node, and whoever
/// is first in one takes a global lock with exponential backoff, which is handed on within the
/// node, so often at most.
///
/// With a ticket lock as the global one it is C-TKT-MCS: the global lock of the former goes to
/// whoever is nearest, in these simulations to the same node again and again; that of the latter to
/// the node that waits longest.
pub(crate) struct CohortOfQueues {
    global: Line<AtomicU32>,
    tickets: Option<Ticket>,
    local: Vec<Local>,
    /// Where each thread entered: it may have moved by the time that it leaves.
    entered: Vec<Cell<usize>>,
    bound: u32,
}

struct Local {
    queue: Queue,
    passes: Line<Cell<u32>>,
}

impl CohortOfQueues {
    pub(crate) fn new(threads: usize, nodes: usize, bound: u32, fair: bool) -> CohortOfQueues {
        let local = |_| Local { queue: Queue::new(threads), passes: Line::default() };
        CohortOfQueues {
            global: Line::default(),
            tickets: fair.then(Ticket::default),
            local: (0..nodes).map(local).collect(),
            entered: vec![Cell::new(0); threads],
            bound,
        }
    }
}

impl Lock for CohortOfQueues {
    fn acquire(&self, thread: usize) {
        let node = current_node().unwrap_or(0) as usize;
        self.entered[thread].set(node);
        if self.local[node].queue.enter(thread) == HANDED {
            return;
        }
        if let Some(tickets) = &self.tickets {
            return tickets.acquire(thread);
        }
        let mut backoff = 1;
        while self.global.0.load(Ordering::Relaxed) != 0
            || self.global.0.swap(1, Ordering::Acquire) != 0
        {
            pause(backoff);
            backoff = (backoff * 2).min(64);
        }
    }

    fn release(&self, thread: usize) {
        let local = &self.local[self.entered[thread].get()];
        let passes = &local.passes.0;
        if passes.get() < self.bound && local.queue.has_next(thread) {
            passes.set(passes.get() + 1);
            return local.queue.leave(thread, HANDED);
        }
        passes.set(0);
        match &self.tickets {
            Some(tickets) => tickets.release(thread),
            None => self.global.0.store(0, Ordering::Release),
        }
        local.queue.leave(thread, LOCAL);
    }
}
