//! A slot: one loaded version, and what can be asked of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use seedhouse_core::runtime::{Denoiser, LoadedModel, SolveLimits, TensorSpec};
use seedhouse_core::{Digest, Error, Result};
use serde_json::{Map, Value};

use crate::diffusion::DiffusionPipeline;
use crate::embedding::{SentenceEncoder, SentenceTask};
use crate::named::{NamedAnswer, NamedRequest};
use crate::problem::{self, SolveRequest, Solved};
use crate::statistics::VersionCounters;
use crate::tabular::{RowExample, TabularAnswer, TabularModel, TabularRequest, TabularTask};
use crate::tensors::served::ServedTensors;
use crate::tensors::{PredictRequest, TensorOutputs, predict};
use crate::text::TextPipeline;
use crate::text::generation::ServedText;
use crate::vision::{ImageClassifier, ImageTask};
use crate::{
    BatchSettings, BatchStatistics, Classification, ClassifyRequest, Drawing, DrawingProgress, EmbedRequest,
    Embeddings, GenerateRequest, Generation, ImageFeatures, ImageInput, ImagineRequest, LoadRequest, Patience, Piece,
    PixelImage, TextSettings, TextStatistics,
};

/// One loaded version. Calls may run at the same time; each has its own sequence or tensors.
pub struct Slot {
    model_id: String,
    digest: Option<Digest>,
    task: Task,
    /// The queue of a model that takes tensors.
    tensors: Option<Arc<ServedTensors>>,
    model: LoadedModel,
    runtime: String,
    load_seconds: f64,
    counters: Option<Arc<VersionCounters>>,
}

enum Task {
    Text(Box<ServedText>),
    Image(Box<ImageClassifier>),
    Diffusion(Box<DiffusionPipeline>),
    Sentences(Box<SentenceEncoder>),
    Tabular(Box<TabularModel>),
    /// None of these, and why.
    Other(NoTask),
}

/// Why a tensor model is asked with tensors alone.
struct NoTask {
    images: String,
    rows: String,
}

impl Task {
    /// Finds what a model of tensors is for, as its files and its metadata declare it.
    fn of_tensors(model_id: &str, served: Arc<ServedTensors>, metadata: &Map<String, Value>) -> Result<Task> {
        let rows = match TabularModel::of_model(model_id, Arc::clone(&served), metadata)? {
            TabularTask::Ready(tabular) => return Ok(Task::Tabular(tabular)),
            TabularTask::Impossible(reason) => reason,
        };
        Ok(match ImageClassifier::of_model(model_id, served, metadata)? {
            ImageTask::Ready(classifier) => Task::Image(classifier),
            ImageTask::Impossible(images) => Task::Other(NoTask { images, rows }),
        })
    }
}

/// Why a diffusion model does nothing else.
const DRAWS: &str = "it draws images";

/// Why a sentence encoder does nothing else.
const ENCODES: &str = "it is a sentence encoder";

