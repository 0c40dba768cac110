//! Histograms, beside another one.

use super::cpus;
use hdrhistogram::Histogram as Other;
use std::thread::scope;
use stillpoint::percpu::{Distribution, Histogram};

const QUANTILES: [f64; 12] = [0.0, 1e-9, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// Values of many shapes. None above what the other one can hold.
fn shapes() -> Vec<(&'static str, Vec<u64>)> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut many = |n: usize, of: &mut dyn FnMut(&mut fastrand::Rng) -> u64| {
        (0..n).map(|_| of(&mut random)).collect::<Vec<_>>()
    };
    vec![
        ("one zero", vec![0]),
        ("one one", vec![1]),
        ("one large one", vec![(1 << 62) + 12_345]),
        ("small", many(10_000, &mut |r| r.u64(..64))),
        ("linear and first cut", many(10_000, &mut |r| r.u64(..130))),
        ("uniform", many(10_000, &mut |r| r.u64(..1_000_000))),
        ("any size", many(10_000, &mut |r| r.u64(..1 << 62) >> r.u32(..62))),
        ("powers of two", (0..62).map(|n| 1 << n).collect()),
        ("below powers of two", (0..62).map(|n| (1 << n) - 1).collect()),
        ("above powers of two", (0..62).map(|n| (1 << n) + 1).collect()),
        ("two far apart", (0..1001).map(|n| if n % 2 == 0 { 3 } else { 1 << 40 }).collect()),
        ("a long tail", many(20_000, &mut |r| (1000.0 / (1.0 - r.f64()).powf(1.5)) as u64)),
        ("latencies", many(20_000, &mut |r| 200 + (-(1.0 - r.f64()).ln() * 5000.0) as u64)),
        ("all the same", vec![777_777; 5000]),
        ("few, many times", many(5000, &mut |r| [5, 50, 5_000_000][r.usize(..3)])),
        ("rising", (0..20_000).map(|n| n * n).collect()),
    ]
}

fn recorded(values: &[u64]) -> Distribution {
    let histogram = Histogram::new();
    values.iter().for_each(|&value| histogram.record(value));
    histogram.snapshot()
}

/// That rank of sorted values, as the documentation of `quantile` counts.
fn true_quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// As the documentation has it: not below the true one, and not above it by more than 1/32.
fn assert_near(found: u64, truth: u64, what: &str) {
    assert!(found >= truth && found - truth <= truth / 32, "{what}: {found} for {truth}");
}

#[test]
fn counts_and_sums_are_exact_and_quantiles_near() {
    for (shape, mut values) in shapes() {
        let seen = recorded(&values);
        let mut other = Other::<u64>::new_with_bounds(1, 1 << 62, 3).unwrap();
        values.iter().for_each(|&value| other.record(value).unwrap());
        let sum = values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
        assert_eq!((seen.count(), seen.sum()), (other.len(), sum), "{shape}");
        values.sort_unstable();
        for q in QUANTILES {
            let what = format!("{shape}, {q}");
            let found = seen.quantile(q);
            assert_near(found, true_quantile(&values, q), &what);
            // Theirs is within a thousandth of the true one, above or below.
            let theirs = other.value_at_quantile(q);
            let apart = found.abs_diff(theirs) as f64;
            assert!(
                apart <= theirs as f64 * (1.0 / 32.0 + 0.002) + 1.0,
                "{what}: {found}, {theirs}"
            );
        }
        let mean = seen.mean().unwrap();
        if values.iter().map(|&value| value as u128).sum::<u128>() == sum as u128 {
            assert!((mean - other.mean()).abs() <= mean * 0.001 + 0.5, "{shape}: {mean}");
        }
    }
}

#[test]
fn buckets_are_what_was_recorded() {
    for (shape, values) in shapes() {
        let seen = recorded(&values);
        let mut before = None;
        let mut all = 0;
        for (low, high, count) in seen.buckets() {
            assert!(low <= high && high - low <= low / 32 && before < Some(low), "{shape}");
            let inside = values.iter().filter(|&value| (low..=high).contains(value)).count();
            assert_eq!(count, inside as u64, "{shape}: {low}..={high}");
            (before, all) = (Some(high), all + count);
        }
        assert_eq!(all, seen.count(), "{shape}");
    }
}

