//! How weights are stored, and how 32 of them become f32.
//!
//! All encodings are read in blocks of 32 weights; for the plain number types that is our choice, for the quantised ones
//! the format's.

use crate::gguf::TensorType;
use crate::simd::{LANES, Lanes, f16_to_f32};

/// Weights per block.
pub(crate) const BLOCK: usize = 32;

/// The tensor types that we compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
}

impl Encoding {
    /// Every encoding.
    pub(crate) const ALL: [Encoding; 6] =
        [Encoding::F32, Encoding::F16, Encoding::BF16, Encoding::Q8_0, Encoding::Q4_0, Encoding::Q4_1];

    /// Returns the encoding of a GGUF tensor type, or `None` when we cannot compute with it.
    pub(crate) fn of(tensor_type: TensorType) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.name() == tensor_type.name)
    }

    /// Returns ggml's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "F32",
            Encoding::F16 => "F16",
            Encoding::BF16 => "BF16",
            Encoding::Q8_0 => "Q8_0",
            Encoding::Q4_0 => "Q4_0",
            Encoding::Q4_1 => "Q4_1",
        }
    }
}

/// The arithmetic of one encoding. A block of zero bytes stands for zeros in the plain number types, whose rows need not
/// be whole blocks.
pub(crate) trait Decode<const BYTES: usize> {
    /// Returns the first and the second half of a block.
    fn decode<L: Lanes>(lanes: L, block: &[u8; BYTES]) -> [L::F32s; 2];
}

/// Decoder of [`Encoding::F32`].
pub(crate) struct F32;
/// Decoder of [`Encoding::F16`].
pub(crate) struct F16;
/// Decoder of [`Encoding::BF16`].
pub(crate) struct BF16;
/// Decoder of [`Encoding::Q8_0`]: a scale and 32 signed bytes.
pub(crate) struct Q8_0;
/// Decoder of [`Encoding::Q4_0`]: a scale and 32 half-bytes that stand for -8 to 7.
pub(crate) struct Q4_0;
/// Decoder of [`Encoding::Q4_1`]: a scale, a minimum and 32 half-bytes that stand for 0 to 15.
pub(crate) struct Q4_1;

impl Decode<128> for F32 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 128]) -> [L::F32s; 2] {
        plain(lanes, block, f32::from_le_bytes)
    }
}

impl Decode<64> for F16 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 64]) -> [L::F32s; 2] {
        plain(lanes, block, f16_to_f32)
    }
}

impl Decode<64> for BF16 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 64]) -> [L::F32s; 2] {
        plain(lanes, block, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
    }
}

impl Decode<34> for Q8_0 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 34]) -> [L::F32s; 2] {
        let (&scale, quants) = block.split_first_chunk::<2>().expect("34 bytes");
        let (first, second) = quants.split_first_chunk::<LANES>().expect("32 bytes");
        let second = second.first_chunk::<LANES>().expect("16 bytes");
        let scale = lanes.splat(lanes.half_precision(scale));
        [first, second].map(|half| lanes.multiply_add(lanes.signed_bytes(half), scale, lanes.splat(0.0)))
    }
}

impl Decode<18> for Q4_0 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 18]) -> [L::F32s; 2] {
        let (&scale, quants) = block.split_first_chunk::<2>().expect("18 bytes");
        let scale = lanes.half_precision(scale);
        // Exact: the product with a power of two, and every sum of the two, has few enough digits.
        half_bytes(lanes, quants, scale, -8.0 * scale)
    }
}

impl Decode<20> for Q4_1 {
    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, block: &[u8; 20]) -> [L::F32s; 2] {
        let (&scale, rest) = block.split_first_chunk::<2>().expect("20 bytes");
        let (&minimum, quants) = rest.split_first_chunk::<2>().expect("18 bytes");
        half_bytes(lanes, quants, lanes.half_precision(scale), lanes.half_precision(minimum))
    }
}

#[inline(always)]
fn plain<L: Lanes, const BYTES: usize>(lanes: L, block: &[u8], widen: impl Fn([u8; BYTES]) -> f32) -> [L::F32s; 2] {
    let mut weights = [[0.0; LANES]; 2];
    for (weight, &bytes) in weights.as_flattened_mut().iter_mut().zip(block.as_chunks::<BYTES>().0) {
        *weight = widen(bytes);
    }
    [lanes.load(&weights[0]), lanes.load(&weights[1])]
}

#[inline(always)]
fn half_bytes<L: Lanes>(lanes: L, quants: &[u8], scale: f32, offset: f32) -> [L::F32s; 2] {
    let quants = quants.first_chunk::<LANES>().expect("16 bytes");
    let (scale, offset) = (lanes.splat(scale), lanes.splat(offset));
    lanes.half_bytes(quants).map(|half| lanes.multiply_add(half, scale, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Kernel;

    struct DecodeBlock([u8; 20]);

    impl Kernel for DecodeBlock {
        type Output = [[f32; LANES]; 2];

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> [[f32; LANES]; 2] {
            Q4_1::decode(lanes, &self.0).map(|half| lanes.store(half))
        }
    }

    #[test]
    fn half_bytes_hold_the_first_and_the_second_half_of_a_block() {
        let mut block = [0; 20];
        block[..2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
        block[2..4].copy_from_slice(&half::f16::from_f32(-1.0).to_le_bytes());
        block[4] = 0x2f;
        let [first, second] = crate::simd::run(DecodeBlock(block));
        assert_eq!((first[0], second[0], first[1]), (6.5, 0.0, -1.0));
    }
}
