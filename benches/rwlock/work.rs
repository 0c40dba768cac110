//! The runs that are measured.

use crate::clock;
use crate::locks::Subject;
use crate::mix::Mix;
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

    /// Whether operations are timed.
    pub(crate) fn samples(&self) -> bool {
        self.samples
    }

    fn end(&self) -> Instant {
        *self.end.get_or_init(|| Instant::now() + self.length)
    }
}

/// What a thread did, or all of them.
pub(crate) struct Tally {
    pub(crate) operations: u64,
    /// CPU time that the kernel charged to the threads, in nanoseconds.
    pub(crate) cpu: u64,
    /// What some operations took, in nanoseconds.
    pub(crate) reads: Histogram<u64>,
    pub(crate) writes: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        Tally { operations: 0, cpu: 0, reads: histogram(), writes: histogram() }
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.cpu += other.cpu;
        self.reads.add(&other.reads).expect("the same bounds");
        self.writes.add(&other.writes).expect("the same bounds");
    }
}

/// What all threads did in a window.
pub(crate) struct Run {
    pub(crate) tally: Tally,
    pub(crate) wall: Duration,
    /// Broadcasts that were sent meanwhile, by anyone in this process.
    pub(crate) broadcasts: u64,
}

/// Brings a fresh thread up to speed, and the lock's bias to where the mix has it.
const WARM_UP: Duration = Duration::from_millis(1);

/// The mix, by so many threads: on CPUs of their own if there are enough, else where they like.
pub(crate) fn run(
    lock: &dyn Subject,
    mix: &Mix,
    threads: usize,
    cpus: &[usize],
    window: &Window,
) -> Run {
    let cpus = if threads <= cpus.len() { cpus } else { &[] };
    let all = Mutex::new(Tally::new());
    let before = stillpoint::machine().broadcasts();
    let span = clock::together(
        threads,
        cpus,
        |thread| _ = lock.mixed(mix, thread, &Window::new(WARM_UP, false)),
        |thread| {
            let before = thread_cpu();
            let mut its = lock.mixed(mix, thread, window);
            its.cpu = thread_cpu() - before;
            all.lock().expect("nobody panics").add(&its);
        },
    );
    let broadcasts = stillpoint::machine().broadcasts() - before;
    Run { tally: all.into_inner().expect("nobody panics"), wall: span.length(), broadcasts }
}

/// CPU time of the calling thread, in nanoseconds.
fn thread_cpu() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "there is such a clock since Linux 2.6.12");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What two readings of the clock, one right after the other, are apart: the median of many.
static CLOCK_COST: LazyLock<Duration> = LazyLock::new(|| {
    let mut apart: Vec<_> = (0..10_001).map(|_| black_box(Instant::now()).elapsed()).collect();
    apart.sort_unstable();
    apart[apart.len() / 2]
});

/// What the work took, without the reading of the clock; at least a nanosecond.
#[inline(always)]
pub(crate) fn timed(work: impl FnOnce()) -> u64 {
    let begin = Instant::now();
    work();
    (begin.elapsed().saturating_sub(*CLOCK_COST).as_nanos() as u64).max(1)
}

/// One thread's part. It looks at the clock every ten microseconds or so, and does nothing
/// else between the operations unless it samples.
#[inline(never)]
pub(crate) fn mixed<const SAMPLES: bool>(
    read: impl Fn(),
    write: impl Fn(),
    mix: &Mix,
    thread: usize,
    window: &Window,
) -> Tally {
    const FEW: u64 = 8;
    const SHORT: Duration = Duration::from_micros(10);
    let strides = mix.strides();
    let mut tally = Tally::new();
    let mut gaps = mix.gaps(thread);
    let mut gap = || gaps.next().expect("without end");
    let (mut reads_left, mut until_read, mut until_write) = (gap(), 1, 1);
    let mut chunk = FEW;
    let end = window.end();
    let mut last = Instant::now();
    while last < end {
        let mut left = chunk;
        while left > 0 {
            let reads = reads_left.min(left);
            for _ in 0..reads {
                if SAMPLES && is_due(&mut until_read, strides.0) {
                    tally.reads.saturating_record(timed(&read));
                } else {
                    read();
                }
            }
            reads_left -= reads;
            left -= reads;
            if left > 0 {
                if SAMPLES && is_due(&mut until_write, strides.1) {
                    tally.writes.saturating_record(timed(&write));
                } else {
                    write();
                }
                reads_left = gap();
                left -= 1;
            }
        }
        tally.operations += chunk;
        let now = Instant::now();
        chunk = if now - last < SHORT { chunk * 2 } else { (chunk / 2).max(FEW) };
        last = now;
    }
    tally
}

/// Counts down; true once in a stride.
#[inline(always)]
fn is_due(until: &mut u64, stride: u64) -> bool {
    *until -= 1;
    let due = *until == 0;
    if due {
        *until = stride;
    }
    due
}

/// The time in which a thread on each of `cpus` reads so many times.
pub(crate) fn reads_by(lock: &dyn Subject, cpus: &[usize], times: u64) -> Duration {
    let warm_up = |_| lock.reads(clock::WARM_UP);
    clock::together(cpus.len(), cpus, warm_up, |_| lock.reads(times)).length()
}
