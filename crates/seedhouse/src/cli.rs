//! The command line: subcommands are verbs, options have the names of the record's fields.

mod learning;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use seedhouse_api::{AllowedHost, AllowedOrigin, MetricsAliases};
use seedhouse_core::{
    Alias, Cursor, Filter, HubSource, JobId, JobKind, JobState, ModelId, ModelName, Order, Reference, Relation, Role,
    Share, Status, Timestamp, TokenName, Version,
};
use seedhouse_service::{OutOfRange, UnknownCategory, UnknownFeature};
use serde::de::DeserializeOwned;

pub(crate) use self::learning::{
    ConvertArguments, DatasetArguments, EvaluateArguments, QuantizeArguments, TrainArguments,
};
use crate::hub::HubArguments;
use crate::language_settings::LanguageArguments;
use crate::lifetime::Lifetime;
use crate::memory_budget::MemoryBudget;
use crate::onnx_library::OnnxLibrary;
use crate::output::Output;
use crate::remote::ServerArguments;
use crate::short_time::short_time;
use crate::telemetry::Collector;

/// Keeps, proves and serves machine-learning models.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 internal fault, 2 invalid
/// request or usage, 3 not found, 4 already exists, 5 conflict, 6 not in a state that allows it, 7 not allowed,
/// 8 not authenticated, 9 too large, 10 not supported, 11 corrupt, 12 exhausted, 13 cancelled, 14 deadline, 15 unavailable.
#[derive(Debug, Parser)]
#[command(name = "seedhouse", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Folder of the registry
    #[arg(long, global = true, value_name = "DIR", env = "SEEDHOUSE_ROOT", default_value = "./models")]
    pub(crate) root: PathBuf,

    /// Print JSON for machines, also errors
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Form of the log lines on standard error
    #[arg(long, global = true, value_enum, env = "SEEDHOUSE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// The shared library of ONNX Runtime that computes ONNX graphs: a file, `off`, or `auto` for what `seedhouse runtime
    /// install` put into the registry's folder
    #[arg(long, global = true, value_name = "PATH|off|auto", env = "SEEDHOUSE_ONNX_RUNTIME", default_value = "auto")]
    pub(crate) onnx_runtime: OnnxLibrary,

    #[command(flatten)]
    pub(crate) hub: HubArguments,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Returns in which form results are printed.
    pub(crate) fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a file or a folder as a new version
    Register(RegisterArguments),
    /// List versions, newest registration first
    List(ListArguments),
    /// Show everything the registry says about one version
    Show(ShowArguments),
    /// List the versions of a model, newest version first
    Versions(VersionsArguments),
    /// Count versions by type, status and framework, and add up what is stored
    Statistics,
    /// Change the status, texts, tags or figures of a version
    Update(UpdateArguments),
    /// Print, set or remove the model card of a version
    Card(CardArguments),
    /// List what a version was made from, and what was made from it
    Lineage(LineageArguments),
    /// Point an alias at a version, back, or nowhere
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Hide a version; its bytes and names are kept
    Delete(DeleteArguments),
    /// Show a deleted version again
    Undelete(UndeleteArguments),
    /// Remove bytes that no version needs any more
    Gc(GcArguments),
    /// List what happened to a version or an alias
    History(HistoryArguments),
    /// Check the history
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Hash stored files again and compare them with the record
    Verify(VerifyArguments),
    /// Hash every stored file again, mark versions that are damaged, and repair them from a copy
    Scrub(ScrubArguments),
    /// List, show, do and cancel long work that was asked for
    Jobs {
        #[command(subcommand)]
        command: Option<JobsCommand>,
    },
    /// Take other registries' metadata files into this one, and report every conflict and unverified claim
    Adopt(AdoptArguments),
    /// Back up the whole registry into one file while it is used, or check such a file
    ///
    /// Records, history, idempotency keys and bytes of one moment. Tokens are no part of it.
    Backup(BackupArguments),
    /// Bring the registry to the state in a backup, or to that of an earlier time
    ///
    /// All of it or nothing. An empty registry takes everything over, history included. In any other, the difference becomes
    /// new events with the action `restore`: what was not there then is hidden, and nothing is lost. Tokens stay as they are.
    Restore(RestoreArguments),
    /// Write versions with their bytes into one archive
    Export(ExportArguments),
    /// Take in versions from an archive or a folder
    Import(ImportArguments),
    /// Fetch a model from a hub and register it: verified, and pinned to its commit
    Pull(PullArguments),
    /// Register files as a dataset: counted, split, named by their digest
    Dataset(DatasetArguments),
    /// Train a model on a dataset, or train a version further
    Train(TrainArguments),
    /// Measure a version on a dataset, or make the measurement of a receipt again
    Evaluate(EvaluateArguments),
    /// Make a version with fewer bits, and measure what it loses and how much faster it is
    Quantize(QuantizeArguments),
    /// Write a version in another format: onnx, safetensors or gguf
    Convert(ConvertArguments),
    /// Generate text
    Generate(GenerateArguments),
    /// Classify images, or print vectors of their features
    Classify(ClassifyArguments),
    /// Draw images with a diffusion model
    Imagine(ImagineArguments),
    /// Print a vector for each text
    Embed(EmbedArguments),
    /// Compute named tensors from named tensors, or classes or targets from rows of features
    Predict(PredictArguments),
    /// Solve a registered problem of optimisation
    Solve(SolveArguments),
    /// Serve the HTTP API
    Serve(ServeArguments),
    /// Install and list what computes models beside the program itself
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// List what a running server has loaded
    Ps(PsArguments),
    /// Have a running server load a version, so that the next request finds it warm
    Load(LoadArguments),
    /// Have a running server unload a version; requests in progress end on it
    Unload(LoadArguments),
    /// Make, list and revoke the tokens that let others in
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show six kinds of models at work in a fresh registry, with the receipts of their figures; needs no network
    Demo(DemoArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArguments {
    /// The model's base name, e.g. `smollm2`
    pub(crate) name: ModelName,

    /// Files, or one folder whose files keep their places
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Version label, e.g. `7` or `1.0.3`; by default the next one
    #[arg(long)]
    pub(crate) version: Option<Version>,

    /// Unique id; by default `<name>_v<version>`
    #[arg(long)]
    pub(crate) model_id: Option<ModelId>,

    /// What the model is for, e.g. `vision`; refused if the file says otherwise
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) model_type: Option<String>,

    /// What it was made with, e.g. `gguf`; refused if the file says otherwise
    #[arg(long)]
    pub(crate) framework: Option<String>,

    /// First status; by default `ready` if the files can be served, else `registered`
    #[arg(long)]
    pub(crate) status: Option<String>,

    /// A text for people
    #[arg(long)]
    pub(crate) description: Option<String>,

    /// A version that it was made from
    #[arg(long, value_name = "REFERENCE", requires = "relation")]
    pub(crate) parent: Option<Reference>,

    /// How it was made from that one: quantized, finetuned, converted or exported
    #[arg(long, requires = "parent")]
    pub(crate) relation: Option<Relation>,

    /// Hyper-parameters: a JSON object, or a file with one; checked against the model's file
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) metadata: Option<String>,

    /// Class names: a JSON array or object by index, or a text file with one per line
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

