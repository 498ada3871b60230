//! Sixteen lanes: AVX-512 with VNNI and BF16.

use std::arch::x86_64::*;

use super::vector::{Vector, Work};

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")]
unsafe fn enter<W: Work>(work: W) {
    // SAFETY: the caller vouches for the pointers of `work`, and this function is called only where the processor has these
    // instructions: by `Vector::enter`, whose caller vouches for them.
    unsafe { work.run::<Avx512>() }
}

impl Vector for Avx512 {
    type Float = __m512;
    type Word = __m512i;

    const LANES: usize = 16;
    const ROWS: usize = 12;
    const BYTE_ROWS: usize = 12;
    const GROUP_ROWS: usize = 6;
    const BIAS: i32 = 128;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: W) {
        // SAFETY: the caller vouches for the instructions and for what `work` says about its pointers.
        unsafe { enter(work) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: reads 64 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: writes 64 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(left: __m512, right: __m512) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_add_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn multiply(left: __m512, right: __m512) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_mul_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn max(left: __m512, right: __m512) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_max_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn min(left: __m512, right: __m512) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_min_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn multiply_add(left: __m512, right: __m512, sum: __m512) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8) -> __m512i {
        // SAFETY: reads 64 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(to: *mut i32, value: __m512i) {
        // SAFETY: writes 64 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_storeu_si512(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn splat_word(value: i32) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn subtract_words(left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_sub_epi32(left, right) }
    }

    #[inline(always)]
    unsafe fn floats(words: __m512i) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_cvtepi32_ps(words) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: reads 32 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i16(from: *const u8) -> __m512 {
        // SAFETY: reads 32 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: reads 16 bytes at `from`, 1 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn low_bf16(words: __m512i) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)) }
    }

    #[inline(always)]
    unsafe fn high_bf16(words: __m512i) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()))) }
    }

    #[inline(always)]
    unsafe fn signed_byte(words: __m512i, index: usize) -> __m512 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe {
            let highest = match index {
                0 => _mm512_slli_epi32::<24>(words),
                1 => _mm512_slli_epi32::<16>(words),
                2 => _mm512_slli_epi32::<8>(words),
                _ => words,
            };
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(highest))
        }
    }

    #[inline(always)]
    unsafe fn unbiased(words: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_xor_si512(words, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn low_nibbles(words: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_and_si512(words, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn high_nibbles(words: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_and_si512(_mm512_srli_epi32::<4>(words), _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn sixteenth(words: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_srai_epi32::<4>(words) }
    }

    #[inline(always)]
    unsafe fn dot_bf16(sum: __m512, weights: __m512i, activations: __m512i) -> __m512 {
        // SAFETY: no memory is touched, both types are 512 bits of which every pattern is valid, and the caller vouches for the instructions.
        unsafe {
            // The types differ in name only.
            let weights = std::mem::transmute::<__m512i, __m512bh>(weights);
            let activations = std::mem::transmute::<__m512i, __m512bh>(activations);
            _mm512_dpbf16_ps(sum, weights, activations)
        }
    }

    #[inline(always)]
    unsafe fn dot_biased_bytes(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, weights, activations) }
    }
}
