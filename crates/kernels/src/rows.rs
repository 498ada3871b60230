//! Operations on one row of numbers: norms, activations, softmax, sums.
//!
//! Every function checks that its rows have one length and panics with both lengths when they do not, and when the
//! processor does not have the level. An element that is not a number gives one that is not.

mod activation;
mod exponential;
mod norm;
mod softmax;
mod sum;
#[cfg(test)]
mod tests;

pub(crate) use activation::silu_of;
pub use activation::{exp, gelu_erf, gelu_erf_gated, gelu_tanh, gelu_tanh_gated, sigmoid, silu, silu_gated, tanh};
pub(crate) use exponential::exp2;
pub use norm::{layer_norm, rms_norm};
pub use softmax::softmax;
pub use sum::{add, add_assign};

/// Panics unless a row has the length of the output.
#[track_caller]
fn check_length(what: &str, length: usize, output: usize) {
    assert!(length == output, "{what} has {length} numbers, but the output has {output}");
}
