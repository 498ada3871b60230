//! What is computed on the way forward, and how gradients come back: reverse-mode differentiation over a few large operations.
//!
//! ```text
//! Tape          values of a pass, in the order in which they came to be, and what to do on the way back
//! operations    methods of the tape, a file for each kind; each computes a value and leaves a closure for the way back
//! losses        end a pass: they say what it costs and leave the first gradient
//! ```
//!
//! A value is a matrix. Of images, a row is a pixel and a column is a channel; of texts, a row is a token. The way back goes through the
//! closures in reverse order, and frees what came to be after each of them, so that the next one finds its memory in the cache. Several
//! users of a value add to one gradient; where the first of them has nothing to add it to, it writes. Some operations change their
//! value in place; they may because the operation before them does not look at what it gave.
//!
//! Sums over rows are made of parts that the number of threads does not change, so the same seed gives the same numbers, bit for bit.

mod attention;
mod batch_norm;
mod convolution;
mod dropout;
mod embedding;
mod group_norm;
mod linear;
mod losses;
mod norms;
mod pointwise;
mod pooling;
mod resampling;
mod rotary;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use attention::Attention;
pub(crate) use batch_norm::BatchNorm;
pub(crate) use convolution::{Convolution, Geometry};
pub(crate) use losses::{Classifier, Loss};
pub(crate) use rotary::Rotation;

use seedhouse_core::training::TrainPrecision;
use seedhouse_kernels::{Accumulation, MatrixView, MatrixViewMut, product};

use crate::arena::Arena;
use crate::parameters::{ParameterId, Parameters};

/// A value on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Var(usize);

#[derive(Debug)]
struct Slot {
    numbers: Vec<f32>,
    columns: usize,
    gradient: Option<Vec<f32>>,
    /// Whether anything that is learned came before it.
    is_learned: bool,
}

type Backward = Box<dyn FnOnce(&mut Tape<'_>)>;

struct Step {
    /// How many values there were before it.
    values_before: usize,
    backward: Backward,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Gradients are computed. Random numbers of the pass follow from these.
    Training { seed: u64, step: u64, part: u64 },
    /// Only values are computed: without dropout, with running statistics.
    Evaluation,
}

/// How a pass is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) threads: usize,
    pub(crate) precision: TrainPrecision,
    /// What gradients are multiplied with: one over the number of passes of an update.
    pub(crate) gradient_scale: f32,
}

/// A pass.
pub(crate) struct Tape<'p> {
    pub(crate) parameters: &'p mut Parameters,
    arena: &'p mut Arena,
    settings: Settings,
    slots: Vec<Slot>,
    steps: Vec<Step>,
    /// How many operations took random numbers.
    random_places: u64,
}

