//! Lanes as plain arrays, for every processor.

use std::ops::Range;

use super::{LANES, Lanes};

/// No special instructions.
#[derive(Clone, Copy)]
pub(super) struct Portable;

type F32s = [f32; LANES];

/// Applies an operation to each lane of two operands.
macro_rules! lane_by_lane {
    ($a:ident, $b:ident, $operation:expr) => {{
        let mut result = [0.0; LANES];
        for lane in 0..LANES {
            let ($a, $b) = ($a[lane], $b[lane]);
            result[lane] = $operation;
        }
        result
    }};
}

impl Lanes for Portable {
    type F32s = F32s;

    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> F32s {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> F32s {
        *values
    }

    #[inline(always)]
    fn store(self, values: F32s, target: &mut [f32; LANES]) {
        *target = values;
    }

    #[inline(always)]
    fn load_halves(self, values: &[u16; LANES]) -> F32s {
        values.map(half_to_single)
    }

    #[inline(always)]
    fn store_halves(self, values: F32s, target: &mut [u16; LANES]) {
        *target = values.map(|value| half::f16::from_f32(value).to_bits());
    }

    #[inline(always)]
    fn add(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, a + b)
    }

    #[inline(always)]
    fn subtract(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, a - b)
    }

    #[inline(always)]
    fn multiply(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, a * b)
    }

    #[inline(always)]
    fn divide(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, a / b)
    }

    /// Rounds twice: without the instruction, rounding once would be a library call per number.
    #[inline(always)]
    fn multiply_add(self, a: F32s, b: F32s, c: F32s) -> F32s {
        let product = self.multiply(a, b);
        self.add(product, c)
    }

    #[inline(always)]
    fn max(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: F32s, b: F32s) -> F32s {
        lane_by_lane!(a, b, if a < b { a } else { b })
    }

    /// Adding and subtracting 1.5 * 2^23 leaves no bits after the point.
    #[inline(always)]
    fn round(self, values: F32s) -> F32s {
        const SHIFT: f32 = 1.5 * 8_388_608.0;
        values.map(|value| (value + SHIFT) - SHIFT)
    }

    /// In two steps, because the result may be subnormal while 2^exponent is not even that.
    #[inline(always)]
    fn times_power_of_two(self, values: F32s, exponents: F32s) -> F32s {
        lane_by_lane!(values, exponents, {
            let exponent = exponents as i32;
            let half = exponent >> 1;
            values * power_of_two(half) * power_of_two(exponent - half)
        })
    }

    #[inline(always)]
    fn swap_neighbours(self, mut values: F32s) -> F32s {
        for pair in values.as_chunks_mut::<2>().0 {
            pair.swap(0, 1);
        }
        values
    }

    #[inline(always)]
    fn keep(self, values: F32s, kept: Range<usize>, other: F32s) -> F32s {
        let mut result = other;
        for lane in 0..LANES {
            if kept.start <= lane && lane < kept.end {
                result[lane] = values[lane];
            }
        }
        result
    }

    /// In pairs, which loses less than one after the other.
    #[inline(always)]
    fn sum(self, mut values: F32s) -> f32 {
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                values[lane] += values[lane + half];
            }
        }
        values[0]
    }

    #[inline(always)]
    fn greatest(self, values: F32s) -> f32 {
        values.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Widens a half-precision number without a branch, so that loops over it vectorise: the bits are moved to where f32
/// has them, and one exact multiplication corrects the exponent, also of subnormal numbers.
#[inline(always)]
fn half_to_single(bits: u16) -> f32 {
    const EXPONENT_CORRECTION: f32 = f32::from_bits((127 + 112) << 23);
    const FIRST_NOT_FINITE: u32 = 0x7c00;
    let bits = u32::from(bits);
    let magnitude = bits & 0x7fff;
    let finite = f32::from_bits(magnitude << 13) * EXPONENT_CORRECTION;
    let exponent_of_infinity = if magnitude >= FIRST_NOT_FINITE { 0x7f80_0000 } else { 0 };
    f32::from_bits(finite.to_bits() | exponent_of_infinity | (bits & 0x8000) << 16)
}
