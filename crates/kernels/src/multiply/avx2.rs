//! Eight lanes: AVX2 with FMA and F16C.

use std::arch::x86_64::*;

use super::vector::{Vector, Work};

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn enter<W: Work>(work: W) {
    // SAFETY: the caller vouches for the pointers of `work`, and this function is called only where the processor has these
    // instructions: by `Vector::enter`, whose caller vouches for them.
    unsafe { work.run::<Avx2>() }
}

impl Vector for Avx2 {
    type Float = __m256;
    type Word = __m256i;

    const LANES: usize = 8;
    const ROWS: usize = 6;
    const BYTE_ROWS: usize = 4;
    const GROUP_ROWS: usize = 2;
    const BIAS: i32 = 0;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: W) {
        // SAFETY: the caller vouches for the instructions and for what `work` says about its pointers.
        unsafe { enter(work) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: reads 32 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: writes 32 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(left: __m256, right: __m256) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_add_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn multiply(left: __m256, right: __m256) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_mul_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn max(left: __m256, right: __m256) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_max_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn min(left: __m256, right: __m256) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_min_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn multiply_add(left: __m256, right: __m256, sum: __m256) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8) -> __m256i {
        // SAFETY: reads 32 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(to: *mut i32, value: __m256i) {
        // SAFETY: writes 32 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_storeu_si256(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn splat_word(value: i32) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn subtract_words(left: __m256i, right: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_sub_epi32(left, right) }
    }

    #[inline(always)]
    unsafe fn floats(words: __m256i) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_cvtepi32_ps(words) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m256 {
        // SAFETY: reads 16 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i16(from: *const u8) -> __m256 {
        // SAFETY: reads 16 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m256 {
        // SAFETY: reads 8 bytes at `from`, 1 for each lane, wherever they lie; the caller vouches for them.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn low_bf16(words: __m256i) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)) }
    }

    #[inline(always)]
    unsafe fn high_bf16(words: __m256i) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()))) }
    }

    #[inline(always)]
    unsafe fn signed_byte(words: __m256i, index: usize) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe {
            let highest = match index {
                0 => _mm256_slli_epi32::<24>(words),
                1 => _mm256_slli_epi32::<16>(words),
                2 => _mm256_slli_epi32::<8>(words),
                _ => words,
            };
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(highest))
        }
    }

    #[inline(always)]
    unsafe fn unbiased(words: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_xor_si256(words, _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn low_nibbles(words: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_and_si256(words, _mm256_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn high_nibbles(words: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_and_si256(_mm256_srli_epi32::<4>(words), _mm256_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn sixteenth(words: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe { _mm256_srai_epi32::<4>(words) }
    }

    #[inline(always)]
    unsafe fn dot_bf16(sum: __m256, weights: __m256i, activations: __m256i) -> __m256 {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe {
            let sum = Self::multiply_add(Self::low_bf16(weights), Self::low_bf16(activations), sum);
            Self::multiply_add(Self::high_bf16(weights), Self::high_bf16(activations), sum)
        }
    }

    /// Magnitude of the weight times activation with the weight's sign: a magnitude may be 128, an activation at most 127, so
    /// that two products (32512) fit into 16 bits and nothing saturates.
    #[inline(always)]
    unsafe fn dot_biased_bytes(sum: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe {
            let weights = Self::unbiased(weights);
            let signed = _mm256_sign_epi8(activations, weights);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), signed);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the caller vouches for the instructions.
        unsafe {
            let pairs = _mm256_maddubs_epi16(weights, activations);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}
