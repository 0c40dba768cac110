//! Models of per-CPU pools and what empties and resizes them from elsewhere, on the shipped source.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::ptr::from_ref;
use std::sync::Mutex;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::{Pool, PoolBox, PoolLimits};
use stillpoint::rseq::model;
use support::{Tracked, registered};

/// No model has more memory than for so many values.
const MOST: usize = 6;
const LIMITS: PoolLimits = PoolLimits::new().per_cpu(3, 1 << 20).depot(100, 1 << 20).room(4);

type Value = u64;

struct World {
    pool: Pool<Value>,
    /// Where the memory is. The checker does not see it.
    seen: Mutex<Vec<usize>>,
    /// How often each piece of memory was somebody's.
    owned: [Tracked; MOST],
}

impl World {
    /// CPU 0 keeps memory for so many values.
    fn new(tier: Tier, cached: usize) -> Arc<Self> {
        model::set_limit(tier);
        let world = Arc::new(World {
            pool: Pool::with_limits(LIMITS),
            seen: Mutex::new(vec![]),
            owned: std::array::from_fn(|_| Tracked::new(0)),
        });
        let values: Vec<_> = (0..cached).map(|_| world.get()).collect();
        drop(values);
        world
    }

    /// Memory that is ours: nobody else may be looking at it.
    fn get(&self) -> PoolBox<Value, &Pool<Value>> {
        let value = self.pool.boxed(7);
        let address = from_ref(&*value).addr();
        let at = {
            let mut seen = self.seen.lock().unwrap();
            seen.iter().position(|other| *other == address).unwrap_or_else(|| {
                seen.push(address);
                seen.len() - 1
            })
        };
        assert!(at < MOST, "no moment has so much memory");
        self.owned[at].set(self.owned[at].get() + 1);
        value
    }

    /// One value comes and goes.
    fn use_one(&self) {
        drop(self.get());
    }

    /// In the end all is free, each piece once.
    fn check(&self) {
        let seen = self.pool.statistics();
        let free = seen.cached() + seen.depot;
        assert_eq!(free, seen.cells, "no moment has {free} of {} free", seen.cells);
        let values: Vec<_> = (0..seen.cells).map(|_| self.get()).collect();
        let mut all: Vec<_> = values.iter().map(|value| from_ref(&**value).addr()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), values.len(), "no moment has one piece of memory twice");
    }
}

fn spawn(world: &Arc<World>, run: impl FnOnce(&World) + 'static) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || run(&world))
}

type Remote = fn(&World);

/// The depot gets what CPU 0 keeps; some of it is used elsewhere.
fn drain(world: &World) {
    world.pool.drain(0);
    world.use_one();
}

fn trim(world: &World) {
    world.pool.trim();
}

/// All but one go.
fn shrink(world: &World) {
    world.pool.set_limits(LIMITS.per_cpu(1, 1 << 20));
}

/// One uses memory on CPU 0; another empties that cache.
fn emptied(remote: Remote, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new(Tier::Rseq, 2);
        let user = spawn(&world, move |world| {
            script();
            world.use_one();
        });
        model::run_on(1);
        remote(&world);
        user.join().unwrap();
        world.check();
    }
}

/// The same by two at once, and the cache is used behind that.
fn emptied_by_two(one: Remote, other: Remote) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new(Tier::Rseq, 2);
        let second = spawn(&world, move |world| {
            model::run_on(1);
            other(world);
        });
        one(&world);
        world.use_one();
        second.join().unwrap();
        world.check();
    }
}

/// Two use memory: on one CPU, on two, or where threads share.
fn used(tier: Tier, cpus: [usize; 2], script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new(tier, 1);
        let other = spawn(&world, move |world| {
            script();
            model::run_on(cpus[1]);
            world.use_one();
            world.use_one();
        });
        script();
        model::run_on(cpus[0]);
        world.use_one();
        other.join().unwrap();
        world.check();
    }
}

/// One takes memory; another takes two pieces, and gives the first back.
fn aba(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        model::set_limit(tier);
        script();
        let world = World::new(tier, 3);
        let other = spawn(&world, move |world| {
            script();
            std::mem::forget(world.get());
        });
        let (first, second) = (world.get(), world.get());
        drop(first);
        other.join().unwrap();
        let seen = world.pool.statistics();
        let free = seen.cached() + seen.depot;
        assert_eq!(free + 2, seen.cells, "no moment has {free} of {} free", seen.cells);
        let _third = world.get();
        drop(second);
    }
}

/// Below tier `Rseq`, a shard is emptied.
fn shared(tier: Tier, remote: Remote) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::new(tier, 2);
        let user = spawn(&world, |world| world.use_one());
        remote(&world);
        user.join().unwrap();
        world.check();
    }
}

models! {
    drained_rseq: 3, emptied(drain, registered);
    #[ignore = "ten seconds"]
    drained_lost_abort: 3, emptied(drain, model::lose_an_abort);
    drained_unregistered: 3, emptied(drain, model::unregister);
    trimmed_rseq: 3, emptied(trim, registered);
    shrunk_rseq: 3, emptied(shrink, registered);
    shrunk_lost_abort: 3, emptied(shrink, model::lose_an_abort);
    drained_and_shrunk: 2, emptied_by_two(drain, shrink);
    trimmed_by_two: 3, emptied_by_two(trim, trim);
    used_on_one_cpu: 3, used(Tier::Rseq, [0, 0], registered);
    used_on_two: 3, used(Tier::Rseq, [0, 1], registered);
    used_unregistered: 3, used(Tier::Rseq, [0, 0], model::unregister);
    used_fence: 3, used(Tier::Fence, [0, 0], registered);
    aba_rseq: 3, aba(Tier::Rseq, registered);
    aba_unregistered: 3, aba(Tier::Rseq, model::unregister);
    trimmed_membarrier: 3, shared(Tier::Membarrier, trim);
    shrunk_fence: 3, shared(Tier::Fence, shrink);
}

mutants! {
    no_broadcast: NoBroadcast, 3, emptied(drain, registered);
    no_broadcast_of_shrinking: NoBroadcast, 3, emptied(shrink, registered);
    no_stop: NoStop, 3, emptied(drain, registered);
    no_stop_of_shrinking: NoStop, 3, emptied(shrink, registered);
    one_broadcast: OneBroadcast, 3, emptied(drain, model::lose_an_abort);
    stop_outside_section: StopOutsideSection, 3, emptied(drain, registered);
    pop_by_exchange: PopByExchange, 3, aba(Tier::Rseq, model::unregister);
}
