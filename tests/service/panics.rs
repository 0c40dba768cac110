//! Callbacks that panic.

use crate::counted::counted;
use crate::play::in_each;
use crate::reader::soon;
use crate::tiers::on_every_tier;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use stillpoint::rcu::Domain;

#[test]
fn panics_are_counted_and_handed_on() {
    on_every_tier(|domain| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        domain.on_callback_panic(move |payload| {
            let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or(payload.downcast_ref::<String>().cloned());
            let number = payload.downcast_ref::<u32>().map(|n| n.to_string());
            hears.lock().unwrap().push(text.or(number).unwrap());
        });
        let (drops, new) = counted();
        for n in 0..100 {
            let value = new(n);
            domain.defer(move || match value.0 {
                10 => panic!("part of the test"),
                20 => panic!("part {} of the test", value.0),
                30 => panic_any(value.0),
                _ => {}
            });
        }
        domain.barrier();
        let mut heard = heard.lock().unwrap();
        heard.sort();
        assert_eq!(*heard, ["30", "part 20 of the test", "part of the test"]);
        assert_eq!(drops.load(SeqCst), 100, "what a callback holds is dropped when it panics");
        let statistics = domain.statistics();
        assert_eq!((statistics.callback_panics, statistics.callbacks), (3, 100));
        assert_eq!(domain.pending(), Default::default());
    });
}

/// Panics when dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("this panic is part of the test, in a drop");
    }
}

/// Queues panics of every kind among 30 callbacks; all must run.
fn all_run(domain: &Domain) {
    let ran = Arc::new(AtomicUsize::new(0));
    for n in 0..30 {
        let ran = ran.clone();
        domain.defer(move || {
            ran.fetch_add(1, SeqCst);
            match n % 6 {
                2 => panic!("this panic is part of the test"),
                3 => panic_any(Bomb),
                _ => {}
            }
        });
    }
    domain.retire(Bomb);
    domain.barrier();
    assert_eq!(ran.load(SeqCst), 30);
    assert_eq!(domain.pending(), Default::default());
}

#[test]
fn neither_hooks_nor_payloads_that_panic_stop_the_rest() {
    on_every_tier(|domain| {
        all_run(domain);
        assert_eq!(domain.statistics().callback_panics, 11);
        domain.on_callback_panic(|_| panic!("this panic is part of the test, in a hook"));
        all_run(domain);
        domain.on_callback_panic(|_| panic_any(Bomb));
        all_run(domain);
        assert_eq!(domain.statistics().callback_panics, 33);
    });
}

#[test]
fn what_is_left_in_a_domain_may_panic_in_the_end() {
    in_each("hooks that panic in the end");
    in_each("hooks that panic in the end, in sessions");
}

/// Hooks are kept while they may run: no longer than the domain, but for a pass of the reclaimer
/// that has met it.
#[test]
fn hooks_go_with_their_domain() {
    let held = Arc::new(());
    let domain = Domain::new();
    let (stalls, panics) = (held.clone(), held.clone());
    domain.on_stall(move |_| assert_eq!(*stalls, ()));
    domain.on_callback_panic(move |_| assert_eq!(*panics, ()));
    domain.synchronize();
    drop(domain);
    soon("the hooks' end", || Arc::strong_count(&held) == 1);
}
