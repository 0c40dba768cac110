//! Writers that replace nothing: they only ask for grace periods, in every way there is.

use super::callbacks;
use super::evidence::{What, note};
use super::seat;
use super::world::{World, grace_periods};
use fastrand::Rng;
use hdrhistogram::Histogram;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long `synchronize` took, in nanoseconds.
pub(crate) static LATENCY: LazyLock<Mutex<Histogram<u64>>> =
    LazyLock::new(|| Mutex::new(Histogram::new_with_max(HOUR, 3).expect("legal bounds")));

const HOUR: u64 = 3_600_000_000_000;

type Ask = (&'static str, fn(&World, &mut Rng, &'static str));

const ASKS: [Ask; 11] = [
    ("fake: synchronize", synchronize),
    ("fake: synchronize_timeout", timeout),
    ("fake: start_poll, is_complete", poll),
    ("fake: start_poll, wait", |world, _, by| {
        counted(by, || world.domain.start_poll().wait());
    }),
    ("fake: start_poll, forgotten", |world, _, _| {
        world.domain.start_poll();
    }),
    ("fake: grace_period", |world, _, by| {
        counted(by, || pollster::block_on(world.domain.grace_period()));
    }),
    ("fake: grace_period, many at once", many),
    ("fake: grace_period, handed on", handed_on),
    ("fake: grace_period, cancelled", cancelled),
    ("fake: barrier", |world, _, by| callbacks::barrier(world, by)),
    ("fake: throttle", |world, _, _| world.domain.throttle()),
];

/// Goes on until the run is over.
pub(crate) fn run(world: &'static World, mut random: Rng) {
    while world.stage.goes_on() {
        let (name, ask) = ASKS[random.usize(..ASKS.len())];
        let doing = seat::mine().doing(name);
        ask(world, &mut random, name);
        drop(doing);
        if random.bool() {
            std::thread::sleep(Duration::from_micros(random.u64(..1000)));
        }
    }
}

/// A wait that must see a grace period end.
fn counted(by: &'static str, wait: impl FnOnce()) {
    let before = grace_periods();
    wait();
    check(by, before);
}

/// A grace period must have ended since `before` had.
fn check(by: &'static str, before: u64) {
    let now = grace_periods();
    if now <= before {
        note(What::ShortWait, by, [("periods before", before), ("periods after", now)]);
    }
}

fn synchronize(world: &World, _: &mut Rng, by: &'static str) {
    let start = Instant::now();
    counted(by, || world.domain.synchronize());
    let nanos = start.elapsed().as_nanos() as u64;
    LATENCY.lock().unwrap().saturating_record(nanos);
}

fn timeout(world: &World, random: &mut Rng, by: &'static str) {
    let micros = [0, 10, 1000, 50_000][random.usize(..4)];
    let time = Duration::from_micros(random.u64(..=micros));
    let (start, before) = (Instant::now(), grace_periods());
    match world.domain.synchronize_timeout(time) {
        Ok(()) => check(by, before),
        Err(timed_out) => {
            let took = start.elapsed();
            if took < time {
                let [asked, took] = [time, took].map(|time| time.as_micros() as u64);
                note(What::EarlyTimeout, by, [("asked, us", asked), ("took, us", took)]);
            }
            // The grace period goes on, and may be waited for.
            if random.bool() {
                timed_out.grace_period.wait();
                check(by, before);
            }
        }
    }
}

/// Several cookies, polled until all are complete: in order, and for good.
fn poll(world: &World, random: &mut Rng, by: &'static str) {
    let before = grace_periods();
    let cookies: Vec<_> = (0..random.usize(1..5))
        .map(|_| {
            if random.bool() {
                std::thread::yield_now();
            }
            world.domain.start_poll()
        })
        .collect();
    let mut complete = 0;
    while complete < cookies.len() {
        // A later one first: then the earlier must be complete too.
        let later = random.usize(complete..cookies.len());
        if cookies[later].is_complete() {
            if !cookies[random.usize(..=later)].is_complete() {
                note(What::CookiesOutOfOrder, by, [("later", later as u64)]);
            }
            complete = later + 1;
        } else if random.bool() {
            std::thread::yield_now();
        }
    }
    check(by, before);
    if !cookies.iter().all(|cookie| cookie.is_complete()) {
        note(What::CookieTakenBack, by, [("cookies", cookies.len() as u64)]);
    }
}

fn many(world: &World, random: &mut Rng, by: &'static str) {
    counted(by, || {
        let mut futures: Vec<_> =
            (0..random.usize(2..20)).map(|_| world.domain.grace_period()).collect();
        pollster::block_on(poll_fn(|context| {
            futures.retain_mut(|future| Pin::new(future).poll(context).is_pending());
            if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

/// A future that is first polled with one waker, and then elsewhere with another.
fn handed_on(world: &World, random: &mut Rng, by: &'static str) {
    counted(by, || {
        let mut future = world.domain.grace_period();
        let poll = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
        if poll.is_ready() {
            return;
        }
        std::thread::sleep(Duration::from_micros(random.u64(..100)));
        std::thread::scope(|scope| {
            scope.spawn(|| pollster::block_on(future));
        });
    });
}

/// A future that is polled, perhaps, and dropped.
fn cancelled(world: &World, random: &mut Rng, by: &'static str) {
    let before = grace_periods();
    let mut future = world.domain.grace_period();
    for _ in 0..random.usize(..4) {
        let poll = poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context)));
        if pollster::block_on(poll).is_ready() {
            return check(by, before);
        }
        std::thread::sleep(Duration::from_micros(random.u64(..100)));
    }
}
