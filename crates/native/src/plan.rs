//! Decoders compiled for this machine: packed weights, fused projections and the steps over them.
//!
//! ```text
//! options      which precision weights and activations have
//! parts        the packed weights of a plan, one after the other
//! packing      tensors of a file into packed matrices, checked on the way
//! stored       packed weights on the disk, mapped at the next start
//! plans        which weights are packed already: in memory, on the disk, or not yet
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
mod parts;
mod plans;
mod stored;
mod text_model;

pub use options::{ActivationPrecision, PlanOptions, WeightPrecision};
pub(crate) use plans::Plans;
pub(crate) use text_model::PlanTextModel;
