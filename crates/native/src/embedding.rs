//! Sentence encoders: folders of sentence-transformers with a BERT inside.
//!
//! ```text
//! folder        which folders are sentence encoders; from files to a model
//! settings      modules.json and what it names: pooling, normalisation, the longest sequence, prompts
//! bert          names and shapes of the tensors; the configuration held against them
//! graph         the network, pooling and normalisation as a graph of operators, for other programs
//! forward       from tokens to a vector for each of them
//! token_table   the vectors that tokens begin with
//! model         the port: sequences in, vectors out
//! ```
//!
//! Sequences of a batch lie one after the other and are never filled up to one length: products run over the tokens of all of
//! them, and attention over the tokens of one. So a vector is the same in every batch.

mod bert;
mod folder;
mod forward;
mod graph;
mod model;
mod settings;
#[cfg(test)]
mod tests;
mod token_table;

pub(crate) use folder::{graph_of_folder, inspect_folder, is_encoder, load_folder, with_tensors};
