//! Language models: the next token after each.

use std::sync::Arc;

use seedhouse_core::dataset::{SplitPart, TextDataset};
use seedhouse_core::training::{TrainTask, TrainWatch};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Batch, Lesson, Prepared, parameters_of};
use crate::hyper_parameters::HyperParameters;
use crate::networks::decoder::{Decoder, Kind, Sizes};
use crate::random::{Purpose, Random};
use crate::start;
use crate::tape::{Loss, Tape};
use crate::tokenizer::TrainedTokenizer;

/// The widest vocabulary that is trained.
const MOST_TOKENS: usize = 1 << 20;

struct Text {
    network: Decoder,
    tokenizer: TrainedTokenizer,
    /// The tokens of the parts that training looks at, one text after the other.
    train: Vec<u32>,
    validation: Vec<u32>,
    seed: u64,
    dropout: f32,
    smoothing: f32,
    architecture: &'static str,
}

/// Reads the task, makes a tokenizer or takes the one of the version to begin with, and encodes all texts.
pub(super) fn prepare(task: &TrainTask<'_>, data: &TextDataset, watch: &dyn TrainWatch) -> Result<Prepared<'static>> {
    // A version to begin with says by its own configuration what the user leaves open.
    let metadata = match task.start {
        Some(files) => start::with_defaults(task.metadata, files)?,
        None => task.metadata.clone(),
    };
    let asked = HyperParameters(&metadata);
    let (kind, architecture) = kind(asked)?;
    let tokenizer = match task.start {
        Some(files) => TrainedTokenizer::read(files)?,
        None => {
            let vocab_size = asked.size_or("vocab_size", MOST_TOKENS, 4096)?;
            TrainedTokenizer::train(&texts(data, SplitPart::Train), vocab_size, watch)?
        }
    };
    let sizes = sizes(asked, kind, tokenizer.vocab_size())?;
    let [train, validation] = [SplitPart::Train, SplitPart::Validation].map(|part| texts(data, part));
    let (train, validation) = (tokenizer.encode(&train, watch)?, tokenizer.encode(&validation, watch)?);
    let shortest = sizes.length + 1;
    for (name, tokens) in [("training", &train), ("validation", &validation)] {
        if tokens.len() < shortest && (name == "training" || !tokens.is_empty()) {
            let rule = format!("must have at least {shortest} tokens, one more than `max_seq_len`");
            return Err(Error::invalid(format!("the {name} part"), format!("{} tokens", tokens.len()), rule));
        }
    }
    let settings = task.settings;
    let mut parameters = parameters_of(task);
    let lesson = Text {
        network: Decoder::new(sizes, &mut parameters),
        tokenizer,
        train,
        validation,
        seed: settings.seed,
        dropout: settings.dropout as f32,
        smoothing: settings.label_smoothing as f32,
        architecture,
    };
    Ok(Prepared { lesson: Box::new(lesson), parameters })
}

fn texts(data: &TextDataset, part: SplitPart) -> Vec<&str> {
    data.texts.iter().zip(&data.parts).filter(|(_, of)| **of == part).map(|(text, _)| text.as_str()).collect()
}

fn kind(asked: HyperParameters<'_>) -> Result<(Kind, &'static str)> {
    match asked.text("architecture")?.unwrap_or("llama") {
        "llama" => Ok((Kind::Llama, "llama")),
        "gpt2" => Ok((Kind::Gpt2, "gpt2")),
        "original" | "post_norm_decoder" => Ok((Kind::PostNorm, "post_norm_decoder")),
        other => Err(Error::invalid("metadata.architecture", other, "must be `llama`, `gpt2` or `original`")),
    }
}

fn sizes(asked: HyperParameters<'_>, kind: Kind, tokens: usize) -> Result<Sizes> {
    if tokens > MOST_TOKENS {
        let found = format!("{tokens} tokens");
        return Err(Error::invalid("tokenizer.json", found, format!("at most {MOST_TOKENS} are trained")));
    }
    let vocab_size = asked.size_or("vocab_size", MOST_TOKENS, tokens)?;
    if vocab_size < tokens {
        return Err(Error::invalid("metadata.vocab_size", vocab_size, format!("the tokenizer has {tokens} tokens")));
    }
    let width = asked.size_or("d_model", 16_384, 256)?;
    let heads = asked.size_or("num_heads", 1024, (width / 64).max(1))?;
    asked.divides("num_heads", heads, width, "`d_model`")?;
    let head_width = width / heads;
    if kind == Kind::Llama && !head_width.is_multiple_of(2) {
        let rule = format!("must leave each head an even number of the {width} numbers of `d_model`");
        return Err(Error::invalid("metadata.num_heads", heads, rule));
    }
    let key_value_heads = match kind {
        Kind::Llama => asked.size_or("num_key_value_heads", heads, heads)?,
        Kind::Gpt2 | Kind::PostNorm => heads,
    };
    asked.divides("num_key_value_heads", key_value_heads, heads, "`num_heads`")?;
    let usual_inner = match kind {
        // Three matrices instead of two: two thirds of the width, in steps of 32.
        Kind::Llama => (8 * width / 3).next_multiple_of(32),
        Kind::Gpt2 | Kind::PostNorm => 4 * width,
    };
    let rotary_base = match asked.get("rope_theta") {
        None => 10_000.0,
        Some(value) => {
            let rule = || Error::invalid("metadata.rope_theta", value, "must be a number above 1");
            value.as_f64().filter(|base| *base > 1.0).ok_or_else(rule)?
        }
    };
    let epsilon = match asked.get("rms_norm_eps") {
        Some(value) if kind == Kind::Llama => {
            let rule = || Error::invalid("metadata.rms_norm_eps", value, "must be a number from 0 to 1");
            value.as_f64().filter(|epsilon| (0.0..1.0).contains(epsilon)).ok_or_else(rule)?
        }
        _ => 1e-5,
    };
    Ok(Sizes {
        kind,
        vocab_size,
        length: asked.size_or("max_seq_len", 1 << 17, 128)?,
        width,
        heads,
        key_value_heads,
        layers: asked.size_or("num_layers", 1000, 4)?,
        inner: asked.size_or("d_ff", 1 << 17, usual_inner)?,
        is_tied: asked.flag("tie_word_embeddings")?.unwrap_or(true),
        rotary_base,
        epsilon,
    })
}

impl Text {
    fn tokens(&self, part: SplitPart) -> &[u32] {
        match part {
            SplitPart::Train => &self.train,
            SplitPart::Validation => &self.validation,
            SplitPart::Test => &[],
        }
    }

    /// Returns where the first window begins: elsewhere in each epoch, so that tokens meet different beginnings.
    fn offset(&self, part: SplitPart, epoch: u64) -> usize {
        let length = self.network.sizes.length;
        match part {
            SplitPart::Train => {
                let slack = self.train.len() - 1 - self.examples(part) * length;
                Random::new(self.seed, Purpose::Order, [epoch, 1]).below(slack.min(length - 1) + 1)
            }
            SplitPart::Validation | SplitPart::Test => 0,
        }
    }
}

impl Lesson for Text {
    fn examples(&self, part: SplitPart) -> usize {
        let (tokens, length) = (self.tokens(part).len().saturating_sub(1), self.network.sizes.length);
        // One window less where there is one to spare: the room in which windows move from epoch to epoch.
        let windows = tokens / length;
        if part == SplitPart::Train && windows > 8 { windows - 1 } else { windows }
    }

    fn loss(&self, tape: &mut Tape<'_>, batch: &Batch<'_>) -> Loss {
        let length = self.network.sizes.length;
        let all = self.tokens(batch.part);
        let offset = self.offset(batch.part, batch.epoch);
        let windows = batch.places.iter().map(|place| &all[offset + *place as usize * length..][..=length]);
        let tokens: Arc<[u32]> = windows.clone().flat_map(|window| &window[..length]).copied().collect();
        let labels: Vec<u32> = windows.flat_map(|window| &window[1..]).copied().collect();
        let smoothing = if tape.is_training() { self.smoothing } else { 0.0 };
        let hidden = self.network.run(tape, tokens, length, self.dropout);
        tape.classify(hidden, self.network.output(), &labels, smoothing)
    }

    fn other_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let end = self.tokenizer.end();
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.tokenizer.end_text(),
            "bos_token": self.tokenizer.end_text(),
            "add_bos_token": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.network.sizes.length,
        });
        let pretty = |value: &Value| {
            serde_json::to_vec_pretty(value)
                .map_err(|error| Error::Internal(format!("a file cannot be written: {error}")))
        };
        Ok(vec![
            ("config.json", pretty(&Value::Object(self.network.config(end)))?),
            ("generation_config.json", pretty(&json!({"bos_token_id": end, "eos_token_id": end}))?),
            ("tokenizer_config.json", pretty(&settings)?),
            ("tokenizer.json", self.tokenizer.json().as_bytes().to_vec()),
        ])
    }

    fn metadata(&self) -> Map<String, Value> {
        let sizes = &self.network.sizes;
        let mut metadata = Map::from_iter([
            ("architecture".to_owned(), self.architecture.into()),
            ("vocab_size".to_owned(), sizes.vocab_size.into()),
            ("max_seq_len".to_owned(), sizes.length.into()),
            ("d_model".to_owned(), sizes.width.into()),
            ("num_heads".to_owned(), sizes.heads.into()),
            ("num_layers".to_owned(), sizes.layers.into()),
            ("d_ff".to_owned(), sizes.inner.into()),
        ]);
        metadata.insert("tie_word_embeddings".into(), sizes.is_tied.into());
        if sizes.kind == Kind::Llama {
            metadata.insert("num_key_value_heads".into(), sizes.key_value_heads.into());
            metadata.insert("rope_theta".into(), sizes.rotary_base.into());
            metadata.insert("rms_norm_eps".into(), sizes.epsilon.into());
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_had_more_tokens_than_any_model_that_is_trained() {
        let error = sizes(HyperParameters(&Map::new()), Kind::Llama, MOST_TOKENS + 1).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("1048577") && error.contains("1048576"), "{error}");
        assert!(sizes(HyperParameters(&Map::new()), Kind::Llama, MOST_TOKENS).is_ok());
    }
}
