//! One timed run: load on a shared table while an updater replaces it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::guard::Guard;
use crate::table::RouteTable;
use crate::traffic::Traffic;
use crate::{lookups, requests};

/// The pause between two updates.
pub(crate) const EDIT_PAUSE: Duration = Duration::from_millis(5);
/// Caches, branch predictors and connections settle before anything counts.
const WARM_UP: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(50);

/// What the load is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Requests,
    Lookups,
}

/// What the workers and the updater tell each other.
#[derive(Default)]
pub(crate) struct Window {
    phase: AtomicU8,
    /// The newest generation that a reader may see, and the newest that it must.
    offered: AtomicU64,
    current: AtomicU64,
}

const RECORDING: u8 = 1;
const STOPPED: u8 = 2;

impl Window {
    pub(crate) fn is_recording(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == RECORDING
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOPPED
    }

    /// A read that begins now must see at least this generation.
    pub(crate) fn oldest_allowed(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// A read that has ended can have seen at most this generation.
    pub(crate) fn newest_allowed(&self) -> u64 {
        self.offered.load(Ordering::Acquire)
    }
}

/// What one or more workers did and saw.
pub(crate) struct Tally {
    pub(crate) done: u64,
    /// In nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) wrong: u64,
    pub(crate) first_wrong: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        let longest = Duration::from_secs(60).as_nanos() as u64;
        let latency = Histogram::new_with_bounds(1, longest, 3).expect("valid bounds");
        Self { done: 0, latency, wrong: 0, first_wrong: None }
    }
}

impl Tally {
    pub(crate) fn took(&mut self, time: Duration) {
        self.latency.saturating_record(time.as_nanos() as u64);
    }

    pub(crate) fn blame(&mut self, what: String) {
        self.wrong += 1;
        self.first_wrong.get_or_insert(what);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.done += other.done;
        self.latency.add(other.latency).expect("the same bounds");
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }
}

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    pub(crate) updates: u64,
    pub(crate) slowest_update: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.tally.done as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.tally.merge(other.tally);
        self.elapsed += other.elapsed;
        self.updates += other.updates;
        self.slowest_update = self.slowest_update.max(other.slowest_update);
    }
}

/// Loads a table guarded by `G` for the warm-up and then for `length`.
pub(crate) fn run<G: Guard<RouteTable>>(
    stage: Stage,
    traffic: &Arc<Traffic>,
    threads: usize,
    length: Duration,
    tick: impl Fn(Duration),
) -> io::Result<Outcome> {
    let table = Arc::new(G::hold(traffic.edition(0)));
    let window = Arc::new(Window::default());
    let outcome = thread::scope(|scope| {
        let updater = scope.spawn(|| keep_editing(&*table, traffic, &window));
        let load = scope.spawn(|| match stage {
            Stage::Requests => requests::drive(&table, traffic, threads, &window),
            Stage::Lookups => Ok(lookups::drive(&*table, traffic, threads, &window)),
        });
        thread::sleep(WARM_UP);
        window.phase.store(RECORDING, Ordering::Relaxed);
        let begin = Instant::now();
        // Load that could not start, or that broke, need not be waited for.
        while begin.elapsed() < length && !load.is_finished() {
            thread::sleep(TICK.min(length.saturating_sub(begin.elapsed())));
            tick(begin.elapsed().min(length));
        }
        window.phase.store(STOPPED, Ordering::Relaxed);
        let elapsed = begin.elapsed();
        let (updates, slowest_update) = updater.join().expect("the updater has not panicked");
        let tally = load.join().expect("the load has not panicked")?;
        Ok(Outcome { tally, elapsed, updates, slowest_update })
    });
    // What is left to free must not weigh on the next run.
    table.settle();
    outcome
}

/// Returns how many updates were made while recording, and the slowest. What is
/// timed is all that the caller of `replace` waits for: the lock, the swap, a
/// drop of the old table if it comes with that; the parsing came before.
fn keep_editing<G: Guard<RouteTable>>(
    table: &G,
    traffic: &Traffic,
    window: &Window,
) -> (u64, Duration) {
    let (mut updates, mut slowest) = (0, Duration::ZERO);
    for generation in 1.. {
        thread::sleep(EDIT_PAUSE);
        if window.is_stopped() {
            break;
        }
        let edited = traffic.edition(generation);
        window.offered.store(generation, Ordering::Release);
        let begin = Instant::now();
        table.replace(edited);
        let took = begin.elapsed();
        window.current.store(generation, Ordering::Release);
        if window.is_recording() {
            updates += 1;
            slowest = slowest.max(took);
        }
    }
    (updates, slowest)
}
