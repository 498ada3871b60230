//! Numbers to integers and to half precision, to the nearest.

use half::{bf16, f16};
use seedhouse_core::QuantizationType;

use super::layout::{GROUP, Layout};
use crate::torch::checkpoint::DataType;

/// Rounds the numbers of an output. `scales` has one for the output, or one for each group.
///
/// # Errors
/// The number whose scale no file can hold.
pub(super) fn integers(layout: &Layout, weights: &[f32], integers: &mut [i16], scales: &mut [f32]) -> Result<(), f32> {
    let kind = layout.kind();
    let length = if layout.has_groups() { GROUP } else { weights.len() };
    let groups = weights.chunks(length).zip(integers.chunks_mut(length));
    for ((weights, integers), scale) in groups.zip(scales) {
        let magnitude = weights.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
        let (exact, lowest, highest) = match kind {
            QuantizationType::Int16 => (magnitude / 32_767.0, -32_767.0, 32_767.0),
            // What has no positive counterpart serves the greatest magnitude.
            QuantizationType::Int4 => (extreme(weights) / -8.0, -8.0, 7.0),
            _ => (magnitude / 127.0, -127.0, 127.0),
        };
        *scale = if layout.has_groups() { f16::from_f32(exact).to_f32() } else { exact };
        if *scale == 0.0 {
            // Zeros, or so near to them that no scale is left: any scale does.
            *scale = 1.0;
            integers.fill(0);
            continue;
        }
        if !layout.is_scale(*scale) {
            return Err(magnitude);
        }
        round(weights, *scale, (lowest, highest), integers);
    }
    Ok(())
}

fn extreme(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0_f32, |most, weight| if weight.abs() > most.abs() { *weight } else { most })
}

fn round(weights: &[f32], scale: f32, (lowest, highest): (f32, f32), integers: &mut [i16]) {
    // Adding it leaves no bits for a fraction, and the integer in the lowest bits: loops without calls compute many numbers at a time.
    const ROUNDER: f32 = 12_582_912.0;
    for (integer, weight) in integers.iter_mut().zip(weights) {
        let quotient = (weight / scale).clamp(lowest, highest) + ROUNDER;
        *integer = quotient.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed() as i16;
    }
}

/// What half precision loses beside the usual rounding.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Losses {
    /// Numbers other than 0 that became 0.
    pub(super) zeros: u64,
    /// Numbers that keep fewer bits than others because they are so small.
    pub(super) subnormals: u64,
}

impl Losses {
    pub(super) fn add(&mut self, other: Losses) {
        self.zeros += other.zeros;
        self.subnormals += other.subnormals;
    }
}

/// Appends numbers as F16 or BF16.
///
/// # Errors
/// The first place whose number is beyond what the type holds.
pub(super) fn halves(to: DataType, weights: &[f32], bytes: &mut Vec<u8>) -> Result<Losses, usize> {
    let mut losses = Losses::default();
    if to == DataType::Bf16 {
        bytes.extend(weights.iter().flat_map(|weight| bf16::from_f32(*weight).to_le_bytes()));
        return match weights.iter().position(|weight| bf16::from_f32(*weight).is_infinite()) {
            Some(place) => Err(place),
            None => Ok(losses),
        };
    }
    for (place, weight) in weights.iter().enumerate() {
        let half = f16::from_f32(*weight);
        if half.is_infinite() {
            return Err(place);
        }
        if *weight != 0.0 && weight.abs() < f32::from(f16::MIN_POSITIVE) {
            losses.add(Losses { zeros: u64::from(half == f16::ZERO), subnormals: u64::from(half != f16::ZERO) });
        }
        bytes.extend(half.to_le_bytes());
    }
    Ok(losses)
}
