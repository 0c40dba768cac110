//! Pools and stacks, and what stands beside them.

use crate::peers::Peer;
use crossbeam_epoch::{Atomic, Owned};
use crossbeam_queue::SegQueue;
use peers_of_c::Allocator;
use std::cell::RefCell;
use std::ffi::c_void;
use std::hint::black_box;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::sync_channel;
use stillpoint::percpu::{Node, Pool, PoolBox, Stack};

/// What is allocated: its first word is written.
type Value = MaybeUninit<[u64; 8]>;

pub(crate) const POOL: &str = "Pool";
pub(crate) const GLIBC: &str = "glibc malloc, free";
pub(crate) const MIMALLOC: &str = "mimalloc";
pub(crate) const JEMALLOC: &str = "jemalloc";
pub(crate) const THREAD_VEC: &str = "thread-local Vec of boxes";

static VALUES: Pool<Value> = Pool::new();

#[allow(clippy::vec_box, reason = "the boxes are what is kept")]
mod kept {
    use std::cell::RefCell;
    use std::sync::Mutex;
    pub(super) type OfThread<T> = RefCell<Vec<Box<T>>>;
    pub(super) type OfAll<T> = Mutex<Vec<Box<T>>>;
}

thread_local! {
    static CACHE: kept::OfThread<Value> = const { RefCell::new(Vec::new()) };
}

/// A piece of memory that can be given back on any thread.
trait Memory: Sync {
    type Piece: Send;
    fn get(&self) -> Self::Piece;
    fn put(&self, piece: Self::Piece);
}

struct Ours;

impl Memory for Ours {
    type Piece = PoolBox<Value>;

    #[inline(always)]
    fn get(&self) -> PoolBox<Value> {
        let mut value = VALUES.boxed(MaybeUninit::uninit());
        // SAFETY: within the value.
        unsafe { black_box(value.as_mut_ptr().cast::<u64>()).write(1) };
        value
    }

    #[inline(always)]
    fn put(&self, piece: PoolBox<Value>) {
        drop(piece);
    }
}

struct Theirs(Allocator);

struct Allocated(NonNull<c_void>);

// SAFETY: memory of one owner.
unsafe impl Send for Allocated {}

impl Memory for Theirs {
    type Piece = Allocated;

    #[inline(always)]
    fn get(&self) -> Allocated {
        // SAFETY: as C's; what is written is within.
        unsafe {
            let piece = NonNull::new((self.0.malloc)(size_of::<Value>())).expect("memory");
            black_box(piece.cast::<u64>().as_ptr()).write(1);
            Allocated(piece)
        }
    }

    #[inline(always)]
    fn put(&self, piece: Allocated) {
        // SAFETY: from `get`.
        unsafe { (self.0.free)(piece.0.as_ptr()) };
    }
}

/// What a thread gives back it keeps for itself.
struct OfThread;

impl Memory for OfThread {
    type Piece = Box<Value>;

    #[inline(always)]
    fn get(&self) -> Box<Value> {
        let mut value =
            CACHE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::new(MaybeUninit::uninit()));
        // SAFETY: within the value.
        unsafe { black_box(value.as_mut_ptr().cast::<u64>()).write(1) };
        value
    }

    #[inline(always)]
    fn put(&self, piece: Box<Value>) {
        CACHE.with_borrow_mut(|cache| cache.push(piece));
    }
}

fn glibc() -> Allocator {
    Allocator { name: GLIBC, malloc: libc::malloc, free: libc::free }
}

fn others() -> impl Iterator<Item = Theirs> {
    [glibc()].into_iter().chain(peers_of_c::allocators()).map(Theirs)
}

/// One operation: memory for a value, and back.
pub(crate) fn pairs() -> Vec<Peer> {
    fn pair(name: &'static str, memory: impl Memory + 'static) -> Peer {
        Peer::new(name, move |n| (0..n).for_each(|_| memory.put(black_box(memory.get()))))
    }
    let mut peers = vec![pair(POOL, Ours), pair(THREAD_VEC, OfThread)];
    peers.extend(others().map(|theirs| pair(theirs.0.name, theirs)));
    peers
}

/// One operation: a piece of memory of forty at a time.
pub(crate) fn forties() -> Vec<Peer> {
    fn forty(name: &'static str, memory: impl Memory + 'static) -> Peer {
        Peer::new(name, move |n| {
            for _ in 0..n.div_ceil(40) {
                let pieces: [_; 40] = std::array::from_fn(|_| memory.get());
                black_box(&pieces);
                pieces.into_iter().for_each(|piece| memory.put(piece));
            }
        })
    }
    let mut peers = vec![forty(POOL, Ours), forty(THREAD_VEC, OfThread)];
    peers.extend(others().map(|theirs| forty(theirs.0.name, theirs)));
    peers
}

