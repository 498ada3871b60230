//! What an update does to weights.

use super::{LANES, sum_over, vectorised};

/// The numbers of an update of AdamW.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    /// The rate, over the correction of the first moment.
    pub(crate) rate: f32,
    /// One over the root of the correction of the second moment.
    pub(crate) root: f32,
    /// What weights are multiplied with first.
    pub(crate) keep: f32,
    /// What gradients are multiplied with first: less than 1 when their norm was too great.
    pub(crate) gradient_scale: f32,
    pub(crate) first_decay: f32,
    pub(crate) second_decay: f32,
    pub(crate) epsilon: f32,
}

vectorised! {
    /// Changes weights and moments by a gradient.
    pub(crate) fn update<'a>(
        weights: &'a mut [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        gradient: &'a [f32],
        with: Update,
    ) -> () {
        let length = weights.len();
        let (first, second, gradient) = (&mut first[..length], &mut second[..length], &gradient[..length]);
        let (first_share, second_share) = (1.0 - with.first_decay, 1.0 - with.second_decay);
        for place in 0..length {
            let gradient = gradient[place] * with.gradient_scale;
            let mean = first[place] * with.first_decay + gradient * first_share;
            let square = second[place] * with.second_decay + gradient * gradient * second_share;
            first[place] = mean;
            second[place] = square;
            let size = square.sqrt() * with.root + with.epsilon;
            weights[place] = weights[place] * with.keep - with.rate * mean / size;
        }
    }
}

vectorised! {
    /// Moves averages towards the weights.
    pub(crate) fn average<'a>(averages: &'a mut [f32], weights: &'a [f32], decay: f32) -> () {
        averages.iter_mut().zip(weights).for_each(|(average, weight)| *average += (weight - *average) * (1.0 - decay));
    }
}

vectorised! {
    /// Returns the sum of the squares.
    pub(crate) fn square_sum<'a>(numbers: &'a [f32]) -> f64 {
        // Pieces are added up in f64: the sum of millions of squares in f32 would lose the last of them.
        numbers.chunks(LANES * 256).map(|piece| f64::from(sum_over(piece.len(), |place| piece[place] * piece[place]))).sum()
    }
}

/// Returns what a gradient of this norm is multiplied with so that it is at most `most`.
pub(crate) fn scale_of_norm(norm: f64, most: f64) -> f32 {
    if most > 0.0 && norm > most { (most / norm) as f32 } else { 1.0 }
}
