//! What can be counted.

use std::fmt;

const HARDWARE: u32 = 0;
const SOFTWARE: u32 = 1;
/// Numbers of the processor's own, of the only kind of processor there is.
const RAW: u32 = 4;

/// What is counted.
///
/// # Examples
///
/// ```
/// use stillpoint::perf::Event;
///
/// assert_eq!(Event::Instructions.to_string(), "instructions");
/// assert!(Event::Cycles.is_hardware() && !Event::TaskClock.is_hardware());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Cycles of the CPU, which may vary in length.
    Cycles,
    /// Instructions retired.
    Instructions,
    /// Accesses to the last-level cache, as a rule.
    CacheReferences,
    /// Those that missed.
    CacheMisses,
    /// Branches retired.
    Branches,
    /// Those that were mispredicted.
    BranchMisses,
    /// Cycles of constant length.
    ReferenceCycles,
    /// An event by the number that the processor's manual gives it. On a machine with several kinds
    /// of CPU it means what each of them makes of it.
    Raw(u64),
    /// Nanoseconds; a software event.
    TaskClock,
    /// Page faults in user mode; a software event.
    PageFaults,
    /// How often the CPU was given to another thread; a software event.
    ContextSwitches,
    /// How often the thread came to another CPU; a software event.
    Migrations,
}

impl Event {
    /// True if a counter of the processor counts it.
    ///
    /// # Examples
    ///
    /// See [`Event`].
    pub fn is_hardware(self) -> bool {
        self.kind() != SOFTWARE
    }

    fn kind(self) -> u32 {
        use Event::{ContextSwitches, Migrations, PageFaults, TaskClock};
        match self {
            TaskClock | PageFaults | ContextSwitches | Migrations => SOFTWARE,
            Event::Raw(_) => RAW,
            _ => HARDWARE,
        }
    }

    /// Type and number for `perf_event_open`, the better ones first, on a CPU whose unit has this type,
    /// if there are several kinds of units.
    pub(super) fn codes(self, unit: Option<u32>) -> Vec<(u32, u64)> {
        let number = match self {
            Event::Cycles | Event::Raw(_) => 0,
            Event::Instructions | Event::TaskClock => 1,
            Event::CacheReferences | Event::PageFaults => 2,
            Event::CacheMisses | Event::ContextSwitches => 3,
            Event::Branches | Event::Migrations => 4,
            Event::BranchMisses => 5,
            Event::ReferenceCycles => 9,
        };
        match (self, unit) {
            (Event::Raw(raw), unit) => vec![(unit.unwrap_or(RAW), raw)],
            // Kernels that do not know of units in numbers choose by the CPU.
            (_, Some(unit)) if self.is_hardware() => {
                vec![(HARDWARE, u64::from(unit) << 32 | number), (HARDWARE, number)]
            }
            _ => vec![(self.kind(), number)],
        }
    }

    /// True if only the kernel's own instructions bring it about.
    pub(super) fn happens_in_kernel(self) -> bool {
        matches!(self, Event::ContextSwitches | Event::Migrations)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Event::Cycles => "cycles",
            Event::Instructions => "instructions",
            Event::CacheReferences => "cache references",
            Event::CacheMisses => "cache misses",
            Event::Branches => "branches",
            Event::BranchMisses => "branch misses",
            Event::ReferenceCycles => "reference cycles",
            Event::Raw(raw) => return f.pad(&format!("raw event {raw:#x}")),
            Event::TaskClock => "task clock (ns)",
            Event::PageFaults => "page faults",
            Event::ContextSwitches => "context switches",
            Event::Migrations => "migrations",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_cpu_has_its_own_unit() {
        assert_eq!(Event::Cycles.codes(None), [(0, 0)]);
        assert_eq!(Event::Instructions.codes(Some(10)), [(0, 10 << 32 | 1), (0, 1)]);
        assert_eq!(Event::Raw(0xc0).codes(None), [(4, 0xc0)]);
        assert_eq!(Event::Raw(0xc0).codes(Some(10)), [(10, 0xc0)]);
        assert_eq!(Event::PageFaults.codes(Some(10)), [(1, 2)]);
    }
}
