//! Profiles a closure by type of CPU: cycles, instructions and branch misses where the processor's
//! counters are to be had, and software events where not.
//!
//! ```text
//! cargo run --release --example profile_closure
//! ```

use std::collections::BTreeMap;
use stillpoint::perf::{Counters, Error, Event, Profile};

const HARDWARE: [Event; 3] = [Event::Cycles, Event::Instructions, Event::BranchMisses];
const SOFTWARE: [Event; 2] = [Event::TaskClock, Event::PageFaults];

/// What is profiled: words, counted.
fn work() -> usize {
    let mut counts = BTreeMap::new();
    let mut seed = 1_u32;
    for _ in 0..200_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *counts.entry(seed >> 20).or_insert(0_u32) += 1;
    }
    counts.len()
}

/// The processor's counters, or else the kernel's, and why.
fn open() -> Result<(Counters, Option<Error>), Error> {
    match Counters::open(&HARDWARE) {
        Ok(counters) => Ok((counters, None)),
        Err(why) => Ok((Counters::open(&SOFTWARE)?, Some(why))),
    }
}

fn print(profile: &Profile, fell_back: Option<&Error>) {
    println!("{profile}");
    match fell_back {
        None => {
            // Of all types on which the thread was.
            if let (Some(cycles), Some(instructions)) = (profile.total(0), profile.total(1)) {
                let per_cycle = instructions as f64 / cycles.max(1) as f64;
                println!("{per_cycle:.2} instructions a cycle");
            }
        }
        Some(_) => println!("These are software events: nothing is known of cycles."),
    }
}

fn main() -> Result<(), Error> {
    let (counters, fell_back) = open()?;
    match &fell_back {
        Some(why) => println!("FALLING BACK to software events: {why}.\n"),
        None if (0..HARDWARE.len()).all(|event| counters.is_direct(event)) => {
            println!("Counters of the processor, read without system calls.\n");
        }
        None => println!("Counters of the processor, read by system calls.\n"),
    }
    let (words, profile) = counters.profile(work);
    println!("{words} words");
    print(&profile?, fell_back.as_ref());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_profiles_or_says_why_not() {
        match open() {
            Ok((counters, fell_back)) => {
                let (words, profile) = counters.profile(work);
                assert_eq!(words, 4096);
                let profile = profile.unwrap();
                print(&profile, fell_back.as_ref());
                assert!(profile.total(0).is_some_and(|count| count > 0));
            }
            Err(error) => println!("SKIPPED: {error}"),
        }
    }
}
