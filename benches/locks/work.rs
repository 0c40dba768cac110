//! The runs that are measured.

use crate::clock;
use crate::locks::{Lock, Subject};
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The time in which all threads work: it begins with the first of them.
pub(crate) struct Window {
    length: Duration,
    samples: bool,
    end: OnceLock<Instant>,
}

impl Window {
    pub(crate) fn new(length: Duration, samples: bool) -> Window {
        Window { length, samples, end: OnceLock::new() }
    }

    /// Whether waits are timed.
    pub(crate) fn samples(&self) -> bool {
        self.samples
    }

    fn end(&self) -> Instant {
        *self.end.get_or_init(|| Instant::now() + self.length)
    }
}

/// A critical section that takes so many nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    pub(crate) nanos: u64,
    steps: u64,
}

impl Section {
    pub(crate) fn new(nanos: u64) -> Section {
        /// Steps in a microsecond: the best of some tries.
        static STEPS: LazyLock<f64> = LazyLock::new(|| {
            const MANY: u64 = 200_000;
            let once = || {
                let start = Instant::now();
                Section { nanos: 0, steps: MANY }.work(&mut 1);
                start.elapsed()
            };
            let best = (0..20).map(|_| once()).min().expect("some");
            MANY as f64 * 1000.0 / best.as_nanos() as f64
        });
        Section { nanos, steps: (nanos as f64 * *STEPS / 1000.0) as u64 }
    }

    #[inline(always)]
    fn work(self, number: &mut u64) {
        *number = number.wrapping_add(1);
        let mut mixed = *number;
        for _ in 0..self.steps {
            mixed = black_box(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(5));
        }
        black_box(mixed);
    }
}

/// What a thread did, or all of them.
pub(crate) struct Tally {
    pub(crate) operations: u64,
    /// CPU time that the kernel charged to the threads, in nanoseconds.
    pub(crate) cpu: u64,
    /// What it took to get the lock, now and then, in nanoseconds.
    pub(crate) waits: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let waits = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        Tally { operations: 0, cpu: 0, waits }
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.cpu += other.cpu;
        self.waits.add(&other.waits).expect("the same bounds");
    }
}

/// What all threads did in a window.
pub(crate) struct Run {
    pub(crate) tally: Tally,
    pub(crate) wall: Duration,
}

/// Brings a fresh thread up to speed.
const WARM_UP: Duration = Duration::from_millis(1);

/// So many threads: on CPUs of their own if there are enough, else where they like.
pub(crate) fn run(
    lock: &dyn Subject,
    section: Section,
    threads: usize,
    cpus: &[usize],
    window: &Window,
) -> Run {
    let cpus = if threads <= cpus.len() { cpus } else { &[] };
    let all = Mutex::new(Tally::new());
    let span = clock::together(
        threads,
        cpus,
        |_| _ = lock.work(section, &Window::new(WARM_UP, false)),
        |_| {
            let before = thread_cpu();
            let mut its = lock.work(section, window);
            its.cpu = thread_cpu() - before;
            all.lock().expect("nobody panics").add(&its);
        },
    );
    Run { tally: all.into_inner().expect("nobody panics"), wall: span.length() }
}

/// CPU time of the calling thread, in nanoseconds.
fn thread_cpu() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "there is such a clock since Linux 2.6.12");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One thread's part. It looks at the clock every ten microseconds or so, and does nothing else
/// between the sections unless it samples.
#[inline(never)]
pub(crate) fn work<L: Lock, const SAMPLES: bool>(
    lock: &L,
    section: Section,
    window: &Window,
) -> Tally {
    const SHORT: Duration = Duration::from_micros(10);
    const STRIDE: u64 = 16;
    let mut tally = Tally::new();
    let mut chunk = 1;
    let mut until_sample = 1;
    let end = window.end();
    let mut last = Instant::now();
    while last < end {
        for _ in 0..chunk {
            if SAMPLES {
                until_sample -= 1;
                if until_sample == 0 {
                    until_sample = STRIDE;
                    let begin = Instant::now();
                    let waited = lock.with(|number| {
                        let waited = begin.elapsed();
                        section.work(number);
                        waited
                    });
                    tally.waits.saturating_record((waited.as_nanos() as u64).max(1));
                    continue;
                }
            }
            lock.with(|number| section.work(number));
        }
        tally.operations += chunk;
        let now = Instant::now();
        chunk = if now - last < SHORT { chunk * 2 } else { (chunk / 2).max(1) };
        last = now;
    }
    tally
}
