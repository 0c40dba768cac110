//! Reads and writes in an order that nobody can guess, decided before the clock runs.

use std::fmt;

/// So many gaps are decided in advance; each thread begins at another of them.
const GAPS: usize = 1 << 12;

/// A share of reads.
pub(crate) struct Mix {
    /// In a thousand.
    reads: u32,
    /// How many reads come before the next write.
    gaps: Vec<u64>,
}

impl Mix {
    pub(crate) fn new(reads: u32) -> Mix {
        let mut random = fastrand::Rng::with_seed(1);
        let share = f64::from(reads) / 1000.0;
        let gap = |random: &mut fastrand::Rng| match reads {
            0 => 0,
            1000.. => u64::MAX,
            // Geometric: as if each operation were chosen by itself.
            _ => ((1.0 - random.f64()).ln() / share.ln()) as u64,
        };
        Mix { reads, gaps: (0..GAPS).map(|_| gap(&mut random)).collect() }
    }

    /// The gaps, without end.
    pub(crate) fn gaps(&self, thread: usize) -> impl Iterator<Item = u64> {
        self.gaps.iter().copied().cycle().skip(thread * 509)
    }

    /// Reads from one sample to the next, and writes.
    pub(crate) fn strides(&self) -> (u64, u64) {
        (16, if self.reads >= 980 { 1 } else { 16 })
    }

    pub(crate) fn has_reads(&self) -> bool {
        self.reads > 0
    }

    pub(crate) fn has_writes(&self) -> bool {
        self.reads < 1000
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.reads) / 10.0)
    }
}
