//! What training goes on from after it was ended: one file, written beside the last one and put in its place when it is on the disk.
//!
//! Random numbers follow from the seed and the number of the update, and the order of the examples from the seed and the epoch, so the
//! number of the update says all of that.

use std::path::{Path, PathBuf};

use seedhouse_core::training::TrainReport;
use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::safetensors::{self, TensorRef};
use crate::tape::Loss;

const NAME: &str = "checkpoint.safetensors";
const UNFINISHED: &str = "checkpoint.unfinished";
/// The name of the note with everything but numbers.
const STATE: &str = "seedhouse.checkpoint";
const FORMAT_VERSION: u32 = 1;

/// How far training is, and what was best.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format_version: u32,
    /// Of the task that was trained.
    pub(crate) task: String,
    /// Updates made.
    pub(crate) step: u64,
    /// The update whose weights are the best, and their loss on the validation part.
    pub(crate) best_step: u64,
    pub(crate) best_loss: Option<f64>,
    /// Measurements without improvement.
    pub(crate) unimproved: u32,
    pub(crate) history: Vec<TrainReport>,
    /// The last report that says something of a whole span between two measurements.
    #[serde(default)]
    pub(crate) report: TrainReport,
    /// What updates cost since then.
    #[serde(default)]
    pub(crate) since: Loss,
}

/// Everything that training goes on from.
pub(crate) struct Progress<'p> {
    pub(crate) state: &'p State,
    pub(crate) parameters: &'p Parameters,
    pub(crate) optimizer: &'p Optimizer,
    /// The best weights; nothing while nothing was measured.
    pub(crate) best: &'p [Vec<f32>],
}

/// The checkpoints of a task.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

/// Numbers of a checkpoint by the names of their groups.
const GROUPS: [&str; 5] = ["weights", "first", "second", "averages", "best"];

impl Checkpoints {
    /// Returns those in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub(crate) fn in_folder(folder: &Path) -> Result<Checkpoints> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        Ok(Checkpoints { folder: folder.to_owned() })
    }

    /// Writes a checkpoint. The last one stays until the new one is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`], e.g. when the disk is full; the last one is whole then.
    pub(crate) fn write(&self, progress: &Progress<'_>) -> Result<()> {
        let values: Vec<&[f32]> = progress.parameters.list.iter().map(|parameter| &parameter.values[..]).collect();
        let Optimizer { first, second, averages } = progress.optimizer;
        let others = [first, second, averages].map(|group| group.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let best = progress.best.iter().map(Vec::as_slice).collect();
        let groups = std::iter::once(values).chain(others).chain(std::iter::once(best));
        let mut tensors = Vec::new();
        for (group, all) in GROUPS.iter().zip(groups) {
            for (place, numbers) in all.into_iter().enumerate() {
                tensors.push(TensorRef { name: format!("{group}.{place}"), shape: vec![numbers.len()], numbers });
            }
        }
        let state = serde_json::to_string(progress.state)
            .map_err(|error| Error::Internal(format!("a state cannot be written: {error}")))?;
        let (unfinished, path) = (self.folder.join(UNFINISHED), self.folder.join(NAME));
        safetensors::write(&unfinished, &[(STATE.to_owned(), state)], &tensors)?;
        std::fs::rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
        sync_folder(&self.folder)
    }

    /// Reads the last checkpoint into what was made for the task, or returns `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one of another task, with both digests; [`Error::CorruptState`] for one that cannot be read.
    pub(crate) fn read(
        &self,
        task: &str,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<Option<(State, Vec<Vec<f32>>)>> {
        let path = self.folder.join(NAME);
        if !path.try_exists().map_err(Error::io("look for", &path))? {
            return Ok(None);
        }
        let corrupt = |reason: String| Error::CorruptState { what: format!("checkpoint `{}`", path.display()), reason };
        let (notes, tensors) = safetensors::read(&path, NAME).map_err(|error| match error {
            Error::Io { .. } => error,
            other => corrupt(other.to_string()),
        })?;
        let text = notes.get(STATE).ok_or_else(|| corrupt(format!("`{STATE}` is missing")))?;
        let state: State = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
        if state.format_version != FORMAT_VERSION {
            return Err(corrupt(format!("its format is {}, and {FORMAT_VERSION} is read", state.format_version)));
        }
        if state.task != task {
            let rule = format!(
                "this task is {task}: settings, hyper-parameters or data differ, so training cannot go on from it"
            );
            return Err(Error::invalid("checkpoint", state.task, rule));
        }
        let mut best: Vec<Vec<f32>> = parameters
            .list
            .iter()
            .filter(|_| state.best_loss.is_some())
            .map(|parameter| vec![0.0; parameter.values.len()])
            .collect();
        let count = tensors.len();
        let mut filled = 0;
        for tensor in tensors {
            let target = tensor.name.split_once('.').and_then(|(group, place)| {
                let place: usize = place.parse().ok()?;
                match GROUPS.iter().position(|known| *known == group)? {
                    0 => parameters.list.get_mut(place).map(|parameter| &mut parameter.values),
                    1 => optimizer.first.get_mut(place),
                    2 => optimizer.second.get_mut(place),
                    3 => optimizer.averages.get_mut(place),
                    _ => best.get_mut(place),
                }
            });
            let target = target.filter(|target| target.len() == tensor.numbers.len());
            *target.ok_or_else(|| corrupt(format!("tensor `{}` does not fit the task", tensor.name)))? = tensor.numbers;
            filled += 1;
        }
        let expected = 3 * parameters.list.len() + optimizer.averages.len() + best.len();
        if filled != expected {
            return Err(corrupt(format!("it has {count} tensors, and the task has {expected}")));
        }
        Ok(Some((state, best)))
    }

    /// Returns the state of something new.
    pub(crate) fn fresh(task: String) -> State {
        State { format_version: FORMAT_VERSION, task, ..State::default() }
    }
}

/// Waits until the names in a folder are on the disk.
fn sync_folder(folder: &Path) -> Result<()> {
    let opened = std::fs::File::open(folder).map_err(Error::io("open", folder))?;
    opened.sync_all().map_err(Error::io("sync", folder))
}
