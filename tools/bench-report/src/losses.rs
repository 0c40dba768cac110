//! The losing cases: what was asked for and is not reached, and every comparison on the wrong side
//! of one.

use crate::book::{Book, group};
use crate::data::{Asked, Better, Ratio, Role, Table};
use crate::page::Prose;
use crate::tables::{markdown, number, range, with_range};
use std::fmt::Write;

/// A comparison that we lose, and by how much.
struct Loss<'a> {
    table: &'a Table,
    ratio: &'a Ratio,
    /// At least one: how many times better they are.
    factor: f64,
}

impl Loss<'_> {
    /// An even match over the runs.
    fn is_even(&self) -> bool {
        let value = self.ratio.value;
        value.low <= 1.0 && value.high >= 1.0
    }

    /// What machines without sequences get.
    fn is_of_lower_tier(&self) -> bool {
        self.ratio.ours.contains(", tier ")
    }
}

/// Against peers only: nobody expects to beat what does nothing.
fn of_table(table: &Table) -> (usize, Vec<Loss<'_>>) {
    let is_peer = |ratio: &&Ratio| {
        let theirs = |cell: &&crate::data::Cell| cell.name == ratio.theirs;
        table.cells.iter().find(theirs).is_some_and(|cell| cell.role == Role::Peer)
    };
    if table.better == Better::Neither {
        return (0, vec![]);
    }
    let all = table.ratios.iter().filter(is_peer);
    let lost = all.clone().filter(|ratio| table.better.is_lost(ratio.value.median));
    let losses = lost.map(|ratio| {
        let median = ratio.value.median;
        let factor = if table.better == Better::More { 1.0 / median } else { median };
        Loss { table, ratio, factor }
    });
    (all.clone().count(), losses.collect())
}

/// The section's tables.
pub(crate) fn section(book: &Book, prose: &Prose, asked: &[Asked]) -> String {
    let mut text = missed(book, asked);
    let header = ["", "comparisons", "lost", "of these even", "on lower tiers", "the worst"];
    let mut summary = vec![header.map(str::to_owned).to_vec()];
    let mut details = String::new();
    for (name, _) in prose.groups() {
        let Some(of) = book.0.get(name) else { continue };
        let (counts, losses): (Vec<_>, Vec<_>) = of.report.tables.iter().map(of_table).unzip();
        let mut losses: Vec<_> = losses.into_iter().flatten().collect();
        // What everybody gets comes first.
        let order = |loss: &Loss<'_>| (loss.is_of_lower_tier(), loss.is_even());
        losses.sort_by(|a, b| order(a).cmp(&order(b)).then(b.factor.total_cmp(&a.factor)));
        let worst = losses.first().map_or(String::new(), |loss| {
            let Ratio { ours, theirs, .. } = loss.ratio;
            let what = [&*loss.table.title, &loss.table.metric, &loss.ratio.setting];
            let what = what.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
            format!("{}: {ours} / {theirs} {}", what.join(", "), number(loss.ratio.value.median))
        });
        let counts: usize = counts.iter().sum();
        let even = losses.iter().filter(|loss| loss.is_even()).count().to_string();
        let lower = losses.iter().filter(|loss| loss.is_of_lower_tier()).count().to_string();
        let lost = losses.len().to_string();
        summary.push(vec![name.to_owned(), counts.to_string(), lost, even, lower, worst]);
        if !losses.is_empty() {
            let _ = write!(details, "\n{}", of_group(name, &losses));
        }
    }
    if summary.len() > 1 {
        let _ = write!(
            text,
            "\nComparisons with peers on the wrong side of one (even, ≈: in some runs on the other; \
             lower tiers: what machines without sequences get):\n\n"
        );
        text += &markdown(&summary);
        text += &details;
    }
    text
}

/// One line for a pair, the settings beside each other; the worst pair first.
fn of_group(name: &str, losses: &[Loss<'_>]) -> String {
    let mut rows = vec![["what", "ours / theirs", "ratio"].map(str::to_owned).to_vec()];
    let key = |loss: &'_ Loss<'_>| {
        let (table, ratio) = (loss.table, loss.ratio);
        [&table.title, &table.metric, &ratio.ours, &ratio.theirs].map(String::clone)
    };
    for pair in group(losses.iter(), key) {
        let (table, first) = (pair[0].table, pair[0].ratio);
        let cases = pair.iter().map(|loss| {
            let number = number(loss.ratio.value.median);
            let cell = format!("{}{number}", if loss.is_even() { "≈ " } else { "" });
            let setting = &loss.ratio.setting;
            if setting.is_empty() { cell } else { format!("{setting}: {cell}") }
        });
        rows.push(vec![
            format!("{}, {}", table.title, table.metric),
            format!("{} / {}", first.ours, first.theirs),
            cases.collect::<Vec<_>>().join("; "),
        ]);
    }
    let table = markdown(&rows);
    format!("<details><summary>{name}: {} lost</summary>\n\n{table}\n</details>\n", losses.len())
}

fn missed(book: &Book, asked: &[Asked]) -> String {
    let claims = || book.0.values().flat_map(|of| of.report.claims.iter().map(move |c| (of, c)));
    let is_measured =
        |asked: &&Asked| claims().any(|(of, c)| asked.is_of(&of.report.bench, &c.table, &c.claim));
    if claims().next().is_none() {
        return String::new();
    }
    let header = ["", "what", "target", "measured", "from, to"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let missed = claims().filter(|(_, claim)| !claim.target.is_met(claim.value.median));
    for (of, claim) in missed {
        rows.push(vec![
            of.report.bench.clone(),
            format!("{}: {}", claim.table, claim.claim),
            claim.target.to_string(),
            number(claim.value.median),
            range(claim.value),
        ]);
    }
    let (all, lost) = (claims().count(), rows.len() - 1);
    let mut text = format!("{lost} of {all} targets are missed.\n\n");
    if lost > 0 {
        text += &markdown(&rows);
    }
    let of_measured = |asked: &&Asked| book.0.contains_key(&asked.bench);
    let open = asked.iter().filter(of_measured).filter(|asked| !is_measured(asked));
    let open: Vec<_> = open.map(|of| format!("{}: {}, {}", of.bench, of.table, of.claim)).collect();
    if !open.is_empty() {
        let _ = write!(text, "\nNot measured: {}.\n", open.join("; "));
    }
    text
}

/// The targets of a group, with what became of them.
pub(crate) fn targets(claims: &[crate::data::Claim]) -> String {
    let header = ["what was asked for", "target", "measured", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for claim in claims {
        let met = claim.target.is_met(claim.value.median);
        rows.push(vec![
            format!("{}: {}", claim.table, claim.claim),
            claim.target.to_string(),
            with_range(claim.value),
            if met { "met" } else { "**missed**" }.to_owned(),
        ]);
    }
    format!("\n{}\n", markdown(&rows))
}
