//! Counters and a histogram under stress: what threads have told them, and what they say.
//!
//! Adders count in bursts, on CPUs that they and others choose for them, are interrupted by 1 ms
//! timers whose handler counts as well, and start short threads that do. Each keeps its own books.
//! Counters come and go. Two threads take exact sums all the time, of a counter to which everyone
//! always adds one to the lower half first, and then one to the upper half: an exact sum never has
//! more of the latter, nor less of the former by more than there are additions under way, and never
//! falls.

#[path = "cpus.rs"]
pub(crate) mod cpus;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::percpu::{Counter, Histogram};

const ADDERS: usize = 6;
const SUMMERS: usize = 2;
const COUNTERS: usize = 3;
/// Added behind a 1.
const UPPER: u64 = 1 << 32;
/// Of the values that are recorded.
const VALUES: u64 = 5000;

static COUNTED: [Counter; COUNTERS] = [const { Counter::new() }; COUNTERS];
static RECORDED: Histogram = Histogram::new();
static PAIRED: Counter = Counter::new();
/// What the handler has added, to each.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// What somebody has added.
#[derive(Debug, Default)]
struct Books {
    counted: [u64; COUNTERS],
    records: u64,
    recorded: u64,
    pairs: u64,
}

impl Books {
    fn add(&mut self, other: &Books) {
        for (mine, theirs) in self.counted.iter_mut().zip(other.counted) {
            *mine = mine.wrapping_add(theirs);
        }
        self.records += other.records;
        self.recorded += other.recorded;
        self.pairs += other.pairs;
    }

    /// What all of them say. Nobody adds meanwhile.
    fn of_all(pairs_before: u64) -> Books {
        let seen = RECORDED.snapshot();
        let paired = PAIRED.sum_exact();
        // In a long run the lower half would overflow.
        PAIRED.sub(paired);
        Books {
            counted: COUNTED.each_ref().map(Counter::sum_exact),
            records: seen.count(),
            recorded: seen.sum(),
            // Both halves, or neither.
            pairs: match (paired / UPPER, paired % UPPER) {
                (upper, lower) if upper == lower => pairs_before + upper,
                _ => u64::MAX,
            },
        }
    }

    /// How many of their numbers are not the same.
    fn differences(&self, other: &Books) -> u64 {
        let counted = self.counted.iter().zip(&other.counted).filter(|(a, b)| a != b).count();
        counted as u64
            + u64::from(self.records != other.records)
            + u64::from(self.recorded != other.recorded)
            + u64::from(self.pairs != other.pairs)
    }
}

fn pair() {
    PAIRED.add(1);
    PAIRED.add(UPPER);
}

extern "C" fn handler(_: libc::c_int) {
    COUNTED.iter().for_each(|counter| counter.add(1));
    RECORDED.record(1);
    pair();
    HANDLED.fetch_add(1, Relaxed);
}

/// One thread's additions, until it is to stop.
fn adder(me: usize, stop: &AtomicBool) -> Books {
    let mut random = fastrand::Rng::with_seed(me as u64);
    let allowed = cpus::allowed();
    let mut books = Books::default();
    while !stop.load(Relaxed) {
        let which = random.usize(..COUNTERS);
        match random.u32(..100) {
            // In a row: then a thread is in the middle of an addition when it is stopped.
            0..60 => {
                (0..1000).for_each(|_| COUNTED[which].add(1));
                books.counted[which] = books.counted[which].wrapping_add(1000);
            }
            60..70 => {
                let n = random.u64(..);
                COUNTED[which].sub(n);
                books.counted[which] = books.counted[which].wrapping_sub(n);
            }
            70..80 => {
                for _ in 0..200 {
                    let value = random.u64(..VALUES);
                    RECORDED.record(value);
                    books.recorded += value;
                }
                books.records += 200;
            }
            80..92 => {
                (0..100).for_each(|_| pair());
                books.pairs += 100;
            }
            92..95 => _ = cpus::restrict(0, &[allowed[random.usize(..allowed.len())]]),
            95..97 => thread::yield_now(),
            97..98 => {
                let counter = Counter::new();
                counter.add(5);
                assert_eq!(counter.sum(), 5, "a fresh counter");
            }
            98..99 => {
                thread::spawn(move || (0..100).for_each(|_| COUNTED[which].add(7))).join().unwrap();
                books.counted[which] = books.counted[which].wrapping_add(700);
            }
            _ => thread::sleep(Duration::from_micros(random.u64(..200))),
        }
    }
    books
}

