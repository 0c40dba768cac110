//! The default hasher spreads what it hashes.

use std::hash::BuildHasher;
use stillpoint::map::RandomState;

/// Each bit of the input changes each bit of the output in about half of all cases.
#[test]
fn every_bit_matters_to_every_bit() {
    const ROUNDS: u32 = 4_000;
    let state = RandomState::new();
    let mut random = fastrand::Rng::with_seed(1);
    let mut flips = [[0_u32; 64]; 64];
    for _ in 0..ROUNDS {
        let word = random.u64(..);
        let hash = state.hash_one(word);
        for (bit, flips) in flips.iter_mut().enumerate() {
            let change = hash ^ state.hash_one(word ^ 1 << bit);
            for (at, flips) in flips.iter_mut().enumerate() {
                *flips += (change >> at & 1) as u32;
            }
        }
    }
    for (bit, flips) in flips.iter().enumerate() {
        for (at, &flips) in flips.iter().enumerate() {
            let share = f64::from(flips) / f64::from(ROUNDS);
            // Ten standard deviations are 0.08; a fold is not perfect.
            assert!((0.35..0.65).contains(&share), "bit {bit} flips bit {at} in {share}");
        }
    }
}

/// Chi-squared of 256 cells by the topmost and the lowest bits, of keys as programs have them.
#[test]
fn keys_in_a_row_spread() {
    const KEYS: u64 = 25_600;
    fn check(name: &str, hash: impl Fn(u64) -> u64) {
        for shift in [0, 24, 56] {
            let mut cells = [0_f64; 256];
            (0..KEYS).for_each(|n| cells[(hash(n) >> shift & 255) as usize] += 1.0);
            let mean = KEYS as f64 / 256.0;
            let chi: f64 = cells.iter().map(|n| (n - mean).powi(2) / mean).sum();
            // 255 degrees of freedom: 400 is six standard deviations off. More even than chance is
            // fine.
            assert!(chi < 400.0, "{name}, bits from {shift}: {chi}");
        }
    }
    let state = RandomState::new();
    check("numbers", |n| state.hash_one(n));
    check("multiples of 4096", |n| state.hash_one(n << 12));
    check("high halves", |n| state.hash_one(n << 32));
    check("small numbers", |n| state.hash_one(n as u32));
    check("pairs", |n| state.hash_one((n % 160, n / 160)));
    check("pairs of numbers that swap", |n| state.hash_one((n / 160, n % 160)));
    check("wide numbers", |n| state.hash_one(u128::from(n) << 64));
    check("strings", |n| state.hash_one(format!("{n}")));
    check("long strings", |n| state.hash_one(format!("https://example.com/a/long/path/{n}/x")));
    check("zeros", |n| state.hash_one(vec![0_u8; n as usize / 100].len() as u64 + n));
    check("arrays of bytes", |n| state.hash_one(n.to_le_bytes()));
}

/// Strings of one byte repeated, and of zeros, of different lengths, are all different.
#[test]
fn lengths_and_order_matter() {
    let state = RandomState::new();
    let mut seen = std::collections::HashSet::new();
    for byte in [0, 1, b'a'] {
        for length in 1..200 {
            assert!(seen.insert(state.hash_one(vec![byte; length].as_slice())));
        }
    }
    assert_ne!(state.hash_one((1_u64, 2_u64)), state.hash_one((2_u64, 1_u64)));
    assert_ne!(state.hash_one(("ab", "c")), state.hash_one(("a", "bc")));
    let mut bytes = [7_u8; 64];
    let before = state.hash_one(bytes);
    bytes.swap(3, 40);
    assert_eq!(state.hash_one(bytes), before);
    (bytes[3], bytes[40]) = (1, 2);
    let before = state.hash_one(bytes);
    bytes.swap(3, 40);
    assert_ne!(state.hash_one(bytes), before);
}

/// No two maps have the same order.
#[test]
fn keys_differ_from_state_to_state() {
    let first = RandomState::new();
    let others: Vec<u64> = (0..100).map(|_| RandomState::new().hash_one(1)).collect();
    assert!(!others.contains(&first.hash_one(1)));
    assert!(others.windows(2).all(|two| two[0] != two[1]));
    assert_eq!(first.hash_one("a"), first.clone().hash_one("a"));
}
