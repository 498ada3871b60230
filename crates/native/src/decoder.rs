//! Decoder language models as files describe them: the architecture as plain numbers, and every tensor by its role.
//!
//! ```text
//! gguf, huggingface, original   read a format: a spec from its words, tensors by its names
//! spec, rotary                  what the arithmetic needs to know, checked
//! role, naming                  which tensors a model has, of which shape, and what formats call them
//! stored_tensor, tensor_table   tensors of a file until a role claims them; none may be missing or left over
//! tensors, source               every tensor at its place, row by row as f32 or as the groups of its type
//! storage, blocks               the types of tensors, and their blocks taken apart without loss
//! graph, halves                 a model as a graph of operators; the order of rows that are rotated
//! weight_check                  weights that are no numbers
//! ```
//!
//! Nothing here computes, and nothing is copied: rows are decoded from the mapped file as whoever packs them asks.

mod blocks;
pub(crate) mod gguf;
pub(crate) mod graph;
pub(crate) mod halves;
pub(crate) mod huggingface;
mod naming;
pub(crate) mod original;
mod role;
mod rotary;
mod source;
mod spec;
mod storage;
mod stored_tensor;
mod tensor_table;
mod tensors;
#[cfg(test)]
mod tests;
mod weight_check;

pub(crate) use blocks::GroupRow;
pub(crate) use role::Role;
#[cfg(test)]
pub(crate) use rotary::Rotary;
pub(crate) use rotary::RotaryStyle;
pub(crate) use source::TensorSource;
pub(crate) use spec::{DecoderSpec, FeedForward, Norm, NormKind, NormPlacement, Positions};
pub(crate) use storage::Storage;
pub(crate) use tensors::DecoderTensors;
pub(crate) use weight_check::{NonFinite, NonFinitePolicy, WeightCheck};

/// A model whose every tensor has its place.
#[derive(Debug)]
pub(crate) struct DecoderModel {
    /// The numbers that shape it.
    pub(crate) spec: DecoderSpec,
    /// Its weights.
    pub(crate) tensors: DecoderTensors,
}
