//! Products of bytes or nibbles with bytes, scales for groups of inputs on both sides: integers within a group, f32 across groups.

use super::scales::Scales;
use super::tile::{Kernel, Tile, load_floats, store_floats};
use super::vector::{Pair, Vector};
use crate::activations::QuantisedGroup;
use crate::weight_format::{GroupScales, Layout, PANEL, WeightFormat};

/// Weights of the format with that number in [`WeightFormat::ALL`].
pub(super) struct Grouped<const FORMAT: usize>;

/// Words of 4 inputs per group.
const WORDS: usize = 8;

impl<const FORMAT: usize> Grouped<FORMAT> {
    const FORMAT: WeightFormat = WeightFormat::ALL[FORMAT];
    const LAYOUT: Layout = Self::FORMAT.layout();
    const KIND: GroupScales = match Self::FORMAT {
        WeightFormat::Int8Groups(kind) | WeightFormat::Int4Groups(kind) => kind,
        _ => panic!("the format has no groups"),
    };
    const IS_NIBBLES: bool = matches!(Self::FORMAT, WeightFormat::Int4Groups(_));
    const HALVES: usize = 32 / Self::KIND.inputs_per_scale();

    /// Returns what a row's dot product of a half begins with, so that the constant added to each stored weight cancels.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[inline(always)]
    unsafe fn start<V: Vector>(quantised: &QuantisedGroup, half: usize) -> V::Word {
        let start = if Self::HALVES == 2 { quantised.half_starts[half] } else { quantised.start };
        // SAFETY: by the contract of this function.
        unsafe {
            match Self::FORMAT {
                WeightFormat::Int4Groups(kind) if kind.has_offset() => V::splat_word(0),
                WeightFormat::Int4Groups(_) => V::sixteenth(V::splat_word(start)),
                _ if V::BIAS == 0 => V::splat_word(0),
                _ => V::splat_word(start),
            }
        }
    }

    /// Returns a word of 4 inputs for one vector of outputs.
    ///
    /// # Safety
    /// The processor has the instructions; `at` points to the first of the outputs in a group.
    #[inline(always)]
    unsafe fn weights<V: Vector>(at: *const u8, word: usize) -> V::Word {
        // SAFETY: by the contract of this function.
        unsafe {
            if !Self::IS_NIBBLES {
                return V::load_words(at.add(word * PANEL * 4));
            }
            let words = V::load_words(at.add(word / 2 * PANEL * 4));
            if word.is_multiple_of(2) { V::low_nibbles(words) } else { V::high_nibbles(words) }
        }
    }

    /// Adds the products of a word of 4 inputs.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[inline(always)]
    unsafe fn dot<V: Vector>(sum: V::Word, weights: V::Word, activations: V::Word) -> V::Word {
        // SAFETY: by the contract of this function.
        unsafe {
            if Self::IS_NIBBLES {
                V::dot_nibbles(sum, weights, activations)
            } else {
                V::dot_biased_bytes(sum, weights, activations)
            }
        }
    }

    /// Returns the sums of products of one half of a group.
    ///
    /// # Safety
    /// As for [`Kernel::add`]; `quants` points to the first of the outputs in the group.
    #[inline(always)]
    unsafe fn dots<V: Vector, const ROWS: usize>(
        tile: &Tile,
        quants: *const u8,
        group: usize,
        half: usize,
    ) -> [Pair<V::Word>; ROWS] {
        // SAFETY: by the contract of this function.
        unsafe {
            let mut dots = [[V::splat_word(0); 2]; ROWS];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [Self::start::<V>(&*tile.quantised(row, group), half); 2];
            }
            for word in half * (WORDS / Self::HALVES)..(half + 1) * (WORDS / Self::HALVES) {
                let weights = [Self::weights::<V>(quants, word), Self::weights::<V>(quants.add(V::LANES * 4), word)];
                for (row, dots) in dots.iter_mut().enumerate() {
                    let activations = V::splat_word(tile.word(row, group * WORDS + word));
                    dots[0] = Self::dot::<V>(dots[0], weights[0], activations);
                    dots[1] = Self::dot::<V>(dots[1], weights[1], activations);
                }
            }
            dots
        }
    }
}

impl<const FORMAT: usize> Kernel for Grouped<FORMAT> {
    fn most_rows<V: Vector>() -> usize {
        V::GROUP_ROWS
    }

    #[inline(always)]
    unsafe fn add<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize) {
        // SAFETY: the panel has each group of the tile and the block around it. A group is its head, which `Scales` reads, and then
        // 8 words (4 of nibbles) of 4 bytes for each of the 32 outputs, of which two vectors are read from `lane` on, where the contract of
        // the trait has them end with the panel. A row has 8 words, a quantised group for each group, and 32 sums.
        unsafe {
            let mut sums = load_floats::<V, ROWS>(tile, lane);
            for group in tile.groups.clone() {
                let block = tile.panel.add(Self::LAYOUT.block(group / Self::LAYOUT.groups_per_block));
                let at = tile.panel.add(Self::LAYOUT.group(group));
                let scales = Scales::<V>::read(Self::KIND, block, at, lane);
                let quants = at.add(Self::LAYOUT.group_head + lane * 4);
                for half in 0..Self::HALVES {
                    let dots = Self::dots::<V, ROWS>(tile, quants, group, half);
                    for (row, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
                        let scale = V::splat((*tile.quantised(row, group)).scale);
                        let products =
                            [V::multiply(scales.scales[half][0], scale), V::multiply(scales.scales[half][1], scale)];
                        sums[0] = V::multiply_add(V::floats(dots[0]), products[0], sums[0]);
                        sums[1] = V::multiply_add(V::floats(dots[1]), products[1], sums[1]);
                    }
                }
                if Self::KIND.has_offset() {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let sum = V::splat((*tile.quantised(row, group)).scaled_sum);
                        sums[0] = V::multiply_add(scales.offsets[0], sum, sums[0]);
                        sums[1] = V::multiply_add(scales.offsets[1], sum, sums[1]);
                    }
                }
            }
            store_floats::<V, ROWS>(tile, lane, &sums);
        }
    }
}
