//! The command line: subcommands are verbs, options have the names of the record's fields.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use seedhouse_core::{Cursor, Filter, ModelId, ModelName, Order, Reference, Status, Version};

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
    Versions(ShowArguments),
    /// Hash stored files again and compare them with the record
    Verify(VerifyArguments),
    /// Generate text
    Generate(GenerateArguments),
    /// Classify an image
    Classify(ClassifyArguments),
    /// Serve the HTTP API
    Serve(ServeArguments),
    /// Register, verify and run two real models in a fresh registry
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

    /// Hyper-parameters: a JSON object, or a file with one; checked against the model's file
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) metadata: Option<String>,

    /// Class names: a JSON array or object by index, or a text file with one per line
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
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
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Versions to verify; all when none is given
    pub(crate) references: Vec<Reference>,
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

    /// 0 takes the most likely token each time; above 0 tokens are drawn
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f32,

    /// Draw among the k most likely tokens; 0 means all
    #[arg(long, default_value_t = 0)]
    pub(crate) top_k: usize,

    /// Draw among the most likely tokens that together reach this probability, above 0 and at most 1
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) top_p: f32,

    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// A text that ends the generation and is not part of it; may be repeated
    #[arg(long)]
    pub(crate) stop: Vec<String>,

    /// Use the model's own chat template
    #[arg(long)]
    pub(crate) chat: bool,

    /// With --chat: the system message
    #[arg(long, requires = "chat")]
    pub(crate) system: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// A PNG or JPEG file
    pub(crate) image: PathBuf,

    /// How many classes to print
    #[arg(long, default_value_t = 5)]
    pub(crate) top_k: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address and port; port 0 takes a free one
    #[arg(long, env = "SEEDHOUSE_LISTEN", default_value = "127.0.0.1:7333")]
    pub(crate) listen: SocketAddr,

    /// The longest JSON body in bytes
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) max_json_bytes: usize,

    /// The longest upload in bytes
    #[arg(long, default_value_t = 64 << 30)]
    pub(crate) max_upload_bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Folder with the files that `scripts/fetch_models.py` fetches
    #[arg(long, value_name = "DIR")]
    pub(crate) models: PathBuf,

    /// End after the transcript instead of serving
    #[arg(long)]
    pub(crate) once: bool,

    /// Address and port to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7333")]
    pub(crate) listen: SocketAddr,
}
