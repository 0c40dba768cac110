//! Models of reads that are one section, and of what frees behind them, on the shipped source.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};
use std::sync::Arc as StdArc;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::rcu::{Cache, Domain, Handle, Shared, SnapshotCell};
use stillpoint::rseq::leaf::{Area, copy, retain};
use stillpoint::rseq::model;
use support::{Tracked, registered};

/// The sequence alone, against who replaces, broadcasts, and frees.
fn copied(broadcasts: usize, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let area = |word: u64| Box::into_raw(Box::new(Area::new([word; 2])));
        let (old, new) = (area(1), area(2));
        let cell = Arc::new(AtomicPtr::new(old));
        let reader = thread::spawn({
            let cell = cell.clone();
            move || {
                script();
                // SAFETY: what is freed is marked, and stays.
                match unsafe { copy(&cell) } {
                    None | Some([1, 1] | [2, 2]) => {}
                    Some(other) => panic!("no moment has {other:?}"),
                }
            }
        });
        model::run_on(1);
        cell.store(new, Ordering::Release);
        (0..broadcasts).for_each(|_| model::broadcast_to_all());
        // SAFETY: as above.
        unsafe { (*old).mark() };
        reader.join().unwrap();
    }
}

/// The same for one that counts itself in: none is counted behind the broadcast.
fn counted(broadcasts: usize, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let count = || Box::leak(Box::new(AtomicUsize::new(1)));
        let (old, new) = (count(), count());
        let cell = Arc::new(AtomicPtr::new(&raw mut *old));
        let reader = thread::spawn({
            let cell = cell.clone();
            move || {
                script();
                // SAFETY: the counts stay.
                unsafe { retain(&cell) };
            }
        });
        model::run_on(1);
        cell.store(new, Ordering::Release);
        (0..broadcasts).for_each(|_| model::broadcast_to_all());
        let then = old.load(Ordering::Relaxed);
        reader.join().unwrap();
        let now = old.load(Ordering::Relaxed);
        assert_eq!(then, now, "too early: somebody counts behind the broadcast");
    }
}

type Cell = SnapshotCell<[u64; 2], StdArc<Domain>>;

fn domain(tier: Tier) -> StdArc<Domain> {
    let domain = StdArc::new(Domain::builder().tier(tier).build());
    // Maps the lines, so that the models do not explore that.
    domain.synchronize();
    domain
}

fn cell(tier: Tier) -> Arc<Cell> {
    let cell = SnapshotCell::new_in([0; 2], domain(tier));
    cell.set([1; 2]);
    Arc::new(cell)
}

fn spawn<C: 'static, R: 'static>(
    cell: &Arc<C>,
    run: impl FnOnce(&C) -> R + 'static,
) -> JoinHandle<R> {
    let cell = cell.clone();
    thread::spawn(move || run(&cell))
}

fn look(cell: &Cell) -> u64 {
    let [a, b] = cell.get();
    assert!(a == b, "no moment has {a} and {b}");
    a
}

/// A reader against a writer, and everything that was replaced is freed.
fn snapshot(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = cell(tier);
        let reader = spawn(&cell, move |cell| {
            script();
            look(cell);
        });
        model::run_on(1);
        cell.set([2; 2]);
        cell.domain().barrier();
        reader.join().unwrap();
        assert_eq!(look(&cell), 2);
    }
}

/// A reader against a writer who frees in passing what is due.
fn stream(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = cell(tier);
        let reader = spawn(&cell, move |cell| {
            script();
            look(cell);
        });
        model::run_on(1);
        (2..5).for_each(|n| cell.set([n; 2]));
        reader.join().unwrap();
    }
}

/// A cell that nobody has written to yet.
fn first(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = Arc::new(SnapshotCell::new_in([1; 2], domain(tier)));
        let reader = spawn(&cell, |cell| assert!(look(cell) <= look(cell), "no moment has that"));
        model::run_on(1);
        cell.set([2; 2]);
        reader.join().unwrap();
    }
}

/// Two writers lose nothing.
fn updates(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = cell(tier);
        let add = |cell: &Cell| _ = cell.update(|[a, b]| [a + 1, b + 1]);
        let other = spawn(&cell, add);
        model::run_on(1);
        add(&cell);
        other.join().unwrap();
        assert_eq!(look(&cell), 3);
    }
}

type Handles = Shared<Tracked, StdArc<Domain>>;

fn handles(tier: Tier) -> Arc<Handles> {
    Arc::new(Shared::new_in(Tracked::new(1), domain(tier)))
}

/// A handle that is kept, against a writer, and everything that was replaced is given back.
fn shared(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = handles(tier);
        let reader = spawn(&cell, move |cell| {
            script();
            let handle = cell.load();
            handle.get();
            handle
        });
        model::run_on(1);
        cell.store(Tracked::new(2));
        cell.domain().barrier();
        let kept = reader.join().unwrap();
        // The reader's, and the cell's if it is the new one.
        let cells = usize::from(kept.get() == 2);
        assert_eq!(Handle::strong_count(&kept), 1 + cells, "too early, or never given back");
    }
}

