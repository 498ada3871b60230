//! Whole-program tests: the real binary, real SQLite, real files, over the command line and HTTP.

#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

mod support;

mod access;
mod adopt;
mod architecture;
mod bad_input;
mod changes;
mod cli;
mod corruption;
mod crash;
mod disk_full;
mod http;
mod image_model;
mod load;
mod original_files;
mod search;
mod shutdown;
mod text_model;
mod writers;
