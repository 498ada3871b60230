//! The use cases, one file each. Front ends (CLI, HTTP) decode to our types, call one method here and encode the answer.
//!
//! ```text
//! access     tokens: make, list, revoke; who is calling, and may they
//! register   receive bytes -> inspect -> check claims -> publish -> one Change
//! adopt      plan -> look for the files -> one Change per version, and a report
//! find       show, list, versions, statistics
//! change     update, alias, rollback, delete, undelete
//! garbage    bytes that no version needs any more
//! history    what happened, what stood there at a time, whether the chain of events is intact
//! verify     hash the stored bytes again and compare
//! archive    the form in which versions and backups travel: a document and blobs, in one stream
//! bundle     export and import of versions, records and bytes together
//! oci        one version as an OCI image layout
//! infer      resolve -> load (verified, once) -> generate or classify
//! ```
//!
//! Methods block; an asynchronous caller runs them on a thread that may.

#![forbid(unsafe_code)]

mod access;
mod adopt;
pub mod archive;
mod bundle;
mod change;
mod find;
mod garbage;
mod history;
mod infer;
mod oci;
mod register;
mod verify;

use std::sync::Arc;

use seedhouse_core::{ArtifactStore, Clock, MetadataStore, TokenStore};
use seedhouse_engine::Engine;

pub use access::{Access, Caller, Credentials, NewToken, Reach, Secret};
pub use adopt::{AdoptMode, AdoptReport, AdoptRequest, FileFinder, SetAsideStatement, TakenVersion};
pub use bundle::{ExportReport, ExportRequest, ImportOptions, ImportReport, ImportedVersion, Selection};
pub use change::Origin;
pub use find::Overview;
pub use garbage::{Collection, Garbage, RemovedBytes};
pub use history::Audit;
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
    access: Access,
    engine: Engine,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// Puts the parts together; the binary chooses the adapters.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        artifacts: Arc<dyn ArtifactStore>,
        tokens: Arc<dyn TokenStore>,
        engine: Engine,
        clock: Arc<dyn Clock>,
    ) -> Service {
        let access = Access::new(tokens, clock.clone());
        Service { store, artifacts, access, engine, clock }
    }

    /// Returns the use cases about tokens.
    pub fn access(&self) -> &Access {
        &self.access
    }
}
