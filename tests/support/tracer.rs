//! Abort points, exhaustively.
//!
//! A parent stops a child at every instruction of a sequence, from before the descriptor is
//! planted to behind the section, with a breakpoint. While the child is stopped the parent
//! plays the adversary: it commits on the child's slot, as another thread of that CPU would,
//! may flip the phase, may move the child to another CPU. Then the child goes on. Every count
//! must be there in the end, once, and in the right phase.
//!
//! Pairs of stops (once before the section, once inside) find windows between planting the
//! descriptor and the section: the first stop clears the descriptor, the second then meets
//! a section that runs unprotected.
//!
//! A new sequence joins by one line in [`SEQUENCES`].

#[path = "tracer/arena.rs"]
mod arena;
#[path = "tracer/child.rs"]
mod child;
#[path = "cpus.rs"]
mod cpus;
#[path = "leaves.rs"]
mod leaves;
#[path = "lists.rs"]
mod lists;
#[path = "tracer/pages.rs"]
mod pages;
#[path = "tracer/sequences.rs"]
mod sequences;

use arena::{Arena, Place};
#[allow(unused_imports, reason = "not every file of tests needs all of it")]
pub(crate) use arena::{Descriptor, remember_planted};
pub(crate) use child::Child;
use child::instructions;
#[allow(unused_imports, reason = "as above")]
pub(crate) use sequences::{SEQUENCES, Sequence};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use stillpoint::rseq::area::ensure_registered;

/// No wrapper around a sequence is longer than this.
pub(crate) const LONGEST: u64 = 4096;

/// Of one sequence's tries so many may be disturbed: all of them are only if it cannot end.
const MOST_DISTURBED: usize = 10_000;

/// What the adversary does at a stop, besides committing.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// Where the child is stopped first, if it is a pair.
    before: Option<u64>,
    at: u64,
    migrate: bool,
    flip: bool,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Stops that were tried.
    pub(crate) stops: usize,
    /// Of those, inside the section.
    pub(crate) inside: usize,
    /// Tries that the kernel had aborted before the stop, and that were made again.
    disturbed: usize,
    /// Every stop after which a count was lost, doubled, or in the wrong phase.
    pub(crate) failures: Vec<String>,
}

/// Stops `sequence` everywhere. `None`, and a printed reason, if this process cannot.
pub(crate) fn trace(sequence: &Sequence) -> Option<Outcome> {
    if !ensure_registered() {
        println!("SKIPPED abort points of {}: rseq is not registered", sequence.name);
        return None;
    }
    match try_trace(sequence) {
        Ok(outcome) => Some(outcome),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            println!("SKIPPED abort points of {}: ptrace is not allowed", sequence.name);
            None
        }
        Err(e) => panic!("{}: {e}", sequence.name),
    }
}

/// The addresses of a sequence's instructions: the two that plant its descriptor, those of the
/// section, and the one behind it.
pub(crate) fn stops(entry: u64, descriptor: &Descriptor) -> Vec<u64> {
    let code = instructions(entry, descriptor.start + descriptor.length);
    let first = code.iter().position(|&at| at == descriptor.start);
    code[first.expect("start is an instruction") - 2..].to_vec()
}

fn try_trace(sequence: &Sequence) -> io::Result<Outcome> {
    let arena = Arena::map(sequence.commits_to)?;
    // SAFETY: the child runs only `serve`, which neither allocates nor takes locks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        arena.serve(sequence);
    }
    let child = Child { pid };
    if let Err(e) = child.wait() {
        return Err(if e.to_string().contains("0x6300") {
            io::Error::from_raw_os_error(libc::EPERM)
        } else {
            e
        });
    }
    let entry = sequence.attempt as *const () as u64;
    // What the child planted last need not be the sequence's own, if it was preempted since.
    let mut tries = 0..1000;
    let descriptor = loop {
        // SAFETY: planted by the child from the same program text: static data of ours.
        match unsafe { arena.descriptor.load(SeqCst).as_ref() } {
            Some(d) if d.start > entry && d.start - entry < LONGEST => break *d,
            other => assert!(tries.next().is_some(), "{other:x?} is not in {entry:#x}"),
        }
        arena.reset();
        child.resume()?;
    };
    let section = descriptor.start..descriptor.start + descriptor.length;
    let (start, end) = (section.start, section.end);
    let stops = reached(&child, arena, sequence, &descriptor, stops(entry, &descriptor))?;
    let cpus = cpus::allowed();

    let mut outcome = Outcome { stops: 0, inside: 0, disturbed: 0, failures: Vec::new() };
    for &at in &stops {
        for migrate in [false, true] {
            for flip in [false, true] {
                let pairs = stops.iter().copied().take_while(|&b| b < start && b < at).map(Some);
                for before in std::iter::once(None).chain(pairs) {
                    let stop = Stop { before, at, migrate: migrate && cpus.len() > 1, flip };
                    outcome.stops += 1;
                    outcome.inside += usize::from(section.contains(&at));
                    let result = loop {
                        let tried = try_stop(&child, arena, sequence, &descriptor, &cpus, stop)?;
                        if let Some(result) = tried {
                            break result;
                        }
                        outcome.disturbed += 1;
                        if outcome.disturbed > MOST_DISTURBED {
                            return Err(io::Error::other("aborted without end"));
                        }
                    };
                    if let Err(what) = result {
                        outcome.failures.push(format!(
                            "{} +{} (section +{}..+{}) {stop:x?}: {what}",
                            sequence.name,
                            at - entry,
                            start - entry,
                            end - entry,
                        ));
                    }
                }
            }
        }
    }
    Ok(outcome)
}

