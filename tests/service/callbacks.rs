//! What is retired, from where, and that it runs once.

use crate::counted::{Counted, counted};
use crate::play::in_each;
use crate::reader::soon;
use crate::tiers::on_every_tier;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep, spawn};
use std::time::Duration;
use stillpoint::rcu::Domain;

/// # Safety
///
/// From `Box::into_raw`, and not used again.
unsafe fn free<T>(pointer: *mut T) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(pointer) });
}

/// Retires seven values, each in another manner.
fn retire_all(domain: &Domain, new: &(impl Fn(u32) -> Counted + Clone + Send + 'static)) {
    domain.retire(Box::new(new(1)));
    domain.retire(Arc::new(new(2)));
    domain.retire(new(3));
    domain.retire(vec![Some(new(4))]);
    domain.retire_sized(new(5), 1000);
    // SAFETY: nobody reads it, and it may be freed anywhere.
    unsafe { domain.retire_raw(Box::into_raw(Box::new(new(6))), free) };
    let seventh = new(7);
    domain.defer(move || drop(seventh));
}

#[test]
fn everything_can_be_retired() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let guard = domain.read();
        retire_all(domain, &new);
        let shared = Arc::new(new(8));
        domain.retire(shared.clone());
        domain.retire(());
        domain.retire([0_u8; 5000]);
        let pending = domain.pending();
        assert_eq!((drops.load(SeqCst), pending.callbacks), (0, 10));
        assert!((6000..20_000).contains(&pending.bytes), "{pending:?}");
        drop(guard);
        domain.barrier();
        assert_eq!((drops.load(SeqCst), domain.pending()), (7, Default::default()));
        assert_eq!((shared.0, Arc::strong_count(&shared)), (8, 1));
    });
}

/// Does something when dropped.
struct Late<F: FnMut()>(F);

type LateBox = Late<Box<dyn FnMut()>>;

impl<F: FnMut()> Drop for Late<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local!(static LATE: RefCell<Vec<LateBox>> = const { RefCell::new(Vec::new()) });

#[test]
fn retiring_is_legal_everywhere() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        // Inside a reader, and a reader of a reader.
        let guards = (domain.read(), domain.read());
        retire_all(domain, &new);
        drop(guards);
        // In callbacks, and in those they queue.
        let again = new.clone();
        domain.defer(move || {
            retire_all(domain, &again);
            domain.defer(move || retire_all(domain, &again));
        });
        // In a thread-local destructor, in the drop of a panic, and both.
        for panics in [false, true] {
            let (first, second) = (new.clone(), new.clone());
            let thread = spawn(move || {
                let late: Box<dyn FnMut()> = Box::new(move || retire_all(domain, &first));
                LATE.with_borrow_mut(|l| l.push(Late(late)));
                let _second = Late(|| retire_all(domain, &second));
                assert!(!panics, "this panic is part of the test");
            });
            assert_eq!(thread.join().is_err(), panics);
        }
        domain.barrier();
        domain.barrier();
        assert_eq!(drops.load(SeqCst), 7 * 7);
    });
}

#[test]
fn each_callback_runs_once_whoever_queued_it() {
    on_every_tier(|domain| {
        const THREADS: usize = 6;
        const EACH: usize = 4000;
        let ran: &'static [AtomicU8] =
            Box::leak((0..THREADS * EACH).map(|_| AtomicU8::new(0)).collect());
        scope(|s| {
            for thread in 0..THREADS {
                s.spawn(move || {
                    for n in 0..EACH {
                        let guard = (n % 3 == 0).then(|| domain.read());
                        domain.defer(move || {
                            ran[thread * EACH + n].fetch_add(1, SeqCst);
                        });
                        drop(guard);
                        match n % 1000 {
                            500 => domain.barrier(),
                            900 => domain.synchronize(),
                            _ => {}
                        }
                    }
                });
            }
        });
        domain.barrier();
        assert!(ran.iter().all(|ran| ran.load(SeqCst) == 1));
        assert_eq!(domain.statistics().callbacks, (THREADS * EACH) as u64);
        assert_eq!(domain.pending(), Default::default());
    });
}

