//! Arguments of the commands of the closed loop.

use std::path::PathBuf;

use clap::Args;
use seedhouse_core::dataset::SplitPart;
use seedhouse_core::{ModelFormat, ModelName, QuantizationType, Reference};

#[derive(Debug, Args)]
pub(crate) struct DatasetArguments {
    /// The dataset's name, e.g. `npk`
    pub(crate) name: ModelName,

    /// Files, or one folder: CSV, Parquet, JSON lines, text, IDX, or pictures in a folder per class
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// How the files are read and split: a JSON object, or a file with one; the options below change it
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) declaration: Option<String>,

    /// A column to predict; may be repeated
    #[arg(long = "target", value_name = "COLUMN")]
    pub(crate) targets: Vec<String>,

    /// A column to predict from; all but the targets when none is given
    #[arg(long = "feature", value_name = "COLUMN")]
    pub(crate) features: Vec<String>,

    /// A column whose numbers are names
    #[arg(long = "categorical", value_name = "COLUMN")]
    pub(crate) categorical: Vec<String>,

    /// A text that stands for a missing value, beside the empty one
    #[arg(long = "missing", value_name = "TEXT")]
    pub(crate) missing: Vec<String>,

    /// The share of the examples with which training is watched
    #[arg(long, value_name = "SHARE")]
    pub(crate) validation: Option<f64>,

    /// The share of the examples that is held out
    #[arg(long, value_name = "SHARE")]
    pub(crate) test: Option<f64>,

    /// Begins the random numbers that split
    #[arg(long, value_name = "NUMBER")]
    pub(crate) split_seed: Option<u64>,

    /// Rows with the same value of this column stay together; may be repeated
    #[arg(long = "group-by", value_name = "COLUMN")]
    pub(crate) group_by: Vec<String>,

    /// Give each class its share of every part
    #[arg(long)]
    pub(crate) stratify: bool,

    /// A text for people
    #[arg(long)]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// A new model's name, a version that waits for its files, or a version to train further
    pub(crate) model: Reference,

    /// The dataset: a registered one, e.g. `npk`
    #[arg(long, value_name = "DATASET")]
    pub(crate) data: Reference,

    /// What a new model is for: classification, regression, transformer, vision or diffusion
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) model_type: Option<String>,

    /// Hyper-parameters of a new model: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) metadata: Option<String>,

    /// A version of another model to begin with, instead of random weights
    #[arg(long = "from", value_name = "REFERENCE")]
    pub(crate) start: Option<Reference>,

    /// How to train: a JSON object, or a file with one; the options below change it
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) settings: Option<String>,

    /// How often all examples are seen
    #[arg(long, value_name = "NUMBER")]
    pub(crate) epochs: Option<u32>,

    /// How many updates are made at most
    #[arg(long, value_name = "NUMBER")]
    pub(crate) steps: Option<u64>,

    /// Examples of an update
    #[arg(long, value_name = "NUMBER")]
    pub(crate) batch_size: Option<u32>,

    /// The greatest step of AdamW
    #[arg(long, value_name = "RATE")]
    pub(crate) learning_rate: Option<f64>,

    /// Begins all random numbers
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// Only ask for it: a running server does it
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArguments {
    /// The version
    pub(crate) model: Reference,

    /// The dataset: a registered one, e.g. `npk`
    #[arg(long, value_name = "DATASET", required_unless_present = "receipt")]
    pub(crate) data: Option<Reference>,

    /// The part of the dataset: train, validation or test
    #[arg(long, value_name = "PART", default_value = "test")]
    pub(crate) split: SplitPart,

    /// At most so many examples
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<u64>,

    /// A version that is measured on the same examples
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) against: Option<Reference>,

    /// Make the measurement of the version's receipt of this number again, and say whether it agrees; nothing is written
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["data", "limit", "against"])]
    pub(crate) receipt: Option<usize>,

    /// The greatest difference from a receipt that agrees; of figures above 1 a share of them
    #[arg(long, value_name = "NUMBER", default_value_t = 0.001, requires = "receipt")]
    pub(crate) tolerance: f64,
}

#[derive(Debug, Args)]
pub(crate) struct QuantizeArguments {
    /// The version
    pub(crate) model: Reference,

    /// How weights are kept: `int8`, `int8_groups`, `int4`, `int16`, `float16` or `bfloat16`
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) quantization_type: QuantizationType,

    /// What it is measured on; without it nothing is known of what is lost
    #[arg(long, value_name = "DATASET")]
    pub(crate) data: Option<Reference>,

    /// The part of the dataset: train, validation or test
    #[arg(long, value_name = "PART", default_value = "test")]
    pub(crate) split: SplitPart,

    /// At most so many examples
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<u64>,

    /// The greatest loss of accuracy, R2 or denoising loss that is accepted; beyond it nothing is registered
    #[arg(long, value_name = "LOSS", requires = "data")]
    pub(crate) max_drop: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    /// The version
    pub(crate) model: Reference,

    /// The format: onnx, safetensors or gguf
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: ModelFormat,

    /// The folder in which the file is made, named by the version's id
    #[arg(long, short, value_name = "FOLDER", default_value = ".")]
    pub(crate) output: PathBuf,
}
