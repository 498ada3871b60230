//! Run-time choice of the instruction set: loops are written once over sixteen lanes of f32, compiled for each
//! instruction set, and the processor picks.

use std::sync::LazyLock;

use pulp::{Arch, NullaryFnOnce};

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use portable::Portable;

/// Numbers in a register: one of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// The instructions that our loops use.
pub(crate) trait Lanes: Copy {
    /// Sixteen numbers.
    type F32s: Copy;

    /// Returns the same number in every lane.
    fn splat(self, value: f32) -> Self::F32s;

    /// Returns numbers from memory.
    fn load(self, values: &[f32; LANES]) -> Self::F32s;

    /// Returns numbers for memory.
    fn store(self, values: Self::F32s) -> [f32; LANES];

    /// Returns `a * b + c`.
    fn multiply_add(self, a: Self::F32s, b: Self::F32s, c: Self::F32s) -> Self::F32s;

    /// Returns the lower and the upper half of each byte as numbers from 0 to 15.
    fn half_bytes(self, bytes: &[u8; LANES]) -> [Self::F32s; 2];

    /// Returns each byte as a number from -128 to 127.
    fn signed_bytes(self, bytes: &[u8; LANES]) -> Self::F32s;

    /// Returns a half-precision number.
    #[inline(always)]
    fn half_precision(self, bytes: [u8; 2]) -> f32 {
        f16_to_f32(bytes)
    }
}

/// A loop to be compiled for each instruction set. Everything it calls must be `#[inline(always)]`, because a function
/// of its own would be compiled for the oldest processor.
pub(crate) trait Kernel {
    /// What the loop gives.
    type Output;

    /// Runs the loop.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs a loop with the widest instructions that this processor has.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    match *ARCH {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(lanes) => lanes.vectorize(With { kernel, lanes }),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(lanes) => lanes.vectorize(With { kernel, lanes }),
        _ => kernel.run(Portable),
    }
}

struct With<K, L> {
    kernel: K,
    lanes: L,
}

impl<K: Kernel, L: Lanes> NullaryFnOnce for With<K, L> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.kernel.run(self.lanes)
    }
}

/// Returns the sum of the products.
#[inline(always)]
pub(crate) fn dot<L: Lanes>(lanes: L, a: &[f32], b: &[f32]) -> f32 {
    let (a_groups, a_rest) = a.as_chunks::<LANES>();
    let (b_groups, b_rest) = b.as_chunks::<LANES>();
    let mut sums = lanes.splat(0.0);
    for (a, b) in a_groups.iter().zip(b_groups) {
        sums = lanes.multiply_add(lanes.load(a), lanes.load(b), sums);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sum_of_lanes(lanes.store(sums)) + rest
}

/// Adds `factor * addend` to `sum`.
#[inline(always)]
pub(crate) fn add_scaled<L: Lanes>(lanes: L, sum: &mut [f32], factor: f32, addend: &[f32]) {
    let (sums, sum_rest) = sum.as_chunks_mut::<LANES>();
    let (addends, addend_rest) = addend.as_chunks::<LANES>();
    let factors = lanes.splat(factor);
    for (sum, addend) in sums.iter_mut().zip(addends) {
        *sum = lanes.store(lanes.multiply_add(factors, lanes.load(addend), lanes.load(sum)));
    }
    for (sum, addend) in sum_rest.iter_mut().zip(addend_rest) {
        *sum += factor * addend;
    }
}

/// Adds the lanes in pairs, which loses less than one after the other.
#[inline(always)]
pub(crate) fn sum_of_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Widens a half-precision number without a branch, so that loops over it vectorise: the bits are moved to where f32
/// has them, and one exact multiplication corrects the exponent, also of subnormal numbers.
#[inline(always)]
pub(crate) fn f16_to_f32(bytes: [u8; 2]) -> f32 {
    const EXPONENT_CORRECTION: f32 = f32::from_bits((127 + 112) << 23);
    const FIRST_NOT_FINITE: u32 = 0x7c00;
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = bits & 0x7fff;
    let finite = f32::from_bits(magnitude << 13) * EXPONENT_CORRECTION;
    let exponent_of_infinity = if magnitude >= FIRST_NOT_FINITE { 0x7f80_0000 } else { 0 };
    f32::from_bits(finite.to_bits() | exponent_of_infinity | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies every instruction once.
    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<[f32; LANES]>;

        fn run<L: Lanes>(self, lanes: L) -> Vec<[f32; LANES]> {
            let bytes: [u8; LANES] = std::array::from_fn(|index| (index * 41 + 5) as u8);
            let values: [f32; LANES] = std::array::from_fn(|index| index as f32 * 1.5 - 7.0);
            let [low, high] = lanes.half_bytes(&bytes);
            let sum = lanes.multiply_add(lanes.load(&values), low, lanes.splat(0.25));
            [low, high, lanes.signed_bytes(&bytes), sum].map(|result| lanes.store(result)).to_vec()
        }
    }

    #[test]
    fn every_instruction_set_gives_what_the_portable_loops_give() {
        let expected = Everything.run(Portable);
        assert_eq!(expected[0][1], 14.0);
        assert_eq!(expected[1][1], 2.0);
        assert_eq!(expected[2][4], -87.0);
        assert_eq!(run(Everything), expected);
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = pulp::x86::V3::try_new() {
            assert_eq!(lanes.vectorize(With { kernel: Everything, lanes }), expected);
        }
    }
    struct Widen([u8; 2]);

    impl Kernel for Widen {
        type Output = f32;

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> f32 {
            lanes.half_precision(self.0)
        }
    }

    #[test]
    fn every_half_precision_number_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let actual = f16_to_f32(bits.to_le_bytes());
            let by_instruction = run(Widen(bits.to_le_bytes()));
            assert!(by_instruction == expected || (by_instruction.is_nan() && expected.is_nan()), "{bits:#06x}");
            assert!(actual == expected || (actual.is_nan() && expected.is_nan()), "{bits:#06x}: {actual} {expected}");
            assert_eq!(actual.is_sign_negative(), expected.is_sign_negative(), "{bits:#06x}");
        }
    }
}
