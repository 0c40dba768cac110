//! The public interface of domains and cells, on whatever tier the process has.

#![cfg(target_os = "linux")]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/tiers.rs"]
mod tiers;

use counted::{Counted, counted};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::rcu::{self, Domain, RcuCell};
use tiers::on_every_tier;

#[test]
fn a_cell_shows_what_was_stored_last() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let cell = RcuCell::new_in(new(1), domain);
        let guard = domain.read();
        let first = cell.load(&guard);
        cell.store(new(2));
        assert_eq!(cell.load(&guard).0, 2);
        assert_eq!(first.0, 1, "still there: the guard is");
        assert_eq!(drops.load(SeqCst), 0);
        drop(guard);
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 1);
        drop(cell);
        assert_eq!(drops.load(SeqCst), 2);
    });
}

#[test]
fn a_guard_holds_up_every_grace_period_that_began_after_it() {
    on_every_tier(|domain| {
        for send in [false, true] {
            let guard = domain.read().into_send();
            let done = Arc::new(AtomicBool::new(false));
            let waiter = thread::spawn({
                let done = done.clone();
                move || {
                    domain.synchronize();
                    done.store(true, SeqCst);
                }
            });
            thread::sleep(Duration::from_millis(30));
            assert!(!done.load(SeqCst), "ended under a guard");
            if send {
                thread::spawn(move || drop(guard)).join().unwrap();
            } else {
                drop(guard);
            }
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_later_guard_does_not_hold_it_up() {
    on_every_tier(|domain| {
        let first = domain.read();
        let (announced, thread) = mpsc::channel();
        let waiter = thread::spawn(move || {
            announced.send(own_id()).unwrap();
            domain.synchronize();
        });
        let thread = thread.recv().unwrap();
        // It sleeps only when the first guard is all that it waits for.
        while !is_asleep(thread) {
            thread::yield_now();
        }
        let second = domain.read();
        drop(first);
        waiter.join().unwrap();
        drop(second);
    });
}

#[test]
fn a_domain_does_not_wait_for_another_ones_readers() {
    static ONE: Domain = Domain::new();
    static OTHER: Domain = Domain::new();
    let guard = ONE.read();
    OTHER.synchronize();
    OTHER.barrier();
    drop(guard);
}

#[test]
fn swap_gives_the_old_value_back() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let cell = RcuCell::new_in(new(1), domain);
        let removed = cell.swap(new(2));
        assert_eq!(removed.0, 1);
        let one = removed.into_inner();
        assert_eq!((one.0, drops.load(SeqCst)), (1, 0));
        drop(cell.swap(new(3)));
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 1);
        assert_eq!(cell.into_inner().0, 3);
    });
}

#[test]
fn compare_exchange_compares_identity() {
    on_every_tier(|domain| {
        let cell = RcuCell::new_in(String::from("a"), domain);
        let guard = domain.read();
        let a = cell.load(&guard);
        let same_text = String::from("a");
        let lost = cell.compare_exchange(&same_text, "b".into(), &guard).unwrap_err();
        assert_eq!((lost.current.as_str(), lost.new.as_str()), ("a", "b"));
        assert_eq!(lost.to_string(), "the cell holds another value by now");
        assert_eq!(*cell.compare_exchange(a, "b".into(), &guard).unwrap(), "a");
        assert_eq!(cell.load(&guard), "b");
    });
}

#[test]
fn updates_of_many_threads_all_count() {
    on_every_tier(|domain| {
        let cell = Arc::new(RcuCell::new_in(0_u64, domain));
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..1000).for_each(|_| cell.update(|n| n + 1)));
            }
        });
        assert_eq!(*cell.load(&domain.read()), 4000);
    });
}

#[test]
fn a_panicking_update_changes_nothing() {
    let cell = RcuCell::new(7);
    assert!(catch_unwind(AssertUnwindSafe(|| cell.update(|_| panic!("no")))).is_err());
    assert_eq!(cell.into_inner(), 7);
    rcu::barrier();
}

#[test]
fn conversions_and_formats() {
    assert_eq!(format!("{:?}", RcuCell::new(3)), "RcuCell(3)");
    assert_eq!(RcuCell::<u8>::default().into_inner(), 0);
    let mut cell = RcuCell::from("x");
    *cell.get_mut() = "y";
    assert_eq!(format!("{:?}", cell.swap("z")), "Removed(\"y\")");
    let unit = RcuCell::new(());
    unit.store(());
    unit.update(|()| ());
    assert!(format!("{:?}", rcu::read()).contains("Domain"));
    assert!(format!("{:?}", Domain::new()).contains("grace_periods: 0"));
}

