//! The tables that the demonstration prints.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;

use crate::drive::Outcome;
use crate::guard::Lock;

pub(crate) fn table(unit: &str, results: &[(Lock, Outcome)]) -> Table {
    let base = results.iter().find(|(lock, _)| *lock == Lock::Std).map(|(_, o)| o.per_second());
    let ratio = |outcome: &Outcome| match base {
        Some(base) if base > 0.0 => format!("{:.2}x", outcome.per_second() / base),
        _ => "-".into(),
    };
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "lock",
        unit,
        "vs rwlock",
        "p50",
        "p99",
        "p99.9",
        "slowest update",
        "updates",
        "wrong",
    ]);
    for (lock, outcome) in results {
        let at = |quantile| time(value_at(&outcome.tally.latency, quantile));
        table.add_row([
            lock.name().to_owned(),
            grouped(outcome.per_second()),
            ratio(outcome),
            at(0.5),
            at(0.99),
            at(0.999),
            slowest_update(outcome),
            outcome.updates.to_string(),
            outcome.tally.wrong.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn slowest_update(outcome: &Outcome) -> String {
    // A table so large that building it took all the time there was.
    if outcome.updates == 0 { "-".into() } else { time(outcome.slowest_update) }
}

pub(crate) fn value_at(latency: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_nanos(latency.value_at_quantile(quantile))
}

/// To three digits, in the unit that suits.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => return format!("{n} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// `1234567.8` as `1,234,568`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(7.4), "7");
        assert_eq!(grouped(123_456.0), "123,456");
        assert_eq!(grouped(1_234_567.8), "1,234,568");
        for (nanos, text) in [
            (0, "0 ns"),
            (950, "950 ns"),
            (1_234, "1.23 µs"),
            (56_780_000, "56.8 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
    }
}
