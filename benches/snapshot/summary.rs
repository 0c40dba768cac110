//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is the
//! median of the rounds' ratios. Nothing here fails: a missed target is printed as missed.

use crate::claims::{AtMost, Context, Measured, Run};
use crate::clock;
use crate::peers::{self, *};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const READS: u64 = 50_000;
const WRITES: u64 = 5_000;

/// Measures and prints everything that is claimed.
pub(crate) fn print(cpus: &[usize]) {
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {ROUNDS} interleaved rounds; ratios with their quartiles.");
    // In a thread of its own, since pinning lasts.
    std::thread::scope(|scope| {
        scope.spawn(|| all(cpus)).join().expect("measuring does not panic");
    });
}

fn all(cpus: &[usize]) {
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    copies::<1>();
    copies::<8>();
    copies::<32>();

    let peers = peers::loads();
    let m = Measured::interleaved("An owned handle, which is kept", ROUNDS, runs(&peers, READS));
    m.claim(SHARED, LOAD_FULL, AtMost(0.5));
    let peers = peers::handles();
    let m = Measured::interleaved("An owned handle, and its end", ROUNDS, runs(&peers, READS));
    m.claim(SHARED, LOAD_FULL, Context);
    m.claim(CACHE, ARC_CACHE, Context);

    writes::<1>(cpus);
    writes::<32>(cpus);
}

fn copies<const N: usize>() {
    let peers = peers::copies::<N>();
    let title = format!("A copy of {} bytes", 8 * N);
    let m = Measured::interleaved(&title, ROUNDS, runs(&peers, READS));
    m.claim(LEAF, URCU, AtMost(0.4));
    m.claim(LEAF, ARC_SWAP, AtMost(0.12));
    m.claim(LEAF, SEQLOCK, AtMost(0.1));
    m.claim(LEAF, PARKING_LOT, AtMost(0.1));
    m.claim(LEAF, STD, AtMost(0.1));
    m.claim(LEAF, BARE, Context);
    m.claim(LEAF, GUARDED, Context);
}

fn writes<const N: usize>(cpus: &[usize]) {
    let (peers, leaf) = (peers::writes::<N>(), Contended::<N>::new());
    let mut all = runs(&peers, WRITES);
    if let Some(&there) = cpus.get(1) {
        let leaf = &leaf;
        let busy = move || clock::beside(|rounds| leaf.read(rounds), there, || leaf.write(WRITES));
        all.push((format!("{LEAF}, a reader on the other CPU"), Box::new(busy)));
    }
    let title = format!("Replacing {} bytes", 8 * N);
    let m = Measured::interleaved(&title, ROUNDS, all);
    m.claim(LEAF, ARC_SWAP, Context);
    m.claim(LEAF, SEQLOCK, Context);
    m.claim(LEAF, PARKING_LOT, Context);
}

fn runs(peers: &[Peer], operations: u64) -> Vec<Run<'_>> {
    let one =
        move |peer: &Peer| time(|| (peer.run)(operations)).as_nanos() as f64 / operations as f64;
    let run = |peer| -> Run<'_> {
        let peer: &Peer = peer;
        let run = move || {
            // For nothing: brings back to the caches what the one before us put out.
            one(peer);
            one(peer)
        };
        (peer.name.to_owned(), Box::new(run))
    };
    peers.iter().map(run).collect()
}
