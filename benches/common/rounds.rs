//! Rounds in which everything that is compared has its turn.

/// Runs each of so many contestants once a round; what each brought, by round.
pub(crate) fn interleaved<T>(
    rounds: usize,
    contestants: usize,
    mut run: impl FnMut(usize) -> T,
) -> Vec<Vec<T>> {
    let mut results: Vec<Vec<T>> = (0..contestants).map(|_| vec![]).collect();
    for round in 0..rounds {
        for turn in 0..contestants {
            // Another one is first each time.
            let i = (round + turn) % contestants;
            results[i].push(run(i));
        }
    }
    results
}

#[allow(dead_code, reason = "some benchmarks leave it to `claims`")]
pub(crate) fn quartiles(mut of: Vec<f64>) -> [f64; 3] {
    of.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| of[(of.len() - 1) * quarter / 4])
}