impl RegisterArguments {
    /// Returns the arguments that register a file or a folder and leave everything else to what is in it.
    pub(crate) fn of_path(name: ModelName, path: PathBuf) -> RegisterArguments {
        RegisterArguments {
            name,
            paths: vec![path],
            version: None,
            model_id: None,
            model_type: None,
            framework: None,
            status: None,
            description: None,
            parent: None,
            relation: None,
            metadata: None,
            labels: None,
            language: LanguageArguments::default(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Words that must all occur in id, name, type, tags or description; parts of words count
    #[arg(long)]
    pub(crate) search: Option<String>,

    /// Conditions, e.g. "type = vision AND metadata.num_classes >= 10 AND tags.作物 = '小麦'"
    #[arg(long)]
    pub(crate) filter: Option<Filter>,

    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) model_type: Option<String>,

    /// Only this status
    #[arg(long)]
    pub(crate) status: Option<Status>,

    /// A field, with `-` before it for descending, e.g. -created_at or metrics.f1; by default the newest registration first
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) order: Option<Order>,

    /// At most this many; with this or --cursor, --json prints {"entries": […], "next_cursor": …}
    #[arg(long)]
    pub(crate) limit: Option<usize>,

    /// Where the page before said that the next one begins
    #[arg(long)]
    pub(crate) cursor: Option<Cursor>,

    /// List what is deleted instead
    #[arg(long, conflicts_with_all = ["search", "filter", "model_type", "status", "order", "limit", "cursor"])]
    pub(crate) deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@champion`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// Show it as it was at this time (RFC 3339), e.g. what `base@champion` was on 2026-03-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct VersionsArguments {
    /// The model's base name, or any reference to one of its versions
    pub(crate) reference: Reference,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@champion`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// Move it along the status table, e.g. `stopped`
    #[arg(long)]
    pub(crate) status: Option<Status>,

    /// The name for people
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The text for people
    #[arg(long)]
    pub(crate) description: Option<String>,

    /// Set a tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,

    /// Remove a tag; may be repeated
    #[arg(long = "remove-tag", value_name = "KEY")]
    pub(crate) removed_tags: Vec<String>,

    /// Claim a figure, e.g. `accuracy=0.92`; the record marks it as claimed; may be repeated
    #[arg(long = "metric", value_name = "NAME=NUMBER")]
    pub(crate) metrics: Vec<String>,

    /// Where the claimed figures come from, e.g. {"run": "nightly-7", "dataset": "sha256:…"}; kept with them
    #[arg(long, value_name = "JSON", requires = "metrics")]
    pub(crate) source: Option<String>,

    /// Refuse if the version was changed since this revision (`show` prints it)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) expected_revision: Option<u64>,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeCommand {
    /// Download a runtime of a pinned version through pip, check its digest, and put it into the registry's folder
    ///
    /// Servers use it from their next start on.
    Install {
        /// Which: ONNX Runtime computes ONNX graphs, most of them sooner, and operators that the built-in runtime lacks
        name: RuntimeName,
        /// Take it from this wheel instead of the network; it must be the pinned one
        #[arg(long, value_name = "FILE.whl")]
        from: Option<PathBuf>,
    },
    /// List what is installed in the registry's folder, and what is wrong with it
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeName {
    /// ONNX Runtime
    #[value(name = "onnxruntime")]
    OnnxRuntime,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Point an alias at a version
    Set {
        /// The version
        reference: Reference,
        /// The alias, e.g. `champion`
        alias: Alias,
        /// Refuse unless it points at this `model_id` now, or at nothing (`none`)
        #[arg(long, value_name = "MODEL_ID|none")]
        expected: Option<String>,
        /// Why; kept in the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Point an alias back at the version before its last move
    Rollback {
        /// The model
        base: ModelName,
        /// The alias
        alias: Alias,
        /// Why; kept in the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the aliases of a model, and what is tried under them
    List {
        /// The model
        base: ModelName,
    },
    /// Let another version answer a share of the requests by an alias, until the alias moves
    Canary(TrialArguments),
    /// Let another version compute copies of a share of the requests by an alias, until the alias moves; nobody sees what it answers
    Shadow(TrialArguments),
    /// Remove an alias
    Remove {
        /// The model
        base: ModelName,
        /// The alias
        alias: Alias,
        /// Why; kept in the history
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TrialArguments {
    /// The model
    pub(crate) base: ModelName,

    /// The alias, which points at a version
    pub(crate) alias: Alias,

    /// Another version of the model
    #[arg(required_unless_present = "end", conflicts_with = "end")]
    pub(crate) reference: Option<Reference>,

    /// Its share of the requests: 0 to 1, or a percentage like `5%`
    #[arg(required_unless_present = "end", conflicts_with = "end")]
    pub(crate) share: Option<Share>,

    /// End it
    #[arg(long)]
    pub(crate) end: bool,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// The version
    pub(crate) reference: Reference,

    /// Delete it although aliases point at it (they are removed) or versions were made from it
    #[arg(long)]
    pub(crate) force: bool,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UndeleteArguments {
    /// The version; `seedhouse list --deleted` shows which there are
    pub(crate) model_id: ModelId,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GcArguments {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Keep the bytes of versions that were deleted within this many days
    #[arg(long, default_value_t = 30)]
    pub(crate) retention_days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CardArguments {
    /// The version
    pub(crate) reference: Reference,

    /// Set the card: a file of Markdown, with YAML between two lines `---` at its beginning for programs
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    pub(crate) set: Option<PathBuf>,

    /// Remove the card
    #[arg(long)]
    pub(crate) remove: bool,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

impl CardArguments {
    /// Returns whether nothing is to be changed.
    pub(crate) fn is_question(&self) -> bool {
        self.set.is_none() && !self.remove
    }
}

#[derive(Debug, Args)]
pub(crate) struct LineageArguments {
    /// The version
    pub(crate) reference: Reference,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// A version, also a deleted one, or `base@alias`
    pub(crate) reference: Reference,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every event against the one before it, and every version against its last event
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Versions to verify; all when none is given
    pub(crate) references: Vec<Reference>,
}

#[derive(Debug, Args)]
pub(crate) struct ScrubArguments {
    /// The most bytes read per second; 0 reads as fast as the disk gives
    #[arg(long, value_name = "BYTES_PER_SECOND", default_value_t = seedhouse_service::DEFAULT_BYTES_PER_SECOND)]
    pub(crate) rate: u64,

    /// Folder of another registry, or a bundle or backup, from whose copies damaged files are repaired
    #[arg(long, value_name = "PATH")]
    pub(crate) repair_from: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, newest first; what `seedhouse jobs` does by itself
    List(JobsListArguments),
    /// Show a job: how far it is, its result or its error, its log
    Show {
        /// Its number
        job: JobId,
    },
    /// Do a job here that waits, or whose worker was lost; a training goes on from its last checkpoint
    Run {
        /// Its number
        job: JobId,
    },
    /// Cancel a job: a queued one at once, a running one where its work next looks
    Cancel {
        /// Its number
        job: JobId,
    },
}

impl Default for JobsCommand {
    fn default() -> JobsCommand {
        JobsCommand::List(JobsListArguments { state: None, kind: None, limit: JOBS_LISTED, cursor: None })
    }
}

const JOBS_LISTED: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct JobsListArguments {
    /// Only this state, e.g. `running`
    #[arg(long)]
    pub(crate) state: Option<JobState>,

    /// Only this kind, e.g. `scrub`
    #[arg(long)]
    pub(crate) kind: Option<JobKind>,

    /// At most this many
    #[arg(long, default_value_t = JOBS_LISTED)]
    pub(crate) limit: usize,

    /// Where the page before said that the next one begins
    #[arg(long)]
    pub(crate) cursor: Option<JobId>,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArguments {
    /// Files in the original system's format: `metadata.json`, or the older `model_index.json`
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Folder with the models' files; by default the folder of each FILE
    #[arg(long = "files", value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackupArguments {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,

    /// Only the records of versions that are not deleted, as `metadata.json` has them; neither history nor bytes
    #[arg(long)]
    pub(crate) metadata_only: bool,

    /// The file to make, which may not exist; by default one in the registry's folder `backup`, named by the time
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Compress it; weights hardly get smaller
    #[arg(long, conflicts_with = "metadata_only")]
    pub(crate) zstd: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Read every byte of a backup and check digests, counts and history; nothing is changed
    Verify {
        /// The backup
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// A backup, also one of the original system
    #[arg(required_unless_present = "as_of", conflicts_with = "as_of")]
    pub(crate) file: Option<PathBuf>,

    /// Restore what the registry itself was at this time (RFC 3339), e.g. 2026-03-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<Timestamp>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Why; kept in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// Versions: `model_id`, `base`, `base/3`, `base:1.0.3`, `base@champion`, `base@sha256:…`
    #[arg(required_unless_present_any = ["search", "filter"])]
    pub(crate) references: Vec<Reference>,

    /// Also every version that has these words in id, name, type, tags or description
    #[arg(long)]
    pub(crate) search: Option<String>,

    /// Also every version that meets these conditions, e.g. "type = vision"
    #[arg(long)]
    pub(crate) filter: Option<String>,

    /// Where to write; `-` is standard output, and the report then goes to standard error
    #[arg(long, short, default_value = "-", value_name = "FILE|-")]
    pub(crate) output: PathBuf,

    /// `bundle` for another Seedhouse; `oci` for one version as an OCI image layout (CNCF ModelPack), which other tools read
    #[arg(long, value_enum, default_value = "bundle")]
    pub(crate) format: ExportFormat,

    /// Compress with Zstandard; weights hardly get smaller
    #[arg(long)]
    pub(crate) zstd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Records and bytes
    Bundle,
    /// An OCI image layout, as a tar archive
    Oci,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A bundle, `-` for one from standard input, or a folder with a model's files
    #[arg(value_name = "FILE|FOLDER|-")]
    pub(crate) source: PathBuf,

    /// For a folder: the model's base name
    #[arg(long)]
    pub(crate) name: Option<ModelName>,

    /// For a bundle of one model: the base name that its versions get
    #[arg(long, value_name = "BASE")]
    pub(crate) rename_to: Option<ModelName>,

    /// For a bundle: a version whose id is taken by other bytes becomes the next one of its model
    #[arg(long)]
    pub(crate) next_version: bool,

    /// For a bundle: point aliases at the versions that they pointed at in the source
    #[arg(long)]
    pub(crate) take_aliases: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// `hf:owner/name`, or `hf:owner/name@revision` for a branch, a tag or a commit
    pub(crate) source: HubSource,

    /// The model's base name; by default the repository's name without its owner
    #[arg(long)]
    pub(crate) name: Option<ModelName>,

    /// The version label; by default the next one
    #[arg(long)]
    pub(crate) version: Option<Version>,

    /// Which files, `*` for any characters; may be repeated. By default the weights in one format, and what belongs to them
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// The text to continue, or with --chat what the user says
    pub(crate) prompt: String,

    /// The most new tokens
    #[arg(long, default_value_t = 100)]
    pub(crate) max_tokens: usize,

    /// 0 takes the most likely token each time, as without it; above 0 tokens are drawn
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,

    /// With --temperature: draw among the k most likely tokens; 0 means all, as without it
    #[arg(long)]
    pub(crate) top_k: Option<usize>,

    /// With --temperature: draw among the most likely tokens that together reach this probability, above 0 and at most 1
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,

    /// With --temperature: draw no token with less than this share of the most likely one's probability, from 0 to 1
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,

    /// With --temperature: the same seed gives the same text; 0 without it
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Above 1 weakens tokens that prompt or answer have already: positive logits are divided by it, negative ones multiplied
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) repetition_penalty: f32,

    /// Is taken once from the logits of tokens that the answer has, from -2 to 2
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,

    /// Is taken from the logits of tokens for every time that the answer has them, from -2 to 2
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,

    /// No run of this many tokens comes twice in prompt and answer; 0 is off
    #[arg(long, default_value_t = 0)]
    pub(crate) no_repeat_ngram_size: usize,

    /// Is added to the logit of a token, from -100 to 100; may be repeated
    #[arg(long, value_name = "TOKEN=BIAS", value_parser = token_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,

    /// How many answers; more than one needs --temperature or --beam-width
    #[arg(long, default_value_t = 1)]
    pub(crate) num_return_sequences: usize,

    /// Look for the most likely whole answer, keeping this many beginnings, from 1 to 32
    #[arg(long, conflicts_with = "temperature")]
    pub(crate) beam_width: Option<usize>,

    /// With --beam-width: above 0 favours long answers, below 0 short ones
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, requires = "beam_width")]
    pub(crate) length_penalty: f32,

    /// With --beam-width: end with as many answers as it is wide (`always`), when a better one is unlikely, or when it is impossible
    #[arg(long, value_enum, default_value = "likely", requires = "beam_width")]
    pub(crate) early_stopping: EarlyStoppingArgument,

    /// With --json: tell the log-probability of every token, and of this many likely ones in its place, at most 20
    #[arg(long)]
    pub(crate) logprobs: Option<usize>,

    /// A text that ends the generation and is not part of it; may be repeated
    #[arg(long)]
    pub(crate) stop: Vec<String>,

    /// Use the model's own chat template
    #[arg(long)]
    pub(crate) chat: bool,

    /// With --chat: the system message
    #[arg(long, requires = "chat")]
    pub(crate) system: Option<String>,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// PNG or JPEG files; several are computed together
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,

    /// Print what the model knows of an image before it names classes: a vector, one line for each image
    #[arg(long, conflicts_with = "top_k")]
    pub(crate) features: bool,

    /// How many classes to print; by default 5, or all where there are fewer
    #[arg(long)]
    pub(crate) top_k: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ImagineArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// The PNG file to write; several samples stand side by side in it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// What is to be seen: a label or a number, of a model that was trained with classes
    #[arg(long, value_name = "LABEL|NUMBER")]
    pub(crate) class: Option<String>,

    /// How many images
    #[arg(long, default_value_t = 1)]
    pub(crate) samples: usize,

    /// How many timesteps are gone through; by default 50, or all where the model was trained with fewer
    #[arg(long)]
    pub(crate) steps: Option<usize>,

    /// The same seed gives the same images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// How far the class is followed beyond what the model draws without it, 0 to 100; by default 7.5, 1 is not beyond
    #[arg(long)]
    pub(crate) guidance: Option<f64>,

    /// How one step leads to the next
    #[arg(long, value_enum, default_value = "ddim")]
    pub(crate) sampler: SamplerArgument,

    /// With ddim: how much noise each step adds, from 0 (none) to 1 (as much as ddpm)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) eta: f64,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SamplerArgument {
    /// The shortest way; few steps do
    Ddim,
    /// With all the noise that the model was trained with
    Ddpm,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// Texts; several are computed together
    #[arg(required_unless_present = "file", value_name = "TEXT")]
    pub(crate) texts: Vec<String>,

    /// A file with a text per line, after those of the command line
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// What stands before each text, by its name among those that the model was trained with (e.g. `query`); the model's own choice
    /// when left out
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// A tensor by its name: numbers in nested lists (JSON), or a file with them or with an array of numpy; once for each input
    #[arg(long, value_name = "NAME=JSON|FILE", value_parser = tensor_argument)]
    pub(crate) input: Vec<TensorArgument>,

    /// For a model of tables: a row, e.g. '{"pH": 6.5, "soil": "clay"}'; `null` is a missing value
    #[arg(long, value_name = "JSON", conflicts_with_all = ["input", "rows"])]
    pub(crate) row: Option<String>,

    /// For a model of tables: a file of rows, computed together: CSV with a header, a JSON array of objects, or an object on each line;
    /// `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) rows: Option<PathBuf>,

    /// What is done about a number beyond the range of its feature: `refuse`, or `flag`, which answers all the same and says so
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<OutOfRange>)]
    pub(crate) out_of_range: OutOfRange,

    /// What is done about a text that is none of the categories of its feature: `refuse`, or `missing`, as which it counts
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<UnknownCategory>)]
    pub(crate) unknown_category: UnknownCategory,

    /// What is done about names that no feature has, such as further columns of a table: `refuse` or `ignore`
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<UnknownFeature>)]
    pub(crate) unknown_feature: UnknownFeature,
}

/// Reads a word of a closed set as the API does.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(text.into())
}

#[derive(Debug, Args)]
pub(crate) struct SolveArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// A value for a parameter of the problem; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = parameter_argument)]
    pub(crate) set: Vec<(String, f64)>,

    /// How many seconds it may take, at most 600; what was found until then is the answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds_argument)]
    pub(crate) timeout: Option<Duration>,
}

fn parameter_argument(text: &str) -> Result<(String, f64), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let number = parts.and_then(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?)));
    number.ok_or_else(|| "must be a name, `=` and a number, e.g. `water=1200`".to_owned())
}