#[test]
fn counts_up_to_a_limit_say_how_sure_they_are() {
    for (shape, values) in shapes() {
        let seen = recorded(&values);
        let edges = seen.buckets().flat_map(|(low, high, _)| [low, high]).collect::<Vec<_>>();
        let near = edges.iter().flat_map(|&edge| [edge.saturating_sub(1), edge, edge + 1]);
        for limit in near.take(600).chain([0, 63, 64, 65, 1000, u64::MAX]) {
            let (most, unsure) = seen.count_up_to(limit);
            let truth = values.iter().filter(|&&value| value <= limit).count() as u64;
            assert!(most - unsure <= truth && truth <= most, "{shape}, {limit}: {most} {unsure}");
            assert!(unsure == 0 || limit >= 64, "{shape}, {limit}");
        }
        assert_eq!(seen.count_up_to(u64::MAX), (seen.count(), 0), "{shape}");
    }
}

#[test]
fn merged_is_recorded_together() {
    let mut all = Distribution::default();
    let mut values = vec![];
    for (_, more) in shapes() {
        all.merge(&recorded(&more));
        values.extend(more);
        assert_eq!(all, recorded(&values));
    }
    let before = all.clone();
    all.merge(&Distribution::default());
    assert_eq!(all, before);
}

#[test]
fn nothing_recorded() {
    for nothing in [Histogram::new().snapshot(), Histogram::default().snapshot(), recorded(&[])] {
        assert_eq!(nothing, Distribution::default());
        assert_eq!((nothing.count(), nothing.sum(), nothing.mean()), (0, 0, None));
        assert!(QUANTILES.iter().all(|&q| nothing.quantile(q) == 0));
        assert_eq!((nothing.buckets().count(), nothing.count_up_to(u64::MAX)), (0, (0, 0)));
    }
}

#[test]
fn extremes() {
    let histogram = Histogram::new();
    histogram.record(u64::MAX);
    let seen = histogram.snapshot();
    assert_eq!((seen.count(), seen.sum(), seen.quantile(0.5)), (1, u64::MAX, u64::MAX));
    histogram.record(0);
    histogram.record(1);
    let seen = histogram.snapshot();
    // The sum is modulo 2^64.
    assert_eq!((seen.count(), seen.sum()), (3, 0));
    let found = [-1.0, 0.0, f64::NAN, 0.5, 1.0, 2.0, f64::INFINITY].map(|q| seen.quantile(q));
    assert_eq!(found, [0, 0, 0, 1, u64::MAX, u64::MAX, u64::MAX]);
    assert_eq!(seen.count_up_to(0), (1, 0));
    assert_eq!(seen.count_up_to(u64::MAX - 1), (3, 1));
    histogram.record_n(5, 0);
    assert_eq!(histogram.snapshot(), seen);
    histogram.record_n(5, 1 << 40);
    let seen = histogram.snapshot();
    assert_eq!((seen.count(), seen.sum()), ((1 << 40) + 3, 5 << 40));
    assert_eq!((seen.quantile(0.5), seen.quantile(1.0)), (5, u64::MAX));
    let shown = format!("{histogram:?}");
    assert!(shown.starts_with("Distribution { count: 1099511627779"), "{shown}");
}

#[test]
fn nothing_is_lost_by_threads_that_move() {
    let (histogram, cpus) = (Histogram::new(), cpus::allowed());
    let mut told = Distribution::default();
    let recorder = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = vec![];
        for _ in 0..300 {
            cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]);
            for _ in 0..random.u32(..40) {
                let value = random.u64(..) >> random.u32(..64);
                histogram.record(value);
                values.push(value);
            }
        }
        recorded(&values)
    };
    scope(|s| {
        let recorder = &recorder;
        let threads: Vec<_> = (0..4).map(|seed| s.spawn(move || recorder(seed))).collect();
        threads.into_iter().for_each(|thread| told.merge(&thread.join().unwrap()));
    });
    assert_eq!(histogram.snapshot(), told);
}
