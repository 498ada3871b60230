//! Lanes in two registers of AVX2.

use std::arch::x86_64::{
    __m256, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si128,
    _mm_max_ps, _mm_max_ss, _mm_movehdup_ps, _mm_movehl_ps, _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmpgt_epi32,
    _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_cvtps_ph, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_permute_ps, _mm256_round_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_slli_epi32, _mm256_srai_epi32, _mm256_storeu_ps,
    _mm256_sub_epi32, _mm256_sub_ps,
};
use std::ops::Range;

use super::{Kernel, LANES, Lanes};

/// Exists only where the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Runs a loop with AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Calls instructions.
macro_rules! instructions {
    ($body:expr) => {
        // SAFETY: `Avx2` is made only by `run`, which is called only where the processor has the instructions, and the
        // pointers are those of arrays of the length that is read or written.
        unsafe { $body }
    };
}

type F32s = [__m256; 2];

impl Lanes for Avx2 {
    type F32s = F32s;

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> F32s {
        instructions!([_mm256_set1_ps(value); 2])
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> F32s {
        let pointer = values.as_ptr();
        instructions!([_mm256_loadu_ps(pointer), _mm256_loadu_ps(pointer.add(8))])
    }

    #[inline(always)]
    fn store(self, values: F32s, target: &mut [f32; LANES]) {
        let pointer = target.as_mut_ptr();
        instructions!({
            _mm256_storeu_ps(pointer, values[0]);
            _mm256_storeu_ps(pointer.add(8), values[1]);
        });
    }

    #[inline(always)]
    fn load_halves(self, values: &[u16; LANES]) -> F32s {
        let pointer = values.as_ptr();
        instructions!([
            _mm256_cvtph_ps(_mm_loadu_si128(pointer.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(pointer.add(8).cast())),
        ])
    }

    #[inline(always)]
    fn store_halves(self, values: F32s, target: &mut [u16; LANES]) {
        let pointer = target.as_mut_ptr();
        instructions!({
            _mm_storeu_si128(pointer.cast(), _mm256_cvtps_ph::<0>(values[0]));
            _mm_storeu_si128(pointer.add(8).cast(), _mm256_cvtps_ph::<0>(values[1]));
        });
    }

    #[inline(always)]
    fn add(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn subtract(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn multiply(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn divide(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn multiply_add(self, a: F32s, b: F32s, c: F32s) -> F32s {
        instructions!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn max(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn min(self, a: F32s, b: F32s) -> F32s {
        instructions!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn round(self, values: F32s) -> F32s {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        instructions!([_mm256_round_ps::<NEAREST>(values[0]), _mm256_round_ps::<NEAREST>(values[1])])
    }

    #[inline(always)]
    fn times_power_of_two(self, values: F32s, exponents: F32s) -> F32s {
        instructions!([scaled(values[0], exponents[0]), scaled(values[1], exponents[1])])
    }

    #[inline(always)]
    fn swap_neighbours(self, values: F32s) -> F32s {
        const SWAPPED: i32 = 0b10_11_00_01;
        instructions!([_mm256_permute_ps::<SWAPPED>(values[0]), _mm256_permute_ps::<SWAPPED>(values[1])])
    }

    #[inline(always)]
    fn keep(self, values: F32s, kept: Range<usize>, other: F32s) -> F32s {
        let (start, end) = (kept.start as i32, kept.end as i32);
        instructions!([
            _mm256_blendv_ps(other[0], values[0], lanes_between(start, end)),
            _mm256_blendv_ps(other[1], values[1], lanes_between(start - 8, end - 8)),
        ])
    }

    #[inline(always)]
    fn sum(self, values: F32s) -> f32 {
        instructions!(sum_of_eight(_mm256_add_ps(values[0], values[1])))
    }

    #[inline(always)]
    fn greatest(self, values: F32s) -> f32 {
        instructions!(greatest_of_eight(_mm256_max_ps(values[0], values[1])))
    }
}

/// Returns `values * 2^exponents`, in two steps because the result may be subnormal while 2^exponent is not even that.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled(values: __m256, exponents: __m256) -> __m256 {
    let exponents = _mm256_cvtps_epi32(exponents);
    let half = _mm256_srai_epi32::<1>(exponents);
    let bias = _mm256_set1_epi32(127);
    let first = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
    let rest = _mm256_add_epi32(_mm256_sub_epi32(exponents, half), bias);
    _mm256_mul_ps(_mm256_mul_ps(values, first), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(rest)))
}

/// Returns a mask of the lanes from `start` to before `end`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lanes_between(start: i32, end: i32) -> __m256 {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let not_before = _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(start - 1));
    let before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lanes);
    _mm256_castsi256_ps(_mm256_and_si256(not_before, before_end))
}

/// Returns the sum of the lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sum_of_eight(values: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Returns the greatest lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn greatest_of_eight(values: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}
