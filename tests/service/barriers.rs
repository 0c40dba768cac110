//! What a barrier covers, and the end of a domain.

use crate::counted::counted;
use crate::play::in_each;
use crate::reader::soon;
use crate::tiers::{on_every_tier, on_every_tier_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread::{scope, sleep, spawn};
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, DomainBuilder};

#[test]
fn a_barrier_covers_what_other_threads_have_queued() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let (queued, is_queued) = channel();
        scope(|s| {
            let threads: Vec<_> = (0..6)
                .map(|_| {
                    let (new, queued) = (new.clone(), queued.clone());
                    let (end, ended) = channel::<()>();
                    s.spawn(move || {
                        (0..500).for_each(|n| domain.retire(new(n)));
                        queued.send(()).unwrap();
                        // Alive while the barrier works, and idle.
                        let _ = ended.recv();
                    });
                    end
                })
                .collect();
            (0..6).for_each(|_| is_queued.recv().unwrap());
            domain.barrier();
            assert_eq!(drops.load(SeqCst), 6 * 500);
            drop(threads);
        });
    });
}

/// Queues a callback that takes 100 ms, and 50 others; returns when it has begun.
fn begin_slow_callback(domain: &Domain, done: &Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicBool::new(false));
    for n in 0..51 {
        let (begun, done) = (begun.clone(), done.clone());
        domain.defer(move || {
            if n == 25 {
                begun.store(true, SeqCst);
                sleep(Duration::from_millis(100));
            }
            done.fetch_add(1, SeqCst);
        });
    }
    soon("the reclaimer", || begun.load(SeqCst));
}

#[test]
fn a_barrier_waits_for_callbacks_that_are_running() {
    on_every_tier(|domain| {
        let done = Arc::new(AtomicUsize::new(0));
        begin_slow_callback(domain, &done);
        domain.barrier();
        assert_eq!(done.load(SeqCst), 51, "one was running on the reclaimer's thread");
        // And on a thread that is in a barrier itself.
        let (begun, has_begun) = channel();
        let also = done.clone();
        let other = spawn(move || {
            domain.defer(move || {
                begun.send(()).unwrap();
                sleep(Duration::from_millis(100));
                also.fetch_add(1, SeqCst);
            });
            domain.barrier();
        });
        has_begun.recv().unwrap();
        domain.barrier();
        assert_eq!(done.load(SeqCst), 52);
        other.join().unwrap();
    });
}

#[test]
fn a_barrier_covers_what_running_callbacks_queue() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let (begun, has_begun) = channel();
        domain.defer(move || {
            begun.send(()).unwrap();
            sleep(Duration::from_millis(50));
            (0..100).for_each(|n| domain.retire(new(n)));
        });
        has_begun.recv().unwrap();
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 100);
    });
}

#[test]
fn barriers_may_be_concurrent() {
    on_every_tier(|domain| {
        scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..5 {
                        let (drops, new) = counted();
                        (0..200).for_each(|n| domain.retire(new(n)));
                        domain.barrier();
                        assert_eq!(drops.load(SeqCst), 200, "a barrier that did not cover its own");
                    }
                });
            }
        });
    });
}

/// Asserts that a callback that waits in this manner panics, and is told why.
fn panics_in_a_callback(domain: &'static Domain, what: &str, wait: fn(&Domain)) {
    let message = Arc::new(std::sync::Mutex::new(String::new()));
    let heard = message.clone();
    domain.on_callback_panic(move |payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(|text| text.as_str()));
        *heard.lock().unwrap() = text.unwrap_or("no text").to_owned();
    });
    domain.defer(move || wait(domain));
    domain.barrier();
    assert_eq!(domain.statistics().callback_panics, 1);
    let message = message.lock().unwrap();
    let expected = format!("{what} called from a callback of the same domain");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn a_barrier_in_a_callback_panics_there() {
    on_every_tier(|domain| panics_in_a_callback(domain, "barrier", Domain::barrier));
}

/// The callback that asks counts until it has returned.
#[test]
fn throttle_in_a_callback_panics_there() {
    let limit = |limit| {
        let settings = move |builder: DomainBuilder| builder.limit(limit);
        on_every_tier_with(settings, |domain| {
            panics_in_a_callback(domain, "throttle", Domain::throttle);
        });
    };
    limit(1);
    limit(0);
    // Below the limit there is nothing to wait for.
    on_every_tier(|domain| {
        domain.defer(|| domain.throttle());
        domain.barrier();
        assert_eq!(domain.statistics().callback_panics, 0);
    });
}

#[test]
fn a_callback_may_wait_for_another_domain() {
    on_every_tier(|domain| {
        static OTHER: Domain = Domain::new();
        let (drops, new) = counted();
        domain.defer(move || {
            OTHER.retire(new(1));
            OTHER.barrier();
            OTHER.synchronize();
            OTHER.retire(new(2));
            assert!(OTHER.start_poll().is_complete() || OTHER.pending().callbacks <= 1);
        });
        domain.barrier();
        OTHER.barrier();
        assert_eq!(drops.load(SeqCst), 2);
        assert_eq!(domain.statistics().callback_panics, 0);
    });
}

#[test]
fn a_domain_drains_when_dropped_also_while_the_reclaimer_is_at_it() {
    for tier in Tier::ALL {
        let domain = Domain::builder().tier(tier).build();
        let done = Arc::new(AtomicUsize::new(0));
        begin_slow_callback(&domain, &done);
        for _ in 0..100 {
            let done = done.clone();
            domain.defer(move || {
                done.fetch_add(1, SeqCst);
            });
        }
        drop(domain);
        assert_eq!(done.load(SeqCst), 151);
    }
}

/// The reclaimer's thread may be where the last handle goes.
#[test]
fn a_callback_may_drop_its_own_domain() {
    in_each("callbacks drop their domain");
}

#[test]
fn a_process_exits_whatever_is_pending() {
    for scenario in [
        "returns with garbage",
        "exits with garbage",
        "exits from a thread",
        "exits while callbacks run",
        "exits with callbacks left",
        "exits with callbacks left to sessions",
        "exits under a guard",
    ] {
        in_each(scenario);
    }
}

#[test]
fn the_main_thread_may_retire_in_its_last_destructors() {
    for output in in_each("retires in the main thread's destructors") {
        if !output.contains("a destructor ran") {
            println!("SKIPPED: std runs no destructors of the main thread in such a program");
            continue;
        }
        assert!(output.contains("a destructor has retired"), "{output}");
    }
}
