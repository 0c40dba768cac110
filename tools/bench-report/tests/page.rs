//! The page that comes of data and prose: of a small sample, and of what is in `docs/`.
//!
//! `UPDATE_PAGES=1 cargo test -p bench-report` writes what is expected of the sample again.

use bench_report::book::{Book, Conditions, Group, merge};
use bench_report::data::{
    Better, Cell, Claim, Ratio, Report, Role, Spread, Table, Target, targets,
};
use bench_report::page::{Prose, render};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn around(median: f64) -> Spread {
    Spread { low: median * 0.9, median, high: median * 1.1 }
}

/// One run in which everything takes so many times as long.
fn run(slower: f64) -> Report {
    let cell = |setting: &str, name: &str, role, value| {
        let (setting, name) = (setting.to_owned(), name.to_owned());
        Cell { setting, name, role, value: around(value) }
    };
    let ratio = |setting: &str, theirs: &str, value| {
        let (setting, ours, theirs) = (setting.to_owned(), "Counter".to_owned(), theirs.to_owned());
        Ratio { setting, ours, theirs, value: around(value) }
    };
    let alone = Table {
        title: "Adding 1, one thread".to_owned(),
        metric: "ns".to_owned(),
        better: Better::Less,
        cells: vec![
            cell("", "Counter", Role::Ours, 2.5 * slower),
            cell("", "AtomicU64", Role::Peer, 10.0 * slower),
            cell("", "thread_local Cell", Role::Peer, 0.67 * slower),
            cell("", "the loop alone", Role::Floor, 0.25 * slower),
        ],
        ratios: vec![
            ratio("", "AtomicU64", 0.25),
            ratio("", "thread_local Cell", 3.73 * slower),
            ratio("", "the loop alone", 10.0),
        ],
    };
    let several = Table {
        title: "Adding 1, by threads".to_owned(),
        metric: "M/s".to_owned(),
        better: Better::More,
        cells: vec![
            cell("1 thread", "Counter", Role::Ours, 400.0 / slower),
            cell("1 thread", "AtomicU64", Role::Peer, 100.0 / slower),
            cell("2 threads", "Counter", Role::Ours, 790.0 / slower),
            cell("2 threads", "AtomicU64", Role::Peer, 28.0 / slower),
            cell("8 threads", "Counter", Role::Ours, 12_345.0 / slower),
            cell("8 threads", "AtomicU64", Role::Peer, 12_900.0 / slower),
        ],
        ratios: vec![
            ratio("1 thread", "AtomicU64", 4.0),
            ratio("2 threads", "AtomicU64", 28.2),
            ratio("8 threads", "AtomicU64", 0.957 * slower),
        ],
    };
    let claim = |theirs: &str, value, at_most| Claim {
        table: "Adding 1, one thread".to_owned(),
        claim: format!("Counter / {theirs}"),
        value: around(value),
        target: Target { at_most: Some(at_most), at_least: None },
    };
    Report {
        bench: "counts".to_owned(),
        tier: "rseq".to_owned(),
        tables: vec![alone, several],
        claims: vec![claim("AtomicU64", 0.25, 0.35), claim("thread_local Cell", 3.73, 1.5)],
        skipped: vec!["a peer that is not here".to_owned()],
    }
}

fn sample() -> Book {
    let conditions = Conditions {
        machine: "2 CPUs of a sample".to_owned(),
        kernel: "6.18".to_owned(),
        versions: "rustc 1.95".to_owned(),
        commit: "0123abc".to_owned(),
        date: "2026-11-22".to_owned(),
        command: "cargo run --release -p bench-report".to_owned(),
        load: "0.10".to_owned(),
    };
    let report = merge(&[run(1.0), run(1.1), run(1.3)]).expect("three runs");
    let group = Group { conditions, runs: 3, quick: false, report };
    Book(BTreeMap::from([("counts".to_owned(), group)]))
}

/// Compares with a file, or writes it.
fn expect(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(file, text).expect("the file can be written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(expected == text, "{} is not what the data gives:\n{text}", file.display());
}

#[test]
fn a_sample_gives_the_page_that_is_expected() {
    let directory = here().join("tests/sample");
    let page = render(&sample(), &Prose::read(&directory).expect("the prose")).expect("a page");
    expect(&directory.join("expected.md"), &page.text);
    assert_eq!(page.plots.len(), 2);
    for (name, svg) in &page.plots {
        expect(&directory.join(name), svg);
    }
}

#[test]
fn what_is_saved_reads_back() {
    let text = serde_json::to_string(&sample()).expect("numbers and names");
    assert_eq!(serde_json::from_str::<Book>(&text).expect("the same"), sample());
}

#[test]
fn prose_must_name_what_there_is() {
    let directory = std::env::temp_dir().join(format!("bench-report-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    for (prose, says) in [
        ("{{table No such table}}", "no such table"),
        ("{{plot Adding 1, one thread | years}}", "no such table"),
        ("{{tabel Adding 1, one thread}}", "what is"),
    ] {
        fs::write(directory.join("page.md"), "{{group counts}}\n").expect("a file");
        fs::write(directory.join("counts.md"), prose).expect("a file");
        let mut book = sample();
        book.0.get_mut("counts").expect("there").report.skipped.clear();
        let why = render(&book, &Prose::read(&directory).expect("prose")).expect_err(prose);
        assert!(format!("{why:#}").contains(says), "{why:#}");
    }
    fs::remove_dir_all(directory).expect("ours");
}

/// Page, data and pictures of the repository.
#[test]
fn the_docs_are_what_the_data_gives() {
    let docs = here().join("../../docs");
    let text = fs::read_to_string(docs.join("performance.json")).expect("the data");
    let book: Book = serde_json::from_str(&text).expect("a book");
    let page = render(&book, &Prose::read(&here().join("text")).expect("prose")).expect("a page");
    let again = "cargo run --release -p bench-report -- --from docs";
    let there = fs::read_to_string(docs.join("performance.md")).expect("the page");
    assert!(there == page.text, "docs/performance.md is not what its data gives: {again}");
    for (name, svg) in &page.plots {
        let there = fs::read_to_string(docs.join("plots").join(name)).unwrap_or_default();
        assert!(there == *svg, "docs/plots/{name} is not what its data gives: {again}");
    }
    for (name, group) in &book.0 {
        assert!(!group.quick, "{name} was measured for a look only");
    }
    for file in fs::read_dir(docs.join("plots")).expect("plots") {
        let name = file.expect("a file").file_name().into_string().expect("text");
        let known = page.plots.contains_key(&name) || page.text.contains(&format!("plots/{name}"));
        assert!(known, "nobody shows docs/plots/{name}");
    }
}

/// A target that no measured benchmark looked at has a name that drifted away.
#[test]
fn every_target_of_a_measured_group_was_looked_at() {
    let text = fs::read_to_string(here().join("../../docs/performance.json")).expect("the data");
    let book: Book = serde_json::from_str(&text).expect("a book");
    for asked in targets() {
        let exactly_one = asked.target.at_most.is_some() ^ asked.target.at_least.is_some();
        assert!(exactly_one, "{asked:?}");
        let Some(of) = book.0.get(&asked.bench).filter(|of| of.report.skipped.is_empty()) else {
            continue;
        };
        let mut claims = of.report.claims.iter();
        let found = claims.any(|c| asked.is_of(&asked.bench, &c.table, &c.claim));
        assert!(found, "nobody measured {asked:?}");
    }
}
