//! Counters of the processor and of the kernel: what they count, where they cannot, and what forks,
//! threads and CPUs that come and go make of them.
//!
//! Software events are counted wherever there are events; what needs a counter of the processor says so
//! and is skipped where there is none; but not where `STILLPOINT_EXPECT` says `counters=yes`. The
//! protocol of an event's page is tested against pages of our own, in `src/perf/page.rs`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/cpus.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod cpus;
#[path = "support/expect.rs"]
mod expect;

use std::hint::black_box;
use std::thread;
use std::time::Duration;
use stillpoint::perf::{Counters, CpuCounters, Error, Event, cpu_types};
use stillpoint::{Tier, machine};

/// The counters, or a reason that the machine gives for having none. Panics if it was said to have
/// some.
fn open(events: &[Event]) -> Option<Counters> {
    skip(Counters::open(events))
}

fn skip<T>(opened: Result<T, Error>) -> Option<T> {
    match opened {
        Ok(counters) => Some(counters),
        Err(error @ (Error::Absent { .. } | Error::Denied { .. } | Error::NoSystemCall)) => {
            expect::skip("counters", error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// So many turns of a loop of a few instructions each.
#[inline(never)]
fn turn(times: u64) {
    for n in 0..times {
        black_box(n);
    }
}

fn touch_pages(count: usize) {
    let length = count * 4096;
    // SAFETY: fresh memory of our own, given back.
    unsafe {
        let (protection, how) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let at = libc::mmap(std::ptr::null_mut(), length, protection, how, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        libc::madvise(at, length, libc::MADV_NOHUGEPAGE);
        (0..count).for_each(|page| at.cast::<u8>().add(page * 4096).write_volatile(1));
        libc::munmap(at, length);
    }
}

/// How many faults so many pages of four kilobytes are.
fn faults(pages: usize) -> u64 {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    (pages * 4096 / size) as u64
}

#[test]
fn software_events_are_counted() {
    let Some(counters) = open(&[Event::PageFaults, Event::TaskClock]) else { return };
    assert!(!counters.is_direct(0) && !counters.is_direct(7));
    let ((), profile) = counters.profile(|| touch_pages(200));
    let profile = profile.unwrap();
    println!("{profile}");
    let (found, clock) = (profile.total(0).unwrap(), profile.total(1).unwrap());
    assert!((faults(200)..faults(200) + 50).contains(&found), "{found} faults");
    let time: Duration = profile.types.iter().map(|on| on.time).sum();
    assert!(clock > 0 && time > Duration::ZERO);
    // The clock that is counted is read outside of that which tells the time.
    assert!(u128::from(clock) >= time.as_nanos(), "{clock} ns in {time:?}");
    let ((), idle) = counters.profile(|| ());
    assert!(idle.unwrap().total(0).unwrap() < 20);
}

#[test]
fn context_switches_are_counted() {
    let Some(counters) = open(&[Event::ContextSwitches]) else { return };
    let sleep = || (0..5).for_each(|_| thread::sleep(Duration::from_millis(2)));
    let ((), profile) = counters.profile(sleep);
    assert!(profile.unwrap().total(0).unwrap() >= 5);
}

/// What is counted on two CPUs is in the sum, and readings of different CPUs are not compared.
#[test]
fn a_thread_that_moves_is_counted_everywhere() {
    let allowed = cpus::allowed();
    let [a, b, ..] = allowed[..] else { return println!("SKIPPED: one CPU") };
    let Some(counters) = open(&[Event::PageFaults]) else { return };
    let ((first, second), profile) = counters.profile(|| {
        cpus::restrict(0, &[a]);
        touch_pages(100);
        let first = counters.read_here(0).unwrap();
        cpus::restrict(0, &[b]);
        touch_pages(100);
        (first, counters.read_here(0).unwrap())
    });
    cpus::restrict(0, &allowed);
    assert_eq!((first.cpu() as usize, second.cpu() as usize), (a, b));
    assert!(first.count() >= faults(100) && second.count() >= faults(100));
    assert_eq!(second.since(&first), None);
    assert_eq!(first.since(&first).and_then(|count| count.scaled()), Some(0));
    let total = profile.unwrap().total(0).unwrap();
    assert!((faults(200)..faults(200) + 50).contains(&total), "{total} faults");
}

#[test]
fn only_the_thread_is_counted() {
    let Some(counters) = open(&[Event::PageFaults]) else { return };
    let other = || thread::scope(|scope| scope.spawn(|| touch_pages(1000)).join().unwrap());
    let ((), profile) = counters.profile(other);
    assert!(profile.unwrap().total(0).unwrap() < faults(1000));
}

#[test]
fn whole_cpus_count_everybody() {
    let events = [Event::ContextSwitches, Event::PageFaults];
    let Some(counters) = skip(CpuCounters::open(&events)) else { return };
    let sum = |event| -> u64 {
        counters.read_all(event).unwrap().iter().map(|reading| reading.count()).sum()
    };
    let before = [sum(0), sum(1)];
    thread::scope(|scope| scope.spawn(|| touch_pages(300)).join().unwrap());
    thread::sleep(Duration::from_millis(1));
    assert!(sum(0) > before[0] && sum(1) >= before[1] + faults(300));
    // Shared, and read by any thread where it is.
    let here = thread::scope(|scope| scope.spawn(|| counters.read_here(0)).join().unwrap());
    assert!(!here.unwrap().was_direct());
    assert!(matches!(counters.read_all(2), Err(Error::NoSuchEvent)));
}

#[test]
fn types_cover_every_cpu_once() {
    let types = cpu_types();
    for cpu in 0..machine().slots() {
        assert_eq!(types.iter().filter(|one| one.cpus.contains(&cpu)).count(), 1, "CPU {cpu}");
    }
}

#[test]
fn events_that_are_not_there_are_refused_in_words() {
    // No processor has that one; without counters, none is there.
    let Err(error) = Counters::open(&[Event::TaskClock, Event::Raw(u64::MAX >> 1)]) else {
        return println!("SKIPPED: this kernel takes any number for an event");
    };
    println!("{error}");
    assert!(matches!(error, Error::Absent { .. } | Error::Denied { .. } | Error::NoSystemCall));
    if let Some(counters) = open(&[Event::TaskClock]) {
        assert!(matches!(counters.read_here(1), Err(Error::NoSuchEvent)));
    }
}

/// The child's memory is not the parent's: it is told so, and may drop what it inherited.
#[test]
fn the_child_of_a_fork_is_told() {
    for event in [Event::PageFaults, Event::Instructions] {
        let Some(counters) = open(&[event]) else { continue };
        // SAFETY: the child makes system calls, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // What is at the pages' places now is somebody else's.
            let refused = matches!(counters.read_here(0), Err(Error::Forked));
            let profiled = counters.profile(|| 1);
            drop(counters);
            let right = refused && matches!(profiled, (1, Err(Error::Forked)));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if right { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "{event}");
        assert!(counters.read_here(0).is_ok());
    }
}

/// Files and mappings are closed; leaks and exits of threads hurt nobody.
#[test]
fn nothing_is_left_open() {
    let files = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let events = [Event::PageFaults, Event::TaskClock];
    if open(&events).is_none() {
        return;
    }
    thread::spawn(move || {
        let counters = Counters::open(&events).unwrap();
        std::mem::forget(counters);
    })
    .join()
    .unwrap();
    // Others of these tests open and close some too.
    let before = files();
    for _ in 0..200 {
        drop(Counters::open(&events).unwrap());
    }
    assert!(files() < before + 200, "{before} files, then {}", files());
}

/// A closure that panics leaves counters that count.
#[test]
fn a_panic_passes_through() {
    let Some(counters) = open(&[Event::PageFaults]) else { return };
    let profile = std::panic::AssertUnwindSafe(|| counters.profile(|| panic!("the closure's")));
    assert!(std::panic::catch_unwind(profile).is_err());
    assert!(counters.profile(|| ()).1.is_ok());
}

/// The processor's own, by the section where that may be.
#[test]
fn instructions_are_counted() {
    let direct = count_instructions();
    // arm64 has to be told to; then `where_user_access_is_allowed` is the test.
    if cfg!(target_arch = "x86_64") && machine().tier() == Tier::Rseq {
        assert_ne!(direct, Some(0), "never read directly");
    }
}

/// How many of a thousand pairs were read directly, if that may ever be.
fn count_instructions() -> Option<u32> {
    let events = [Event::Instructions, Event::Cycles];
    let counters = open(&events)?;
    let direct = counters.is_direct(0);
    println!("direct: {direct}");
    // Emulators count with strange clocks; but loops are loops.
    const TURNS: u64 = 100_000;
    let ((), empty) = counters.profile(|| ());
    let ((), profile) = counters.profile(|| turn(TURNS));
    let (empty, profile) = (empty.unwrap(), profile.unwrap());
    println!("{empty}\n{profile}");
    let of = |event| profile.total(event).unwrap();
    assert!((TURNS..TURNS * 100).contains(&of(0)), "{} instructions", of(0));
    assert!(of(1) > 0);
    // Readings of one CPU, one behind the other.
    let mut compared = 0;
    let mut directly = 0;
    for _ in 0..1000 {
        let before = counters.read_here(0).unwrap();
        turn(100);
        let after = counters.read_here(0).unwrap();
        directly += u32::from(before.was_direct() && after.was_direct());
        if let Some(count) = after.since(&before) {
            compared += 1;
            // Otherwise others use the counters too, and it may not have had its turn.
            if count.running() >= count.enabled() {
                assert!((100..100_000_000).contains(&count.counted()), "{count:?}");
            }
        }
    }
    println!("{compared} of 1000 pairs on one CPU, {directly} direct");
    assert!(compared > 100);
    direct.then_some(directly)
}

/// By the section and by `read`, the same event goes up.
#[test]
fn direct_readings_and_those_by_call_agree() {
    let Some(counters) = open(&[Event::Instructions]) else { return };
    if !counters.is_direct(0) {
        return println!("SKIPPED: counters cannot be read directly");
    }
    let allowed = cpus::allowed();
    let mut last = vec![0_u64; machine().slots() as usize];
    for round in 0..2000_usize {
        if round % 50 == 0 {
            cpus::restrict(0, &[allowed[round / 50 % allowed.len()]]);
        }
        let reading = counters.read_here(0).unwrap();
        let last = &mut last[reading.cpu() as usize];
        assert!(reading.count() >= *last, "{reading:?} after {last}");
        *last = reading.count();
        if round % 100 == 0 {
            let ((), by_call) = counters.profile(|| ());
            assert!(by_call.unwrap().total(0).is_some());
        }
    }
    cpus::restrict(0, &allowed);
}

/// More events than any processor has counters: they take turns, and are scaled.
#[test]
fn events_that_take_turns_are_scaled() {
    const TURNS: u64 = 5_000_000;
    let Some(counters) = open(&[Event::Instructions; 16]) else { return };
    let Some(alone) = open(&[Event::Instructions]) else { return };
    let ((_, profile), exact) = alone.profile(|| counters.profile(|| turn(TURNS)));
    let (profile, exact) = (profile.unwrap(), exact.unwrap().total(0).unwrap());
    println!("{profile}\nexact: {exact}");
    let turns = |on: &stillpoint::perf::OnType| {
        on.counts.iter().flatten().filter(|count| count.running() < count.enabled()).count()
    };
    println!("{} took turns", profile.types.iter().map(turns).sum::<usize>());
    for at in 0..16 {
        // One that never had its turn is no estimate.
        if let Some(total) = profile.total(at) {
            assert!((TURNS / 2..exact * 4).contains(&total), "{total}, exactly {exact}");
        }
    }
    assert!((0..16).any(|at| profile.total(at).is_some()));
}

/// On arm64 an administrator must allow it.
#[test]
#[ignore = "sets kernel.perf_user_access, for good"]
fn where_user_access_is_allowed() {
    let setting = "/proc/sys/kernel/perf_user_access";
    if let Err(error) = std::fs::write(setting, "1") {
        return expect::skip("counters", format_args!("{setting}: {error}"));
    }
    let Some(counters) = open(&[Event::Cycles]) else { return };
    assert!(counters.is_direct(0) || machine().tier() < Tier::Rseq);
    let allowed = cpus::allowed();
    for &cpu in allowed.iter().cycle().take(200) {
        cpus::restrict(0, &[cpu]);
        let readings: Vec<_> = (0..10).map(|_| counters.read_here(0).unwrap()).collect();
        assert!(readings.iter().all(|reading| reading.cpu() as usize == cpu));
        assert!(readings.is_sorted_by_key(|reading| reading.count()), "{readings:?}");
        if machine().tier() == Tier::Rseq {
            assert!(readings.iter().any(|reading| reading.was_direct()), "CPU {cpu}");
        }
    }
    cpus::restrict(0, &allowed);
    // So that the others do not have to take turns with it.
    drop(counters);
    println!("200 moves; every reading of the CPU it was made on");
    if machine().tier() == Tier::Rseq {
        match count_instructions() {
            Some(directly) => assert_ne!(directly, 0, "never read directly"),
            None => expect::skip("counters", "instructions cannot be read directly"),
        }
    }
    direct_readings_and_those_by_call_agree();
    events_that_take_turns_are_scaled();
}

/// The events of its CPU are gone: that is said, or they go on, and nothing else is harmed.
#[test]
#[ignore = "takes a CPU offline: for machines of one's own"]
fn a_cpu_that_goes_offline() {
    let allowed = cpus::allowed();
    let (first, last) = (allowed[0], *allowed.last().unwrap());
    let switch = |on: &str| {
        std::fs::write(format!("/sys/devices/system/cpu/cpu{last}/online"), on).unwrap();
    };
    let open = |event| (Counters::open(&[event]).ok(), CpuCounters::open(&[event]).ok());
    for event in [Event::TaskClock, Event::Cycles] {
        let early = open(event);
        switch("0");
        let late = open(event);
        if let (Some(own), Some(all)) = &early {
            let ((), profile) = own.profile(|| turn(1000));
            println!("offline: {:?}; {:?}", profile.unwrap(), all.read_all(0));
        }
        switch("1");
        assert!(cpus::restrict(0, &[last]));
        for (own, all) in [&early, &late] {
            for reading in
                [own.as_ref().map(|c| c.read_here(0)), all.as_ref().map(|c| c.read_here(0))]
            {
                println!("{event} on CPU {last}: {reading:?}");
                match reading {
                    None => {}
                    Some(Ok(reading)) => assert_eq!(reading.cpu() as usize, last),
                    Some(Err(Error::NotOnThisCpu { cpu })) => assert_eq!(cpu as usize, last),
                    Some(Err(error)) => panic!("{error}"),
                }
            }
        }
        if let (Some(own), Some(_)) = &late {
            let refused = own.read_here(0);
            assert!(matches!(refused, Err(Error::NotOnThisCpu { .. })), "{refused:?}");
        }
        assert!(cpus::restrict(0, &[first]));
        for (own, all) in [&early, &late] {
            assert!(own.as_ref().is_none_or(|c| c.read_here(0).is_ok()));
            assert!(all.as_ref().is_none_or(|c| c.read_here(0).is_ok()));
        }
        assert!(cpus::restrict(0, &allowed));
    }
}
