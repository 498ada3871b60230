//! One sequence of a `llama` model: the forward pass, its buffers and its cache.

use std::sync::Arc;

use rayon::prelude::*;
use seedhouse_core::runtime::TextSession;
use seedhouse_core::{Error, Result};

use super::Llama;
use super::weights::Layer;
use crate::attention::causal_attention;
use crate::key_value_cache::KeyValueCache;
use crate::rotary::{Rotation, rotate};
use crate::weights::{matrix_times_vector, matrix_times_vectors};

/// Tokens computed at once; more would only make the buffers larger.
const TOKENS_AT_ONCE: usize = 128;

/// A sequence.
pub(super) struct LlamaSession {
    model: Arc<Llama>,
    cache: KeyValueCache,
    buffers: Buffers,
    logits: Vec<f32>,
}

/// Intermediate results of some tokens, one token after the other; kept from call to call.
#[derive(Debug, Default)]
struct Buffers {
    hidden: Vec<f32>,
    normalised: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    sum: Vec<f32>,
    rotations: Vec<Rotation>,
}

impl LlamaSession {
    pub(super) fn new(model: Arc<Llama>) -> LlamaSession {
        let config = &model.config;
        let cache = KeyValueCache::new(config.layers, config.key_value_heads, config.head_width);
        let logits = vec![0.0; model.weights.output.rows()];
        LlamaSession { model, cache, buffers: Buffers::default(), logits }
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        let (vocab_size, context_length) = (self.logits.len(), self.model.config.context_length);
        if tokens.is_empty() {
            return Err(Error::invalid("tokens", "[]", "must have at least one token"));
        }
        if let Some(outside) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::invalid("tokens", outside, format!("the vocabulary has {vocab_size} tokens")));
        }
        let position = self.cache.position();
        if tokens.len() > context_length - position {
            let rule = format!("the context has {context_length} tokens, of which {position} are taken");
            return Err(Error::invalid("tokens", format!("{} tokens long", tokens.len()), rule));
        }
        Ok(())
    }

    fn compute(&mut self, tokens: &[u32]) {
        for tokens in tokens.chunks(TOKENS_AT_ONCE) {
            self.buffers.embed(&self.model, self.cache.position(), tokens);
            for (index, layer) in self.model.weights.layers.iter().enumerate() {
                self.buffers.attention_block(&self.model, index, layer, &mut self.cache, tokens.len());
                self.buffers.feed_forward_block(layer, tokens.len());
            }
            self.cache.advance(tokens.len());
        }
        let width = self.model.config.width;
        let last = self.buffers.hidden.len() - width;
        let normalised = &mut self.buffers.normalised[..width];
        self.model.weights.output_norm.apply(&self.buffers.hidden[last..], normalised);
        matrix_times_vector(&self.model.weights.output, normalised, &mut self.logits);
    }
}

impl TextSession for LlamaSession {
    fn advance(&mut self, tokens: &[u32]) -> Result<&[f32]> {
        self.check(tokens)?;
        self.cache.reserve(tokens.len())?;
        // Entering the pool once is cheaper than entering it for every product.
        rayon::scope(|_| self.compute(tokens));
        Ok(&self.logits)
    }

    fn position(&self) -> usize {
        self.cache.position()
    }
}

impl Buffers {
    /// Looks the tokens up and prepares the buffers for them.
    fn embed(&mut self, model: &Llama, position: usize, tokens: &[u32]) {
        let config = &model.config;
        for (buffer, width) in [
            (&mut self.hidden, config.width),
            (&mut self.normalised, config.width),
            (&mut self.query, config.width),
            (&mut self.key, config.key_value_width()),
            (&mut self.value, config.key_value_width()),
            (&mut self.attended, config.width),
            (&mut self.gate, config.feed_forward_width),
            (&mut self.up, config.feed_forward_width),
            (&mut self.sum, config.width),
        ] {
            buffer.resize(tokens.len() * width, 0.0);
        }
        for (&token, hidden) in tokens.iter().zip(self.hidden.chunks_exact_mut(config.width)) {
            model.weights.embedding.read_row(token as usize, hidden);
        }
        self.rotations.clear();
        for index in 0..tokens.len() {
            model.rotary.rotations(position + index, &mut self.rotations);
        }
    }

    /// Adds what the tokens learn from those before them.
    fn attention_block(
        &mut self,
        model: &Llama,
        index: usize,
        layer: &Layer,
        cache: &mut KeyValueCache,
        tokens: usize,
    ) {
        let config = &model.config;
        layer.attention_norm.apply(&self.hidden, &mut self.normalised);
        let Buffers { normalised, query, key, value, .. } = self;
        rayon::join(
            || matrix_times_vectors(&layer.query, normalised, tokens, query),
            || {
                rayon::join(
                    || matrix_times_vectors(&layer.key, normalised, tokens, key),
                    || matrix_times_vectors(&layer.value, normalised, tokens, value),
                )
            },
        );
        let queries = query.chunks_exact_mut(config.width);
        let keys = key.chunks_exact_mut(config.key_value_width());
        let rotations = self.rotations.chunks_exact(model.rotary.pairs());
        for ((query, key), rotations) in queries.zip(keys).zip(rotations) {
            rotate(query, config.head_width, rotations);
            rotate(key, config.head_width, rotations);
        }
        cache.append(index, key, value);
        causal_attention(query, cache.layer(index), config.head_width, config.heads, &mut self.attended);
        matrix_times_vectors(&layer.attention_output, &self.attended, tokens, &mut self.sum);
        add(&mut self.hidden, &self.sum);
    }

    /// Adds the feed-forward part: a gated unit with SiLU (Shazeer 2020).
    fn feed_forward_block(&mut self, layer: &Layer, tokens: usize) {
        layer.feed_forward_norm.apply(&self.hidden, &mut self.normalised);
        let Buffers { normalised, gate, up, .. } = self;
        rayon::join(
            || matrix_times_vectors(&layer.gate, normalised, tokens, gate),
            || matrix_times_vectors(&layer.up, normalised, tokens, up),
        );
        gate.par_iter_mut().zip(&*up).with_min_len(1 << 10).for_each(|(gate, up)| *gate *= up / (1.0 + (-*gate).exp()));
        matrix_times_vectors(&layer.down, gate, tokens, &mut self.sum);
        add(&mut self.hidden, &self.sum);
    }
}

fn add(sum: &mut [f32], addend: &[f32]) {
    for (sum, addend) in sum.iter_mut().zip(addend) {
        *sum += addend;
    }
}