/// Those of the stops that the child comes to: what reads a counter of the processor is passed over
/// where none counts.
fn reached(
    child: &Child,
    arena: &Arena,
    sequence: &Sequence,
    descriptor: &Descriptor,
    stops: Vec<u64>,
) -> io::Result<Vec<u64>> {
    if !matches!(sequence.commits_to, Place::FromPage) {
        return Ok(stops);
    }
    let passed = |at: u64| -> io::Result<bool> {
        for _ in 0..MOST_DISTURBED {
            arena.reset();
            if let Some(reached) = child.run_to_unless_done(&[at, descriptor.abort])? {
                child.resume()?;
                if reached == at {
                    return Ok(false);
                }
            } else {
                return Ok(true);
            }
        }
        Err(io::Error::other("aborted without end"))
    };
    let mut reached = Vec::new();
    for &at in &stops {
        if passed(at)? {
            println!("{}: passes over +{}", sequence.name, at - descriptor.start);
        } else {
            reached.push(at);
        }
    }
    Ok(reached)
}

/// One stop. The inner error says what went wrong with the counts. `None` if the child was preempted
/// in its section before it came to the stop: that may lead there too, by way of the landing.
fn try_stop(
    child: &Child,
    arena: &Arena,
    sequence: &Sequence,
    descriptor: &Descriptor,
    cpus: &[usize],
    stop: Stop,
) -> io::Result<Option<Result<(), String>>> {
    let place = sequence.commits_to;
    let section = descriptor.start..descriptor.start + descriptor.length;
    arena.reset();
    let sums = || [arena.sum(0, place), arena.sum(1, place)];
    let phase = if sequence.follows_phase { arena.phase() } else { 0 };
    let mut expected = sums();
    if let Some(before) = stop.before {
        child.run_to(&[before])?;
    }
    if child.run_to(&[stop.at, descriptor.abort])? != stop.at {
        let signal = child.resume()?;
        return match signal {
            libc::SIGSTOP => Ok(None),
            _ => Err(io::Error::other(format!("signal {signal} instead of the stop"))),
        };
    }
    let attempts = arena.attempts.load(SeqCst);

    let committed = sums()[phase] != expected[phase];
    expected[phase] += arena.interfere(phase, place);
    let mut lands_in = phase;
    if stop.flip {
        arena.flip();
        if sequence.follows_phase && !committed {
            lands_in = 1 - phase;
        }
    }
    expected[lands_in] += 1;
    let mut lands_on = None;
    if stop.migrate {
        let here = child.cpu()?;
        let there = cpus.iter().copied().find(|&cpu| cpu != here).unwrap_or(here);
        child.move_to(&[there]);
        // Neither a reader's nor the kernel's count is of a CPU.
        if !committed && !matches!(place, Place::InLeaf(_) | Place::Bell) {
            lands_on = Some((there, arena.sum_of(there, lands_in, place) + 1));
        }
    }

    let signal = child.resume()?;
    child.move_to(cpus);
    if signal != libc::SIGSTOP {
        return Err(io::Error::other(format!("signal {signal} instead of the stop")));
    }
    let restarted = arena.attempts.load(SeqCst) != attempts;
    let torn = arena.torn.swap(0, SeqCst) != 0;
    Ok(Some(if sums() != expected {
        Err(format!("counts {:?}, expected {expected:?}", sums()))
    } else if lands_on.is_some_and(|(cpu, n)| arena.sum_of(cpu, lands_in, place) != n) {
        Err("committed on the line of another CPU".to_owned())
    } else if torn {
        Err("published a record that is not its own".to_owned())
    } else if committed && stop.at < section.end {
        Err("committed inside the section".to_owned())
    } else if section.contains(&stop.at) && !restarted {
        Err("not aborted inside the section".to_owned())
    } else if stop.at >= section.end && restarted {
        Err("restarted behind the section".to_owned())
    } else {
        Ok(())
    }))
}
