//! Rings of records.

#![cfg(target_os = "linux")]

#[path = "support/ring_stress.rs"]
mod stress;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::percpu::{Policy, PushError, Record, Ring, RingOf};

/// Whatever has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

fn tier() -> Tier {
    stillpoint::machine().tier()
}

/// Keeps the calling thread on one CPU, so that all its records go to one ring.
fn stay() {
    let cpu = stillpoint::current_cpu() as usize;
    // SAFETY: all-zero is an empty set; the number is below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

fn own(record: Record<'_>) -> Vec<u8> {
    record.bytes.to_owned()
}

#[test]
fn all_lengths_come_back_over_many_laps() {
    stay();
    for policy in [Policy::DropNewest, Policy::OverwriteOldest] {
        let ring = Ring::with_policy(1 << 12, policy);
        let mut consumer = ring.consumer().unwrap();
        for length in (0..1000).chain((0..1000).rev()) {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            ring.push_at(length as u64, &bytes).unwrap();
            let mut record = ring.reserve(length).unwrap();
            record.copy_from_slice(&bytes);
            // A second one may not fit beside it.
            let third = ring.push(&[3]);
            assert_eq!(consumer.pop(|record| record.stamp), Some(length as u64));
            assert_eq!(consumer.pop(own), None, "not committed");
            record.commit();
            assert_eq!(consumer.pop(own), Some(bytes));
            assert_eq!(consumer.pop(own), third.is_ok().then(|| vec![3]));
        }
        assert_eq!(consumer.pop(own), None);
    }
}

/// So large that only a record or two fit.
#[test]
fn records_are_refused_and_counted() {
    stay();
    let ring = Ring::new(64);
    assert_eq!(ring.push(&[0; 49]), Err(PushError::TooLarge));
    assert_eq!(ring.reserve(49).unwrap_err(), PushError::TooLarge);
    assert_eq!((ring.dropped(), ring.longest()), (0, 48));
    ring.push(&[1; 16]).unwrap();
    ring.push(&[2; 16]).unwrap();
    for refused in 1..=10 {
        assert_eq!(ring.push(b""), Err(PushError::Full));
        assert_eq!(ring.dropped(), refused);
    }
    let lost: Vec<_> = ring.losses().into_iter().filter(|loss| loss.dropped > 0).collect();
    assert_eq!((lost.len(), lost[0].dropped, lost[0].overwritten), (1, 10, 0));
    assert_eq!(lost[0].cpu.is_some(), tier() == Tier::Rseq);
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.pop(own), Some(vec![1; 16]));
    assert_eq!(consumer.pop(own), Some(vec![2; 16]));
    ring.push(&[3; 48]).unwrap();
    assert_eq!(consumer.pop(own), Some(vec![3; 48]));
    assert_eq!(ring.push(b""), Ok(()));
}

/// The end is too near; the consumer makes it the beginning.
#[test]
fn a_record_over_half_the_ring_fits_in_the_end() {
    stay();
    let ring = Ring::new(256);
    let mut consumer = ring.consumer().unwrap();
    ring.push(&[1; 100]).unwrap();
    consumer.pop(|_| ()).unwrap();
    assert_eq!(ring.push(&[2; 240]), Err(PushError::Full));
    assert!(consumer.pop(|_| ()).is_none());
    ring.push(&[2; 240]).unwrap();
    assert_eq!(consumer.pop(own), Some(vec![2; 240]));
}

#[test]
fn a_capacity_is_a_power_of_two() {
    // Where words are short nothing is too large.
    let too_large = 1_usize.checked_shl(41).unwrap_or(0);
    for capacity in [0, 32, 100, 4097, usize::MAX, too_large] {
        std::panic::catch_unwind(|| Ring::new(capacity)).unwrap_err();
    }
    assert!(std::panic::catch_unwind(|| RingOf::<[u8; 64]>::new(64)).is_err());
}

#[test]
fn no_memory_is_an_error() {
    let ring = Ring::new(1_usize << 40.min(usize::BITS - 1));
    match ring.push(b"may be there after all") {
        Ok(()) => assert!(ring.consumer().unwrap().pop(|_| ()).is_some()),
        Err(error) => assert_eq!((error, ring.dropped()), (PushError::NoMemory, 0)),
    }
}

