//! The runtime for formats and families that Seedhouse computes itself.
//!
//! ```text
//! runtime            the port: finds the file with weights by its content
//! gguf, gguf_model   reader of GGUF files, and what such a file is as a model
//! vocabulary         tokenizer tables of a GGUF file
//! torch              reader of torch checkpoints: a pickle is parsed by a table, never executed
//! tensorflow         SavedModels, checkpoints and Keras files: checked and described, never executed
//! decoder            what decoder language models of every format are: architecture and tensors as checked data
//! huggingface        what a folder of the Hugging Face libraries says about itself; safetensors headers
//! plan               decoders compiled for this machine, and the sequences that run on them
//! text_models        from a decoder in a file to one that the engine drives
//! safetensors_file   one file of tensors without a configuration
//! layers             what networks are made of: tensors by name, layers on the kernels
//! diffusion          U-Nets that draw images
//! embedding          sentence encoders: folders, pooling, the forward pass
//! problem            declared optimisation problems: read, checked, solved, verified
//! tabular            networks for tables: features and classes in the file, scaling inside the network
//! vision             image classifiers: names, shapes, forward passes
//! quantization       weights with fewer bits, written
//! export             models in the formats of others: as a graph of operators, as safetensors, as GGUF
//! ```
//!
//! Files are untrusted: readers check every length, count and offset against the real file before they allocate, and a
//! broken file gives an error that names what is wrong with both values.

mod decoder;
mod description;
mod diffusion;
mod embedding;
mod export;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gguf;
mod gguf_model;
mod huggingface;
mod layers;
mod mapped_file;
mod plan;
mod problem;
mod quantization;
mod quote;
mod runtime;
mod safetensors_file;
mod tabular;
mod tensorflow;
#[cfg(test)]
mod tests;
mod text_models;
mod torch;
mod vision;
mod vocabulary;

pub use export::{export_gguf, export_safetensors, graph};
pub use plan::{ActivationPrecision, PlanOptions, WeightPrecision};
pub use quantization::NativeQuantizer;
pub use runtime::{NativeOptions, NativeRuntime};
pub use seedhouse_kernels::{Level, Pinning, PoolOptions};