#[test]
#[should_panic(expected = "the guard is of another domain")]
fn a_guard_of_another_domain_is_refused() {
    static OTHER: Domain = Domain::new();
    let cell = RcuCell::new(1);
    let guard = OTHER.read();
    cell.load(&guard);
}

#[test]
fn a_cell_of_an_arc_domain_keeps_it_alive() {
    let domain = Arc::new(Domain::new());
    let weak = Arc::downgrade(&domain);
    let (drops, new) = counted();
    let cell = RcuCell::new_in(new(1), domain);
    cell.store(new(2));
    assert!(weak.upgrade().is_some());
    drop(cell);
    assert!(weak.upgrade().is_none());
    assert_eq!(drops.load(SeqCst), 2, "dropping the domain runs what was pending");
}

#[test]
fn callbacks_run_after_a_grace_period_and_only_once() {
    on_every_tier(|domain| {
        let ran = Arc::new(AtomicUsize::new(0));
        let guard = domain.read();
        for _ in 0..1000 {
            let ran = ran.clone();
            domain.defer(move || {
                ran.fetch_add(1, SeqCst);
            });
        }
        assert_eq!((ran.load(SeqCst), domain.pending().callbacks), (0, 1000));
        drop(guard);
        domain.barrier();
        assert_eq!((ran.load(SeqCst), domain.pending().callbacks), (1000, 0));
    });
}

#[test]
fn garbage_is_freed_without_a_barrier() {
    on_every_tier(|domain| {
        // Three lists of a thousand in each bin that this thread has come to. More gathers while
        // whoever leads a grace period is not run: not in every round.
        let round = || {
            let (drops, new) = counted();
            let mut most = 0;
            for n in 0..100_000 {
                domain.retire(new(n));
                most = most.max(domain.pending().callbacks);
            }
            let freed = drops.load(SeqCst);
            domain.barrier();
            assert_eq!(drops.load(SeqCst), 100_000);
            (most, freed)
        };
        let mut rounds = std::iter::repeat_with(round).take(20);
        let (most, freed) = rounds.find(|(most, _)| *most <= 20_000).expect("garbage grows");
        assert!(freed >= 80_000, "only {freed} freed");
        println!("{}: {most} at most", domain.tier());
    });
}

#[test]
fn a_callback_may_retire_and_defer() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let new = Arc::new(new);
        for _ in 0..300 {
            let new = new.clone();
            domain.defer(move || {
                let again = new.clone();
                domain.retire(new(1));
                domain.defer(move || drop(again(2)));
            });
        }
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 600, "and a barrier covers what they queue");
    });
}

#[test]
fn a_panicking_callback_does_not_stop_the_others() {
    static DOMAIN: Domain = Domain::new();
    static RAN: AtomicUsize = AtomicUsize::new(0);
    for n in 0..100 {
        DOMAIN.defer(move || {
            assert_ne!(n, 50, "this panic is part of the test");
            RAN.fetch_add(1, SeqCst);
        });
    }
    DOMAIN.barrier();
    assert_eq!((RAN.load(SeqCst), DOMAIN.pending().callbacks), (99, 0));
}

#[test]
fn barrier_in_a_callback_is_an_error_and_no_deadlock() {
    static DOMAIN: Domain = Domain::new();
    static MESSAGE: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
    DOMAIN.defer(|| {
        let refused = catch_unwind(|| DOMAIN.barrier()).unwrap_err();
        let message = refused.downcast_ref::<&str>().expect("a message").to_string();
        *MESSAGE.lock().unwrap() = message;
    });
    DOMAIN.barrier();
    assert!(MESSAGE.lock().unwrap().contains("barrier called from a callback"));
}

