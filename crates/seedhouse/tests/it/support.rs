//! What the tests stand on: the program in a folder of its own, a server on a free port, forms, and the real models.

mod exposition;
mod fake_hub;
mod form;
mod program;
mod raw_http;
mod real_models;
mod server;

pub(crate) use exposition::Exposition;
pub(crate) use fake_hub::{Asked, FakeHub, Fault, REPOSITORY};
pub(crate) use form::Form;
pub(crate) use program::{Run, Seedhouse};
pub(crate) use raw_http::{RawAnswer, RawRequest};
pub(crate) use real_models::{EmbeddingModel, OnnxModels, OnnxWheel, RealModels, original_files, reference};
pub(crate) use server::{Answer, Client, Server};
