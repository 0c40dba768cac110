//! Blocking and polling.

use crate::reader::{Reader, soon};
use crate::tiers::on_every_tier;
use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use stillpoint::rcu::{Domain, GracePeriod};

const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn sixty_four_callers_share_two_grace_periods() {
    on_every_tier(|domain| {
        const CALLERS: usize = 64;
        domain.synchronize();
        let reader = Reader::of(domain);
        let before = domain.grace_periods();
        let asked = Barrier::new(CALLERS + 1);
        scope(|s| {
            for caller in 0..CALLERS {
                let asked = &asked;
                s.spawn(move || {
                    // What `synchronize` waits for, known to be taken while the reader is there.
                    let period = domain.start_poll();
                    if caller % 2 == 0 {
                        period.is_complete();
                    }
                    asked.wait();
                    period.wait();
                });
            }
            asked.wait();
            sleep(MOMENT);
            assert_eq!(domain.grace_periods(), before, "ended under a guard");
            reader.leave();
        });
        let shared = domain.grace_periods() - before;
        assert!((1..=2).contains(&shared), "{shared} grace periods for {CALLERS} callers");
    });
}

#[test]
fn a_timeout_gives_the_grace_period_back() {
    on_every_tier(|domain| {
        let reader = Reader::of(domain);
        let begin = Instant::now();
        let late = domain.synchronize_timeout(MOMENT).unwrap_err();
        assert!(begin.elapsed() >= MOMENT);
        assert_eq!(late.to_string(), "the grace period has not ended in time");
        assert!(!late.grace_period.is_complete() && !late.grace_period.is_complete());
        assert!(std::ptr::eq(late.grace_period.domain(), domain));
        reader.leave();
        late.grace_period.wait();
        assert!(late.grace_period.is_complete());
        assert_eq!(domain.grace_periods(), 1, "it was the same one all the while");
    });
}

#[test]
fn no_time_and_all_time_are_timeouts_too() {
    on_every_tier(|domain| {
        assert!(domain.synchronize_timeout(Duration::ZERO).is_ok(), "there are no readers");
        assert!(domain.synchronize_timeout(Duration::MAX).is_ok());
        assert_eq!(domain.grace_periods(), 2);
        let reader = Reader::of(domain);
        let late = domain.synchronize_timeout(Duration::ZERO).unwrap_err();
        let leaving = reader.leave_after(MOMENT);
        assert!(domain.synchronize_timeout(Duration::MAX).is_ok());
        assert!(late.grace_period.is_complete());
        leaving.join().unwrap();
    });
}

/// Leaders that give up, and followers: whoever is left must hear of it.
#[test]
fn the_impatient_do_not_strand_the_patient() {
    on_every_tier(|domain| {
        for _ in 0..3 {
            let reader = Reader::of(domain);
            scope(|s| {
                let impatient: Vec<_> = (0..12)
                    .map(|n| s.spawn(move || domain.synchronize_timeout(MOMENT / 4 * n)))
                    .collect();
                let patient: Vec<_> = (0..4).map(|_| s.spawn(|| domain.synchronize())).collect();
                let late = impatient.into_iter().map(|t| t.join().unwrap().unwrap_err());
                let late: Vec<_> = late.map(|late| late.grace_period).collect();
                assert!(patient.iter().all(|t| !t.is_finished()), "ended under a guard");
                assert!(late.iter().all(|period| !period.is_complete()));
                reader.leave();
                patient.into_iter().for_each(|t| t.join().unwrap());
                late.into_iter().for_each(GracePeriod::wait);
            });
        }
    });
}

#[test]
fn a_cookie_taken_inside_a_reader_does_not_complete_before_it_leaves() {
    on_every_tier(|domain| {
        let guard = domain.read();
        let period = domain.start_poll();
        scope(|s| {
            s.spawn(|| {
                for _ in 0..10 {
                    assert!(domain.synchronize_timeout(MOMENT / 10).is_err());
                    assert!(!period.is_complete());
                }
            });
            s.spawn(|| (0..2000).for_each(|_| assert!(!domain.start_poll().is_complete())));
            s.spawn(|| (0..2000).for_each(|_| assert!(!period.is_complete())));
            s.spawn(|| (0..2000).for_each(|n| domain.retire(n)));
        });
        assert!(!period.is_complete());
        drop(guard);
        assert!(period.is_complete(), "nobody else is needed");
    });
}

#[test]
fn a_cookie_needs_no_other_thread_and_stays_complete() {
    on_every_tier(|domain| {
        let period = domain.start_poll();
        assert!(format!("{period:?}").contains("is_complete: false"), "asking starts nothing");
        assert_eq!(domain.grace_periods(), 0);
        assert!(period.is_complete());
        let guard = domain.read();
        let later = domain.start_poll();
        for _ in 0..100 {
            assert!(period.is_complete() && !later.is_complete());
        }
        // Nothing to wait for: no deadlock, and no panic.
        period.wait();
        drop(guard);
        later.wait();
        assert!(period.is_complete() && later.is_complete());
    });
}

#[test]
fn a_cookie_can_be_copied_and_sent_and_shared() {
    fn can<T: Copy + Send + Sync + std::fmt::Debug>(_: T) {}
    on_every_tier(|domain| {
        let period = domain.start_poll();
        can(period);
        let copies = [period; 4];
        scope(|s| {
            for copy in copies {
                s.spawn(move || copy.wait());
            }
            s.spawn(|| soon("a shared cookie", || period.is_complete()));
        });
        assert!(copies.iter().all(GracePeriod::is_complete));
    });
}

/// The period in progress may not wait for readers that came after its broadcast.
#[test]
fn a_cookie_taken_during_a_grace_period_rounds_up() {
    on_every_tier(|domain| {
        let first = Reader::of(domain);
        let one = domain.start_poll();
        assert!(!one.is_complete(), "in progress from here on");
        let guard = domain.read();
        let two = domain.start_poll();
        first.leave();
        soon("the one in progress", || one.is_complete());
        for _ in 0..100 {
            assert!(!two.is_complete(), "it was the caller's reader that it had to wait for");
        }
        drop(guard);
        two.wait();
        assert_eq!(domain.grace_periods(), 2);
    });
}

#[test]
fn a_domain_that_nobody_has_used_can_be_waited_for() {
    static DOMAIN: Domain = Domain::new();
    DOMAIN.barrier();
    assert_eq!((DOMAIN.grace_periods(), DOMAIN.pending().callbacks), (0, 0));
    DOMAIN.synchronize_timeout(Duration::ZERO).unwrap();
    assert_eq!(DOMAIN.grace_periods(), 1);
}
