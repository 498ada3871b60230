//! Rounding a row. Plain loops, compiled once for each instruction set.

use super::{QuantisedGroup, QuantisedRow};
use crate::Level;
use crate::multiply::{Vector, Work, enter};

/// Below it the inverse of a scale is no number any more; rows of such magnitudes count as zeros.
const LEAST_MAGNITUDE: f32 = 1e-36;

/// Adding it to a small number leaves the nearest integer (ties to even) in the lowest bits.
const ROUNDER: f32 = 12_582_912.0;

/// Returns words as floats of the same bits.
pub(super) fn as_floats(words: &mut [u32]) -> &mut [f32] {
    // SAFETY: same size and alignment, and any bits are valid for both.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

/// Rounds to bf16, two to a word. What remains of `words` is left alone.
pub(super) fn bf16(level: Level, floats: &[f32], words: &mut [u32]) {
    enter(level, Bf16 { floats, words });
}

/// Rounds to 8 bits with one scale.
pub(super) fn row(level: Level, floats: &[f32], words: &mut [u32], row: &mut QuantisedRow) {
    enter(level, Row { floats, words, row });
}

/// Rounds to 8 bits with a scale for each 32.
pub(super) fn groups(level: Level, floats: &[f32], words: &mut [u32], groups: &mut [QuantisedGroup]) {
    enter(level, Groups { floats, words, groups });
}

struct Bf16<'a> {
    floats: &'a [f32],
    words: &'a mut [u32],
}

impl Work for Bf16<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (pairs, _) = self.floats.as_chunks::<2>();
        for (word, pair) in self.words.iter_mut().zip(pairs) {
            *word = rounded_bf16(pair[0]) >> 16 | rounded_bf16(pair[1]) & 0xffff_0000;
        }
    }
}

/// Returns bits whose upper half is the nearest bf16.
#[inline(always)]
fn rounded_bf16(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Rounding could carry a NaN over into infinity.
    if number.is_nan() { bits | 0x0040_0000 } else { rounded }
}

struct Row<'a> {
    floats: &'a [f32],
    words: &'a mut [u32],
    row: &'a mut QuantisedRow,
}

impl Work for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (scale, inverse) = scale_and_inverse(largest_bits(self.floats));
        let sum = quantise(self.floats, inverse, self.words);
        *self.row = QuantisedRow { scale, sum };
    }
}

struct Groups<'a> {
    floats: &'a [f32],
    words: &'a mut [u32],
    groups: &'a mut [QuantisedGroup],
}

impl Work for Groups<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (groups, _) = self.floats.as_chunks::<32>();
        let (words, _) = self.words.as_chunks_mut::<8>();
        for ((floats, words), group) in groups.iter().zip(words).zip(self.groups) {
            let (scale, inverse) = scale_and_inverse(largest_bits(floats));
            let lower = quantise(&floats[..16], inverse, &mut words[..4]);
            let upper = quantise(&floats[16..], inverse, &mut words[4..]);
            let sum = lower + upper;
            *group = QuantisedGroup {
                scale,
                scaled_sum: scale * sum as f32,
                start: sum * -128,
                half_starts: [lower * -128, upper * -128],
            };
        }
    }
}

/// Returns the bits of the largest magnitude; those of NaN are larger than those of any number.
#[inline(always)]
fn largest_bits(floats: &[f32]) -> u32 {
    floats.iter().fold(0, |most, number| most.max(number.to_bits() & 0x7fff_ffff))
}

#[inline(always)]
fn scale_and_inverse(largest_bits: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest_bits);
    if !largest.is_finite() {
        // Integers cannot say it, the scale can.
        (f32::NAN, 0.0)
    } else if largest < LEAST_MAGNITUDE {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

/// Writes the integers nearest to `floats * inverse`, which are from -127 to 127, and returns their sum.
#[inline(always)]
fn quantise(floats: &[f32], inverse: f32, words: &mut [u32]) -> i32 {
    let (quads, _) = floats.as_chunks::<4>();
    let mut sum = 0;
    for (word, quad) in words.iter_mut().zip(quads) {
        let mut bytes = [0; 4];
        for (byte, number) in bytes.iter_mut().zip(quad) {
            let rounded = (number * inverse + ROUNDER).to_bits() as u8;
            *byte = rounded;
            sum += i32::from(rounded.cast_signed());
        }
        *word = u32::from_ne_bytes(bytes);
    }
    sum
}
