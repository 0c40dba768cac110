//! What a benchmark measured, as it is written to files: by one run of it, and merged over runs.

use serde::{Deserialize, Serialize};

/// What one benchmark brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The benchmark's name, as cargo has it.
    pub bench: String,
    /// On what tier of the library.
    pub tier: String,
    /// Everything that was compared.
    pub tables: Vec<Table>,
    /// Every target that was looked at.
    pub claims: Vec<Claim>,
    /// What could not be measured here, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// One quantity, of several contestants, in one or more settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What was done.
    pub title: String,
    /// What was measured of it, with its unit.
    pub metric: String,
    /// Which way is better.
    pub better: Better,
    /// In the order in which they were measured.
    pub cells: Vec<Cell>,
    /// Each of ours over each that is not.
    pub ratios: Vec<Ratio>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, bytes.
    Less,
    /// Rates.
    More,
    /// It says what happened, and is no merit.
    Neither,
}

impl Better {
    /// A ratio, ours over theirs, that says that we lose.
    pub fn is_lost(self, ratio: f64) -> bool {
        match self {
            Better::Less => ratio > 1.0,
            Better::More => ratio < 1.0,
            Better::Neither => false,
        }
    }
}

/// Who a contestant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A part of the library.
    Ours,
    /// What people use today.
    Peer,
    /// Does nothing of what is measured: the least that can be.
    Floor,
}

/// What one contestant brought in one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Of the table's settings; empty where there is but one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setting: String,
    /// Whose it is.
    pub name: String,
    /// Who that is.
    pub role: Role,
    /// How much.
    pub value: Spread,
}

/// One of ours over another in the same setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the table's settings; empty where there is but one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setting: String,
    /// The one above the line.
    pub ours: String,
    /// The one below.
    pub theirs: String,
    /// Of rounds in which both had their turn.
    pub value: Spread,
}

/// A ratio, or a count, of which something was expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The title of what was measured.
    pub table: String,
    /// What is over what.
    pub claim: String,
    /// How much it was.
    pub value: Spread,
    /// How much it was to be.
    pub target: Target,
}

/// A middle value, and how far others were from it: quartiles of the rounds of one run; the least
/// and the most over several runs. In files it is these three numbers, since there are thousands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 3]", into = "[f64; 3]")]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl From<[f64; 3]> for Spread {
    fn from([median, low, high]: [f64; 3]) -> Spread {
        Spread { median, low, high }
    }
}

impl From<Spread> for [f64; 3] {
    fn from(of: Spread) -> [f64; 3] {
        [of.median, of.low, of.high]
    }
}

impl Spread {
    /// The quartiles of what several rounds brought. None of nothing.
    pub fn quartiles(of: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let of = sorted(of);
        let at = |quarter: usize| Some(rounded(*of.get(of.len().checked_sub(1)? * quarter / 4)?));
        Some(Spread { low: at(1)?, median: at(2)?, high: at(3)? })
    }

    /// The median of runs' medians, the least and the most of them. Of a single run, its own.
    pub fn of_runs(of: &[Spread]) -> Option<Spread> {
        if let [only] = of {
            return Some(*only);
        }
        let medians = sorted(of.iter().map(|run| run.median));
        let median = *medians.get(medians.len().checked_sub(1)? / 2)?;
        Some(Spread { median, low: *medians.first()?, high: *medians.last()? })
    }
}

fn sorted(of: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut of: Vec<f64> = of.into_iter().filter(|value| value.is_finite()).collect();
    of.sort_by(f64::total_cmp);
    of
}

/// To four digits, which is more than anybody can measure.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The most that a ratio may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The least that it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl Target {
    /// Whether so much is what was asked for.
    pub fn is_met(&self, value: f64) -> bool {
        self.at_most.is_none_or(|most| value <= most)
            && self.at_least.is_none_or(|least| value >= least)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.at_most, self.at_least) {
            (Some(most), _) => write!(f, "at most {most}"),
            (_, Some(least)) => write!(f, "at least {least}"),
            _ => Ok(()),
        }
    }
}

/// One line of the file of targets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Asked {
    /// The benchmark.
    pub bench: String,
    /// The title of what is measured; one that ends in `*` stands for all that begin like it.
    pub table: String,
    /// What is over what; the same.
    pub claim: String,
    /// How much it is to be.
    #[serde(flatten)]
    pub target: Target,
}

impl Asked {
    /// Whether this is the line for it.
    pub fn is_of(&self, bench: &str, table: &str, claim: &str) -> bool {
        let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
            Some(start) => text.starts_with(start),
            None => text == pattern,
        };
        self.bench == bench && fits(&self.table, table) && fits(&self.claim, claim)
    }
}

/// Everything that is asked for: `targets.json` of this package.
///
/// # Panics
///
/// If the file is not what it should be.
pub fn targets() -> Vec<Asked> {
    serde_json::from_str(include_str!("../targets.json")).expect("targets.json reads back")
}