/// One operation: memory that one thread gets and another, on the second CPU, gives back. They go
/// there by batches of 64.
pub(crate) fn elsewhere(cpus: &[usize]) -> Vec<Peer> {
    const BATCH: usize = 64;
    fn handed(name: &'static str, there: Option<usize>, memory: impl Memory + 'static) -> Peer {
        Peer::new(name, move |n| {
            let (to, from) = sync_channel::<Vec<_>>(8);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    there.map(crate::clock::pin);
                    from.into_iter().flatten().for_each(|piece| memory.put(piece));
                });
                for _ in 0..n.div_ceil(BATCH as u64) {
                    let pieces = (0..BATCH).map(|_| memory.get()).collect();
                    to.send(pieces).expect("the other thread is there");
                }
                drop(to);
            });
        })
    }
    let there = cpus.get(1).copied();
    let mut peers = vec![handed(POOL, there, Ours), handed(THREAD_VEC, there, OfThread)];
    peers.extend(others().map(|theirs| handed(theirs.0.name, there, theirs)));
    peers
}

pub(crate) const STACK: &str = "Stack";
pub(crate) const SEG_QUEUE: &str = "crossbeam SegQueue";
pub(crate) const TREIBER: &str = "Treiber's stack, crossbeam-epoch";
pub(crate) const MUTEX_VEC: &str = "Mutex<Vec>";

static STACKED: Stack<u64> = Stack::new();
static QUEUED: SegQueue<Box<u64>> = SegQueue::new();
static LISTED: Treiber<Box<u64>> = Treiber { head: Atomic::null() };
static LOCKED: kept::OfAll<u64> = Mutex::new(Vec::new());

/// As in the documentation of crossbeam-epoch.
struct Treiber<T> {
    head: Atomic<Listed<T>>,
}

struct Listed<T> {
    value: ManuallyDrop<T>,
    next: Atomic<Listed<T>>,
}

impl<T> Treiber<T> {
    fn push(&self, value: T) {
        let value = ManuallyDrop::new(value);
        let mut node = Owned::new(Listed { value, next: Atomic::null() });
        let guard = crossbeam_epoch::pin();
        loop {
            let head = self.head.load(Relaxed, &guard);
            node.next.store(head, Relaxed);
            match self.head.compare_exchange(head, node, Release, Relaxed, &guard) {
                Ok(_) => return,
                Err(failed) => node = failed.new,
            }
        }
    }

    fn pop(&self) -> Option<T> {
        let guard = crossbeam_epoch::pin();
        loop {
            let head = self.head.load(Acquire, &guard);
            // SAFETY: nodes live as long as a guard that may have found them.
            let node = unsafe { head.as_ref() }?;
            let next = node.next.load(Relaxed, &guard);
            if self.head.compare_exchange(head, next, Relaxed, Relaxed, &guard).is_ok() {
                // SAFETY: taken off, by us alone; the value is moved out once.
                unsafe {
                    guard.defer_destroy(head);
                    return Some(ManuallyDrop::into_inner(std::ptr::read(&node.value)));
                }
            }
        }
    }
}

/// One operation: a box is taken, or made, and put back.
pub(crate) fn stacks() -> Vec<Peer> {
    fn pair<T>(
        name: &'static str,
        pop: impl Fn() -> Option<T> + Sync + 'static,
        push: impl Fn(T) + Sync + 'static,
        fresh: impl Fn() -> T + Sync + 'static,
    ) -> Peer {
        Peer::new(name, move |n| {
            (0..n).for_each(|_| push(black_box(pop()).unwrap_or_else(&fresh)));
        })
    }
    vec![
        pair(STACK, || STACKED.pop(), |node| STACKED.push(node), || Box::new(Node::new(1))),
        pair(SEG_QUEUE, || QUEUED.pop(), |value| QUEUED.push(value), || Box::new(1)),
        pair(TREIBER, || LISTED.pop(), |value| LISTED.push(value), || Box::new(1)),
        pair(
            MUTEX_VEC,
            || LOCKED.lock().expect("nobody panics").pop(),
            |value| LOCKED.lock().expect("nobody panics").push(value),
            || Box::new(1),
        ),
    ]
}
