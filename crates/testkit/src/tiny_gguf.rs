//! Small GGUF files made from a seed: a whole `llama` model of a few tens of kilobytes, and a builder that can make every
//! field of it wrong.

mod builder;
mod model;

pub use builder::{GgufBuilder, TensorEntry};
pub use model::{TINY_LLAMA_CONTEXT, tiny_llama, tiny_llama_gguf};
