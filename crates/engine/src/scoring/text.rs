//! How likely language models find texts (Jelinek et al. 1977), and how far two of them agree.

use seedhouse_core::runtime::{StepPart, TextExecutor, Wanted};
use seedhouse_core::{Error, Progress, Result};

use crate::text::TextPipeline;
use crate::{Slot, SpecialTokens};

/// Tokens of a text that are computed together. Their logits are in memory at the same time.
const TOKENS_TOGETHER: usize = 64;

/// The longest piece of a text that is scored as one: every piece begins without a context, so that pieces of one length compare.
const LONGEST_PIECE: usize = 512;

/// How likely a model finds texts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TextScore {
    /// Tokens that were predicted: all but the first of each piece.
    pub tokens: u64,
    /// The sum of `-ln p` over them.
    pub negative_log_likelihood: f64,
    /// How many of them the model would have chosen.
    pub right: u64,
}

impl TextScore {
    /// Returns `exp` of the mean `-ln p` of a token; `None` without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.negative_log_likelihood / self.tokens as f64).exp())
    }

    /// Returns the share of tokens that the model would have chosen; `None` without tokens.
    pub fn accuracy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.right as f64 / self.tokens as f64)
    }
}

/// How far two models agree on the next token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TextAgreement {
    /// Tokens at which they were compared.
    pub tokens: u64,
    /// At how many of them both would choose the same.
    pub same_choice: u64,
    /// The sum of the Kullback-Leibler divergences of the second model's probabilities from the first's, in nats.
    pub divergence: f64,
}

impl TextAgreement {
    /// Returns the share of tokens at which both choose the same; `None` without tokens.
    pub fn same_choice_share(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.same_choice as f64 / self.tokens as f64)
    }

    /// Returns the mean divergence; `None` without tokens.
    pub fn mean_divergence(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.divergence / self.tokens as f64)
    }
}

impl Slot {
    /// Scores texts, each for itself, in pieces of at most 512 tokens and the context of the model. Counts texts as progress.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a language model, [`Error::Invalid`] for a character that the vocabulary cannot express,
    /// [`Error::Cancelled`].
    pub fn score_texts(&self, texts: &[&str], progress: &dyn Progress) -> Result<TextScore> {
        let model = self.text()?;
        let mut score = TextScore::default();
        let mut executor = model.executor()?;
        for text in texts {
            for piece in pieces(model, text)? {
                each_prediction(&mut [executor.as_mut()], &piece, progress, &mut |logits, next| {
                    score.add(logits[0], next);
                    Ok(())
                })?;
            }
            progress.advance(1);
        }
        Ok(score)
    }
}

/// Scores texts with two models of one vocabulary, and compares what they predict.
///
/// # Errors
/// As [`Slot::score_texts`], and [`Error::Invalid`] when their tokens differ.
pub fn compare_texts(
    first: &Slot,
    second: &Slot,
    texts: &[&str],
    progress: &dyn Progress,
) -> Result<(TextScore, TextScore, TextAgreement)> {
    let models = [first.text()?, second.text()?];
    let [one, other] = models.map(|model| model.info().tokenizer.model.tokens());
    if one != other {
        let rule = format!("must have the vocabulary of `{}`, to be compared with it", first.model_id());
        return Err(Error::invalid("against", second.model_id(), rule));
    }
    let (mut scores, mut agreement) = ([TextScore::default(); 2], TextAgreement::default());
    let [mut one, mut other] = [models[0].executor()?, models[1].executor()?];
    for text in texts {
        for piece in pieces(models[0], text)? {
            each_prediction(&mut [one.as_mut(), other.as_mut()], &piece, progress, &mut |logits, next| {
                scores[0].add(logits[0], next);
                scores[1].add(logits[1], next);
                agreement.add(logits[0], logits[1]);
                Ok(())
            })?;
        }
        progress.advance(1);
    }
    let [first, second] = scores;
    Ok((first, second, agreement))
}

/// Cuts a text into pieces that fit the context. A piece of one token predicts nothing and is left out.
fn pieces(model: &TextPipeline, text: &str) -> Result<Vec<Vec<u32>>> {
    let info = model.info();
    let start = info.tokenizer.bos.filter(|_| info.tokenizer.add_bos);
    let length = info.context_length.min(LONGEST_PIECE).saturating_sub(usize::from(start.is_some())).max(1);
    let tokens = model.encode(text, SpecialTokens::Ignore)?;
    let with_start = |piece: &[u32]| start.into_iter().chain(piece.iter().copied()).collect::<Vec<u32>>();
    Ok(tokens.chunks(length).map(with_start).filter(|piece| piece.len() > 1).collect())
}

/// Hears what each model predicts, and the token that follows.
type Found<'f> = dyn FnMut(&[&[f32]], u32) -> Result<()> + 'f;

/// Calls `found` with what each of the models predicts after each token of a piece but the last, and with the token that follows.
fn each_prediction(
    models: &mut [&mut dyn TextExecutor],
    piece: &[u32],
    progress: &dyn Progress,
    found: &mut Found<'_>,
) -> Result<()> {
    let mut sequences = Vec::with_capacity(models.len());
    for model in models.iter_mut() {
        sequences.push(model.open()?);
    }
    let asked = &piece[..piece.len() - 1];
    let mut result = Ok(());
    for (block, tokens) in asked.chunks(TOKENS_TOGETHER).enumerate() {
        result = progress.check().and_then(|()| {
            let mut predicted = Vec::with_capacity(models.len());
            for (model, sequence) in models.iter_mut().zip(&sequences) {
                let part = StepPart { sequence: *sequence, tokens, wanted: Wanted::All };
                predicted.push(model.step(&[part])?);
            }
            (0..tokens.len()).try_for_each(|place| {
                let logits: Vec<&[f32]> = predicted.iter().map(|logits| logits.row(place)).collect();
                found(&logits, piece[block * TOKENS_TOGETHER + place + 1])
            })
        });
        if result.is_err() {
            break;
        }
    }
    models.iter_mut().zip(sequences).for_each(|(model, sequence)| model.close(sequence));
    result
}

impl TextScore {
    fn add(&mut self, logits: &[f32], next: u32) {
        let next = next as usize;
        self.tokens += 1;
        self.negative_log_likelihood += log_sum(logits) - f64::from(logits[next]);
        self.right += u64::from(best(logits) == next);
    }
}

impl TextAgreement {
    fn add(&mut self, first: &[f32], second: &[f32]) {
        let (first_sum, second_sum) = (log_sum(first), log_sum(second));
        let divergence = first.iter().zip(second).map(|(one, other)| {
            let one = f64::from(*one) - first_sum;
            one.exp() * (one - (f64::from(*other) - second_sum))
        });
        self.tokens += 1;
        self.same_choice += u64::from(best(first) == best(second));
        // Rounding may make a divergence of nothing slightly negative.
        self.divergence += divergence.sum::<f64>().max(0.0);
    }
}

/// Returns the first of the greatest logits.
fn best(logits: &[f32]) -> usize {
    let mut best = 0;
    for (place, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = place;
        }
    }
    best
}

/// Returns `ln` of the sum of `exp` of the logits.
fn log_sum(logits: &[f32]) -> f64 {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    greatest + logits.iter().map(|logit| (f64::from(*logit) - greatest).exp()).sum::<f64>().ln()
}
