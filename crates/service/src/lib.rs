//! The use cases, one file each. Front ends (CLI, HTTP) decode to our types, call one method here and encode the answer.
//!
//! ```text
//! register   receive bytes -> inspect -> check claims -> publish -> one Change
//! find       show, list, versions, statistics
//! verify     hash the stored bytes again and compare
//! infer      resolve -> load (verified, once) -> generate or classify
//! ```
//!
//! Methods block; an asynchronous caller runs them on a thread that may.

#![forbid(unsafe_code)]

mod find;
mod infer;
mod register;
mod verify;

use std::sync::Arc;

use seedhouse_core::{ArtifactStore, Clock, MetadataStore};
use seedhouse_engine::Engine;

pub use find::Overview;
pub use infer::Answer;
pub use register::{Received, RegisterRequest};
// Front ends depend on this crate alone: the words they speak come through it.
pub use seedhouse_core as core;
pub use seedhouse_engine::{
    Classification, ClassifyRequest, FinishReason, GenerateRequest, Generation, ImageInput, Message, PixelImage,
    PixelRows, Prediction, Prompt, Sampling,
};
pub use verify::{Finding, VerifiedFile};

/// The registry and the engine behind one door. Shared between threads.
pub struct Service {
    store: Arc<dyn MetadataStore>,
    artifacts: Arc<dyn ArtifactStore>,
    engine: Engine,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// Puts the parts together; the binary chooses the adapters.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        artifacts: Arc<dyn ArtifactStore>,
        engine: Engine,
        clock: Arc<dyn Clock>,
    ) -> Service {
        Service { store, artifacts, engine, clock }
    }
}
