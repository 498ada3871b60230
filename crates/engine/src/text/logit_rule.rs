//! Rules that change logits by what was said before. Each is pure and knows nothing of the others.

use std::collections::HashMap;

/// A change of logits before a token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LogitRule {
    /// Adds to the logits of tokens (OpenAI's `logit_bias`).
    Bias(Vec<(u32, f32)>),
    /// Divides positive and multiplies negative logits of every token of prompt and answer (Hugging Face's `repetition_penalty`,
    /// Keskar et al. 2019).
    Repetition(f32),
    /// Takes `presence` once, and `frequency` for every time, from the logits of the tokens of the answer (OpenAI's penalties).
    Occurrence { presence: f32, frequency: f32 },
    /// Forbids a token that would complete a run of this many tokens which prompt or answer have already (Hugging Face's
    /// `no_repeat_ngram_size`).
    NoRepeat(usize),
}

/// What was said before.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    tokens: Vec<u32>,
    /// Every token of prompt and answer, and how often it came in the answer.
    counts: HashMap<u32, u32>,
}

impl History {
    /// Returns the history of an answer that begins.
    pub(crate) fn new(prompt: &[u32]) -> History {
        let counts = prompt.iter().map(|token| (*token, 0)).collect();
        History { tokens: prompt.to_vec(), counts }
    }

    /// Adds a token of the answer.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        *self.counts.entry(token).or_default() += 1;
    }
}

impl LogitRule {
    /// Changes `logits`; ids beyond them are none of the model's tokens.
    pub(crate) fn apply(&self, history: &History, logits: &mut [f32]) {
        match self {
            LogitRule::Bias(biases) => change(logits, biases.iter().copied(), |logit, bias| logit + bias),
            LogitRule::Repetition(penalty) => {
                let seen = history.counts.keys().map(|token| (*token, *penalty));
                change(logits, seen, |logit, penalty| if logit > 0.0 { logit / penalty } else { logit * penalty });
            }
            LogitRule::Occurrence { presence, frequency } => {
                let said = history.counts.iter().filter(|(_, count)| **count > 0);
                let penalties = said.map(|(token, count)| (*token, presence + frequency * *count as f32));
                change(logits, penalties, |logit, penalty| logit - penalty);
            }
            LogitRule::NoRepeat(size) => {
                let forbidden = completions(&history.tokens, *size).map(|token| (token, f32::NEG_INFINITY));
                change(logits, forbidden, |_, forbidden| forbidden);
            }
        }
    }
}

fn change(logits: &mut [f32], values: impl Iterator<Item = (u32, f32)>, change: impl Fn(f32, f32) -> f32) {
    for (token, value) in values {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = change(*logit, value);
        }
    }
}

/// Returns the tokens that came after earlier runs equal to the last `size - 1` tokens.
fn completions(tokens: &[u32], size: usize) -> impl Iterator<Item = u32> {
    let beginning = tokens.len().checked_sub(size - 1).map(|start| &tokens[start..]);
    tokens.windows(size).filter_map(move |run| {
        let (last, others) = run.split_last()?;
        (Some(others) == beginning).then_some(*last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(rule: &LogitRule, prompt: &[u32], answer: &[u32], logits: &[f32]) -> Vec<f32> {
        let mut history = History::new(prompt);
        answer.iter().for_each(|token| history.push(*token));
        let mut logits = logits.to_vec();
        rule.apply(&history, &mut logits);
        logits
    }

    #[test]
    fn repetition_penalty_weakens_tokens_of_prompt_and_answer_whatever_their_sign() {
        let rule = LogitRule::Repetition(2.0);
        assert_eq!(changed(&rule, &[0, 1, 1], &[2], &[4.0, -1.0, 0.0, 4.0]), [2.0, -2.0, 0.0, 4.0]);
    }

    #[test]
    fn occurrence_penalties_count_the_answer_only() {
        let rule = LogitRule::Occurrence { presence: 0.5, frequency: 0.25 };
        assert_eq!(changed(&rule, &[0, 0], &[1, 2, 2], &[1.0; 4]), [1.0, 0.25, 0.0, 1.0]);
    }

    #[test]
    fn bias_is_added_and_ids_beyond_the_vocabulary_are_nobodys() {
        let rule = LogitRule::Bias(vec![(1, 100.0), (0, -100.0), (9, 5.0)]);
        assert_eq!(changed(&rule, &[], &[], &[1.0, 1.0]), [-99.0, 101.0]);
    }

    #[test]
    fn runs_are_not_repeated() {
        let forbidden = |size, prompt: &[u32], answer: &[u32]| -> Vec<u32> {
            let logits = changed(&LogitRule::NoRepeat(size), prompt, answer, &[0.0; 8]);
            (0..8).filter(|id| logits[*id as usize] == f32::NEG_INFINITY).collect()
        };
        assert_eq!(forbidden(2, &[1, 2, 3, 1], &[]), [2]);
        assert_eq!(forbidden(2, &[1, 2, 1], &[4, 1]), [2, 4]);
        assert_eq!(forbidden(3, &[1, 2, 3, 1], &[2]), [3]);
        assert_eq!(forbidden(1, &[1, 2], &[5]), [1, 2, 5]);
        assert_eq!(forbidden(3, &[1, 2], &[]), [] as [u32; 0], "too short for a run");
        assert_eq!(forbidden(9, &[1], &[]), [] as [u32; 0]);
    }
}
