//! Arguments of the commands that ask a model.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use seedhouse_core::Reference;
use seedhouse_service::{OutOfRange, UnknownCategory, UnknownFeature};
use serde::de::DeserializeOwned;

use crate::language_settings::LanguageArguments;

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// The text to continue, or with --chat what the user says
    pub(crate) prompt: String,

    /// The most new tokens
    #[arg(long, default_value_t = 100)]
    pub(crate) max_tokens: usize,

    /// 0 takes the most likely token each time, as without it; above 0 tokens are drawn
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,

    /// With --temperature: draw among the k most likely tokens; 0 means all, as without it
    #[arg(long)]
    pub(crate) top_k: Option<usize>,

    /// With --temperature: draw among the most likely tokens that together reach this probability, above 0 and at most 1
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,

    /// With --temperature: draw no token with less than this share of the most likely one's probability, from 0 to 1
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,

    /// With --temperature: the same seed gives the same text; 0 without it
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Above 1 weakens tokens that prompt or answer have already: positive logits are divided by it, negative ones multiplied
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) repetition_penalty: f32,

    /// Is taken once from the logits of tokens that the answer has, from -2 to 2
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,

    /// Is taken from the logits of tokens for every time that the answer has them, from -2 to 2
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,

    /// No run of this many tokens comes twice in prompt and answer; 0 is off
    #[arg(long, default_value_t = 0)]
    pub(crate) no_repeat_ngram_size: usize,

    /// Is added to the logit of a token, from -100 to 100; may be repeated
    #[arg(long, value_name = "TOKEN=BIAS", value_parser = token_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,

    /// How many answers; more than one needs --temperature or --beam-width
    #[arg(long, default_value_t = 1)]
    pub(crate) num_return_sequences: usize,

    /// Look for the most likely whole answer, keeping this many beginnings, from 1 to 32
    #[arg(long, conflicts_with = "temperature")]
    pub(crate) beam_width: Option<usize>,

    /// With --beam-width: above 0 favours long answers, below 0 short ones
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, requires = "beam_width")]
    pub(crate) length_penalty: f32,

    /// With --beam-width: end with as many answers as it is wide (`always`), when a better one is unlikely, or when it is impossible
    #[arg(long, value_enum, default_value = "likely", requires = "beam_width")]
    pub(crate) early_stopping: EarlyStoppingArgument,

    /// With --json: tell the log-probability of every token, and of this many likely ones in its place, at most 20
    #[arg(long)]
    pub(crate) logprobs: Option<usize>,

    /// A text that ends the generation and is not part of it; may be repeated
    #[arg(long)]
    pub(crate) stop: Vec<String>,

    /// Use the model's own chat template
    #[arg(long)]
    pub(crate) chat: bool,

    /// With --chat: the system message
    #[arg(long, requires = "chat")]
    pub(crate) system: Option<String>,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// PNG or JPEG files; several are computed together
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,

    /// Print what the model knows of an image before it names classes: a vector, one line for each image
    #[arg(long, conflicts_with = "top_k")]
    pub(crate) features: bool,

    /// How many classes to print; by default 5, or all where there are fewer
    #[arg(long)]
    pub(crate) top_k: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ImagineArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// The PNG file to write; several samples stand side by side in it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// What is to be seen: a label or a number, of a model that was trained with classes
    #[arg(long, value_name = "LABEL|NUMBER")]
    pub(crate) class: Option<String>,

    /// How many images
    #[arg(long, default_value_t = 1)]
    pub(crate) samples: usize,

    /// How many timesteps are gone through; by default 50, or all where the model was trained with fewer
    #[arg(long)]
    pub(crate) steps: Option<usize>,

    /// The same seed gives the same images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// How far the class is followed beyond what the model draws without it, 0 to 100; by default 7.5, 1 is not beyond
    #[arg(long)]
    pub(crate) guidance: Option<f64>,

    /// How one step leads to the next
    #[arg(long, value_enum, default_value = "ddim")]
    pub(crate) sampler: SamplerArgument,

    /// With ddim: how much noise each step adds, from 0 (none) to 1 (as much as ddpm)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) eta: f64,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SamplerArgument {
    /// The shortest way; few steps do
    Ddim,
    /// With all the noise that the model was trained with
    Ddpm,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// Texts; several are computed together
    #[arg(required_unless_present = "file", value_name = "TEXT")]
    pub(crate) texts: Vec<String>,

    /// A file with a text per line, after those of the command line
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// What stands before each text, by its name among those that the model was trained with (e.g. `query`); the model's own choice
    /// when left out
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// A tensor by its name: numbers in nested lists (JSON), or a file with them or with an array of numpy; once for each input
    #[arg(long, value_name = "NAME=JSON|FILE", value_parser = tensor_argument)]
    pub(crate) input: Vec<TensorArgument>,

    /// For a model of tables: a row, e.g. '{"pH": 6.5, "soil": "clay"}'; `null` is a missing value
    #[arg(long, value_name = "JSON", conflicts_with_all = ["input", "rows"])]
    pub(crate) row: Option<String>,

    /// For a model of tables: a file of rows, computed together: CSV with a header, a JSON array of objects, or an object on each line;
    /// `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) rows: Option<PathBuf>,

    /// What is done about a number beyond the range of its feature: `refuse`, or `flag`, which answers all the same and says so
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<OutOfRange>)]
    pub(crate) out_of_range: OutOfRange,

    /// What is done about a text that is none of the categories of its feature: `refuse`, or `missing`, as which it counts
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<UnknownCategory>)]
    pub(crate) unknown_category: UnknownCategory,

    /// What is done about names that no feature has, such as further columns of a table: `refuse` or `ignore`
    #[arg(long, value_name = "POLICY", default_value = "refuse", value_parser = word::<UnknownFeature>)]
    pub(crate) unknown_feature: UnknownFeature,
}

/// Reads a word of a closed set as the API does.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(text.into())
}

#[derive(Debug, Args)]
pub(crate) struct SolveArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@sha256:…`
    pub(crate) reference: Reference,

    /// A value for a parameter of the problem; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = parameter_argument)]
    pub(crate) set: Vec<(String, f64)>,

    /// How many seconds it may take, at most 600; what was found until then is the answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds_argument)]
    pub(crate) timeout: Option<Duration>,
}

fn parameter_argument(text: &str) -> Result<(String, f64), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let number = parts.and_then(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?)));
    number.ok_or_else(|| "must be a name, `=` and a number, e.g. `water=1200`".to_owned())
}

fn seconds_argument(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|duration| !duration.is_zero()).ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

/// A tensor on the command line.
#[derive(Debug, Clone)]
pub(crate) struct TensorArgument {
    /// Its name.
    pub(crate) name: String,
    /// JSON, or a path.
    pub(crate) value: String,
}

fn tensor_argument(text: &str) -> Result<TensorArgument, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok(TensorArgument { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("must be a name, `=` and numbers or a file, e.g. `image=image.npy`".to_owned()),
    }
}

/// When a beam search ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum EarlyStoppingArgument {
    /// With as many answers as it is wide
    Always,
    /// When no beginning, as long as it is, could become better
    Likely,
    /// When no beginning could become better, however long it grows
    Never,
}

fn token_bias(text: &str) -> Result<(u32, f32), String> {
    let parts = text.split_once('=').and_then(|(token, bias)| Some((token.parse().ok()?, bias.parse().ok()?)));
    parts.ok_or_else(|| "must be a token id, `=` and a number, e.g. `42=-5`".to_owned())
}
