//! The trainer port: from examples to the files of a model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dataset::Dataset;
use crate::runtime::LocalFiles;
use crate::{ManifestPath, ModelType, Progress, Result};

/// Trains models of the families it knows.
pub trait Trainer: Send + Sync {
    /// Holds settings against the rules, before anything is begun.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming the setting.
    fn check(&self, settings: &TrainSettings) -> Result<()>;

    /// Trains a model, from the last checkpoint in `task.folder` where there is one of the same task.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for settings or data that do not fit the family, with both values, before anything is
    /// computed; [`Error::Unsupported`](crate::Error::Unsupported) for a family that is not trained; [`Error::Cancelled`](crate::Error::Cancelled)
    /// between steps, after a checkpoint; [`Error::Diverged`](crate::Error::Diverged) when the loss is not finite: the last good checkpoint stays.
    fn train(&self, task: &TrainTask<'_>, watch: &dyn TrainWatch) -> Result<Trained>;
}

/// What is trained, on what, and where.
#[derive(Debug)]
pub struct TrainTask<'t> {
    /// What the model is for.
    pub model_type: &'t ModelType,
    /// The hyper-parameters of the record: of the family, as far as the user says them.
    pub metadata: &'t Map<String, Value>,
    /// How to train.
    pub settings: &'t TrainSettings,
    /// The examples.
    pub dataset: &'t Dataset,
    /// The files of a version that training begins with, instead of random weights.
    pub start: Option<&'t LocalFiles>,
    /// A folder of this task alone, for checkpoints and for the result.
    pub folder: PathBuf,
}

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// How often all examples are seen; `None` where `steps` says how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// How many updates are made at most; `None` where `epochs` says how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Examples of an update.
    pub batch_size: u32,
    /// Batches whose gradients are added up for an update.
    pub gradient_accumulation_steps: u32,
    /// The greatest step of AdamW (Loshchilov & Hutter 2019).
    pub learning_rate: f64,
    /// Updates in which the rate grows from nothing.
    pub warmup_steps: u64,
    /// The share of `learning_rate` to which the cosine falls.
    pub final_rate: f64,
    /// How much weights shrink, times the rate. Biases and gains of norms do not.
    pub weight_decay: f64,
    /// The greatest norm of a gradient; a greater one is scaled down.
    pub clip_norm: f64,
    /// The share of a target's probability that is spread over all classes.
    pub label_smoothing: f64,
    /// The share of activations that are left out in training.
    pub dropout: f64,
    /// The decay of the averaged weights that are kept instead of the last ones; 0 for none.
    pub average_decay: f64,
    /// Whether pictures are shifted and mirrored at random.
    pub augment: bool,
    /// Measurements without improvement after which training ends; `None` for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience: Option<u32>,
    /// Updates between two measurements on the validation part; `None` for once per epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// Begins all random numbers.
    pub seed: u64,
    /// In what products are computed.
    pub precision: TrainPrecision,
    /// Threads that compute; `None` for one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// In what the products of a training step are computed. Weights and sums are 32-bit floating point always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainPrecision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// Operands rounded to bfloat16.
    Bf16,
}

impl Default for TrainSettings {
    fn default() -> TrainSettings {
        TrainSettings {
            epochs: None,
            steps: None,
            batch_size: 32,
            gradient_accumulation_steps: 1,
            learning_rate: 1e-3,
            warmup_steps: 0,
            final_rate: 0.0,
            weight_decay: 0.01,
            clip_norm: 1.0,
            label_smoothing: 0.0,
            dropout: 0.0,
            average_decay: 0.0,
            augment: false,
            early_stopping_patience: None,
            evaluate_every: None,
            checkpoint_every: 1000,
            seed: 0,
            precision: TrainPrecision::F32,
            threads: None,
        }
    }
}

/// Hears how training goes, and says when it should stop.
pub trait TrainWatch: Progress {
    /// Called after updates, at most a few times per second, and after each measurement.
    fn measured(&self, report: &TrainReport);
}

/// How training goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Updates made.
    pub step: u64,
    /// Updates that will be made, if nothing ends it early.
    pub total_steps: u64,
    /// Times that all examples were seen, from 0.
    pub epoch: u64,
    /// The loss of recent batches.
    pub loss: f64,
    /// The rate of the last update.
    pub learning_rate: f64,
    /// Examples per second.
    pub examples_per_second: f64,
    /// The loss on the validation part, when it was last measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// The accuracy there, for classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
}

/// What came out of training.
#[derive(Debug)]
pub struct Trained {
    /// The files of the model, in the task's folder. They can be loaded as any others.
    pub files: Vec<ProducedFile>,
    /// Hyper-parameters of the model, in the record's words.
    pub metadata: Map<String, Value>,
    /// The last report.
    pub report: TrainReport,
    /// Each measurement on the validation part.
    pub history: Vec<TrainReport>,
    /// The update whose weights were kept.
    pub best_step: u64,
    /// Whether it ended before all updates were made, because nothing improved.
    pub stopped_early: bool,
    /// The update from which a checkpoint let it go on.
    pub resumed_at: Option<u64>,
}

/// A file that work produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedFile {
    /// Its path in the version.
    pub path: ManifestPath,
    /// Where its bytes are.
    pub local: PathBuf,
}
