//! Compilation: a spec and its tensors become packed weights and fused steps.

use std::time::{Duration, Instant};

use seedhouse_core::Result;
use seedhouse_kernels::{Level, Rotary, RotaryStyle};

use super::linear::{Fused, Linear};
use super::norm::NormWeights;
use super::options::PlanOptions;
use super::packing::Packing;
use crate::decoder::{
    self, DecoderModel, DecoderSpec, DecoderTensors, NonFinite, NormPlacement, Positions, Role, TensorSource,
};

/// A decoder that is ready to run on this machine.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) spec: DecoderSpec,
    /// Rows of it are read as they are needed: it stays in the file.
    pub(super) embedding: TensorSource,
    pub(super) position_embedding: Option<TensorSource>,
    pub(super) rotary: Option<Rotary>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Option<NormWeights>,
    pub(super) output: Linear,
    /// Tensors with weights that are not finite, where those are allowed.
    non_finite: Vec<NonFinite>,
    compiled_in: Duration,
}

/// A block of the decoder.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: NormWeights,
    /// Query, key, value.
    pub(super) inputs: Fused,
    /// Norms of each head of queries and of keys.
    pub(super) head_norms: Option<[NormWeights; 2]>,
    pub(super) attention_output: Linear,
    pub(super) feed_forward_norm: NormWeights,
    /// Gate and up, or up alone.
    pub(super) expansion: Fused,
    pub(super) down: Linear,
}

impl Plan {
    /// Compiles a model for a level.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming tensor, row and value for a weight that is not finite.
    pub(crate) fn compile(model: &DecoderModel, options: PlanOptions, level: Level) -> Result<Plan> {
        let begun = Instant::now();
        let DecoderModel { spec, tensors } = model;
        let mut packing = Packing::new(options);
        let layers = (0..spec.layers).map(|index| Layer::compile(spec, tensors, index, level, &mut packing)).collect();
        let final_norm = tensors
            .of_model(Role::FinalNorm)
            .map(|weight| NormWeights::new(&mut packing, spec.norm, weight, tensors.of_model(Role::FinalNormBias)));
        let output = Linear::new(&mut packing, level, &[(tensors.output(), tensors.of_model(Role::OutputBias))]);
        Ok(Plan {
            embedding: tensors.model_tensor(Role::TokenEmbedding).clone(),
            position_embedding: tensors.of_model(Role::PositionEmbedding).cloned(),
            rotary: rotary(&spec.positions),
            layers,
            final_norm,
            output,
            non_finite: packing.finish()?,
            compiled_in: begun.elapsed(),
            spec: spec.clone(),
        })
    }

    /// Returns the bytes of its packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| {
            layer.inputs.bytes() + layer.attention_output.bytes() + layer.expansion.bytes() + layer.down.bytes()
        });
        layers.sum::<usize>() + self.output.bytes()
    }

    /// Returns the bytes that it holds: packed weights, and the embeddings that stay in the file.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.weight_bytes() + self.read_from_the_file().map(TensorSource::stored_bytes).sum::<usize>()
    }

    /// Forgets the pages of the file that packing has read; those of the embeddings come back as they are needed.
    pub(crate) fn forget_pages(&self) {
        self.read_from_the_file().for_each(TensorSource::forget_pages);
    }

    fn read_from_the_file(&self) -> impl Iterator<Item = &TensorSource> {
        std::iter::once(&self.embedding).chain(&self.position_embedding)
    }

    /// Returns how long compiling took.
    pub(crate) fn compiled_in(&self) -> Duration {
        self.compiled_in
    }

    /// Returns the tensors with weights that are not finite.
    pub(crate) fn non_finite(&self) -> &[NonFinite] {
        &self.non_finite
    }

    /// Returns whether norms stand after the parts of a block.
    pub(super) fn norms_after(&self) -> bool {
        self.spec.norm.placement == NormPlacement::Post
    }
}

impl Layer {
    fn compile(
        spec: &DecoderSpec,
        tensors: &DecoderTensors,
        index: usize,
        level: Level,
        packing: &mut Packing,
    ) -> Layer {
        let tensor = |role| tensors.layer_tensor(index, role);
        let optional = |role| tensors.of_layer(index, role);
        let inputs = [
            (tensor(Role::Query), optional(Role::QueryBias)),
            (tensor(Role::Key), optional(Role::KeyBias)),
            (tensor(Role::Value), optional(Role::ValueBias)),
        ];
        let up = (tensor(Role::Up), optional(Role::UpBias));
        let expansion = match spec.feed_forward.is_gated() {
            true => vec![(tensor(Role::Gate), optional(Role::GateBias)), up],
            false => vec![up],
        };
        Layer {
            attention_norm: NormWeights::new(
                packing,
                spec.norm,
                tensor(Role::AttentionNorm),
                optional(Role::AttentionNormBias),
            ),
            inputs: Fused::new(packing, level, &inputs),
            head_norms: spec.head_norms.then(|| {
                [Role::QueryNorm, Role::KeyNorm].map(|role| NormWeights::new(packing, spec.norm, tensor(role), None))
            }),
            attention_output: Linear::new(
                packing,
                level,
                &[(tensor(Role::AttentionOutput), optional(Role::AttentionOutputBias))],
            ),
            feed_forward_norm: NormWeights::new(
                packing,
                spec.norm,
                tensor(Role::FeedForwardNorm),
                optional(Role::FeedForwardNormBias),
            ),
            expansion: Fused::new(packing, level, &expansion),
            down: Linear::new(packing, level, &[(tensor(Role::Down), optional(Role::DownBias))]),
        }
    }
}

fn rotary(positions: &Positions) -> Option<Rotary> {
    match positions {
        Positions::Learned => None,
        Positions::Rotary(rotary) => {
            let style = match rotary.style {
                decoder::RotaryStyle::Interleaved => RotaryStyle::Interleaved,
                decoder::RotaryStyle::Halves => RotaryStyle::Halves,
            };
            Some(Rotary::new(style, &rotary.frequencies, rotary.attention_factor))
        }
    }
}
