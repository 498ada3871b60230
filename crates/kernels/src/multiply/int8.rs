//! Products of bytes with one scale per output and per row: integers all the way, scaled at the end.

use super::tile::{Kernel, Tile};
use super::vector::Vector;
use crate::weight_format::{Layout, PANEL, WeightFormat};

/// Its sums are i32, with [`Vector::BIAS`] times the row's sum too much.
pub(super) struct Int8;

const LAYOUT: Layout = WeightFormat::Int8.layout();

impl Kernel for Int8 {
    fn most_rows<V: Vector>() -> usize {
        V::BYTE_ROWS
    }

    #[inline(always)]
    unsafe fn add<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize) {
        // SAFETY: the panel has each group of the tile: a word of 4 bytes for each of its 32 outputs, of which two vectors are read
        // from `lane` on, where the contract of the trait has them end with the panel. A row has a word for each group and 32 sums.
        unsafe {
            let mut sums = [[V::splat_word(0); 2]; ROWS];
            for (row, sums) in sums.iter_mut().enumerate() {
                let from = tile.sums.add(row * PANEL + lane);
                *sums = [V::load_words(from.cast()), V::load_words(from.add(V::LANES).cast())];
            }
            for group in tile.groups.clone() {
                let at = tile.panel.add(LAYOUT.group(group) + lane * 4);
                let weights = [V::load_words(at), V::load_words(at.add(V::LANES * 4))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let activations = V::splat_word(tile.word(row, group));
                    sums[0] = V::dot_biased_bytes(sums[0], weights[0], activations);
                    sums[1] = V::dot_biased_bytes(sums[1], weights[1], activations);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let to = tile.sums.add(row * PANEL + lane).cast();
                V::store_words(to, sums[0]);
                V::store_words(to.add(V::LANES), sums[1]);
            }
        }
    }
}
