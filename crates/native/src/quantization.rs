//! Weights at a lower precision, as files: how they are laid out, read and written.
//!
//! The container stays safetensors. A quantised matrix `NAME.weight` becomes integers of the same name, and `NAME.weight.scale` says what
//! they are multiplied with. `__metadata__` has a text `seedhouse.quantization`:
//!
//! ```text
//! {"version": 1, "type": "int4", "tensors": {"layers.0.up.weight": {"type": "int4", "shape": [96, 64]},
//!                                            "conv.weight": {"type": "int8", "shape": [8, 3, 3, 3]}}}
//!
//! type           integers               scale                               weight
//! int8           I8, the shape          F32 [outputs]                       integer * scale of its output
//! int16          I16, the shape         F32 [outputs]                       integer * scale of its output
//! int8_groups    I8, the shape          F16 [outputs, inputs / 32]          integer * scale of its 32 inputs
//! int4           U8, last halved        F16 [outputs, inputs / 32]          (4 bits - 8) * scale of its 32 inputs
//! float16        plain F16 tensors, not listed
//! bfloat16       plain BF16 tensors, not listed
//! ```
//!
//! Halves and groups are rounded up: the last group of an output may be shorter. Of two numbers in a byte the first has the lower four
//! bits. `axis`, 0 where it is not written, is the dimension of the outputs: 1 for matrices `[inputs, outputs]` and for transposed
//! convolutions. Scales are finite and greater than 0. Those of `int4` may be negative: the number of the greatest magnitude of a group
//! becomes -8, which has no positive counterpart. An output or a group of zeros has the scale 1.
//!
//! Convolutions have a scale per output also in `int8_groups` and `int4` files, where their type is `int8`. Batch normalisation stands
//! folded in a quantised file: `CONVOLUTION.weight`, `CONVOLUTION.bias` and no norm.
//!
//! ```text
//! document    the text, held against its rules
//! layout      one quantised tensor: its stored form, and its integers and scales output by output
//! split       the tensors of a file, quantised ones with their scales
//! rounding    numbers to integers and half precision
//! recipe      what becomes of each tensor of a family
//! source      from the files of a version to recipes
//! output      tensors into a file, block by block
//! quantizer   the port
//! ```

mod document;
mod layout;
mod output;
mod quantizer;
mod recipe;
mod rounding;
mod source;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use layout::{Layout, Quantized};
pub use quantizer::NativeQuantizer;
pub(crate) use split::{QuantizedEntry, Split, described, split};

/// The name of the text among the metadata of a file.
pub(crate) const KEY: &str = "seedhouse.quantization";
