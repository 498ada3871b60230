//! One output's weights within a panel, written and read one by one.

use half::{bf16, f16};

use super::groups;
use crate::weight_format::{Layout, PANEL, WeightFormat};

/// Writes the weights of one output in a format without groups.
pub(super) fn put_row(format: WeightFormat, weights: &[f32], column: usize, panel: &mut [u8]) {
    let layout = format.layout();
    match format {
        WeightFormat::F32 => {
            put_each(weights, &layout, panel, |index| index * PANEL * 4 + column * 4, |weight| weight.to_le_bytes());
        }
        WeightFormat::F16 => {
            put_each(weights, &layout, panel, half_word(column), |weight| f16::from_f32(weight).to_le_bytes());
        }
        WeightFormat::Bf16 => {
            put_each(weights, &layout, panel, bf16_half_word(column), |weight| bf16::from_f32(weight).to_le_bytes());
        }
        WeightFormat::Int16 => {
            let scale = put_scale(weights, 32767.0, column, panel);
            put_each(weights, &layout, panel, half_word(column), |weight| {
                (quotient(weight, scale) as i16).to_le_bytes()
            });
        }
        WeightFormat::Int8 => {
            let scale = put_scale(weights, 127.0, column, panel);
            put_each(
                weights,
                &layout,
                panel,
                |index| byte_in_words(index, column),
                |weight| [biased(quotient(weight, scale) as i8)],
            );
        }
        WeightFormat::Int8Groups(_) | WeightFormat::Int4Groups(_) => {
            unreachable!("formats with groups are packed by group")
        }
    }
}

/// Writes the integers and the scale of one output.
pub(super) fn put_integers(format: WeightFormat, integers: &[i16], scale: f32, column: usize, panel: &mut [u8]) {
    let layout = format.layout();
    panel[column * 4..column * 4 + 4].copy_from_slice(&scale.to_le_bytes());
    match format {
        WeightFormat::Int16 => put_each(integers, &layout, panel, half_word(column), i16::to_le_bytes),
        WeightFormat::Int8 => {
            let byte = |integer: i16| [biased(integer.clamp(i8::MIN.into(), i8::MAX.into()) as i8)];
            put_each(integers, &layout, panel, |index| byte_in_words(index, column), byte);
        }
        WeightFormat::F32
        | WeightFormat::F16
        | WeightFormat::Bf16
        | WeightFormat::Int8Groups(_)
        | WeightFormat::Int4Groups(_) => panic!("{format:?} has no integers with a scale per output"),
    }
}

/// Reads the weights of one output in any format.
pub(super) fn read_row(format: WeightFormat, panel: &[u8], column: usize, row: &mut [f32]) {
    let layout = format.layout();
    match format {
        WeightFormat::F32 => {
            read_each(row, &layout, panel, |index| index * PANEL * 4 + column * 4, f32::from_le_bytes);
        }
        WeightFormat::F16 => {
            read_each(row, &layout, panel, half_word(column), |bytes| f16::from_le_bytes(bytes).to_f32());
        }
        WeightFormat::Bf16 => {
            read_each(row, &layout, panel, bf16_half_word(column), |bytes| bf16::from_le_bytes(bytes).to_f32());
        }
        WeightFormat::Int16 => {
            let scale = scale_of(panel, column);
            read_each(row, &layout, panel, half_word(column), |bytes| f32::from(i16::from_le_bytes(bytes)) * scale);
        }
        WeightFormat::Int8 => {
            let scale = scale_of(panel, column);
            read_each(
                row,
                &layout,
                panel,
                |index| byte_in_words(index, column),
                |[byte]| f32::from(unbiased(byte)) * scale,
            );
        }
        WeightFormat::Int8Groups(_) | WeightFormat::Int4Groups(_) => groups::read_row(format, panel, column, row),
    }
}

/// Returns where the byte of an input lies among words of four inputs.
pub(super) fn byte_in_words(index: usize, column: usize) -> usize {
    index / 4 * PANEL * 4 + column * 4 + index % 4
}

/// Returns how an 8-bit weight is stored: products of unsigned with signed bytes are what processors have.
pub(super) fn biased(weight: i8) -> u8 {
    weight.cast_unsigned() ^ 0x80
}

pub(super) fn unbiased(byte: u8) -> i8 {
    (byte ^ 0x80).cast_signed()
}

fn half_word(column: usize) -> impl Fn(usize) -> usize {
    move |index| index * PANEL * 2 + column * 2
}

fn bf16_half_word(column: usize) -> impl Fn(usize) -> usize {
    move |index| index / 2 * PANEL * 4 + column * 4 + index % 2 * 2
}

fn put_each<T: Copy, const BYTES: usize>(
    weights: &[T],
    layout: &Layout,
    panel: &mut [u8],
    place: impl Fn(usize) -> usize,
    encode: impl Fn(T) -> [u8; BYTES],
) {
    let panel = &mut panel[layout.panel_head..];
    for (index, weight) in weights.iter().enumerate() {
        let at = place(index);
        panel[at..at + BYTES].copy_from_slice(&encode(*weight));
    }
}

fn read_each<const BYTES: usize>(
    row: &mut [f32],
    layout: &Layout,
    panel: &[u8],
    place: impl Fn(usize) -> usize,
    decode: impl Fn([u8; BYTES]) -> f32,
) {
    let panel = &panel[layout.panel_head..];
    for (index, weight) in row.iter_mut().enumerate() {
        let at = place(index);
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&panel[at..at + BYTES]);
        *weight = decode(bytes);
    }
}

/// Writes the scale with which the largest weight becomes `largest`, and returns it.
fn put_scale(weights: &[f32], largest: f32, column: usize, panel: &mut [u8]) -> f32 {
    let magnitude = weights.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
    let scale = magnitude / largest;
    panel[column * 4..column * 4 + 4].copy_from_slice(&scale.to_le_bytes());
    scale
}

fn scale_of(panel: &[u8], column: usize) -> f32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&panel[column * 4..column * 4 + 4]);
    f32::from_le_bytes(bytes)
}

/// Returns the integer nearest to `weight / scale` (ties to even), as a float, for quotients of up to 2^22.
pub(super) fn quotient(weight: f32, scale: f32) -> f32 {
    // Adding it leaves no bits for a fraction. Rounding by a function is a call where the processor's instruction is not known.
    const ROUNDER: f32 = 12_582_912.0;
    if scale == 0.0 { 0.0 } else { weight / scale + ROUNDER - ROUNDER }
}
