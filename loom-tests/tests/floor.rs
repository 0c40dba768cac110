//! Models of the unsafe floor: changes as planned, swaps and pops, beside who stops the part.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::*};
use loom::thread::{self, JoinHandle};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::rseq::change::{self, Change};
use stillpoint::rseq::exchange;
use stillpoint::rseq::fence_cpu;
use stillpoint::rseq::model;
use stillpoint::rseq::part::Place;
use support::{Tracked, registered};

const WORD: usize = size_of::<AtomicU64>();
const STOP: u64 = 2;

/// CPU 0's part.
#[repr(C)]
struct Part {
    stopped: AtomicU64,
    /// A length, a slot, or the top of a list.
    word: AtomicU64,
    items: [AtomicU64; 4],
}

/// A node: the address of the next one, and what has it.
#[repr(C)]
struct Node {
    next: AtomicU64,
    taken: Tracked,
}

struct World {
    part: Box<Part>,
    place: Place,
    nodes: [Node; 3],
    /// Written before what is pushed, read by who takes it.
    told: [Tracked; 2],
}

fn spawn<R: 'static>(world: &Arc<World>, run: impl FnOnce(&World) -> R + 'static) -> JoinHandle<R> {
    let world = world.clone();
    thread::spawn(move || run(&world))
}

impl World {
    fn new() -> Arc<World> {
        model::set_limit(Tier::Rseq);
        let word = || AtomicU64::new(0);
        let part = Box::new(Part {
            stopped: word(),
            word: word(),
            items: std::array::from_fn(|_| word()),
        });
        let place = Place::new();
        // SAFETY: a part for CPU 0, which lives as long as the place.
        unsafe {
            place.set(std::ptr::from_ref(&*part).cast_mut().cast());
            place.open(1);
        }
        let node = |_| Node { next: AtomicU64::new(0), taken: Tracked::new(0) };
        let told = [Tracked::new(0), Tracked::new(0)];
        Arc::new(World { part, place, nodes: std::array::from_fn(node), told })
    }

    fn plan(&self, old: u64, new: u64) -> Change<'_> {
        let Part { stopped, word, .. } = &*self.part;
        Change { cpu: 0, word, old, new, also: stopped, is: 0 }
    }

    /// Tries to put an item behind the others. Returns how often it is there.
    fn push(&self, item: u64) -> usize {
        let old = self.part.word.load(Relaxed);
        // SAFETY: only this stores there, and who has stopped the part.
        let done = unsafe {
            change::store(&self.plan(old, old + 1), &self.part.items[old as usize], item)
        };
        usize::from(done)
    }

    /// The same, with two words.
    fn push_two(&self, item: u64) -> usize {
        let old = self.part.word.load(Relaxed);
        let to = &self.part.items[old as usize..][..2];
        // SAFETY: as above.
        let done = unsafe { change::copy(&self.plan(old, old + 2), to, &[item, item]) };
        if done { 2 } else { 0 }
    }

    fn swap(&self, new: u64) -> Option<u64> {
        // SAFETY: as above; the word is there.
        unsafe { exchange::swap(&self.place, WORD, new) }.ok()
    }

    fn address(&self, at: usize) -> u64 {
        std::ptr::from_ref(&self.nodes[at]).expose_provenance() as u64
    }

    /// Puts a node on the list; whether that was done.
    fn push_node(&self, at: usize) -> bool {
        let top = self.part.word.load(Relaxed);
        self.nodes[at].next.store(top, Relaxed);
        // SAFETY: as above.
        unsafe { change::commit(&self.plan(top, self.address(at))) }
    }

    /// The node is ours: nobody else may be looking at it.
    fn own(&self, address: u64) -> usize {
        let at = (0..3).find(|at| self.address(*at) == address).expect("a node");
        let taken = &self.nodes[at].taken;
        taken.set(taken.get() + 1);
        at
    }

    fn pop(&self) -> Option<usize> {
        // SAFETY: nodes live as long as the list; their first word is the next one.
        let node = unsafe { exchange::pop(&self.place, WORD, 0) }.ok()??;
        Some(self.own(node.get() as u64))
    }

    /// Runs a closure on the part, while it is stopped. From another CPU.
    fn stopped<R>(&self, f: impl FnOnce(&Part) -> R) -> R {
        self.part.stopped.fetch_add(STOP, Acquire);
        fence_cpu(0).unwrap();
        let result = f(&self.part);
        self.part.stopped.fetch_sub(STOP, Release);
        result
    }

    /// Takes all items, not by exchanges: nobody else changes them.
    fn take(&self) -> Vec<u64> {
        self.stopped(|part| {
            let length = part.word.load(Relaxed) as usize;
            let items = part.items[..length].iter().map(|item| item.load(Relaxed)).collect();
            part.word.store(0, Relaxed);
            items
        })
    }

    fn left(&self) -> Vec<u64> {
        let length = self.part.word.load(Acquire) as usize;
        self.part.items[..length].iter().map(|item| item.load(Relaxed)).collect()
    }
}

