//! Limits, and the builds that notice who waits for himself.

use crate::counted::counted;
use crate::reader::{Reader, soon};
use crate::tiers::{PATIENCE, on_every_tier, on_every_tier_with};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep, yield_now};
use std::time::{Duration, Instant};
use stillpoint::rcu::Domain;

#[test]
fn at_the_limit_a_value_comes_back_until_there_is_room() {
    on_every_tier_with(
        |builder| builder.limit(10),
        |domain| {
            for _ in 0..3 {
                let (drops, new) = counted();
                let guard = domain.read();
                (0..10).for_each(|n| assert!(domain.try_retire(new(n)).is_ok()));
                let back = domain.try_retire(new(10)).unwrap_err();
                assert_eq!((back.0, drops.load(SeqCst), domain.pending().callbacks), (10, 0, 10));
                domain.retire(new(11));
                assert_eq!(domain.pending().callbacks, 11, "`retire` knows no limit");
                drop(guard);
                finds_room(domain, back);
                domain.barrier();
                assert_eq!(drops.load(SeqCst), 12);
            }
        },
    );
}

/// Retires a value for which there is room once its retirer has advanced the grace period. Not at
/// once if the reclaimer leads, and is not run.
fn finds_room<T: Send + 'static>(domain: &Domain, mut value: T) {
    let begun = Instant::now();
    while let Err(back) = domain.try_retire(value) {
        assert!(begun.elapsed() < PATIENCE / 2, "it made no room itself");
        value = back;
        yield_now();
    }
}

#[test]
fn bytes_are_limited_too() {
    on_every_tier_with(
        |builder| builder.limit_bytes(10_000),
        |domain| {
            let guard = domain.read();
            domain.retire_sized("short", 9000);
            assert!(domain.try_retire("below").is_ok());
            domain.retire_sized("short", 2000);
            assert_eq!(domain.try_retire("above"), Err("above"));
            domain.set_limit(u64::MAX, 20_000);
            assert!(domain.try_retire("below again").is_ok());
            domain.set_limit(4, u64::MAX);
            assert_eq!(domain.try_retire("too many"), Err("too many"));
            domain.set_limit(u64::MAX, u64::MAX);
            assert!(domain.try_retire("no limit").is_ok());
            domain.set_limit(1, 1);
            drop(guard);
            finds_room(domain, "alone");
        },
    );
}

#[test]
fn throttle_waits_for_room() {
    on_every_tier_with(
        |builder| builder.limit(100),
        |domain| {
            domain.throttle();
            let reader = Reader::of(domain);
            (0..99).for_each(|n| domain.retire(n));
            domain.throttle();
            domain.retire(99);
            let (released, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
            scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        domain.throttle();
                        assert!(released.load(SeqCst), "passed at the limit");
                        passed.fetch_add(1, SeqCst);
                    });
                }
                sleep(Duration::from_millis(30));
                assert_eq!(passed.load(SeqCst), 0);
                released.store(true, SeqCst);
                reader.leave();
            });
            assert!(domain.pending().callbacks < 100);
        },
    );
}

/// Whatever readers do, a writer that throttles never holds more than the limit and its step.
#[test]
fn a_limit_of_zero_lets_nothing_wait() {
    on_every_tier_with(
        |builder| builder.limit(0),
        |domain| {
            domain.throttle();
            let (drops, new) = counted();
            domain.retire(new(1));
            assert!(domain.try_retire(new(2)).is_err());
            domain.throttle();
            assert_eq!((drops.load(SeqCst), domain.pending().callbacks), (2, 0));
        },
    );
}

#[test]
fn a_throttled_writer_is_bounded() {
    on_every_tier_with(
        |builder| builder.limit(1000),
        |domain| {
            with_readers(domain, || {
                for n in 0..50_000 {
                    domain.retire(n);
                    if n % 64 == 0 {
                        domain.throttle();
                    }
                    let pending = domain.pending();
                    assert!(pending.callbacks <= 1064, "{pending:?} at {n}");
                }
            });
            // And what the reclaimer is running at that moment.
            let most = domain.statistics().high_water;
            assert!(most.callbacks <= 1200, "{most:?}");
        },
    );
}

