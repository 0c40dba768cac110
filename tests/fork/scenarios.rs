//! What children do, and have their own children do.

use super::family::{
    Child, DOMAIN, LOAD, barrier_leaves, domains, each, everything, fork, has_run, in_fork, queue,
    queue_some, reclaimers, run, under_load, well,
};
use super::play::Scenarios;
use super::reader::{Reader, soon};
use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};
use stillpoint::rcu::{self, Domain, RcuCell, Reclaimer};

pub(crate) const SCENARIOS: [(&str, fn()); 15] = [
    ("generations under load", generations_under_load),
    ("guards across the fork", guards_across_the_fork),
    ("a stranger forks", a_stranger_forks),
    ("fork while others wait", fork_while_others_wait),
    ("fork while the reclaimer begins", fork_while_the_reclaimer_begins),
    ("fork while the reclaimer works", fork_while_the_reclaimer_works),
    ("fork in a callback", fork_in_a_callback),
    ("fork in the reclaimer", fork_in_the_reclaimer),
    ("counts after a fork in a callback", counts_after_a_fork_in_a_callback),
    ("futures across the fork", futures_across_the_fork),
    ("fork and exec under load", fork_and_exec_under_load),
    ("a child that hangs", || in_fork(hang).ends_well()),
    ("a child that fails", || in_fork(|| panic!("as it should")).ends_well()),
    ("a callback that runs twice", || in_fork(run_twice).ends_well()),
    ("a callback that is lost", lose_one),
];
const _: &Scenarios = &SCENARIOS;

/// Each thread may have taken one from a list, and be about to put one on another.
const MAY_BE_LOST: usize = 2 * LOAD;

fn generations_under_load() {
    under_load(|| {
        for child in 0..10 {
            let family = || in_fork(|| everything(3, MAY_BE_LOST)).ends_well();
            if child % 2 == 0 {
                family();
            } else {
                // A thread that the library has never seen.
                spawn(family).join().unwrap();
            }
            each(|domain| queue_some(domain, 1));
        }
    });
    barrier_leaves(0);
}

fn guards_across_the_fork() {
    for drop_first in [false, true] {
        let dropped = AtomicBool::new(false);
        let cell = RcuCell::new_in(Dropped(&raw const dropped), &DOMAIN);
        let guard = DOMAIN.read();
        let seen = cell.load(&guard);
        drop(cell.swap(Dropped(std::ptr::null())));
        let guards = (rcu::read(), rcu::read().into_send());
        let child = fork();
        if child.is_none() {
            // Now or at the end, on this thread or on another one.
            if drop_first {
                drop(guards);
                drop(guard);
                everything(2, 0);
            } else {
                // Until they are dropped, this thread may not wait where guards are recorded.
                let other = spawn(|| everything(2, 0));
                other.join().unwrap();
                drop(guard);
                let (here, sent) = guards;
                spawn(move || drop(sent)).join().unwrap();
                drop(here);
                each(|domain| domain.synchronize());
                in_fork(|| everything(1, 0)).ends_well();
            }
            well();
        }
        let child = child.unwrap();
        sleep(Duration::from_millis(50));
        assert!(!dropped.load(SeqCst), "the child's drop does not end the parent's section");
        assert!(DOMAIN.start_poll().domain().pending().callbacks > 0);
        child.ends_well();
        assert!(!dropped.load(SeqCst) && std::ptr::eq(seen.0, &raw const dropped));
        drop((guard, guards));
        each(|domain| domain.barrier());
        assert!(dropped.load(SeqCst));
    }
}

/// Tells of its drop.
struct Dropped(*const AtomicBool);

// SAFETY: what it points at outlives the barrier behind which nobody has it, and is shared.
unsafe impl Send for Dropped {}
// SAFETY: as above.
unsafe impl Sync for Dropped {}

impl Drop for Dropped {
    fn drop(&mut self) {
        // SAFETY: null, or as above.
        if let Some(dropped) = unsafe { self.0.as_ref() } {
            dropped.store(true, SeqCst);
        }
    }
}

