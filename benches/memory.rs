//! What a domain, a cell, a lock, a counter, a pool and a thread take of memory, beside others'.
//!
//! ```text
//! cargo bench --bench memory               the summary, half a minute
//! cargo bench --bench memory -- summary    the same
//! ```
//!
//! Each gets a process of its own, this program once more, which makes many of them, uses every
//! one once from every CPU, and looks how much its resident memory grew: with the heap, with what
//! is mapped, with what the allocator loses. Counted is the growth for each. What all of them
//! share, as the lines of the global domain, is there before.

#[path = "common/clock.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/record.rs"]
mod record;
#[path = "memory/things.rs"]
mod things;

use bench_data::Better;
use record::Rounds;
use std::process::{Command, ExitCode};
use things::Thing;

static BENCH: record::Bench = record::Bench {
    name: "memory",
    is_ours: |name| name.starts_with("stillpoint"),
    floors: &[things::IDLE],
};

fn main() -> ExitCode {
    let asked: Vec<_> = std::env::args().filter(|arg| arg != "--bench").collect();
    let asked: Vec<_> = asked.iter().map(String::as_str).collect();
    if let [_, "memory-of", title, name] = asked[..] {
        let all = things::all();
        let is_it = |thing: &&Thing| thing.title == title && thing.name == name;
        let Some(thing) = all.iter().find(is_it) else { return ExitCode::FAILURE };
        println!("{}", (thing.bytes_each)(&clock::allowed_cpus()));
        return ExitCode::SUCCESS;
    }
    harness::main(&BENCH, |_| (), summary)
}

/// Processes for each of them.
const ROUNDS: usize = 5;

fn summary(options: &harness::Quick) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} processes, bytes for each; and the part that `size_of` knows.");
    let all = things::all();
    let mut title = "";
    for thing in &all {
        if thing.title != title {
            title = thing.title;
            println!("\nMemory of {title}");
            let of_title = || all.iter().filter(|thing| thing.title == title);
            let grown: Vec<_> = of_title().map(|thing| (thing, grown(thing, rounds))).collect();
            for (thing, rounds) in &grown {
                println!("  {:<40} {:>10.0} {:>8}", thing.name, median(rounds), thing.size);
            }
            let title = format!("Memory of {title}");
            let all = grown.iter().map(|(thing, rounds)| Rounds {
                setting: "",
                name: thing.name,
                rounds: rounds.clone(),
            });
            record::figures(&title, "bytes", Better::Less, &all.collect::<Vec<_>>());
        }
    }
}

fn median(of: &[f64]) -> f64 {
    bench_data::Spread::quartiles(of.iter().copied()).map_or(f64::NAN, |spread| spread.median)
}

/// By each of so many children.
fn grown(thing: &Thing, rounds: usize) -> Vec<f64> {
    let child = || {
        let this = std::env::current_exe().ok()?;
        let output =
            Command::new(this).args(["memory-of", thing.title, thing.name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<f64>().ok()
    };
    let grown: Vec<f64> = (0..rounds).filter_map(|_| child()).collect();
    if grown.is_empty() {
        record::skip(&format!("memory of {}, {}", thing.title, thing.name));
    }
    grown
}