fn seconds_argument(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|duration| !duration.is_zero()).ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

/// A tensor on the command line.
#[derive(Debug, Clone)]
pub(crate) struct TensorArgument {
    /// Its name.
    pub(crate) name: String,
    /// JSON, or a path.
    pub(crate) value: String,
}

fn tensor_argument(text: &str) -> Result<TensorArgument, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok(TensorArgument { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("must be a name, `=` and numbers or a file, e.g. `image=image.npy`".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address and port; port 0 takes a free one. Beyond loopback only with an active token
    #[arg(long, env = "SEEDHOUSE_LISTEN", default_value = "127.0.0.1:7333")]
    pub(crate) listen: SocketAddr,

    /// The longest JSON body in bytes
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) max_json_bytes: usize,

    /// The longest upload in bytes
    #[arg(long, default_value_t = 64 << 30)]
    pub(crate) max_upload_bytes: u64,

    /// A further name by which clients may call the server, without a port; may be repeated
    #[arg(long, value_name = "NAME", env = "SEEDHOUSE_ALLOW_HOST", value_delimiter = ',')]
    pub(crate) allow_host: Vec<AllowedHost>,

    /// A web page that may send requests, e.g. `https://example.org`; may be repeated
    #[arg(long, value_name = "URL", env = "SEEDHOUSE_ALLOW_ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<AllowedOrigin>,

    /// The most inference requests at once; the next one is refused
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) max_inference_requests: usize,

    /// The most sequences that a language model advances at once; further requests wait
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub(crate) max_running_sequences: usize,

    /// The most requests that wait for a language model; the next one is refused
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_waiting_generations: usize,

    /// The most tokens of prompts that a language model reads before it goes on with everybody's answers
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) prompt_tokens_per_step: usize,

    /// The most images, texts, or rows of tensors, of different requests that a model computes together; 1 computes every request alone
    #[arg(long, value_name = "ROWS", env = "SEEDHOUSE_MAX_BATCH", default_value_t = 16, value_parser = at_least_one)]
    pub(crate) max_batch: usize,

    /// How long such a request waits for others that it could be computed with, e.g. `5ms`, although the model is free
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_BATCH_DELAY", default_value = "0ms", value_parser = short_time)]
    pub(crate) batch_delay: Duration,

    /// The most such requests that wait for a model; the next one is refused
    #[arg(long, value_name = "REQUESTS", default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_waiting_requests: usize,

    /// The most bytes that loaded versions take together, e.g. `2GiB`, `500MB`, or `none`; three quarters of the machine's (or
    /// container's) memory when left out
    #[arg(long, value_name = "SIZE", env = "SEEDHOUSE_MEMORY_BUDGET")]
    pub(crate) memory_budget: Option<MemoryBudget>,

    /// A version that is never unloaded to make room, e.g. `smollm2@champion`; may be repeated
    #[arg(long, value_name = "REFERENCE", env = "SEEDHOUSE_PIN", value_delimiter = ',')]
    pub(crate) pin: Vec<Reference>,

    /// A version that is loaded at the start; may be repeated
    #[arg(long, value_name = "REFERENCE", env = "SEEDHOUSE_PRELOAD", value_delimiter = ',')]
    pub(crate) preload: Vec<Reference>,

    /// Unload a version that nobody asked for this long, e.g. `15m`. Never when left out
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_UNLOAD_AFTER")]
    pub(crate) unload_after: Option<Lifetime>,

    /// Show `/metrics` to everybody who reaches the server; otherwise it takes a token as soon as there is one
    #[arg(long, env = "SEEDHOUSE_OPEN_METRICS")]
    pub(crate) open_metrics: bool,

    /// Show metrics also under the names of another server, `triton` or `vllm`; may be repeated
    #[arg(long, value_name = "SERVER", env = "SEEDHOUSE_METRICS_ALIASES", value_delimiter = ',')]
    pub(crate) metrics_aliases: Vec<MetricsAliases>,

    /// Send traces to this OpenTelemetry collector (OTLP over HTTP), e.g. `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<Collector>,

    /// How long the server still answers after the signal to stop, while `/readyz` says 503, so that load balancers notice first
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_SHUTDOWN_DELAY")]
    pub(crate) shutdown_delay: Option<Lifetime>,

    /// The most registrations and parts of uploads at once; the next one is refused
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    pub(crate) max_uploads: usize,

    /// The most uploads in parts that are open, whether bytes arrive or not; the next one is refused
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_open_uploads: usize,

    /// How many seconds a client may send nothing of its body, or take nothing of a stream
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle_seconds: u64,

    /// How many jobs are done at once, beside one that computes; 0 leaves all of them to other processes
    #[arg(long, default_value_t = 1, value_parser = at_most_workers)]
    pub(crate) job_workers: usize,

    /// How long a job stays with a worker that says nothing, e.g. one that was killed; then another one begins it again
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) job_lease: Lifetime,

    /// Hash every stored file again this often, e.g. `7d`, as a job; the first time at once. Never when left out
    #[arg(long, value_name = "TIME")]
    pub(crate) scrub_every: Option<Lifetime>,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@champion`, `base@sha256:…`
    #[arg(value_name = "MODEL")]
    pub(crate) reference: Reference,

    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// When a beam search ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum EarlyStoppingArgument {
    /// With as many answers as it is wide
    Always,
    /// When no beginning, as long as it is, could become better
    Likely,
    /// When no beginning could become better, however long it grows
    Never,
}

fn token_bias(text: &str) -> Result<(u32, f32), String> {
    let parts = text.split_once('=').and_then(|(token, bias)| Some((token.parse().ok()?, bias.parse().ok()?)));
    parts.ok_or_else(|| "must be a token id, `=` and a number, e.g. `42=-5`".to_owned())
}

/// Each may hold a thread.
const MOST_AT_ONCE: usize = 10_000;

/// Each has a thread of its own.
const MOST_WORKERS: usize = 64;

fn at_most_workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= MOST_WORKERS => Ok(number),
        _ => Err(format!("must be a whole number from 0 to {MOST_WORKERS}")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_AT_ONCE).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from 1 to {MOST_AT_ONCE}")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is printed once, on standard output
    Create(TokenCreateArguments),
    /// List all tokens, oldest first
    List,
    /// Refuse a token from now on, also in servers that run
    Revoke(TokenRevokeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArguments {
    /// Who holds it; the history names it, and no other token will ever have the name
    pub(crate) name: TokenName,

    /// `reader` looks and asks models, `writer` registers and changes, too, `admin` may everything
    #[arg(long)]
    pub(crate) role: Role,

    /// How long it holds, e.g. `90d`, `12h`, `30m`, `45s`; for ever when left out
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_in: Option<Lifetime>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArguments {
    /// The token's name
    pub(crate) name: TokenName,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Folder with the files that `scripts/fetch_models.py` fetches: two real models are shown as well
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,

    /// Where to write the images that are drawn, as one PNG file
    #[arg(long, value_name = "FILE")]
    pub(crate) images: Option<PathBuf>,

    /// End after the transcript instead of serving
    #[arg(long)]
    pub(crate) once: bool,

    /// Address and port to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7333")]
    pub(crate) listen: SocketAddr,
}
