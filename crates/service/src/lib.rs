//! The use cases, one file each. Front ends (CLI, HTTP) decode to our types, call one method here and encode the answer.
//!
//! ```text
//! access     tokens: make, list, revoke; who is calling, and may they
//! register   receive bytes -> inspect -> check claims -> publish -> one Change
//! uploads    bytes in parts, over many requests, until a registration takes them
//! adopt      plan -> look for the files -> one Change per version, and a report
//! files      the bytes of a version, one file at a time
//! find       show, list, versions, statistics; storage_figures adds up the bytes
//! change     update, alias, rollback, delete, undelete
//! card       what a model card says
//! lineage    what a version was made from, and what was made from it
//! garbage    bytes that no version needs any more
//! history    what happened, what stood there at a time, whether the chain of events is intact
//! backup     everything, or the records alone, in one file while the registry is used; and verifying such a file
//! restore    a backup, or an earlier time, becomes the present: all of it or nothing
//! trial      canaries and shadows of aliases; shadow computes the copies
//! past_calls what was inferred a while ago
//! verify     hash the stored bytes again and compare
//! archive    the form in which versions and backups travel: a document and blobs, in one stream
//! serving    start, pause, load, reload, unload
//! deploy     moving an alias that is served: warm the new version, swap, drain the old one
//! keep       which versions stay in memory: pins, those loaded at start, and when idle ones go
//! sources    which files a path on this machine means
//! local_import  a file or folder that stands in the folder of imports becomes a version
//! pull       a repository of a hub becomes a version
//! work_folder  where jobs keep what is not finished
//! folders    the folders of backups, exports and imports, and names in them
//! handover   one version as a file for others, at once
//! scrub      hash everything at a pace, mark what is damaged, repair it from a copy
//! jobs       long work with a durable record: ask, look, cancel, and the workers
//! bundle     export and import of versions, records and bytes together
//! oci        one version as an OCI image layout
//! metering   what inferences took, counted by version
//! health     whether the server should be asked
//! compute    what a version makes of named values: tensors, a row, parameters
//! solve      a declared problem, for parameters
//! agriculture  light recipes, spectra, plans and growth of crops
//! batch      several inputs for one version, each with its own answer or error
//! learning   datasets, training, measuring, quantising, converting; receipts
//! new_file   a file that is made for somebody: whole, or not there
//! infer      resolve -> load (verified, once) -> generate, classify or predict
//! ```
//!
//! Methods block; an asynchronous caller runs them on a thread that may.

#![forbid(unsafe_code)]

mod access;
mod adopt;
pub mod agriculture;
pub mod archive;
mod backup;
mod batch;
mod bundle;
mod card;
mod change;
mod compute;
mod deploy;
mod files;
mod find;
mod folders;
mod garbage;
mod handover;
mod health;
mod history;
mod infer;
mod jobs;
mod keep;
mod learning;
mod lineage;
mod local_import;
mod metering;
mod new_file;
mod oci;
mod past_calls;
mod pull;
mod register;
mod restore;
mod scrub;
mod serving;
mod shadow;
mod solve;
mod sources;
mod storage_figures;
mod trial;
mod uploads;
mod verify;
mod work_folder;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use seedhouse_core::{ArtifactStore, Clock, Hub, JobStore, MetadataStore, RepairSources, TokenStore};
use seedhouse_engine::Engine;

use deploy::ServedAliases;
use health::Health;
use past_calls::PastCalls;
use shadow::Shadows;
use trial::Trials;

