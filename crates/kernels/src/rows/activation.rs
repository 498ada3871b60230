//! Functions of one number, applied to rows.

use super::{check_length, exponential};
use crate::Level;
use crate::lanes::{self, Kernel, LANES, Lanes};

/// Writes e^x, within 3 units in the last place.
pub fn exp(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, Exp, input, output);
}

/// Writes 1 / (1 + e^-x), within 5 units in the last place.
pub fn sigmoid(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, Sigmoid, input, output);
}

/// Writes the hyperbolic tangent, within 3e-7.
pub fn tanh(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, Tanh, input, output);
}

/// Writes x / (1 + e^-x), within 1e-6 of itself.
pub fn silu(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, Silu, input, output);
}

/// Writes x * (1 + erf(x / sqrt 2)) / 2, within 1e-6 * |x| and for x below 0 within 2e-5 of itself.
pub fn gelu_erf(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, GeluErf, input, output);
}

/// Writes x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2, within 1e-6 * |x| and for x below 0 within 2e-5 of
/// itself.
pub fn gelu_tanh(level: Level, input: &[f32], output: &mut [f32]) {
    map(level, GeluTanh, input, output);
}

/// Writes `silu(gate) * up`.
pub fn silu_gated(level: Level, gate: &[f32], up: &[f32], output: &mut [f32]) {
    map_gated(level, Silu, gate, up, output);
}

/// Writes `gelu_erf(gate) * up`.
pub fn gelu_erf_gated(level: Level, gate: &[f32], up: &[f32], output: &mut [f32]) {
    map_gated(level, GeluErf, gate, up, output);
}

/// Writes `gelu_tanh(gate) * up`.
pub fn gelu_tanh_gated(level: Level, gate: &[f32], up: &[f32], output: &mut [f32]) {
    map_gated(level, GeluTanh, gate, up, output);
}

/// Returns x / (1 + e^-x), for operations that end with it.
#[inline(always)]
pub(crate) fn silu_of<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    swish(lanes, x, x)
}

/// A function of one number.
trait Function {
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s;
}

struct Exp;
struct Sigmoid;
struct Tanh;
struct Silu;
struct GeluErf;
struct GeluTanh;

impl Function for Exp {
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        exponential::exp(lanes, x)
    }
}

impl Function for Sigmoid {
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        exponential::sigmoid(lanes, x)
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        exponential::tanh(lanes, x)
    }
}

impl Function for Silu {
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        swish(lanes, x, x)
    }
}

impl Function for GeluErf {
    /// `max(x, 0) - |x| * erfc(|x| / sqrt 2) / 2`, which keeps the digits of small results.
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        // From here on the complement is zero in f32.
        const END: f32 = 14.4;
        let zero = lanes.splat(0.0);
        let size = lanes.min(lanes.splat(END), lanes.max(lanes.subtract(zero, x), x));
        let z = lanes.multiply(size, lanes.splat(std::f32::consts::FRAC_1_SQRT_2));
        let complement = exponential::error_function_complement(lanes, z);
        let half = lanes.multiply(size, lanes.splat(0.5));
        lanes.subtract(lanes.max(zero, x), lanes.multiply(half, complement))
    }
}

impl Function for GeluTanh {
    /// `(1 + tanh u) / 2` is the sigmoid of `2 u`.
    #[inline(always)]
    fn of<L: Lanes>(&self, lanes: L, x: L::F32s) -> L::F32s {
        const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769_2;
        let square = lanes.multiply(x, x);
        let factor = lanes.multiply_add(
            square,
            lanes.splat(0.044_715 * TWICE_SQRT_2_OVER_PI),
            lanes.splat(TWICE_SQRT_2_OVER_PI),
        );
        swish(lanes, x, lanes.multiply(x, factor))
    }
}

/// Returns `x * sigmoid(y)`, where y has the sign of x and is at least as far from zero when it is great.
#[inline(always)]
fn swish<L: Lanes>(lanes: L, x: L::F32s, y: L::F32s) -> L::F32s {
    // Below it the result is zero in f32; negative infinity over infinity would not be a number.
    let x = lanes.max(lanes.splat(-200.0), x);
    let one = lanes.splat(1.0);
    let negative = lanes.subtract(lanes.splat(0.0), y);
    lanes.divide(x, lanes.add(one, exponential::exp(lanes, negative)))
}

fn map(level: Level, function: impl Function, input: &[f32], output: &mut [f32]) {
    check_length("the input", input.len(), output.len());
    lanes::run(level, Map { function, input, output });
}

fn map_gated(level: Level, function: impl Function, gate: &[f32], up: &[f32], output: &mut [f32]) {
    check_length("the gate", gate.len(), output.len());
    check_length("the row to be gated", up.len(), output.len());
    lanes::run(level, MapGated { function, gate, up, output });
}

struct Map<'a, F> {
    function: F,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl<F: Function> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (inputs, input_rest) = self.input.as_chunks::<LANES>();
        let (outputs, output_rest) = self.output.as_chunks_mut::<LANES>();
        for (input, output) in inputs.iter().zip(outputs) {
            lanes.store(self.function.of(lanes, lanes.load(input)), output);
        }
        if !input_rest.is_empty() {
            lanes.store_first(self.function.of(lanes, lanes.load_first(input_rest)), output_rest);
        }
    }
}

struct MapGated<'a, F> {
    function: F,
    gate: &'a [f32],
    up: &'a [f32],
    output: &'a mut [f32],
}

impl<F: Function> Kernel for MapGated<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (gates, gate_rest) = self.gate.as_chunks::<LANES>();
        let (ups, up_rest) = self.up.as_chunks::<LANES>();
        let (outputs, output_rest) = self.output.as_chunks_mut::<LANES>();
        for ((gate, up), output) in gates.iter().zip(ups).zip(outputs) {
            let gate = self.function.of(lanes, lanes.load(gate));
            lanes.store(lanes.multiply(gate, lanes.load(up)), output);
        }
        if !gate_rest.is_empty() {
            let gate = self.function.of(lanes, lanes.load_first(gate_rest));
            lanes.store_first(lanes.multiply(gate, lanes.load_first(up_rest)), output_rest);
        }
    }
}
