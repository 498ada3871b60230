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

use seedhouse_core::dataset::{Dataset, DatasetKind, ImageDataset, SplitPart};
use seedhouse_core::training::{ProducedFile, TrainTask, TrainWatch};
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value};

use crate::hyper_parameters::HyperParameters;
use crate::parameters::Parameters;
use crate::start::Weights;
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

/// Reads the task and makes a network for it; `start` are the weights of the version to begin with. Nothing is computed yet, but a tokenizer is made where one is needed.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unsupported`] as [`Trainer::train`](seedhouse_core::training::Trainer::train).
pub(crate) fn prepare<'d>(
    task: &TrainTask<'d>,
    start: Option<&Weights>,
    watch: &dyn TrainWatch,
) -> Result<Prepared<'d>> {
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
        (Dataset::Images(data), ModelType::Diffusion) => noise::prepare(task, data, start),
        (Dataset::Images(data), _) if wanted == DatasetKind::Images => pictures::prepare(task, data),
        (Dataset::Table(data), _) if wanted == DatasetKind::Table => rows::prepare(task, data, start),
        (dataset, model_type) => {
            let found = kind_text(dataset.kind());
            let rule = format!("a model of type `{}` is trained on {}", model_type.as_str(), kind_text(wanted));
            Err(Error::invalid("dataset", found, rule))
        }
    }
}

/// The classes of a model, and the class of each example.
struct Classes {
    names: Vec<String>,
    labels: Vec<u32>,
}

impl Classes {
    /// Returns the classes of images in the order of the record's `labels`, or in that of the dataset. A version to begin with has an order
    /// that its weights mean and its file does not say, so the record must.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the record and the dataset have other classes, or the record of a version has none.
    fn of_images(asked: HyperParameters<'_>, data: &ImageDataset, has_start: bool) -> Result<Classes> {
        let Some(names) = asked.texts("labels")? else {
            if has_start {
                let rule = "the classes of the version to begin with must be said, in its order";
                return Err(Error::invalid("metadata.labels", "missing", rule));
            }
            return Ok(Classes { names: data.classes.clone(), labels: data.labels.clone() });
        };
        let place = |class: &String| names.iter().position(|name| name == class).map(|place| place as u32);
        let places: Vec<Option<u32>> = data.classes.iter().map(place).collect();
        let place_of = |label: &u32| places.get(*label as usize).copied().flatten();
        if names.len() != data.classes.len() || places.contains(&None) {
            let rule = format!("the dataset has the classes {}", data.classes.join(", "));
            return Err(Error::invalid("metadata.labels", names.join(", "), rule));
        }
        // A label beyond the classes stays one, to be refused as one.
        let labels = data.labels.iter().map(|label| place_of(label).unwrap_or(*label)).collect();
        Ok(Classes { names, labels })
    }
}

/// Returns what a network is described to: without values where a version to begin with has them.
fn parameters_of(task: &TrainTask<'_>) -> Parameters {
    match task.start {
        Some(_) => Parameters::of_version(),
        None => Parameters::new(task.settings.seed),
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
