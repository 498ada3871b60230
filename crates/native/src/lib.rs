//! The runtime for formats and families that Seedhouse computes itself.
//!
//! ```text
//! runtime            the port: finds the file with weights by its content
//! gguf, gguf_model   reader of GGUF files, and what such a file is as a model
//! vocabulary         tokenizer tables of a GGUF file
//! torch              reader of torch checkpoints: a pickle is parsed by a table, never executed
//! huggingface        what a folder of the Hugging Face libraries says about itself; safetensors headers
//! llama              a family: configuration, tensors, forward pass
//! efficientnet_lite  a family: tensors by name, forward pass
//! rms_norm, rotary, attention, key_value_cache, convolution
//!                    parts that families share
//! weights, simd      products with weights that stay quantised in the mapped file
//! ```
//!
//! Files are untrusted: readers check every length, count and offset against the real file before they allocate, and a
//! broken file gives an error that names what is wrong with both values.

mod attention;
mod convolution;
mod description;
mod efficientnet_lite;
mod gguf;
mod gguf_model;
mod huggingface;
mod key_value_cache;
mod llama;
mod mapped_file;
mod quote;
mod rms_norm;
mod rotary;
mod runtime;
mod simd;
#[cfg(test)]
mod tests;
mod torch;
mod vocabulary;
mod weights;

pub use runtime::NativeRuntime;
