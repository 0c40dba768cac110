//! The implementations, all doing the same work: each a loop in a function that nobody inlines.

use arc_swap::ArcSwap;
use seqlock::SeqLock;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rcu::{self, Cache, Domain, RcuCell, Shared, SnapshotCell};

pub(crate) const BARE: &str = "no protection";
pub(crate) const LEAF: &str = "stillpoint SnapshotCell";
pub(crate) const GUARDED: &str = "stillpoint RcuCell, and a copy";
pub(crate) const URCU: &str = "liburcu-memb";
pub(crate) const ARC_SWAP: &str = "arc-swap load";
pub(crate) const SEQLOCK: &str = "seqlock";
pub(crate) const PARKING_LOT: &str = "parking_lot RwLock";
pub(crate) const STD: &str = "std RwLock";
pub(crate) const SHARED: &str = "stillpoint Shared::load";
pub(crate) const CACHE: &str = "stillpoint Cache::load";
pub(crate) const LOAD_FULL: &str = "arc-swap load_full";
pub(crate) const ARC_CACHE: &str = "arc-swap Cache";

pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// One implementation with its value.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// So many operations.
    pub(crate) run: Box<dyn Fn(u64) + Sync>,
}

impl Peer {
    fn new(name: &'static str, run: impl Fn(u64) + Sync + 'static) -> Peer {
        Peer { name, run: Box::new(run) }
    }
}

/// Copies a value out, so many times.
trait Copies<const N: usize>: Sync + 'static {
    fn copy(&self) -> [u64; N];
}

fn reader<const N: usize, C: Copies<N>>(name: &'static str, from: C) -> Peer {
    #[inline(never)]
    fn run<const N: usize>(from: &impl Copies<N>, rounds: u64) -> u64 {
        let mut sum = 0_u64;
        for _ in 0..rounds {
            let copy = from.copy();
            // A word stays in a register; more must be in memory.
            let first = if N == 1 { copy[0] } else { black_box(&copy)[0] };
            sum = sum.wrapping_add(first);
        }
        sum
    }
    Peer::new(name, move |rounds| _ = black_box(run(&from, rounds)))
}

/// The floor: nobody keeps the value alive.
struct Bare<const N: usize>(AtomicPtr<[u64; N]>);

impl<const N: usize> Copies<N> for Bare<N> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        // SAFETY: made of a leaked box, and never replaced.
        unsafe { *self.0.load(Ordering::Acquire) }
    }
}

impl<const N: usize, D: rcu::DomainRef + Sync + 'static> Copies<N> for SnapshotCell<[u64; N], D> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        self.get()
    }
}

impl<const N: usize> Copies<N> for RcuCell<[u64; N]> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        *self.load(&rcu::read())
    }
}

impl<const N: usize> Copies<N> for ArcSwap<[u64; N]> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        **self.load()
    }
}

impl<const N: usize> Copies<N> for SeqLock<[u64; N]> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        self.read()
    }
}

impl<const N: usize> Copies<N> for parking_lot::RwLock<[u64; N]> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        *parking_lot::RwLock::read(self)
    }
}

impl<const N: usize> Copies<N> for std::sync::RwLock<[u64; N]> {
    #[inline(always)]
    fn copy(&self) -> [u64; N] {
        *std::sync::RwLock::read(self).expect("nobody panics")
    }
}

/// A cell that was written to, as all but the first reads meet it.
fn written<const N: usize>(tier: Tier) -> SnapshotCell<[u64; N], &'static Domain> {
    let domain = Box::leak(Box::new(Domain::builder().tier(tier).build()));
    let cell = SnapshotCell::new_in([0; N], &*domain);
    cell.set([1; N]);
    cell
}

/// Those who copy a value of so many words.
pub(crate) fn copies<const N: usize>() -> Vec<Peer> {
    let leaked: &'static [u64; N] = Box::leak(Box::new([1; N]));
    let leaf = SnapshotCell::new([0; N]);
    leaf.set([1; N]);
    let mut peers = vec![
        reader(BARE, Bare(AtomicPtr::new(std::ptr::from_ref(leaked).cast_mut()))),
        reader(LEAF, leaf),
        reader("stillpoint, never written to", SnapshotCell::new([1; N])),
        reader("stillpoint, tier membarrier", written::<N>(Tier::Membarrier)),
        reader("stillpoint, tier fence", written::<N>(Tier::Fence)),
        reader(GUARDED, RcuCell::new([1; N])),
        reader(ARC_SWAP, ArcSwap::from_pointee([1; N])),
        reader(SEQLOCK, SeqLock::new([1; N])),
        reader(PARKING_LOT, parking_lot::RwLock::new([1; N])),
        reader(STD, std::sync::RwLock::new([1; N])),
    ];
    match peers::urcu() {
        Some(urcu) => peers.push(Peer::new(URCU, move |rounds| {
            black_box(urcu.registered(|thread| thread.copy(leaked, rounds)));
        })),
        None => println!("SKIPPED {URCU}: liburcu-dev was not installed when this was built"),
    }
    peers
}

