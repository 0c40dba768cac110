//! Models of rings, on the shipped source.

#[allow(unused_macros, reason = "shared with other models")]
#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::{Policy, Ring};
use stillpoint::rseq::model;

/// A ring for one or two records a lane, whose lanes are made.
fn ring(tier: Tier, policy: Policy, capacity: usize) -> Arc<Ring> {
    model::set_limit(tier);
    let ring = Ring::with_policy(capacity, policy);
    ring.reserve_at(0, 0).map(drop).unwrap();
    assert!(ring.consumer().unwrap().pop(|_| ()).is_none());
    Arc::new(ring)
}

fn spawn(ring: &Arc<Ring>, run: impl FnOnce(&Ring) + 'static) -> JoinHandle<()> {
    let ring = ring.clone();
    thread::spawn(move || run(&ring))
}

/// So many words, all of that value; copied by the section if it is one.
fn record(value: u8, words: usize) -> Vec<u8> {
    vec![value; words * 8]
}

fn assert_whole(stamp: u64, bytes: &[u8]) {
    assert!(bytes.iter().all(|&byte| u64::from(byte) == stamp), "too early: {bytes:?}");
}

/// Reads at most so many records; what it has seen.
fn read(ring: &Ring, most: usize) -> Vec<u64> {
    let mut consumer = ring.consumer().unwrap();
    let mut look = |_| {
        consumer.pop_merged(|record| {
            assert_whole(record.stamp, record.bytes);
            record.stamp
        })
    };
    (0..most).filter_map(&mut look).collect()
}

/// A reader that looks meanwhile finds whole records, in order, and later the others.
///
/// The first thread writes, since the checker looks for what may come before a store, not for what
/// may come behind a load if there was another load since.
fn whole(tier: Tier, words: usize, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 128);
        let seen = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let put = seen.clone();
        let reader = spawn(&ring, move |ring| *put.lock().unwrap() = read(ring, 2));
        script();
        ring.push_at(1, &record(1, words)).unwrap();
        ring.push_at(2, &record(2, words)).unwrap();
        reader.join().unwrap();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.extend(read(&ring, 3));
        assert_eq!(seen, [1, 2], "no moment has {seen:?}");
    }
}

/// Two writers on one CPU, or in the rest, and space for one record: read, or dropped, or
/// overwritten, and counted.
fn conserved(tier: Tier, policy: Policy, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        // Its first 16 bytes are used up.
        let ring = ring(tier, policy, 64);
        let seen = Arc::new(loom::sync::Mutex::new(0));
        let put = seen.clone();
        let reader = spawn(&ring, move |ring| *put.lock().unwrap() = read(ring, 1).len());
        let other = spawn(&ring, move |ring| {
            script();
            let _ = ring.push_at(2, &record(2, 1));
        });
        script();
        let _ = ring.push_at(1, &record(1, 1));
        other.join().unwrap();
        reader.join().unwrap();
        let seen = *seen.lock().unwrap() + read(&ring, 3).len();
        let all = seen as u64 + ring.dropped() + ring.overwritten();
        assert_eq!(all, 2, "no moment has {ring:?} and {seen}");
    }
}

/// Space that was given back is written again, bytes where bytes were.
fn again(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 64);
        script();
        ring.push_at(1, &record(1, 3)).unwrap();
        let seen = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let put = seen.clone();
        let reader = spawn(&ring, move |ring| *put.lock().unwrap() = read(ring, 2));
        let written = ring.push_at(2, &record(2, 3)).is_ok();
        reader.join().unwrap();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.extend(read(&ring, 3));
        let expected = &[1, 2][..1 + usize::from(written)];
        assert_eq!(seen, expected, "no moment has {seen:?}");
    }
}

/// The same, in the order that the checker finds more of where one lane is stored to plainly.
fn again_behind(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 64);
        ring.push_at(1, &record(1, 3)).unwrap();
        let written = Arc::new(loom::sync::Mutex::new(0));
        let put = written.clone();
        let writer = spawn(&ring, move |ring| {
            *put.lock().unwrap() = usize::from(ring.push_at(2, &record(2, 3)).is_ok());
        });
        let mut seen = read(&ring, 2);
        writer.join().unwrap();
        seen.extend(read(&ring, 3));
        let expected = &[1, 2][..1 + *written.lock().unwrap()];
        assert_eq!(seen, expected, "no moment has {seen:?}");
    }
}

/// A writer that moves between its records: merged, they are in order all the same.
fn moves(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 128);
        let seen = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let put = seen.clone();
        let reader = spawn(&ring, move |ring| *put.lock().unwrap() = read(ring, 1));
        ring.push_at(1, &record(1, 1)).unwrap();
        model::run_on(1);
        ring.push_at(2, &record(2, 1)).unwrap();
        reader.join().unwrap();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.extend(read(&ring, 3));
        assert_eq!(seen, [1, 2], "no moment has {seen:?}");
    }
}

fn wait(ring: &Ring) {
    ring.consumer().unwrap().recv(|record| assert_whole(record.stamp, record.bytes));
}

/// The reader sleeps until there is a record.
fn woken(tier: Tier, words: usize, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 128);
        let reader = spawn(&ring, wait);
        script();
        ring.push_at(1, &record(1, words)).unwrap();
        reader.join().unwrap();
    }
}

/// The same, by a record behind one that is given up.
fn woken_by_a_loss(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::DropNewest, 128);
        let obstacle = ring.reserve_at(0, 8).unwrap();
        ring.push_at(1, &record(1, 1)).unwrap();
        let reader = spawn(&ring, wait);
        drop(obstacle);
        reader.join().unwrap();
    }
}

