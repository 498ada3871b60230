//! Products of bf16 with bf16, summed in f32.

use super::tile::{Kernel, Tile, load_floats, store_floats};
use super::vector::Vector;
use crate::weight_format::{Layout, WeightFormat};

pub(super) struct Bf16;

const LAYOUT: Layout = WeightFormat::Bf16.layout();

impl Kernel for Bf16 {
    fn most_rows<V: Vector>() -> usize {
        V::ROWS
    }

    #[inline(always)]
    unsafe fn add<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize) {
        // SAFETY: the panel has each group of the tile: a word of two bf16 for each of its 32 outputs, of which two vectors are read
        // from `lane` on, where the contract of the trait has them end with the panel. A row has a word for each group.
        unsafe {
            let mut sums = load_floats::<V, ROWS>(tile, lane);
            for group in tile.groups.clone() {
                let at = tile.panel.add(LAYOUT.group(group) + lane * 4);
                let weights = [V::load_words(at), V::load_words(at.add(V::LANES * 4))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let activations = V::splat_word(tile.word(row, group));
                    sums[0] = V::dot_bf16(sums[0], weights[0], activations);
                    sums[1] = V::dot_bf16(sums[1], weights[1], activations);
                }
            }
            store_floats::<V, ROWS>(tile, lane, &sums);
        }
    }
}
