//! Arithmetic for neural networks on processors. It knows nothing of models: matrices, vectors and caches go in, numbers come out.
//!
//! - [`Pool`] owns the threads; a [`Step`] is a run of operations during which they stay awake. Every operation takes the step.
//! - [`Level`] is the instruction set. All levels read the same packed weights and agree within the tolerance that each
//!   operation states.
//! - [`PackedMatrix`] holds weights in a [`WeightFormat`], [`Activations`] what they are multiplied with, and [`multiply`] does it.
//!
//! This is the one crate with `unsafe`; its public functions are safe and check the lengths they are given.

mod level;
mod pool;

pub use level::Level;
pub use pool::{Pinning, Pool, PoolOptions, Step};

// Matrix products.
mod activations;
mod aligned_bytes;
mod disjoint;
mod freed_memory;
mod multiply;
mod nonlinearity;
mod packed_matrix;
mod product;
mod shared_bytes;
mod weight_format;

pub use activations::{ActivationForm, Activations};
pub use freed_memory::return_freed_memory;
pub use multiply::{Epilogue, multiply, multiply_then};
pub use nonlinearity::Nonlinearity;
pub use packed_matrix::{GroupRow, PackError, PackedMatrix};
pub use product::{Accumulation, MatrixView, MatrixViewMut, product};
pub use shared_bytes::SharedBytes;
pub use weight_format::{GroupScales, WeightFormat};

// Attention.
mod attention;
mod key_value_store;
mod lanes;
mod mutual_attention;
mod rotary;
mod row_view;
pub mod rows;

pub use attention::{AttentionOptions, attend};
pub use key_value_store::{BLOCK_TOKENS, KeyValueShape, KeyValueStore, OutOfMemory, Span, append};
pub use mutual_attention::{MutualAttention, attend_mutually};
pub use rotary::{Rotary, RotaryStyle};
pub use row_view::RowView;

// Images.
mod convolution;
mod depthwise;
mod group_norm;
mod images;
#[cfg(test)]
mod images_tests;
mod pooling;
mod transposed;
mod winograd;

pub use convolution::{ConvolutionBuffers, convolve};
pub use depthwise::{Depthwise, convolve_depthwise};
pub use group_norm::{GroupNorm, GroupNormBuffers, group_norm};
pub use images::{Images, Window};
pub use pooling::{average_pool, global_average_pool, max_pool};
pub use transposed::{Phase, TransposedWindow, convolve_transposed};
pub use winograd::{WinogradWeights, convolve_winograd};
