//! Functions of one number that end an operation.

use crate::lanes::Lanes;
use crate::{Level, rows};

/// What becomes of each number before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nonlinearity {
    /// Numbers below 0 become 0.
    Relu,
    /// The same, and numbers above 6 become 6.
    Relu6,
    /// x / (1 + e^-x).
    Silu,
    /// x * (1 + erf(x / sqrt 2)) / 2.
    GeluErf,
    /// The form of it with the hyperbolic tangent.
    GeluTanh,
}

impl Nonlinearity {
    /// Every function.
    pub const ALL: [Nonlinearity; 5] =
        [Nonlinearity::Relu, Nonlinearity::Relu6, Nonlinearity::Silu, Nonlinearity::GeluErf, Nonlinearity::GeluTanh];

    /// Replaces each number of a row by what the function makes of it, within what [`rows`] says of it. What is not a number
    /// stays so.
    pub fn apply(self, level: Level, row: &mut [f32]) {
        /// Rows are copied piece by piece, because the functions of rows write to another place than they read.
        const PIECE: usize = 256;
        let function = match self {
            Nonlinearity::Relu => return row.iter_mut().for_each(|number| *number = relu(*number)),
            Nonlinearity::Relu6 => return row.iter_mut().for_each(|number| *number = least(6.0, relu(*number))),
            Nonlinearity::Silu => rows::silu,
            Nonlinearity::GeluErf => rows::gelu_erf,
            Nonlinearity::GeluTanh => rows::gelu_tanh,
        };
        let mut copy = [0.0; PIECE];
        for piece in row.chunks_mut(PIECE) {
            let copy = &mut copy[..piece.len()];
            copy.copy_from_slice(piece);
            function(level, copy, piece);
        }
    }

    /// Returns whether the function only limits numbers.
    pub(crate) fn is_clamp(self) -> bool {
        matches!(self, Nonlinearity::Relu | Nonlinearity::Relu6)
    }

    /// Returns what a function that [only limits](Nonlinearity::is_clamp) makes of numbers, and others' numbers as they are.
    #[inline(always)]
    pub(crate) fn clamp<L: Lanes>(then: Option<Nonlinearity>, lanes: L, numbers: L::F32s) -> L::F32s {
        let zero = lanes.splat(0.0);
        match then {
            Some(Nonlinearity::Relu) => lanes.max(zero, numbers),
            Some(Nonlinearity::Relu6) => lanes.min(lanes.splat(6.0), lanes.max(zero, numbers)),
            Some(Nonlinearity::Silu | Nonlinearity::GeluErf | Nonlinearity::GeluTanh) | None => numbers,
        }
    }
}

/// As the instructions do it: what is not a number is not less than 0, and stays.
fn relu(number: f32) -> f32 {
    if 0.0 > number { 0.0 } else { number }
}

fn least(most: f32, number: f32) -> f32 {
    if most < number { most } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_their_definitions_and_what_is_no_number_stays_so() {
        let numbers: Vec<f32> = (-300..300).map(|index| index as f32 * 0.031).collect();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let definition = |function: Nonlinearity, x: f64| match function {
            Nonlinearity::Relu => x.max(0.0),
            Nonlinearity::Relu6 => x.clamp(0.0, 6.0),
            Nonlinearity::Silu => x * sigmoid(x),
            // Both forms of GELU are within 5e-4 of each other.
            Nonlinearity::GeluErf | Nonlinearity::GeluTanh => {
                x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x))
            }
        };
        for level in Level::available() {
            for function in Nonlinearity::ALL {
                let mut found = numbers.clone();
                found[7] = f32::NAN;
                function.apply(level, &mut found);
                assert!(found[7].is_nan(), "{function:?} {level:?}");
                for (found, number) in found.iter().zip(&numbers).filter(|(found, _)| !found.is_nan()) {
                    let expected = definition(function, f64::from(*number));
                    assert!((f64::from(*found) - expected).abs() < 6e-4, "{function:?} {level:?}: {number} {found}");
                }
            }
        }
    }
}
