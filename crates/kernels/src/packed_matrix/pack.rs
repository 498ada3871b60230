//! Packing of panels, one after the other, through buffers for one row.

use std::ops::Range;

use super::groups::{self, GroupRow, RowBuffers};
use super::{panel, quantise};
use crate::weight_format::{PANEL, WeightFormat};

/// Packs panels of one matrix.
pub(super) struct PanelPacker {
    format: WeightFormat,
    outputs: usize,
    weights: Vec<f32>,
    integers: Vec<i16>,
    groups: Option<RowBuffers>,
}

impl PanelPacker {
    pub(super) fn new(format: WeightFormat, outputs: usize, inputs: usize) -> PanelPacker {
        let groups = format.group_scales().map(|scales| RowBuffers::new(scales, inputs));
        PanelPacker { format, outputs, weights: vec![0.0; inputs], integers: Vec::new(), groups }
    }

    /// Packs panel `index`, which is 0 still, from rows of numbers.
    pub(super) fn pack_f32(&mut self, index: usize, panel: &mut [u8], row: &mut dyn FnMut(usize, &mut [f32])) {
        for output in outputs_of(index, self.outputs) {
            row(output, &mut self.weights);
            match &mut self.groups {
                None => panel::put_row(self.format, &self.weights, output % PANEL, panel),
                Some(groups) => {
                    let mut filled = groups.cleared();
                    quantise::groups(self.format, &self.weights, &mut filled);
                    groups::put_row(self.format, &filled, output % PANEL, panel);
                }
            }
        }
    }

    /// Packs panel `index`, which is 0 still, from rows of integers with a scale each.
    ///
    /// # Panics
    /// When the format has another kind of scales, or none.
    pub(super) fn pack_integers(
        &mut self,
        index: usize,
        panel: &mut [u8],
        row: &mut dyn FnMut(usize, &mut [i16]) -> f32,
    ) {
        for output in outputs_of(index, self.outputs) {
            self.integers.clear();
            self.integers.resize(self.weights.len(), 0);
            let scale = row(output, &mut self.integers);
            panel::put_integers(self.format, &self.integers, scale, output % PANEL, panel);
        }
    }

    /// Packs panel `index`, which is 0 still, from rows of integers with scales.
    ///
    /// # Panics
    /// When the format has no groups.
    pub(super) fn pack_groups(
        &mut self,
        index: usize,
        panel: &mut [u8],
        row: &mut dyn FnMut(usize, &mut GroupRow<'_>),
    ) {
        let buffers = self.groups.as_mut().expect("the format has groups");
        for output in outputs_of(index, self.outputs) {
            let mut filled = buffers.cleared();
            row(output, &mut filled);
            groups::put_row(self.format, &filled, output % PANEL, panel);
        }
    }
}

/// Returns the outputs of a panel.
fn outputs_of(index: usize, outputs: usize) -> Range<usize> {
    index * PANEL..outputs.min((index + 1) * PANEL)
}
