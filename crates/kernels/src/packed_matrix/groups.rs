//! Integers with scales for groups of inputs.

use half::f16;

use super::panel::{biased, byte_in_words, unbiased};
use crate::weight_format::{GroupScales, Layout, PANEL, SUPER_BLOCK, WeightFormat};

/// The weights of one output as integers with scales, for [`PackedMatrix::pack_groups`](crate::PackedMatrix::pack_groups) to
/// store. All begin as 0. What the format does not have is empty.
#[derive(Debug)]
pub struct GroupRow<'a> {
    /// The integer of each input: -128 to 127; with 4 bits -8 to 7 without offsets and 0 to 15 with offsets. Others are clamped.
    pub quants: &'a mut [i8],
    /// A scale for each 32 inputs (16 in `FactoredScale`): rounded to f16, or with factors to an integer from -128 to 127.
    pub scales: &'a mut [f32],
    /// An offset for each 32 inputs, in the same form as the scales.
    pub offsets: &'a mut [f32],
    /// What the scales of 256 inputs are multiplied by; rounded to f16.
    pub scale_factors: &'a mut [f32],
    /// What the offsets of 256 inputs are multiplied by; rounded to f16. Formats that subtract a minimum make it negative.
    pub offset_factors: &'a mut [f32],
}

/// What a [`GroupRow`] borrows.
pub(super) struct RowBuffers {
    quants: Vec<i8>,
    scales: Vec<f32>,
    offsets: Vec<f32>,
    scale_factors: Vec<f32>,
    offset_factors: Vec<f32>,
}

impl RowBuffers {
    pub(super) fn new(scales: GroupScales, inputs: usize) -> RowBuffers {
        let when = |wanted: bool, per: usize| vec![0.0; if wanted { inputs.div_ceil(per) } else { 0 }];
        RowBuffers {
            quants: vec![0; inputs],
            scales: when(true, scales.inputs_per_scale()),
            offsets: when(scales.has_offset(), scales.inputs_per_scale()),
            scale_factors: when(scales.has_factor(), SUPER_BLOCK),
            offset_factors: when(scales.has_factor() && scales.has_offset(), SUPER_BLOCK),
        }
    }

    pub(super) fn cleared(&mut self) -> GroupRow<'_> {
        self.quants.fill(0);
        for numbers in [&mut self.scales, &mut self.offsets, &mut self.scale_factors, &mut self.offset_factors] {
            numbers.fill(0.0);
        }
        GroupRow {
            quants: &mut self.quants,
            scales: &mut self.scales,
            offsets: &mut self.offsets,
            scale_factors: &mut self.scale_factors,
            offset_factors: &mut self.offset_factors,
        }
    }
}

/// Writes one output.
pub(super) fn put_row(format: WeightFormat, row: &GroupRow<'_>, column: usize, panel: &mut [u8]) {
    let layout = format.layout();
    let kind = format.group_scales().expect("called for formats with groups");
    for (block, factor) in row.scale_factors.iter().enumerate() {
        put_f16(panel, layout.block(block), column, *factor);
    }
    for (block, factor) in row.offset_factors.iter().enumerate() {
        put_f16(panel, layout.block(block) + PANEL * 2, column, *factor);
    }
    for (index, scale) in row.scales.iter().enumerate() {
        let (at, step) = scale_place(kind, &layout, index);
        put_scale(kind, panel, at, column, *scale);
        if let Some(offset) = row.offsets.get(index) {
            put_scale(kind, panel, at + step, column, *offset);
        }
    }
    for (index, quant) in row.quants.iter().enumerate() {
        put_quant(format, &layout, panel, column, index, *quant);
    }
}

/// Reads one output.
pub(super) fn read_row(format: WeightFormat, panel: &[u8], column: usize, row: &mut [f32]) {
    let layout = format.layout();
    let kind = format.group_scales().expect("called for formats with groups");
    let per_scale = kind.inputs_per_scale();
    for (index, weights) in row.chunks_mut(per_scale).enumerate() {
        let (scale, offset) = scale_and_offset(kind, &layout, panel, column, index);
        for (inner, weight) in weights.iter_mut().enumerate() {
            let quant = read_quant(format, &layout, panel, column, index * per_scale + inner);
            *weight = f32::from(quant) * scale + offset;
        }
    }
}

fn scale_and_offset(kind: GroupScales, layout: &Layout, panel: &[u8], column: usize, index: usize) -> (f32, f32) {
    let (at, step) = scale_place(kind, layout, index);
    let head = layout.block(index * kind.inputs_per_scale() / SUPER_BLOCK);
    let read = |at: usize, head: usize| {
        if kind.has_factor() {
            f32::from(panel[at + column].cast_signed()) * read_f16(panel, head, column)
        } else {
            read_f16(panel, at, column)
        }
    };
    let offset = if kind.has_offset() { read(at + step, head + PANEL * 2) } else { 0.0 };
    (read(at, head), offset)
}

/// Returns where the scales with that number lie, and how far behind them the offsets.
fn scale_place(kind: GroupScales, layout: &Layout, index: usize) -> (usize, usize) {
    match kind {
        GroupScales::Scale | GroupScales::ScaleAndOffset => (layout.group(index), PANEL * 2),
        GroupScales::FactoredScale => (layout.group(index / 2) + index % 2 * PANEL, 0),
        GroupScales::FactoredScaleAndOffset => (layout.group(index), PANEL),
    }
}

fn put_scale(kind: GroupScales, panel: &mut [u8], at: usize, column: usize, scale: f32) {
    if kind.has_factor() {
        // The conversion saturates.
        panel[at + column] = (scale.round_ties_even() as i8).cast_unsigned();
    } else {
        put_f16(panel, at, column, scale);
    }
}

fn put_f16(panel: &mut [u8], at: usize, column: usize, number: f32) {
    panel[at + column * 2..at + column * 2 + 2].copy_from_slice(&f16::from_f32(number).to_le_bytes());
}

fn read_f16(panel: &[u8], at: usize, column: usize) -> f32 {
    f16::from_le_bytes([panel[at + column * 2], panel[at + column * 2 + 1]]).to_f32()
}

fn put_quant(format: WeightFormat, layout: &Layout, panel: &mut [u8], column: usize, index: usize, quant: i8) {
    let group = layout.group(index / 32) + layout.group_head;
    match format {
        WeightFormat::Int4Groups(scales) => {
            let nibble = quant.saturating_add(nibble_bias(scales)).clamp(0, 15).cast_unsigned();
            let (at, shift) = nibble_place(index % 32, column);
            panel[group + at] |= nibble << shift;
        }
        _ => panel[group + byte_in_words(index % 32, column)] = biased(quant),
    }
}

fn read_quant(format: WeightFormat, layout: &Layout, panel: &[u8], column: usize, index: usize) -> i8 {
    let group = layout.group(index / 32) + layout.group_head;
    match format {
        WeightFormat::Int4Groups(scales) => {
            let (at, shift) = nibble_place(index % 32, column);
            (panel[group + at] >> shift & 15).cast_signed() - nibble_bias(scales)
        }
        _ => unbiased(panel[group + byte_in_words(index % 32, column)]),
    }
}

/// Returns what is added to 4-bit integers so that they are not negative.
fn nibble_bias(scales: GroupScales) -> i8 {
    if scales.has_offset() { 0 } else { 8 }
}

/// Returns the byte and the shift of an input: eight inputs share a word, the first four its lower nibbles.
fn nibble_place(index: usize, column: usize) -> (usize, u32) {
    let word = index / 8 * PANEL * 4 + column * 4;
    (word + index % 4, if index % 8 < 4 { 0 } else { 4 })
}