/// All that were pushed are there, once.
fn same(mut found: Vec<u64>, mut pushed: Vec<u64>) {
    found.sort_unstable();
    pushed.sort_unstable();
    assert_eq!(found, pushed, "no moment has both");
}

type Push = fn(&World, u64) -> usize;

/// What a push puts there.
fn pushed(push: Push, world: &World, item: u64) -> Vec<u64> {
    vec![item; push(world, item)]
}

/// One pushes, another takes what is there.
fn taken(push: Push, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new();
        let mut all = pushed(push, &world, 1);
        let pusher = spawn(&world, move |world| {
            script();
            pushed(push, world, 2)
        });
        model::run_on(1);
        let mut found = world.take();
        all.extend(pusher.join().unwrap());
        found.extend(world.left());
        same(found, all);
    }
}

/// Two threads of one CPU push.
fn two(push: Push) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new();
        let other = spawn(&world, move |world| pushed(push, world, 1));
        let mut all = pushed(push, &world, 2);
        all.extend(other.join().unwrap());
        same(world.left(), all);
    }
}

/// Whoever finds what was committed finds what was stored before, from any CPU.
fn released(push: Push) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new();
        let pusher = spawn(&world, move |world| {
            world.told[0].set(7);
            push(world, 1)
        });
        model::run_on(1);
        for _ in 0..2 {
            thread::yield_now();
            for item in world.left() {
                assert_eq!((item, world.told[0].get()), (1, 7), "no moment has this");
            }
        }
        pusher.join().unwrap();
    }
}

/// What is changed while a part is stopped, and what was stored before that, is found.
fn let_in() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::new();
        world.part.stopped.store(STOP, Relaxed);
        let pusher = spawn(&world, |world| {
            let old = 5;
            // SAFETY: as in `push`.
            if unsafe { change::commit(&world.plan(old, old + 1)) } {
                world.told[1].set(world.told[0].get());
            }
        });
        let swapper = spawn(&world, |world| world.swap(9));
        model::run_on(1);
        world.told[0].set(7);
        world.part.word.store(5, Relaxed);
        world.part.stopped.fetch_sub(STOP, Release);
        let swapped = swapper.join().unwrap();
        pusher.join().unwrap();
        assert!(matches!(swapped, None | Some(5 | 6)), "no moment has {swapped:?}");
    }
}

/// Two threads of one CPU swap, a third takes from elsewhere.
fn swapped(script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new();
        let swap = move |world: &World, new: u64| match world.swap(new) {
            Some(old) => vec![old],
            // It stays ours.
            None => vec![new],
        };
        let threads = [1, 2].map(|new| {
            spawn(&world, move |world| {
                script();
                swap(world, new)
            })
        });
        model::run_on(1);
        let mut found = vec![world.stopped(|part| {
            let old = part.word.load(Relaxed);
            part.word.store(0, Relaxed);
            old
        })];
        found.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
        found.push(world.part.word.load(Acquire));
        found.retain(|token| *token != 0);
        same(found, vec![1, 2]);
    }
}

