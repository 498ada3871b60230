//! A slot: one loaded version, and what can be asked of it.

use std::ops::ControlFlow;
use std::time::Instant;

use seedhouse_core::runtime::LoadedModel;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::text::TextPipeline;
use crate::text::generation::ServedText;
use crate::vision::{ImageClassifier, ImageTask};
use crate::{
    Classification, ClassifyRequest, GenerateRequest, Generation, ImageFeatures, ImageInput, Piece, TextSettings,
    TextStatistics,
};

/// One loaded version. Calls may run at the same time; each has its own sequence or tensors.
pub struct Slot {
    model_id: String,
    task: Task,
    load_seconds: f64,
}

enum Task {
    Text(Box<ServedText>),
    Image(Box<ImageClassifier>),
    /// Neither, and why images cannot be classified with it.
    Other(String),
}

impl Slot {
    pub(crate) fn new(
        model_id: &str,
        model: LoadedModel,
        metadata: &Map<String, Value>,
        settings: TextSettings,
        started: Instant,
    ) -> Result<Slot> {
        let task = match model {
            LoadedModel::Text(model) => {
                Task::Text(Box::new(ServedText::new(TextPipeline::new(model_id, model)?, settings)))
            }
            LoadedModel::Tensor(model) => match ImageClassifier::of_model(model_id, model, metadata)? {
                ImageTask::Ready(classifier) => Task::Image(classifier),
                ImageTask::Impossible(reason) => Task::Other(reason),
            },
        };
        Ok(Slot { model_id: model_id.to_owned(), task, load_seconds: started.elapsed().as_secs_f64() })
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

    /// Names the classes an image most likely belongs to.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not an image classifier; [`Error::Malformed`], [`Error::TooLarge`] or
    /// [`Error::Unsupported`] about the image; [`Error::Invalid`] about `top_k`.
    pub fn classify(&self, request: &ClassifyRequest) -> Result<Classification> {
        self.image_task("image classification")?.classify(request)
    }

    /// Names the classes that images most likely belong to, computed as one batch; each is answered as if it were alone.
    ///
    /// # Errors
    /// As [`classify`](Slot::classify), and [`Error::Invalid`] for too many images.
    pub fn classify_all(&self, images: &[ImageInput], top_k: Option<usize>) -> Result<Vec<Classification>> {
        self.image_task("image classification")?.classify_all(images, top_k)
    }

    /// Returns what the model knows of images before it names classes, computed as one batch.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when it gives no features, and as [`classify_all`](Slot::classify_all).
    pub fn features(&self, images: &[ImageInput]) -> Result<ImageFeatures> {
        self.image_task("image features")?.features(images)
    }

    fn image_task(&self, task: &'static str) -> Result<&ImageClassifier> {
        let reason = match &self.task {
            Task::Image(classifier) => return Ok(classifier),
            Task::Text(_) => "it is a language model".to_owned(),
            Task::Other(reason) => reason.clone(),
        };
        Err(Error::WrongTask { model_id: self.model_id.clone(), task, reason })
    }

    /// Returns the language model with its tokenizer.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a language model.
    pub fn text(&self) -> Result<&TextPipeline> {
        self.served_text().map(|text| &*text.pipeline)
    }

    fn served_text(&self) -> Result<&ServedText> {
        match &self.task {
            Task::Text(text) => Ok(text),
            Task::Image(_) | Task::Other(_) => Err(Error::WrongTask {
                model_id: self.model_id.clone(),
                task: "text generation",
                reason: "it takes tensors, not tokens".into(),
            }),
        }
    }

    /// Returns the version's id.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Checks that something can be asked of the version, which loading alone does not prove.
    ///
    /// # Errors
    /// [`Error::WrongTask`] with what is missing, e.g. the size of the images.
    pub fn check_ready(&self) -> Result<()> {
        match &self.task {
            Task::Text(_) | Task::Image(_) => Ok(()),
            Task::Other(reason) => {
                let (model_id, reason) = (self.model_id.clone(), reason.clone());
                Err(Error::WrongTask { model_id, task: "inference", reason })
            }
        }
    }

    /// Returns how long loading took, from the verification of the files on.
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }
}