/// A handle that is kept, against a writer who gives back in passing what is due.
fn shared_stream(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = handles(tier);
        let reader = spawn(&cell, move |cell| {
            script();
            let handle = cell.load();
            handle.get();
        });
        model::run_on(1);
        (2..5).for_each(|n| cell.store(Tracked::new(n)));
        reader.join().unwrap();
    }
}

/// One value leaves two cells at the same time.
fn twice() -> impl Fn() + Sync + Send + 'static {
    || {
        let domain = domain(Tier::Fence);
        let one = Handle::new(Tracked::new(1));
        let cells = Arc::new([(); 2].map(|()| Shared::new_in(one.clone(), domain.clone())));
        let other = spawn(&cells, |cells| cells[0].store(Tracked::new(2)));
        model::run_on(1);
        cells[1].store(Tracked::new(3));
        other.join().unwrap();
        domain.barrier();
        assert_eq!(Handle::strong_count(&one), 1, "too early, or never given back");
        one.get();
    }
}

/// Two who count by making a new value of the old one.
fn made_of_the_old() -> impl Fn() + Sync + Send + 'static {
    || {
        let cell = handles(Tier::Fence);
        let add = |cell: &Handles| drop(cell.rcu(|old| Tracked::new(old.get() + 1)));
        let other = spawn(&cell, add);
        model::run_on(1);
        add(&cell);
        other.join().unwrap();
        assert_eq!(cell.load().get(), 3);
    }
}

/// A cache finds the new value once it is told of it.
fn cached() -> impl Fn() + Sync + Send + 'static {
    || {
        let cell = handles(Tier::Rseq);
        let mut cache =
            Cache::new(StdArc::new(Shared::new_in(Tracked::new(1), domain(Tier::Rseq))));
        assert_eq!(cache.load().get(), 1);
        let reader = spawn(&cell, |cell| {
            let mut cache = Cache::new(cell);
            let earlier = cache.load().get();
            assert!(earlier <= cache.load().get(), "no moment has that");
        });
        model::run_on(1);
        cell.store(Tracked::new(2));
        reader.join().unwrap();
    }
}

models! {
    copied_once: 4, copied(1, registered);
    copied_lost_abort: 4, copied(2, model::lose_an_abort);
    counted_once: 4, counted(1, registered);
    counted_lost_abort: 4, counted(2, model::lose_an_abort);
    snapshot_rseq: 3, snapshot(Tier::Rseq, registered);
    snapshot_lost_abort: 3, snapshot(Tier::Rseq, model::lose_an_abort);
    snapshot_unregistered: 2, snapshot(Tier::Rseq, model::unregister);
    snapshot_membarrier: 2, snapshot(Tier::Membarrier, registered);
    snapshot_fence: 2, snapshot(Tier::Fence, registered);
    stream_rseq: 3, stream(Tier::Rseq, registered);
    stream_lost_abort: 3, stream(Tier::Rseq, model::lose_an_abort);
    stream_fence: 2, stream(Tier::Fence, registered);
    first_rseq: 3, first(Tier::Rseq);
    first_fence: 3, first(Tier::Fence);
    updates_rseq: 2, updates(Tier::Rseq);
    updates_fence: 2, updates(Tier::Fence);
    shared_rseq: 3, shared(Tier::Rseq, registered);
    shared_lost_abort: 3, shared(Tier::Rseq, model::lose_an_abort);
    shared_unregistered: 2, shared(Tier::Rseq, model::unregister);
    shared_membarrier: 2, shared(Tier::Membarrier, registered);
    shared_fence: 2, shared(Tier::Fence, registered);
    shared_stream_rseq: 3, shared_stream(Tier::Rseq, registered);
    shared_stream_lost_abort: 3, shared_stream(Tier::Rseq, model::lose_an_abort);
    twice_fence: 3, twice();
    made_of_the_old_fence: 2, made_of_the_old();
    cached_rseq: 3, cached();
}

mutants! {
    copied_without_broadcast: None, 4, copied(0, registered);
    copied_behind_one_broadcast: None, 4, copied(1, model::lose_an_abort);
    copied_outside: CopyOutsideSection, 4, copied(1, registered);
    counted_without_broadcast: None, 4, counted(0, registered);
    counted_behind_one_broadcast: None, 4, counted(1, model::lose_an_abort);
    counted_outside: RetainOutsideSection, 4, counted(1, registered);
    snapshot_no_broadcast: NoBroadcast, 3, snapshot(Tier::Rseq, registered);
    stream_early_take: EarlyTake, 3, stream(Tier::Rseq, model::lose_an_abort);
    snapshot_outside: CopyOutsideSection, 3, snapshot(Tier::Rseq, registered);
    snapshot_no_wait: NoWait, 3, snapshot(Tier::Fence, registered);
    snapshot_relaxed: RelaxedPublish, 3, snapshot(Tier::Rseq, registered);
    shared_no_broadcast: NoBroadcast, 3, shared(Tier::Rseq, registered);
    shared_stream_early_take: EarlyTake, 3, shared_stream(Tier::Rseq, model::lose_an_abort);
    shared_outside: RetainOutsideSection, 3, shared(Tier::Rseq, registered);
    shared_no_wait: NoWait, 3, shared(Tier::Fence, registered);
    shared_relaxed: RelaxedPublish, 3, shared(Tier::Rseq, registered);
}
