//! AdamW (Loshchilov and Hutter 2019), its schedule, and averaged weights.

use rayon::prelude::*;
use seedhouse_core::training::TrainSettings;

use crate::numbers::{self, Update};
use crate::parameters::{Kind, Parameters};

const FIRST_DECAY: f64 = 0.9;
const SECOND_DECAY: f64 = 0.999;
const EPSILON: f32 = 1e-8;

/// Numbers that one thread changes at once.
const PIECE: usize = 1 << 15;

/// What is kept of earlier gradients, for each number that is learned.
#[derive(Debug, Default)]
pub(crate) struct Optimizer {
    /// Means of gradients and of their squares, by parameter; empty for statistics.
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
    /// Averaged weights; nothing where none are kept.
    pub(crate) averages: Vec<Vec<f32>>,
}

/// A rate that grows evenly at first and then falls by half a cosine (Loshchilov and Hutter 2017).
pub(crate) fn rate(settings: &TrainSettings, step: u64, total: u64) -> f64 {
    let (greatest, warm) = (settings.learning_rate, settings.warmup_steps.min(total));
    if step <= warm {
        return greatest * step as f64 / warm.max(1) as f64;
    }
    let gone = (step - warm) as f64 / (total - warm).max(1) as f64;
    let height = 0.5 * (1.0 + (std::f64::consts::PI * gone.min(1.0)).cos());
    greatest * (settings.final_rate + (1.0 - settings.final_rate) * height)
}

impl Optimizer {
    /// Returns one that has seen nothing.
    pub(crate) fn new(parameters: &Parameters, keeps_averages: bool) -> Optimizer {
        let zeros = || parameters.list.iter().map(|parameter| vec![0.0; parameter.gradient.len()]).collect();
        let averages = parameters.list.iter().filter(|_| keeps_averages).map(|parameter| parameter.values.clone());
        Optimizer { first: zeros(), second: zeros(), averages: averages.collect() }
    }

    /// Changes the weights by their gradients and returns the norm of those. Nothing is changed when it is not finite. `step` counts
    /// from 1.
    pub(crate) fn update(
        &mut self,
        parameters: &mut Parameters,
        settings: &TrainSettings,
        step: u64,
        total: u64,
    ) -> f64 {
        let gradients = parameters.list.iter().filter(|parameter| parameter.has_gradient);
        let pieces: Vec<&[f32]> = gradients.flat_map(|parameter| parameter.gradient.chunks(PIECE)).collect();
        let squares: Vec<f64> = pieces.into_par_iter().map(numbers::square_sum).collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let rate = rate(settings, step, total);
        let corrections = [FIRST_DECAY, SECOND_DECAY].map(|decay| 1.0 - decay.powf(step as f64));
        let plain = Update {
            rate: (rate / corrections[0]) as f32,
            root: (1.0 / corrections[1].sqrt()) as f32,
            keep: 1.0,
            gradient_scale: numbers::scale_of_norm(norm, settings.clip_norm),
            first_decay: FIRST_DECAY as f32,
            second_decay: SECOND_DECAY as f32,
            epsilon: EPSILON,
        };
        let shrunk = Update { keep: (1.0 - rate * settings.weight_decay) as f32, ..plain };
        let moments = self.first.iter_mut().zip(&mut self.second);
        let mut work = Vec::new();
        for (parameter, (first, second)) in parameters.list.iter_mut().zip(moments) {
            let update = match parameter.kind {
                Kind::Weight => shrunk,
                Kind::Plain => plain,
                Kind::Statistic => continue,
            };
            if !parameter.has_gradient {
                continue;
            }
            let moments = first.chunks_mut(PIECE).zip(second.chunks_mut(PIECE));
            let numbers = parameter.values.chunks_mut(PIECE).zip(parameter.gradient.chunks(PIECE));
            work.extend(numbers.zip(moments).map(|numbers| (numbers, update)));
        }
        work.into_par_iter().for_each(|(((weights, gradient), (first, second)), update)| {
            numbers::update(weights, first, second, gradient, update);
        });
        self.follow(parameters, settings.average_decay, step);
        norm
    }

    /// Moves the averages towards the weights; faster at first, so that they soon forget where those began.
    fn follow(&mut self, parameters: &Parameters, decay: f64, step: u64) {
        let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        let averages = self.averages.iter_mut().zip(&parameters.list);
        let pieces: Vec<_> = averages
            .flat_map(|(average, parameter)| average.chunks_mut(PIECE).zip(parameter.values.chunks(PIECE)))
            .collect();
        pieces.into_par_iter().for_each(|(average, values)| numbers::average(average, values, decay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Start;

    #[test]
    fn rates_grow_and_fall() {
        let settings =
            TrainSettings { learning_rate: 1.0, warmup_steps: 10, final_rate: 0.1, ..TrainSettings::default() };
        let at = |step| rate(&settings, step, 110);
        assert_eq!((at(1), at(5), at(10)), (0.1, 0.5, 1.0));
        assert!((at(60) - 0.55).abs() < 1e-12 && (at(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn an_update_is_that_of_the_formula() {
        let settings = TrainSettings {
            learning_rate: 0.1,
            weight_decay: 0.5,
            clip_norm: 1.0,
            average_decay: 0.9,
            ..TrainSettings::default()
        };
        let mut parameters = Parameters::new(0);
        parameters.matrix("weight", 1, 2, Start::Constant(1.0));
        parameters.row("bias", 1, 1.0);
        let mut optimizer = Optimizer::new(&parameters, true);
        for step in 1..=2 {
            parameters.list[0].gradient.copy_from_slice(&[3.0, 4.0]);
            parameters.list[1].gradient.copy_from_slice(&[0.0]);
            parameters.list.iter_mut().for_each(|parameter| parameter.has_gradient = true);
            assert_eq!(optimizer.update(&mut parameters, &settings, step, 1_000_000), 5.0);
        }
        // The same gradient twice: both corrected moments are the gradient's and its square's, so each step is the rate.
        let expected = |start: f64| (0..2).fold(start, |weight, _| weight * (1.0 - 0.1 * 0.5) - 0.1);
        let found = &parameters.list[0].values;
        assert!(found.iter().all(|found| (f64::from(*found) - expected(1.0)).abs() < 1e-5), "{found:?}");
        assert_eq!(parameters.list[1].values, [1.0], "biases do not shrink");
        // Clipped to the norm 1: 0.6 and 0.8.
        assert!((optimizer.first[0][0] - 0.6 * 0.19).abs() < 1e-6, "{:?}", optimizer.first);
        assert!(optimizer.averages[0][0] < 1.0 && optimizer.averages[0][0] > found[0]);
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let mut parameters = Parameters::new(0);
        parameters.matrix("weight", 1, 2, Start::Constant(1.0));
        parameters.list[0].gradient.copy_from_slice(&[f32::NAN, 1.0]);
        parameters.list[0].has_gradient = true;
        let mut optimizer = Optimizer::new(&parameters, false);
        assert!(optimizer.update(&mut parameters, &TrainSettings::default(), 1, 10).is_nan());
        assert_eq!(parameters.list[0].values, [1.0, 1.0]);
    }
}
