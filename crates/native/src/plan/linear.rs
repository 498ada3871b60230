//! Projections. Those of one input (queries, keys and values; gate and up) become one product where their weights have one
//! format, because a product of few rows takes as long as its weights take to be read.

use seedhouse_kernels::{ActivationForm, Activations, Epilogue, Level, PackedMatrix, Step, multiply};

use super::packing::Packing;
use crate::decoder::TensorSource;

/// A tensor and its bias.
pub(super) type Weights<'t> = (&'t TensorSource, Option<&'t TensorSource>);

/// A packed matrix, its bias, and the activations that it takes.
#[derive(Debug)]
pub(super) struct Linear {
    matrix: PackedMatrix,
    bias: Option<Vec<f32>>,
    form: ActivationForm,
}

impl Linear {
    pub(super) fn new(packing: &mut Packing, level: Level, weights: &[Weights<'_>]) -> Linear {
        let sources: Vec<&TensorSource> = weights.iter().map(|(source, _)| *source).collect();
        let matrix = packing.matrix(&sources);
        let form = packing.options().activations(matrix.format(), level);
        let bias = weights.iter().any(|(_, bias)| bias.is_some()).then(|| {
            let values = |(source, bias): &Weights<'_>| match bias {
                Some(bias) => packing.vector(bias),
                None => vec![0.0; source.outputs()],
            };
            weights.iter().flat_map(values).collect()
        });
        Linear { matrix, bias, form }
    }

    pub(super) fn form(&self) -> ActivationForm {
        self.form
    }

    pub(super) fn outputs(&self) -> usize {
        self.matrix.outputs()
    }

    pub(super) fn bytes(&self) -> usize {
        self.matrix.bytes().len()
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
    pub(super) fn new(packing: &mut Packing, level: Level, weights: &[Weights<'_>]) -> Fused {
        let mut groups: Vec<Vec<Weights<'_>>> = Vec::new();
        for weight in weights {
            let format = packing.options().format(weight.0);
            match groups.last_mut().filter(|group| packing.options().format(group[0].0) == format) {
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
        let products = groups.iter().map(|group| Linear::new(packing, level, group)).collect();
        Fused { products, places }
    }

    pub(super) fn bytes(&self) -> usize {
        self.products.iter().map(Linear::bytes).sum()
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
