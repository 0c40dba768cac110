//! Export to the `metrics` crate.

use super::domain::Domain;
use metrics::{Label, counter, gauge};

impl Domain {
    /// Records this domain's [statistics](Domain::statistics) with the `metrics` crate, labelled
    /// with the domain's name. To be called now and then: by whoever scrapes, or a timer.
    ///
    /// Counters `stillpoint_grace_periods`, `_broadcasts`, `_callbacks`, `_callback_panics`, `_stalls`,
    /// `_sections`, `_atomic_sections`, `_aborts`; gauges `_pending_callbacks`, `_pending_bytes`,
    /// `_high_water_callbacks`, `_high_water_bytes`, and `_grace_period_seconds` with label
    /// `quantile` (0.5, 0.99, 1).
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// Domain::global().record_metrics();
    /// ```
    pub fn record_metrics(&self) {
        let statistics = self.statistics();
        let domain = || vec![Label::new("domain", self.name())];
        for (name, n) in [
            ("stillpoint_grace_periods", statistics.grace_periods),
            ("stillpoint_broadcasts", statistics.broadcasts),
            ("stillpoint_callbacks", statistics.callbacks),
            ("stillpoint_callback_panics", statistics.callback_panics),
            ("stillpoint_stalls", statistics.stalls),
            ("stillpoint_sections", statistics.sections),
            ("stillpoint_atomic_sections", statistics.atomic_sections),
            ("stillpoint_aborts", statistics.aborts),
        ] {
            counter!(name, domain()).absolute(n);
        }
        for (name, n) in [
            ("stillpoint_pending_callbacks", statistics.pending.callbacks),
            ("stillpoint_pending_bytes", statistics.pending.bytes),
            ("stillpoint_high_water_callbacks", statistics.high_water.callbacks),
            ("stillpoint_high_water_bytes", statistics.high_water.bytes),
        ] {
            gauge!(name, domain()).set(n as f64);
        }
        for (label, q) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
            let mut labels = domain();
            labels.push(Label::new("quantile", label));
            let seconds = statistics.latency.quantile(q).as_secs_f64();
            gauge!("stillpoint_grace_period_seconds", labels).set(seconds);
        }
    }
}
