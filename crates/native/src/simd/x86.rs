//! Lanes in registers of AVX-512 and of AVX2. The compiler's own vectorisation of these few steps shuffles bytes one by
//! one, so they are spelled out.

use std::arch::x86_64::{__m128i, __m256, __m512};

use pulp::cast;
use pulp::x86::{V3, V4};

use super::{LANES, Lanes};

/// The lower half of every byte.
const LOWER_HALVES: [u8; LANES] = [15; LANES];

impl Lanes for V4 {
    type F32s = __m512;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        self.avx512f._mm512_set1_ps(value)
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> __m512 {
        cast(*values)
    }

    #[inline(always)]
    fn store(self, values: __m512) -> [f32; LANES] {
        cast(values)
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.avx512f._mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    fn half_bytes(self, bytes: &[u8; LANES]) -> [__m512; 2] {
        split_bytes(*self, bytes).map(|half| self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepu8_epi32(half)))
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8; LANES]) -> __m512 {
        self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepi8_epi32(cast(*bytes)))
    }

    #[inline(always)]
    fn half_precision(self, bytes: [u8; 2]) -> f32 {
        let mut halves = [[0; 2]; LANES];
        halves[0] = bytes;
        self.store(self.avx512f._mm512_cvtph_ps(cast(halves)))[0]
    }
}

impl Lanes for V3 {
    type F32s = [__m256; 2];

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        [self.avx._mm256_set1_ps(value); 2]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> [__m256; 2] {
        cast(*values)
    }

    #[inline(always)]
    fn store(self, values: [__m256; 2]) -> [f32; LANES] {
        cast(values)
    }

    #[inline(always)]
    fn multiply_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [self.fma._mm256_fmadd_ps(a[0], b[0], c[0]), self.fma._mm256_fmadd_ps(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn half_bytes(self, bytes: &[u8; LANES]) -> [[__m256; 2]; 2] {
        split_bytes(self, bytes).map(|half| {
            [half, self.sse2._mm_srli_si128::<8>(half)]
                .map(|eight| self.avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepu8_epi32(eight)))
        })
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8; LANES]) -> [__m256; 2] {
        let all: __m128i = cast(*bytes);
        [all, self.sse2._mm_srli_si128::<8>(all)]
            .map(|eight| self.avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepi8_epi32(eight)))
    }
}

/// Returns the lower and the upper half of each byte.
#[inline(always)]
fn split_bytes(lanes: V3, bytes: &[u8; LANES]) -> [__m128i; 2] {
    let all: __m128i = cast(*bytes);
    let mask: __m128i = cast(LOWER_HALVES);
    let shifted = lanes.sse2._mm_srli_epi16::<4>(all);
    [lanes.sse2._mm_and_si128(all, mask), lanes.sse2._mm_and_si128(shifted, mask)]
}
