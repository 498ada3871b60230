//! The words and rules of Seedhouse: what a model, a version and an artifact are, which change may follow which,
//! and the ports through which everything else is reached.
//!
//! This crate does no I/O and knows no async runtime. Ports block; the HTTP layer is the only place that is async.
//!
//! ```text
//! rules    version, status, name, digest, manifest, reference, hyper_parameters, checksum
//! access   access (role, permission), token
//! adoption adopt (what other registries' files say, merged by named rules)
//! truth    record, record_edit, restoration, trial, model_kind, timestamp, integrity, lineage, card, registry_file (metadata.json), change, event, query, statistics
//! work     job (long work with a durable record), progress
//! formats  transformers (fields of `config.json` that change nothing)
//! tables   tabular (features, classes and targets of models of tables)
//! learning dataset, training, quantization, exporter, graph (a model as operators, between who knows and who writes);
//!          evaluation (figures), receipt (measurements with their provenance)
//! ports    metadata_store (snapshot), artifact_store, upload_store, token_store, job_store, repair_source, hub, runtime, clock
//! errors   error (a closed set of codes; every front end computes its own shape from the code), panic_text
//! ```

#![forbid(unsafe_code)]

mod access;
pub mod adopt;
mod artifact_store;
mod card;
mod change;
mod checksum;
mod clock;
pub mod dataset;
mod digest;
mod error;
pub mod evaluation;
mod event;
mod exporter;
mod graph;
mod hub;
mod hyper_parameters;
mod integrity;
mod job;
mod job_store;
mod lineage;
mod manifest;
mod metadata_store;
mod model_kind;
mod name;
mod panic_text;
mod progress;
mod quantization;
pub mod query;
mod receipt;
mod record;
mod record_edit;
mod reference;
mod registry_file;
mod repair_source;
mod restoration;
pub mod runtime;
mod snapshot;
mod statistics;
mod status;
pub mod tabular;
mod timestamp;
mod token;
mod token_store;
pub mod training;
pub mod transformers;
mod trial;
mod upload_store;
mod version;

pub use access::{Permission, Role};
pub use artifact_store::{ArtifactStore, HoldKind, StagedArtifact, StoredArtifact};
pub use card::{Card, CardFrontMatter};
pub use change::{
    Action, Adoption, AliasMove, AliasRemoval, Applied, Change, Completion, Deletion, DeletionGuard, Edit, Entry,
    ExpectedHolder, Registration, SetAside, Update,
};
pub use checksum::{Checksum, ChecksumAlgorithm, Checksummer};
pub use clock::{Clock, SystemClock};
pub use digest::{Digest, DigestWriter};
pub use error::{Code, Error, Kind, Result};
pub use event::{Event, Happening};
pub use exporter::{ExportTask, Exported, Exporter, ModelFormat};
pub use graph::{Dimension, Graph, GraphAttribute, GraphNode, GraphValue};
pub use hub::{Hub, HubDigest, HubFile, HubSnapshot, HubSource};
pub use hyper_parameters::{Checked, check_hyper_parameters};
pub use integrity::{Damage, DamagedFile, Examination, Integrity};
pub use job::{
    Claim, Job, JobError, JobId, JobKind, JobOutcome, JobProgress, JobQuery, JobReport, JobState, Lease, LogLine,
    MOST_ATTEMPTS, NewJob,
};
pub use job_store::JobStore;
pub use lineage::Relation;
pub use manifest::{FileEntry, Manifest, ManifestPath};
pub use metadata_store::{MetadataStore, VisitOrder};
pub use model_kind::{Framework, ModelType};
pub use name::{Alias, ModelId, ModelName, TokenName};
pub use panic_text::panic_text;
pub use progress::{Progress, ProgressUnit, Unwatched};
pub use quantization::{QuantizationType, QuantizeTask, Quantized, Quantizer};
pub use query::{Count, Cursor, Field, Filter, Order, Page, Query};
pub use receipt::{ComparedWith, Host, MeasuredOn, Receipt, ReceiptKind};
pub use record::{Record, check_depth};
pub use reference::{Reference, Selector};
pub use registry_file::{RegistryFile, VersionEntry};
pub use repair_source::{RepairSource, RepairSources};
pub use restoration::Restoration;
pub use snapshot::{RememberedKey, Snapshot};
pub use statistics::Statistics;
pub use status::Status;
pub use timestamp::{Timestamp, ZoneGiven};
pub use token::{Token, TokenState};
pub use token_store::TokenStore;
pub use trial::{Share, Trial, TrialKind, TrialSetting};
pub use upload_store::{FinishedUpload, NewUpload, Part, UPLOAD_RETENTION, Upload, UploadClaim, UploadId, UploadStore};
pub use version::Version;