/// Guards that are held by others, or lie about, are not the child's.
fn a_stranger_forks() {
    let (reader, guards) = (Reader::of(&DOMAIN), domains().map(|d| d.read().into_send()));
    spawn(|| in_fork(|| everything(2, 0)).ends_well()).join().unwrap();
    spawn(|| in_fork(report_one).ends_well()).join().unwrap();
    drop(guards);
    reader.leave();
    spawn(|| in_fork(|| everything(2, 0)).ends_well()).join().unwrap();
}

/// A report in the child knows no readers but its own.
fn report_one() {
    let (heard, reports) = channel();
    DOMAIN.on_stall(move |report| drop(heard.send(report.clone())));
    DOMAIN.set_stall_timeout(Duration::from_millis(1));
    let reader = Reader::of(&DOMAIN);
    let waiter = spawn(|| DOMAIN.synchronize());
    let report = reports.recv().unwrap();
    let recorded = usize::from(cfg!(any(debug_assertions, feature = "debug-readers")));
    assert_eq!((report.sections, report.readers.len()), (1, recorded), "{report}");
    reader.leave();
    waiter.join().unwrap();
}

fn fork_while_others_wait() {
    for _ in 0..3 {
        let readers = domains().map(Reader::of);
        each(|domain| queue_some(domain, 100));
        const WAITS: [fn(&Domain); 5] = [
            Domain::synchronize,
            Domain::synchronize,
            Domain::synchronize,
            Domain::barrier,
            |domain| smol::future::block_on(domain.grace_period()),
        ];
        let begun = &Barrier::new(2 * WAITS.len() + 1);
        scope(|s| {
            let begin = |wait: fn(&Domain)| {
                domains().map(|domain| {
                    s.spawn(move || {
                        begun.wait();
                        wait(domain);
                    })
                })
            };
            let waiters = WAITS.map(begin);
            begun.wait();
            sleep(Duration::from_millis(20));
            (0..2).for_each(|_| in_fork(|| everything(2, 0)).ends_well());
            readers.into_iter().for_each(Reader::leave);
            // Before the next fork.
            waiters.into_iter().flatten().for_each(|waiter| waiter.join().unwrap());
        });
        barrier_leaves(0);
    }
}

/// The first reclaimer that the process and its ancestors have had may be anywhere in its first
/// steps; the child has one of its own, and threads of std's.
fn fork_while_the_reclaimer_begins() {
    for _ in 0..150 {
        let parent = in_fork(|| {
            queue(&DOMAIN);
            let later = Duration::from_micros(fastrand::u64(0..200));
            let begin = Instant::now();
            while begin.elapsed() < later {}
            let child = in_fork(|| {
                let number = queue(&DOMAIN).unwrap();
                soon("the child's own reclaimer", || has_run(number));
                spawn(|| ()).join().unwrap();
            });
            child.ends_well();
        });
        parent.ends_well();
    }
}

fn fork_while_the_reclaimer_works() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    for round in 0..5 {
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        each(|domain| queue_some(domain, 20));
        DOMAIN.defer(move || {
            begun.send(()).unwrap();
            let _ = may_end.recv();
            ENDED.fetch_add(1, SeqCst);
        });
        each(|domain| queue_some(domain, 20));
        has_begun.recv().unwrap();
        in_fork(|| {
            everything(2, 0);
            assert_eq!(ENDED.load(SeqCst), round, "what another thread ran has ended here");
        })
        .ends_well();
        drop(end);
        barrier_leaves(0);
        assert_eq!(ENDED.load(SeqCst), round + 1);
    }
}

/// Queues a callback that forks, and others; runs them in a barrier. `None` in the child.
fn fork_by_barrier() -> Option<Child> {
    thread_local!(static FORKED: RefCell<Option<Option<Child>>> =
        const { RefCell::new(None) });
    queue_some(&DOMAIN, 10);
    DOMAIN.defer(|| FORKED.set(Some(fork())));
    queue_some(&DOMAIN, 10);
    DOMAIN.barrier();
    FORKED.take().expect("the callback ran on this thread")
}

fn fork_in_a_callback() {
    // Else the callback might run there.
    Reclaimer::Disabled.install();
    for _ in 0..5 {
        let Some(child) = fork_by_barrier() else {
            Reclaimer::Thread.install();
            everything(3, 0);
            well();
        };
        child.ends_well();
        barrier_leaves(0);
    }
}