pub use access::{Access, Caller, Credentials, NewToken, Reach, Secret};
pub use adopt::{AdoptMode, AdoptReport, AdoptRequest, FileFinder, SetAsideStatement, TakenVersion};
pub use archive::Compression;
pub use backup::{BackupCheck, BackupContent, BackupFolder, BackupReport, BackupRequest};
pub use batch::{Batch, BatchInput, BatchItem, BatchOutput};
pub use bundle::{ExportReport, ExportRequest, ImportOptions, ImportReport, ImportedVersion, Selection};
pub use change::Origin;
pub use compute::Computed;
pub use deploy::Warming;
pub use files::StoredFile;
pub use find::{Condition, Overview, Storage};
pub use folders::{FolderFile, NamedFile, NamedFolder, RegistryFolders};
pub use garbage::{Collection, Garbage, RemovedBytes, RemovedPlan};
pub use handover::{Handover, HandoverFormat};
pub use history::Audit;
pub use infer::Answer;
pub use jobs::{
    BackupJob, ExportFormat, ExportJob, ExportedFile, ImportJob, JobRequest, RestoreJob, RestoreOrigin, Stop, Worker,
};
pub use keep::Kept;
pub use learning::{
    Conversion, Difference, EvaluateJob, Evaluation, Learning, QuantisationReport, QuantiseJob, Remeasured, TrainJob,
    TrainRequest, TrainingReport,
};
pub use lineage::{KnownRelative, Lineage, Relative};
pub use metering::{ServingFigures, TRACES};
pub use new_file::IfTaken;
pub use past_calls::PastCall;
pub use pull::{PullJob, PullReport};
pub use register::{Parent, Received, RegisterRequest};
pub use restore::{KeptVersion, RestoreMode, RestoreReport, RestoreRequest, RestoreSource};
pub use scrub::{DEFAULT_BYTES_PER_SECOND, DamagedArtifact, ScrubReport, ScrubRequest};
// Front ends depend on this crate alone: the words they speak come through it.
pub use seedhouse_core as core;
pub use seedhouse_engine::statistics;
pub use seedhouse_engine::{
    BatchSettings, BatchStatistics, Beams, Cancel, Cell, ChosenToken, ClassChoice, Classification, ClassifyRequest,
    Continuation, Drawing, DrawingProgress, DrawnImage, EarlyStopping, EmbedRequest, Embedding, Embeddings,
    FinishReason, Flag, GenerateRequest, Generation, ImageFeatures, ImageInput, ImagineRequest, MemoryReport,
    MemorySettings, Message, NamedInput, NamedRequest, NestedTensor, Numbers, OutOfRange, Patience, Piece, PixelImage,
    PixelRows, PredictRequest, Prediction, Prompt, Row, RowAnswer, RowOutcome, Sampler, Sampling, SamplingParameters,
    Slot, SlotReport, SlotState, SolveRequest, Solved, TabularAnswer, TabularPolicies, TabularRequest, Takes,
    TensorOutputs, TextSettings, TextStatistics, TokenLogprob, UnknownCategory, UnknownFeature, Values,
};
pub use serving::Unloaded;
pub use sources::{Source, collect_files, missing_or_unreadable};
pub use storage_figures::StorageFigures;
pub use trial::{AliasReport, CanaryPart, TrialFigures, TrialPlace};
pub use uploads::UploadedFile;
pub use verify::{Finding, VerifiedFile};

/// The registry and the engine behind one door. Shared between threads.
pub struct Service {
    store: Arc<dyn MetadataStore>,
    artifacts: Arc<dyn ArtifactStore>,
    jobs: Arc<dyn JobStore>,
    repairs: Arc<dyn RepairSources>,
    access: Access,
    engine: Engine,
    clock: Arc<dyn Clock>,
    folders: Option<RegistryFolders>,
    stop: Stop,
    served_aliases: ServedAliases,
    trials: Trials,
    shadows: Shadows,
    past_calls: PastCalls,
    kept: Kept,
    health: Health,
    learning: Option<Learning>,
    hub: Option<Arc<dyn Hub>>,
    /// At which revision of the registry it was last looked which versions are gone.
    metered_revision: AtomicU64,
}

/// What the service stands on; the binary chooses the adapters.
pub struct Ports {
    /// Records, versions and events.
    pub store: Arc<dyn MetadataStore>,
    /// Bytes.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Who may come in.
    pub tokens: Arc<dyn TokenStore>,
    /// Long work.
    pub jobs: Arc<dyn JobStore>,
    /// Copies of bytes elsewhere.
    pub repairs: Arc<dyn RepairSources>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Service {
    /// Puts the parts together.
    pub fn new(ports: Ports, engine: Engine) -> Service {
        let Ports { store, artifacts, tokens, jobs, repairs, clock } = ports;
        let access = Access::new(tokens, clock.clone());
        Service {
            store,
            artifacts,
            jobs,
            repairs,
            access,
            engine,
            clock,
            folders: None,
            stop: Stop::default(),
            served_aliases: ServedAliases::default(),
            trials: Trials::default(),
            shadows: Shadows::default(),
            past_calls: PastCalls::default(),
            kept: Kept::default(),
            health: Health::default(),
            learning: None,
            hub: None,
            metered_revision: AtomicU64::new(0),
        }
    }

    /// Changes which versions stay in memory.
    #[must_use]
    pub fn with_kept(mut self, kept: Kept) -> Service {
        self.kept = kept;
        self
    }

    /// Returns the use cases about tokens.
    pub fn access(&self) -> &Access {
        &self.access
    }
}
