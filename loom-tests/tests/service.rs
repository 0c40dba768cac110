//! Models of what stands on grace periods: waiting together, cookies, futures, callbacks.

#[macro_use]
mod support;

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::rcu::Domain;
use stillpoint::rseq::model;
use support::{Shared, Tracked, spawn};

/// Three callers at once, and a reader that is in their way: nobody sleeps for ever.
fn shared_synchronize() -> impl Fn() + Sync + Send + 'static {
    || {
        let domain = Arc::new(Domain::builder().tier(Tier::Fence).build());
        domain.start_poll();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let domain = domain.clone();
                thread::spawn(move || domain.synchronize())
            })
            .collect();
        domain.synchronize();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    }
}

/// A cookie that is taken inside a section does not complete in it, whoever else drives grace periods.
fn cookie_in_a_section(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let other = spawn(&shared, |shared| {
            model::run_on(1);
            // Never blocks: the reader may stay for as long as it looks.
            let period = shared.domain.start_poll();
            period.is_complete();
            period.is_complete();
        });
        let guard = shared.domain.read();
        let cookie = shared.domain.start_poll();
        assert!(!cookie.is_complete(), "too early");
        assert!(!cookie.is_complete(), "too early");
        drop(guard);
        other.join().unwrap();
        cookie.wait();
        assert!(cookie.is_complete());
    }
}

/// What a cookie says is what `synchronize` says: nobody reads any more what was unlinked
/// before it was taken. Of two others one may end the grace period and one begin the next, whose
/// number is all that is seen of both.
fn cookie_protects(tier: Tier, others: usize) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let reader = spawn(&shared, |shared| shared.read());
        let other = |_| {
            spawn(&shared, |shared| {
                shared.domain.start_poll().is_complete();
            })
        };
        let others: Vec<_> = (0..others).map(other).collect();
        model::run_on(1);
        let old = shared.cell.swap(Tracked::new(1));
        let cookie = shared.domain.start_poll();
        while !cookie.is_complete() {
            thread::yield_now();
        }
        old.set(support::FREED);
        std::mem::forget(old);
        reader.join().unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
    }
}

/// A task that awaits a grace period is woken by whoever ends it.
fn task_is_woken() -> impl Fn() + Sync + Send + 'static {
    || {
        let shared = Shared::new(Tier::Fence);
        let guard = shared.domain.read().into_send();
        let reader = thread::spawn({
            let shared = shared.clone();
            // SAFETY: the domain lives in `shared`, which the closure owns beside the guard.
            let guard = unsafe {
                std::mem::transmute::<
                    stillpoint::rcu::SendGuard<'_>,
                    stillpoint::rcu::SendGuard<'static>,
                >(guard)
            };
            move || {
                drop(guard);
                // As the reclaimer would advance it. The second covers a task that came too late
                // for the first.
                shared.domain.synchronize();
                shared.domain.synchronize();
            }
        });
        block_on(shared.domain.grace_period());
        reader.join().unwrap();
    }
}

/// A reader against a retirer and a barrier.
fn callbacks(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let reader = spawn(&shared, |shared| shared.read());
        model::run_on(1);
        shared.cell.store(Tracked::new(1));
        shared.cell.store(Tracked::new(2));
        reader.join().unwrap();
        shared.domain.barrier();
        assert_eq!(shared.domain.pending().callbacks, 0);
    }
}

/// Two retirers on one CPU's lists, one of whom closes and runs them while the other pushes: each
/// callback runs once.
fn take_against_push(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(tier);
        let ran = std::sync::Arc::new(AtomicUsize::new(0));
        let defer = |shared: &Shared, ran: &std::sync::Arc<AtomicUsize>| {
            let ran = ran.clone();
            shared.domain.defer(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        };
        let other = {
            let ran = ran.clone();
            spawn(&shared, move |shared| defer(shared, &ran))
        };
        for _ in 0..3 {
            defer(&shared, &ran);
        }
        other.join().unwrap();
        shared.domain.barrier();
        assert_eq!(ran.load(Ordering::Relaxed), 4, "a callback was lost or ran too early");
    }
}

/// A retirer on the CPU of another, who closes the list that the first is about to push to and
/// drives its grace period; and a reader on the other CPU, whose section that grace period
/// may overlook, and who need not see what the first has unlinked.
fn late_pusher() -> impl Fn() + Sync + Send + 'static {
    || {
        let shared = Shared::new(Tier::Rseq);
        let reader = spawn(&shared, |shared| shared.read());
        let retirer = spawn(&shared, |shared| {
            model::run_on(1);
            shared.cell.store(Tracked::new(1));
        });
        model::run_on(1);
        shared.domain.defer(|| {});
        shared.domain.defer(|| {});
        reader.join().unwrap();
        retirer.join().unwrap();
        shared.domain.barrier();
    }
}

/// When `barrier` returns, what was queued before has run.
fn barrier() -> impl Fn() + Sync + Send + 'static {
    || {
        let shared = Shared::new(Tier::Rseq);
        let other = spawn(&shared, |shared| {
            model::run_on(1);
            shared.domain.defer(|| {});
        });
        let ran = std::sync::Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        shared.domain.defer(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        shared.domain.barrier();
        assert_eq!(ran.load(Ordering::Relaxed), 1, "barrier returned too early");
        other.join().unwrap();
    }
}

models! {
    nobody_sleeps_for_ever: 2, shared_synchronize();
    cookie_in_a_section_rseq: 2, cookie_in_a_section(Tier::Rseq);
    cookie_in_a_section_fence: 2, cookie_in_a_section(Tier::Fence);
    cookie_protects_rseq: 2, cookie_protects(Tier::Rseq, 1);
    cookie_protects_fence: 2, cookie_protects(Tier::Fence, 1);
    task_is_always_woken: 2, task_is_woken();
    callbacks_wait_for_readers_rseq: 3, callbacks(Tier::Rseq);
    callbacks_wait_for_readers_fence: 3, callbacks(Tier::Fence);
    take_against_push_rseq: 2, take_against_push(Tier::Rseq);
    take_against_push_fence: 2, take_against_push(Tier::Fence);
    #[ignore = "fifteen seconds"]
    late_pusher_waits_for_two: 2, late_pusher();
    cookie_with_two_others: 2, cookie_protects(Tier::Rseq, 2);
    barrier_waits: 2, barrier();
}

mutants! {
    lost_wakeup: LostWakeup, 2, shared_synchronize();
    lost_wakeup_of_a_task: LostWakeup, 2, task_is_woken();
    poll_early: PollEarly, 2, cookie_in_a_section(Tier::Rseq);
    poll_early_unprotected: PollEarly, 2, cookie_protects(Tier::Rseq, 1);
    relaxed_begin: RelaxedBegin, 2, cookie_protects(Tier::Rseq, 2);
    no_round_up_cookie: NoRoundUp, 2, cookie_protects(Tier::Rseq, 1);
    early_callback: EarlyCallback, 3, callbacks(Tier::Rseq);
    early_take: EarlyTake, 3, late_pusher();
    push_outside_section: PushOutsideSection, 2, take_against_push(Tier::Rseq);
    lost_callback: LostCallback, 2, barrier();
    barrier_early: BarrierEarly, 2, barrier();
}
