//! A compiled network as a tensor model.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{Tensor, TensorModel, TensorSpec, check_inputs};
use seedhouse_core::tabular::{Feature, Outcome, Table};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::{Activations, Pool, Step};
use serde_json::{Map, Value};

use super::declaration::{Activation, Declaration, embedding_name};
use crate::layers::{Compile, Linear, Weights};
use crate::plan::{ActivationPrecision, PlanOptions, WeightPrecision};

const INPUT: &str = "features";
const LOGITS: &str = "logits";
const TARGETS: &str = "targets";

/// Rows that are computed together: as many as stay in the second cache for the widths that such networks have.
const ROWS_TOGETHER: usize = 256;

/// A network that computes on the threads of a pool.
pub(super) struct TabularNetwork {
    table: Table,
    declared: Map<String, Value>,
    /// For each feature the numbers of its categories; empty where it has none.
    embeddings: Vec<Vec<f32>>,
    layers: Vec<(Linear, Activation)>,
    pool: Arc<Pool>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    // One step runs at a time, so one set of buffers does.
    buffers: Mutex<Buffers>,
    /// What they have grown to, for whoever must not wait for a step.
    buffer_bytes: AtomicUsize,
}

/// Intermediate results, kept from call to call.
#[derive(Default)]
struct Buffers {
    activations: Activations,
    /// What a layer reads, and what it writes.
    numbers: [Vec<f32>; 2],
}

impl Buffers {
    fn bytes(&self) -> usize {
        self.activations.bytes()
            + self.numbers.iter().map(|numbers| numbers.capacity() * size_of::<f32>()).sum::<usize>()
    }
}

impl TabularNetwork {
    /// Packs weights that were held against the declaration. They are kept as f32 whatever `serve --weights` says: these networks are
    /// small, and their answers are figures that people act on. Only whoever quantised the file itself asked for less.
    ///
    /// # Errors
    /// [`Error::Malformed`] for values that are not finite.
    pub(super) fn compile(declaration: Declaration, weights: &Weights<'_>, pool: Arc<Pool>) -> Result<TabularNetwork> {
        let (of_weights, activations) = match weights.tensors.quantization() {
            Some(_) => (WeightPrecision::AsStored, ActivationPrecision::Fast),
            None => (WeightPrecision::F32, ActivationPrecision::F32),
        };
        let precision = PlanOptions { weights: of_weights, activations, allow_non_finite: false };
        let compile = Compile { options: precision, level: pool.level() };
        let layer = |(layer, activation): (usize, &Activation)| {
            Ok((Linear::read(weights, &compile, &[format!("layers.{layer}")])?, *activation))
        };
        let layers = declaration.activations.iter().enumerate().map(layer).collect::<Result<_>>()?;
        let mut by_place = HashMap::new();
        for (place, ..) in declaration.embeddings() {
            by_place.insert(place, weights.values(&embedding_name(place))?);
        }
        let places = 0..declaration.table.features.len();
        let output = match declaration.table.outcome {
            Outcome::Classes(_) => LOGITS,
            Outcome::Targets(_) => TARGETS,
        };
        Ok(TabularNetwork {
            inputs: vec![TensorSpec::f32(INPUT, vec![None, Some(declaration.table.features.len())])],
            outputs: vec![TensorSpec::f32(output, vec![None, Some(declaration.table.output_width())])],
            declared: declaration.declared(),
            embeddings: places.map(|place| by_place.remove(&place).unwrap_or_default()).collect(),
            table: declaration.table,
            layers,
            pool,
            buffers: Mutex::default(),
            buffer_bytes: AtomicUsize::new(0),
        })
    }

    /// Refuses what is no raw number of its feature.
    fn check(&self, raw: &[f32]) -> Result<()> {
        let features = &self.table.features;
        for (row, numbers) in raw.chunks_exact(features.len()).enumerate() {
            for (feature, number) in features.iter().zip(numbers) {
                let of_row = |rule: String| Error::invalid(&feature.name, format!("{number} in row {row}"), rule);
                feature.check_raw(*number).map_err(of_row)?;
            }
        }
        Ok(())
    }

    /// Computes rows that stay in the cache together.
    fn compute(&self, step: &mut Step<'_>, buffers: &mut Buffers, raw: &[f32], results: &mut [f32]) {
        let features = &self.table.features;
        let count = raw.len() / features.len();
        let level = step.level();
        let Buffers { activations, numbers: [from, to] } = buffers;
        for (place, (linear, activation)) in self.layers.iter().enumerate() {
            let (width, is_last) = (linear.inputs(), place + 1 == self.layers.len());
            let output = if is_last { &mut *results } else { resized(to, count * linear.outputs()) };
            let input = &*from;
            linear.apply(
                step,
                activations,
                count,
                &|row, inputs| match place {
                    0 => self.encode(&raw[row * features.len()..][..features.len()], inputs),
                    _ => inputs.copy_from_slice(&input[row * width..][..width]),
                },
                (&mut *output, false),
            );
            step.for_each_piece(output, linear.outputs(), &|_, row| activation.apply(level, row));
            std::mem::swap(from, to);
        }
        if let Outcome::Targets(targets) = &self.table.outcome {
            for row in results.chunks_exact_mut(targets.len()) {
                row.iter_mut().zip(targets).for_each(|(number, target)| *number = target.standard.undo(*number));
            }
        }
    }

    fn encode(&self, raw: &[f32], mut inputs: &mut [f32]) {
        for ((feature, embedding), number) in self.table.features.iter().zip(&self.embeddings).zip(raw) {
            let (own, rest) = inputs.split_at_mut(Feature::width(feature));
            feature.encode(*number, embedding, own);
            inputs = rest;
        }
    }
}

/// Returns so many numbers of a buffer that keeps its memory. What they are is not said.
fn resized(numbers: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if numbers.len() < length {
        numbers.resize(length, 0.0);
    }
    &mut numbers[..length]
}

impl TensorModel for TabularNetwork {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn declared(&self) -> Map<String, Value> {
        self.declared.clone()
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let tensor = check_inputs(&self.inputs, inputs)?[0];
        let count = tensor.shape[0];
        let raw = tensor.f32s().unwrap_or_default();
        self.check(raw)?;
        let (features, width) = (self.table.features.len(), self.table.output_width());
        let mut results = vec![0.0; count * width];
        self.pool.step(|step| {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = raw.chunks(ROWS_TOGETHER * features).zip(results.chunks_mut(ROWS_TOGETHER * width));
            for (raw, results) in rows {
                self.compute(step, &mut buffers, raw, results);
            }
            self.buffer_bytes.store(buffers.bytes(), Ordering::Relaxed);
        });
        Ok(vec![Tensor::new(vec![count, width], results)])
    }

    fn memory_bytes(&self) -> u64 {
        let layers: usize = self.layers.iter().map(|(linear, _)| linear.bytes()).sum();
        let embeddings: usize = self.embeddings.iter().map(|numbers| size_of_val(&numbers[..])).sum();
        (layers + embeddings + self.buffer_bytes.load(Ordering::Relaxed)) as u64
    }
}
