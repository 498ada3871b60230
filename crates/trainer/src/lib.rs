//! The trainer: from examples to the files of a model, for the families that the native runtime serves.
//!
//! ```text
//! trainer      the port: a task is held against the rules, trained, and written
//! session      the loop: batches, updates, measurements, checkpoints
//! lessons      what is learned, and from what: a network with the examples of a dataset
//! networks     the families, by names, shapes and arithmetic of the native runtime
//! tape         operations, forward and backward
//! numbers      loops for the vector instructions of the processor
//! ```
//!
//! Matrix products are `seedhouse_kernels::product`; everything else is computed here. Nothing is random but by the seed: the same task
//! gives the same files, bit for bit, on the same processor with any number of threads, whether it was interrupted or not.
#![forbid(unsafe_code)]

mod arena;
mod checkpoint;
mod digest;
#[cfg(test)]
mod gradient_check;
mod hyper_parameters;
mod lessons;
mod networks;
mod numbers;
mod optimizer;
mod parallel;
mod parameters;
mod random;
mod safetensors;
mod session;
mod start;
mod tape;
#[cfg(test)]
mod tests;
mod tokenizer;
mod trainer;

pub use trainer::NativeTrainer;
