//! What is claimed about pairs, and whether it holds. What was asked for, and by whom, is in
//! `tools/bench-report/data/targets.json`.

use crate::record::{self, Rounds};
use crate::rounds::interleaved;
use bench_data::{Better, Spread};

/// An implementation, and a way to measure once what an operation takes, in nanoseconds.
pub(crate) struct Run<'a> {
    name: String,
    setting: String,
    work: Box<dyn Fn() -> f64 + 'a>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(name: &str, work: impl Fn() -> f64 + 'a) -> Run<'a> {
        Run { name: name.to_owned(), setting: String::new(), work: Box::new(work) }
    }

    /// In one of several settings.
    #[allow(dead_code, reason = "some benchmarks have but one")]
    pub(crate) fn at(self, setting: impl ToString) -> Run<'a> {
        Run { setting: setting.to_string(), ..self }
    }
}

/// A run's name with its setting.
fn full_name(name: &str, setting: &str) -> String {
    if setting.is_empty() { name.to_owned() } else { format!("{name}, {setting}") }
}

/// What was measured, by name and round.
pub(crate) struct Measured {
    title: String,
    rounds: Vec<(String, Vec<f64>)>,
}

impl Measured {
    pub(crate) fn interleaved(title: &str, rounds: usize, runs: Vec<Run<'_>>) -> Measured {
        let rounds = interleaved(rounds, runs.len(), |i| (runs[i].work)());
        println!("\n{title:<58} {:>10}", "median, ns");
        let named = |(run, rounds): (&Run<'_>, _)| (full_name(&run.name, &run.setting), rounds);
        let all: Vec<(String, Vec<f64>)> = runs.iter().zip(rounds).map(named).collect();
        for (name, of_round) in &all {
            println!("  {name:<56} {:>10.2}", spread(of_round).median);
        }
        let taken = runs.iter().zip(&all).map(|(run, (_, rounds))| Rounds {
            setting: &run.setting,
            name: &run.name,
            rounds: rounds.clone(),
        });
        record::figures(title, "ns", Better::Less, &taken.collect::<Vec<_>>());
        Measured { title: title.to_owned(), rounds: all }
    }

    /// Prints how `ours` compares with `theirs`, by their names with their settings.
    pub(crate) fn claim(&self, ours: &str, theirs: &str) {
        let claim = format!("{ours} / {theirs}");
        match self.ratios(ours, theirs) {
            Some(ratios) => verdict(&self.title, &claim, &ratios),
            None => println!("  {claim:<56} SKIPPED"),
        }
    }

    /// One over the other, by round; none if one of them is not here.
    pub(crate) fn ratios(&self, ours: &str, theirs: &str) -> Option<Vec<f64>> {
        let of = |name| self.rounds.iter().find(|of| of.0 == name).map(|of| &of.1);
        let (a, b) = of(ours).zip(of(theirs))?;
        Some(a.iter().zip(b).map(|(a, b)| a / b).collect())
    }
}

fn spread(of: &[f64]) -> Spread {
    Spread::quartiles(of.iter().copied()).unwrap_or(Spread { low: 0.0, median: 0.0, high: 0.0 })
}

/// Prints a ratio of what is called `table`, and whether it is what was asked for.
pub(crate) fn verdict(table: &str, claim: &str, ratios: &[f64]) {
    let value = spread(ratios);
    let Spread { low, median, high } = value;
    let verdict = record::claim(table, claim, value).map_or(String::new(), |target| {
        let judged = if target.is_met(median) { "ok" } else { "MISSED" };
        format!("  {target}: {judged}")
    });
    println!("  {claim:<56} {median:>10.3}  [{low:.3}, {high:.3}]{verdict}");
}
