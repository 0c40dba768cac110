//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is the
//! median of the rounds' ratios. Nothing here fails: a missed target is printed as missed.

use crate::claims::{Measured, Run};
use crate::clock;
use crate::harness::Quick;
use crate::peers::{self, *};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const READS: u64 = 50_000;
const WRITES: u64 = 5_000;

/// Measures and prints everything that is claimed.
pub(crate) fn print(cpus: &[usize], options: &Quick) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");
    // In a thread of its own, since pinning lasts.
    std::thread::scope(|scope| {
        scope.spawn(|| all(cpus, rounds)).join().expect("measuring does not panic");
    });
}

fn all(cpus: &[usize], rounds: usize) {
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    copies::<1>(rounds);
    copies::<8>(rounds);
    copies::<32>(rounds);

    let peers = peers::loads();
    let m = Measured::interleaved("An owned handle, which is kept", rounds, runs(&peers, READS));
    m.claim(SHARED, LOAD_FULL);
    let peers = peers::handles();
    let m = Measured::interleaved("An owned handle, and its end", rounds, runs(&peers, READS));
    m.claim(SHARED, LOAD_FULL);
    m.claim(CACHE, ARC_CACHE);

    writes::<1>(cpus, rounds);
    writes::<32>(cpus, rounds);
}

fn copies<const N: usize>(rounds: usize) {
    let peers = peers::copies::<N>();
    let title = format!("A copy of {} bytes", 8 * N);
    let m = Measured::interleaved(&title, rounds, runs(&peers, READS));
    m.claim(LEAF, URCU);
    m.claim(LEAF, ARC_SWAP);
    m.claim(LEAF, SEQLOCK);
    m.claim(LEAF, PARKING_LOT);
    m.claim(LEAF, STD);
    m.claim(LEAF, BARE);
    m.claim(LEAF, GUARDED);
}

fn writes<const N: usize>(cpus: &[usize], rounds: usize) {
    let (peers, leaf) = (peers::writes::<N>(), Contended::<N>::new());
    let mut all = runs(&peers, WRITES);
    if let Some(&there) = cpus.get(1) {
        let leaf = &leaf;
        let busy = move || clock::beside(|rounds| leaf.read(rounds), there, || leaf.write(WRITES));
        all.push(Run::new(LEAF, busy).at("a reader on the other CPU"));
    }
    let title = format!("Replacing {} bytes", 8 * N);
    let m = Measured::interleaved(&title, rounds, all);
    m.claim(LEAF, ARC_SWAP);
    m.claim(LEAF, SEQLOCK);
    m.claim(LEAF, PARKING_LOT);
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
        Run::new(peer.name, run)
    };
    peers.iter().map(run).collect()
}