#[test]
fn retiring_while_panicking_and_in_destructors_is_legal() {
    static DOMAIN: Domain = Domain::new();
    let (drops, new) = counted();
    struct Retires(Cell<Option<Counted>>);
    impl Drop for Retires {
        fn drop(&mut self) {
            let guard = DOMAIN.read();
            DOMAIN.retire(self.0.take());
            drop(guard);
        }
    }
    thread_local!(static LATE: Retires = const { Retires(Cell::new(None)) });
    let late = new(1);
    thread::spawn(move || LATE.with(|l| l.0.set(Some(late)))).join().unwrap();
    let retires = Retires(Cell::new(Some(new(2))));
    let outcome = thread::spawn(move || {
        let _retires = retires;
        panic!("this panic is part of the test");
    });
    assert!(outcome.join().is_err());
    DOMAIN.barrier();
    assert_eq!(drops.load(SeqCst), 2);
}

#[test]
fn a_forgotten_guard_is_sound() {
    let (drops, new) = counted();
    let domain = Domain::new();
    std::mem::forget(domain.read());
    domain.retire(new(1));
    assert_eq!(drops.load(SeqCst), 0);
    drop(domain);
    assert_eq!(drops.load(SeqCst), 1, "nobody can reach it any more");
}

/// The kernel's name of the calling thread.
fn own_id() -> i64 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid().into() }
}

/// True if the kernel says that this thread of ours sleeps.
fn is_asleep(thread: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    // The state stands behind the name, which may hold anything but ends with the last bracket.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

#[test]
fn concurrent_synchronizers_share_grace_periods() {
    on_every_tier(|domain| {
        const CALLERS: usize = 64;
        domain.synchronize();
        let guard = domain.read();
        let announced: Arc<[AtomicI64]> = (0..CALLERS).map(|_| AtomicI64::new(0)).collect();
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let announced = announced.clone();
                thread::spawn(move || {
                    announced[n].store(own_id(), SeqCst);
                    domain.synchronize();
                })
            })
            .collect();
        // From its announcement on, a caller only ever sleeps inside `synchronize`: parked, or in
        // a nap if it leads.
        for thread in announced.iter() {
            while thread.load(SeqCst) == 0 || !is_asleep(thread.load(SeqCst)) {
                thread::yield_now();
            }
        }
        let before = domain.grace_periods();
        drop(guard);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let shared = domain.grace_periods() - before;
        assert!((1..=3).contains(&shared), "{shared} grace periods for {CALLERS} callers");
    });
}

#[test]
fn one_broadcast_per_grace_period() {
    let machine = stillpoint::machine();
    static DOMAIN: Domain = Domain::new();
    DOMAIN.synchronize();
    let (periods, broadcasts) = (DOMAIN.grace_periods(), machine.broadcasts());
    for _ in 0..100 {
        DOMAIN.synchronize();
    }
    assert_eq!(DOMAIN.grace_periods() - periods, 100);
    // Other tests of this process send some too.
    let sent = machine.broadcasts() - broadcasts;
    match DOMAIN.tier() {
        Tier::Fence => {}
        _ => assert!(sent >= 100, "{sent} broadcasts"),
    }
}

#[test]
fn a_waiter_sleeps_when_readers_take_long() {
    static DOMAIN: Domain = Domain::new();
    let guard = DOMAIN.read();
    thread::scope(|scope| {
        let (tell, waiter) = mpsc::channel();
        scope.spawn(move || {
            tell.send(own_id()).unwrap();
            DOMAIN.synchronize();
        });
        let waiter = waiter.recv().unwrap();
        // Not at once, and between naps it looks: but in most looks of some window it sleeps. Who
        // spins, or yields, never does.
        let begun = Instant::now();
        let sleeps = |_: u32| {
            // Not in step with its naps.
            thread::sleep(Duration::from_micros(fastrand::u64(300..3000)));
            is_asleep(waiter)
        };
        while (0..50).filter(|&n| sleeps(n)).count() < 25 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it spins");
        }
        drop(guard);
    });
}

#[test]
fn sizes_are_what_the_docs_say() {
    assert_eq!(size_of::<RcuCell<[u64; 100]>>(), size_of::<usize>());
    // Where guards are recorded, they know the record.
    let words = match cfg!(any(debug_assertions, feature = "debug-readers")) {
        // Two numbers share a word of 64 bits, but not one of 32.
        true if cfg!(target_pointer_width = "32") => 5,
        true => 4,
        false => 3,
    };
    assert_eq!(size_of::<rcu::ReadGuard<'_>>(), words * size_of::<usize>());
    assert_eq!(size_of::<Option<rcu::ReadGuard<'_>>>(), words * size_of::<usize>());
}
