//! What a loaded version makes of examples whose right answer is known, where an answer alone does not tell: how likely a language
//! model finds a text, how well a diffusion model tells noise from image, and whether two versions compute the same.
//!
//! Both are the same for the same bytes, examples and instructions, whatever else runs.

mod denoising;
mod difference;
mod text;

pub use denoising::{DenoisingExamples, DenoisingScore};
pub use difference::difference;
pub use text::{TextAgreement, TextScore, compare_texts};
