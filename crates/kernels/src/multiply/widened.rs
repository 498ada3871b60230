//! Products with activations of 32 bits: every weight becomes an f32 first.

use super::scales::Scales;
use super::tile::{Kernel, Tile, load_floats, store_floats};
use super::vector::Vector;
use crate::weight_format::{Layout, PANEL, WeightFormat};

/// Weights of the format with that number in [`WeightFormat::ALL`]. Scales per output are not applied.
pub(super) struct Widened<const FORMAT: usize>;

impl<const FORMAT: usize> Widened<FORMAT> {
    const FORMAT: WeightFormat = WeightFormat::ALL[FORMAT];
    const LAYOUT: Layout = Self::FORMAT.layout();

    /// Inputs whose weights for one output lie side by side.
    const INPUTS_PER_STEP: usize = match Self::FORMAT {
        WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Int16 => 1,
        WeightFormat::Bf16 => 2,
        WeightFormat::Int8 | WeightFormat::Int8Groups(_) => 4,
        WeightFormat::Int4Groups(_) => 8,
    };
    const STEPS: usize = Self::LAYOUT.group_inputs / Self::INPUTS_PER_STEP;
    const STEP_BYTES: usize = (Self::LAYOUT.group_bytes - Self::LAYOUT.group_head) / Self::STEPS;

    /// Returns the weights of one input of a step before scaling.
    ///
    /// # Safety
    /// The processor has the instructions; `at` points to the first output's part of a step.
    #[inline(always)]
    unsafe fn unscaled<V: Vector>(at: *const u8, index: usize) -> V::Float {
        // SAFETY: by the contract of this function.
        unsafe {
            match Self::FORMAT {
                WeightFormat::F32 => V::load(at.cast()),
                WeightFormat::F16 => V::load_f16(at),
                WeightFormat::Int16 => V::load_i16(at),
                WeightFormat::Bf16 if index == 0 => V::low_bf16(V::load_words(at)),
                WeightFormat::Bf16 => V::high_bf16(V::load_words(at)),
                WeightFormat::Int8 | WeightFormat::Int8Groups(_) => {
                    V::signed_byte(V::unbiased(V::load_words(at)), index)
                }
                WeightFormat::Int4Groups(_) if index < 4 => V::signed_byte(V::low_nibbles(V::load_words(at)), index),
                WeightFormat::Int4Groups(_) => V::signed_byte(V::high_nibbles(V::load_words(at)), index - 4),
            }
        }
    }

    /// Returns a group's scales with what has to be added after scaling.
    ///
    /// # Safety
    /// As for [`Scales::read`].
    #[inline(always)]
    unsafe fn scales<V: Vector>(panel: *const u8, group: usize, lane: usize) -> Option<Scales<V>> {
        // SAFETY: by the contract of this function; a group's block is in the panel.
        unsafe {
            let (WeightFormat::Int8Groups(kind) | WeightFormat::Int4Groups(kind)) = Self::FORMAT else { return None };
            let block = panel.add(Self::LAYOUT.block(group / Self::LAYOUT.groups_per_block));
            Some(Scales::read(kind, block, panel.add(Self::LAYOUT.group(group)), lane))
        }
    }

    /// Returns the weights of one input for one of the two vectors.
    ///
    /// # Safety
    /// As for [`Widened::unscaled`].
    #[inline(always)]
    unsafe fn weights<V: Vector>(
        scales: Option<&Scales<V>>,
        step: usize,
        at: *const u8,
        index: usize,
        vector: usize,
    ) -> V::Float {
        let half = (step * Self::INPUTS_PER_STEP + index) / 16 % 2;
        // SAFETY: by the contract of this function.
        unsafe {
            let weights = Self::unscaled::<V>(at.add(vector * V::LANES * (Self::STEP_BYTES / PANEL)), index);
            let Some(scales) = scales else { return weights };
            let scale = scales.scales[half][vector];
            match Self::FORMAT {
                WeightFormat::Int4Groups(kind) if !kind.has_offset() => {
                    V::multiply_add(weights, scale, V::multiply(V::splat(-8.0), scale))
                }
                WeightFormat::Int8Groups(kind) if !kind.has_offset() => V::multiply(weights, scale),
                _ => V::multiply_add(weights, scale, scales.offsets[vector]),
            }
        }
    }
}

impl<const FORMAT: usize> Kernel for Widened<FORMAT> {
    fn most_rows<V: Vector>() -> usize {
        V::ROWS
    }

    #[inline(always)]
    unsafe fn add<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize) {
        // SAFETY: the panel has each group of the tile and the block around it. A group is its head, which `Scales` reads, and `STEPS`
        // times `STEP_BYTES`, an equal share for each of the 32 outputs, of which two vectors are read from `lane` on, where the contract
        // of the trait has them end with the panel. A row has a number for each input of a group, filled up with zeros, and 32 sums.
        unsafe {
            let mut sums = load_floats::<V, ROWS>(tile, lane);
            for group in tile.groups.clone() {
                let scales = Self::scales::<V>(tile.panel, group, lane);
                let steps = tile.panel.add(Self::LAYOUT.group(group) + Self::LAYOUT.group_head);
                for step in 0..Self::STEPS {
                    let at = steps.add(step * Self::STEP_BYTES + lane * (Self::STEP_BYTES / PANEL));
                    for index in 0..Self::INPUTS_PER_STEP {
                        let weights = [
                            Self::weights::<V>(scales.as_ref(), step, at, index, 0),
                            Self::weights::<V>(scales.as_ref(), step, at, index, 1),
                        ];
                        let input = group * Self::LAYOUT.group_inputs + step * Self::INPUTS_PER_STEP + index;
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let activation = V::splat(tile.float(row, input));
                            sums[0] = V::multiply_add(weights[0], activation, sums[0]);
                            sums[1] = V::multiply_add(weights[1], activation, sums[1]);
                        }
                    }
                }
            }
            store_floats::<V, ROWS>(tile, lane, &sums);
        }
    }
}
