//! Shares that sum to one, and what they cost.

use super::{LANES, exp, sum_over, vectorised};

#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |greatest, number| if *number > greatest { *number } else { greatest })
}

vectorised! {
    /// Replaces scores by `e^(score - logarithm of the sum of all)`, where the first row sees `first` columns and each other one more, if
    /// `grows`; what a row does not see becomes 0. Returns the logarithms in `logarithms`.
    pub(crate) fn exponentials<'a>(
        scores: &'a mut [f32],
        width: usize,
        first: usize,
        grows: bool,
        logarithms: &'a mut [f32],
    ) -> () {
        for (place, (row, logarithm)) in scores.chunks_exact_mut(width).zip(logarithms).enumerate() {
            let seen = if grows { (first + place).min(width) } else { width };
            let (row, unseen) = row.split_at_mut(seen);
            unseen.fill(0.0);
            let most = greatest(row);
            for number in row.iter_mut() {
                *number = exp(*number - most);
            }
            let sum = sum_over(row.len(), |place| row[place]);
            let share = 1.0 / sum;
            row.iter_mut().for_each(|number| *number *= share);
            *logarithm = most + sum.ln();
        }
    }
}

vectorised! {
    /// Replaces the gradients of shares by those of scores: `share * (gradient - dot) * scale`, with a `dot` for each row.
    pub(crate) fn softmax_gradient<'a>(
        shares: &'a [f32],
        gradients: &'a mut [f32],
        width: usize,
        dots: &'a [f32],
        scale: f32,
    ) -> () {
        let rows = shares.chunks_exact(width).zip(gradients.chunks_exact_mut(width));
        for ((shares, gradients), dot) in rows.zip(dots) {
            let dot = *dot;
            gradients.iter_mut().zip(shares).for_each(|(gradient, share)| *gradient = share * (*gradient - dot) * scale);
        }
    }
}

/// What is to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Smoothed {
    pub(crate) label: u32,
    /// The share of the probability that is spread over all classes.
    pub(crate) smoothing: f32,
    /// What the gradient is multiplied with.
    pub(crate) scale: f32,
}

vectorised! {
    /// Returns the cross-entropy of a row of logits and whether the greatest of them is the label's; replaces the logits by their gradient.
    pub(crate) fn cross_entropy<'a>(row: &'a mut [f32], answer: Smoothed) -> (f64, bool) {
        let width = row.len();
        let Smoothed { label, smoothing, scale } = answer;
        let most = greatest(row);
        let at_label = row[label as usize];
        // The sum of the logits below the greatest: what smoothing needs.
        let below = if smoothing > 0.0 { sum_over(width, |place| row[place] - most) } else { 0.0 };
        for number in row.iter_mut() {
            *number = exp(*number - most);
        }
        let sum = sum_over(width, |place| row[place]);
        let logarithm = sum.ln();
        let of_label = f64::from(logarithm) - f64::from(at_label - most);
        let of_all = f64::from(logarithm) - f64::from(below) / width as f64;
        let loss = (1.0 - f64::from(smoothing)) * of_label + f64::from(smoothing) * of_all;
        let (share, spread) = (scale / sum, scale * smoothing / width as f32);
        for number in row.iter_mut() {
            *number = number.mul_add(share, -spread);
        }
        row[label as usize] -= scale * (1.0 - smoothing);
        (loss, at_label >= most)
    }
}
