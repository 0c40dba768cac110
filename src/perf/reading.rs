//! Numbers, and what they come to.

use super::page::{Values, scaled};
use super::{CpuType, Event};
use std::fmt;
use std::time::Duration;

/// A CPU's count at a moment.
///
/// # Examples
///
/// See [`Counters::read_here`](super::Counters::read_here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub(super) cpu: u32,
    pub(super) event: Event,
    pub(super) values: Values,
    pub(super) by_page: bool,
}

impl Reading {
    /// The CPU whose count it is, and on which the thread was at that moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// assert!(counters.read_here(0)?.cpu() < stillpoint::machine().slots());
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// What was counted there since the event was opened.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let (first, second) = (counters.read_here(0)?, counters.read_here(0)?);
    /// // Another CPU has counted something else.
    /// assert!(first.cpu() != second.cpu() || first.count() <= second.count());
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn count(&self) -> u64 {
        self.values[0]
    }

    /// True if it took no system call.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// // Software is not counted by the processor.
    /// assert!(!counters.read_here(0)?.was_direct());
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn was_direct(&self) -> bool {
        self.by_page
    }

    /// What was counted between two readings of one event. `None` if they are of different CPUs or
    /// events.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let before = counters.read_here(0)?;
    /// (0..1000).for_each(|n| _ = std::hint::black_box(n));
    /// match counters.read_here(0)?.since(&before) {
    ///     Some(count) => println!("{} ns", count.counted()),
    ///     None => println!("moved to another CPU"),
    /// }
    /// assert_eq!(before.since(&before).map(|count| count.counted()), Some(0));
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn since(&self, earlier: &Reading) -> Option<Count> {
        if (self.cpu, self.event) != (earlier.cpu, earlier.event) {
            return None;
        }
        Some(Count::between(&earlier.values, &self.values))
    }
}

/// What was counted in a while.
///
/// Processors have few counters. If more events are wanted than there are, they take turns, and what is
/// counted is a part of what happened.
///
/// # Examples
///
/// See [`Counters::profile`](super::Counters::profile).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    counted: u64,
    enabled: u64,
    running: u64,
}

impl Count {
    pub(super) fn between(earlier: &Values, later: &Values) -> Count {
        let [counted, enabled, running] =
            std::array::from_fn(|at| later[at].saturating_sub(earlier[at]));
        Count { counted, enabled, running }
    }

    /// The same, of an event that was wanted for so long.
    pub(super) fn wanted_for(self, enabled: u64) -> Count {
        Count { enabled, ..self }
    }

    pub(super) fn add(&mut self, other: &Count) {
        self.counted = self.counted.saturating_add(other.counted);
        self.enabled = self.enabled.saturating_add(other.enabled);
        self.running = self.running.saturating_add(other.running);
    }

    /// What was counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::PageFaults])?;
    /// let (pages, profile) = counters.profile(|| vec![1_u8; 1 << 24]);
    /// let profile = profile?;
    /// let counts = profile.types.iter().filter_map(|on| on.counts[0]);
    /// assert!(counts.map(|count| count.counted()).sum::<u64>() >= 1);
    /// # drop(pages);
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// An estimate of what happened: what was counted, if the event was counted all the time; otherwise
    /// that, scaled up. `None` if it was never counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let before = counters.read_here(0)?;
    /// if let Some(count) = counters.read_here(0)?.since(&before) {
    ///     assert!(count.scaled().is_none_or(|all| all >= count.counted()));
    /// }
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn scaled(&self) -> Option<u64> {
        scaled(self.counted, self.enabled, self.running)
    }

    /// How long the event should have been counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let (_, profile) = counters.profile(|| (0..1000).for_each(|n| _ = std::hint::black_box(n)));
    /// for count in profile?.types.iter().filter_map(|on| on.counts[0]) {
    ///     println!("wanted for {:?}, counted for {:?}", count.enabled(), count.running());
    /// }
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn enabled(&self) -> Duration {
        Duration::from_nanos(self.enabled)
    }

