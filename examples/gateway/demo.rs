//! The demonstration: every lock under the same load, first behind HTTP, then
//! bare; then the tables and the plot.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::drive::{self, EDIT_PAUSE, Outcome, Stage};
use crate::guard::{Lock, with_guard};
use crate::lookups::{BATCH, CLOCK_COST};
use crate::requests::CLIENTS_PER_THREAD;
use crate::table::RouteTable;
use crate::traffic::Traffic;
use crate::{complain, plot, report, say};

/// Each lock's time is cut into this many turns, so that a machine that slows
/// down or is busy for a while does not do so at the cost of one lock.
const ROUNDS: u32 = 5;

pub(crate) struct Demo<'a> {
    pub(crate) locks: &'a [Lock],
    pub(crate) threads: usize,
    /// For each lock in each stage.
    pub(crate) length: Duration,
    pub(crate) plot: &'a Path,
}

type Results = Vec<(Lock, Outcome)>;

impl Demo<'_> {
    pub(crate) fn run(&self, table: &RouteTable, name: &str) -> Result<ExitCode, String> {
        let traffic = Arc::new(Traffic::new(table));
        let Self { threads, .. } = self;
        let setting = format!(
            "tier {}; {threads} threads; {name}: {} routes on {} hosts, {EDIT_PAUSE:?} between updates",
            stillpoint::machine().tier(),
            table.routes().len(),
            table.host_count(),
        );
        say(&setting);
        if let Some(others @ 1..) = others_running() {
            say(format_args!(
                "{others} threads of other programs want these CPUs: take the figures for noise"
            ));
        }
        let progress = Progress::new(self.length * 2 * self.locks.len() as u32);
        let requests = self.stage(Stage::Requests, &traffic, &progress).map_err(describe)?;
        let lookups = self.stage(Stage::Lookups, &traffic, &progress).map_err(describe)?;
        drop(progress);

        let clients = threads * CLIENTS_PER_THREAD;
        say(format_args!(
            "\nHTTP requests: {clients} kept-alive clients on loopback, every answer checked\n{}",
            report::table("requests/s", &requests)
        ));
        say(format_args!(
            "\nbare lookups: {threads} threads in this process, every answer checked; one lookup in \
             {BATCH} timed,\nless the {} that reading the clock takes\n{}",
            report::time(*CLOCK_COST),
            report::table("lookups/s", &lookups)
        ));
        let stages = [("HTTP requests", &*requests), ("bare lookups", &*lookups)];
        let svg = plot::svg(&setting, &stages).map_err(|error| error.to_string());
        svg.and_then(|svg| fs::write(self.plot, svg).map_err(describe))
            .map_err(|error| format!("cannot write {}: {error}", self.plot.display()))?;
        say(format_args!("\nwrote {}", self.plot.display()));

        let mut code = ExitCode::SUCCESS;
        for (lock, outcome) in requests.iter().chain(&lookups) {
            if let Some(first) = &outcome.tally.first_wrong {
                let name = lock.name();
                complain(format_args!("{name}: {} wrong, first {first}", outcome.tally.wrong));
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }

    fn stage(
        &self,
        stage: Stage,
        traffic: &Arc<Traffic>,
        progress: &Progress,
    ) -> io::Result<Results> {
        let mut results: Results =
            self.locks.iter().map(|&lock| (lock, Outcome::default())).collect();
        for round in 1..=ROUNDS {
            for (lock, total) in &mut results {
                progress.begin(stage, *lock, round);
                let before = progress.bar.position();
                let tick = |done| progress.bar.set_position(before + millis(done));
                let outcome = with_guard!(*lock, Guard => drive::run::<Guard>(
                    stage, traffic, self.threads, self.length / ROUNDS, tick,
                ))?;
                total.merge(outcome);
            }
        }
        Ok(results)
    }
}

/// How many threads of others want a CPU, as far as the kernel tells: the median of some looks.
/// Ours sleeps or looks, and is the only one yet.
fn others_running() -> Option<usize> {
    const LOOKS: usize = 9;
    let look = |_| {
        thread::sleep(Duration::from_millis(10));
        let text = fs::read_to_string("/proc/loadavg").ok()?;
        let (running, _) = text.split(' ').nth(3)?.split_once('/')?;
        running.parse::<usize>().ok()?.checked_sub(1)
    };
    let mut looks = (0..LOOKS).map(look).collect::<Option<Vec<_>>>()?;
    looks.sort_unstable();
    looks.get(LOOKS / 2).copied()
}

/// A bar on a terminal, a line for each step elsewhere; on stderr, so that the
/// tables can be piped.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(total: Duration) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}  {eta} left");
        let bar = ProgressBar::new(millis(total));
        bar.set_style(style.expect("a valid template"));
        Self { bar }
    }

    fn begin(&self, stage: Stage, lock: Lock, round: u32) {
        let what = match stage {
            Stage::Requests => "HTTP requests",
            Stage::Lookups => "bare lookups",
        };
        let step = format!("{what}, {}, round {round} of {ROUNDS}", lock.name());
        if self.bar.is_hidden() {
            // Nobody to tell if stderr is gone.
            let _ = writeln!(io::stderr(), "{step}");
        }
        self.bar.set_message(step);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn describe(error: io::Error) -> String {
    error.to_string()
}
