//! Locks of one holder under stress: everything they can do, by threads that come, sleep, give up,
//! and move between CPUs.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::lock::lock_api::{Mutex, MutexGuard, RawMutexFair, RawMutexTimed};

/// What is asked of a lock.
pub(crate) trait Raw:
    RawMutexFair + RawMutexTimed<Duration = Duration, Instant = Instant> + Send + Sync + 'static
{
}

impl<R> Raw for R where
    R: RawMutexFair + RawMutexTimed<Duration = Duration, Instant = Instant> + Send + Sync + 'static
{
}

/// Notices if two threads are inside.
#[derive(Debug, Default)]
pub(crate) struct Canary {
    first: u64,
    second: u64,
    violations: u64,
}

impl Canary {
    #[inline(never)]
    pub(crate) fn enter(&mut self) {
        let (first, second) = (&raw mut self.first, &raw mut self.second);
        // SAFETY: both are ours. Volatile, so that others would see the step between.
        unsafe {
            let before = first.read_volatile();
            self.violations += u64::from(before != second.read_volatile());
            first.write_volatile(before + 1);
            second.write_volatile(before + 1);
        }
    }

    /// How many have entered.
    pub(crate) fn entered(&self) -> u64 {
        assert_eq!(self.violations, 0, "two threads inside");
        assert_eq!(self.first, self.second, "two threads inside");
        self.first
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) taken: u64,
    pub(crate) given_up: u64,
    pub(crate) violations: u64,
}

/// Threads; more than CPUs, so that holders and heirs are preempted.
const THREADS: u64 = 6;

/// For so long; whoever has got nowhere for `patience` hangs, and the process is aborted.
pub(crate) fn run<R: Raw>(time: Duration, patience: Duration) -> Report {
    let locks = [(); 2].map(|()| Mutex::<R, Canary>::new(Canary::default()));
    let progress = [const { AtomicU64::new(0) }; THREADS as usize];
    let given_up = AtomicU64::new(0);
    let (stop, watched) = (AtomicBool::new(false), AtomicBool::new(true));
    thread::scope(|scope| {
        let workers: Vec<_> = progress
            .iter()
            .zip(0..)
            .map(|(progress, seed)| {
                let (locks, stop, given_up) = (&locks, &stop, &given_up);
                scope.spawn(move || work(locks, seed, progress, given_up, stop))
            })
            .collect();
        scope.spawn(|| watch(&progress, patience, &watched));
        thread::sleep(time);
        stop.store(true, Ordering::SeqCst);
        workers.into_iter().for_each(|worker| worker.join().expect("no worker panics"));
        watched.store(false, Ordering::SeqCst);
    });
    let taken = progress.iter().map(|progress| progress.load(Ordering::SeqCst)).sum();
    let counted: u64 = locks.iter().map(|lock| lock.lock().first).sum();
    let violations = locks.into_iter().map(|lock| lock.into_inner().violations).sum::<u64>();
    let given_up = given_up.into_inner();
    let lost = u64::from(counted != taken - given_up);
    Report { taken, given_up, violations: violations + lost }
}

fn work<R: Raw>(
    locks: &[Mutex<R, Canary>],
    seed: u64,
    progress: &AtomicU64,
    given_up: &AtomicU64,
    stop: &AtomicBool,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let lock = &locks[random.usize(..locks.len())];
        let guard = match random.u32(..10) {
            0 => lock.try_lock(),
            1 => lock.try_lock_for(Duration::from_micros(random.u64(..200))),
            _ => Some(lock.lock()),
        };
        progress.fetch_add(1, Ordering::Relaxed);
        let Some(mut guard) = guard else {
            given_up.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        guard.enter();
        match random.u32(..200) {
            0 => thread::yield_now(),
            1 => thread::sleep(Duration::from_micros(100)),
            2..100 => (0..random.u32(..100)).for_each(|_| spin_loop()),
            _ => {}
        }
        if random.u32(..20) == 0 {
            MutexGuard::unlock_fair(guard);
        } else {
            drop(guard);
        }
        if random.u32(..500) == 0 {
            thread::sleep(Duration::from_micros(random.u64(..300)));
        } else if random.u32(..3) == 0 {
            (0..random.u32(..300)).for_each(|_| spin_loop());
        }
    }
}

/// Aborts the process as soon as somebody has got nowhere for so long.
fn watch(progress: &[AtomicU64], patience: Duration, watched: &AtomicBool) {
    let now = || progress.iter().map(|progress| progress.load(Ordering::Relaxed));
    let mut since: Vec<_> = now().map(|count| (count, Instant::now())).collect();
    while watched.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(10));
        for (thread, (count, (before, when))) in now().zip(&mut since).enumerate() {
            if count != *before {
                (*before, *when) = (count, Instant::now());
            } else if when.elapsed() > patience && watched.load(Ordering::SeqCst) {
                eprintln!("thread {thread} hangs");
                std::process::abort();
            }
        }
    }
}