/// Two threads of one CPU: one pops, the other pops two and pushes the first again.
fn aba() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::new();
        let on_list = (0..3).filter(|at| world.push_node(*at)).count();
        let popper = spawn(&world, |world| usize::from(world.pop().is_some()));
        let (first, second) = (world.pop(), world.pop());
        let mut taken = usize::from(first.is_some()) + usize::from(second.is_some());
        if first.is_some_and(|first| world.push_node(first)) {
            taken -= 1;
        }
        taken += popper.join().unwrap();
        taken += std::iter::from_fn(|| world.pop()).take(4).count();
        assert_eq!(taken, on_list, "no moment has so many");
    }
}

/// One pops, another takes the whole list from elsewhere.
fn list_taken(script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new();
        let on_list = (0..2).filter(|at| world.push_node(*at)).count();
        let popper = spawn(&world, move |world| {
            script();
            usize::from(world.pop().is_some())
        });
        model::run_on(1);
        let mut taken = world.stopped(|part| {
            let top = part.word.load(Relaxed);
            part.word.store(0, Relaxed);
            let next = |node: &u64| Some(world.nodes[world.own(*node)].next.load(Relaxed));
            let chain =
                std::iter::successors(Some(top), |node| if *node == 0 { None } else { next(node) });
            chain.filter(|node| *node != 0).count()
        });
        taken += popper.join().unwrap();
        model::run_on(0);
        taken += std::iter::from_fn(|| world.pop()).take(4).count();
        assert_eq!(taken, on_list, "no moment has so many");
    }
}

models! {
    store_taken: 3, taken(World::push, registered);
    store_taken_lost_abort: 3, taken(World::push, model::lose_an_abort);
    copy_taken: 3, taken(World::push_two, registered);
    copy_taken_lost_abort: 3, taken(World::push_two, model::lose_an_abort);
    store_two: 3, two(World::push);
    copy_two: 3, two(World::push_two);
    store_released: 3, released(World::push);
    copy_released: 3, released(World::push_two);
    commit_let_in: 2, let_in();
    swapped_rseq: 2, swapped(registered);
    swapped_lost_abort: 2, swapped(model::lose_an_abort);
    pop_aba: 3, aba();
    pop_taken: 3, list_taken(registered);
    pop_taken_lost_abort: 3, list_taken(model::lose_an_abort);
}

mutants! {
    no_broadcast_of_store: NoBroadcast, 3, taken(World::push, registered);
    no_broadcast_of_copy: NoBroadcast, 3, taken(World::push_two, registered);
    no_broadcast_of_swap: NoBroadcast, 3, swapped(registered);
    no_broadcast_of_pop: NoBroadcast, 3, list_taken(registered);
    one_broadcast_of_store: OneBroadcast, 3, taken(World::push, model::lose_an_abort);
    one_broadcast_of_copy: OneBroadcast, 3, taken(World::push_two, model::lose_an_abort);
    one_broadcast_of_swap: OneBroadcast, 3, swapped(model::lose_an_abort);
    one_broadcast_of_pop: OneBroadcast, 3, list_taken(model::lose_an_abort);
    stop_outside_store: StopOutsideSection, 3, taken(World::push, registered);
    stop_outside_copy: StopOutsideSection, 3, taken(World::push_two, registered);
    stop_outside_swap: StopOutsideSection, 3, swapped(registered);
    stop_outside_pop: StopOutsideSection, 3, list_taken(registered);
    stage_outside_store: StageOutsideSection, 3, two(World::push);
    stage_outside_copy: StageOutsideSection, 3, two(World::push_two);
    taken_outside: TakenOutsideSection, 3, swapped(registered);
    next_outside: NextOutsideSection, 3, aba();
    plain_store: PlainChange, 3, released(World::push);
    plain_copy: PlainChange, 3, released(World::push_two);
}
