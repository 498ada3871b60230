//! The protocols, one module each: translators that decode to our types, call one service method and encode the answer.
//! A rule that lives only here is a bug.
//!
//! ```text
//! native     /api/…      the original system's routes and ours
//! system     /health, /openapi.json
//! problem    one error envelope, computed from the error's code
//! admission  how much work that lasts is let in at once
//! blocking   from the asynchronous world to the service's blocking calls
//! ```

#![forbid(unsafe_code)]

mod admission;
mod blocking;
mod leftover;
mod limits;
mod native;
mod parameters;
mod problem;
mod request_body;
mod request_stream;
mod router;
mod system;
mod type_mistake;
mod upload;

pub use limits::Limits;
pub use router::{openapi_document, router};
