//! Whole-program tests: the real binary, real SQLite, real files, over the command line and HTTP.

#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

mod support;

mod access;
mod adopt;
mod agriculture;
mod architecture;
mod backup;
mod bad_input;
mod batching;
mod cards;
mod changes;
mod cli;
mod corruption;
mod crash;
mod diffusion;
mod disk_full;
mod embedding;
mod files;
mod generation;
mod health;
mod http;
mod image_model;
mod jobs;
mod learning;
mod lineage;
mod load;
mod manager_routes;
mod metrics;
mod onnx;
mod onnx_models;
mod onnx_runtime;
mod optimization;
mod original_decoder;
mod original_files;
mod original_routes;
mod perplexity;
mod plans;
mod pull;
mod remote;
mod scrub;
mod search;
mod serving;
mod shutdown;
mod soak;
mod tabular;
mod tensorflow;
mod text_model;
mod traces;
mod transfer;
mod transfer_jobs;
mod trials;
mod uploads;
mod vision;
mod writers;
