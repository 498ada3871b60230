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

/// Returns the bits of floats.
pub(super) fn as_words(floats: &[f32]) -> &[u32] {
    // SAFETY: same size and alignment, and any bits are valid for both.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len()) }
}

/// Returns the bytes of words.
pub(super) fn as_bytes(words: &[u32]) -> &[u8] {
    // SAFETY: bytes need no alignment, and any are valid.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// Returns the bytes of words, to be changed.
pub(super) fn as_bytes_mut(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: bytes need no alignment, and any are valid for both.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Returns the bits of the greatest magnitude; those of NaN are greater than those of any number.
pub(super) fn greatest(level: Level, floats: &[f32]) -> u32 {
    let mut greatest = 0;
    enter(level, Greatest { floats, greatest: &mut greatest });
    greatest
}

/// Rounds to bf16, as many words as are needed; the rest of the last one is 0.
pub(super) fn all_bf16(level: Level, floats: &[f32], words: &mut [u32]) {
    bf16(level, floats, words);
    if let (&[.., last], [.., word]) = (floats, words)
        && !floats.len().is_multiple_of(2)
    {
        *word = rounded_bf16(last) >> 16;
    }
}

/// Rounds to 8 bits by the greatest magnitude of all that get the same scale; the rest of the last word is 0.
pub(super) fn all_bytes(level: Level, floats: &[f32], magnitude: f32, words: &mut [u32]) {
    let (_, inverse) = scale_and_inverse(magnitude.to_bits());
    let (quads, rest) = floats.as_chunks::<4>();
    let (whole, last) = words.split_at_mut(quads.len());
    enter(level, Bytes { floats: quads.as_flattened(), inverse, words: whole });
    if let [word] = last {
        let mut quad = [0.0; 4];
        quad[..rest.len()].copy_from_slice(rest);
        quantise(&quad, inverse, std::slice::from_mut(word));
    }
}

/// Returns the scale that belongs to a greatest magnitude.
pub(super) fn scale(magnitude: f32) -> f32 {
    scale_and_inverse(magnitude.to_bits()).0
}

/// Returns the sum of 8-bit integers.
pub(super) fn sum_of_bytes(level: Level, bytes: &[u8]) -> i32 {
    let mut sum = 0;
    enter(level, SumOfBytes { bytes, sum: &mut sum });
    sum
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

struct Greatest<'a> {
    floats: &'a [f32],
    greatest: &'a mut u32,
}

impl Work for Greatest<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        *self.greatest = largest_bits(self.floats);
    }
}

struct Bytes<'a> {
    floats: &'a [f32],
    inverse: f32,
    words: &'a mut [u32],
}

impl Work for Bytes<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        quantise(self.floats, self.inverse, self.words);
    }
}

struct SumOfBytes<'a> {
    bytes: &'a [u8],
    sum: &'a mut i32,
}

impl Work for SumOfBytes<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        *self.sum = self.bytes.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    }
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
