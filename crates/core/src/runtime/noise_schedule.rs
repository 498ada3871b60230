//! How noisy an image is at each timestep: the cosine schedule (Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>).

use std::f64::consts::FRAC_PI_2;

/// Keeps the first timesteps from having next to no noise.
const OFFSET: f64 = 0.008;

/// The most that one timestep takes of the image that is left.
const MOST_NOISE: f64 = 0.999;

/// Returns for each of so many timesteps the share of the image in the variance. Who trains a model and who draws with it must agree on it.
pub fn cosine_shares(timesteps: usize) -> Vec<f64> {
    let curve = |timestep: usize| {
        let place = (timestep as f64 / timesteps as f64 + OFFSET) / (1.0 + OFFSET);
        (place * FRAC_PI_2).cos().powi(2)
    };
    let mut share = 1.0;
    let next = |timestep: usize| {
        let noise = (1.0 - curve(timestep + 1) / curve(timestep)).min(MOST_NOISE);
        share *= 1.0 - noise;
        share
    };
    (0..timesteps).map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fall_from_nearly_all_to_nearly_nothing() {
        for timesteps in [1, 2, 50, 1000, 100_000] {
            let shares = cosine_shares(timesteps);
            assert_eq!(shares.len(), timesteps);
            assert!(shares.is_sorted_by(|a, b| a > b) && shares.iter().all(|share| *share > 0.0 && *share < 1.0));
        }
        // The curve itself, up to the timestep at which noise is limited.
        let shares = cosine_shares(1000);
        let curve = |place: f64| {
            ((place + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2) / (0.008 / 1.008 * FRAC_PI_2).cos().powi(2)
        };
        for timestep in [0, 250, 500, 998] {
            let expected = curve((timestep + 1) as f64 / 1000.0);
            assert!((shares[timestep] / expected - 1.0).abs() < 1e-9, "{timestep}");
        }
        assert!((shares[999] / shares[998] - 0.001).abs() < 1e-12);
    }
}
