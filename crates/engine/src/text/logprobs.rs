//! How likely the model found the tokens of an answer.

use super::beam::log_of_sum;
use super::selection::best_of;

/// A token and the natural logarithm of its probability by the model alone: before bias, penalties, temperature and filters.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Its id.
    pub id: u32,
    /// What it prints: possibly half a character, nothing for control tokens.
    pub bytes: Vec<u8>,
    /// The logarithm.
    pub logprob: f64,
}

/// A chosen token with the most likely ones in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenToken {
    /// The token that became part of the answer.
    pub chosen: TokenLogprob,
    /// As many of the most likely as were asked for, best first.
    pub top: Vec<TokenLogprob>,
}

/// Returns the figures of a token chosen from `logits`.
pub(crate) fn logprobs(logits: &[f32], chosen: u32, top: usize, bytes: &dyn Fn(u32) -> Vec<u8>) -> ChosenToken {
    let normaliser = log_of_sum(logits);
    let of = |id: u32, logit: f64| TokenLogprob { id, bytes: bytes(id), logprob: logit - normaliser };
    ChosenToken {
        chosen: of(chosen, f64::from(logits[chosen as usize])),
        top: best_of(logits, top).into_iter().map(|candidate| of(candidate.id, candidate.logit)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_logarithms_of_the_probabilities() {
        let shares = [0.5f32, 0.3, 0.15, 0.05];
        let logits = shares.map(|share| share.ln() + 5.0);
        let chosen = logprobs(&logits, 2, 2, &|id| vec![id as u8]);
        let close = |token: &TokenLogprob, id: u32| {
            assert_eq!((token.id, token.bytes.as_slice()), (id, &[id as u8][..]));
            assert!((token.logprob - f64::from(shares[id as usize]).ln()).abs() < 1e-6, "{token:?}");
        };
        close(&chosen.chosen, 2);
        assert_eq!(chosen.top.len(), 2);
        close(&chosen.top[0], 0);
        close(&chosen.top[1], 1);
        assert!(logprobs(&logits, 0, 0, &|_| Vec::new()).top.is_empty());
    }
}