impl<'p> Tape<'p> {
    /// Begins a pass.
    pub(crate) fn new(parameters: &'p mut Parameters, arena: &'p mut Arena, settings: Settings) -> Tape<'p> {
        Tape { parameters, arena, settings, slots: Vec::new(), steps: Vec::new(), random_places: 0 }
    }

    /// Returns whether gradients are computed.
    pub(crate) fn is_training(&self) -> bool {
        matches!(self.settings.mode, Mode::Training { .. })
    }

    /// Returns memory for an input.
    pub(crate) fn buffer(&mut self, length: usize) -> Vec<f32> {
        self.arena.take(length)
    }

    /// Takes memory for an input back that was not put on the tape.
    pub(crate) fn give(&mut self, numbers: Vec<f32>) {
        self.arena.give(numbers);
    }

    /// Puts an input on the tape: rows of so many columns.
    pub(crate) fn input(&mut self, numbers: Vec<f32>, columns: usize) -> Var {
        self.push(numbers, columns, false)
    }

    /// Returns the numbers of a value.
    pub(crate) fn numbers(&self, value: Var) -> &[f32] {
        &self.slots[value.0].numbers
    }

    /// Returns the columns of a value.
    pub(crate) fn columns(&self, value: Var) -> usize {
        self.slots[value.0].columns
    }

    /// Returns the rows of a value.
    pub(crate) fn rows(&self, value: Var) -> usize {
        self.slots[value.0].numbers.len() / self.slots[value.0].columns
    }

    /// Goes back: adds the gradients of everything that is learned to those that are there.
    pub(crate) fn backward(&mut self) {
        while let Some(step) = self.steps.pop() {
            (step.backward)(self);
            self.free_after(step.values_before);
        }
    }

    fn push(&mut self, numbers: Vec<f32>, columns: usize, is_learned: bool) -> Var {
        self.slots.push(Slot { numbers, columns, gradient: None, is_learned });
        Var(self.slots.len() - 1)
    }

    /// Puts what an operation gave on the tape, and what it does on the way back.
    fn push_with(
        &mut self,
        numbers: Vec<f32>,
        columns: usize,
        backward: impl FnOnce(&mut Tape<'_>, Var) + 'static,
    ) -> Var {
        let values_before = self.slots.len();
        let value = self.push(numbers, columns, true);
        if self.is_training() {
            self.steps.push(Step { values_before, backward: Box::new(move |tape| backward(tape, value)) });
        }
        value
    }

    /// Notes what an operation does on the way back that gave no value of its own.
    fn then(&mut self, backward: impl FnOnce(&mut Tape<'_>) + 'static) {
        if self.is_training() {
            self.steps.push(Step { values_before: self.slots.len(), backward: Box::new(backward) });
        }
    }

    fn is_learned(&self, value: Var) -> bool {
        self.slots[value.0].is_learned
    }

    /// Takes the gradient of what an operation gave; zeros where nobody used it.
    fn take_gradient(&mut self, value: Var) -> Vec<f32> {
        let slot = &mut self.slots[value.0];
        let length = slot.numbers.len();
        slot.gradient.take().unwrap_or_else(|| self.arena.zeros(length))
    }

    /// Returns where the gradient of a value is to be written or added. It has to be put back.
    fn gradient_of(&mut self, value: Var) -> (Vec<f32>, Accumulation) {
        let slot = &mut self.slots[value.0];
        let length = slot.numbers.len();
        match slot.gradient.take() {
            Some(gradient) => (gradient, Accumulation::Add),
            None => (self.arena.take(length), Accumulation::Replace),
        }
    }

    fn put_gradient(&mut self, value: Var, gradient: Vec<f32>) {
        self.slots[value.0].gradient = Some(gradient);
    }

    /// Makes a gradient that is no longer needed the one of a value, or adds it to what is there.
    fn hand_gradient(&mut self, value: Var, gradient: Vec<f32>) {
        if !self.is_learned(value) {
            return self.arena.give(gradient);
        }
        match self.slots[value.0].gradient.take() {
            None => self.put_gradient(value, gradient),
            Some(mut sum) => {
                self.add_rows(&mut sum, &gradient);
                self.arena.give(gradient);
                self.put_gradient(value, sum);
            }
        }
    }

    /// Returns the gradient of something learned, to be added to or written. It has to be put back.
    fn parameter_gradient(&mut self, id: ParameterId) -> (Vec<f32>, Accumulation) {
        let parameter = self.parameters.get_mut(id);
        let accumulation = if parameter.has_gradient { Accumulation::Add } else { Accumulation::Replace };
        (std::mem::take(&mut parameter.gradient), accumulation)
    }

    /// The same, with zeros where nothing was added yet.
    fn parameter_sum(&mut self, id: ParameterId) -> Vec<f32> {
        let (mut gradient, accumulation) = self.parameter_gradient(id);
        if accumulation == Accumulation::Replace {
            gradient.fill(0.0);
        }
        gradient
    }

    fn put_parameter_gradient(&mut self, id: ParameterId, gradient: Vec<f32>) {
        let parameter = self.parameters.get_mut(id);
        parameter.gradient = gradient;
        parameter.has_gradient = true;
    }

    fn free_after(&mut self, count: usize) {
        for slot in self.slots.drain(count..) {
            self.arena.give(slot.numbers);
            if let Some(gradient) = slot.gradient {
                self.arena.give(gradient);
            }
        }
    }

    /// Writes `left * right` with the threads and the precision of the pass.
    fn product(
        settings: &Settings,
        arena: &mut Arena,
        (left, right): (MatrixOf<'_>, MatrixOf<'_>),
        output: &mut [f32],
        accumulation: Accumulation,
    ) {
        let columns = right.columns();
        let rows = output.len() / columns.max(1);
        let into = MatrixViewMut::new(output, rows, columns, columns);
        match settings.precision {
            TrainPrecision::F32 => product(left.view(), right.view(), 1.0, into, accumulation, settings.threads),
            TrainPrecision::Bf16 => {
                let rounded = [left, right].map(|matrix| {
                    let mut numbers = arena.take(matrix.numbers.len());
                    crate::parallel::zip_rows(settings.threads, matrix.numbers, &mut numbers, 1, |input, output| {
                        round_to_bf16(input, output);
                    });
                    numbers
                });
                let [left, right] = [left.of(&rounded[0]), right.of(&rounded[1])];
                product(left.view(), right.view(), 1.0, into, accumulation, settings.threads);
                rounded.into_iter().for_each(|numbers| arena.give(numbers));
            }
        }
    }

    fn add_rows(&self, target: &mut [f32], addend: &[f32]) {
        crate::parallel::zip_rows(self.settings.threads, addend, target, 1, |addend, target| {
            crate::numbers::add_to(target, addend);
        });
    }
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        self.free_after(0);
    }
}

/// A matrix whose rows follow each other, perhaps transposed.
#[derive(Clone, Copy)]
struct MatrixOf<'m> {
    numbers: &'m [f32],
    columns: usize,
    is_transposed: bool,
}

impl<'m> MatrixOf<'m> {
    fn plain(numbers: &'m [f32], columns: usize) -> MatrixOf<'m> {
        MatrixOf { numbers, columns, is_transposed: false }
    }

    fn transposed(numbers: &'m [f32], columns: usize) -> MatrixOf<'m> {
        MatrixOf { numbers, columns, is_transposed: true }
    }

    fn of<'n>(self, numbers: &'n [f32]) -> MatrixOf<'n> {
        MatrixOf { numbers, columns: self.columns, is_transposed: self.is_transposed }
    }

    fn rows(self) -> usize {
        self.numbers.len() / self.columns.max(1)
    }

    /// The columns of what is multiplied, after the transposition.
    fn columns(self) -> usize {
        if self.is_transposed { self.rows() } else { self.columns }
    }

    fn view(self) -> MatrixView<'m> {
        let view = MatrixView::new(self.numbers, self.rows(), self.columns, self.columns);
        if self.is_transposed { view.transposed() } else { view }
    }
}

crate::numbers::vectorised! {
    /// Writes numbers rounded to bfloat16, to the nearest, half to even.
    fn round_to_bf16<'a>(input: &'a [f32], output: &'a mut [f32]) -> () {
        for (output, number) in output.iter_mut().zip(input) {
            let bits = number.to_bits();
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
            *output = f32::from_bits(rounded);
        }
    }
}