    /// How long it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let before = counters.read_here(0)?;
    /// if let Some(count) = counters.read_here(0)?.since(&before) {
    ///     assert!(count.running() <= count.enabled());
    /// }
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn running(&self) -> Duration {
        Duration::from_nanos(self.running)
    }
}

/// What a closure did on CPUs of one type.
///
/// # Examples
///
/// See [`Counters::profile`](super::Counters::profile).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnType {
    /// Which CPUs.
    pub cpu_type: CpuType,
    /// How long the thread ran there.
    pub time: Duration,
    /// For each event; `None` if CPUs of this type do not count it.
    pub counts: Vec<Option<Count>>,
}

/// What a closure did, by type of CPU.
///
/// # Examples
///
/// See [`Counters::profile`](super::Counters::profile).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// What was counted.
    pub events: Vec<Event>,
    /// Each type, also those on which the thread was not.
    pub types: Vec<OnType>,
}

impl Profile {
    /// An event's sum over all types, scaled. `None` if it was not counted on one where the thread was,
    /// or there is no such event.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::perf::{Counters, Event};
    ///
    /// let counters = Counters::open(&[Event::TaskClock])?;
    /// let (_, profile) = counters.profile(|| (0..1000).for_each(|n| _ = std::hint::black_box(n)));
    /// assert!(profile?.total(0).is_some_and(|nanos| nanos > 0));
    /// # Ok::<(), stillpoint::perf::Error>(())
    /// ```
    pub fn total(&self, event: usize) -> Option<u64> {
        let visited = self.types.iter().filter(|on| on.time > Duration::ZERO);
        visited.map(|on| on.counts.get(event)?.as_ref()?.scaled()).sum()
    }
}

/// A table.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:24}", "")?;
        for on in &self.types {
            write!(f, "{:>20}", on.cpu_type.name)?;
        }
        write!(f, "\n{:24}", "time (µs)")?;
        for on in &self.types {
            write!(f, "{:>20}", on.time.as_micros())?;
        }
        for (at, event) in self.events.iter().enumerate() {
            write!(f, "\n{event:24}")?;
            for on in &self.types {
                match on.counts[at].as_ref().and_then(Count::scaled) {
                    Some(count) => write!(f, "{count:>20}")?,
                    None => write!(f, "{:>20}", "not counted")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu: u32, values: Values) -> Reading {
        Reading { cpu, event: Event::Cycles, values, by_page: true }
    }

    #[test]
    fn readings_of_one_cpu_can_be_compared() {
        let (a, b) = (reading(1, [10, 100, 100]), reading(1, [30, 200, 150]));
        let count = b.since(&a).unwrap();
        assert_eq!((count.counted(), count.scaled()), (20, Some(40)));
        assert_eq!(count.enabled(), Duration::from_nanos(100));
        assert_eq!(count.running(), Duration::from_nanos(50));
        assert_eq!(reading(2, b.values).since(&a), None);
        assert_eq!(Reading { event: Event::Instructions, ..b }.since(&a), None);
        // Never a huge number, whatever a clock does.
        assert_eq!(a.since(&b).unwrap().counted(), 0);
    }

    #[test]
    fn types_are_added_up() {
        let on = |name: &str, nanos, counts: &[Option<[u64; 3]>]| OnType {
            cpu_type: CpuType { name: name.to_owned(), cpus: vec![0], unit: None },
            time: Duration::from_nanos(nanos),
            counts: counts.iter().map(|c| c.map(|c| Count::between(&[0; 3], &c))).collect(),
        };
        let mut profile = Profile {
            events: vec![Event::Cycles, Event::Instructions],
            types: vec![
                on("core", 100, &[Some([50, 100, 100]), Some([10, 100, 50])]),
                on("atom", 10, &[Some([5, 10, 10]), None]),
            ],
        };
        assert_eq!((profile.total(0), profile.total(1)), (Some(55), None));
        assert_eq!(profile.total(2), None);
        let text = profile.to_string();
        assert!(text.contains("not counted") && text.contains("atom"), "{text}");
        profile.types[1].time = Duration::ZERO;
        assert_eq!(profile.total(1), Some(20));
    }
}