/// A record that is not ended stops its CPU's ring, and merging; its end lets all go on.
#[test]
fn records_wait_for_the_one_before() {
    stay();
    for given_up in [false, true] {
        let ring = Ring::new(1 << 12);
        let mut consumer = ring.consumer().unwrap();
        let mut first = ring.reserve_at(1, 500).unwrap();
        first.fill(1);
        ring.push_at(2, &[2]).unwrap();
        assert!(consumer.pop(|_| ()).is_none() && consumer.pop_merged(|_| ()).is_none());
        // On any thread, on any CPU.
        std::thread::scope(|scope| {
            scope.spawn(move || if given_up { drop(first) } else { first.commit() });
        });
        if !given_up {
            assert_eq!(consumer.pop_merged(own), Some(vec![1; 500]));
        }
        assert_eq!(consumer.pop_merged(own), Some(vec![2]));
        assert!(consumer.pop(|_| ()).is_none());
    }
}

#[test]
fn a_forgotten_record_stops_one_ring_and_loses_nothing() {
    stay();
    let ring = Ring::with_policy(1 << 10, Policy::OverwriteOldest);
    std::mem::forget(ring.reserve(100).unwrap());
    let refused = (0..1000).filter(|_| ring.push(&[0; 100]).is_err()).count() as u64;
    assert_eq!((ring.dropped(), ring.overwritten()), (refused, 0));
    assert!(refused > 990 && ring.consumer().unwrap().pop(|_| ()).is_none());
}

#[test]
fn the_newest_are_kept() {
    stay();
    let ring = Ring::with_policy(1 << 10, Policy::OverwriteOldest);
    for number in 0..1000_u64 {
        ring.push_at(number, &[7; 100][..number as usize % 100]).unwrap();
    }
    let kept: Vec<u64> = ring.consumer().unwrap().merged().map(|entry| entry.stamp).collect();
    assert!(kept.len() >= 5 && kept.iter().copied().eq(1000 - kept.len() as u64..1000));
    assert_eq!((ring.overwritten(), ring.dropped()), (1000 - kept.len() as u64, 0));
}

/// Each thread's records, and each CPU's, are in order; merged, all are.
#[test]
fn merged_by_stamp() {
    let ring = Ring::new(1 << 16);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let ring = &ring;
            scope.spawn(move || (0..200).for_each(|n| ring.push(&[thread, n]).unwrap()));
        }
    });
    let mut last = BTreeMap::new();
    let mut consumer = ring.consumer().unwrap();
    let all: Vec<_> = consumer.merged().collect();
    assert!(all.len() == 800 && all.is_sorted_by_key(|entry| entry.stamp));
    for entry in all {
        let before = last.insert(entry.bytes[0], entry.bytes[1]);
        assert!(before.is_none_or(|before| before < entry.bytes[1]));
    }
}

#[test]
fn a_panic_takes_the_record_along() {
    stay();
    let ring = Ring::new(1 << 12);
    let mut consumer = ring.consumer().unwrap();
    ring.push(&[1]).unwrap();
    ring.push(&[2]).unwrap();
    let pop = std::panic::AssertUnwindSafe(|| consumer.pop(|_| panic!("on purpose")));
    assert!(std::panic::catch_unwind(pop).is_err());
    assert_eq!(consumer.pop(own), Some(vec![2]));
}

#[test]
fn there_is_one_consumer() {
    let ring = Ring::new(64);
    let consumer = ring.consumer().unwrap();
    assert_eq!(ring.consumer().unwrap_err().to_string(), "the ring has a consumer already");
    drop(consumer);
    std::mem::forget(ring.consumer().unwrap());
    assert!(ring.consumer().is_err());
}

#[test]
fn values_with_padding() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Event {
        Small(u8),
        Large(u64, &'static str),
    }
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C, align(64))]
    struct Wide(u8, [u64; 100]);
    stay();
    let events = RingOf::new(1 << 12);
    let mut consumer = events.consumer().unwrap();
    for n in 0..1000 {
        for event in [Event::Small(n as u8), Event::Large(n, "text")] {
            events.push(event).unwrap();
            assert_eq!(consumer.pop().unwrap().2, event);
        }
    }
    let wide = RingOf::with_policy(1 << 12, Policy::OverwriteOldest);
    for n in 0..50 {
        wide.push_at(n, Wide(n as u8, [n; 100])).unwrap();
    }
    let (mut consumer, first) = (wide.consumer().unwrap(), wide.overwritten());
    for n in first..50 {
        let (_, stamp, value) = consumer.recv_timeout(PATIENCE).unwrap();
        assert_eq!((stamp, value), (n, Wide(n as u8, [n; 100])));
    }
    assert!(consumer.pop().is_none() && first < 48);
    let empty = RingOf::<()>::new(64);
    empty.push(()).unwrap();
    assert!(empty.consumer().unwrap().pop_merged().is_some());
}

