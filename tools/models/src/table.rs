//! The configurations: what is built, what is asked, what must come out.

use std::fmt;

/// What a search is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Do the assertions hold in every state?
    Safety,
    /// Does every grace period end, if each process that can go on does?
    Progress,
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Asks::Safety => "safety",
            Asks::Progress => "progress",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every state was visited.
    Holds,
    /// A reader found memory freed.
    Freed,
    /// Two sections of a CPU came to the old phase after the flip.
    Late,
    /// A grace period never ends.
    Hangs,
    /// The search ended before it was complete.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Holds => "holds",
            Verdict::Freed => "freed under a reader",
            Verdict::Late => "two late entries",
            Verdict::Hangs => "never ends",
            Verdict::Unknown => "unknown",
        })
    }
}

/// One configuration.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Macros of the model, and their values.
    pub(crate) macros: &'static str,
    pub(crate) asks: Asks,
    pub(crate) expects: Verdict,
    /// CI has time for it.
    pub(crate) short: bool,
    /// How deep the search may go.
    pub(crate) depth: u32,
}

impl Row {
    pub(crate) fn defines(&self) -> impl Iterator<Item = String> {
        self.macros.split_whitespace().map(|name| format!("-D{name}"))
    }

    const fn long(mut self) -> Row {
        self.short = false;
        self
    }

    /// What is broken may have no end of states: the search must turn back at some depth.
    const fn shallow(mut self) -> Row {
        self.depth = 20_000;
        self
    }
}

const fn row(name: &'static str, macros: &'static str, asks: Asks, expects: Verdict) -> Row {
    Row { name, macros, asks, expects, short: true, depth: 4_000_000 }
}

const fn safe(name: &'static str, macros: &'static str) -> Row {
    row(name, macros, Asks::Safety, Verdict::Holds)
}

const fn ends(name: &'static str, macros: &'static str) -> Row {
    row(name, macros, Asks::Progress, Verdict::Holds)
}

const fn freed(name: &'static str, macros: &'static str) -> Row {
    row(name, macros, Asks::Safety, Verdict::Freed)
}

const fn hangs(name: &'static str, macros: &'static str) -> Row {
    row(name, macros, Asks::Progress, Verdict::Hangs)
}

pub(crate) const ROWS: &[Row] = &[
    // The domain as it is, on x86-64.
    safe("two CPUs", "READERS=2"),
    safe("one CPU, preemption", "READERS=2 CPUS=1"),
    safe("aborts lost", "READERS=2 LOSES_ABORTS=1"),
    safe("one moves", "READERS=1 MOVES=1 SIGNALS=1 LOSES_ABORTS=1"),
    safe("one unregistered", "READERS=2 UNREGISTERED=1"),
    safe("two callers", "READERS=1 CPUS=1 CALLERS=2"),
    ends("one moves, progress", "READERS=1 MOVES=1"),
    ends("one CPU, progress", "READERS=2 CPUS=1").long(),
    ends("two callers, progress", "READERS=1 CPUS=1 CALLERS=2").long(),
    // Weak memory.
    safe("weak, one moves", "WEAK=1 READERS=1 MOVES=1 SIGNALS=1"),
    safe("weak, aborts lost", "WEAK=1 READERS=1 MOVES=1 LOSES_ABORTS=1"),
    safe("weak, one CPU", "WEAK=1 READERS=2 CPUS=1").long(),
    ends("weak, progress", "WEAK=1 READERS=1 CPUS=1 SIGNALS=1"),
    // The lower tiers.
    safe("membarrier, weak", "TIER=MEMBARRIER WEAK=1 READERS=1 MOVES=1"),
    safe("membarrier, weak, two", "TIER=MEMBARRIER WEAK=1 READERS=2").long(),
    safe("fence", "TIER=FENCE READERS=2"),
    safe("fence, weak", "TIER=FENCE WEAK=1 READERS=1 MOVES=1"),
    safe("fence, weak, two", "TIER=FENCE WEAK=1 READERS=2").long(),
    ends("fence, weak, progress", "TIER=FENCE WEAK=1 READERS=1 CPUS=1"),
    // Broken.
    freed("no broadcast", "READERS=2 NO_BROADCAST"),
    freed("no broadcast, membarrier", "TIER=MEMBARRIER WEAK=1 READERS=1 CPUS=1 NO_BROADCAST"),
    freed("enters before leaves", "READERS=2 ENTERS_BEFORE_LEAVES"),
    freed("enters before broadcast", "READERS=2 ENTERS_BEFORE_BROADCAST"),
    freed("other phase skipped", "READERS=2 SKIP_OTHER_PHASE"),
    row(
        "phase outside section",
        "READERS=2 CPUS=1 PHASE_OUTSIDE_SECTION",
        Asks::Safety,
        Verdict::Late,
    ),
    freed("plain leave, weak", "WEAK=1 READERS=2 PLAIN_LEAVE"),
    freed("no light fence, weak", "TIER=FENCE WEAK=1 READERS=1 CPUS=1 NO_LIGHT_FENCE"),
    safe("no light fence, x86-64", "TIER=FENCE READERS=2 NO_LIGHT_FENCE"),
    freed("no round up", "READERS=1 CPUS=1 CALLERS=2 NO_ROUND_UP"),
    freed("kernel aborts nothing", "READERS=2 CPUS=1 NO_ABORT").shallow(),
    hangs("no flip", "READERS=2 CPUS=1 NO_FLIP"),
    hangs("no fallback", "READERS=2 CPUS=1 NO_FALLBACK"),
    // The algorithm we started from: right, but it leans on more.
    safe("flip first", "READERS=2 FLIP_FIRST"),
    safe("flip first, one CPU", "READERS=2 CPUS=1 FLIP_FIRST"),
    safe("flip first, one unregistered", "READERS=2 UNREGISTERED=1 FLIP_FIRST"),
    freed("flip first, aborts lost", "READERS=2 LOSES_ABORTS=1 FLIP_FIRST"),
    freed("flip first, no second look", "READERS=1 UNREGISTERED=1 FLIP_FIRST NO_SECOND_LOOK"),
    freed("flip first, phase outside section", "READERS=1 CPUS=1 FLIP_FIRST PHASE_OUTSIDE_SECTION"),
    freed("flip first, no broadcast", "READERS=2 FLIP_FIRST NO_BROADCAST"),
];

#[cfg(test)]
mod tests {
    use super::ROWS;
    use std::collections::BTreeSet;

    #[test]
    fn each_has_a_name_of_its_own() {
        assert_eq!(ROWS.iter().map(|row| row.name).collect::<BTreeSet<_>>().len(), ROWS.len());
    }
}
