//! The unsafe floor: each sequence does what it says, is turned away where it says, and structures
//! that are made of them lose and double nothing.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/floor_stress.rs"]
mod stress;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::percpu::RawPerCpu;
use stillpoint::rseq::area::{ensure_registered, is_registered};
use stillpoint::rseq::change::{self, Change};
use stillpoint::rseq::word::current_cpu;
use stillpoint::rseq::{FenceError, exchange, fence, fence_cpu};
use stress::crowd::cpus;

fn on_rseq(test: &str) -> bool {
    let tier = stillpoint::machine().tier();
    if tier != Tier::Rseq {
        println!("SKIPPED {test}: tier {tier}");
    }
    tier == Tier::Rseq
}

/// So often that one try is not interrupted.
const TRIES: usize = 1000;

/// What may be aborted, until it is not.
fn in_the_end(mut attempt: impl FnMut() -> bool) -> bool {
    (0..TRIES).any(|_| attempt())
}

/// Each of the things that a change compares turns it away.
#[test]
fn a_change_compares_three_things() {
    if !ensure_registered() {
        return println!("SKIPPED changes: rseq is not registered");
    }
    let allowed = cpus::allowed();
    let cpu = allowed[0];
    cpus::restrict(0, &[cpu]);
    let [word, also, to] = [5, 6, 0].map(AtomicU64::new);
    let cpu = cpu as u32;
    let good = Change { cpu, word: &word, old: 5, new: 8, also: &also, is: 6 };
    let other = AtomicU64::new(4);
    for bad in [
        Change { cpu: cpu + 1, ..good },
        Change { cpu: u32::MAX, ..good },
        Change { old: 4, ..good },
        Change { old: 5 | 1 << 63, ..good },
        Change { is: 7, ..good },
        Change { is: 6 | 1 << 32, ..good },
        Change { also: &other, ..good },
    ] {
        // SAFETY: words of ours, which nobody else knows.
        unsafe {
            assert!(!in_the_end(|| change::commit(&bad)), "{bad:?}");
            assert!(!in_the_end(|| change::store(&bad, &to, 1)), "{bad:?}");
            assert!(!in_the_end(|| change::copy(&bad, std::slice::from_ref(&to), &[1])), "{bad:?}");
        }
        assert_eq!([&word, &also, &to].map(|word| word.load(Relaxed)), [5, 6, 0], "{bad:?}");
    }
    // SAFETY: as above.
    unsafe {
        assert!(in_the_end(|| change::commit(&good)));
        assert_eq!(word.swap(5, Relaxed), 8);
        assert!(in_the_end(|| change::store(&good, &to, 3)));
        assert_eq!((word.swap(5, Relaxed), to.load(Relaxed)), (8, 3));
        // No second word.
        let alone = Change { also: &word, is: 5, ..good };
        assert!(in_the_end(|| change::commit(&alone)));
        assert_eq!((word.load(Relaxed), also.load(Relaxed)), (8, 6));
    }
    cpus::restrict(0, &allowed);
}

/// Copies of every length, exactly.
#[test]
fn a_change_copies() {
    if !ensure_registered() {
        return println!("SKIPPED copies: rseq is not registered");
    }
    let from: Vec<u64> = (100..140).collect();
    for length in 0..from.len() {
        let (word, also) = (AtomicU64::new(0), AtomicU64::new(0));
        let to: Vec<_> = (0..length + 2).map(|_| AtomicU64::new(1)).collect();
        let copy = || {
            let Some(cpu) = current_cpu() else { return false };
            let change = Change { cpu, word: &word, old: 0, new: 9, also: &also, is: 0 };
            // SAFETY: words of ours, which nobody else knows.
            unsafe { change::copy(&change, &to[1..=length], &from[..length]) }
        };
        assert!(in_the_end(copy));
        assert_eq!(word.load(Relaxed), 9);
        let found: Vec<_> = to.iter().map(|word| word.load(Relaxed)).collect();
        assert_eq!(found, [&[1], &from[..length], &[1]].concat());
    }
    let word = AtomicU64::new(0);
    let change = Change { cpu: 0, word: &word, old: 0, new: 9, also: &word, is: 0 };
    for (to, from) in [(0, 1), (1, 0)] {
        let to: Vec<_> = (0..to).map(|_| AtomicU64::new(0)).collect();
        // SAFETY: as above; it panics.
        let copy = || unsafe { change::copy(&change, &to, &[0][..from]) };
        assert!(catch_unwind(AssertUnwindSafe(copy)).is_err());
    }
}

/// What is stopped, or closed, lets nobody in; what is not, does.
#[test]
fn parts_that_are_stopped() {
    let words = RawPerCpu::new(4);
    let mut node = [0, 77_u64];
    let node = node.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: words of the part; nobody else knows it.
    let swap = |new| words.attempt(|place| unsafe { exchange::swap(place, 8, new) }.ok());
    // SAFETY: as above; the list is empty, or this node, whose second word is the next one.
    let pop = || words.attempt(|place| unsafe { exchange::pop(place, 16, 8) }.ok());
    let commit = || {
        words.attempt(|_| {
            let change = words.here()?.change(3, 0, 7);
            // SAFETY: as above.
            unsafe { change::commit(&change) }.then_some(())
        })
    };
    if !on_rseq("sequences on a part") {
        assert!(words.here().is_none());
        assert_eq!((swap(7), pop(), commit()), (None, None, None));
        return;
    }
    let allowed = cpus::allowed();
    for &cpu in &allowed {
        cpus::restrict(0, &[cpu]);
        assert_eq!((swap(7), swap(8), pop()), (Some(0), Some(7), Some(None)));
        words.stopped(cpu, |part| {
            assert_eq!((swap(9), pop(), commit()), (None, None, None));
            assert_eq!(part.word(1).load(Relaxed), 8);
            part.word(2).store(node, Relaxed);
        });
        let popped = pop().flatten().map(|node| node.get() as u64);
        assert_eq!(popped, Some(node));
        // The node's second word.
        assert_eq!(words.get(cpu).map(|part| part.word(2).swap(0, Relaxed)), Some(77));
        words.closed(|_| {
            assert!(words.here().is_none());
            assert_eq!((swap(9), pop(), commit()), (None, None, None));
        });
        assert_eq!((swap(0), commit()), (Some(8), Some(())));
        assert_eq!(words.get(cpu).map(|part| part.word(3).load(Relaxed)), Some(7));
    }
    cpus::restrict(0, &allowed);
}

