//! Numbers.

use crate::reader::Reader;
use crate::tiers::on_every_tier;
use std::thread::scope;
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, Statistics};

#[test]
fn grace_periods_and_broadcasts_agree() {
    on_every_tier(|domain| {
        (0..50).for_each(|_| domain.synchronize());
        let statistics = domain.statistics();
        let expected = if domain.tier() == Tier::Fence { 0 } else { 50 };
        assert_eq!((statistics.grace_periods, statistics.broadcasts), (50, expected));
        assert_eq!(domain.grace_periods(), 50);
    });
}

#[test]
fn latencies_are_counted_and_ordered() {
    on_every_tier(|domain| {
        let none = domain.statistics().latency;
        assert_eq!((none.count(), none.quantile(0.5)), (0, Duration::ZERO));
        (0..30).for_each(|_| domain.synchronize());
        let held = Duration::from_millis(20);
        let leaving = Reader::of(domain).leave_after(held);
        domain.synchronize();
        leaving.join().unwrap();
        let latency = domain.statistics().latency;
        assert_eq!(latency.count(), domain.grace_periods());
        assert_eq!(latency.buckets().map(|(_, n)| n).sum::<u64>(), 31);
        let quantiles = [-1.0, 0.0, 0.1, 0.5, 0.9, 0.99, 1.0, 2.0].map(|q| latency.quantile(q));
        assert!(quantiles.is_sorted(), "{quantiles:?}");
        assert!(quantiles[0] > Duration::ZERO && quantiles[0] == quantiles[1]);
        assert!(quantiles[7] >= held / 2 && quantiles[7] == quantiles[6], "{quantiles:?}");
        assert!(latency.buckets().is_sorted_by(|a, b| a.0 < b.0));
    });
}

#[test]
fn callbacks_and_what_is_pending_are_counted() {
    on_every_tier(|domain| {
        let guard = domain.read();
        (0..100).for_each(|n| domain.retire_sized(n, 1000));
        let seen = domain.pending();
        assert_eq!(seen.callbacks, 100);
        assert!((100_000..200_000).contains(&seen.bytes), "{seen:?}");
        assert_eq!((domain.statistics().callbacks, domain.statistics().pending), (0, seen));
        drop(guard);
        domain.barrier();
        let statistics = domain.statistics();
        assert_eq!((statistics.callbacks, statistics.pending), (100, Default::default()));
        assert_eq!((statistics.high_water, statistics.callback_panics), (seen, 0));
        assert_eq!(statistics.stalls, 0);
        domain.retire(1);
        domain.barrier();
        assert_eq!(domain.statistics().high_water, seen, "it never sinks");
    });
}

/// Nobody calls `pending`: retirers notice in passing.
#[test]
fn high_water_rises_by_itself() {
    on_every_tier(|domain| {
        let guard = domain.read();
        (0..10_000).for_each(|n| domain.retire(n));
        drop(guard);
        domain.barrier();
        let most = domain.statistics().high_water;
        // A record may be missing where the thread moved: fifteen for each bin.
        let missing = 15 * 1024;
        assert!(most.callbacks <= 10_000 && most.callbacks + missing >= 10_000, "{most:?}");
        assert!(most.callbacks > 0 && most.bytes >= 16 * most.callbacks, "{most:?}");
    });
}

#[test]
fn sections_are_counted_by_kind() {
    on_every_tier(|domain| {
        assert_eq!(Domain::new().statistics().sections, 0);
        scope(|s| {
            for _ in 0..2 {
                s.spawn(|| (0..1000).for_each(|_| drop(domain.read())));
            }
        });
        let Statistics { sections, atomic_sections, aborts, .. } = domain.statistics();
        assert_eq!(sections, 2000);
        if domain.tier() == Tier::Rseq {
            // Where threads register themselves, the first attempt may fail.
            assert!(atomic_sections <= aborts, "{atomic_sections} without an abort");
        } else {
            assert_eq!((atomic_sections, aborts), (2000, 0));
        }
        (0..100).for_each(|n| domain.retire(n));
        assert!(domain.statistics().sections >= 2100, "retiring takes one");
    });
}

#[test]
fn what_one_domain_does_is_not_another_ones() {
    on_every_tier(|domain| {
        let other = Domain::new();
        other.retire(1);
        other.barrier();
        drop(other.read());
        let before = domain.statistics();
        assert_eq!((before.grace_periods, before.callbacks, before.sections), (0, 0, 0));
        assert_eq!(before, domain.statistics());
    });
}
