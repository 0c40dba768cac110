//! Reports on grace periods that take long.

use crate::bounds::RECORDED;
use crate::play::in_each;
use crate::reader::{Reader, soon};
use crate::tiers::{on_every_tier, on_every_tier_with};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::scope;
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::{Domain, StallReport};

const STALL: Duration = Duration::from_millis(5);

/// Runs `test` with domains that count 5 ms as long, and what their hooks hear.
fn on_every_tier_reporting(test: impl Fn(&'static Domain, Receiver<StallReport>)) {
    on_every_tier_with(
        |builder| builder.name("stalled").stall_timeout(STALL),
        |domain| {
            let (heard, reports) = channel();
            domain.on_stall(move |report| drop(heard.send(report.clone())));
            test(domain, reports);
            // It keeps the other end.
            domain.on_stall(|_| {});
        },
    );
}

#[test]
fn a_stall_is_reported_again_each_time_its_age_has_doubled() {
    on_every_tier_reporting(|domain, reports| {
        for round in 0..2 {
            let before = domain.statistics().stalls;
            let reader = Reader::of(domain);
            let heard = scope(|s| {
                s.spawn(|| domain.synchronize());
                let heard: Vec<_> = reports.iter().take(5).collect();
                reader.leave();
                heard
            });
            for (n, report) in (0..).zip(&heard) {
                assert_eq!((report.report, report.grace_periods), (n + 1, round), "{report}");
                assert!(report.age >= STALL * (1 << n), "{report}");
            }
            assert!(heard.is_sorted_by(|a, b| a.age < b.age));
            let later = reports.try_iter().count() as u64;
            assert_eq!(domain.statistics().stalls - before, 5 + later);
        }
    });
}

#[test]
fn a_report_says_who_reads_where_and_how_long() {
    on_every_tier_reporting(|domain, reports| {
        let entered = line!() + 1;
        let guard = domain.read();
        let report = scope(|s| {
            s.spawn(|| while domain.synchronize_timeout(STALL * 4).is_err() {});
            let report = reports.recv().unwrap();
            drop(guard);
            report
        });
        assert_eq!((report.domain, report.sections, report.counts.len()), ("stalled", 1, 1));
        let count = report.counts[0];
        assert_eq!(count.entered - count.left, 1);
        assert!(report.phase < 2 && count.phase != report.phase, "it has flipped: {report}");
        let by_sequence = domain.statistics().atomic_sections == 0;
        assert!(by_sequence <= (domain.tier() == Tier::Rseq));
        assert_eq!(count.cpu.is_some(), by_sequence, "{report}");
        let text = report.to_string();
        assert!(text.starts_with("stillpoint: grace period 1 of stalled is held up for"), "{text}");
        if RECORDED {
            let [reader] = report.readers[..] else { panic!("one reader: {text}") };
            assert_eq!((reader.location.file(), reader.location.line()), (file!(), entered));
            // SAFETY: gettid has no preconditions.
            assert_eq!(reader.thread, Some(unsafe { libc::gettid() } as u64));
            assert!(reader.age >= report.age, "it began before the grace period");
            assert!(text.contains(&format!("at {}:{entered}:", file!())), "{text}");
        } else {
            assert!(report.readers.is_empty());
        }
    });
}

/// True as long as polling has led to no report.
fn reports_none(
    reports: &Receiver<StallReport>,
    period: &stillpoint::rcu::GracePeriod<'_>,
) -> bool {
    assert!(!period.is_complete());
    reports.try_recv().is_err()
}

#[test]
fn a_report_counts_all_readers_and_names_no_thread_for_one_that_was_sent() {
    on_every_tier_reporting(|domain, reports| {
        let readers: Vec<_> = (0..3).map(|_| Reader::of(domain)).collect();
        let guard = domain.read().into_send();
        let report = scope(|s| {
            s.spawn(|| domain.synchronize());
            let report = reports.recv().unwrap();
            readers.into_iter().for_each(Reader::leave);
            drop(guard);
            report
        });
        assert_eq!(report.sections, 4, "{report}");
        let entered: u64 = report.counts.iter().map(|count| count.entered - count.left).sum();
        assert_eq!(entered, 4, "{report}");
        let sent = report.readers.iter().filter(|reader| reader.thread.is_none()).count();
        assert_eq!((report.readers.len(), sent), if RECORDED { (4, 1) } else { (0, 0) });
    });
}

#[test]
fn pollers_notice_stalls() {
    on_every_tier_reporting(|domain, reports| {
        let reader = Reader::of(domain);
        let period = domain.start_poll();
        soon("a report", || !reports_none(&reports, &period));
        reader.leave();
    });
}

#[test]
fn retirers_notice_stalls() {
    on_every_tier_reporting(|domain, reports| {
        let reader = Reader::of(domain);
        soon("a report", || {
            (0..64).for_each(|n| domain.retire(n));
            reports.try_recv().is_ok()
        });
        reader.leave();
    });
}

#[test]
fn the_reclaimer_notices_stalls() {
    on_every_tier_reporting(|domain, reports| {
        // Of garbage, and of a task.
        for task in [false, true] {
            let reader = Reader::of(domain);
            let mut period = Box::pin(domain.grace_period());
            if task {
                let mut context = Context::from_waker(Waker::noop());
                assert!(period.as_mut().poll(&mut context).is_pending());
            } else {
                domain.retire(1);
            }
            assert!(reports.recv().is_ok());
            reader.leave();
            soon("its end", || domain.start_poll().is_complete());
            reports.try_iter().for_each(drop);
        }
    });
}

#[test]
fn a_hook_that_panics_does_no_harm() {
    on_every_tier_with(
        |builder| builder.stall_timeout(STALL),
        |domain| {
            let calls = Arc::new(Mutex::new(0));
            let count = calls.clone();
            domain.on_stall(move |_| {
                *count.lock().unwrap() += 1;
                std::panic::panic_any("this panic is part of the test, in a hook");
            });
            let reader = Reader::of(domain);
            domain.retire(1);
            scope(|s| {
                s.spawn(|| domain.synchronize());
                soon("two reports", || *calls.lock().unwrap_or_else(|e| e.into_inner()) >= 2);
                reader.leave();
            });
            domain.barrier();
        },
    );
}

#[test]
fn nothing_is_reported_without_a_stall() {
    on_every_tier(|domain| {
        domain.on_stall(|report| panic!("{report}"));
        domain.set_stall_timeout(Duration::from_secs(3600));
        (0..200).for_each(|_| domain.synchronize());
        domain.set_stall_timeout(Duration::MAX);
        let leaving = Reader::of(domain).leave_after(Duration::from_millis(50));
        domain.synchronize();
        leaving.join().unwrap();
        assert_eq!(domain.statistics().stalls, 0);
    });
}

/// The age doubles from next to nothing then; and waiting goes on as it should.
#[test]
fn a_stall_time_of_zero_does_not_keep_waiters_from_leaving() {
    on_every_tier_with(
        |builder| builder.stall_timeout(Duration::ZERO),
        |domain| {
            domain.on_stall(|_| {});
            let leaving = Reader::of(domain).leave_after(Duration::from_millis(100));
            assert!(domain.synchronize_timeout(Duration::from_millis(5)).is_err());
            assert!(!leaving.is_finished(), "the timeout did not count");
            domain.synchronize();
            leaving.join().unwrap();
            let reports = domain.statistics().stalls;
            assert!((1..=60).contains(&reports), "{reports} reports");
        },
    );
}

#[test]
fn without_a_hook_the_report_goes_to_standard_error() {
    if cfg!(feature = "log") {
        return println!("SKIPPED: it goes to the log");
    }
    for output in in_each("a stall without a hook") {
        let reports = output.matches("of printed is held up for").count();
        assert!(reports >= 2, "{output}");
    }
}
