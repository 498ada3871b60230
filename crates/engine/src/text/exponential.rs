//! Exponentials of many logits at once: a sum over a vocabulary must cost little beside computing its logits.

const LANES: usize = 16;
/// Sums of this many are added up in f32 before they go on in f64.
const BLOCK: usize = 256;

/// Returns `e^x` for `x` up to 0, with a relative error below 2e-7; 0 where a normal f32 is too large for it.
///
/// Without branches, calls or fused operations, so that loops of it become vector instructions, and results are the same everywhere.
#[inline(always)]
pub(crate) fn exponential(x: f32) -> f32 {
    const SMALLEST: f32 = -87.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Added and taken away again it rounds to a whole number, which then stands in the last bits.
    const ROUNDER: f32 = 12_582_912.0;
    let clamped = if x < SMALLEST { SMALLEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = clamped - whole * LN_2_HIGH - whole * LN_2_LOW;
    // Cephes' polynomial for e^rest, |rest| <= ln 2 / 2.
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    let exponent = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    let value = fraction * f32::from_bits(exponent);
    if x < SMALLEST { 0.0 } else { value }
}

/// Returns the sum of `e^((logit - best) * scale)` over the logits below `limit`; `best` is the largest of all.
pub(crate) fn sum_of_exponentials(logits: &[f32], best: f32, scale: f32, limit: f32) -> f64 {
    logits.chunks(BLOCK).map(|block| f64::from(block_sum(block, best, scale, limit))).sum()
}

fn block_sum(block: &[f32], best: f32, scale: f32, limit: f32) -> f32 {
    let weight = |logit: f32| {
        let weight = exponential((logit - best) * scale);
        if logit < limit { weight } else { 0.0 }
    };
    let mut sums = [0.0f32; LANES];
    let chunks = block.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|logit| weight(*logit)).sum();
    for chunk in chunks {
        for (sum, logit) in sums.iter_mut().zip(chunk) {
            *sum += weight(*logit);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Returns the largest of the logits.
pub(crate) fn largest(logits: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (largest, logit) in largest.iter_mut().zip(chunk) {
            *largest = if *logit > *largest { *logit } else { *largest };
        }
    }
    largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_exact_to_seven_digits() {
        for step in 0..87_000 {
            let x = -(step as f32) / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exponential(x)) - expected).abs() / expected;
            assert!(error < 2e-7, "e^{x} is {} with an error of {error}", exponential(x));
        }
        assert_eq!([0.0, -88.0, -1e30, f32::NEG_INFINITY].map(exponential), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn sums_and_maxima_take_every_logit_once() {
        for length in [1, 15, 16, 17, 255, 256, 257, 1000] {
            let logits: Vec<f32> = (0..length).map(|id| ((id * 37 % 101) as f32) / 7.0 - 9.0).collect();
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&logits), best);
            for limit in [f32::INFINITY, 0.0] {
                let terms = logits.iter().filter(|logit| **logit < limit);
                let expected: f64 = terms.map(|logit| (f64::from(logit - best) * 0.5).exp()).sum();
                let actual = sum_of_exponentials(&logits, best, 0.5, limit);
                assert!((actual - expected).abs() <= expected * 1e-6, "{length}: {actual} and {expected}");
            }
        }
        assert_eq!(largest(&[f32::NEG_INFINITY; 20]), f32::NEG_INFINITY);
    }
}