/// A part that another CPU's thread planned for.
#[test]
fn a_change_of_another_cpu_s_part() {
    let allowed = cpus::allowed();
    let words = RawPerCpu::new(2);
    let [here, there, ..] = allowed[..] else {
        return println!("SKIPPED another CPU's part: one CPU");
    };
    cpus::restrict(0, &[here]);
    let change = words.get(there).map(|part| part.change(1, 0, 7)).unwrap();
    // SAFETY: words of ours.
    assert!(!in_the_end(|| unsafe { change::commit(&change) }));
    cpus::restrict(0, &allowed);
}

#[test]
fn words_that_are_not_there() {
    let words = RawPerCpu::new(4);
    let part = words.shared();
    assert_eq!((part.words(1..4).len(), part.words(4..4).len()), (3, 0));
    for (start, end) in [(0, 1), (0, 0), (1, 5), (3, 2), (5, 5)] {
        assert!(catch_unwind(|| part.words(start..end)).is_err(), "{start}..{end}");
    }
    for at in [0, 4] {
        assert!(catch_unwind(|| part.change(at, 0, 0)).is_err(), "{at}");
    }
}

/// The broadcasts are sent, and counted, on tier `Rseq` only.
#[test]
fn fences() {
    let tier = stillpoint::machine().tier();
    let expected = if tier == Tier::Rseq { Ok(()) } else { Err(FenceError::Tier(tier)) };
    let before = stillpoint::machine().broadcasts();
    assert_eq!(fence(), expected);
    for cpu in [0, stillpoint::machine().slots(), 60_000, i32::MAX as u32, u32::MAX] {
        assert_eq!(fence_cpu(cpu), expected, "{cpu}");
    }
    let sent = stillpoint::machine().broadcasts() - before;
    assert!(if tier == Tier::Rseq { sent >= 6 } else { sent == 0 }, "{sent}");
    let error = FenceError::Refused(libc::EPERM).to_string();
    assert!(error.contains("membarrier"), "{error}");
    let error = FenceError::Tier(Tier::Fence).to_string();
    assert!(error.contains("tier fence"), "{error}");
}

/// Every thread says for itself whether it is registered.
#[test]
fn threads_are_registered() {
    let here = ensure_registered();
    assert_eq!((is_registered(), current_cpu().is_some()), (here, here));
    let there = std::thread::spawn(|| (ensure_registered(), is_registered())).join().unwrap();
    assert_eq!(there, (here, here));
    assert_eq!(stillpoint::machine().registration().is_ok(), here);
}

/// The words that an instruction of a sequence begins with, as objdump has them.
fn mnemonics(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let words = lines.filter_map(|line| {
        let word = line.split_whitespace().next()?;
        let staged = line.contains("ds:");
        let plain = match word {
            _ if word.ends_with(':') => return None,
            "jz" => "je",
            "jnz" => "jne",
            "jc" => "jb",
            "b.hs" => "b.cs",
            word => word,
        };
        Some(if staged { format!("ds {plain}") } else { plain.to_owned() })
    });
    words.collect()
}

/// `docs/rseq.md` lists what is in `asm/`.
#[test]
fn the_page_lists_what_is_shipped() {
    let page = include_str!("../docs/rseq.md");
    macro_rules! listed {
        ($($name:literal)*) => {
            $({
                let heading = concat!("\n### ", $name, "\n");
                let (_, block) = page.split_once(heading).expect($name);
                let lines = block.split("```").nth(1).unwrap().lines().skip(2);
                let column = |range: std::ops::Range<usize>| {
                    let texts = lines.clone().map(|line| line.get(range.start..range.end.min(line.len())));
                    let texts = texts.map(|text| text.unwrap_or_default());
                    // Behind a label, the instruction; its first word, or two.
                    let words = texts.filter_map(|text| {
                        let mut words = text.split_whitespace().filter(|word| !word.ends_with(':'));
                        match words.next()? {
                            "ds" => Some(format!("ds {}", words.next()?)),
                            word => Some(word.to_owned()),
                        }
                    });
                    words.collect::<Vec<_>>()
                };
                let x86 = include_str!(concat!("../asm/x86_64/", $name, ".s"));
                assert_eq!(column(0..41), mnemonics(x86), "{}", $name);
                let arm = include_str!(concat!("../asm/aarch64/", $name, ".s"));
                assert_eq!(column(41..200), mnemonics(arm), "{}", $name);
            })*
        };
    }
    listed! {
        "word_add" "word_replace" "part_add" "change_commit" "change_store" "change_copy"
        "exchange_swap" "exchange_pop" "stack_push" "stack_pop" "stack_take" "cache_push"
        "cache_pop"
    }
}

/// `STILLPOINT_STRESS_SECONDS` says how long.
#[test]
fn no_number_is_had_twice() {
    let seconds = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let report = stress::run(Duration::from_secs(seconds));
    println!("{report:?}");
    assert_eq!(report.violations, 0);
    assert_ne!(report.operations, 0);
}
