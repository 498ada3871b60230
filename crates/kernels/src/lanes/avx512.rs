//! Lanes in one register of AVX-512.

use std::arch::x86_64::{
    __m512, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_ps, _mm512_castps512_ps256, _mm512_cvtph_ps,
    _mm512_cvtps_ph, _mm512_div_ps, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_permute_ps,
    _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::ops::Range;

use super::avx2::{greatest_of_eight, sum_of_eight};
use super::{Kernel, LANES, Lanes};

/// Exists only where the processor has AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Runs a loop with AVX-512.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Calls instructions.
macro_rules! instructions {
    ($body:expr) => {
        // SAFETY: `Avx512` is made only by `run`, which is called only where the processor has the instructions, and
        // the pointers are those of arrays of the length that is read or written.
        unsafe { $body }
    };
}

impl Lanes for Avx512 {
    type F32s = __m512;

    const REGISTERS: usize = 32;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        instructions!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> __m512 {
        instructions!(_mm512_loadu_ps(values.as_ptr()))
    }

    #[inline(always)]
    fn store(self, values: __m512, target: &mut [f32; LANES]) {
        instructions!(_mm512_storeu_ps(target.as_mut_ptr(), values));
    }

    #[inline(always)]
    fn load_halves(self, values: &[u16; LANES]) -> __m512 {
        instructions!(_mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())))
    }

    #[inline(always)]
    fn store_halves(self, values: __m512, target: &mut [u16; LANES]) {
        instructions!(_mm256_storeu_si256(target.as_mut_ptr().cast(), _mm512_cvtps_ph::<0>(values)));
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn subtract(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn divide(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        instructions!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        instructions!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn round(self, values: __m512) -> __m512 {
        instructions!(_mm512_roundscale_ps::<0>(values))
    }

    #[inline(always)]
    fn times_power_of_two(self, values: __m512, exponents: __m512) -> __m512 {
        instructions!(_mm512_scalef_ps(values, exponents))
    }

    #[inline(always)]
    fn swap_neighbours(self, values: __m512) -> __m512 {
        instructions!(_mm512_permute_ps::<0b10_11_00_01>(values))
    }

    #[inline(always)]
    fn keep(self, values: __m512, kept: Range<usize>, other: __m512) -> __m512 {
        let mask = first_lanes(kept.end) & !first_lanes(kept.start);
        instructions!(_mm512_mask_blend_ps(mask, other, values))
    }

    #[inline(always)]
    fn sum(self, values: __m512) -> f32 {
        instructions!({
            let (low, high) = (_mm512_castps512_ps256(values), _mm512_extractf32x8_ps::<1>(values));
            sum_of_eight(std::arch::x86_64::_mm256_add_ps(low, high))
        })
    }

    #[inline(always)]
    fn greatest(self, values: __m512) -> f32 {
        instructions!({
            let (low, high) = (_mm512_castps512_ps256(values), _mm512_extractf32x8_ps::<1>(values));
            greatest_of_eight(std::arch::x86_64::_mm256_max_ps(low, high))
        })
    }

    #[inline(always)]
    fn load_first(self, values: &[f32]) -> __m512 {
        assert!(values.len() <= LANES, "no more than the lanes hold");
        // Memory beyond the mask is not touched.
        instructions!(_mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()))
    }

    #[inline(always)]
    fn store_first(self, values: __m512, target: &mut [f32]) {
        assert!(target.len() <= LANES, "no more than the lanes hold");
        instructions!(_mm512_mask_storeu_ps(target.as_mut_ptr(), first_lanes(target.len()), values));
    }
}

/// Returns a mask of the first `count` lanes.
#[inline(always)]
fn first_lanes(count: usize) -> u16 {
    ((1_u32 << count) - 1) as u16
}
