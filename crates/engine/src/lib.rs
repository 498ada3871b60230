//! What makes inference a service: slots that load once and share a budget of memory, tokenizers, chat templates, the decoding loop, samplers,
//! image pre-processing and the best classes of an answer, drawing with diffusion models, sentence encoders.
//!
//! Models are known only through [`seedhouse_core::runtime`]: tokens in and logits out, or tensors in and tensors out.
//! Calls block; who calls decides where the work runs. Only a language model in use has a thread of its own, which advances the
//! requests of all callers together.
//!
//! ```text
//! engine ── slots                one slot per version, loaded once, within a budget of memory
//!   slot                         a loaded version: a text pipeline, a tensor model, a model of rows or an image classifier
//!     text ── tokenizer, control_tokens, byte_level        text <-> token ids
//!             chat_template                                messages -> prompt
//!             generation                                   a caller's view: request -> pieces -> answers
//!             scheduler                                    all requests of a model, step by step
//!             sampling, beam ── logit_rule, selection, filter, text_stream    logits -> tokens -> text
//!     tensors ── numbers, nested               nested lists <-> tensors of the model's types
//!     problem                                  parameters -> a solution with its names
//!             served ── joining                inputs of several callers -> one batch
//!     batching                                 callers of one model -> batches, in turn
//!     tabular ── row, reading, ends             named values -> raw numbers -> input tensor, results -> classes and targets
//!     named                                    named values, where only the version says what they are
//!     vision ── picture, pixel_image, preprocess           image -> input tensor
//!               labels, ranking                            logits -> named classes
//!     diffusion ── plan, noise, picture        noise -> images, step by step
//!     embedding ── text_cutting, graph_encoder             texts -> tokens -> vectors
//!   scoring                        examples whose right answer is known -> perplexity, agreement, denoising loss, difference of two versions
//!   statistics                     what versions were asked and how they answered, counted
//! ```

#![forbid(unsafe_code)]

mod batching;
mod diffusion;
mod embedding;
mod engine;
mod named;
mod problem;
pub mod scoring;
mod slot;
mod slots;
pub mod statistics;
mod tabular;
mod tensors;
mod text;
mod vision;

pub use batching::{BatchSettings, BatchStatistics, Cancel, Patience};
pub use diffusion::picture::DrawnImage;
pub use diffusion::{ClassChoice, Drawing, DrawingProgress, ImagineRequest, Sampler};
pub use embedding::{EmbedRequest, Embedding, Embeddings};
pub use engine::{Engine, LoadRequest};
pub use named::{NamedAnswer, NamedInput, NamedRequest};
pub use problem::{SolveRequest, Solved};
pub use slot::{Slot, Takes};
pub use slots::{Hold, Lease, MemoryReport, MemorySettings, SlotOptions, SlotReport, SlotState};
pub use tabular::{
    Cell, Flag, OutOfRange, Row, RowAnswer, RowOutcome, TabularAnswer, TabularPolicies, TabularRequest,
    UnknownCategory, UnknownFeature,
};
pub use tensors::{NestedTensor, Numbers, PredictRequest, TensorOutputs, Values};
pub use text::TextPipeline;
pub use text::beam::{Beams, EarlyStopping};
pub use text::chat_template::Message;
pub use text::generation::{Continuation, FinishReason, GenerateRequest, Generation, Piece, Prompt};
pub use text::logprobs::{ChosenToken, TokenLogprob};
pub use text::sampling::{Sampling, SamplingParameters};
pub use text::scheduler::settings::TextSettings;
pub use text::scheduler::statistics::TextStatistics;
pub use text::tokenizer::SpecialTokens;
pub use vision::pixel_image::{PixelImage, PixelRows};
pub use vision::ranking::Prediction;
pub use vision::{Classification, ClassifyRequest, ImageFeatures, ImageInput};
