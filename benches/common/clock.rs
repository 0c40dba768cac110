//! Threads on CPUs that we choose, and the time they take.

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

/// Rounds that bring a fresh thread up to speed: thread-locals, registrations, caches.
pub(crate) const WARM_UP: u64 = 1000;

/// From the first thread's start to the last one's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Span {
    pub(crate) fn length(self) -> Duration {
        self.end - self.start
    }
}

/// Has so many threads prepare, each by its number, and then work at the same time; the time of
/// the work. They take turns on `cpus`, or run where they like if there are none.
pub(crate) fn together(
    threads: usize,
    cpus: &[usize],
    prepare: impl Fn(usize) + Sync,
    work: impl Fn(usize) + Sync,
) -> Span {
    let ready = AtomicUsize::new(0);
    let thread = |i: usize| {
        if let Some(&cpu) = cpus.get(i % cpus.len().max(1)) {
            pin(cpu);
        }
        prepare(i);
        // Not parked: where each has its CPU, all of them are running when the last arrives.
        ready.fetch_add(1, Ordering::Relaxed);
        while ready.load(Ordering::Relaxed) < threads {
            thread::yield_now();
        }
        let start = Instant::now();
        work(i);
        Span { start, end: Instant::now() }
    };
    let spans: Vec<_> = thread::scope(|s| {
        let threads: Vec<_> = (0..threads).map(|i| s.spawn(move || thread(i))).collect();
        threads.into_iter().map(|t| t.join().expect("measured threads do not panic")).collect()
    });
    let both = |a: Span, b: Span| Span { start: a.start.min(b.start), end: a.end.max(b.end) };
    spans.into_iter().reduce(both).expect("some thread")
}

/// What `work` returns, done while a thread on `cpu` does nothing but `rounds` of something.
pub(crate) fn beside<R>(rounds: impl Fn(u64) + Sync, cpu: usize, work: impl FnOnce() -> R) -> R {
    let (busy, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|s| {
        s.spawn(|| {
            pin(cpu);
            while !stop.load(Ordering::Relaxed) {
                rounds(WARM_UP);
                busy.store(true, Ordering::Relaxed);
            }
        });
        while !busy.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        // Also when `work` panics.
        let _stop = StoreOnDrop(&stop);
        work()
    })
}

struct StoreOnDrop<'a>(&'a AtomicBool);

impl Drop for StoreOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
