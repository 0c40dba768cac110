//! Waiters wait without using the CPU, and without standing in the holder's way.

use crate::cpus;
use crate::stress::{Mutex, choose};
use crate::tiers::in_time;
use std::thread::{scope, sleep};
use std::time::Duration;

/// What the calling thread has used of a CPU.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live local.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn waiters_of_a_holder_that_does_not_run_use_no_cpu() {
    let lock = Mutex::new(());
    in_time(|| {
        let guard = lock.lock();
        scope(|s| {
            for number in 0..8 {
                let lock = &lock;
                s.spawn(move || {
                    choose(number % 2);
                    let before = cpu_time();
                    drop(lock.lock());
                    let used = cpu_time() - before;
                    assert!(used < Duration::from_millis(50), "{used:?} to wait for 400 ms");
                });
            }
            sleep(Duration::from_millis(400));
            drop(guard);
        });
    });
}

#[test]
fn on_one_cpu_all_get_their_turn() {
    let lock = Mutex::new(0);
    in_time(|| {
        scope(|s| {
            for number in 0..8 {
                let lock = &lock;
                s.spawn(move || {
                    pin();
                    choose(number % 2);
                    for round in 0..2_000 {
                        let mut guard = lock.lock();
                        *guard += 1;
                        if round % 100 == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
    });
    assert_eq!(lock.into_inner(), 16_000);
}

/// Real-time threads, of which the one with the higher priority often waits for the other, on one
/// CPU: who spins there for ever keeps the holder from running.
#[test]
fn real_time_threads_on_one_cpu_do_not_livelock() {
    let may = scope(|s| s.spawn(|| real_time(1)).join().unwrap());
    if !may {
        println!("SKIPPED: may not use SCHED_FIFO");
        return;
    }
    let lock = Mutex::new(0);
    in_time(|| {
        scope(|s| {
            for number in 0..2 {
                let lock = &lock;
                s.spawn(move || {
                    pin();
                    assert!(real_time(1 + number));
                    for _ in 0..300 {
                        let mut guard = lock.lock();
                        *guard += 1;
                        sleep(Duration::from_micros(50));
                        drop(guard);
                        if number == 1 {
                            sleep(Duration::from_micros(20));
                        }
                    }
                });
            }
        });
    });
    assert_eq!(lock.into_inner(), 600);
}

fn real_time(priority: i32) -> bool {
    // SAFETY: all-zero is valid; the kernel reads a live local.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        parameter.sched_priority = priority;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) == 0
    }
}

/// To one CPU, the same for all.
fn pin() {
    let first = cpus::allowed()[0];
    assert!(cpus::restrict(0, &[first]));
}