/// Those who load a handle, look, and drop it.
pub(crate) fn handles() -> Vec<Peer> {
    let (ours, theirs) = (Shared::from_pointee(1_u64), ArcSwap::from_pointee(1_u64));
    let (cell, swap) =
        (Arc::new(Shared::from_pointee(1_u64)), Arc::new(ArcSwap::from_pointee(1_u64)));
    let locked = parking_lot::RwLock::new(Arc::new(1_u64));
    vec![
        Peer::new(SHARED, move |rounds| (0..rounds).for_each(|_| _ = black_box(*ours.load()))),
        Peer::new(LOAD_FULL, move |rounds| {
            (0..rounds).for_each(|_| _ = black_box(*theirs.load_full()));
        }),
        Peer::new("parking_lot RwLock, clone of an Arc", move |rounds| {
            (0..rounds).for_each(|_| {
                let arc = locked.read().clone();
                black_box(*arc);
            });
        }),
        Peer::new(CACHE, move |rounds| {
            let mut cache = Cache::new(cell.clone());
            (0..rounds).for_each(|_| _ = black_box(**cache.load()));
        }),
        Peer::new(ARC_CACHE, move |rounds| {
            let mut cache = arc_swap::Cache::new(swap.clone());
            (0..rounds).for_each(|_| _ = black_box(**cache.load()));
        }),
    ]
}

/// Those who load a handle and keep it: the count only rises.
pub(crate) fn loads() -> Vec<Peer> {
    let (ours, theirs) = (Shared::from_pointee(1_u64), ArcSwap::from_pointee(1_u64));
    vec![
        Peer::new(SHARED, move |rounds| {
            (0..rounds).for_each(|_| std::mem::forget(black_box(ours.load())));
        }),
        Peer::new(LOAD_FULL, move |rounds| {
            (0..rounds).for_each(|_| std::mem::forget(black_box(theirs.load_full())));
        }),
    ]
}

/// Those who replace a value of so many words.
pub(crate) fn writes<const N: usize>() -> Vec<Peer> {
    let leaf = SnapshotCell::new([0; N]);
    let cell = RcuCell::new([0; N]);
    let arc = ArcSwap::from_pointee([0; N]);
    let seq = SeqLock::new([0; N]);
    let parking_lot = parking_lot::RwLock::new([0; N]);
    let std = std::sync::RwLock::new([0; N]);
    vec![
        Peer::new(LEAF, move |rounds| (0..rounds).for_each(|n| leaf.set([n; N]))),
        Peer::new("stillpoint RcuCell", move |rounds| (0..rounds).for_each(|n| cell.store([n; N]))),
        Peer::new(ARC_SWAP, move |rounds| (0..rounds).for_each(|n| arc.store(Arc::new([n; N])))),
        Peer::new(SEQLOCK, move |rounds| (0..rounds).for_each(|n| *seq.lock_write() = [n; N])),
        Peer::new(PARKING_LOT, move |rounds| {
            (0..rounds).for_each(|n| *parking_lot.write() = [n; N]);
        }),
        Peer::new(STD, move |rounds| {
            (0..rounds).for_each(|n| *std.write().expect("nobody panics") = [n; N]);
        }),
    ]
}

/// A cell that one thread reads and another one writes to.
pub(crate) struct Contended<const N: usize>(SnapshotCell<[u64; N]>);

impl<const N: usize> Contended<N> {
    pub(crate) fn new() -> Contended<N> {
        Contended(SnapshotCell::new([0; N]))
    }

    pub(crate) fn read(&self, rounds: u64) {
        (0..rounds).for_each(|_| _ = black_box(self.0.get()));
    }

    /// What one write takes, in nanoseconds.
    pub(crate) fn write(&self, rounds: u64) -> f64 {
        let all = time(|| (0..rounds).for_each(|n| self.0.set([n; N])));
        all.as_nanos() as f64 / rounds as f64
    }
}