/// What a slot can be asked for.
#[derive(Debug, Clone, Copy)]
pub enum Takes<'s> {
    /// Prompts.
    Text,
    /// Images; and these tensors, too.
    Images(&'s [TensorSpec]),
    /// Rows of named features; and these tensors, too.
    Rows(&'s [TensorSpec]),
    /// These tensors.
    Tensors(&'s [TensorSpec]),
    /// Parameters of a problem.
    Parameters,
    /// How many images are to be drawn, and of what.
    Wishes,
    /// Sentences.
    Sentences,
}

impl Slot {
    pub(crate) fn new(
        LoadRequest { model_id, digest, files, options }: &LoadRequest,
        model: LoadedModel,
        settings: TextSettings,
        batching: BatchSettings,
        started: Instant,
    ) -> Result<Slot> {
        let mut tensors = None;
        let task = match model.clone() {
            LoadedModel::Text(model) => {
                Task::Text(Box::new(ServedText::new(TextPipeline::new(model_id, model)?, settings)))
            }
            LoadedModel::Problem(_) => {
                let reason = "it is a problem of optimisation";
                Task::Other(NoTask { images: reason.into(), rows: reason.into() })
            }
            LoadedModel::Tensor(model) => {
                // Texts are computed one by one, and so is whatever else the graph is asked: there is one queue.
                let batching = match SentenceEncoder::is_declared(&options.metadata) {
                    true => batching.one_by_one(),
                    false => batching,
                };
                let served = Arc::new(ServedTensors::new(model_id, model, &options.metadata, batching)?);
                tensors = Some(Arc::clone(&served));
                match SentenceEncoder::of_graph(model_id, Arc::clone(&served), &options.metadata, files)? {
                    SentenceTask::Ready(encoder) => Task::Sentences(encoder),
                    SentenceTask::Undeclared => Task::of_tensors(model_id, served, &options.metadata)?,
                }
            }
            LoadedModel::Diffusion(model) => {
                Task::Diffusion(Box::new(DiffusionPipeline::new(model_id, model, &options.metadata, batching)?))
            }
            LoadedModel::Embedding(model) => {
                Task::Sentences(Box::new(SentenceEncoder::new(model_id, model, batching)?))
            }
        };
        let load_seconds = started.elapsed().as_secs_f64();
        let runtime = String::new();
        let (model_id, digest, counters) = (model_id.clone(), *digest, None);
        Ok(Slot { model_id, digest, task, tensors, model, runtime, load_seconds, counters })
    }

    /// Notes the runtime that loaded it; what computes it has a name of its own where that runtime has several ways.
    pub(crate) fn loaded_by(mut self, runtime: &str) -> Slot {
        self.runtime = self.model.computed_by().unwrap_or(runtime).to_owned();
        self
    }

    /// Returns what computes it, e.g. `native` or `onnxruntime 1.32.0`.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// Says where it is counted how often the slot was found, loaded and evicted.
    pub(crate) fn counted_by(self, counters: Option<Arc<VersionCounters>>) -> Slot {
        Slot { counters, ..self }
    }

    pub(crate) fn counters(&self) -> Option<&VersionCounters> {
        self.counters.as_deref()
    }

    /// Continues a prompt, giving text to `on_piece` as it becomes certain.
    ///
    /// Together the pieces of an answer given to `on_piece` are its text. One without text only asks whether to go on. While
    /// `on_piece` takes its time the generation waits, and nobody else does.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a language model, [`Error::Invalid`] when a value of the request breaks a rule,
    /// [`Error::ContextOverflow`] when the prompt leaves no room for an answer, [`Error::Exhausted`] when too many requests wait,
    /// [`Error::DeadlineExceeded`] when the time is up.
    pub fn generate(
        &self,
        request: &GenerateRequest,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Generation> {
        self.served_text()?.generate(request, on_piece)
    }

    /// Returns what its language model has done so far; `None` when it is none.
    pub fn text_statistics(&self) -> Option<TextStatistics> {
        self.served_text().ok().map(ServedText::statistics)
    }

    /// Returns what the queue of its model has done so far; `None` where there is no queue of this kind:
    /// for a language model, a problem of optimisation and a diffusion model.
    pub fn batch_statistics(&self) -> Option<BatchStatistics> {
        match &self.task {
            Task::Sentences(encoder) => Some(encoder.batch_statistics()),
            Task::Diffusion(pipeline) => Some(pipeline.batch_statistics()),
            _ => self.tensors.as_ref().map(|tensors| tensors.statistics()),
        }
    }

    /// Names the classes an image most likely belongs to. Images of several callers are computed together.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not an image classifier; [`Error::Malformed`], [`Error::TooLarge`] or
    /// [`Error::Unsupported`] about the image; [`Error::Invalid`] about `top_k`; [`Error::Exhausted`] when too many wait,
    /// [`Error::DeadlineExceeded`] and [`Error::Cancelled`] when the patience is over.
    pub fn classify(&self, request: &ClassifyRequest, patience: &Patience) -> Result<Classification> {
        self.image_task("image classification")?.classify(request, patience)
    }

    /// Names the classes that images most likely belong to, computed as one batch; each is answered as if it were alone.
    ///
    /// # Errors
    /// As [`classify`](Slot::classify), and [`Error::Invalid`] for too many images.
    pub fn classify_all(
        &self,
        images: &[ImageInput],
        top_k: Option<usize>,
        patience: &Patience,
    ) -> Result<Vec<Classification>> {
        self.image_task("image classification")?.classify_all(images, top_k, patience)
    }

    /// Returns the names of the classes that it recognises or draws, by class id, where they are known.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is neither an image classifier nor a diffusion model.
    pub fn class_names(&self) -> Result<Option<&[String]>> {
        match &self.task {
            Task::Diffusion(pipeline) => Ok(pipeline.class_names()),
            _ => self.image_task("image classification").map(ImageClassifier::class_names),
        }
    }

    /// Returns what the model knows of images before it names classes, computed as one batch.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when it gives no features, and as [`classify_all`](Slot::classify_all).
    pub fn features(&self, images: &[ImageInput], patience: &Patience) -> Result<ImageFeatures> {
        self.image_task("image features")?.features(images, patience)
    }

    fn image_task(&self, task: &'static str) -> Result<&ImageClassifier> {
        let reason = match &self.task {
            Task::Image(classifier) => return Ok(classifier),
            Task::Text(_) => "it is a language model".to_owned(),
            Task::Diffusion(_) => DRAWS.to_owned(),
            Task::Sentences(_) => ENCODES.to_owned(),
            Task::Tabular(_) => {
                "it takes rows of named features (`seedhouse predict`, /api/inference/tabular)".to_owned()
            }
            Task::Other(none) => none.images.clone(),
        };
        Err(Error::WrongTask { model_id: self.model_id.clone(), task, reason })
    }

    /// Classifies rows, or computes their targets, as one batch; each has its own answer or error.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when its features are unknown; [`Error::Invalid`] for no rows or too many of them; those of the queue as
    /// for [`predict`](Slot::predict).
    pub fn predict_rows(&self, request: &TabularRequest, patience: &Patience) -> Result<TabularAnswer> {
        let reason = match &self.task {
            Task::Tabular(model) => return model.answer(request, patience),
            Task::Text(_) => "it is a language model",
            Task::Image(_) => "it takes images",
            Task::Diffusion(_) => DRAWS,
            Task::Sentences(_) => ENCODES,
            Task::Other(none) => &none.rows,
        };
        Err(self.wrong_task("rows of features", reason))
    }

    /// Computes what the version is for from named values: a row of features, or tensors.
    ///
    /// # Errors
    /// As [`predict_rows`](Slot::predict_rows) and [`predict`](Slot::predict); the error of a row is that of the call.
    pub fn predict_named(&self, request: &NamedRequest, patience: &Patience) -> Result<NamedAnswer> {
        if let (Task::Tabular(_), Some(request)) = (&self.task, request.tabular()) {
            let answer = self.predict_rows(&request, patience)?;
            answer.only()?;
            return Ok(NamedAnswer::Rows(answer));
        }
        self.predict(&request.tensors()?, patience).map(NamedAnswer::Tensors)
    }

    /// Draws images, telling `on_step` after each step how far it is.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a diffusion model, [`Error::Invalid`] when a value of the request breaks a rule or does not
    /// fit the model, [`Error::Cancelled`] when `on_step` breaks it off, [`Error::DeadlineExceeded`] when the time is up.
    pub fn imagine(
        &self,
        request: &ImagineRequest,
        on_step: &mut dyn FnMut(DrawingProgress<'_>) -> ControlFlow<()>,
    ) -> Result<Drawing> {
        let reason = match &self.task {
            Task::Diffusion(pipeline) => return pipeline.draw(request, on_step),
            Task::Text(_) => "it is a language model",
            Task::Image(_) => "it classifies images",
            Task::Sentences(_) => ENCODES,
            Task::Tabular(_) => "it takes rows of named features",
            Task::Other(_) if self.is_problem() => "it is a problem of optimisation",
            Task::Other(_) => "it takes tensors that nobody declared",
        };
        Err(self.wrong_task("image generation", reason))
    }

    /// Computes named tensors from named tensors.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is a language model; [`Error::Invalid`] naming the tensor that is missing, unknown or of the wrong
    /// type or shape, with both values; [`Error::Exhausted`] when too many wait, [`Error::DeadlineExceeded`] and
    /// [`Error::Cancelled`] when the patience is over.
    pub fn predict(&self, request: &PredictRequest, patience: &Patience) -> Result<TensorOutputs> {
        if let (Task::Tabular(tabular), Some(tensors)) = (&self.task, &self.tensors)
            && !tensors.has_input_of(request)
        {
            return Err(tabular.asks_for_a_row());
        }
        match &self.tensors {
            Some(tensors) => predict(tensors, request, patience),
            None if self.is_problem() => {
                Err(self.wrong_task("tensor inference", "it is a problem of optimisation, which takes parameters"))
            }
            None if matches!(self.task, Task::Diffusion(_)) => Err(self.wrong_task("tensor inference", DRAWS)),
            None if matches!(self.task, Task::Sentences(_)) => Err(self.wrong_task("tensor inference", ENCODES)),
            None => Err(self.wrong_task("tensor inference", "it is a language model")),
        }
    }

    /// Solves a declared problem.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is none; [`Error::Invalid`] naming the parameter that is unknown, given twice or out of its
    /// range; [`Error::DeadlineExceeded`] when nothing was found in time, [`Error::Cancelled`], and [`Error::Unsupported`] when no
    /// result could be verified.
    pub fn solve(&self, request: &SolveRequest, limits: &SolveLimits<'_>) -> Result<Solved> {
        match &self.model {
            LoadedModel::Problem(declared) => problem::solve(declared.as_ref(), request, limits),
            LoadedModel::Text(_) => Err(self.wrong_task("optimisation", "it is a language model")),
            LoadedModel::Tensor(_) => Err(self.wrong_task("optimisation", "it takes tensors, not parameters")),
            LoadedModel::Diffusion(_) => Err(self.wrong_task("optimisation", DRAWS)),
            LoadedModel::Embedding(_) => Err(self.wrong_task("optimisation", ENCODES)),
        }
    }

    /// Returns the vectors of texts; each is the same as if its text were alone.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a sentence encoder; [`Error::Invalid`] for too many or too long texts and an unknown
    /// prompt; [`Error::DeadlineExceeded`] and [`Error::Cancelled`] when the patience is over; [`Error::Internal`] for numbers that are
    /// not finite.
    pub fn embed(&self, request: &EmbedRequest, patience: &Patience) -> Result<Embeddings> {
        let reason = match &self.task {
            Task::Sentences(encoder) => return encoder.embed(request, patience),
            Task::Text(_) => "it is a language model",
            Task::Image(_) => "it is an image classifier",
            Task::Tabular(_) => "it takes rows of named features",
            Task::Diffusion(_) => DRAWS,
            Task::Other(_) if self.is_problem() => "it is a problem of optimisation",
            Task::Other(_) => "its record does not declare `pooling` and `normalize`",
        };
        Err(self.wrong_task("sentence embedding", reason))
    }

    /// Returns whether this is a declared problem.
    pub fn is_problem(&self) -> bool {
        matches!(self.model, LoadedModel::Problem(_))
    }

    fn wrong_task(&self, task: &'static str, reason: &str) -> Error {
        Error::WrongTask { model_id: self.model_id.clone(), task, reason: reason.into() }
    }

    /// Returns the language model with its tokenizer.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a language model.
    pub fn text(&self) -> Result<&TextPipeline> {
        self.served_text().map(|text| &*text.pipeline)
    }

    /// Returns what predicts the noise in images.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a diffusion model.
    pub(crate) fn denoiser(&self) -> Result<&dyn Denoiser> {
        match &self.task {
            Task::Diffusion(pipeline) => Ok(pipeline.model()),
            Task::Text(_) | Task::Image(_) | Task::Sentences(_) | Task::Tabular(_) | Task::Other(_) => {
                Err(self.wrong_task("denoising", "it is no diffusion model"))
            }
        }
    }

    /// Returns the loaded model.
    pub(crate) fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// Returns an ordinary row and what is made of it, where this is a model of rows that takes raw numbers.
    pub(crate) fn tabular_example(&self) -> Result<Option<RowExample>> {
        match &self.task {
            Task::Tabular(model) => model.example().map(Some),
            Task::Text(_) | Task::Image(_) | Task::Diffusion(_) | Task::Sentences(_) | Task::Other(_) => Ok(None),
        }
    }

    fn served_text(&self) -> Result<&ServedText> {
        match &self.task {
            Task::Text(text) => Ok(text),
            Task::Image(_) | Task::Tabular(_) | Task::Other(_) => {
                Err(self.wrong_task("text generation", "it takes tensors, not tokens"))
            }
            Task::Diffusion(_) => Err(self.wrong_task("text generation", DRAWS)),
            Task::Sentences(_) => Err(self.wrong_task("text generation", ENCODES)),
        }
    }

    /// Returns what it can be asked for.
    pub fn takes(&self) -> Takes<'_> {
        let inputs = self.tensors.as_ref().map_or(&[][..], |tensors| tensors.model().inputs());
        match &self.task {
            Task::Text(_) => Takes::Text,
            Task::Image(_) => Takes::Images(inputs),
            Task::Tabular(_) => Takes::Rows(inputs),
            Task::Diffusion(_) => Takes::Wishes,
            Task::Sentences(_) => Takes::Sentences,
            Task::Other(_) if self.is_problem() => Takes::Parameters,
            Task::Other(_) => Takes::Tensors(inputs),
        }
    }

    /// Returns the version's id.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Returns the digest of the version's manifest, where whoever loaded it said.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the bytes that the version takes now: weights, caches, and the tables of its tokenizer.
    pub fn memory_bytes(&self) -> u64 {
        let tables = match &self.task {
            Task::Text(text) => text.pipeline.table_bytes(),
            Task::Sentences(encoder) => encoder.table_bytes(),
            Task::Image(_) | Task::Tabular(_) | Task::Diffusion(_) | Task::Other(_) => 0,
        };
        self.model.memory_bytes() + tables
    }

    /// Computes something small of what the version is for: one token after one token, the class of a black image, an ordinary row, an
    /// image in one step, the vector of a letter, what a problem's own parameters give, or what a graph makes of zeros.
    ///
    /// # Errors
    /// As [`generate`](Slot::generate) and [`classify`](Slot::classify) give for a model that does not work.
    pub fn warm_up(&self) -> Result<()> {
        match &self.task {
            Task::Text(text) => text.warm_up(),
            Task::Image(classifier) => {
                const SIDE: usize = 32;
                let black = PixelImage::new(&vec![vec![vec![0.0; 3]; SIDE]; SIDE])?;
                let request = ClassifyRequest { image: ImageInput::Pixels(black), top_k: Some(1) };
                classifier.classify(&request, &Patience::default()).map(drop)
            }
            Task::Tabular(model) => model.warm_up(),
            Task::Diffusion(pipeline) => pipeline.warm_up(),
            Task::Sentences(encoder) => encoder.warm_up(),
            Task::Other(_) => match &self.model {
                LoadedModel::Problem(declared) => problem::warm_up(declared.as_ref()),
                // Nobody knows what its tensors mean, so it is given zeros.
                LoadedModel::Tensor(_)
                | LoadedModel::Text(_)
                | LoadedModel::Diffusion(_)
                | LoadedModel::Embedding(_) => self.tensors.as_ref().map_or(Ok(()), |tensors| tensors.warm_up()),
            },
        }
    }

    /// Returns how long loading took, from the verification of the files on.
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }
}
