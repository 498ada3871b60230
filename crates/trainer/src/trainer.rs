//! The port: a task is held against the rules, trained, and written.

use std::path::Path;

use seedhouse_core::training::{ProducedFile, TrainSettings, TrainTask, TrainWatch, Trained, Trainer};
use seedhouse_core::{Error, Result};

use crate::arena::Arena;
use crate::checkpoint::Checkpoints;
use crate::digest;
use crate::lessons::{self, Lesson, Prepared, produced};
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::safetensors::{self, TensorRef};
use crate::session::{Plan, Session};
use crate::start::Weights;

/// The file with the weights of every model.
const WEIGHTS: &str = "model.safetensors";

/// The folders for checkpoints and for the result, within that of the task.
const CHECKPOINTS: &str = "checkpoints";
const RESULT: &str = "result";

/// Trains the families that Seedhouse computes itself.
///
/// The same task with the same seed gives the same files, bit for bit, with any number of threads, whether it was interrupted or not.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeTrainer;

impl NativeTrainer {
    /// Returns a trainer.
    pub fn new() -> NativeTrainer {
        NativeTrainer
    }
}

impl Trainer for NativeTrainer {
    fn check(&self, settings: &TrainSettings) -> Result<()> {
        check_settings(settings)
    }

    fn train(&self, task: &TrainTask<'_>, watch: &dyn TrainWatch) -> Result<Trained> {
        check_settings(task.settings)?;
        let threads = threads(task.settings);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("training-{number}"))
            .build()
            .map_err(|error| Error::Unavailable { what: "threads for training".into(), reason: error.to_string() })?;
        pool.install(|| train(task, watch, threads))
    }
}

fn threads(settings: &TrainSettings) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    settings.threads.map_or_else(available, |threads| threads as usize)
}

fn check_settings(settings: &TrainSettings) -> Result<()> {
    let whole = [
        ("batch_size", u64::from(settings.batch_size), 1 << 20),
        ("gradient_accumulation_steps", u64::from(settings.gradient_accumulation_steps), 1 << 20),
        ("threads", u64::from(settings.threads.unwrap_or(1)), 1024),
        ("epochs", u64::from(settings.epochs.unwrap_or(1)), u64::from(u32::MAX)),
        ("steps", settings.steps.unwrap_or(1), u64::MAX),
        ("evaluate_every", settings.evaluate_every.unwrap_or(1), u64::MAX),
        ("checkpoint_every", settings.checkpoint_every, u64::MAX),
        ("early_stopping_patience", u64::from(settings.early_stopping_patience.unwrap_or(1)), u64::from(u32::MAX)),
    ];
    for (name, value, most) in whole {
        if !(1..=most).contains(&value) {
            return Err(Error::invalid(name, value, format!("must be from 1 to {most}")));
        }
    }
    let numbers = [
        ("learning_rate", settings.learning_rate, f64::MIN_POSITIVE, 1e3),
        ("final_rate", settings.final_rate, 0.0, 1.0),
        ("weight_decay", settings.weight_decay, 0.0, 1e3),
        ("clip_norm", settings.clip_norm, 0.0, f64::MAX),
        ("label_smoothing", settings.label_smoothing, 0.0, 0.99),
        ("dropout", settings.dropout, 0.0, 0.99),
        ("average_decay", settings.average_decay, 0.0, 0.999_999),
    ];
    for (name, value, least, most) in numbers {
        if !(least..=most).contains(&value) {
            return Err(Error::invalid(name, value, format!("must be from {least} to {most}")));
        }
    }
    Ok(())
}

fn train(task: &TrainTask<'_>, watch: &dyn TrainWatch, threads: usize) -> Result<Trained> {
    watch.check()?;
    let mut start = task.start.map(Weights::open).transpose()?;
    let Prepared { lesson, mut parameters } = lessons::prepare(task, start.as_ref(), watch)?;
    let plan = Plan::new(task.settings, lesson.examples(seedhouse_core::dataset::SplitPart::Train))?;
    if let Some(weights) = &mut start {
        parameters.load(weights)?;
    }
    let checkpoints = Checkpoints::in_folder(&task.folder.join(CHECKPOINTS))?;
    let digest = digest::of_task(task);
    let mut optimizer = Optimizer::new(&parameters, task.settings.average_decay > 0.0);
    let found = checkpoints.read(&digest, &mut parameters, &mut optimizer)?;
    let resumed_at = found.as_ref().map(|(state, _)| state.step);
    let (state, best) = found.unwrap_or_else(|| (Checkpoints::fresh(digest), Vec::new()));
    tracing::info!(parameters = parameters.learned(), steps = plan.total_steps, threads, resumed_at, "training");
    let mut session = Session {
        lesson: lesson.as_ref(),
        settings: task.settings,
        plan,
        threads,
        watch,
        checkpoints: &checkpoints,
        parameters,
        optimizer,
        state,
        best,
        arena: Arena::default(),
    };
    let (report, stopped_early) = session.run()?;
    let (weights, best_step) = match session.best.is_empty() {
        true => (session.kept_weights(), session.state.step),
        false => (std::mem::take(&mut session.best), session.state.best_step),
    };
    let files = write(lesson.as_ref(), &session.parameters, &weights, &task.folder.join(RESULT))?;
    Ok(Trained {
        files,
        metadata: lesson.metadata(),
        report,
        history: session.state.history,
        best_step,
        stopped_early,
        resumed_at,
    })
}

/// Writes the files of a model.
fn write(
    lesson: &dyn Lesson,
    parameters: &Parameters,
    weights: &[Vec<f32>],
    folder: &Path,
) -> Result<Vec<ProducedFile>> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let tensors = parameters.tensors(weights.iter().map(Vec::as_slice));
    let tensors: Vec<TensorRef<'_>> = tensors
        .iter()
        .map(|(tensor, numbers)| TensorRef { name: tensor.name.clone(), shape: tensor.shape.clone(), numbers })
        .collect();
    safetensors::write(&folder.join(WEIGHTS), &lesson.notes(), &tensors)?;
    let mut files = vec![produced(folder, WEIGHTS)?];
    for (name, bytes) in lesson.other_files()? {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        files.push(produced(folder, name)?);
    }
    Ok(files)
}