#[test]
fn an_idle_process_is_left_with_no_garbage() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        for round in 1..=3 {
            (0..5).for_each(|n| domain.retire(new(n)));
            soon("a few values", || drops.load(SeqCst) == round * 5);
        }
        assert_eq!(domain.pending(), Default::default());
    });
}

#[test]
fn trickles_are_freed_too() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        // For as long as it takes: something is freed although something always comes.
        let mut retired = 0;
        while drops.load(SeqCst) < 10 {
            domain.retire(new(0));
            retired += 1;
            assert!(retired < 20_000, "nothing is freed");
            sleep(Duration::from_millis(3));
        }
        soon("the rest", || drops.load(SeqCst) == retired);
    });
}

#[test]
fn what_ended_threads_have_retired_is_freed() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let new = new.clone();
                spawn(move || (0..3).for_each(|n| domain.retire(new(n))))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        soon("their garbage", || drops.load(SeqCst) == 60);
    });
}

/// Garbage that a reader holds up is freed when it leaves, with nobody there but the reclaimer.
#[test]
fn the_reclaimer_waits_for_readers() {
    on_every_tier(|domain| {
        let (drops, new) = counted();
        let guard = domain.read();
        (0..5).for_each(|n| domain.retire(new(n)));
        sleep(Duration::from_millis(150));
        assert_eq!(drops.load(SeqCst), 0, "freed under a guard");
        drop(guard);
        soon("what the reader held up", || drops.load(SeqCst) == 5);
    });
}

/// What callbacks want from thread-locals may be gone where they run: they can tell.
#[test]
fn callbacks_may_meet_destroyed_thread_locals() {
    thread_local!(static LOCAL: RefCell<Option<LateBox>> = const { RefCell::new(None) });
    on_every_tier(|domain| {
        const EACH: usize = 5000;
        let (ran, met) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let retire = || -> Box<dyn FnMut() + Send> {
            let (ran, met) = (ran.clone(), met.clone());
            Box::new(move || {
                for _ in 0..EACH {
                    let (ran, met) = (ran.clone(), met.clone());
                    domain.defer(move || {
                        ran.fetch_add(1, SeqCst);
                        met.fetch_add(usize::from(LOCAL.try_with(|_| ()).is_err()), SeqCst);
                    });
                }
            })
        };
        let set = |late: Box<dyn FnMut() + Send>| LOCAL.set(Some(Late(late)));
        // Destroyed after the library's own: nothing runs on such a thread in passing.
        let [mut early, late] = [retire(), retire()];
        let thread = move || {
            set(late);
            early();
        };
        spawn(thread).join().unwrap();
        assert_eq!(met.load(SeqCst), 0);
        // Destroyed before, and where the library is only used then: something may.
        let [mut early, late] = [retire(), retire()];
        let thread = move || {
            early();
            set(late);
        };
        spawn(thread).join().unwrap();
        let late = retire();
        spawn(move || set(late)).join().unwrap();
        domain.barrier();
        assert_eq!((ran.load(SeqCst), domain.statistics().callback_panics), (5 * EACH, 0));
        println!("{} of {} met destroyed thread-locals", met.load(SeqCst), 5 * EACH);
    });
}

#[test]
fn the_reclaimer_is_one_thread_that_comes_with_the_need() {
    in_each("the reclaimer's thread");
}

#[test]
fn what_fits_other_threads_stacks_fits_the_reclaimers() {
    in_each("the reclaimer's stack");
}

#[test]
fn nobody_reclaims_if_nobody_shall() {
    in_each("no reclaimer");
}

#[test]
fn sessions_are_run_by_whoever_was_asked_to() {
    in_each("custom sessions");
}

#[test]
fn a_session_that_is_kept_can_be_replaced() {
    in_each("sessions that are kept");
}
