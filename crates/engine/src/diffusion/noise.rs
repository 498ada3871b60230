//! Noise: numbers of a normal distribution, from a seed.

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// The noise of one sample. It depends on the seed and on the number of the sample alone.
pub(crate) struct Noise {
    random: Pcg64,
    /// Numbers come in pairs; the second one waits here.
    second: Option<f64>,
}

impl Noise {
    pub(crate) fn new(seed: u64, sample: u64) -> Noise {
        Noise { random: Pcg64::seed_from_u64(mixed(mixed(seed) ^ sample)), second: None }
    }

    /// Replaces numbers.
    pub(crate) fn fill(&mut self, numbers: &mut [f32]) {
        numbers.iter_mut().for_each(|number| *number = self.next() as f32);
    }

    /// Returns the next number (Box and Muller 1958).
    fn next(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // Above 0, so that there is a logarithm.
        let above_zero = 1.0 - self.unit_interval();
        let radius = (-2.0 * above_zero.ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.unit_interval()).sin_cos();
        self.second = Some(radius * sine);
        radius * cosine
    }

    /// Returns a number from 0 to 1, without 1.
    fn unit_interval(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        (self.random.next_u64() >> 11) as f64 / STEPS
    }
}

/// Spreads seeds that lie side by side over all 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
fn mixed(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, sample: u64, count: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; count];
        Noise::new(seed, sample).fill(&mut numbers);
        numbers
    }

    #[test]
    fn numbers_are_normally_distributed_and_samples_are_unrelated() {
        const COUNT: usize = 40_000;
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let one: Vec<f64> = numbers(7, 0, COUNT).into_iter().map(f64::from).collect();
        let power = |power: i32| mean(&one.iter().map(|number| number.powi(power)).collect::<Vec<_>>());
        // Five standard errors of each moment.
        for (found, expected, variance) in
            [(power(1), 0.0, 1.0), (power(2), 1.0, 2.0), (power(3), 0.0, 15.0), (power(4), 3.0, 96.0)]
        {
            let allowed = 5.0 * (variance / COUNT as f64).sqrt();
            assert!((found - expected).abs() < allowed, "{found} instead of {expected}");
        }
        for (seed, sample) in [(7, 1), (8, 0), (7, u64::MAX)] {
            let other = numbers(seed, sample, COUNT);
            let products: Vec<f64> = one.iter().zip(&other).map(|(a, b)| a * f64::from(*b)).collect();
            assert!(mean(&products).abs() < 5.0 / (COUNT as f64).sqrt(), "{seed} {sample}");
        }
    }

    #[test]
    fn noise_is_the_same_however_it_is_cut() {
        let whole = numbers(3, 2, 9);
        let mut cut = vec![0.0; 9];
        let mut noise = Noise::new(3, 2);
        cut.chunks_mut(4).for_each(|piece| noise.fill(piece));
        assert_eq!(whole, cut);
    }
}
