//! Awaiting, under three executors: tokio's two, and smol.

use crate::overtaken;
use crate::play::in_each;
use crate::reader::{Reader, soon};
use crate::tiers::on_every_tier;
use smol::future::{block_on, or, poll_once, yield_now};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{scope, sleep};
use std::time::Duration;
use stillpoint::rcu::Domain;
use tokio::runtime::{Builder, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Executor {
    Tokio(Runtime),
    Smol,
}

impl Executor {
    fn each() -> [Executor; 3] {
        let threads = Builder::new_multi_thread().worker_threads(3).enable_time().build();
        let one = Builder::new_current_thread().enable_time().build();
        [Executor::Tokio(threads.unwrap()), Executor::Tokio(one.unwrap()), Executor::Smol]
    }

    /// Runs tasks to their ends, all at once.
    fn run(&self, tasks: impl IntoIterator<Item = Task>) {
        match self {
            Executor::Tokio(runtime) => runtime.block_on(async {
                let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            }),
            Executor::Smol => smol::block_on(async {
                let tasks: Vec<_> = tasks.into_iter().map(smol::spawn).collect();
                for task in tasks {
                    task.await;
                }
            }),
        }
    }
}

/// Runs `test` with a fresh domain of each tier, and each executor.
fn on_every_executor(test: impl Fn(&'static Domain, &Executor)) {
    on_every_tier(|domain| Executor::each().iter().for_each(|executor| test(domain, executor)));
}

/// Some microseconds, not the same ones twice.
fn moment() -> Duration {
    Duration::from_micros(fastrand::u64(0..3000))
}

#[test]
fn tasks_hear_of_their_grace_period_while_somebody_leads_on() {
    on_every_tier(|domain| assert!(overtaken::is_woken(domain, Duration::from_secs(60))));
}

#[test]
fn many_tasks_await_many_grace_periods() {
    on_every_executor(|domain, executor| {
        let before = domain.grace_periods();
        executor.run((0..200).map(|_| -> Task {
            Box::pin(async {
                for _ in 0..5 {
                    domain.grace_period().await;
                    yield_now().await;
                    domain.start_poll().await;
                }
            })
        }));
        assert!(domain.grace_periods() >= before + 10);
    });
}

#[test]
fn tasks_wait_for_readers() {
    on_every_executor(|domain, executor| {
        let ended = Arc::new(AtomicUsize::new(0));
        let reader = Reader::of(domain);
        scope(|s| {
            s.spawn(|| {
                sleep(Duration::from_millis(30));
                assert_eq!(ended.load(SeqCst), 0, "ended under a guard");
                reader.leave();
            });
            executor.run((0..100).map(|_| -> Task {
                let ended = ended.clone();
                Box::pin(async move {
                    domain.grace_period().await;
                    ended.fetch_add(1, SeqCst);
                })
            }));
        });
        assert_eq!(ended.load(SeqCst), 100);
    });
}

/// One of four ends, the rest are dropped: before the first poll, after it, or at any time.
async fn await_or_not(domain: &'static Domain, task: u32) {
    let period = domain.grace_period();
    match task % 4 {
        0 => period.await,
        1 => drop(period),
        2 => assert!(poll_once(period).await.is_none_or(|()| true)),
        _ => {
            or(period, async {
                smol::Timer::after(moment()).await;
            })
            .await
        }
    }
}

#[test]
fn futures_may_be_dropped_at_any_time() {
    on_every_executor(|domain, executor| {
        scope(|s| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            s.spawn(move || {
                while ended.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    let guard = domain.read();
                    sleep(moment());
                    drop(guard);
                }
            });
            executor.run((0..400).map(|task| -> Task { Box::pin(await_or_not(domain, task)) }));
            drop(end);
        });
    });
}

#[test]
fn tokio_may_cancel_and_abort() {
    on_every_tier(|domain| {
        for executor in &Executor::each()[..2] {
            let Executor::Tokio(runtime) = executor else { unreachable!() };
            let reader = Reader::of(domain);
            runtime.block_on(async {
                let tasks: Vec<_> = (0..100).map(|_| tokio::spawn(domain.grace_period())).collect();
                let short = Duration::from_millis(2);
                assert!(tokio::time::timeout(short, domain.grace_period()).await.is_err());
                tokio::select! {
                    () = domain.grace_period() => panic!("ended under a guard"),
                    () = tokio::time::sleep(short) => {}
                }
                tasks.iter().skip(50).for_each(|task| task.abort());
                reader.leave();
                for (n, task) in tasks.into_iter().enumerate() {
                    let outcome = task.await;
                    assert!(outcome.is_ok() || n >= 50 && outcome.unwrap_err().is_cancelled());
                }
            });
        }
    });
}

