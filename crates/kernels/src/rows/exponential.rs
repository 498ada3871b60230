//! Powers of e and of 2, and what is made of them.
//!
//! A power is split into a whole power of two and a rest of at most half a bit, for which a polynomial of degree 6 is
//! within 2e-8 of the truth; the constants were fitted at Chebyshev nodes and rounded to f32.

use crate::lanes::Lanes;

/// (e^r - 1 - r) / r^2 by powers of r.
const REST: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_552, 0.008_363_233, 0.001_392_625];

/// The error function's complement is t * exp(-z^2) * (a polynomial in t) with t = 1 / (1 + `COMPLEMENT_SLOPE` * z);
/// these are its factors, within 1e-7 for z up to 10.2.
const COMPLEMENT: [f32; 9] = [
    0.225_625_22,
    0.226_614_6,
    0.200_535_1,
    0.199_175_72,
    0.065_061_27,
    0.110_770_85,
    0.062_799_566,
    -0.129_505_4,
    0.038_923_115,
];
const COMPLEMENT_SLOPE: f32 = 0.4;

/// Returns e^x, within 3 units in the last place; 0 and infinity where f32 ends.
#[inline(always)]
pub(super) fn exp<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    // Beyond these limits the result is infinity and zero; without them infinity minus infinity would appear below.
    let x = lanes.max(lanes.splat(-110.0), lanes.min(lanes.splat(90.0), x));
    let whole = lanes.round(lanes.multiply(x, lanes.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with so few bits that its product with a whole number is exact.
    let rest = lanes.multiply_add(whole, lanes.splat(-0.693_359_4), x);
    let rest = lanes.multiply_add(whole, lanes.splat(2.121_944_4e-4), rest);
    lanes.times_power_of_two(exp_of_rest(lanes, rest), whole)
}

/// Returns 2^x, within 3 units in the last place; 0 and infinity where f32 ends. 2^0 is exactly 1.
#[inline(always)]
pub(crate) fn exp2<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    let x = lanes.max(lanes.splat(-160.0), lanes.min(lanes.splat(130.0), x));
    let whole = lanes.round(x);
    let rest = lanes.multiply(lanes.subtract(x, whole), lanes.splat(std::f32::consts::LN_2));
    lanes.times_power_of_two(exp_of_rest(lanes, rest), whole)
}

/// Returns e^x for x within half of ln 2.
#[inline(always)]
fn exp_of_rest<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    let rest = polynomial(lanes, &REST, x);
    let one = lanes.splat(1.0);
    lanes.multiply_add(lanes.multiply_add(rest, x, one), x, one)
}

/// Returns 1 / (1 + e^-x), within 5 units in the last place.
#[inline(always)]
pub(super) fn sigmoid<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    let one = lanes.splat(1.0);
    lanes.divide(one, lanes.add(one, exp(lanes, negative(lanes, x))))
}

/// Returns the hyperbolic tangent, within 3e-7.
#[inline(always)]
pub(super) fn tanh<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    let (one, two) = (lanes.splat(1.0), lanes.splat(2.0));
    let power = exp(lanes, lanes.multiply(x, two));
    lanes.subtract(one, lanes.divide(two, lanes.add(power, one)))
}

/// Returns 1 - erf(z) for z from 0 to 10.2, within 1e-6 of itself up to 2 and 1e-5 of itself beyond.
#[inline(always)]
pub(super) fn error_function_complement<L: Lanes>(lanes: L, z: L::F32s) -> L::F32s {
    let one = lanes.splat(1.0);
    let t = lanes.divide(one, lanes.multiply_add(lanes.splat(COMPLEMENT_SLOPE), z, one));
    let power = exp(lanes, negative(lanes, lanes.multiply(z, z)));
    lanes.multiply(lanes.multiply(polynomial(lanes, &COMPLEMENT, t), t), power)
}

/// Returns the sum of `factors[n] * x^n`.
#[inline(always)]
fn polynomial<L: Lanes, const COUNT: usize>(lanes: L, factors: &[f32; COUNT], x: L::F32s) -> L::F32s {
    let mut sum = lanes.splat(factors[COUNT - 1]);
    for index in (0..COUNT - 1).rev() {
        sum = lanes.multiply_add(sum, x, lanes.splat(factors[index]));
    }
    sum
}

#[inline(always)]
fn negative<L: Lanes>(lanes: L, x: L::F32s) -> L::F32s {
    lanes.subtract(lanes.splat(0.0), x)
}
