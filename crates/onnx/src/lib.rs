//! The runtime for ONNX graphs.
//!
//! ```text
//! runtime       the port: finds the graph among the files by its content, and who computes it
//! settings      where ONNX Runtime is; choice: which runtime a version asks for
//! file          which file is a graph; its bytes
//! wire, proto   protocol buffers, and what an ONNX file says in them, borrowed from its bytes
//! structure     whether the graph hangs together; sizes: what it asks for beyond its own bytes
//! support       why it is not served, or only with ONNX Runtime: operators, element_type
//! external      tensors beside the graph, in files of the same version
//! description   the record
//! clean         the graph written anew, with one meaning only, for the library that computes
//! ports         what a graph takes and gives
//! graph_model   a graph loaded by the built-in runtime (rten): tensors in, tensors out
//! library       ONNX Runtime as a shared library, and graphs loaded by it
//! graph_file    a model that another crate described as operators, written as a file; message: protocol buffers being written
//! install       getting that library out of its makers' package
//! ```
//!
//! Files are untrusted. Everything is read and checked here before either library sees any of it, and what a library sees was written
//! here. A panic inside the library becomes an error of the request. What stays is that a graph is a program: how long it runs and how much
//! memory it takes can depend on its inputs.

#![forbid(unsafe_code)]

mod choice;
mod clean;
#[cfg(test)]
mod conformance;
mod description;
mod element_type;
mod external;
mod file;
mod graph_file;
mod graph_model;
mod guarded;
mod install;
mod library;
mod message;
mod operators;
mod ports;
mod proto;
mod runtime;
mod settings;
mod sizes;
mod structure;
mod support;
#[cfg(test)]
mod test_library;
#[cfg(test)]
mod tests;
mod wire;

pub use graph_file::{IR_VERSION, write_graph};
pub use install::{FOLDER as RUNTIMES_FOLDER, InstalledLibrary, LIBRARY_VERSION, Package, installed_libraries};
pub use runtime::OnnxRuntime;
pub use settings::{LibraryChoice, OnnxSettings};
