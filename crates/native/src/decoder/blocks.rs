//! Quantised blocks taken apart without loss: the whole numbers, and the scale and the offset of each group. The layouts are
//! those of ggml-common.h, the order of numbers that of `dequantize_row_*` in ggml-quants.c.
//!
//! Scales and offsets of the K types are products of a half-precision factor with a number of at most eight bits, which f32 holds
//! exactly.

use half::f16;

use super::storage::Storage;

/// Where the groups of a row go. A weight is `scale * quant + offset`; in types with super-blocks, scales and offsets are whole
/// numbers and each is multiplied by the factor of its super-block.
#[derive(Debug)]
pub(crate) struct GroupRow<'a> {
    /// One for each number of the row.
    pub(crate) quants: &'a mut [i8],
    /// One for each group.
    pub(crate) scales: &'a mut [f32],
    /// One for each group; zeros for types without offsets.
    pub(crate) offsets: &'a mut [f32],
    /// One for each super-block; empty for types without them.
    pub(crate) scale_factors: &'a mut [f32],
    /// One for each super-block: negative where minima are positive, zeros for types without offsets. Empty for types without
    /// super-blocks.
    pub(crate) offset_factors: &'a mut [f32],
}

/// Groups of 32 in a super-block.
const GROUPS_OF_32: usize = 8;

/// Takes the blocks of a row apart. The slices of `into` have the lengths of the row.
pub(super) fn read_groups(storage: Storage, row: &[u8], into: GroupRow<'_>) {
    let layout = storage.groups().expect("the caller asks for groups of quantised types only");
    let (numbers, per_block) = (storage.block_numbers(), storage.block_numbers() / layout.size);
    into.offsets.fill(0.0);
    let blocks = row.chunks_exact(storage.block_bytes());
    let quants = into.quants.chunks_exact_mut(numbers);
    let groups = into.scales.chunks_exact_mut(per_block).zip(into.offsets.chunks_exact_mut(per_block));
    for (index, ((block, quants), (scales, offsets))) in blocks.zip(quants).zip(groups).enumerate() {
        match layout.super_block {
            None => simple_block(storage, block, quants, (&mut scales[0], &mut offsets[0])),
            Some(_) => {
                let factors = super_block(storage, block, quants, (scales, offsets));
                (into.scale_factors[index], into.offset_factors[index]) = factors;
            }
        }
    }
}

/// Takes a block of one group apart.
fn simple_block(storage: Storage, block: &[u8], quants: &mut [i8], (scale, offset): (&mut f32, &mut f32)) {
    *scale = half_at(block, 0);
    match storage {
        Storage::Q8_0 => {
            for (quant, byte) in quants.iter_mut().zip(&block[2..]) {
                *quant = byte.cast_signed();
            }
        }
        Storage::Q4_0 => {
            half_bytes(&block[2..], quants);
            quants.iter_mut().for_each(|quant| *quant -= 8);
        }
        Storage::Q4_1 => {
            *offset = half_at(block, 2);
            half_bytes(&block[4..], quants);
        }
        Storage::Q5_0 => {
            half_bytes(&block[6..], quants);
            fifth_bits(&block[2..6], quants);
            quants.iter_mut().for_each(|quant| *quant -= 16);
        }
        Storage::Q5_1 => {
            *offset = half_at(block, 2);
            half_bytes(&block[8..], quants);
            fifth_bits(&block[4..8], quants);
        }
        Storage::F32
        | Storage::F16
        | Storage::BF16
        | Storage::Q4K
        | Storage::Q5K
        | Storage::Q6K
        | Storage::I8
        | Storage::I16
        | Storage::I8Groups
        | Storage::I4Groups => unreachable!("the layout of these types is another"),
    }
}

/// Takes a super-block apart, and returns the factors of its scales and offsets.
fn super_block(storage: Storage, block: &[u8], quants: &mut [i8], groups: (&mut [f32], &mut [f32])) -> (f32, f32) {
    let (scales, offsets) = groups;
    if storage == Storage::Q6K {
        six_bits(block, quants);
        for (scale, byte) in scales.iter_mut().zip(&block[192..208]) {
            *scale = byte.cast_signed().into();
        }
        return (half_at(block, 208), 0.0);
    }
    if storage == Storage::Q5K {
        pairs_of_groups(&block[48..176], quants);
        fifth_bits_of_groups(&block[16..48], quants);
    } else {
        pairs_of_groups(&block[16..144], quants);
    }
    for group in 0..GROUPS_OF_32 {
        let (scale, minimum) = six_bit_pair(&block[4..16], group);
        (scales[group], offsets[group]) = (scale.into(), minimum.into());
    }
    (half_at(block, 0), -half_at(block, 2))
}

/// Scale and minimum of a group of Q4_K and Q5_K: six bits each, those of the last four groups spread over the bytes
/// (`get_scale_min_k4`).
fn six_bit_pair(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let scale = (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4);
    let minimum = (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4);
    (scale, minimum)
}

/// The lower halves of the bytes are the first half of the numbers.
fn half_bytes(bytes: &[u8], quants: &mut [i8]) {
    let (first, second) = quants.split_at_mut(bytes.len());
    for ((byte, first), second) in bytes.iter().zip(first).zip(second) {
        (*first, *second) = ((byte & 15).cast_signed(), (byte >> 4).cast_signed());
    }
}

/// Bit `i` is the fifth of number `i`.
fn fifth_bits(bits: &[u8], quants: &mut [i8]) {
    for (index, quant) in quants.iter_mut().enumerate() {
        *quant |= (((bits[index / 8] >> (index % 8)) & 1) << 4).cast_signed();
    }
}

/// 32 bytes hold two groups of Q4_K and Q5_K.
fn pairs_of_groups(bytes: &[u8], quants: &mut [i8]) {
    for (bytes, quants) in bytes.chunks_exact(32).zip(quants.chunks_exact_mut(64)) {
        half_bytes(bytes, quants);
    }
}

/// Bit `g` of byte `i` is the fifth of number `i` of group `g` of Q5_K.
fn fifth_bits_of_groups(bits: &[u8], quants: &mut [i8]) {
    for (group, quants) in quants.chunks_exact_mut(32).enumerate() {
        for (quant, byte) in quants.iter_mut().zip(bits) {
            *quant |= (((byte >> group) & 1) << 4).cast_signed();
        }
    }
}

/// Q6_K: for each half of 128 numbers, 64 bytes with four lower bits of two numbers and 32 bytes with two upper bits of four.
fn six_bits(block: &[u8], quants: &mut [i8]) {
    let (lower, upper) = (&block[..128], &block[128..192]);
    for (half, quants) in quants.chunks_exact_mut(128).enumerate() {
        let (lower, upper) = (&lower[half * 64..][..64], &upper[half * 32..][..32]);
        for (index, quant) in quants.iter_mut().enumerate() {
            let (quarter, place) = (index / 32, index % 32);
            let low = (lower[(quarter % 2) * 32 + place] >> (quarter / 2 * 4)) & 15;
            let high = (upper[place] >> (quarter * 2)) & 3;
            *quant = (low | (high << 4)).cast_signed() - 32;
        }
    }
}

fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}
