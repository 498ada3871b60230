//! The scales and offsets of a group, for two vectors of outputs.

use super::vector::{Pair, Vector};
use crate::weight_format::{GroupScales, PANEL};

pub(super) struct Scales<V: Vector> {
    /// For each half of the group's 32 inputs; the same for both where 32 inputs share a scale.
    pub(super) scales: [Pair<V::Float>; 2],
    /// Zeros in a format without offsets.
    pub(super) offsets: Pair<V::Float>,
}

impl<V: Vector> Scales<V> {
    /// Reads the scales at the beginning of a group and the factors at the beginning of its block.
    ///
    /// # Safety
    /// The processor has the instructions; `block` and `group` point to a block and a group of this kind, and two vectors of
    /// outputs from `lane` are within the panel.
    #[inline(always)]
    pub(super) unsafe fn read(kind: GroupScales, block: *const u8, group: *const u8, lane: usize) -> Scales<V> {
        // SAFETY: by the contract of this function; the places are those of `weight_format`.
        unsafe {
            let none = [V::splat(0.0); 2];
            match kind {
                GroupScales::Scale => Scales { scales: [Self::halves(group, lane); 2], offsets: none },
                GroupScales::ScaleAndOffset => {
                    Scales { scales: [Self::halves(group, lane); 2], offsets: Self::halves(group.add(2 * PANEL), lane) }
                }
                GroupScales::FactoredScale => Scales {
                    scales: [Self::factored(block, group, lane), Self::factored(block, group.add(PANEL), lane)],
                    offsets: none,
                },
                GroupScales::FactoredScaleAndOffset => Scales {
                    scales: [Self::factored(block, group, lane); 2],
                    offsets: Self::factored(block.add(2 * PANEL), group.add(PANEL), lane),
                },
            }
        }
    }

    /// Reads f16 numbers.
    ///
    /// # Safety
    /// The processor has the instructions; `from` points to 32 of them.
    #[inline(always)]
    unsafe fn halves(from: *const u8, lane: usize) -> Pair<V::Float> {
        // SAFETY: by the contract of this function.
        unsafe { [V::load_f16(from.add(2 * lane)), V::load_f16(from.add(2 * (lane + V::LANES)))] }
    }

    /// Reads 8-bit numbers and multiplies them by f16 factors.
    ///
    /// # Safety
    /// The processor has the instructions; `factors` and `from` point to 32 each.
    #[inline(always)]
    unsafe fn factored(factors: *const u8, from: *const u8, lane: usize) -> Pair<V::Float> {
        // SAFETY: by the contract of this function.
        unsafe {
            let factors = Self::halves(factors, lane);
            let numbers = [V::load_i8(from.add(lane)), V::load_i8(from.add(lane + V::LANES))];
            [V::multiply(factors[0], numbers[0]), V::multiply(factors[1], numbers[1])]
        }
    }
}
