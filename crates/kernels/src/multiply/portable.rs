//! Eight lanes as plain arrays, which compilers turn into whatever vectors the target has.

use half::f16;

use super::vector::{Vector, Work};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn each<T>(lane: impl FnMut(usize) -> T) -> [T; LANES] {
    std::array::from_fn(lane)
}

/// # Safety
/// `from` is valid for the bytes of `N` lanes.
#[inline(always)]
unsafe fn read<const BYTES: usize>(from: *const u8) -> [[u8; BYTES]; LANES] {
    // SAFETY: by the contract of this function; arrays of bytes need no alignment.
    unsafe { from.cast::<[[u8; BYTES]; LANES]>().read() }
}

impl Vector for Portable {
    type Float = [f32; LANES];
    type Word = [i32; LANES];

    const LANES: usize = LANES;
    const ROWS: usize = 2;
    const BYTE_ROWS: usize = 2;
    const GROUP_ROWS: usize = 1;
    const BIAS: i32 = 0;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: W) {
        // SAFETY: every processor has the instructions; the caller vouches for what `work` says about its pointers.
        unsafe { work.run::<Portable>() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        // SAFETY: reads 32 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; LANES]) {
        // SAFETY: writes 32 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn add(left: [f32; LANES], right: [f32; LANES]) -> [f32; LANES] {
        each(|lane| left[lane] + right[lane])
    }

    #[inline(always)]
    unsafe fn multiply(left: [f32; LANES], right: [f32; LANES]) -> [f32; LANES] {
        each(|lane| left[lane] * right[lane])
    }

    #[inline(always)]
    unsafe fn max(left: [f32; LANES], right: [f32; LANES]) -> [f32; LANES] {
        each(|lane| if left[lane] > right[lane] { left[lane] } else { right[lane] })
    }

    #[inline(always)]
    unsafe fn min(left: [f32; LANES], right: [f32; LANES]) -> [f32; LANES] {
        each(|lane| if left[lane] < right[lane] { left[lane] } else { right[lane] })
    }

    /// Rounded twice: where there is no instruction for it, rounding once takes a call per lane.
    #[inline(always)]
    unsafe fn multiply_add(left: [f32; LANES], right: [f32; LANES], sum: [f32; LANES]) -> [f32; LANES] {
        each(|lane| left[lane] * right[lane] + sum[lane])
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8) -> [i32; LANES] {
        // SAFETY: reads 32 bytes at `from`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { read(from) }.map(i32::from_le_bytes)
    }

    #[inline(always)]
    unsafe fn store_words(to: *mut i32, value: [i32; LANES]) {
        // SAFETY: writes 32 bytes at `to`, 4 for each lane, wherever they lie; the caller vouches for them.
        unsafe { to.cast::<[i32; LANES]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn splat_word(value: i32) -> [i32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn subtract_words(left: [i32; LANES], right: [i32; LANES]) -> [i32; LANES] {
        each(|lane| left[lane].wrapping_sub(right[lane]))
    }

    #[inline(always)]
    unsafe fn floats(words: [i32; LANES]) -> [f32; LANES] {
        words.map(|word| word as f32)
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> [f32; LANES] {
        // SAFETY: reads 16 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { read(from) }.map(|bytes| f16::from_le_bytes(bytes).to_f32())
    }

    #[inline(always)]
    unsafe fn load_i16(from: *const u8) -> [f32; LANES] {
        // SAFETY: reads 16 bytes at `from`, 2 for each lane, wherever they lie; the caller vouches for them.
        unsafe { read(from) }.map(|bytes| f32::from(i16::from_le_bytes(bytes)))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> [f32; LANES] {
        // SAFETY: reads 8 bytes at `from`, 1 for each lane, wherever they lie; the caller vouches for them.
        unsafe { read(from) }.map(|bytes| f32::from(i8::from_le_bytes(bytes)))
    }

    #[inline(always)]
    unsafe fn low_bf16(words: [i32; LANES]) -> [f32; LANES] {
        words.map(|word| f32::from_bits(word.cast_unsigned() << 16))
    }

    #[inline(always)]
    unsafe fn high_bf16(words: [i32; LANES]) -> [f32; LANES] {
        words.map(|word| f32::from_bits(word.cast_unsigned() & 0xffff_0000))
    }

    #[inline(always)]
    unsafe fn signed_byte(words: [i32; LANES], index: usize) -> [f32; LANES] {
        words.map(|word| (word << (24 - 8 * index) >> 24) as f32)
    }

    #[inline(always)]
    unsafe fn unbiased(words: [i32; LANES]) -> [i32; LANES] {
        words.map(|word| word ^ 0x8080_8080_u32.cast_signed())
    }

    #[inline(always)]
    unsafe fn low_nibbles(words: [i32; LANES]) -> [i32; LANES] {
        words.map(|word| word & 0x0f0f_0f0f)
    }

    #[inline(always)]
    unsafe fn high_nibbles(words: [i32; LANES]) -> [i32; LANES] {
        words.map(|word| word >> 4 & 0x0f0f_0f0f)
    }

    #[inline(always)]
    unsafe fn sixteenth(words: [i32; LANES]) -> [i32; LANES] {
        words.map(|word| word >> 4)
    }

    #[inline(always)]
    unsafe fn dot_bf16(sum: [f32; LANES], weights: [i32; LANES], activations: [i32; LANES]) -> [f32; LANES] {
        // SAFETY: no memory is touched, and every processor has the instructions.
        unsafe {
            let sum = Self::multiply_add(Self::low_bf16(weights), Self::low_bf16(activations), sum);
            Self::multiply_add(Self::high_bf16(weights), Self::high_bf16(activations), sum)
        }
    }

    #[inline(always)]
    unsafe fn dot_biased_bytes(sum: [i32; LANES], weights: [i32; LANES], activations: [i32; LANES]) -> [i32; LANES] {
        // SAFETY: no memory is touched, and every processor has the instructions.
        let weights = unsafe { Self::unbiased(weights) };
        each(|lane| sum[lane].wrapping_add(dot(weights[lane], activations[lane])))
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: [i32; LANES], weights: [i32; LANES], activations: [i32; LANES]) -> [i32; LANES] {
        each(|lane| sum[lane].wrapping_add(dot(weights[lane], activations[lane])))
    }
}

/// Returns the sum of the products of four signed bytes.
#[inline(always)]
fn dot(left: i32, right: i32) -> i32 {
    let product = |shift: u32| (left << shift >> 24) * (right << shift >> 24);
    product(0) + product(8) + product(16) + product(24)
}
