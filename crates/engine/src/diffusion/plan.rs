//! Which timesteps a drawing goes through, and what each of them does to images.

use seedhouse_core::runtime::Prediction;
use seedhouse_core::{Error, Result};

/// How one step leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Draws from what may lie between the image and what is seen (Ho et al. 2020).
    Ddpm,
    /// Goes the shortest way, with as much noise as is asked for (Song et al. 2020).
    Ddim,
}

impl Sampler {
    /// Every sampler.
    pub const ALL: [Sampler; 2] = [Sampler::Ddpm, Sampler::Ddim];

    /// Returns the name under which requests know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Sampler::Ddpm => "ddpm",
            Sampler::Ddim => "ddim",
        }
    }
}

/// The steps of a drawing, the noisiest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

/// What is done at a timestep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) timestep: usize,
    /// The share of the image in the variance of what is seen.
    share: f64,
    /// The same of what comes out.
    next_share: f64,
    sampler: Sampler,
    /// How much noise is added.
    deviation: f64,
}

impl Plan {
    /// Plans so many of the timesteps that a model has, evenly spread from the noisiest to the least noisy.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too few or too many steps, and for an `eta` out of range or without DDIM.
    pub(super) fn new(shares: &[f64], steps: usize, sampler: Sampler, eta: f64) -> Result<Plan> {
        if !(1..=shares.len()).contains(&steps) {
            let rule = format!("must be from 1 to {}, the timesteps that the model was trained with", shares.len());
            return Err(Error::invalid("steps", steps, rule));
        }
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::invalid("eta", eta, "must be a number from 0 to 1"));
        }
        if sampler == Sampler::Ddpm && eta != 0.0 {
            return Err(Error::invalid("eta", eta, "must be left out: the sampler `ddpm` adds all the noise there is"));
        }
        let timesteps = timesteps(shares.len(), steps);
        let step = |number: usize| {
            let (timestep, share) = (timesteps[number], shares[timesteps[number]]);
            let next_share = timesteps.get(number + 1).map_or(1.0, |next| shares[*next]);
            let variance = (1.0 - next_share) / (1.0 - share) * (1.0 - share / next_share);
            let part = if sampler == Sampler::Ddpm { 1.0 } else { eta };
            Step { timestep, share, next_share, sampler, deviation: part * variance.sqrt() }
        };
        Ok(Plan { steps: (0..steps).map(step).collect() })
    }
}

/// Returns evenly spread timesteps, falling to 0; one alone is the noisiest.
fn timesteps(count: usize, steps: usize) -> Vec<usize> {
    let last = count - 1;
    match steps {
        1 => vec![last],
        // Rounded to the nearest, a half upwards, without leaving whole numbers.
        _ => (0..steps).map(|step| (2 * last * (steps - 1 - step) + steps - 1) / (2 * (steps - 1))).collect(),
    }
}

impl Step {
    /// Returns whether noise is added: never by the last step.
    pub(super) fn adds_noise(&self) -> bool {
        self.deviation > 0.0
    }

    /// Leads images to the next step, and leaves in the place of what was predicted what they will be, as far as can be told.
    /// Images have numbers from -1 to 1, so what they will be is kept within.
    pub(super) fn apply(&self, prediction: Prediction, images: &mut [f32], predicted: &mut [f32], noise: &[f32]) {
        let Step { share, next_share, sampler, deviation, .. } = *self;
        let (signal, noisiness) = (share.sqrt(), (1.0 - share).sqrt());
        let [of_clean, of_seen] = match sampler {
            Sampler::Ddpm => [
                next_share.sqrt() * (1.0 - share / next_share) / (1.0 - share),
                (share / next_share).sqrt() * (1.0 - next_share) / (1.0 - share),
            ],
            Sampler::Ddim => {
                let rest = (1.0 - next_share - deviation * deviation).max(0.0).sqrt() / noisiness;
                [next_share.sqrt() - rest * signal, rest]
            }
        };
        for ((image, predicted), noise) in images.iter_mut().zip(predicted).zip(noise) {
            let (seen, found) = (f64::from(*image), f64::from(*predicted));
            let clean = match prediction {
                Prediction::Noise => (seen - noisiness * found) / signal,
                Prediction::Image => found,
                Prediction::Velocity => signal * seen - noisiness * found,
            };
            let clean = clean.clamp(-1.0, 1.0);
            let mut next = of_clean * clean + of_seen * seen;
            if self.adds_noise() {
                next += deviation * f64::from(*noise);
            }
            (*image, *predicted) = (next as f32, clean as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_core::Code;

    use super::*;

    /// Shares that fall like those of a model.
    fn shares(count: usize) -> Vec<f64> {
        (0..count).map(|timestep| 0.999 * (1.0 - timestep as f64 / count as f64).powi(2)).collect()
    }

    #[test]
    fn timesteps_fall_from_the_noisiest_to_the_least_noisy_and_none_comes_twice() {
        for (count, steps) in [(1, 1), (2, 2), (1000, 50), (1000, 1000), (1000, 999), (37, 5), (100_000, 7)] {
            let found = timesteps(count, steps);
            assert_eq!((found.len(), found[0]), (steps, count - 1), "{count} {steps}");
            assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
            assert!(steps == 1 || found[steps - 1] == 0);
        }
        assert_eq!(timesteps(40, 5), [39, 29, 20, 10, 0]);
    }

    #[test]
    fn ddpm_is_ddim_that_adds_all_the_noise() {
        let shares = shares(50);
        for steps in [2, 7, 50] {
            let of = |sampler, eta| Plan::new(&shares, steps, sampler, eta).unwrap();
            for (one, other) in of(Sampler::Ddpm, 0.0).steps.iter().zip(&of(Sampler::Ddim, 1.0).steps) {
                let numbers = |step: &Step| {
                    let mut images: Vec<f32> = (0..40).map(|index| (index as f32 * 0.7).sin() * 1.5).collect();
                    let mut predicted: Vec<f32> = (0..40).map(|index| (index as f32 * 0.3).cos()).collect();
                    step.apply(Prediction::Noise, &mut images, &mut predicted, &[0.5; 40]);
                    images
                };
                for (one, other) in numbers(one).iter().zip(numbers(other)) {
                    assert!((one - other).abs() < 1e-6, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let cases = [
            (0, Sampler::Ddim, 0.0, "steps"),
            (51, Sampler::Ddim, 0.0, "steps"),
            (5, Sampler::Ddim, 1.5, "eta"),
            (5, Sampler::Ddim, f64::NAN, "eta"),
            (5, Sampler::Ddpm, 0.5, "eta"),
        ];
        for (steps, sampler, eta, field) in cases {
            let error = Plan::new(&shares(50), steps, sampler, eta).unwrap_err();
            assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
        }
    }
}
