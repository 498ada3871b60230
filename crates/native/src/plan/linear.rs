//! Projections. Those of one input (queries, keys and values; gate and up) become one product where their weights have one
//! format, because a product of few rows takes as long as its weights take to be read.

use std::sync::Arc;

use seedhouse_kernels::{ActivationForm, Activations, Epilogue, PackedMatrix, RowView, Step, multiply};

use super::compile::Compiler;
use super::parts::Mismatch;
use crate::decoder::TensorSource;

/// A tensor and its bias.
pub(super) type Weights<'t> = (&'t TensorSource, Option<&'t TensorSource>);

/// A packed matrix, its bias, and the activations that it takes.
#[derive(Debug)]
pub(super) struct Linear {
    matrix: Arc<PackedMatrix>,
    bias: Option<Vec<f32>>,
    form: ActivationForm,
}

impl Linear {
    pub(super) fn new(compiler: &mut Compiler<'_>, weights: &[Weights<'_>]) -> Result<Linear, Mismatch> {
        let sources: Vec<&TensorSource> = weights.iter().map(|(source, _)| *source).collect();
        let format = compiler.options.format(sources[0]);
        let matrix = compiler.parts.matrix(format, &sources)?;
        let form = compiler.options.activations(format, compiler.level);
        let mut bias = None;
        if weights.iter().any(|(_, bias)| bias.is_some()) {
            let values: &mut Vec<f32> = bias.insert(Vec::with_capacity(matrix.outputs()));
            for (source, bias) in weights {
                match bias {
                    Some(bias) => values.extend_from_slice(&compiler.parts.vector(bias)?),
                    None => values.resize(values.len() + source.outputs(), 0.0),
                }
            }
        }
        Ok(Linear { matrix, bias, form })
    }

    pub(super) fn form(&self) -> ActivationForm {
        self.form
    }

    pub(super) fn outputs(&self) -> usize {
        self.matrix.outputs()
    }

    /// Replaces `output`, or adds to it.
    pub(super) fn apply(&self, step: &mut Step<'_>, input: &Activations, output: &mut [f32], add: bool) {
        multiply(step, &self.matrix, input, output, Epilogue { bias: self.bias.as_deref(), add });
    }
}

/// Projections of one input, in as few products as their formats allow.
#[derive(Debug)]
pub(super) struct Fused {
    products: Vec<Linear>,
    places: Vec<Place>,
}

/// Where the result of a projection stands: in the rows of a product, from this number on.
#[derive(Debug, Clone, Copy)]
struct Place {
    product: usize,
    first: usize,
    width: usize,
}

/// The results of fused projections; kept from step to step.
#[derive(Debug, Default)]
pub(super) struct FusedRows {
    products: Vec<Vec<f32>>,
}

impl Fused {
    pub(super) fn new(compiler: &mut Compiler<'_>, weights: &[Weights<'_>]) -> Result<Fused, Mismatch> {
        let mut groups: Vec<Vec<Weights<'_>>> = Vec::new();
        for weight in weights {
            let format = compiler.options.format(weight.0);
            match groups.last_mut().filter(|group| compiler.options.format(group[0].0) == format) {
                Some(group) => group.push(*weight),
                None => groups.push(vec![*weight]),
            }
        }
        let mut places = Vec::new();
        for (product, group) in groups.iter().enumerate() {
            let mut first = 0;
            for (source, _) in group {
                places.push(Place { product, first, width: source.outputs() });
                first += source.outputs();
            }
        }
        let products = groups.iter().map(|group| Linear::new(compiler, group)).collect::<Result<_, _>>()?;
        Ok(Fused { products, places })
    }

    /// Fills `output` with the products of rows that `write` gives.
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        input: &mut Activations,
        rows: usize,
        write: &(dyn Fn(usize, &mut [f32]) + Sync),
        output: &mut FusedRows,
    ) {
        output.products.resize_with(self.products.len().max(output.products.len()), Vec::new);
        let mut filled = None;
        for (product, output) in self.products.iter().zip(&mut output.products) {
            if filled != Some(product.form) {
                input.fill(step, product.form, rows, product.matrix.inputs(), write);
                filled = Some(product.form);
            }
            product.apply(step, input, resized(output, rows * product.outputs()), false);
        }
    }

    /// Changes results where they stand: `change` gets the number of a projection, the row, and its numbers.
    pub(super) fn change(
        &self,
        step: &mut Step<'_>,
        rows: usize,
        output: &mut FusedRows,
        change: &(dyn Fn(usize, usize, &mut [f32]) + Sync),
    ) {
        for (index, (product, output)) in self.products.iter().zip(&mut output.products).enumerate() {
            let stride = product.outputs();
            step.for_each_piece(&mut output[..rows * stride], stride, &|row, numbers| {
                let here = self.places.iter().enumerate().filter(|(_, place)| place.product == index);
                for (projection, place) in here {
                    change(projection, row, &mut numbers[place.first..][..place.width]);
                }
            });
        }
    }

    /// Returns the results of a projection, by its number, for all rows.
    pub(super) fn rows<'r>(&self, projection: usize, rows: &'r FusedRows) -> RowView<'r> {
        let place = self.places[projection];
        RowView::new(&rows.products[place.product][place.first..], self.products[place.product].outputs())
    }

    /// Returns the result of a projection, by its number, for one row.
    pub(super) fn row<'r>(&self, projection: usize, row: usize, rows: &'r FusedRows) -> &'r [f32] {
        let place = self.places[projection];
        let stride = self.products[place.product].outputs();
        &rows.products[place.product][row * stride + place.first..][..place.width]
    }
}

impl FusedRows {
    pub(super) fn bytes(&self) -> usize {
        self.products.iter().map(|product| size_of_val(&product[..])).sum()
    }
}

/// Returns the first `length` numbers of a buffer that only ever grows.
pub(super) fn resized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}
