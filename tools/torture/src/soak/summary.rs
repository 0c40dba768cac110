//! What is printed at the end.

use super::element::PIPE;
use super::fakes::LATENCY;
use super::seat::{self, AGES, Seat, Tally};
use super::section::Kind;
use super::world::World;
use super::{evidence, writer};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A sum over all threads, and the handlers on them.
fn sum(of: impl Fn(&Tally) -> &AtomicU64) -> u64 {
    let both =
        |Seat { main, handler, .. }: &Seat| of(main).load(Relaxed) + of(handler).load(Relaxed);
    seat::all().iter().map(both).sum()
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn print(mut table: Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
}

/// Readers by kind, elements by age. Ages that are illegal, and that nobody saw, are left out.
fn histogram() {
    let seen = |kind: Kind, age: usize| sum(|tally| &tally.seen[kind as usize][age]);
    let anybody = |age: usize| Kind::ALL.iter().any(|&kind| seen(kind, age) > 0);
    let ages: Vec<usize> = (0..AGES).filter(|&age| age <= 2 || anybody(age)).collect();
    let mut header = vec!["age at the end of the section".to_owned()];
    header.extend(ages.iter().map(|&age| match age {
        FREED => "freed".to_owned(),
        _ => age.to_string(),
    }));
    let mut table = table(header);
    for kind in Kind::ALL {
        let mut row = vec![kind.name().to_owned()];
        row.extend(ages.iter().map(|&age| HumanCount(seen(kind, age)).to_string()));
        table.add_row(row);
    }
    print(table);
}

/// Where the histogram has what was freed.
const FREED: usize = AGES - 1;

fn spans() {
    let mut header = vec!["grace periods that ended during one section".to_owned()];
    header.extend(["0", "1", "more"].map(str::to_owned));
    let mut table = table(header);
    let mut row = vec!["sections".to_owned()];
    row.extend((0..3).map(|n| HumanCount(sum(|tally| &tally.spans[n])).to_string()));
    table.add_row(row);
    print(table);
}

fn updates() {
    let mut table = table(vec!["update".to_owned(), "times".to_owned()]);
    for (name, done) in writer::done() {
        table.add_row(vec![name.to_owned(), HumanCount(done).to_string()]);
    }
    print(table);
}

/// Prints everything; what was wrong comes last.
pub(crate) fn print_all(world: &World, seed: u64, took: Duration) {
    println!();
    updates();
    histogram();
    spans();
    let latency = LATENCY.lock().unwrap();
    let at = |quantile| Duration::from_nanos(latency.value_at_quantile(quantile));
    let most = Duration::from_nanos(latency.max());
    println!("synchronize took {:?} (median), {:?} (99 %), {most:?} (most)", at(0.5), at(0.99));
    let statistics = world.domain.statistics();
    let facts = [
        ("grace periods", statistics.grace_periods),
        ("broadcasts", statistics.broadcasts),
        ("callbacks", statistics.callbacks),
        ("callbacks at most pending", statistics.high_water.callbacks),
        ("refused by try_retire", writer::REFUSED.load(Relaxed)),
        ("sections", statistics.sections),
        ("counted atomically", statistics.atomic_sections),
        ("aborts met by the cold path", statistics.aborts),
        ("stall reports", statistics.stalls),
    ];
    for (name, number) in facts {
        println!("{name}: {}", HumanCount(number));
    }
    println!("tier {}, seed {seed}, {:.1} s", world.domain.tier(), took.as_secs_f64());
    print_violations();
}

/// Prints what was wrong, or that nothing was.
pub(crate) fn print_violations() {
    if evidence::count() == 0 {
        println!("clean: no violation");
    } else {
        evidence::print();
    }
}

const _: () = assert!(PIPE as usize + 1 == FREED);
