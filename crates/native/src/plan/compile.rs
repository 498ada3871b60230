//! Compilation: a spec and its tensors become packed weights and fused steps.
//!
//! One walk over the model asks for its parts in order. The first time they are packed; a plan is always made of parts that exist, be they
//! just packed, those of another load, or mapped from the disk.

use std::sync::Arc;

use seedhouse_kernels::{Level, Pool, Rotary, RotaryStyle};

use super::linear::{Fused, Linear};
use super::norm::NormWeights;
use super::options::PlanOptions;
use super::packing::Packing;
use super::parts::{Mismatch, PackedParts, PartSource};
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
    /// Others that load the same version find them as long as somebody has them.
    pub(super) parts: Arc<PackedParts>,
}

/// What compiling looks at beside the model.
pub(super) struct Compiler<'p> {
    pub(super) options: PlanOptions,
    pub(super) level: Level,
    pub(super) parts: &'p mut dyn PartSource,
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

/// Packs the weights of a model.
///
/// # Errors
/// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming tensor, row and value for a weight that is not finite.
pub(super) fn pack(model: &DecoderModel, options: PlanOptions, pool: &Pool) -> seedhouse_core::Result<PackedParts> {
    let mut packing = Packing::new(options, pool);
    let mut compiler = Compiler { options, level: pool.level(), parts: &mut packing };
    let walked = walk(model, &mut compiler);
    walked.map_err(|Mismatch(reason)| seedhouse_core::Error::Internal(format!("a part was not packed: {reason}")))?;
    packing.finish()
}

impl Plan {
    /// Makes a plan of parts that are packed already.
    ///
    /// # Errors
    /// When they are not those of the model.
    pub(super) fn new(
        model: &DecoderModel,
        options: PlanOptions,
        level: Level,
        parts: Arc<PackedParts>,
    ) -> Result<Plan, Mismatch> {
        let mut ready = parts.ready();
        let (layers, final_norm, output) = walk(model, &mut Compiler { options, level, parts: &mut ready })?;
        ready.finish()?;
        let DecoderModel { spec, tensors } = model;
        Ok(Plan {
            embedding: tensors.model_tensor(Role::TokenEmbedding).clone(),
            position_embedding: tensors.of_model(Role::PositionEmbedding).cloned(),
            rotary: rotary(&spec.positions),
            layers,
            final_norm,
            output,
            spec: spec.clone(),
            parts,
        })
    }

    /// Returns the bytes that it holds: packed weights, and the embeddings that stay in the file.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.parts.matrix_bytes() + self.read_from_the_file().map(TensorSource::stored_bytes).sum::<usize>()
    }

    /// Forgets the pages of the file that packing has read; those of the embeddings come back as they are needed.
    pub(crate) fn forget_pages(&self) {
        self.read_from_the_file().for_each(TensorSource::forget_pages);
    }

    fn read_from_the_file(&self) -> impl Iterator<Item = &TensorSource> {
        std::iter::once(&self.embedding).chain(&self.position_embedding)
    }

    /// Returns the tensors with weights that are not finite.
    pub(crate) fn non_finite(&self) -> &[NonFinite] {
        &self.parts.non_finite
    }

    /// Returns whether norms stand after the parts of a block.
    pub(super) fn norms_after(&self) -> bool {
        self.spec.norm.placement == NormPlacement::Post
    }
}

/// Asks for every part of a model, in the order in which a plan keeps them.
fn walk(
    model: &DecoderModel,
    compiler: &mut Compiler<'_>,
) -> Result<(Vec<Layer>, Option<NormWeights>, Linear), Mismatch> {
    let DecoderModel { spec, tensors } = model;
    let layers = (0..spec.layers).map(|index| Layer::new(spec, tensors, index, compiler)).collect::<Result<_, _>>()?;
    let final_norm = tensors
        .of_model(Role::FinalNorm)
        .map(|weight| NormWeights::new(compiler, spec.norm, weight, tensors.of_model(Role::FinalNormBias)))
        .transpose()?;
    let output = Linear::new(compiler, &[(tensors.output(), tensors.of_model(Role::OutputBias))])?;
    Ok((layers, final_norm, output))
}

impl Layer {
    fn new(
        spec: &DecoderSpec,
        tensors: &DecoderTensors,
        index: usize,
        compiler: &mut Compiler<'_>,
    ) -> Result<Layer, Mismatch> {
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
        let norm_bias = optional(Role::AttentionNormBias);
        let attention_norm = NormWeights::new(compiler, spec.norm, tensor(Role::AttentionNorm), norm_bias)?;
        let inputs = Fused::new(compiler, &inputs)?;
        let mut head_norms = None;
        if spec.head_norms {
            let query = NormWeights::new(compiler, spec.norm, tensor(Role::QueryNorm), None)?;
            head_norms = Some([query, NormWeights::new(compiler, spec.norm, tensor(Role::KeyNorm), None)?]);
        }
        let attention_output = (tensor(Role::AttentionOutput), optional(Role::AttentionOutputBias));
        let attention_output = Linear::new(compiler, &[attention_output])?;
        let norm_bias = optional(Role::FeedForwardNormBias);
        let feed_forward_norm = NormWeights::new(compiler, spec.norm, tensor(Role::FeedForwardNorm), norm_bias)?;
        let expansion = Fused::new(compiler, &expansion)?;
        let down = Linear::new(compiler, &[(tensor(Role::Down), optional(Role::DownBias))])?;
        Ok(Layer { attention_norm, inputs, head_norms, attention_output, feed_forward_norm, expansion, down })
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
