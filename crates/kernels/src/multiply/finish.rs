//! From sums to the output: scales per output and per row, the bias, the residual.

use std::ops::Range;

use super::{Epilogue, Vector, Work, enter, vector};
use crate::disjoint::Disjoint;
use crate::weight_format::PANEL;
use crate::{ActivationForm, Activations, Level, PackedMatrix, WeightFormat};

/// What is done to each sum.
pub(super) struct Finish<'a> {
    input: &'a Activations,
    has_output_scales: bool,
    outputs: usize,
    output: Disjoint<'a, f32>,
    epilogue: Epilogue<'a>,
}

impl<'a> Finish<'a> {
    pub(super) fn new(
        weights: &PackedMatrix,
        input: &'a Activations,
        output: Disjoint<'a, f32>,
        epilogue: Epilogue<'a>,
    ) -> Finish<'a> {
        let has_output_scales = matches!(weights.format(), WeightFormat::Int16 | WeightFormat::Int8);
        Finish { input, has_output_scales, outputs: weights.outputs(), output, epilogue }
    }

    /// Writes some rows of a panel's outputs.
    pub(super) fn write(&self, level: Level, panel_bytes: &[u8], panel: usize, rows: Range<usize>, sums: &[u32]) {
        let outputs = panel * PANEL..self.outputs.min((panel + 1) * PANEL);
        enter(level, WritePanel { finish: self, panel_bytes, outputs, rows, sums });
    }

    #[inline(always)]
    fn write_panel<V: Vector>(&self, panel_bytes: &[u8], outputs: Range<usize>, rows: Range<usize>, sums: &[u32]) {
        let scales = if self.has_output_scales { output_scales(panel_bytes) } else { [1.0; PANEL] };
        let bias = self.bias(outputs.clone());
        let (sums, _) = sums.as_chunks::<PANEL>();
        for (row, sums) in rows.zip(sums) {
            let mut numbers = [0.0; PANEL];
            if self.input.form() == ActivationForm::Int8Rows {
                let quantised = self.input.quantised_rows()[row];
                let surplus = quantised.sum.wrapping_mul(V::BIAS);
                for lane in 0..PANEL {
                    let sum = sums[lane].cast_signed().wrapping_sub(surplus);
                    numbers[lane] = sum as f32 * (scales[lane] * quantised.scale);
                }
            } else {
                for lane in 0..PANEL {
                    numbers[lane] = f32::from_bits(sums[lane]) * scales[lane];
                }
            }
            // SAFETY: each row and panel is written by one part.
            let output =
                unsafe { self.output.piece(row * self.outputs + outputs.start..row * self.outputs + outputs.end) };
            self.put(&numbers, &bias, output);
        }
    }

    #[inline(always)]
    fn put(&self, numbers: &[f32; PANEL], bias: &[f32; PANEL], output: &mut [f32]) {
        for ((number, bias), place) in numbers.iter().zip(bias).zip(output) {
            let number = number + bias;
            *place = if self.epilogue.add { *place + number } else { number };
        }
    }

    /// Returns the bias of a panel; negative zeros, which change no number, stand for none.
    #[inline(always)]
    fn bias(&self, outputs: Range<usize>) -> [f32; PANEL] {
        let mut numbers = [-0.0; PANEL];
        if let Some(bias) = self.epilogue.bias {
            numbers[..outputs.len()].copy_from_slice(&bias[outputs]);
        }
        numbers
    }
}

fn output_scales(panel_bytes: &[u8]) -> [f32; PANEL] {
    let (scales, _) = panel_bytes.as_chunks::<4>();
    std::array::from_fn(|lane| f32::from_le_bytes(scales[lane]))
}

struct WritePanel<'f, 'a> {
    finish: &'f Finish<'a>,
    panel_bytes: &'f [u8],
    outputs: Range<usize>,
    rows: Range<usize>,
    sums: &'f [u32],
}

impl Work for WritePanel<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: vector::Vector>(self) {
        self.finish.write_panel::<V>(self.panel_bytes, self.outputs, self.rows, self.sums);
    }
}
