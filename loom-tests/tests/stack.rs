//! Models of per-CPU lists and what empties them from elsewhere, on the shipped source.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::ptr::NonNull;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::{Chain, Link, RawStack};
use stillpoint::rseq::model;
use support::Tracked;

/// A node, which holds how often it was taken. Nodes of a model live as long as that, so that a
/// defect meets a wrong node, not a dangling pointer.
#[repr(C)]
struct Node {
    link: Link,
    taken: Tracked,
}

struct World<const N: usize> {
    stack: RawStack,
    nodes: [Node; N],
}

impl<const N: usize> World<N> {
    /// The first `pushed` nodes are on CPU 0's list.
    fn new(tier: Tier, pushed: usize) -> Arc<Self> {
        model::set_limit(tier);
        let new = |_| Node { link: Link::new(), taken: Tracked::new(0) };
        let world = Arc::new(World { stack: RawStack::new(), nodes: std::array::from_fn(new) });
        (0..pushed).for_each(|at| world.push(at));
        world
    }

    fn push(&self, at: usize) {
        // SAFETY: the nodes live as long as the stack, and models push what they have.
        unsafe { self.stack.push(NonNull::from(&self.nodes[at]).cast()) };
    }

    /// The node is ours: nobody else may be looking at it.
    fn own(&self, node: NonNull<Link>) -> usize {
        // SAFETY: one of the nodes.
        let node = unsafe { node.cast::<Node>().as_ref() };
        node.taken.set(node.taken.get() + 1);
        (std::ptr::from_ref(node).addr() - self.nodes.as_ptr().addr()) / size_of::<Node>()
    }

    fn pop(&self) -> Option<usize> {
        self.stack.pop().map(|node| self.own(node))
    }

    fn own_all(&self, chain: Chain) -> usize {
        // A chain that was torn may be a ring.
        let nodes: Vec<_> = chain.take(N + 1).collect();
        assert!(nodes.len() <= N, "no moment has so many");
        nodes.iter().for_each(|node| {
            self.own(*node);
        });
        nodes.len()
    }

    /// In the end each node is there once. `taken`: those that are not on a list.
    fn check(&self, taken: usize) {
        let left = self.own_all(self.stack.drain_all());
        assert_eq!(left + taken, N, "no moment has {left} on lists and {taken} taken");
    }
}

fn spawn<const N: usize, R: 'static>(
    world: &Arc<World<N>>,
    run: impl FnOnce(&World<N>) -> R + 'static,
) -> JoinHandle<R> {
    let world = world.clone();
    thread::spawn(move || run(&world))
}

type Drain = fn(&RawStack) -> Chain;

/// Puts the other list in use.
fn flip(stack: &RawStack) -> Chain {
    stack.drain(0)
}

/// Stops the parts.
fn stop(stack: &RawStack) -> Chain {
    stack.drain_all()
}

/// One pops on CPU 0 and pushes what it got again; another empties that list.
fn drained(drain: Drain, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::<2>::new(Tier::Rseq, 2);
        let popper = spawn(&world, move |world| {
            script();
            world.pop().map_or(0, |_| 1)
        });
        model::run_on(1);
        let drained = world.own_all(drain(&world.stack));
        let popped = popper.join().unwrap();
        world.check(drained + popped);
    }
}

/// The same, and what was drained is pushed elsewhere, and popped there.
fn moved(script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::<2>::new(Tier::Rseq, 1);
        let pusher = spawn(&world, move |world| {
            script();
            world.push(1);
            world.pop().map_or(0, |_| 1)
        });
        model::run_on(1);
        for node in world.stack.drain(0) {
            // SAFETY: just taken.
            unsafe { world.stack.push(node) };
        }
        let mut taken = usize::from(world.pop().is_some());
        taken += pusher.join().unwrap();
        world.check(taken);
    }
}

/// Two empty the same list.
fn two_drains() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::<2>::new(Tier::Rseq, 1);
        let other = spawn(&world, |world| {
            model::run_on(1);
            world.own_all(world.stack.drain(0))
        });
        let pusher = spawn(&world, |world| world.push(1));
        model::run_on(1);
        let drained = world.own_all(world.stack.drain_all());
        let drained = drained + other.join().unwrap();
        pusher.join().unwrap();
        world.check(drained);
    }
}

