//! The tensors of a `llama` model: every one is looked up by name, compared with the shape that the configuration gives
//! it, and none may be left over.

use std::collections::BTreeMap;
use std::sync::Arc;

use seedhouse_core::{Error, Result};

use super::config::Config;
use crate::gguf::{Gguf, Shape, TensorInfo};
use crate::mapped_file::MappedFile;
use crate::quote::quote;
use crate::rms_norm::RmsNorm;
use crate::weights::Matrix;

/// All weights of a model.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: RmsNorm,
    /// The embedding itself when the file has no matrix of its own for the output.
    pub(super) output: Matrix,
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: RmsNorm,
    pub(super) query: Matrix,
    pub(super) key: Matrix,
    pub(super) value: Matrix,
    pub(super) attention_output: Matrix,
    pub(super) feed_forward_norm: RmsNorm,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
}

impl Weights {
    /// Finds all tensors. Nothing but the weights of the norms is copied.
    pub(super) fn find(gguf: &Gguf<'_>, file: &Arc<MappedFile>, config: &Config, vocab_size: usize) -> Result<Weights> {
        let mut table = Table {
            path: gguf.path,
            file,
            config,
            left: gguf.tensors.iter().map(|(name, tensor)| (*name, tensor)).collect(),
        };
        let embedding = table.matrix("token_embd.weight", config.width, vocab_size)?;
        // Layer by layer, so that an absurd number of layers ends at the first that is missing.
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(table.layer(index)?);
        }
        let output_norm = table.norm("output_norm.weight")?;
        let output = match table.left.contains_key("output.weight") {
            true => table.matrix("output.weight", config.width, vocab_size)?,
            false => embedding.clone(),
        };
        table.refuse_leftovers()?;
        Ok(Weights { embedding, layers, output_norm, output })
    }
}

/// The tensors that no part of the model has claimed yet.
struct Table<'a> {
    path: &'a str,
    file: &'a Arc<MappedFile>,
    config: &'a Config,
    left: BTreeMap<&'a str, &'a TensorInfo<'a>>,
}

impl Table<'_> {
    fn layer(&mut self, index: usize) -> Result<Layer> {
        let Config { width, feed_forward_width, .. } = *self.config;
        let key_value_width = self.config.key_value_width();
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        Ok(Layer {
            attention_norm: self.norm(&name("attn_norm"))?,
            query: self.matrix(&name("attn_q"), width, width)?,
            key: self.matrix(&name("attn_k"), width, key_value_width)?,
            value: self.matrix(&name("attn_v"), width, key_value_width)?,
            attention_output: self.matrix(&name("attn_output"), width, width)?,
            feed_forward_norm: self.norm(&name("ffn_norm"))?,
            gate: self.matrix(&name("ffn_gate"), width, feed_forward_width)?,
            up: self.matrix(&name("ffn_up"), width, feed_forward_width)?,
            down: self.matrix(&name("ffn_down"), feed_forward_width, width)?,
        })
    }

    fn matrix(&mut self, name: &str, columns: usize, rows: usize) -> Result<Matrix> {
        self.tensor(name, Shape(vec![columns as u64, rows as u64]))
    }

    fn norm(&mut self, name: &str) -> Result<RmsNorm> {
        let weights = self.tensor(name, Shape(vec![self.config.width as u64]))?;
        Ok(RmsNorm { weights: weights.to_vec(), epsilon: self.config.norm_epsilon })
    }

    fn tensor(&mut self, name: &str, expected: Shape) -> Result<Matrix> {
        let tensor = self
            .left
            .remove(name)
            .ok_or_else(|| Error::malformed(self.path, format!("tensor `{name}` of shape {expected} is missing")))?;
        if tensor.shape != expected {
            return Err(Error::malformed(
                self.path,
                format!("tensor `{name}` has the shape {}, but the metadata asks for {expected}", tensor.shape),
            ));
        }
        Matrix::new(self.file, tensor)
    }

    fn refuse_leftovers(&self) -> Result<()> {
        match self.left.values().next() {
            None => Ok(()),
            Some(tensor) => Err(Error::unsupported(
                format!("tensor {} of shape {}", quote(tensor.name), tensor.shape),
                format!("a llama model of {} layers has no place for it", self.config.layers),
            )),
        }
    }
}