fn fork_in_the_reclaimer() {
    let (ended, has_ended) = channel();
    each(|domain| queue_some(domain, 20));
    DOMAIN.defer(move || {
        let child = in_fork(|| {
            // Inside a callback of this domain: all but waiting for it.
            drop(DOMAIN.read());
            let number = queue(&DOMAIN).unwrap();
            let other = Domain::new();
            other.retire(1);
            other.synchronize();
            other.barrier();
            rcu::synchronize();
            rcu::barrier();
            let elsewhere = queue(Domain::global()).unwrap();
            soon("another reclaimer", || has_run(elsewhere) && reclaimers() == 2);
            // By then this thread's callback may hold up the list that it is on.
            let _ = has_run(number);
            smol::future::block_on(rcu::grace_period());
        });
        child.ends_well();
        ended.send(()).unwrap();
    });
    each(|domain| queue_some(domain, 20));
    has_ended.recv().unwrap();
    barrier_leaves(0);
}

fn counts_after_a_fork_in_a_callback() {
    Reclaimer::Disabled.install();
    // Somebody reads: the child cannot rely on the counts it finds.
    let reader = spawn(|| {
        let domains = domains();
        loop {
            let guards = domains.map(|domain| domain.read());
            sleep(Duration::from_micros(fastrand::u64(0..100)));
            drop(guards);
        }
    });
    for _ in 0..20 {
        let Some(child) = fork_by_barrier() else {
            assert_eq!(DOMAIN.pending(), Default::default());
            let guard = DOMAIN.read();
            (0..10).for_each(|n| DOMAIN.retire_sized(n, 1000));
            let pending = DOMAIN.pending();
            assert!(pending.callbacks == 10 && pending.bytes >= 10_000, "{pending:?}");
            drop(guard);
            DOMAIN.barrier();
            assert_eq!(DOMAIN.pending(), Default::default());
            well();
        };
        child.ends_well();
    }
    assert!(!reader.is_finished());
}

/// The child has futures that its parent polled, and drops some after it has made its own.
fn futures_across_the_fork() {
    let reader = Reader::of(&DOMAIN);
    let mut context = Context::from_waker(Waker::noop());
    let mut old: Vec<_> = (0..4).map(|_| Box::pin(DOMAIN.grace_period())).collect();
    old.iter_mut().for_each(|future| assert!(future.as_mut().poll(&mut context).is_pending()));
    in_fork(|| {
        let reader = Reader::of(&DOMAIN);
        let asked = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    let mut period = Box::pin(DOMAIN.grace_period());
                    smol::future::block_on(std::future::poll_fn(|context| {
                        let polled = period.as_mut().poll(context);
                        asked.fetch_add(1, SeqCst);
                        polled
                    }));
                });
            }
            soon("all futures", || asked.load(SeqCst) >= 4);
            drop(old.pop());
            assert!(old[0].as_mut().poll(&mut context).is_pending());
            drop(old.swap_remove(1));
            reader.leave();
        });
        old.into_iter().for_each(smol::future::block_on);
    })
    .ends_well();
    reader.leave();
    in_fork(|| everything(1, 0)).ends_well();
    each(|domain| domain.synchronize());
}

fn fork_and_exec_under_load() {
    under_load(|| {
        scope(|s| {
            for forks in [false, true, true] {
                s.spawn(move || {
                    for _ in 0..25 {
                        let mut command = Command::new("/bin/true");
                        command.stdin(Stdio::null());
                        if forks {
                            // SAFETY: does nothing. With it, std cannot but fork.
                            unsafe { command.pre_exec(|| Ok(())) };
                        }
                        assert!(command.status().unwrap().success());
                    }
                });
            }
        });
    });
    barrier_leaves(0);
}

fn hang() {
    // SAFETY: no precondition. Sooner than the alarm that is set.
    unsafe { libc::alarm(1) };
    loop {
        sleep(Duration::from_secs(1));
    }
}

fn run_twice() {
    let number = queue(&DOMAIN).unwrap();
    DOMAIN.barrier();
    run(number);
}

/// Queued in a domain that nobody waits for.
fn lose_one() {
    static OTHER: Domain = Domain::new();
    std::mem::forget(OTHER.read());
    queue(&OTHER);
    barrier_leaves(0);
}
