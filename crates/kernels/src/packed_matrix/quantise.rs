//! Floats to integers with scales for groups of inputs.

use half::f16;

use super::groups::GroupRow;
use super::panel::quotient;
use crate::weight_format::{GroupScales, SUPER_BLOCK, WeightFormat};

/// The integers of a format.
struct Range {
    lowest: f32,
    highest: f32,
}

/// Chooses scales (and offsets) for one output and rounds its weights to them.
pub(super) fn groups(format: WeightFormat, weights: &[f32], row: &mut GroupRow<'_>) {
    let (kind, range) = match format {
        WeightFormat::Int4Groups(kind) if kind.has_offset() => (kind, Range { lowest: 0.0, highest: 15.0 }),
        WeightFormat::Int4Groups(kind) => (kind, Range { lowest: -8.0, highest: 7.0 }),
        WeightFormat::Int8Groups(kind) => (kind, Range { lowest: -128.0, highest: 127.0 }),
        _ => unreachable!("called for formats with groups"),
    };
    for (index, group) in weights.chunks(kind.inputs_per_scale()).enumerate() {
        let (scale, offset) = if kind.has_offset() { spread(group, &range) } else { (symmetric(group, &range), 0.0) };
        row.scales[index] = scale;
        if kind.has_offset() {
            row.offsets[index] = offset;
        }
    }
    let per_factor = SUPER_BLOCK / kind.inputs_per_scale();
    factor_out(row.scales, row.scale_factors, per_factor);
    factor_out(row.offsets, row.offset_factors, per_factor);
    for (index, (weight, quant)) in weights.iter().zip(row.quants.iter_mut()).enumerate() {
        let at = index / kind.inputs_per_scale();
        let scale = stored(kind, row.scales, row.scale_factors, at, per_factor);
        let offset =
            if kind.has_offset() { stored(kind, row.offsets, row.offset_factors, at, per_factor) } else { 0.0 };
        *quant = quotient(weight - offset, scale).clamp(range.lowest, range.highest) as i8;
    }
}

/// Returns the scale with which the weight of the largest magnitude becomes the largest magnitude of the range.
fn symmetric(group: &[f32], range: &Range) -> f32 {
    let extreme = group.iter().fold(0.0_f32, |most, weight| if weight.abs() > most.abs() { *weight } else { most });
    if range.highest > 100.0 { extreme.abs() / range.highest } else { extreme / range.lowest }
}

/// Returns scale and offset with which the weights fill the range.
fn spread(group: &[f32], range: &Range) -> (f32, f32) {
    let least = group.iter().copied().fold(f32::INFINITY, f32::min);
    let most = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (most - least) / (range.highest - range.lowest);
    (scale, least - scale * range.lowest)
}

/// Replaces scales by integers and the factors that make scales of them again.
fn factor_out(scales: &mut [f32], factors: &mut [f32], per_factor: usize) {
    for (block, factor) in scales.chunks_mut(per_factor).zip(factors) {
        let most = block.iter().fold(0.0_f32, |most, scale| most.max(scale.abs()));
        *factor = f16::from_f32(most / 127.0).to_f32();
        block.iter_mut().for_each(|scale| *scale = quotient(*scale, *factor).clamp(-127.0, 127.0));
    }
}

/// Returns the scale as products will see it.
fn stored(kind: GroupScales, scales: &[f32], factors: &[f32], at: usize, per_factor: usize) -> f32 {
    if kind.has_factor() { scales[at] * factors[at / per_factor] } else { f16::from_f32(scales[at]).to_f32() }
}
