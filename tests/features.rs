//! What optional features add: `cargo test --features log,metrics --test features`.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use std::sync::Mutex;
use std::time::Duration;
use stillpoint::rcu::Domain;

#[test]
fn statistics_reach_the_metrics_crate() {
    let domain = Domain::builder().name("measured").build();
    domain.retire(1);
    domain.barrier();
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || domain.record_metrics());
    let seen = snapshots.snapshot().into_vec();
    let value = |name: &str| {
        let of_name = |key: &metrics::Key| {
            key.name() == name
                && key.labels().any(|l| (l.key(), l.value()) == ("domain", "measured"))
        };
        let found = seen.iter().find(|(key, ..)| of_name(key.key()));
        found.map(|(_, _, _, value)| value)
    };
    let statistics = domain.statistics();
    let counter = |name, n| value(name) == Some(&DebugValue::Counter(n));
    assert!(counter("stillpoint_callbacks", 1));
    assert!(counter("stillpoint_grace_periods", statistics.grace_periods));
    assert!(matches!(
        value("stillpoint_grace_period_seconds"), Some(DebugValue::Gauge(n)) if n.0 > 0.0
    ));
}

/// Keeps what is logged.
struct Keep(Mutex<Vec<String>>);

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }
    fn flush(&self) {}
}

#[test]
fn stalls_reach_the_log_crate() {
    static LOG: Keep = Keep(Mutex::new(Vec::new()));
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let domain = Domain::builder().name("held up").stall_timeout(Duration::from_millis(5)).build();
    let guard = domain.read();
    let period = domain.start_poll();
    while LOG.0.lock().unwrap().is_empty() {
        assert!(!period.is_complete());
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(guard);
    period.wait();
    let said = LOG.0.lock().unwrap().remove(0);
    assert!(said.starts_with("WARN stillpoint: grace period 1 of held up"), "{said}");
}
