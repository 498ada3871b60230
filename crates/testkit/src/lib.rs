//! Behaviour suites that every adapter of a port runs, and fakes for what is not under test. A dev-dependency only.

pub mod artifact_store;
pub mod fake_runtime;
pub mod job_store;
pub mod metadata_store;
pub mod pickle_writer;
mod suite;
pub mod tiny_gguf;
pub mod tiny_torch;
pub mod token_store;
mod upload_store;
