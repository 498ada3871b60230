//! Rotary position embedding (Su et al. 2021), on neighbouring pairs, as GGUF stores the rows of `llama` models.

/// The speeds at which the pairs of a head turn.
#[derive(Debug)]
pub(crate) struct Rotary {
    radians_per_position: Vec<f64>,
}

/// Cosine and sine of an angle.
pub(crate) type Rotation = (f32, f32);

impl Rotary {
    /// Turns the first `dimensions` numbers (an even count) of a head.
    pub(crate) fn new(dimensions: usize, frequency_base: f64) -> Rotary {
        let exponent = |pair: usize| -2.0 * pair as f64 / dimensions as f64;
        Rotary { radians_per_position: (0..dimensions / 2).map(|pair| frequency_base.powf(exponent(pair))).collect() }
    }

    /// Returns how many pairs are turned.
    pub(crate) fn pairs(&self) -> usize {
        self.radians_per_position.len()
    }

    /// Appends the rotations of one position, in f64 because an f32 angle of some thousand radians has an error that
    /// can be seen in the logits.
    pub(crate) fn rotations(&self, position: usize, rotations: &mut Vec<Rotation>) {
        rotations.extend(self.radians_per_position.iter().map(|speed| {
            let (sine, cosine) = (speed * position as f64).sin_cos();
            (cosine as f32, sine as f32)
        }));
    }
}

/// Turns each head of `heads`, which lie one after the other.
pub(crate) fn rotate(heads: &mut [f32], head_width: usize, rotations: &[Rotation]) {
    for head in heads.chunks_exact_mut(head_width) {
        for (pair, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(rotations) {
            let [a, b] = *pair;
            *pair = [a * cosine - b * sine, a * sine + b * cosine];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(vector: &[f32], position: usize) -> Vec<f32> {
        let mut rotations = Vec::new();
        Rotary::new(vector.len(), 10_000.0).rotations(position, &mut rotations);
        let mut rotated = vector.to_vec();
        rotate(&mut rotated, vector.len(), &rotations);
        rotated
    }

    fn product(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    const QUERY: [f32; 8] = [0.3, -1.0, 2.0, 0.5, -0.7, 0.1, 1.5, -2.0];
    const KEY: [f32; 8] = [1.0, 0.4, -0.2, 0.9, 0.6, -1.1, 0.8, 0.3];

    #[test]
    fn rotation_keeps_norms_and_position_zero_changes_nothing() {
        assert_eq!(rotated(&QUERY, 0), QUERY);
        for position in [1, 77, 8191] {
            let turned = rotated(&QUERY, position);
            assert!((product(&turned, &turned) - product(&QUERY, &QUERY)).abs() < 1e-5);
        }
    }

    #[test]
    fn neighbours_turn_counterclockwise_each_pair_at_its_own_speed() {
        let mut rotations = Vec::new();
        Rotary::new(4, 100.0).rotations(3, &mut rotations);
        let mut heads = [1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 2.0, 0.0];
        rotate(&mut heads, 4, &rotations);
        // Pair 0 turns by 3 radians, pair 1 by 3 * 100^(-2/4) = 0.3.
        let (cos_3, sin_3, cos_03, sin_03) = (-0.989_992_5, 0.141_120_01, 0.955_336_5, 0.295_520_2);
        let expected = [cos_3, sin_3, -sin_03, cos_03, -2.0 * sin_3, 2.0 * cos_3, 2.0 * cos_03, 2.0 * sin_03];
        for (found, expected) in heads.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{heads:?} {expected}");
        }
    }

    #[test]
    fn products_depend_on_the_distance_only() {
        let near = product(&rotated(&QUERY, 9), &rotated(&KEY, 4));
        let far = product(&rotated(&QUERY, 4009), &rotated(&KEY, 4004));
        assert!((near - far).abs() < 1e-4, "{near} {far}");
    }

    #[test]
    fn what_lies_beyond_the_rotated_dimensions_stays() {
        let mut rotations = Vec::new();
        Rotary::new(4, 100.0).rotations(3, &mut rotations);
        let mut vector = QUERY;
        rotate(&mut vector, 8, &rotations);
        assert_ne!(vector[..4], QUERY[..4]);
        assert_eq!(vector[4..], QUERY[4..]);
    }
}
