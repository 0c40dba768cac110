//! Time, taken on CPUs that we choose.

use crate::readers::Reader;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The CPUs this process may run on.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero is an empty set, which the call fills; the numbers asked for are within it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Keeps the calling thread on one CPU. False if the kernel would not.
pub(crate) fn pin(cpu: usize) -> bool {
    // SAFETY: all-zero is an empty set, and `cpu` came out of one.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set) == 0
    }
}

pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Rounds that bring a fresh thread up to speed: thread-locals, registrations, caches.
const WARM_UP: u64 = 1000;

/// The time from the first thread's start to the last one's end, when one thread on each of
/// `cpus` does `rounds` rounds.
pub(crate) fn wall(reader: &Reader, cpus: &[usize], rounds: u64) -> Duration {
    let ready = AtomicUsize::new(0);
    let thread = |cpu| {
        pin(cpu);
        reader.run(WARM_UP);
        // Spinning, not parked: all of them are running when the last arrives.
        ready.fetch_add(1, Ordering::Relaxed);
        while ready.load(Ordering::Relaxed) < cpus.len() {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        reader.run(rounds);
        (start, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|s| {
        let threads: Vec<_> = cpus.iter().map(|&cpu| s.spawn(move || thread(cpu))).collect();
        threads.into_iter().map(|t| t.join().expect("readers do not panic")).collect()
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
}

/// What `work` returns, done while a thread on `cpu` does nothing but read.
pub(crate) fn beside<R>(reader: &Reader, cpu: usize, work: impl FnOnce() -> R) -> R {
    let (busy, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|s| {
        s.spawn(|| {
            pin(cpu);
            while !stop.load(Ordering::Relaxed) {
                reader.run(WARM_UP);
                busy.store(true, Ordering::Relaxed);
            }
        });
        while !busy.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}
