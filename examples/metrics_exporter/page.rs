//! The text format, version 0.0.4.

use std::fmt::{Display, Write};
use stillpoint::percpu::Distribution;

/// What an answer in this format says it is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label's name and its value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// A page under construction: families of samples, each behind its head.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a family.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let pair = |(name, value): &Label<'_>| format!("{name}=\"{}\"", escaped(value));
        let labels = labels.iter().map(pair).collect::<Vec<_>>().join(",");
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    /// The samples of a histogram of nanoseconds, in seconds. All from one snapshot, so they agree.
    pub(crate) fn seconds(&mut self, name: &str, labels: &[Label<'_>], seen: &Distribution) {
        let bucket = format!("{name}_bucket");
        for limit in LIMITS {
            let (count, unsure) = seen.count_up_to(limit);
            debug_assert_eq!(unsure, 0, "a limit is the edge of a bucket");
            let le = seconds(limit);
            self.sample(&bucket, &[labels, &[("le", le.as_str())]].concat(), count);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), seen.count());
        self.sample(&format!("{name}_sum"), labels, seconds(seen.sum()));
        self.sample(&format!("{name}_count"), labels, seen.count());
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes everything");
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// In nanoseconds, from a microsecond to a second. One less than powers of two: the highest values
/// of buckets, so that what is counted up to them is exact.
const LIMITS: [u64; 11] = {
    let mut limits = [0; 11];
    let mut n = 0;
    while n < limits.len() {
        limits[n] = (1 << (10 + 2 * n)) - 1;
        n += 1;
    }
    limits
};

/// Exactly.
fn seconds(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    format!("{}.{:09}", nanos / SECOND, nanos % SECOND)
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}
