//! Loops written once over sixteen lanes of f32 and compiled for each [`Level`].

use std::ops::Range;
use std::sync::LazyLock;

use crate::Level;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

/// Numbers that are worked on together: one register of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// The instructions of a level. A value of an implementing type is the proof that the processor has them.
pub(crate) trait Lanes: Copy {
    /// Sixteen numbers.
    type F32s: Copy;

    /// How many times sixteen numbers the registers hold.
    const REGISTERS: usize;

    /// Returns the same number in every lane.
    fn splat(self, value: f32) -> Self::F32s;

    /// Returns numbers from memory.
    fn load(self, values: &[f32; LANES]) -> Self::F32s;

    /// Writes numbers to memory.
    fn store(self, values: Self::F32s, target: &mut [f32; LANES]);

    /// Returns half-precision numbers from memory.
    fn load_halves(self, values: &[u16; LANES]) -> Self::F32s;

    /// Writes numbers to memory, rounded to half precision.
    fn store_halves(self, values: Self::F32s, target: &mut [u16; LANES]);

    /// Returns `a + b`.
    fn add(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns `a - b`.
    fn subtract(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns `a * b`.
    fn multiply(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns `a / b`.
    fn divide(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns `a * b + c`, rounded once where the level has an instruction for it.
    fn multiply_add(self, a: Self::F32s, b: Self::F32s, c: Self::F32s) -> Self::F32s;

    /// Returns the greater number, and `b` when either is not a number.
    fn max(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns the smaller number, and `b` when either is not a number.
    fn min(self, a: Self::F32s, b: Self::F32s) -> Self::F32s;

    /// Returns the nearest whole number, the even one of two, for numbers below 2^22.
    fn round(self, values: Self::F32s) -> Self::F32s;

    /// Returns `values * 2^exponents` for whole exponents from -200 to 200.
    fn times_power_of_two(self, values: Self::F32s, exponents: Self::F32s) -> Self::F32s;

    /// Returns lanes 1, 0, 3, 2 and so on.
    fn swap_neighbours(self, values: Self::F32s) -> Self::F32s;

    /// Returns `values` in the lanes that are `kept` and `other` in the rest.
    fn keep(self, values: Self::F32s, kept: Range<usize>, other: Self::F32s) -> Self::F32s;

    /// Returns the sum of all lanes.
    fn sum(self, values: Self::F32s) -> f32;

    /// Returns the greatest lane.
    fn greatest(self, values: Self::F32s) -> f32;

    /// Returns up to sixteen numbers from memory and zeros in the other lanes.
    #[inline(always)]
    fn load_first(self, values: &[f32]) -> Self::F32s {
        let mut all = [0.0; LANES];
        all[..values.len()].copy_from_slice(values);
        self.load(&all)
    }

    /// Writes the first lanes to memory, as many as there is room for.
    #[inline(always)]
    fn store_first(self, values: Self::F32s, target: &mut [f32]) {
        let mut all = [0.0; LANES];
        self.store(values, &mut all);
        target.copy_from_slice(&all[..target.len()]);
    }
}

/// A loop to be compiled for each level. Everything it calls must be `#[inline(always)]`, because a function of its own
/// would be compiled for the oldest processor.
pub(crate) trait Kernel {
    /// What the loop gives.
    type Output;

    /// Runs the loop.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs a loop with the instructions of `level`.
///
/// # Panics
/// When the processor does not have them.
#[inline]
pub(crate) fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
    static BEST: LazyLock<Level> = LazyLock::new(Level::best);
    assert!(level <= *BEST, "this processor has no {}", level.name());
    match level {
        Level::Portable => kernel.run(portable::Portable),
        // SAFETY: each level includes the ones before it, and this processor has `BEST`.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::run(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::Avx512 => unreachable!("not available, as was checked above"),
    }
}
