//! How it goes, while it goes: a bar on a terminal, else a line every few seconds.

use super::seat::{self, Seat, Tally};
use super::world::World;
use super::{callbacks, evidence};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR_EVERY: Duration = Duration::from_millis(500);

/// What rates are computed from.
#[derive(Clone, Copy, Debug)]
struct Counts {
    at: Instant,
    reads: u64,
    periods: u64,
    callbacks: u64,
}

impl Counts {
    fn now(world: &World) -> Counts {
        let periods = world.domain.grace_periods();
        Counts { at: Instant::now(), reads: reads(), periods, callbacks: callbacks::totals().1 }
    }
}

/// Elements seen so far, by all readers.
fn reads() -> u64 {
    let of = |tally: &Tally| -> u64 {
        tally.seen.iter().flatten().map(|counter| counter.load(Relaxed)).sum()
    };
    seat::all().iter().map(|Seat { main, handler, .. }| of(main) + of(handler)).sum()
}

/// The bar or its substitute.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
    last: Counts,
}

impl Progress {
    pub(crate) fn start(world: &World, time: Duration) -> Progress {
        let bar = ProgressBar::new(time.as_secs());
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:20} {len} s  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar, start: Instant::now(), last: Counts::now(world) }
    }

    /// To be called often.
    pub(crate) fn tick(&mut self, world: &World) {
        let every = if self.bar.is_hidden() { LINE_EVERY } else { BAR_EVERY };
        let passed = self.last.at.elapsed();
        if passed < every {
            return;
        }
        let now = Counts::now(world);
        let rate = |of: fn(&Counts) -> u64| {
            HumanCount(((of(&now) - of(&self.last)) as f64 / passed.as_secs_f64()) as u64)
        };
        let message = format!(
            "{} reads/s, {} grace periods/s, {} callbacks/s, {} pending, {} violations",
            rate(|counts| counts.reads),
            rate(|counts| counts.periods),
            rate(|counts| counts.callbacks),
            HumanCount(world.pending()),
            evidence::count(),
        );
        self.last = now;
        let elapsed = self.start.elapsed().as_secs();
        if self.bar.is_hidden() {
            println!("{elapsed} s: {message}");
        } else {
            self.bar.set_position(elapsed);
            self.bar.set_message(message);
        }
    }

    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
