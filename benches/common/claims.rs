//! What is claimed about pairs, and whether it holds.

use crate::rounds::{interleaved, quartiles};

/// An implementation's name, and a way to measure once what an operation takes, in nanoseconds.
pub(crate) type Run<'a> = (String, Box<dyn Fn() -> f64 + 'a>);

/// What was measured, by name and round.
pub(crate) struct Measured(Vec<(String, Vec<f64>)>);

pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// None: what the peers reach, to judge the others by.
    Context,
}
pub(crate) use Target::{AtLeast, AtMost, Context};

impl Measured {
    pub(crate) fn interleaved(title: &str, rounds: usize, runs: Vec<Run<'_>>) -> Measured {
        let rounds = interleaved(rounds, runs.len(), |i| (runs[i].1)());
        println!("\n{title:<58} {:>10}", "median, ns");
        for ((name, _), of_round) in runs.iter().zip(&rounds) {
            println!("  {name:<56} {:>10.2}", quartiles(of_round.clone())[1]);
        }
        Measured(runs.into_iter().map(|run| run.0).zip(rounds).collect())
    }

    /// Prints how `ours` compares with `theirs`.
    pub(crate) fn claim(&self, ours: &str, theirs: &str, target: Target) {
        let of = |name| self.0.iter().find(|of| of.0 == name).map(|of| &of.1);
        let claim = format!("{ours} / {theirs}");
        match of(ours).zip(of(theirs)) {
            Some((a, b)) => verdict(&claim, a.iter().zip(b).map(|(a, b)| a / b).collect(), target),
            None => println!("  {claim:<56} SKIPPED"),
        }
    }
}

pub(crate) fn verdict(claim: &str, ratios: Vec<f64>, target: Target) {
    let [low, median, high] = quartiles(ratios);
    let judged = |met| if met { "ok" } else { "MISSED" };
    let verdict = match target {
        AtMost(bound) => format!("  at most {bound:.2}: {}", judged(median <= bound)),
        AtLeast(bound) => format!("  at least {bound:.2}: {}", judged(median >= bound)),
        Context => String::new(),
    };
    println!("  {claim:<56} {median:>10.3}  [{low:.3}, {high:.3}]{verdict}");
}
