//! A network as a tensor model: images in, logits and features out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{Tensor, TensorModel, TensorSpec, check_inputs};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::{Activations, ConvolutionBuffers, Pool, Step};
use serde_json::{Map as JsonMap, Value as JsonValue};

use crate::export::builder::{GraphBuilder, Value};
use crate::layers::{Compile, Expected, Linear, Map, Weights};

const INPUT: &str = "image";
const LOGITS: &str = "logits";
const FEATURES: &str = "features";

/// A network as its tensors describe it.
pub(super) trait Description {
    /// Returns what the shapes say, in the record's names.
    fn hyper_parameters(&self) -> JsonMap<String, JsonValue>;

    /// Returns the tensors that it has.
    fn expected(&self) -> Expected;

    /// Adds the network to a graph, from images to features. The weights were held against [`Description::expected`].
    fn draw(&self, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn>;

    /// Reads the weights, which were held against [`Description::expected`].
    fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Box<dyn Network>>;
}

/// A network in a graph.
pub(super) struct Drawn {
    pub(super) features: Value,
    /// The name of the layer that makes logits of features.
    pub(super) classifier: String,
}

/// What images a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sides {
    /// These only.
    Fixed([usize; 2]),
    /// Any that are not smaller.
    AtLeast(usize),
}

/// A compiled network.
pub(super) trait Network: Send + Sync {
    /// Returns the channels and the sizes of the images that it takes.
    fn input(&self) -> (usize, Sides);

    /// Returns what makes logits of features.
    fn classifier(&self) -> &Linear;

    /// Returns how many images of this size are computed together: as many as stay in the last cache between two layers.
    fn images_together(&self, sides: [usize; 2]) -> usize;

    /// Writes the features of the images in `buffers.images`.
    fn features(&self, step: &mut Step<'_>, buffers: &mut Buffers, features: &mut [f32]);

    /// Returns the bytes of the weights.
    fn bytes(&self) -> usize;
}

/// Intermediate results, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) images: Map,
    pub(super) maps: [Map; 4],
    pub(super) convolution: ConvolutionBuffers,
    pub(super) activations: Activations,
}

impl Buffers {
    /// Returns the bytes that they have grown to.
    fn bytes(&self) -> usize {
        let maps: usize = self.maps.iter().map(Map::bytes).sum();
        self.images.bytes() + maps + self.convolution.bytes() + self.activations.bytes()
    }
}

/// A network that computes on the threads of a pool.
pub(super) struct VisionModel {
    network: Box<dyn Network>,
    pool: Arc<Pool>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    declared: JsonMap<String, JsonValue>,
    // One step runs at a time, so one set of buffers does.
    buffers: Mutex<Buffers>,
    /// What they have grown to, for whoever must not wait for a step.
    buffer_bytes: AtomicUsize,
}

impl VisionModel {
    /// `declared` is what files say about pre-processing and labels.
    pub(super) fn new(network: Box<dyn Network>, pool: Arc<Pool>, declared: JsonMap<String, JsonValue>) -> VisionModel {
        let (channels, sides) = network.input();
        let [height, width] = match sides {
            Sides::Fixed(sides) => sides.map(Some),
            Sides::AtLeast(_) => [None; 2],
        };
        let (classes, features) = (network.classifier().outputs(), network.classifier().inputs());
        VisionModel {
            inputs: vec![TensorSpec::f32(INPUT, vec![None, Some(channels), height, width])],
            outputs: vec![
                TensorSpec::f32(LOGITS, vec![None, Some(classes)]),
                TensorSpec::f32(FEATURES, vec![None, Some(features)]),
            ],
            network,
            pool,
            declared,
            buffers: Mutex::default(),
            buffer_bytes: AtomicUsize::new(0),
        }
    }

    /// Returns the numbers, the count and the sides of the images, checked against what the network takes.
    fn images<'t>(&self, inputs: &[(&str, &'t Tensor)]) -> Result<(&'t [f32], usize, [usize; 2])> {
        let images = check_inputs(&self.inputs, inputs)?[0];
        let (&[count, _, height, width], Some(numbers)) = (images.shape.as_slice(), images.f32s()) else {
            return Err(Error::Internal(format!("images of shape {:?} passed the check", images.shape)));
        };
        let (channels, sides) = self.network.input();
        let smallest = match sides {
            Sides::AtLeast(side) => side,
            Sides::Fixed(_) => 1,
        };
        if count == 0 || height.min(width) < smallest {
            let rule = format!(
                "the shape must be [n, {channels}, height, width] with n at least 1 and both sides at least {smallest}"
            );
            return Err(Error::invalid(INPUT, format!("{:?}", images.shape), rule));
        }
        Ok((numbers, count, [height, width]))
    }

    /// Computes images that stay in the cache together.
    fn compute(
        &self,
        step: &mut Step<'_>,
        buffers: &mut Buffers,
        sides: [usize; 2],
        planes: &[f32],
        into: [&mut [f32]; 2],
    ) {
        let [logits, features] = into;
        let (channels, _) = self.network.input();
        let length = channels * sides[0] * sides[1];
        let count = planes.len() / length;
        buffers.images.reset(count, sides, channels);
        let area = sides[0] * sides[1];
        step.for_each_piece(buffers.images.numbers_mut(), sides[1] * channels, &|line, pixels| {
            let first = line / sides[0] * length + line % sides[0] * sides[1];
            for (x, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
                let numbers = planes[first + x..].iter().step_by(area);
                pixel.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
            }
        });
        self.network.features(step, buffers, features);
        let (classifier, features) = (self.network.classifier(), &*features);
        let width = classifier.inputs();
        classifier.apply(
            step,
            &mut buffers.activations,
            count,
            &|row, numbers| {
                numbers.copy_from_slice(&features[row * width..][..width]);
            },
            (logits, false),
        );
    }
}

impl TensorModel for VisionModel {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn declared(&self) -> JsonMap<String, JsonValue> {
        self.declared.clone()
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let (numbers, count, sides) = self.images(inputs)?;
        let length = numbers.len() / count;
        let together = self.network.images_together(sides).max(1);
        let (classes, width) = (self.network.classifier().outputs(), self.network.classifier().inputs());
        let (mut logits, mut features) = (vec![0.0; count * classes], vec![0.0; count * width]);
        self.pool.step(|step| {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let outputs = logits.chunks_mut(together * classes).zip(features.chunks_mut(together * width));
            for (planes, (logits, features)) in numbers.chunks(together * length).zip(outputs) {
                self.compute(step, &mut buffers, sides, planes, [logits, features]);
            }
            self.buffer_bytes.store(buffers.bytes(), Ordering::Relaxed);
        });
        Ok(vec![Tensor::new(vec![count, classes], logits), Tensor::new(vec![count, width], features)])
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.bytes() + self.buffer_bytes.load(Ordering::Relaxed)) as u64
    }
}
