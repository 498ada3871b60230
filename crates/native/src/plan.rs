//! Decoders compiled for this machine: packed weights, fused projections and the steps over them.
//!
//! ```text
//! options      which precision weights and activations have
//! packing      tensors of a file into packed matrices, checked on the way
//! norm         the norms and their weights
//! linear       a projection; projections of one input fused into one product
//! compile      a spec and its tensors into a Plan
//! blocks       which blocks of the key/value store are whose
//! executor     sequences, and what a step does with them
//! forward      the forward pass of a batch of rows
//! text_model   the port
//! ```

mod blocks;
mod compile;
mod executor;
mod forward;
mod linear;
mod norm;
mod options;
mod packing;
mod text_model;

pub(crate) use compile::Plan;
pub use options::{ActivationPrecision, PlanOptions, WeightPrecision};
pub(crate) use text_model::PlanTextModel;
