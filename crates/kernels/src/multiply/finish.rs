//! From sums to the output: scales per output and per row, the bias, the residual, the nonlinearity.

use std::ops::Range;

use super::{Epilogue, Vector, Work, enter};
use crate::activations::ActivationRows;
use crate::disjoint::Disjoint;
use crate::weight_format::PANEL;
use crate::{ActivationForm, Level, Nonlinearity, PackedMatrix, WeightFormat};

/// Panels whose outputs are written together. The numbers of a row lie side by side and those of the next row a page or more
/// away, so fewer visits to a row are fewer translations of addresses.
pub(super) const MOST_PANELS: usize = 4;

/// What is done to each sum.
pub(super) struct Finish<'a> {
    weights: &'a PackedMatrix,
    input: ActivationRows<'a>,
    output: Disjoint<'a, f32>,
    /// The row that the output begins with.
    first_row: usize,
    epilogue: Epilogue<'a>,
    then: Option<Nonlinearity>,
}

impl<'a> Finish<'a> {
    pub(super) fn new(
        weights: &'a PackedMatrix,
        input: ActivationRows<'a>,
        output: Disjoint<'a, f32>,
        epilogue: Epilogue<'a>,
        then: Option<Nonlinearity>,
    ) -> Finish<'a> {
        Finish { weights, input, output, first_row: 0, epilogue, then }
    }

    /// Lets the output begin with another row than the first.
    pub(super) fn starting_at(self, first_row: usize) -> Finish<'a> {
        Finish { first_row, ..self }
    }

    /// Writes the outputs of up to [`MOST_PANELS`] panels for some rows. `sums` has 32 of each row for the first panel, then for
    /// the next.
    ///
    /// # Safety
    /// No other thread writes these outputs of these rows, and the level is available.
    pub(super) unsafe fn write(&self, level: Level, panels: Range<usize>, rows: Range<usize>, sums: &[u32]) {
        debug_assert!(panels.len() <= MOST_PANELS && sums.len() == panels.len() * rows.len() * PANEL);
        let mut ends = [PanelEnd::default(); MOST_PANELS];
        for (panel, end) in panels.clone().zip(&mut ends) {
            *end = self.panel_end(panel);
        }
        enter(level, WritePanels { finish: self, level, ends: &ends[..panels.len()], rows, sums });
    }

    fn panel_end(&self, panel: usize) -> PanelEnd {
        let first = panel * PANEL;
        let width = PANEL.min(self.weights.outputs() - first);
        let mut scales = [1.0; PANEL];
        if matches!(self.weights.format(), WeightFormat::Int16 | WeightFormat::Int8) {
            let (stored, _) = self.weights.bytes()[panel * self.weights.panel_bytes()..].as_chunks::<4>();
            scales = std::array::from_fn(|lane| f32::from_le_bytes(stored[lane]));
        }
        // Negative zeros, which change no number, stand for no bias.
        let mut bias = [-0.0; PANEL];
        if let Some(all) = self.epilogue.bias {
            bias[..width].copy_from_slice(&all[first..first + width]);
        }
        PanelEnd { first, width, scales, bias }
    }

    /// Writes the outputs of a row and a panel.
    ///
    /// # Safety
    /// As for [`Finish::write`], and the processor has the instructions of `V`.
    #[inline(always)]
    unsafe fn write_row<V: Vector>(&self, level: Level, row: usize, end: &PanelEnd, sums: &[u32; PANEL]) {
        let first = (row - self.first_row) * self.weights.outputs() + end.first;
        // SAFETY: by the contract of this function.
        let output = unsafe { self.output.piece(first..first + end.width) };
        if let Ok(output) = <&mut [f32; PANEL]>::try_from(&mut *output) {
            // SAFETY: by the contract of this function.
            unsafe { self.put::<V>(row, end, sums, output) };
        } else {
            let mut whole = [0.0; PANEL];
            whole[..end.width].copy_from_slice(output);
            // SAFETY: by the contract of this function.
            unsafe { self.put::<V>(row, end, sums, &mut whole) };
            output.copy_from_slice(&whole[..end.width]);
        }
        if let Some(then) = self.then.filter(|then| !then.is_clamp()) {
            then.apply(level, output);
        }
    }

    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    unsafe fn put<V: Vector>(&self, row: usize, end: &PanelEnd, sums: &[u32; PANEL], output: &mut [f32; PANEL]) {
        for lane in (0..PANEL).step_by(V::LANES) {
            // SAFETY: by the contract of this function; a vector from `lane` on lies within each of the arrays.
            unsafe {
                let (sum, place) = (sums.as_ptr().add(lane), output.as_mut_ptr().add(lane));
                let mut scale = V::load(end.scales.as_ptr().add(lane));
                let sum = if self.input.form == ActivationForm::Int8Rows {
                    let quantised = self.input.quantised_rows[row];
                    scale = V::multiply(scale, V::splat(quantised.scale));
                    let surplus = V::splat_word(quantised.sum.wrapping_mul(V::BIAS));
                    V::floats(V::subtract_words(V::load_words(sum.cast()), surplus))
                } else {
                    V::load(sum.cast())
                };
                let number = V::add(V::multiply(sum, scale), V::load(end.bias.as_ptr().add(lane)));
                let number = if self.epilogue.add { V::add(V::load(place), number) } else { number };
                V::store(place, clamped::<V>(self.then, number));
            }
        }
    }
}

/// Returns what a nonlinearity that only limits makes of numbers; others are applied to whole rows.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn clamped<V: Vector>(then: Option<Nonlinearity>, number: V::Float) -> V::Float {
    // SAFETY: by the contract of this function. What is not a number is the second operand, and stays.
    unsafe {
        match then {
            Some(Nonlinearity::Relu) => V::max(V::splat(0.0), number),
            Some(Nonlinearity::Relu6) => V::min(V::splat(6.0), V::max(V::splat(0.0), number)),
            Some(Nonlinearity::Silu | Nonlinearity::GeluErf | Nonlinearity::GeluTanh) | None => number,
        }
    }
}

/// What finishes the sums of a panel.
#[derive(Clone, Copy)]
struct PanelEnd {
    /// Its first output, and how many it has.
    first: usize,
    width: usize,
    scales: [f32; PANEL],
    bias: [f32; PANEL],
}

impl Default for PanelEnd {
    fn default() -> PanelEnd {
        PanelEnd { first: 0, width: 0, scales: [0.0; PANEL], bias: [0.0; PANEL] }
    }
}

/// Its rows and panels are written by nobody else.
struct WritePanels<'f, 'a> {
    finish: &'f Finish<'a>,
    level: Level,
    ends: &'f [PanelEnd],
    rows: Range<usize>,
    sums: &'f [u32],
}

impl Work for WritePanels<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (sums, _) = self.sums.as_chunks::<PANEL>();
        for (at, row) in self.rows.clone().enumerate() {
            for (panel, end) in self.ends.iter().enumerate() {
                // SAFETY: by what this type says of its rows and panels, and by the contract of the trait.
                unsafe { self.finish.write_row::<V>(self.level, row, end, &sums[panel * self.rows.len() + at]) };
            }
        }
    }
}
