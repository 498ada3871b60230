//! The command line: subcommands are verbs, options have the names of the record's fields.

mod asking;
mod learning;
mod serving;
mod transfer;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use seedhouse_core::{
    Alias, Cursor, Filter, JobId, JobKind, JobState, ModelId, ModelName, Order, Reference, Relation, Role, Share,
    Status, Timestamp, TokenName, Version,
};

pub(crate) use self::asking::{
    ClassifyArguments, EarlyStoppingArgument, EmbedArguments, GenerateArguments, ImagineArguments, PredictArguments,
    SamplerArgument, SolveArguments, TensorArgument,
};
pub(crate) use self::learning::{
    ConvertArguments, DatasetArguments, EvaluateArguments, QuantizeArguments, TrainArguments,
};
pub(crate) use self::serving::{LoadArguments, PsArguments, ServeArguments};
pub(crate) use self::transfer::{
    AdoptArguments, BackupArguments, BackupCommand, ExportArguments, ExportFormat, ImportArguments, PullArguments,
    RestoreArguments,
};
use crate::hub::HubArguments;
use crate::language_settings::LanguageArguments;
use crate::lifetime::Lifetime;
use crate::onnx_library::OnnxLibrary;
use crate::output::Output;

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