/// The same, by a record that is overwritten meanwhile, or by the one that overwrites it.
fn woken_overwriting(tier: Tier, script: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(tier, Policy::OverwriteOldest, 64);
        script();
        ring.push_at(1, &record(1, 1)).unwrap();
        let reader = spawn(&ring, wait);
        let _ = ring.push_at(2, &record(2, 1));
        reader.join().unwrap();
    }
}

/// A reader that wants the lowest stamp sleeps until that of another record is known, which may never
/// be written.
fn woken_by_a_stamp() -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(Tier::Rseq, Policy::DropNewest, 128);
        let reader = spawn(&ring, |ring| {
            let stamp = ring.consumer().unwrap().recv_merged(|record| record.stamp);
            assert_eq!(stamp, 1);
        });
        let other = spawn(&ring, |ring| {
            model::unregister();
            std::mem::forget(ring.reserve_at(2, 8).unwrap());
        });
        ring.push_at(1, &record(1, 1)).unwrap();
        other.join().unwrap();
        reader.join().unwrap();
    }
}

/// While a record is overwritten, those behind it come before later ones of other CPUs.
fn merged_overwriting() -> impl Fn() + Sync + Send + 'static {
    move || {
        let ring = ring(Tier::Rseq, Policy::OverwriteOldest, 128);
        for stamp in 1..=3 {
            ring.push_at(stamp, &record(stamp as u8, 1)).unwrap();
        }
        model::run_on(1);
        ring.push_at(5, &record(5, 1)).unwrap();
        let other = spawn(&ring, |ring| {
            model::run_on(0);
            let _ = ring.push_at(7, &record(7, 1));
        });
        let seen = read(&ring, 3);
        other.join().unwrap();
        assert!(seen.is_sorted(), "no moment has {seen:?}");
    }
}

/// Two make the lanes.
fn made_by_two(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        model::set_limit(tier);
        let ring = Arc::new(Ring::new(32));
        let other = spawn(&ring, |ring| {
            model::run_on(1);
            ring.push_at(1, &record(1, 1)).unwrap();
        });
        ring.push_at(1, &record(1, 1)).unwrap();
        other.join().unwrap();
        let mut consumer = ring.consumer().unwrap();
        assert!((0..2).all(|_| consumer.pop(|_| ()).is_some()));
    }
}

fn elsewhere() {
    model::run_on(1);
}

use Policy::{DropNewest, OverwriteOldest};
use support::registered;

models! {
    whole_small: 3, whole(Tier::Rseq, 1, registered);
    whole_large: 3, whole(Tier::Rseq, 2, registered);
    whole_fence: 3, whole(Tier::Fence, 1, registered);
    whole_unregistered: 3, whole(Tier::Rseq, 1, model::unregister);
    conserved_rseq: 2, conserved(Tier::Rseq, DropNewest, registered);
    conserved_unregistered: 2, conserved(Tier::Rseq, DropNewest, model::unregister);
    conserved_overwriting: 2, conserved(Tier::Rseq, OverwriteOldest, registered);
    conserved_overwriting_unregistered: 2,
        conserved(Tier::Rseq, OverwriteOldest, model::unregister);
    again_rseq: 3, again_behind(Tier::Rseq);
    again_unregistered: 3, again(Tier::Rseq, model::unregister);
    moves_rseq: 3, moves(Tier::Rseq);
    woken_rseq: 3, woken(Tier::Rseq, 1, elsewhere);
    woken_large: 3, woken(Tier::Rseq, 2, registered);
    woken_lost_abort: 3, woken(Tier::Rseq, 1, model::lose_aborts);
    woken_unregistered: 3, woken(Tier::Rseq, 1, model::unregister);
    woken_membarrier: 3, woken(Tier::Membarrier, 1, registered);
    woken_fence: 3, woken(Tier::Fence, 1, registered);
    woken_by_a_loss_rseq: 3, woken_by_a_loss(Tier::Rseq);
    woken_overwriting_rseq: 3, woken_overwriting(Tier::Rseq, registered);
    woken_overwriting_unregistered: 2, woken_overwriting(Tier::Rseq, model::unregister);
    woken_by_a_stamp_unregistered: 2, woken_by_a_stamp();
    merged_overwriting_rseq: 2, merged_overwriting();
    made_by_two_rseq: 3, made_by_two(Tier::Rseq);
    made_by_two_fence: 3, made_by_two(Tier::Fence);
}

mutants! {
    commit_first: RingCommitFirst, 3, whole(Tier::Rseq, 1, registered);
    plain_header: RingPlainHeader, 3, whole(Tier::Rseq, 2, registered);
    plain_header_fence: RingPlainHeader, 3, whole(Tier::Fence, 1, registered);
    not_cleared: RingNotCleared, 3, again(Tier::Rseq, model::unregister);
    no_broadcast: NoBroadcast, 3, woken(Tier::Rseq, 1, elsewhere);
    no_light_fence: NoLightFence, 3, woken(Tier::Fence, 1, registered);
    no_wake: RingNoWake, 3, woken(Tier::Rseq, 1, registered);
    one_try: RingOneTry, 3, woken_overwriting(Tier::Rseq, registered);
    stamp_untold: RingStampUntold, 2, woken_by_a_stamp();
    claim_empty: RingClaimEmpty, 3, merged_overwriting();
    one_look: RingOneLook, 3, moves(Tier::Rseq);
    early_tail: RingEarlyTail, 3, again_behind(Tier::Rseq);
}
