//! Gradients held against differences of losses.

use std::sync::Arc;

use seedhouse_core::training::TrainPrecision;

use crate::arena::Arena;
use crate::parameters::{Kind, ParameterId, Parameters, Start};
use crate::random::{Purpose, Random};
use crate::tape::{Loss, Mode, Settings, Tape, Var};

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings { mode, threads: 2, precision: TrainPrecision::F32, gradient_scale: 1.0 }
}

pub(crate) const TRAINING: Mode = Mode::Training { seed: 1, step: 2, part: 0 };

/// Returns the mean loss of a pass, with gradients in the parameters.
pub(crate) fn pass(parameters: &mut Parameters, of: &dyn Fn(&mut Tape<'_>) -> Loss) -> f64 {
    let mut arena = Arena::default();
    parameters.forget_gradients();
    // Statistics move with each pass; differences must not see that.
    let statistics: Vec<Vec<f32>> = parameters.list.iter().map(|parameter| parameter.values.clone()).collect();
    let mut tape = Tape::new(parameters, &mut arena, settings(TRAINING));
    let loss = of(&mut tape).mean();
    tape.backward();
    drop(tape);
    for (parameter, before) in parameters.list.iter_mut().zip(statistics) {
        if parameter.kind == Kind::Statistic {
            parameter.values = before;
        }
    }
    loss
}

/// Checks that every tensor has a gradient, and that it is what differences of the loss say in four directions: along itself, along
/// itself with random signs, and along two that know nothing of it, so that nothing that is missing hides.
///
/// Losses come of sums of f32, so a difference has an error of about 1e-6 over the length of the step, 1e-4; and one of the fourth power
/// of that length times the fifth derivative, which is below a few thousandths of the gradient's norm for the networks of the tests.
pub(crate) fn check(what: &str, parameters: &mut Parameters, of: &dyn Fn(&mut Tape<'_>) -> Loss) {
    check_within(0.004, what, parameters, of);
}

/// The same with another share of the norm for what differences get wrong.
pub(crate) fn check_within(share: f64, what: &str, parameters: &mut Parameters, of: &dyn Fn(&mut Tape<'_>) -> Loss) {
    pass(parameters, of);
    for place in 0..parameters.list.len() {
        if parameters.list[place].kind == Kind::Statistic {
            continue;
        }
        pass(parameters, of);
        assert!(parameters.list[place].has_gradient, "{what}: nothing reached {:?}", parameters.list[place].tensors);
        let gradient = parameters.list[place].gradient.clone();
        let mut start = 0;
        for tensor in parameters.list[place].tensors.clone() {
            let range = start..start + tensor.length();
            start = range.end;
            let own = &gradient[range.clone()];
            let norm = own.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            // A bias of keys changes all scores of a query alike, which softmax does not see.
            if tensor.name.ends_with("key.bias") {
                assert!(norm < 1e-5, "{what}: {} has {norm}", tensor.name);
                continue;
            }
            assert!(norm > 1e-7, "{what}: the gradient of {} is {norm}", tensor.name);
            for direction in 0..4 {
                let mut random = Random::new(5, Purpose::Noise, [place as u64, direction]);
                let mut along: Vec<f64> = match direction {
                    0 => own.iter().map(|number| f64::from(*number)).collect(),
                    1 => own
                        .iter()
                        .map(|number| f64::from(*number) * if random.share() < 0.5 { 1.0 } else { -1.0 })
                        .collect(),
                    _ => own.iter().map(|_| f64::from(random.normals()[0])).collect(),
                };
                let length = along.iter().map(|number| number * number).sum::<f64>().sqrt();
                along.iter_mut().for_each(|number| *number /= length);
                let said: f64 = along.iter().zip(own).map(|(along, own)| along * f64::from(*own)).sum();
                let before = parameters.list[place].values.clone();
                let mut at = |step: f64| {
                    for (value, along) in parameters.list[place].values[range.clone()].iter_mut().zip(&along) {
                        *value = (f64::from(*value) + step * along) as f32;
                    }
                    let loss = pass(parameters, of);
                    parameters.list[place].values.copy_from_slice(&before);
                    loss
                };
                let mut difference = |step: f64| (at(step) - at(-step)) / (2.0 * step);
                // The part of the error that grows with the square of the step is taken out (Richardson).
                let found = (4.0 * difference(0.01) - difference(0.02)) / 3.0;
                let tolerance = share * norm + 1e-4;
                assert!(
                    (found - said).abs() < tolerance,
                    "{what}: {} in direction {direction}: gradient says {said}, differences {found}, norm {norm}",
                    tensor.name
                );
            }
        }
    }
}

/// Adds rows of random numbers that are learned, so that what is done with them has to hand gradients back.
pub(crate) fn learned_rows(parameters: &mut Parameters, rows: usize, columns: usize) -> ParameterId {
    parameters.matrix("rows", rows, columns, Start::Normal(1.0))
}

/// Puts such rows on a tape.
pub(crate) fn put_rows(tape: &mut Tape<'_>, id: ParameterId) -> Var {
    let rows = tape.parameters.get(id).rows();
    tape.embed((0..rows as u32).collect::<Arc<[u32]>>(), id, None, rows)
}

/// Ends a pass with the squared difference to random numbers.
pub(crate) fn end(tape: &mut Tape<'_>, value: Var) -> Loss {
    let mut targets = vec![0.0; tape.numbers(value).len()];
    Random::new(9, Purpose::Noise, [0, 0]).fill_normal(&mut targets, 1.0);
    tape.squared_error(value, &targets)
}
