//! Beam search: several beginnings of an answer are kept, and the best whole answers win.
//!
//! The bookkeeping is that of Hugging Face's `generate(num_beams=…)`: candidates are the sums of log-probabilities; an answer that
//! ends among the best `width` candidates is kept with its sum divided by `length ^ length_penalty`.

use std::borrow::Cow;
use std::cmp::Ordering;

use seedhouse_core::{Error, Result};

use super::exponential::{largest, sum_of_exponentials};
use super::filter::Candidate;
use super::sampling::RuledLogits;
use super::selection::best_of;

const WIDEST: usize = 32;
const HIGHEST_LENGTH_PENALTY: f32 = 10.0;

/// How a beam search goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Beams {
    /// How many beginnings are kept; from 1 to 32.
    pub width: usize,
    /// The sum of log-probabilities is divided by the length to this power: above 0 favours long answers, below 0 short ones.
    pub length_penalty: f32,
    /// When enough is found.
    pub early_stopping: EarlyStopping,
}

/// When a beam search ends, given as many whole answers as it is wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyStopping {
    /// At once.
    Always,
    /// When no beginning, as long as it is now, could become better than the worst of them.
    Likely,
    /// When no beginning could become better, however long it grows.
    Never,
}

impl Beams {
    /// Returns a search with Hugging Face's defaults.
    pub fn of_width(width: usize) -> Beams {
        Beams { width, length_penalty: 1.0, early_stopping: EarlyStopping::Likely }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=WIDEST).contains(&self.width) {
            return Err(Error::invalid("beam_width", self.width, format!("must be from 1 to {WIDEST}")));
        }
        if !(-HIGHEST_LENGTH_PENALTY..=HIGHEST_LENGTH_PENALTY).contains(&self.length_penalty) {
            let rule = format!("must be a number from -{HIGHEST_LENGTH_PENALTY} to {HIGHEST_LENGTH_PENALTY}");
            return Err(Error::invalid("length_penalty", self.length_penalty, rule));
        }
        Ok(())
    }

    fn score(&self, sum: f64, length: usize) -> f64 {
        sum / (length as f64).powf(f64::from(self.length_penalty))
    }
}

/// A beginning of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Beam {
    /// The tokens of the answer.
    pub(crate) tokens: Vec<u32>,
    sum: f64,
    rules: RuledLogits,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hypothesis {
    /// Its tokens, the one that ended it included.
    pub(crate) tokens: Vec<u32>,
    /// What it is compared by.
    pub(crate) score: f64,
    /// Whether the model or a stop string ended it, not the limit of the length.
    pub(crate) ended: bool,
}

/// A search in progress.
pub(crate) struct BeamSearch {
    beams: Beams,
    longest: usize,
    running: Vec<Beam>,
    found: Vec<Hypothesis>,
}

/// A beam of the next step: which beam of this one it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent(pub(crate) usize);

impl BeamSearch {
    /// Starts a search with one empty beam; answers have at most `longest` tokens.
    pub(crate) fn new(beams: Beams, rules: RuledLogits, longest: usize) -> BeamSearch {
        let first = Beam { tokens: Vec::new(), sum: 0.0, rules };
        BeamSearch { beams, longest, running: vec![first], found: Vec::new() }
    }

    /// Returns the beams, in the order in which their logits are wanted.
    pub(crate) fn running(&self) -> &[Beam] {
        &self.running
    }

    /// Takes the logits that follow each beam and returns which beam each of the new ones continues; none when the search is over.
    /// `ends` says whether a token ends the answer that it is added to.
    pub(crate) fn advance(&mut self, logits: &[&[f32]], ends: &dyn Fn(&[u32], u32) -> bool) -> Vec<Parent> {
        let width = self.beams.width;
        let mut next: Vec<(usize, Candidate)> = Vec::new();
        for (index, (beam, logits)) in self.running.iter().zip(logits).enumerate() {
            // Twice the width: even if that many end, as many go on.
            let best = best_of(&beam.log_probabilities(logits), 2 * width);
            let possible = best.into_iter().filter(|candidate| candidate.logit > f64::NEG_INFINITY);
            next.extend(possible.map(|token| (index, Candidate { logit: beam.sum + token.logit, ..token })));
        }
        next.sort_by(|(a_beam, a), (b_beam, b)| {
            b.logit.total_cmp(&a.logit).then(a_beam.cmp(b_beam)).then(a.id.cmp(&b.id))
        });
        next.truncate(2 * width);
        let (mut parents, mut running) = (Vec::new(), Vec::new());
        for (rank, (parent, candidate)) in next.into_iter().enumerate() {
            let beam = self.running[parent].continued(candidate);
            if ends(&self.running[parent].tokens, candidate.id) {
                if rank < width {
                    self.add(&beam, true);
                }
            } else if running.len() < width {
                running.push(beam);
                parents.push(Parent(parent));
            }
        }
        self.running = running;
        let is_longest = self.running.first().is_some_and(|beam| beam.tokens.len() >= self.longest);
        if is_longest {
            for beam in std::mem::take(&mut self.running) {
                self.add(&beam, false);
            }
        }
        if self.is_over() { Vec::new() } else { parents }
    }

    /// Takes the best answers out of a search that is over, best first.
    pub(crate) fn take_best(&mut self, count: usize) -> Vec<Hypothesis> {
        self.found.truncate(count);
        std::mem::take(&mut self.found)
    }

