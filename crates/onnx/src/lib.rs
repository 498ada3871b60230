//! The runtime for ONNX graphs.
//!
//! ```text
//! runtime       the port: finds the graph among the files by its content
//! file          which file is a graph; its bytes
//! wire, proto   protocol buffers, and what an ONNX file says in them, borrowed from its bytes
//! structure     whether the graph hangs together; sizes: what it asks for beyond its own bytes
//! support       why it is not served: operators, element_type
//! external      tensors beside the graph, in files of the same version
//! description   the record
//! clean         the graph written anew, with one meaning only, for the library that computes
//! graph_model   a loaded graph: tensors in, tensors out
//! ```
//!
//! Files are untrusted. Everything is read and checked here before the library (rten) sees any of it, and what the library sees was written
//! here. A panic inside the library becomes an error of the request. What stays is that a graph is a program: how long it runs and how much
//! memory it takes can depend on its inputs.

#![forbid(unsafe_code)]

mod clean;
#[cfg(test)]
mod conformance;
mod description;
mod element_type;
mod external;
mod file;
mod graph_model;
mod operators;
mod proto;
mod runtime;
mod sizes;
mod structure;
mod support;
#[cfg(test)]
mod tests;
mod wire;

pub use runtime::OnnxRuntime;
