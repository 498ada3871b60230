//! What a client may ask of a text generation, and what it means.

use std::collections::BTreeMap;

use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Beams, EarlyStopping, GenerateRequest, Message, Prompt, Sampling, SamplingParameters};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::parameters::{reference, timeout};

/// What to generate: the original's fields with Hugging Face's meaning, and beside them what OpenAI's clients know.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GenerationRequest {
    /// Any reference to a version.
    model_id: String,
    /// The text to continue; this or `messages`.
    prompt: Option<String>,
    /// A conversation, rendered by the model's own chat template.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Vec<Message>>,
    /// The most new tokens.
    #[serde(default = "default_max_length")]
    max_length: usize,
    /// Draw tokens instead of taking the most likely one.
    #[serde(default)]
    do_sample: bool,
    /// Only with `do_sample`; 0 or more.
    #[serde(default = "one")]
    temperature: f32,
    /// Only with `do_sample`; 0 means all.
    #[serde(default)]
    top_k: usize,
    /// Only with `do_sample`; above 0, at most 1.
    #[serde(default = "one")]
    top_p: f32,
    /// Only with `do_sample`: no token with less than this share of the most likely one's probability; 0 to 1.
    #[serde(default)]
    min_p: f32,
    /// Only with `do_sample`: the same seed gives the same text.
    #[serde(default)]
    seed: u64,
    /// Texts that end the generation and are not part of it.
    #[serde(default)]
    stop: Vec<String>,
    /// Answer with server-sent events.
    #[serde(default)]
    stream: bool,
    /// Weakens tokens of prompt and answer: their positive logits are divided by it, negative ones multiplied. 1 is off.
    #[serde(default = "one")]
    repetition_penalty: f32,
    /// Is taken once from the logits of tokens that the answer has; -2 to 2.
    #[serde(default)]
    presence_penalty: f32,
    /// Is taken from the logits of tokens for every time that the answer has them; -2 to 2.
    #[serde(default)]
    frequency_penalty: f32,
    /// No run of this many tokens comes twice in prompt and answer; 0 is off.
    #[serde(default)]
    no_repeat_ngram_size: usize,
    /// Is added to the logits of tokens, by token id; -100 to 100.
    #[serde(default)]
    #[schema(value_type = Object)]
    logit_bias: BTreeMap<String, f32>,
    /// How many answers; more than one needs `do_sample` or `beam_search`, which gives at most `beam_width`.
    #[serde(default = "one_sequence")]
    num_return_sequences: usize,
    /// Look for the most likely whole answer instead of taking token after token.
    #[serde(default)]
    beam_search: bool,
    /// Only with `beam_search`: how many beginnings are kept, 1 to 32.
    #[serde(default = "default_beam_width")]
    beam_width: usize,
    /// Only with `beam_search`: above 0 favours long answers, below 0 short ones.
    #[serde(default = "one")]
    length_penalty: f32,
    /// Only with `beam_search`: true ends with the first `beam_width` answers, false when a better one is unlikely, `never` when
    /// it is impossible.
    #[serde(default = "default_early_stopping")]
    #[schema(value_type = Object)]
    early_stopping: Value,
    /// Tells the log-probability of every token, and of this many likely ones in its place, at most 20.
    logprobs: Option<usize>,
    /// How many seconds the generation may take, waiting included.
    timeout_seconds: Option<f64>,
}

fn default_max_length() -> usize {
    100
}

fn default_beam_width() -> usize {
    5
}

fn default_early_stopping() -> Value {
    Value::Bool(true)
}

fn one() -> f32 {
    1.0
}

fn one_sequence() -> usize {
    1
}

impl GenerationRequest {
    /// Says whether the answer comes in pieces.
    pub(crate) fn is_streamed(&self) -> bool {
        self.stream
    }

    /// Checks the fields that depend on each other, and returns what is asked of which version.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first field that breaks a rule.
    pub(crate) fn decode(self) -> Result<(Reference, GenerateRequest)> {
        // Checked in any case: a value out of range is a mistake even where it has no effect.
        let mut parameters = self.sampling_parameters()?;
        Sampling::new(&SamplingParameters { beams: None, ..parameters.clone() })?;
        self.refuse_what_has_no_effect()?;
        if !self.do_sample {
            parameters.temperature = 0.0;
        }
        let sampling = Sampling::new(&parameters)?;
        let timeout = timeout(self.timeout_seconds)?;
        let prompt = match (self.prompt, self.messages) {
            (Some(text), None) => Prompt::Text(text),
            (None, Some(messages)) => Prompt::Chat(messages),
            (None, None) => {
                return Err(Error::invalid("prompt", "missing", "is required, unless `messages` are given"));
            }
            (Some(_), Some(_)) => return Err(Error::invalid("messages", "…", "cannot stand beside `prompt`")),
        };
        if self.max_length == 0 {
            return Err(Error::invalid("max_length", 0, "must be at least 1"));
        }
        let request = GenerateRequest {
            sampling,
            stop: self.stop,
            answers: self.num_return_sequences,
            logprobs: self.logprobs,
            timeout,
            ..GenerateRequest::new(prompt, self.max_length)
        };
        Ok((reference("model_id", &self.model_id)?, request))
    }

    fn sampling_parameters(&self) -> Result<SamplingParameters> {
        Ok(SamplingParameters {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            logit_bias: self.logit_biases()?,
            seed: self.seed,
            beams: self.beams()?,
        })
    }

    fn logit_biases(&self) -> Result<BTreeMap<u32, f32>> {
        let bias = |(id, bias): (&String, &f32)| match id.parse() {
            Ok(id) => Ok((id, *bias)),
            Err(_) => Err(Error::invalid("logit_bias", id, "must have token ids as names")),
        };
        self.logit_bias.iter().map(bias).collect()
    }

    fn beams(&self) -> Result<Option<Beams>> {
        if !self.beam_search {
            return Ok(None);
        }
        let early_stopping = match &self.early_stopping {
            Value::Bool(true) => EarlyStopping::Always,
            Value::Bool(false) => EarlyStopping::Likely,
            Value::String(text) if text == "never" => EarlyStopping::Never,
            other => return Err(Error::invalid("early_stopping", other, "must be true, false or `never`")),
        };
        Ok(Some(Beams { width: self.beam_width, length_penalty: self.length_penalty, early_stopping }))
    }

    /// Clients that send every field with its default ask for nothing.
    fn refuse_what_has_no_effect(&self) -> Result<()> {
        if self.do_sample && self.beam_search {
            return Err(Error::invalid("do_sample", true, "cannot stand beside `beam_search`, which draws no tokens"));
        }
        let field = match () {
            () if self.do_sample => return Ok(()),
            () if self.temperature != one() => "temperature",
            () if self.top_k != 0 => "top_k",
            () if self.top_p != one() => "top_p",
            () if self.min_p != 0.0 => "min_p",
            () if self.seed != 0 => "seed",
            () if self.num_return_sequences > 1 && !self.beam_search => {
                let rule = "must be 1 without `do_sample` and `beam_search`: the answers would all be the same";
                return Err(Error::invalid("num_return_sequences", self.num_return_sequences, rule));
            }
            () => return Ok(()),
        };
        Err(Error::invalid(
            "do_sample",
            false,
            format!("must be true where `{field}` is given: without it no token is drawn"),
        ))
    }
}
