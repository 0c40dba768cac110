//! What is known of every group: what its runs brought, merged, and where and how they were run.

use crate::data::{Cell, Claim, Ratio, Report, Spread, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every group that was measured, by its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book(pub BTreeMap<String, Group>);

/// One benchmark's part of the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Where and how.
    pub conditions: Conditions,
    /// How many times it was run.
    pub runs: usize,
    /// Of how few rounds, for a look only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
    /// What came of it.
    pub report: Report,
}

/// Where and how something was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Processor and number of CPUs.
    pub machine: String,
    /// Its release.
    pub kernel: String,
    /// Compiler, C library, liburcu: by their versions.
    pub versions: String,
    /// The commit that was measured.
    pub commit: String,
    /// The day.
    pub date: String,
    /// What brings the same again.
    pub command: String,
    /// Threads that wanted to run when it began, as the kernel averages them over a minute.
    pub load: String,
}

/// One report of several runs' reports: medians of medians, and how far the runs were apart. None
/// of none.
pub fn merge(runs: &[Report]) -> Option<Report> {
    let first = runs.first()?;
    let mut merged = Report {
        bench: first.bench.clone(),
        tier: first.tier.clone(),
        skipped: first.skipped.clone(),
        ..Report::default()
    };
    for table in group(runs.iter().flat_map(|run| &run.tables), |t| (&t.title, &t.metric)) {
        let cells = group(table.iter().flat_map(|t| &t.cells), |c| (&c.setting, &c.name));
        let cells = cells.iter().filter_map(|of| {
            Some(Cell {
                value: spread(of.iter().map(|cell| cell.value))?,
                ..(*of.first()?).clone()
            })
        });
        let ratios = table.iter().flat_map(|t| &t.ratios);
        let ratios = group(ratios, |r| (&r.setting, &r.ours, &r.theirs));
        let ratios = ratios.iter().filter_map(|of| {
            Some(Ratio { value: spread(of.iter().map(|r| r.value))?, ..(*of.first()?).clone() })
        });
        let of = table[0];
        let (title, metric) = (of.title.clone(), of.metric.clone());
        let (cells, ratios) = (cells.collect(), ratios.collect());
        merged.tables.push(Table { title, metric, better: of.better, cells, ratios });
    }
    let claims = runs.iter().flat_map(|run| &run.claims);
    for claim in group(claims, |claim| (&claim.table, &claim.claim)) {
        if let Some(value) = spread(claim.iter().map(|claim| claim.value)) {
            merged.claims.push(Claim { value, ..claim[0].clone() });
        }
    }
    Some(merged)
}

fn spread(of: impl Iterator<Item = Spread>) -> Option<Spread> {
    Spread::of_runs(&of.collect::<Vec<_>>())
}

/// What has the same key together, in the order in which keys come first. No group is empty.
pub(crate) fn group<'a, T, K: PartialEq>(
    all: impl Iterator<Item = &'a T>,
    key: impl Fn(&'a T) -> K,
) -> Vec<Vec<&'a T>> {
    let mut groups: Vec<(K, Vec<&T>)> = vec![];
    for one in all {
        let its = key(one);
        match groups.iter_mut().find(|(of, _)| *of == its) {
            Some((_, group)) => group.push(one),
            None => groups.push((its, vec![one])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