/// Runs `work` while readers come and go.
fn with_readers(domain: &Domain, work: impl FnOnce()) {
    let end = AtomicBool::new(false);
    scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !end.load(SeqCst) {
                    let guard = domain.read();
                    (0..fastrand::u32(0..1000)).for_each(|_| std::hint::spin_loop());
                    drop(guard);
                    if fastrand::u32(..64) == 0 {
                        sleep(Duration::from_micros(50));
                    }
                }
            });
        }
        work();
        end.store(true, SeqCst);
    });
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_million_values_are_not_kept() {
    on_every_tier(|domain| {
        let before = resident();
        let (mut rounds, mut best) = (0, u64::MAX);
        with_readers(domain, || {
            // A reader that the machine does not run holds everything up: not in every round.
            while rounds < 10 || best > 20_000 && rounds < 200 {
                let mut most = 0;
                for n in 0..100_000_u64 {
                    domain.retire([n; 4]);
                    if n % 64 == 0 {
                        most = most.max(domain.pending().callbacks);
                    }
                }
                best = best.min(most);
                rounds += 1;
            }
        });
        let grown = resident().saturating_sub(before);
        domain.barrier();
        assert_eq!(domain.statistics().callbacks, rounds * 100_000);
        println!("{}: {best} pending in the best of {rounds}, {grown} bytes", domain.tier());
        assert!(best <= 20_000, "{best} of 100000 pending at best");
        assert!(grown < 256 << 20, "{grown} bytes");
    });
}

/// Whether this build knows who holds a guard.
pub(crate) const RECORDED: bool = cfg!(any(debug_assertions, feature = "debug-readers"));

/// A way to wait, and its name.
type Wait = (&'static str, fn(&Domain));

/// The message of a panic.
fn message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it would wait for itself");
    payload.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn who_would_wait_for_himself_is_told_both_places() {
    if !RECORDED {
        return println!("SKIPPED: guards are not recorded");
    }
    on_every_tier(|domain| {
        let cookie = domain.start_poll();
        let entered = line!() + 1;
        let guard = domain.read();
        let waits: [Wait; 4] = [
            ("synchronize", |domain| domain.synchronize()),
            ("synchronize_timeout", |domain| domain.synchronize_timeout(Duration::ZERO).unwrap()),
            ("throttle", |domain| domain.throttle()),
            ("barrier", |domain| domain.barrier()),
        ];
        let cookie_at = line!() + 1;
        let mut messages = vec![(cookie_at, "GracePeriod::wait", message(|| cookie.wait()))];
        messages.extend(waits.map(|(what, wait)| (0, what, message(|| wait(domain)))));
        for (at, what, text) in messages {
            assert!(text.contains(&format!("{what} at {}:", file!())), "{what}: {text}");
            assert!(text.contains(&format!("entered at {}:{entered}:", file!())), "{what}: {text}");
            assert!(at == 0 || text.contains(&format!("{}:{at}:", file!())), "{what}: {text}");
            assert_eq!(text.matches(file!()).count(), 2, "{what}: {text}");
        }
        drop(guard);
        domain.barrier();
        cookie.wait();
    });
}

#[test]
fn readers_of_other_domains_do_not_matter() {
    static OTHER: Domain = Domain::new();
    on_every_tier(|domain| {
        let guards = [OTHER.read(), OTHER.read()];
        domain.retire(1);
        domain.synchronize();
        domain.throttle();
        domain.barrier();
        drop(guards);
        // Nor do those of other threads.
        let reader = Reader::of(&OTHER);
        assert!(OTHER.synchronize_timeout(Duration::ZERO).is_err());
        reader.leave();
        soon("their grace period", || OTHER.start_poll().is_complete());
    });
}

#[test]
fn a_guard_that_may_move_is_nobodys() {
    on_every_tier(|domain| {
        let guard = domain.read().into_send();
        assert!(domain.synchronize_timeout(Duration::from_millis(5)).is_err(), "but it counts");
        scope(|s| drop(s.spawn(move || drop(guard))));
        domain.synchronize();
    });
}

/// A domain may stand where one stood that was dropped with a guard forgotten in it.
#[test]
fn a_forgotten_guard_is_not_held_against_later_domains() {
    on_every_tier(|_| {
        for _ in 0..20 {
            let domain = Domain::new();
            std::mem::forget(domain.read());
            drop(domain);
            let domain = Domain::new();
            domain.synchronize();
            domain.barrier();
        }
    });
}
