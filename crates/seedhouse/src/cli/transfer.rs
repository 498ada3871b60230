//! Arguments of the commands that move models: adopt, backup, restore, export, import, pull.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use seedhouse_core::{HubSource, ModelName, Reference, Timestamp, Version};

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
