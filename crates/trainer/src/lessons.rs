//! What is learned, and from what: a network with the examples of a dataset.
//!
//! ```text
//! text      language models
//! pictures  classes of images
//! noise     diffusion models
//! rows      tables
//! ```

mod noise;
mod pictures;
mod rows;
mod text;

use std::path::Path;

use seedhouse_core::dataset::{Dataset, DatasetKind, SplitPart};
use seedhouse_core::training::{ProducedFile, TrainTask, TrainWatch};
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value};

use crate::parameters::Parameters;
use crate::tape::{Loss, Tape};

/// A network with its examples.
pub(crate) trait Lesson: Send + Sync {
    /// Returns how many examples a part has.
    fn examples(&self, part: SplitPart) -> usize;

    /// Runs examples of a batch forward and says what they cost. When the tape is training, the first gradients are left on it.
    fn loss(&self, tape: &mut Tape<'_>, batch: &Batch<'_>) -> Loss;

    /// Returns the files of the model but its weights: their paths in the version, and their bytes.
    ///
    /// # Errors
    /// [`Error::Internal`] when they cannot be written as text.
    fn other_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(Vec::new())
    }

    /// Returns what stands among the metadata of the file with the weights.
    fn notes(&self) -> Vec<(String, String)> {
        vec![("format".to_owned(), "pt".to_owned())]
    }

    /// Returns the hyper-parameters of the model in the record's words.
    fn metadata(&self) -> Map<String, Value>;
}

/// Some examples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'b> {
    pub(crate) part: SplitPart,
    /// Places of the examples within their part.
    pub(crate) places: &'b [u32],
    /// How often all examples were seen.
    pub(crate) epoch: u64,
    /// Begins the random numbers of the batch, with the number of the update and of the batch in it.
    pub(crate) seed: u64,
    pub(crate) random_places: [u64; 2],
}

/// What a lesson is made of.
pub(crate) struct Prepared<'d> {
    pub(crate) lesson: Box<dyn Lesson + 'd>,
    pub(crate) parameters: Parameters,
}

/// Reads the task and makes a network for it. Nothing is computed yet, but a tokenizer is made where one is needed.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unsupported`] as [`Trainer::train`](seedhouse_core::training::Trainer::train).
pub(crate) fn prepare<'d>(task: &TrainTask<'d>, watch: &dyn TrainWatch) -> Result<Prepared<'d>> {
    let wanted = match task.model_type {
        ModelType::Transformer => DatasetKind::Text,
        ModelType::Vision | ModelType::Diffusion => DatasetKind::Images,
        ModelType::Classification | ModelType::Regression => DatasetKind::Table,
        other => {
            return Err(Error::unsupported(
                format!("training a model of type `{}`", other.as_str()),
                "transformer, vision, diffusion, classification and regression are trained",
            ));
        }
    };
    match (task.dataset, task.model_type) {
        (Dataset::Text(data), _) if wanted == DatasetKind::Text => text::prepare(task, data, watch),
        (Dataset::Images(data), ModelType::Diffusion) => noise::prepare(task, data),
        (Dataset::Images(data), _) if wanted == DatasetKind::Images => pictures::prepare(task, data),
        (Dataset::Table(data), _) if wanted == DatasetKind::Table => rows::prepare(task, data),
        (dataset, model_type) => {
            let found = kind_text(dataset.kind());
            let rule = format!("a model of type `{}` is trained on {}", model_type.as_str(), kind_text(wanted));
            Err(Error::invalid("dataset", found, rule))
        }
    }
}

fn kind_text(kind: DatasetKind) -> &'static str {
    match kind {
        DatasetKind::Table => "a table",
        DatasetKind::Images => "images",
        DatasetKind::Text => "text",
    }
}

/// Returns the places of the examples of a part.
fn places_of(parts: &[SplitPart], part: SplitPart) -> Vec<u32> {
    (0..).zip(parts).filter(|(_, of)| **of == part).map(|(place, _)| place).collect()
}

/// Places of the examples of the parts that training looks at.
#[derive(Debug)]
struct Places {
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

impl Places {
    fn new(parts: &[SplitPart]) -> Places {
        let [train, validation, test] = SplitPart::ALL.map(|part| places_of(parts, part));
        Places { train, validation, test }
    }

    fn of(&self, part: SplitPart) -> &[u32] {
        match part {
            SplitPart::Train => &self.train,
            SplitPart::Validation => &self.validation,
            SplitPart::Test => &self.test,
        }
    }
}

/// Checks that every class that is asked for can be learned.
///
/// # Errors
/// [`Error::Invalid`] naming a class of which the training part has no example, or a label beyond the classes.
fn check_classes(classes: &[String], label_of: impl Fn(u32) -> u32, places: &Places) -> Result<()> {
    let mut counts = vec![0_usize; classes.len()];
    for place in &places.train {
        let label = label_of(*place) as usize;
        let beyond =
            || Error::invalid("label", label, format!("must be below {}, the number of classes", classes.len()));
        *counts.get_mut(label).ok_or_else(beyond)? += 1;
    }
    for (name, part) in [("validation", &places.validation), ("test", &places.test)] {
        for place in part {
            let label = label_of(*place) as usize;
            if counts.get(label).is_none_or(|count| *count == 0) {
                let class = classes.get(label).map_or_else(|| label.to_string(), Clone::clone);
                let rule = format!("the {name} part has it, but the training part has no example of it");
                return Err(Error::invalid("class", class, rule));
            }
        }
    }
    match counts.iter().filter(|count| **count > 0).count() {
        0 | 1 => {
            Err(Error::invalid("classes", classes.join(", "), "the training part must have examples of at least two"))
        }
        _ => Ok(()),
    }
}

/// Returns the file of a model that is one file, under the folder.
pub(crate) fn produced(folder: &Path, path: &str) -> Result<ProducedFile> {
    Ok(ProducedFile { path: path.parse()?, local: folder.join(path) })
}
