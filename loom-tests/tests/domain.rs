//! Models of the RCU domain, on the shipped source.
//!
//! What is protected is a loom cell: the checker itself reports an access that is not ordered
//! against the one that frees. Every model runs on the tiers it is about; every mutant must
//! make a model fail.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use std::sync::atomic::Ordering;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::rseq::model;
use support::{Shared, registered, spawn};

/// One reader, two sections that overlap, the second ending on another CPU; one updater.
fn nested_reader(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let reader = spawn(&shared, move |shared| {
            let outer = shared.domain.read();
            let first = shared.cell.load(&outer);
            first.get();
            let inner = shared.domain.read();
            let second = shared.cell.load(&inner);
            first.get();
            drop(outer);
            model::run_on(1);
            second.get();
            drop(inner);
        });
        model::run_on(1);
        shared.replace(1);
        reader.join().unwrap();
    }
}

/// One reader, one updater, one section. `script` says what the kernel does to the reader.
fn one_reader(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let reader = spawn(&shared, move |shared| {
            script();
            shared.read();
        });
        model::run_on(1);
        shared.replace(1);
        reader.join().unwrap();
    }
}

/// One reader, one updater with two grace periods in a row: a count that comes too late for
/// the first must not be overlooked by the second.
fn two_periods(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let updater = spawn(&shared, move |shared| {
            model::run_on(1);
            shared.replace(1);
            shared.replace(2);
        });
        script();
        shared.read();
        updater.join().unwrap();
    }
}

/// Two readers on two CPUs; one updater.
fn two_readers(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let readers: Vec<_> = (0..2)
            .map(|cpu| {
                spawn(&shared, move |shared| {
                    model::run_on(cpu);
                    shared.read();
                })
            })
            .collect();
        shared.replace(1);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}

/// One reader; two updaters, who share grace periods.
fn two_updaters(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let reader = spawn(&shared, move |shared| shared.read());
        let updater = spawn(&shared, move |shared| {
            model::run_on(1);
            shared.replace(1);
        });
        model::run_on(1);
        shared.replace(2);
        reader.join().unwrap();
        updater.join().unwrap();
    }
}

/// A reader that stays; another that comes and goes on another CPU while the scan runs; an updater.
fn visitor_during_scan(script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(Tier::Rseq);
        let guard = shared.domain.read();
        let value = shared.cell.load(&guard);
        let visitor = spawn(&shared, move |shared| {
            script();
            model::run_on(1);
            shared.read();
        });
        let updater = spawn(&shared, move |shared| shared.replace(1));
        visitor.join().unwrap();
        value.get();
        drop(guard);
        updater.join().unwrap();
    }
}

/// A stream of readers, each entering before the last one leaves, until the grace period has ended:
/// it must end.
fn stream_of_readers(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let done = Arc::new(AtomicBool::new(false));
        let updater = {
            let (shared, done) = (shared.clone(), done.clone());
            thread::spawn(move || {
                model::run_on(1);
                shared.domain.synchronize();
                done.store(true, Ordering::Release);
            })
        };
        let mut guard = shared.domain.read();
        while !done.load(Ordering::Acquire) {
            let next = shared.domain.read();
            guard = next;
            thread::yield_now();
        }
        drop(guard);
        updater.join().unwrap();
    }
}

/// A guard that is entered by a sequence and ends on a thread that cannot run one.
fn guard_sent_to_an_unregistered_thread() -> impl Fn() + Sync + Send + 'static {
    || {
        let shared = Shared::new(Tier::Rseq);
        let reader = spawn(&shared, move |shared| {
            let guard = shared.domain.read();
            let value = shared.cell.load(&guard);
            model::unregister();
            value.get();
            drop(guard);
        });
        model::run_on(1);
        shared.replace(1);
        reader.join().unwrap();
    }
}

models! {
    nested_reader_rseq: 3, nested_reader(Tier::Rseq);
    nested_reader_membarrier: 3, nested_reader(Tier::Membarrier);
    nested_reader_fence: 3, nested_reader(Tier::Fence);
    two_readers_rseq: 3, two_readers(Tier::Rseq);
    two_readers_membarrier: 2, two_readers(Tier::Membarrier);
    two_readers_fence: 2, two_readers(Tier::Fence);
    two_updaters_rseq: 2, two_updaters(Tier::Rseq);
    two_updaters_membarrier: 2, two_updaters(Tier::Membarrier);
    two_updaters_fence: 2, two_updaters(Tier::Fence);
    two_periods_rseq: 3, two_periods(Tier::Rseq, registered);
    two_periods_membarrier: 3, two_periods(Tier::Membarrier, registered);
    two_periods_fence: 3, two_periods(Tier::Fence, registered);
    two_periods_unregistered: 3, two_periods(Tier::Rseq, model::unregister);
    two_periods_lost_abort: 3, two_periods(Tier::Rseq, model::lose_aborts);
    unregistered_reader_counts_atomically: 3, one_reader(Tier::Rseq, model::unregister);
    visitor_while_the_scan_runs: 3, visitor_during_scan(registered);
    visitor_with_lost_aborts: 3, visitor_during_scan(model::lose_aborts);
    stream_of_readers_rseq: 2, stream_of_readers(Tier::Rseq);
    stream_of_readers_membarrier: 2, stream_of_readers(Tier::Membarrier);
    guard_may_end_unregistered: 3, guard_sent_to_an_unregistered_thread();
}

mutants! {
    no_broadcast_rseq: NoBroadcast, 3, one_reader(Tier::Rseq, registered);
    no_broadcast_membarrier: NoBroadcast, 3, one_reader(Tier::Membarrier, registered);
    no_broadcast_unregistered: NoBroadcast, 3, one_reader(Tier::Rseq, model::unregister);
    no_light_fence: NoLightFence, 3, one_reader(Tier::Fence, registered);
    no_light_fence_unregistered: NoLightFence, 3, one_reader(Tier::Rseq, model::unregister);
    no_flip: NoFlip, 2, stream_of_readers(Tier::Rseq);
    no_flip_membarrier: NoFlip, 2, stream_of_readers(Tier::Membarrier);
    skip_other_phase: SkipOtherPhase, 3, two_periods(Tier::Rseq, registered);
    skip_other_phase_membarrier: SkipOtherPhase, 3, two_periods(Tier::Membarrier, registered);
    enters_before_leaves: EntersBeforeLeaves, 3, visitor_during_scan(registered);
    enters_before_leaves_lost_abort: EntersBeforeLeaves, 3, visitor_during_scan(model::lose_aborts);
    relaxed_publish: RelaxedPublish, 3, one_reader(Tier::Rseq, registered);
    relaxed_leave: RelaxedLeave, 3, one_reader(Tier::Rseq, registered);
    relaxed_leave_fence: RelaxedLeave, 3, one_reader(Tier::Fence, registered);
    no_round_up: NoRoundUp, 3, two_updaters(Tier::Rseq);
}
