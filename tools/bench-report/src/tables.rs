//! Tables of the page, in Markdown.

use crate::book::group;
use crate::data::{Cell, Ratio, Role, Spread, Table};
use std::fmt::Write;

/// To three digits.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 4.0) as usize;
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    if whole.len() <= 4 {
        return text;
    }
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// From where to where; nothing where that is one number.
pub(crate) fn range(value: Spread) -> String {
    let [low, high] = [value.low, value.high].map(number);
    if low == high { String::new() } else { format!("{low} to {high}") }
}

pub(crate) fn with_range(value: Spread) -> String {
    match range(value).as_str() {
        "" => number(value.median),
        range => format!("{} ({range})", number(value.median)),
    }
}

/// Rows of equal length, the first of which is the header.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text.push('|');
        for cell in row {
            let space = if cell.is_empty() { "" } else { " " };
            // Not HTML: names are of types.
            let _ = write!(text, "{space}{} |", cell.replace('<', "&lt;"));
        }
        text.push('\n');
        if at == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

/// One quantity: what each brought, and each of ours over each that is not.
pub(crate) fn figures(table: &Table) -> String {
    let settings = group(table.cells.iter(), |cell| &cell.setting);
    match settings.len() {
        1 => in_one_setting(table),
        _ => in_settings(table, &settings.iter().map(|of| &*of[0].setting).collect::<Vec<_>>()),
    }
}

fn ours(table: &Table) -> Vec<&str> {
    let ours = table.cells.iter().filter(|cell| cell.role == Role::Ours);
    group(ours, |cell| &cell.name).iter().map(|of| &*of[0].name).collect()
}

fn named(cell: &Cell) -> String {
    if cell.role == Role::Ours { format!("**{}**", cell.name) } else { cell.name.clone() }
}

fn judged(table: &Table, ratio: &Ratio, text: String) -> String {
    let against = |cell: &Cell| cell.name == ratio.theirs && cell.role == Role::Peer;
    if table.better.is_lost(ratio.value.median) && table.cells.iter().any(against) {
        format!("*{text}*")
    } else {
        text
    }
}

fn in_one_setting(table: &Table) -> String {
    let ours = ours(table);
    let mut header = vec![table.title.clone(), table.metric.clone(), "from, to".to_owned()];
    header.extend(ours.iter().map(|name| format!("{name} / it")));
    let mut rows = vec![header];
    for cell in &table.cells {
        let mut row = vec![named(cell), number(cell.value.median), range(cell.value)];
        for name in &ours {
            let ratio = table.ratios.iter().find(|r| r.ours == *name && r.theirs == cell.name);
            let text = |ratio: &Ratio| judged(table, ratio, with_range(ratio.value));
            row.push(ratio.map_or(String::new(), text));
        }
        rows.push(row);
    }
    markdown(&rows)
}

fn in_settings(table: &Table, settings: &[&str]) -> String {
    let header = |first: &str| -> Vec<String> {
        let settings = settings.iter().map(|setting| (*setting).to_owned());
        [first.to_owned()].into_iter().chain(settings).collect()
    };
    let mut rows = vec![header(&format!("{}, {}", table.title, table.metric))];
    for of in group(table.cells.iter(), |cell| &cell.name) {
        let at = |setting: &&str| {
            let cell = of.iter().find(|cell| cell.setting == *setting);
            cell.map_or(String::new(), |cell| with_range(cell.value))
        };
        let cells = settings.iter().map(at);
        rows.push([named(of[0])].into_iter().chain(cells).collect());
    }
    let mut text = markdown(&rows);
    let mut rows = vec![header("ours / theirs")];
    for of in group(table.ratios.iter(), |ratio| (&ratio.ours, &ratio.theirs)) {
        let at = |setting: &&str| {
            let ratio = of.iter().find(|ratio| ratio.setting == *setting);
            ratio.map_or(String::new(), |r| judged(table, r, with_range(r.value)))
        };
        let cells = settings.iter().map(at);
        let what = format!("{} / {}", of[0].ours, of[0].theirs);
        rows.push([what].into_iter().chain(cells).collect());
    }
    if rows.len() > 1 {
        let _ = write!(text, "\n{}", markdown(&rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits() {
        let all = [0.0, 0.000_12, 0.0249, 0.245, 1.0, 9.876, 74.6, 980.4, 197_000.0, 1234.4];
        let texts =
            ["0", "0.0001", "0.0249", "0.245", "1.00", "9.88", "74.6", "980", "197,000", "1234"];
        assert_eq!(all.map(number), texts.map(str::to_owned));
    }
}
