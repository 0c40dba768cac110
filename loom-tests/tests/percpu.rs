//! Models of per-CPU words, on the shipped source.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::Counter;
use stillpoint::rseq::model;

/// A counter whose parts are made, so that the models do not explore that.
fn counter(tier: Tier) -> Arc<Counter> {
    model::set_limit(tier);
    let counter = Counter::new();
    counter.add(0);
    Arc::new(counter)
}

fn spawn(counter: &Arc<Counter>, run: impl FnOnce(&Counter) + 'static) -> JoinHandle<()> {
    let counter = counter.clone();
    thread::spawn(move || run(&counter))
}

/// A thread that adds 1 and then, elsewhere, 10. No moment has 10.
fn moments(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let counter = counter(tier);
        let adder = spawn(&counter, move |counter| {
            script();
            model::run_on(0);
            counter.add(1);
            model::run_on(1);
            counter.add(10);
        });
        let sum = counter.sum_exact();
        assert!([0, 1, 11].contains(&sum), "no moment has {sum}");
        adder.join().unwrap();
        assert_eq!((counter.sum(), counter.sum_exact()), (11, 11));
    }
}

/// The same by two threads, of which one waits to be told.
fn told(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let (counter, flag) = (counter(tier), Arc::new(AtomicBool::new(false)));
        let tell = flag.clone();
        let first = spawn(&counter, move |counter| {
            script();
            counter.add(1);
            tell.store(true, Ordering::Release);
        });
        let second = spawn(&counter, move |counter| {
            model::run_on(1);
            if flag.load(Ordering::Acquire) {
                counter.add(10);
            }
        });
        let sum = counter.sum_exact();
        assert!([0, 1, 11].contains(&sum), "no moment has {sum}");
        first.join().unwrap();
        second.join().unwrap();
    }
}

/// Nothing is lost while others close and open the parts.
fn conserved(tier: Tier, cpus: [usize; 2]) -> impl Fn() + Sync + Send + 'static {
    move || {
        let counter = counter(tier);
        let adders = cpus.map(|cpu| {
            spawn(&counter, move |counter| {
                model::run_on(cpu);
                counter.add(1);
            })
        });
        counter.sum_exact();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(counter.sum(), 2);
    }
}

/// Two want the exact sum at once.
fn two_sums(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let counter = counter(tier);
        let other = spawn(&counter, |counter| {
            counter.sum_exact();
        });
        let adder = spawn(&counter, |counter| {
            counter.add(1);
            model::run_on(1);
            counter.add(10);
        });
        let sum = counter.sum_exact();
        assert!([0, 1, 11].contains(&sum), "no moment has {sum}");
        other.join().unwrap();
        adder.join().unwrap();
        assert_eq!(counter.sum(), 11);
    }
}

/// The first additions make the parts.
fn made_by_two(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        model::set_limit(tier);
        let counter = Arc::new(Counter::new());
        let other = spawn(&counter, |counter| {
            model::run_on(1);
            counter.add(1);
        });
        counter.add(1);
        other.join().unwrap();
        assert_eq!(counter.sum(), 2);
    }
}

use support::registered;

models! {
    moments_rseq: 3, moments(Tier::Rseq, registered);
    moments_membarrier: 3, moments(Tier::Membarrier, registered);
    moments_fence: 3, moments(Tier::Fence, registered);
    moments_unregistered: 3, moments(Tier::Rseq, model::unregister);
    moments_lost_abort: 3, moments(Tier::Rseq, model::lose_aborts);
    told_rseq: 2, told(Tier::Rseq, registered);
    told_membarrier: 2, told(Tier::Membarrier, registered);
    told_fence: 2, told(Tier::Fence, registered);
    told_lost_abort: 2, told(Tier::Rseq, model::lose_aborts);
    conserved_rseq: 2, conserved(Tier::Rseq, [0, 1]);
    conserved_on_one_cpu: 2, conserved(Tier::Rseq, [0, 0]);
    conserved_fence: 2, conserved(Tier::Fence, [0, 1]);
    two_sums_rseq: 2, two_sums(Tier::Rseq);
    made_by_two_rseq: 3, made_by_two(Tier::Rseq);
    made_by_two_fence: 3, made_by_two(Tier::Fence);
}

mutants! {
    no_broadcast: NoBroadcast, 3, moments(Tier::Rseq, registered);
    rest_first: RestFirst, 2, two_sums(Tier::Rseq);
    one_collect: OneCollect, 3, moments(Tier::Rseq, model::lose_aborts);
}
