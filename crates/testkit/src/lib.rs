//! Behaviour suites that every adapter of a port runs, and fakes for what is not under test. A dev-dependency only.

pub mod artifact_store;
pub mod fake_embedder;
pub mod fake_runtime;
pub mod job_store;
pub mod metadata_store;
pub mod pickle_writer;
pub mod single_sequence;
mod suite;
pub mod text_executor;
pub mod tiny_gguf;
pub mod tiny_onnx;
pub mod tiny_safetensors;
pub mod tiny_tabular;
pub mod tiny_torch;
pub mod token_store;
mod upload_store;
