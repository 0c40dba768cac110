//! What the summaries measure, for programs to read: all that they print goes through here, and to
//! a file at the end if one was asked for.

use bench_data::{Asked, Better, Cell, Claim, Ratio, Report, Role, Spread, Table, Target};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// A benchmark, and who is who in it.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    /// Whether that is one of ours.
    pub(crate) is_ours: fn(&str) -> bool,
    /// Those that do nothing of what is measured.
    pub(crate) floors: &'static [&'static str],
}

struct State {
    report: Report,
    bench: &'static Bench,
    #[allow(dead_code, reason = "some benchmarks claim nothing")]
    asked: Vec<Asked>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// To be called first.
pub(crate) fn begin(bench: &'static Bench) {
    let report = Report {
        bench: bench.name.to_owned(),
        tier: stillpoint::machine().tier().to_string(),
        ..Report::default()
    };
    let asked = bench_data::targets();
    *STATE.lock().expect("nobody panics") = Some(State { report, bench, asked });
}

fn with<R>(work: impl FnOnce(&mut State) -> R) -> R {
    work(STATE.lock().expect("nobody panics").as_mut().expect("`begin` comes first"))
}

/// What one contestant brought in one setting, by round.
pub(crate) struct Rounds<'a> {
    pub(crate) setting: &'a str,
    pub(crate) name: &'a str,
    pub(crate) rounds: Vec<f64>,
}

/// Takes down a quantity. More cells of a table that is there join it.
pub(crate) fn figures(title: &str, metric: &str, better: Better, all: &[Rounds<'_>]) {
    with(|state| {
        let role = |name: &str| match () {
            () if (state.bench.is_ours)(name) => Role::Ours,
            () if state.bench.floors.contains(&name) => Role::Floor,
            () => Role::Peer,
        };
        let tables = &mut state.report.tables;
        let same = |table: &Table| table.title == title && table.metric == metric;
        let at = tables.iter().position(same).unwrap_or_else(|| {
            let (title, metric) = (title.to_owned(), metric.to_owned());
            tables.push(Table { title, metric, better, cells: vec![], ratios: vec![] });
            tables.len() - 1
        });
        for of in all {
            let Some(value) = Spread::quartiles(of.rounds.iter().copied()) else { continue };
            let (setting, name) = (of.setting.to_owned(), of.name.to_owned());
            tables[at].cells.push(Cell { setting, role: role(of.name), name, value });
            if role(of.name) == Role::Ours {
                continue;
            }
            for ours in all.iter().filter(|o| o.setting == of.setting) {
                let ratios = ours.rounds.iter().zip(&of.rounds).map(|(a, b)| a / b);
                let Some(value) = Spread::quartiles(ratios) else { continue };
                if role(ours.name) == Role::Ours {
                    let (ours, theirs) = (ours.name.to_owned(), of.name.to_owned());
                    let setting = of.setting.to_owned();
                    tables[at].ratios.push(Ratio { setting, ours, theirs, value });
                }
            }
        }
    });
}

#[allow(dead_code, reason = "some benchmarks claim nothing")]
/// What is asked of that, if anything is; it is taken down then.
pub(crate) fn claim(table: &str, claim: &str, value: Spread) -> Option<Target> {
    with(|state| {
        let asked = state.asked.iter().find(|of| of.is_of(state.bench.name, table, claim))?;
        let (table, claim, target) = (table.to_owned(), claim.to_owned(), asked.target.clone());
        state.report.claims.push(Claim { table, claim, value, target: target.clone() });
        Some(target)
    })
}

/// Says what cannot be measured, and takes it down.
#[allow(dead_code, reason = "some benchmarks run everywhere")]
pub(crate) fn skip(what: &str) {
    println!("SKIPPED {what}");
    with(|state| state.report.skipped.push(what.to_owned()));
}

/// All that was taken down, to a file.
pub(crate) fn write(file: &Path) -> std::io::Result<()> {
    with(|state| {
        let text = serde_json::to_string_pretty(&state.report).expect("numbers and names");
        fs::write(file, text + "\n")
    })
}