/// Exact sums, until it is to stop: how many, and how many were impossible.
fn summer(stop: &AtomicBool) -> (u64, u64) {
    // Each adder, and a handler that interrupts it, may be between the two.
    let most_open = 2 * ADDERS as u64;
    let (mut last, mut sums, mut violations) = ([0; 2], 0, 0);
    while !stop.load(Relaxed) {
        let sum = PAIRED.sum_exact();
        let now = [sum % UPPER, sum / UPPER];
        let possible = now[0] >= now[1] && now[0] - now[1] <= most_open;
        let rises = now[0] >= last[0] && now[1] >= last[1];
        violations += u64::from(!possible || !rises);
        (last, sums) = (now, sums + 1);
        if sums % 64 == 0 {
            thread::sleep(Duration::from_micros(300));
        }
    }
    (sums, violations)
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Impossible sums, and numbers that are not what the books say.
    pub(crate) violations: u64,
    pub(crate) sums: u64,
    pub(crate) signals: u64,
    told: Books,
    found: Books,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} violations, {} exact sums, {} signals; told {:?}, found {:?}",
            stillpoint::machine().tier(),
            self.violations,
            self.sums,
            self.signals,
            self.told,
            self.found,
        )
    }
}

/// Runs for `time`, in rounds whose books are compared, or until something is wrong.
///
/// Once in a process: the counters, the timer and the signal's handler are the process's.
pub(crate) fn run(time: Duration) -> Report {
    const ROUND: Duration = Duration::from_secs(1);
    let end = Instant::now() + time;
    let mut report = Report {
        violations: 0,
        sums: 0,
        signals: 0,
        told: Books::default(),
        found: Books::default(),
    };
    while report.violations == 0 && Instant::now() < end {
        round(ROUND.min(end - Instant::now()), &mut report);
    }
    report
}

fn round(time: Duration, report: &mut Report) {
    let stop = AtomicBool::new(false);
    let numbers = [const { AtomicI32::new(0) }; ADDERS];
    thread::scope(|scope| {
        let adders: Vec<_> = numbers
            .iter()
            .enumerate()
            .map(|(me, number)| {
                let stop = &stop;
                scope.spawn(move || {
                    // SAFETY: it only says who asks.
                    number.store(unsafe { libc::gettid() }, Relaxed);
                    let _timer = Timer::start();
                    adder(me, stop)
                })
            })
            .collect();
        let summers: Vec<_> = (0..SUMMERS).map(|_| scope.spawn(|| summer(&stop))).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let allowed = cpus::allowed();
        let end = Instant::now() + time;
        while Instant::now() < end {
            thread::sleep(Duration::from_micros(200));
            let number = numbers[random.usize(..ADDERS)].load(Relaxed);
            if number == 0 {
                continue;
            }
            if random.u8(..4) == 0 {
                cpus::restrict(number, &allowed);
            } else {
                cpus::restrict(number, &[allowed[random.usize(..allowed.len())]]);
            }
        }
        stop.store(true, Relaxed);
        for adder in adders {
            report.told.add(&adder.join().unwrap());
        }
        for summer in summers {
            let (sums, violations) = summer.join().unwrap();
            report.sums += sums;
            report.violations += violations;
        }
    });
    // No thread is left that a signal could be meant for.
    let handled = HANDLED.load(Relaxed) - report.signals;
    report.signals += handled;
    let by_handler =
        Books { counted: [handled; COUNTERS], records: handled, recorded: handled, pairs: handled };
    report.told.add(&by_handler);
    report.found = Books::of_all(report.found.pairs);
    report.violations += report.found.differences(&report.told);
    for (counter, told) in COUNTED.iter().zip(report.told.counted) {
        report.violations += u64::from(counter.sum() != told);
    }
}

/// A 1 ms timer whose signals interrupt the thread that started it.
struct Timer(libc::timer_t);

impl Timer {
    fn start() -> Timer {
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let times = libc::itimerspec { it_interval: interval, it_value: interval };
        let mut timer = std::ptr::null_mut();
        // SAFETY: all-zero is a valid action and a valid event; the handler has the right type and
        // is async-signal-safe, as counting is; the others are live locals.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
            assert_eq!(libc::timer_settime(timer, 0, &times, std::ptr::null_mut()), 0);
        }
        Timer(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: a timer of ours.
        unsafe { libc::timer_delete(self.0) };
    }
}
