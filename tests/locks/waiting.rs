//! Threads that wait, and how.

use super::cpus::{allowed, restrict};
use super::tiers::PATIENCE;
use super::{Lock, Raw};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use stillpoint::lock::lock_api::MutexGuard;

/// Long enough for a thread to get stuck where it should.
const MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn a_waiter_is_woken<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    for _ in 0..5 {
        let guard = lock.lock();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| *lock.lock() += 1);
            sleep(MOMENT);
            assert!(!waiter.is_finished());
            drop(guard);
            waiter.join().unwrap();
        });
    }
    assert_eq!(lock.into_inner(), 5);
}

pub(crate) fn all_waiters_are_woken<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    let guard = lock.lock();
    thread::scope(|scope| {
        let waiters = [(); 10].map(|()| scope.spawn(|| *lock.lock() += 1));
        sleep(MOMENT);
        assert!(!waiters.iter().any(|waiter| waiter.is_finished()));
        drop(guard);
    });
    assert_eq!(lock.into_inner(), 10);
}

/// Those that give up leave the others what they need.
pub(crate) fn waiters_give_up<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    for round in 0..10_u32 {
        let guard = lock.lock();
        thread::scope(|scope| {
            let patient = [(); 3].map(|()| scope.spawn(|| *lock.lock() += 1));
            let others: Vec<_> = (0..6)
                .map(|i| {
                    let lock = &lock;
                    let timeout = Duration::from_millis(10 + i);
                    scope.spawn(move || lock.try_lock_for(timeout).is_some())
                })
                .collect();
            // At about the same time as some of them give up.
            sleep(Duration::from_micros(9_000 + u64::from(round) * 700));
            drop(guard);
            patient.into_iter().for_each(|thread| thread.join().unwrap());
            others.into_iter().for_each(|thread| _ = thread.join().unwrap());
        });
    }
    assert_eq!(lock.into_inner(), 30);
}

/// Who unlocks fairly does not get the lock again before those that are parked.
pub(crate) fn fair_unlock_hands_over<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    let (has_it, may_end) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut guard = lock.lock();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = lock.lock();
            has_it.store(true, SeqCst);
            wait_until("the end", || may_end.load(SeqCst));
        });
        let begin = Instant::now();
        loop {
            sleep(MOMENT);
            MutexGuard::unlock_fair(guard);
            match lock.try_lock() {
                // It was not parked yet.
                Some(again) => guard = again,
                None => break,
            }
            assert!(begin.elapsed() < PATIENCE / 2, "never handed over");
        }
        wait_until("the other", || has_it.load(SeqCst));
        may_end.store(true, SeqCst);
    });
    assert!(!lock.is_locked());
}

/// A loop that holds the lock nearly always lets others in.
pub(crate) fn bump_lets_others_in<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        let mut guard = lock.lock();
        let others = [(); 3].map(|()| scope.spawn(|| *lock.lock() += 1));
        while *guard < 3 {
            sleep(Duration::from_millis(1));
            MutexGuard::bump(&mut guard);
            assert!(begin.elapsed() < PATIENCE / 2, "nobody gets in");
        }
        drop(guard);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Two threads that take the lock again and again do not keep a third from it.
pub(crate) fn nobody_starves<R: Raw>() {
    let lock = Lock::<R, u64>::new(0);
    let (stop, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    *lock.lock() += 1;
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                *lock.lock() += 1;
                turns.fetch_add(1, SeqCst);
                sleep(Duration::from_micros(100));
            }
            stop.store(true, SeqCst);
        });
    });
    assert_eq!(turns.into_inner(), 20);
}

/// A holder that does not run costs the others no CPU. (Here it sleeps; `stopped.rs` has one that
/// is stopped.)
pub(crate) fn waiters_of_a_sleeping_holder_sleep<R: Raw>() {
    const HELD: Duration = Duration::from_secs(1);
    let lock = Lock::<R, u32>::new(0);
    let charged = AtomicU64::new(0);
    // On one CPU: that of the holder is where waiters of a spin lock know that it does not run.
    let all = allowed();
    assert!(restrict(0, &all[..1]));
    let guard = lock.lock();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let before = thread_cpu();
                *lock.lock() += 1;
                charged.fetch_add((thread_cpu() - before).as_nanos() as u64, SeqCst);
            });
        }
        sleep(HELD);
        drop(guard);
    });
    assert!(restrict(0, &all));
    let charged = Duration::from_nanos(charged.into_inner());
    println!("8 waiters, {HELD:?}: charged {charged:?}");
    assert!(charged < HELD / 4, "waiters spin: {charged:?}");
}

/// A real-time thread that waits for one of lower priority, on its CPU, must let it run.
pub(crate) fn ping_pong_of_real_time_threads<R: Raw>() {
    const ROUNDS: usize = 300;
    let lock = Lock::<R, usize>::new(0);
    let cpu = allowed()[0];
    let prepare = move |priority: i32| restrict(0, &[cpu]) && become_real_time(priority);
    let (ready, start) = mpsc::channel::<()>();
    let (may, denied) = (AtomicBool::new(true), AtomicBool::new(false));
    thread::scope(|scope| {
        // The holder, of lower priority: wakes the other with the lock held, and is preempted.
        scope.spawn(|| {
            if !prepare(1) {
                may.store(false, SeqCst);
            }
            for _ in 0..ROUNDS {
                let mut guard = lock.lock();
                if ready.send(()).is_err() {
                    denied.store(true, SeqCst);
                    break;
                }
                *guard += 1;
            }
            drop(ready);
        });
        let (lock, may) = (&lock, &may);
        scope.spawn(move || {
            if !prepare(2) {
                may.store(false, SeqCst);
            }
            while start.recv().is_ok() {
                *lock.lock() += 1;
            }
        });
    });
    if !may.into_inner() {
        println!("SKIPPED priorities: SCHED_FIFO is not permitted; it ran without");
    }
    assert!(!denied.into_inner());
    assert_eq!(lock.into_inner(), 2 * ROUNDS);
}

/// Threads of one CPU whose holder is preempted in the middle of its section get on: nobody spins
/// in its place for as long as the scheduler allows.
pub(crate) fn a_preempted_holder_is_not_outspun<R: Raw>() {
    let lock = Lock::<R, u64>::new(0);
    let cpu = allowed()[0];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                restrict(0, &[cpu]);
                for _ in 0..200 {
                    let mut guard = lock.lock();
                    // As a preemption would: all others run, and wait.
                    thread::yield_now();
                    *guard += 1;
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(lock.into_inner(), 800);
}

fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < PATIENCE / 2, "{what}: not within {:?}", begin.elapsed());
        sleep(Duration::from_millis(1));
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// True if the kernel allows it.
fn become_real_time(priority: i32) -> bool {
    // SAFETY: all-zero parameters are valid.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = priority;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0
    }
}
