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

/// CNA, "Compact NUMA-Aware Locks" (Dice and Kogan, EuroSys 2019): one word, as MCS has it, and two
/// queues. Who gives the lock up looks for the first that waits on its own node, and moves those
/// before it to a secondary queue, which the lock's holders hand on with the lock. That queue comes
/// in front of the other when nobody of the node is left, or by chance, once in a number that is a
/// power of two: 65536 in the paper.
///
/// In the paper that is what keeps the lock fair, over seconds. Here, in runs of milliseconds, most
/// of them end before chance has it once, and the node that had the lock first keeps it.
pub(crate) struct Cna {
    tail: Line<AtomicUsize>,
    nodes: Vec<CnaNode>,
    /// Random bits that are all zero when the secondary queue has its turn.
    keeps: u32,
}

/// As [`Node`]: numbers of threads are one higher, 0 is none.
#[repr(align(64))]
struct CnaNode {
    /// `WAITS`, `HANDED`, or the lock is handed over with a secondary queue: [`with_queue`].
    spin: AtomicU32,
    /// The memory node, one higher; 0 while nobody has looked: who finds the lock free does not.
    home: AtomicU32,
    next: AtomicUsize,
    /// In the first of the secondary queue: the last.
    last: AtomicUsize,
    /// The thread's own.
    random: Cell<u32>,
}

/// Handed over with the secondary queue that begins with this thread.
fn with_queue(first: usize) -> u32 {
    HANDED + 1 + first as u32
}

/// The first of the secondary queue that came with the lock.
fn queue_of(spin: u32) -> Option<usize> {
    spin.checked_sub(HANDED + 1).map(|first| first as usize)
}

/// The caller's memory node, one higher.
fn home() -> u32 {
    current_node().unwrap_or(0) + 1
}

impl Cna {
    /// The secondary queue has its turn once in `turn` handovers, on average.
    pub(crate) fn new(threads: usize, turn: u32) -> Cna {
        assert!(turn.is_power_of_two(), "not a power of two: {turn}");
        let node = |thread: usize| CnaNode {
            spin: AtomicU32::default(),
            home: AtomicU32::default(),
            next: AtomicUsize::default(),
            last: AtomicUsize::default(),
            random: Cell::new(0x9E37_79B9 ^ (thread as u32 + 1)),
        };
        let nodes = (0..threads).map(node).collect();
        Cna { tail: Line::default(), nodes, keeps: turn - 1 }
    }

    /// Whether the lock is to stay on its node, if it can: a thread's own xorshift (Marsaglia).
    fn stays(&self, me: &CnaNode) -> bool {
        let mut x = me.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        me.random.set(x);
        x & self.keeps != 0
    }

    /// The first behind `me` that waits on its node, if any. Those before it are in the secondary
    /// queue then.
    fn neighbour(&self, me: &CnaNode, first: usize) -> Option<usize> {
        let here = match me.home.load(Ordering::Relaxed) {
            0 => home(),
            here => here,
        };
        let (mut before, mut now) = (None, first);
        loop {
            let node = &self.nodes[now];
            if node.home.load(Ordering::Relaxed) == here {
                break;
            }
            before = Some(now);
            now = node.next.load(Ordering::Acquire).checked_sub(1)?;
        }
        if let Some(last) = before {
            self.nodes[last].next.store(0, Ordering::Relaxed);
            let head = match queue_of(me.spin.load(Ordering::Relaxed)) {
                Some(head) => {
                    let tail = self.nodes[head].last.load(Ordering::Relaxed);
                    self.nodes[tail].next.store(first + 1, Ordering::Relaxed);
                    head
                }
                None => {
                    me.spin.store(with_queue(first), Ordering::Relaxed);
                    first
                }
            };
            self.nodes[head].last.store(last, Ordering::Relaxed);
        }
        Some(now)
    }
}

impl Lock for Cna {
    fn acquire(&self, thread: usize) {
        let me = &self.nodes[thread];
        me.spin.store(WAITS, Ordering::Relaxed);
        me.home.store(0, Ordering::Relaxed);
        me.next.store(0, Ordering::Relaxed);
        match self.tail.0.swap(thread + 1, Ordering::AcqRel) {
            0 => me.spin.store(HANDED, Ordering::Relaxed),
            before => {
                me.home.store(home(), Ordering::Relaxed);
                self.nodes[before - 1].next.store(thread + 1, Ordering::Release);
                spin_while(&me.spin, WAITS, FOR_EVER);
            }
        }
    }

    fn release(&self, thread: usize) {
        let me = &self.nodes[thread];
        let mut next = me.next.load(Ordering::Acquire);
        if next == 0 {
            // The secondary queue, if there is one, is all there is: its last is the lock's tail.
            let queue = queue_of(me.spin.load(Ordering::Relaxed));
            let tail = queue.map_or(0, |head| self.nodes[head].last.load(Ordering::Relaxed) + 1);
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            if self.tail.0.compare_exchange(thread + 1, tail, release, relaxed).is_ok() {
                if let Some(head) = queue {
                    self.nodes[head].spin.store(HANDED, Ordering::Release);
                }
                return;
            }
            while next == 0 {
                pause(1);
                next = me.next.load(Ordering::Acquire);
            }
        }
        let neighbour = if self.stays(me) { self.neighbour(me, next - 1) } else { None };
        let told = me.spin.load(Ordering::Relaxed);
        match (neighbour, queue_of(told)) {
            (Some(near), _) => self.nodes[near].spin.store(told, Ordering::Release),
            (None, Some(head)) => {
                let last = self.nodes[head].last.load(Ordering::Relaxed);
                self.nodes[last].next.store(next, Ordering::Release);
                self.nodes[head].spin.store(HANDED, Ordering::Release);
            }
            (None, None) => self.nodes[next - 1].spin.store(HANDED, Ordering::Release),
        }
    }
}