/// Counts how often it was woken, and may panic then.
#[derive(Default)]
struct Woken {
    times: AtomicU32,
    panics: bool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, SeqCst);
        assert!(!self.panics, "this panic is part of the test");
    }
}

/// Polls once for the task of `woken`.
fn poll(future: &mut (impl Future<Output = ()> + Unpin), woken: &Arc<Woken>) -> Poll<()> {
    let waker = Waker::from(woken.clone());
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_future_keeps_the_last_waker_and_no_other() {
    on_every_tier(|domain| {
        let [first, last, dropped] = std::array::from_fn(|_| Arc::new(Woken::default()));
        let reader = Reader::of(domain);
        let mut period = domain.grace_period();
        assert_eq!(Arc::strong_count(&first), 1);
        assert!(poll(&mut period, &first).is_pending() && poll(&mut period, &first).is_pending());
        assert_eq!(Arc::strong_count(&first), 2);
        assert!(poll(&mut period, &last).is_pending());
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 2));
        let mut other = domain.grace_period();
        assert!(poll(&mut other, &dropped).is_pending());
        drop(other);
        assert_eq!(Arc::strong_count(&dropped), 1, "a leak");
        reader.leave();
        // Nobody is there but the reclaimer.
        soon("the last waker", || last.times.load(SeqCst) == 1);
        soon("its drop", || Arc::strong_count(&last) == 1);
        assert!(poll(&mut period, &first).is_ready());
        drop(period);
        for woken in [first, dropped] {
            assert_eq!((woken.times.load(SeqCst), Arc::strong_count(&woken)), (0, 1));
        }
    });
}

#[test]
fn a_waker_that_panics_harms_no_other() {
    on_every_tier(|domain| {
        let reader = Reader::of(domain);
        let all: Vec<_> = (0..20)
            .map(|n| Arc::new(Woken { panics: n % 3 == 0, ..Woken::default() }))
            .map(|woken| (domain.grace_period(), woken))
            .map(|(mut period, woken)| (poll(&mut period, &woken).is_pending(), period, woken))
            .collect();
        reader.leave();
        for (pending, mut period, woken) in all {
            assert!(pending);
            soon("each waker", || woken.times.load(SeqCst) == 1);
            assert!(poll(&mut period, &woken).is_ready());
        }
        domain.synchronize();
    });
}

#[test]
fn a_future_may_move_between_threads() {
    on_every_tier(|domain| {
        let executors = Executor::each();
        let reader = Reader::of(domain);
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut periods: Vec<_> = (0..4).map(|_| domain.grace_period()).collect();
        periods.iter_mut().for_each(|period| assert!(poll(period, &first).is_pending()));
        let mut periods = scope(|s| {
            let second = &second;
            s.spawn(move || {
                periods.iter_mut().for_each(|period| assert!(poll(period, second).is_pending()));
                periods
            })
            .join()
            .unwrap()
        });
        let leaving = reader.leave_after(Duration::from_millis(10));
        for executor in executors {
            let period = periods.pop().unwrap();
            executor.run([Box::pin(period) as Task]);
        }
        block_on(periods.pop().unwrap());
        leaving.join().unwrap();
        assert_eq!(first.times.load(SeqCst), 0, "these have moved away");
        soon("no leak", || Arc::strong_count(&first) == 1 && Arc::strong_count(&second) == 1);
    });
}

/// Whoever ends a grace period wakes, not the reclaimer alone.
#[test]
fn tasks_and_threads_share_grace_periods() {
    on_every_executor(|domain, executor| {
        let ended = AtomicBool::new(false);
        scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    while !ended.load(SeqCst) {
                        let _ = domain.synchronize_timeout(moment());
                        domain.retire(1);
                    }
                });
            }
            executor.run((0..100).map(|_| -> Task { Box::pin(domain.grace_period()) }));
            ended.store(true, SeqCst);
        });
    });
}

#[test]
fn tasks_are_served_without_a_reclaimer_too() {
    in_each("tasks without a reclaimer");
}

#[test]
fn tasks_are_served_by_custom_sessions_too() {
    in_each("tasks with custom sessions");
}

#[test]
fn tasks_do_not_rely_on_sessions_that_were_dropped() {
    in_each("tasks whose sessions are dropped");
}

#[test]
fn tasks_are_served_while_the_process_exits() {
    for output in in_each("tasks while the process exits") {
        assert!(output.contains("tasks have ended"), "{output}");
    }
}

/// What the children do.
pub(crate) fn under_every_executor(domain: &'static Domain) {
    for executor in Executor::each() {
        let leaving = Reader::of(domain).leave_after(Duration::from_millis(30));
        executor.run((0..50).map(|task| -> Task { Box::pin(await_or_not(domain, task)) }));
        leaving.join().unwrap();
    }
}
