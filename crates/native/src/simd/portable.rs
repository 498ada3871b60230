//! Lanes as plain arrays, for processors without instructions of our choice.

use super::{LANES, Lanes};

/// No special instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type F32s = [f32; LANES];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> [f32; LANES] {
        *values
    }

    #[inline(always)]
    fn store(self, values: [f32; LANES]) -> [f32; LANES] {
        values
    }

    /// Rounds twice: a fused multiplication without the instruction for it would be a slow library call.
    #[inline(always)]
    fn multiply_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn half_bytes(self, bytes: &[u8; LANES]) -> [[f32; LANES]; 2] {
        [bytes.map(|byte| f32::from(byte & 15)), bytes.map(|byte| f32::from(byte >> 4))]
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8; LANES]) -> [f32; LANES] {
        bytes.map(|byte| f32::from(byte.cast_signed()))
    }
}
