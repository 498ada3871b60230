//! Functions of one number, and their slopes.

use super::{exp, sigmoid, vectorised};

/// What becomes of the numbers of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
}

/// Returns the share of a normal distribution below x, and its density there, within 2e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (0.327_591_1 * z + 1.0);
    let bell = exp(-z * z);
    let mut series = 1.061_405_4_f32;
    series = series.mul_add(t, -1.453_152);
    series = series.mul_add(t, 1.421_413_7);
    series = series.mul_add(t, -0.284_496_74);
    series = series.mul_add(t, 0.254_829_6);
    let beyond = 0.5 * series * t * bell;
    (if x < 0.0 { beyond } else { 1.0 - beyond }, bell * 0.398_942_3)
}

/// Writes the function of each number.
pub(crate) fn activate(activation: Activation, input: &[f32], output: &mut [f32]) {
    match activation {
        Activation::Relu => relu(input, output),
        Activation::Silu => silu(input, output),
        Activation::Gelu => gelu(input, output),
        Activation::GeluTanh => gelu_tanh(input, output),
    }
}

/// Multiplies gradients by the slope at each number.
pub(crate) fn activate_backward(activation: Activation, input: &[f32], gradient: &mut [f32]) {
    match activation {
        Activation::Relu => relu_backward(input, gradient),
        Activation::Silu => silu_backward(input, gradient),
        Activation::Gelu => gelu_backward(input, gradient),
        Activation::GeluTanh => gelu_tanh_backward(input, gradient),
    }
}

vectorised! {
    fn relu<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = if *x > 0.0 { *x } else { 0.0 });
    }
}

vectorised! {
    fn relu_backward<'a>(input: &'a [f32], gradient: &'a mut [f32]) -> () {
        gradient.iter_mut().zip(input).for_each(|(y, x)| *y = if *x > 0.0 { *y } else { 0.0 });
    }
}

vectorised! {
    fn silu<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = *x * sigmoid(*x));
    }
}

/// Returns the slope of `x sigmoid(x)`.
#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let share = sigmoid(x);
    share * (1.0 - share).mul_add(x, 1.0)
}

vectorised! {
    fn silu_backward<'a>(input: &'a [f32], gradient: &'a mut [f32]) -> () {
        gradient.iter_mut().zip(input).for_each(|(y, x)| *y *= silu_slope(*x));
    }
}

vectorised! {
    fn gelu<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = *x * normal(*x).0);
    }
}

vectorised! {
    fn gelu_backward<'a>(input: &'a [f32], gradient: &'a mut [f32]) -> () {
        gradient.iter_mut().zip(input).for_each(|(y, x)| {
            let (share, density) = normal(*x);
            *y *= density.mul_add(*x, share);
        });
    }
}

/// Twice the root of 2 over pi: `(1 + tanh u) / 2` is the sigmoid of `2 u`.
const TWICE: f32 = 1.595_769;

vectorised! {
    fn gelu_tanh<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = *x * sigmoid(*x * (*x * *x).mul_add(0.044_715 * TWICE, TWICE)));
    }
}

vectorised! {
    fn gelu_tanh_backward<'a>(input: &'a [f32], gradient: &'a mut [f32]) -> () {
        gradient.iter_mut().zip(input).for_each(|(y, x)| {
            let square = *x * *x;
            let share = sigmoid(*x * square.mul_add(0.044_715 * TWICE, TWICE));
            let slope = square.mul_add(3.0 * 0.044_715 * TWICE, TWICE);
            *y *= share + *x * share * (1.0 - share) * slope;
        });
    }
}

vectorised! {
    /// Writes `silu(gate) * up`, where a row has first the gates and then the ups.
    pub(crate) fn gate<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        let (gates, ups) = input.split_at(output.len());
        output.iter_mut().zip(gates).zip(ups).for_each(|((y, gate), up)| *y = *gate * sigmoid(*gate) * *up);
    }
}

vectorised! {
    /// Writes the gradients of gates and ups.
    pub(crate) fn gate_backward<'a>(input: &'a [f32], gradient: &'a [f32], output: &'a mut [f32]) -> () {
        let (gates, ups) = input.split_at(gradient.len());
        let (of_gates, of_ups) = output.split_at_mut(gradient.len());
        for ((gate, up), (gradient, (of_gate, of_up))) in
            gates.iter().zip(ups).zip(gradient.iter().zip(of_gates.iter_mut().zip(of_ups)))
        {
            *of_gate = *gradient * *up * silu_slope(*gate);
            *of_up = *gradient * *gate * sigmoid(*gate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_that_of_the_error_function() {
        // From Python: x * (1 + math.erf(x / math.sqrt(2))) / 2.
        let cases =
            [(-3.0, -0.004_049_694), (-1.0, -0.158_655_25), (0.0, 0.0), (0.5, 0.345_731_23), (2.0, 1.954_499_7)];
        for (x, expected) in cases {
            let mut output = [0.0];
            activate(Activation::Gelu, &[x], &mut output);
            assert!((output[0] - expected).abs() < 1e-6, "{x}: {} is not {expected}", output[0]);
        }
    }

    #[test]
    fn slopes_are_those_of_differences() {
        for activation in [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            for step in -40..40 {
                let x = step as f32 * 0.1 + 0.05;
                let [mut above, mut below, mut slope] = [[0.0], [0.0], [1.0]];
                activate(activation, &[x + 0.01], &mut above);
                activate(activation, &[x - 0.01], &mut below);
                activate_backward(activation, &[x], &mut slope);
                let expected = (above[0] - below[0]) / 0.02;
                // The difference has an error of 0.01^2 times the third derivative, and rounding of 1e-7 / 0.02.
                assert!((slope[0] - expected).abs() < 2e-4, "{activation:?} at {x}: {} is not {expected}", slope[0]);
            }
        }
    }
}