    fn add(&mut self, beam: &Beam, ended: bool) {
        let score = self.beams.score(beam.sum, beam.tokens.len());
        self.found.push(Hypothesis { tokens: beam.tokens.clone(), score, ended });
        // Stable: of equal ones the first stays in front.
        self.found.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal));
        self.found.truncate(self.beams.width);
    }

    fn is_over(&self) -> bool {
        let Some(best) = self.running.first() else { return true };
        let (Some(worst), true) = (self.found.last(), self.found.len() == self.beams.width) else { return false };
        let attainable = match self.beams.early_stopping {
            EarlyStopping::Always => return true,
            EarlyStopping::Likely => self.beams.score(best.sum, best.tokens.len()),
            EarlyStopping::Never if self.beams.length_penalty > 0.0 => self.beams.score(best.sum, self.longest),
            EarlyStopping::Never => self.beams.score(best.sum, best.tokens.len()),
        };
        worst.score >= attainable
    }
}

impl Beam {
    /// Log-probabilities after the rules, which see them instead of logits as in Hugging Face's `generate`.
    fn log_probabilities(&self, logits: &[f32]) -> Vec<f32> {
        let normaliser = log_of_sum(logits);
        let log_probabilities = logits.iter().map(|logit| (f64::from(*logit) - normaliser) as f32).collect();
        self.rules.apply(Cow::Owned(log_probabilities)).into_owned()
    }

    fn continued(&self, candidate: Candidate) -> Beam {
        let mut beam = self.clone();
        beam.tokens.push(candidate.id);
        beam.rules.push(candidate.id);
        beam.sum = candidate.logit;
        beam
    }
}

/// Returns the logarithm of the sum of the exponentials of logits: what is taken from a logit to get its log-probability.
pub(crate) fn log_of_sum(logits: &[f32]) -> f64 {
    let best = largest(logits);
    f64::from(best) + sum_of_exponentials(logits, best, 1.0, f32::INFINITY).ln()
}

#[cfg(test)]
mod tests {
    use super::super::sampling::{Sampling, SamplingParameters};
    use super::*;

    const END: u32 = 3;

    /// Log-probabilities of four tokens after an answer; a small language whose best answer a greedy search misses.
    fn language(tokens: &[u32]) -> Vec<f32> {
        let shares: [f32; 4] = match tokens {
            [] => [0.5, 0.4, 0.1, 1e-9],
            [0] => [0.3, 0.3, 0.2, 0.2],
            [1] => [0.05, 0.04, 0.01, 0.9],
            _ => [0.1, 0.1, 0.1, 0.7],
        };
        shares.map(f32::ln).to_vec()
    }

    fn search(beams: Beams, longest: usize, count: usize) -> Vec<Hypothesis> {
        let rules = Sampling::new(&SamplingParameters::default()).unwrap().ruled_logits(&[]);
        let mut search = BeamSearch::new(beams, rules, longest);
        loop {
            let rows: Vec<Vec<f32>> = search.running().iter().map(|beam| language(&beam.tokens)).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let before: Vec<Vec<u32>> = search.running().iter().map(|beam| beam.tokens.clone()).collect();
            let parents = search.advance(&rows, &|_, token| token == END);
            if parents.is_empty() {
                return search.take_best(count);
            }
            for (parent, beam) in parents.iter().zip(search.running()) {
                assert_eq!(beam.tokens[..beam.tokens.len() - 1], before[parent.0]);
            }
        }
    }

    #[test]
    fn answer_that_greedy_search_misses_is_found() {
        let best = search(Beams { length_penalty: 0.0, ..Beams::of_width(2) }, 5, 2);
        assert_eq!(best[0].tokens, [1, END]);
        assert!((best[0].score - (0.4f64 * 0.9).ln()).abs() < 1e-6 && best[0].ended);
        assert!(best[1].score < best[0].score);
    }

    #[test]
    fn width_of_one_is_greedy() {
        assert_eq!(search(Beams::of_width(1), 3, 1)[0].tokens, [0, 0, END]);
    }

    #[test]
    fn limit_of_the_length_makes_answers_of_beginnings() {
        let best = search(Beams { length_penalty: 0.0, ..Beams::of_width(2) }, 1, 2);
        assert_eq!((best[0].tokens.as_slice(), best[0].ended), (&[0][..], false));
        assert_eq!(best[1].tokens, [1]);
    }

    #[test]
    fn length_penalty_moves_the_choice_to_long_or_short_answers() {
        let of = |length_penalty| {
            let beams = Beams { length_penalty, early_stopping: EarlyStopping::Never, ..Beams::of_width(3) };
            search(beams, 6, 1)[0].tokens.len()
        };
        assert!(of(5.0) > of(-5.0), "{} and {}", of(5.0), of(-5.0));
    }

    #[test]
    fn search_ends_as_it_is_told() {
        let of = |early_stopping| {
            let beams = Beams { early_stopping, length_penalty: 2.0, ..Beams::of_width(2) };
            search(beams, 6, 1)[0].score
        };
        assert!(of(EarlyStopping::Never) >= of(EarlyStopping::Likely));
        assert!(of(EarlyStopping::Likely) >= of(EarlyStopping::Always));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for (beams, field) in [
            (Beams::of_width(0), "beam_width"),
            (Beams::of_width(33), "beam_width"),
            (Beams { length_penalty: f32::NAN, ..Beams::of_width(2) }, "length_penalty"),
        ] {
            assert_eq!(beams.check().unwrap_err().field(), Some(field));
        }
    }
}