/// After a drain the list is used again, and what was changed is seen.
fn used_again(tier: Tier, drain: Drain) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::<2>::new(tier, 1);
        let popper = spawn(&world, |world| {
            world.push(1);
            usize::from(world.pop().is_some()) + usize::from(world.pop().is_some())
        });
        model::run_on(1);
        let drained = world.own_all(drain(&world.stack));
        let popped = popper.join().unwrap();
        world.check(drained + popped);
    }
}

/// Two threads of one CPU: one pops, the other pops two and pushes the first again.
fn aba(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::<3>::new(tier, 0);
        script();
        (0..3).for_each(|at| world.push(at));
        let popper = spawn(&world, move |world| {
            script();
            usize::from(world.pop().is_some())
        });
        let (first, second) = (world.pop(), world.pop());
        let mut taken = usize::from(second.is_some());
        if let Some(first) = first {
            world.push(first);
        }
        taken += popper.join().unwrap();
        world.check(taken);
    }
}

/// Two push and pop where threads share a list, or each has its own.
fn conserved(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let world = World::<2>::new(tier, 0);
        let other = spawn(&world, move |world| {
            script();
            world.push(0);
            usize::from(world.pop().is_some())
        });
        script();
        world.push(1);
        let taken = usize::from(world.pop().is_some());
        let taken = taken + other.join().unwrap();
        world.check(taken);
    }
}

/// One takes all, as another pops.
fn taken() -> impl Fn() + Sync + Send + 'static {
    || {
        let world = World::<2>::new(Tier::Rseq, 2);
        let other = spawn(&world, |world| usize::from(world.pop().is_some()));
        let taken = world.own_all(world.stack.take_all());
        let taken = taken + other.join().unwrap();
        world.check(taken);
    }
}

use support::registered;

models! {
    drained_rseq: 4, drained(flip, registered);
    drained_lost_abort: 4, drained(flip, model::lose_an_abort);
    drained_by_stop: 4, drained(stop, registered);
    drained_by_stop_lost_abort: 4, drained(stop, model::lose_an_abort);
    moved_rseq: 4, moved(registered);
    moved_lost_abort: 4, moved(model::lose_an_abort);
    two_drains_rseq: 3, two_drains();
    used_again_rseq: 4, used_again(Tier::Rseq, flip);
    used_again_by_stop: 4, used_again(Tier::Rseq, stop);
    used_again_membarrier: 4, used_again(Tier::Membarrier, stop);
    used_again_fence: 4, used_again(Tier::Fence, stop);
    aba_rseq: 4, aba(Tier::Rseq, registered);
    aba_unregistered: 4, aba(Tier::Rseq, model::unregister);
    conserved_rseq: 4, conserved(Tier::Rseq, registered);
    conserved_unregistered: 4, conserved(Tier::Rseq, model::unregister);
    taken_rseq: 4, taken();
}

mutants! {
    no_broadcast: NoBroadcast, 3, drained(flip, registered);
    no_broadcast_of_stop: NoBroadcast, 3, drained(stop, registered);
    no_flip: NoStop, 3, used_again(Tier::Rseq, flip);
    no_stop: NoStop, 3, used_again(Tier::Rseq, stop);
    one_broadcast: OneBroadcast, 3, drained(flip, model::lose_an_abort);
    one_broadcast_of_stop: OneBroadcast, 3, drained(stop, model::lose_an_abort);
    relaxed_restart: RelaxedRestart, 3, used_again(Tier::Rseq, stop);
    word_outside_section: StopOutsideSection, 3, used_again(Tier::Rseq, flip);
    stop_outside_section: StopOutsideSection, 3, used_again(Tier::Rseq, stop);
    next_outside_section: NextOutsideSection, 3, aba(Tier::Rseq, registered);
    pop_by_exchange: PopByExchange, 3, aba(Tier::Rseq, model::unregister);
}