/// A handler writes while the thread that it interrupted is writing.
#[test]
fn a_handler_inside_a_reservation() {
    static RING: Ring = Ring::new(1 << 12);
    extern "C" fn handler(_: libc::c_int) {
        RING.push(b"small, by the handler").unwrap();
        RING.push(&[9; 600]).unwrap();
    }
    stay();
    let mut record = RING.reserve(300).unwrap();
    let install = handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler does what is async-signal-safe, but for a failure.
    unsafe {
        libc::signal(libc::SIGWINCH, install as libc::sighandler_t);
        libc::raise(libc::SIGWINCH);
    }
    record.fill(1);
    record.commit();
    let mut consumer = RING.consumer().unwrap();
    assert_eq!(consumer.pop(own), Some(vec![1; 300]));
    assert_eq!(consumer.pop(own).unwrap(), b"small, by the handler");
    assert_eq!(consumer.pop(own), Some(vec![9; 600]));
}

/// A handler that overwrites while the thread that it interrupted overwrites.
#[test]
fn handlers_write_anywhere() {
    static RING: Ring = Ring::with_policy(1 << 10, Policy::OverwriteOldest);
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    extern "C" fn handler(_: libc::c_int) {
        HANDLED.fetch_add(u64::from(RING.push(&[2; 40]).is_ok()), SeqCst);
    }
    let install = handler as extern "C" fn(libc::c_int);
    // SAFETY: as above; the timer counts this process's time.
    unsafe {
        libc::signal(libc::SIGVTALRM, install as libc::sighandler_t);
        let often = libc::timeval { tv_sec: 0, tv_usec: 50 };
        let timer = libc::itimerval { it_interval: often, it_value: often };
        libc::setitimer(libc::ITIMER_VIRTUAL, &timer, std::ptr::null_mut());
    }
    let begin = Instant::now();
    let mut written = 0;
    while HANDLED.load(SeqCst) < 20 && begin.elapsed() < PATIENCE {
        written += u64::from(RING.push(&[1; 100]).is_ok());
    }
    // SAFETY: all-zero is no timer.
    unsafe {
        libc::setitimer(libc::ITIMER_VIRTUAL, &std::mem::zeroed(), std::ptr::null_mut());
    }
    let kept = RING.consumer().unwrap().merged().count() as u64;
    assert_eq!(written + HANDLED.load(SeqCst), kept + RING.overwritten());
}

/// A signal handler wakes the consumer.
#[test]
fn a_handler_wakes_the_consumer() {
    static RING: Ring = Ring::new(1 << 12);
    static ASLEEP: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
    extern "C" fn handler(_: libc::c_int) {
        RING.push(b"wake up").unwrap();
    }
    let install = handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler does what is async-signal-safe, but for a failure.
    unsafe { libc::signal(libc::SIGPWR, install as libc::sighandler_t) };
    let got = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut consumer = RING.consumer().unwrap();
            ASLEEP.store(std::ptr::dangling_mut(), SeqCst);
            consumer.recv_timeout(PATIENCE, own)
        });
        while ASLEEP.load(SeqCst).is_null() {
            std::thread::yield_now();
        }
        // It need not sleep yet; mostly it does.
        std::thread::sleep(Duration::from_millis(20));
        // SAFETY: the calling thread.
        unsafe { libc::raise(libc::SIGPWR) };
        reader.join().unwrap()
    });
    assert_eq!(got.unwrap(), b"wake up");
}

#[test]
fn a_sleeping_consumer_is_woken() {
    assert_eq!(stress::wake_up(3000, PATIENCE), 0);
}

#[test]
fn each_record_once_or_counted() {
    for policy in [Policy::DropNewest, Policy::OverwriteOldest] {
        // On an emulated machine whose CPUs come and go one ring may see few.
        let (begin, mut read) = (Instant::now(), 0);
        while read <= 100 {
            let report = stress::conserve(policy, Duration::from_secs(1));
            println!("{policy:?}: {report:?}");
            assert_eq!(report.violations, 0, "{report:?}");
            read += report.read;
            assert!(read > 100 || begin.elapsed() < PATIENCE, "{read} read");
        }
    }
}
