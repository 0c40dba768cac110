//! Prints what this process has: paste it into bug reports.
//!
//! `cargo run --example doctor`

use stillpoint::{Tier, rcu};

fn main() {
    let machine = stillpoint::machine();
    print!("{machine}");
    let before = machine.broadcasts();
    rcu::synchronize();
    println!("one grace period: {} broadcast(s)", machine.broadcasts() - before);
    if machine.tier() < Tier::Rseq {
        println!("help: docs/guide/deployment.md says what each reason means, and what to allow");
    }
}
