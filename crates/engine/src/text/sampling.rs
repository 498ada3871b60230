//! How the next token is chosen: rules on the logits, then the best one, or a seeded draw after a chain of filters.
//!
//! ```text
//! logits ── bias ── repetition ── presence, frequency ── no repeated runs ──┬── the best
//!                                                                           └── temperature ── top-k ── top-p ── min-p ── draw
//! ```
//!
//! The order is that of Hugging Face's `generate`, with OpenAI's bias and penalties where vLLM has them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use seedhouse_core::{Error, Result};

use super::beam::Beams;
use super::exponential::{exponential, largest, sum_of_exponentials};
use super::filter::{Candidate, Candidates, Filter, best_logit};
use super::logit_rule::{History, LogitRule};
use super::selection::{at_least, best_of};

const HIGHEST_TEMPERATURE: f32 = 100.0;
const HIGHEST_PENALTY: f32 = 2.0;
const HIGHEST_BIAS: f32 = 100.0;
const MOST_BIASES: usize = 1024;

/// How tokens are to be chosen, as a caller says it. The default takes the most likely token each time.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParameters {
    /// Distances between logits are divided by it; 0 takes the most likely token. From 0 to 100.
    pub temperature: f32,
    /// Draws among this many of the most likely tokens; 0 is all.
    pub top_k: usize,
    /// Draws among the most likely tokens that together reach this probability; above 0, at most 1.
    pub top_p: f32,
    /// Draws among tokens with at least this share of the most likely one's probability; from 0 to 1.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens of prompt and answer: above 1 weakens, below 1 strengthens.
    pub repetition_penalty: f32,
    /// Is taken once from the logits of tokens of the answer; from -2 to 2.
    pub presence_penalty: f32,
    /// Is taken from the logits of tokens of the answer for every time they came; from -2 to 2.
    pub frequency_penalty: f32,
    /// No run of this many tokens comes twice in prompt and answer; 0 is off.
    pub no_repeat_ngram_size: usize,
    /// Is added to the logits of tokens; from -100 to 100.
    pub logit_bias: BTreeMap<u32, f32>,
    /// The same seed on the same prompt gives the same text.
    pub seed: u64,
    /// Beam search instead of one token after the other.
    pub beams: Option<Beams>,
}

impl Default for SamplingParameters {
    fn default() -> SamplingParameters {
        SamplingParameters {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram_size: 0,
            logit_bias: BTreeMap::new(),
            seed: 0,
            beams: None,
        }
    }
}

/// A checked way to choose tokens. The same seed on the same logits chooses the same tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    rules: Vec<LogitRule>,
    choice: Choice,
}

#[derive(Debug, Clone, PartialEq)]
enum Choice {
    Best,
    Draw(Draw),
    Beams(Beams),
}

/// The filters before a draw.
#[derive(Debug, Clone, PartialEq)]
struct Draw {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    seed: u64,
}

impl Sampling {
    /// Returns the choice of the best token, the one with the lowest id among equals.
    pub fn greedy() -> Sampling {
        Sampling { rules: Vec::new(), choice: Choice::Best }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first parameter that is out of its range, and for beams beside a temperature.
    pub fn new(parameters: &SamplingParameters) -> Result<Sampling> {
        check_ranges(parameters)?;
        check_biases(&parameters.logit_bias)?;
        let choice = match &parameters.beams {
            Some(beams) if parameters.temperature > 0.0 => {
                return Err(Error::invalid("beam_width", beams.width, "no tokens are drawn in a beam search"));
            }
            Some(beams) => {
                beams.check()?;
                Choice::Beams(beams.clone())
            }
            None if parameters.temperature == 0.0 => Choice::Best,
            None => {
                let SamplingParameters { temperature, top_k, top_p, min_p, seed, .. } = *parameters;
                Choice::Draw(Draw { temperature, top_k, top_p, min_p, seed })
            }
        };
        Ok(Sampling { rules: rules(parameters), choice })
    }

    /// Returns the width, length penalty and end of a beam search, if it is one.
    pub fn beams(&self) -> Option<&Beams> {
        match &self.choice {
            Choice::Beams(beams) => Some(beams),
            Choice::Best | Choice::Draw(_) => None,
        }
    }

    /// Checks that a bias is on tokens of the model.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first that is not.
    pub(crate) fn check_vocabulary(&self, token_count: usize) -> Result<()> {
        let biases = self.rules.iter().find_map(|rule| match rule {
            LogitRule::Bias(biases) => Some(biases),
            LogitRule::Repetition(_) | LogitRule::Occurrence { .. } | LogitRule::NoRepeat(_) => None,
        });
        match biases.into_iter().flatten().find(|(token, _)| *token as usize >= token_count) {
            Some((token, _)) => {
                let rule = format!("must name tokens of the model, which has {token_count}");
                Err(Error::invalid("logit_bias", token, rule))
            }
            None => Ok(()),
        }
    }

    /// Starts the choices of the answer with this index. The first of several answers is the one that a single one would be.
    pub(crate) fn sampler(&self, prompt: &[u32], answer: usize) -> Sampler {
        /// Distance of the seeds: odd, and far from 1, so that the seeds of neighbouring requests do not meet (2^64 / golden ratio).
        const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;
        let draw = match &self.choice {
            Choice::Draw(draw) => {
                let seed = draw.seed.wrapping_add(STRIDE.wrapping_mul(answer as u64));
                Some((draw.clone(), Pcg64::seed_from_u64(seed)))
            }
            Choice::Best | Choice::Beams(_) => None,
        };
        Sampler { rules: RuledLogits::new(self.rules.clone(), prompt), draw }
    }

    /// Starts the rules of a beam.
    pub(crate) fn ruled_logits(&self, prompt: &[u32]) -> RuledLogits {
        RuledLogits::new(self.rules.clone(), prompt)
    }
}

fn check_ranges(parameters: &SamplingParameters) -> Result<()> {
    let highest = |field, value: f32, least: f32, most: f32| match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(Error::invalid(field, value, format!("must be a number from {least} to {most}"))),
    };
    let SamplingParameters { temperature, top_p, min_p, repetition_penalty, .. } = *parameters;
    highest("temperature", temperature, 0.0, HIGHEST_TEMPERATURE)?;
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Error::invalid("top_p", top_p, "must be a number above 0 and at most 1"));
    }
    highest("min_p", min_p, 0.0, 1.0)?;
    if !(repetition_penalty > 0.0 && repetition_penalty.is_finite()) {
        return Err(Error::invalid("repetition_penalty", repetition_penalty, "must be a number above 0"));
    }
    highest("presence_penalty", parameters.presence_penalty, -HIGHEST_PENALTY, HIGHEST_PENALTY)?;
    highest("frequency_penalty", parameters.frequency_penalty, -HIGHEST_PENALTY, HIGHEST_PENALTY)
}

fn check_biases(biases: &BTreeMap<u32, f32>) -> Result<()> {
    if biases.len() > MOST_BIASES {
        return Err(Error::invalid("logit_bias", biases.len(), format!("must be for at most {MOST_BIASES} tokens")));
    }
    for (token, bias) in biases {
        if !(-HIGHEST_BIAS..=HIGHEST_BIAS).contains(bias) {
            let rule = format!("must be a number from -{HIGHEST_BIAS} to {HIGHEST_BIAS}");
            return Err(Error::invalid(format!("logit_bias.{token}"), bias, rule));
        }
    }
    Ok(())
}

/// Rules without an effect are left out: they would cost a copy of the logits.
fn rules(parameters: &SamplingParameters) -> Vec<LogitRule> {
    let SamplingParameters { repetition_penalty, presence_penalty: presence, frequency_penalty: frequency, .. } =
        *parameters;
    let mut rules = Vec::new();
    if !parameters.logit_bias.is_empty() {
        rules.push(LogitRule::Bias(parameters.logit_bias.iter().map(|(token, bias)| (*token, *bias)).collect()));
    }
    if repetition_penalty != 1.0 {
        rules.push(LogitRule::Repetition(repetition_penalty));
    }
    if presence != 0.0 || frequency != 0.0 {
        rules.push(LogitRule::Occurrence { presence, frequency });
    }
    if parameters.no_repeat_ngram_size > 0 {
        rules.push(LogitRule::NoRepeat(parameters.no_repeat_ngram_size));
    }
    rules
}

/// The rules of one answer and what it has said.
#[derive(Debug, Clone)]
pub(crate) struct RuledLogits {
    rules: Vec<LogitRule>,
    history: History,
}

impl RuledLogits {
    fn new(rules: Vec<LogitRule>, prompt: &[u32]) -> RuledLogits {
        let history = if rules.is_empty() { History::default() } else { History::new(prompt) };
        RuledLogits { rules, history }
    }

    /// Returns the logits after the rules.
    pub(crate) fn apply<'l>(&self, logits: Cow<'l, [f32]>) -> Cow<'l, [f32]> {
        if self.rules.is_empty() {
            return logits;
        }
        let mut changed = logits.into_owned();
        self.rules.iter().for_each(|rule| rule.apply(&self.history, &mut changed));
        Cow::Owned(changed)
    }

    /// Adds a chosen token to what the rules look at.
    pub(crate) fn push(&mut self, token: u32) {
        if !self.rules.is_empty() {
            self.history.push(token);
        }
    }
}

/// Chooses the tokens of one answer, one after another.
pub(crate) struct Sampler {
    rules: RuledLogits,
    draw: Option<(Draw, Pcg64)>,
}

impl Sampler {
    /// Chooses one of `logits`, which must not be empty, hold NaN or positive infinity, nor be negative infinity throughout;
    /// `None` when the rules leave no token.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let logits = self.rules.apply(Cow::Borrowed(logits));
        let best = largest(&logits);
        if best == f32::NEG_INFINITY {
            return None;
        }
        let id = match &mut self.draw {
            None => logits.iter().position(|logit| *logit == best)? as u32,
            Some((draw, random)) => draw.choose(&logits, best, unit_interval(random)),
        };
        self.rules.push(id);
        Some(id)
    }
}

impl Draw {
    fn choose(&self, logits: &[f32], best: f32, at: f64) -> u32 {
        let mut candidates = self.candidates(logits, best);
        for filter in self.filters() {
            filter.apply(&mut candidates);
        }
        draw(&candidates.kept, at)
    }

    /// The order in which Hugging Face applies them.
    fn filters(&self) -> impl Iterator<Item = Filter> {
        let top_k = (self.top_k > 0).then_some(Filter::TopK(self.top_k));
        let top_p = (self.top_p < 1.0).then_some(Filter::TopP(self.top_p));
        let min_p = (self.min_p > 0.0).then_some(Filter::MinP(self.min_p));
        [Some(Filter::Temperature(self.temperature)), top_k, top_p, min_p].into_iter().flatten()
    }

    /// Returns what the filters can leave: most of a vocabulary is out of the question, and looking at it closely would cost
    /// more than everything else.
    fn candidates(&self, logits: &[f32], best: f32) -> Candidates {
        if self.top_k > 0 && self.top_k < logits.len() {
            return Candidates { kept: best_of(logits, self.top_k), rest: 0.0 };
        }
        let least_weight = if self.top_p < 1.0 {
            // All with a smaller share of the best one's weight have together less than what top-p leaves out.
            f64::from(1.0 - self.top_p) / logits.len() as f64
        } else if self.min_p > 0.0 {
            f64::from(self.min_p)
        } else {
            // Together they would be drawn once in 2^40 draws, also from a million tokens.
            (-60.0f64).exp2()
        };
        // A hair lower, so that rounding never takes away what the filter itself would keep.
        let distance = f64::from(self.temperature) * (least_weight.ln() - 1e-3);
        let limit = (f64::from(best) + distance) as f32;
        let limit = limit.min(best);
        let is_share_of_all = self.top_p < 1.0;
        let scale = 1.0 / self.temperature;
        let rest =
            if is_share_of_all && scale.is_finite() { sum_of_exponentials(logits, best, scale, limit) } else { 0.0 };
        Candidates { kept: at_least(logits, limit), rest }
    }
}

/// Returns a number from 0 up to but not including 1, with the 53 bits that a double can tell apart.
fn unit_interval(random: &mut Pcg64) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (random.next_u64() >> 11) as f64 / STEPS
}

/// Finds the candidate at the point `at` (0 up to 1) of the cumulative distribution.
fn draw(candidates: &[Candidate], at: f64) -> u32 {
    let best = best_logit(candidates);
    let weights: Vec<f32> = candidates.iter().map(|candidate| exponential((candidate.logit - best) as f32)).collect();
    let target = at * weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
    let mut reached = 0.0;
    let mut last_possible = candidates[0].id;
    for (candidate, weight) in candidates.iter().zip(weights) {
        reached += f64::from(weight);
        if weight > 0.0 {
            last_possible = candidate.id;
            if reached > target {
                break;
            }
        }
    }
    // Rounding can leave the sum a hair below the target; then the last possible candidate is meant.
    last_possible
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawing(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> SamplingParameters {
        SamplingParameters { temperature, top_k, top_p, seed, ..SamplingParameters::default() }
    }

    fn sampling(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampling {
        Sampling::new(&drawing(temperature, top_k, top_p, seed)).unwrap()
    }

    fn draws(sampling: &Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = sampling.sampler(&[], 0);
        (0..count).map(|_| sampler.choose(logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_the_maximum() {
        for (logits, expected) in [
            (vec![1.0, 3.0, 3.0], 1),
            (vec![-5.0, f32::NEG_INFINITY], 0),
            (vec![f32::NEG_INFINITY, -7.0], 1),
            (vec![0.0; 4], 0),
        ] {
            assert_eq!(draws(&Sampling::greedy(), &logits, 1), [expected], "{logits:?}");
            assert_eq!(draws(&sampling(0.0, 5, 0.5, 1), &logits, 1), [expected]);
            assert_eq!(draws(&sampling(2.0, 1, 1.0, 1), &logits, 1), [expected]);
        }
    }

    #[test]
    fn same_seed_draws_the_same_and_another_seed_does_not() {
        let logits: Vec<f32> = (0..50).map(|id| (id as f32).sin()).collect();
        let with_seed = |seed| draws(&sampling(1.0, 0, 0.95, seed), &logits, 200);
        assert_eq!(with_seed(7), with_seed(7));
        assert_ne!(with_seed(7), with_seed(8));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let shares = [0.5, 0.25, 0.15, 0.07, 0.03];
        let logits: Vec<f32> = shares.iter().map(|share: &f32| share.ln() + 3.0).collect();
        const DRAWS: usize = 20_000;
        let mut counts = [0_usize; 5];
        for id in draws(&sampling(1.0, 0, 1.0, 42), &logits, DRAWS) {
            counts[id as usize] += 1;
        }
        let chi_square: f64 = shares
            .iter()
            .zip(counts)
            .map(|(share, count)| {
                let expected = f64::from(*share) * DRAWS as f64;
                (count as f64 - expected).powi(2) / expected
            })
            .sum();
        // With 4 degrees of freedom 23.5 is passed by one correct sampler in ten thousand; the seed is fixed.
        assert!(chi_square < 23.5, "chi-square is {chi_square} for {counts:?}");
    }

    #[test]
    fn impossible_tokens_are_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        let drawn = draws(&sampling(100.0, 0, 1.0, 3), &logits, 500);
        assert!(drawn.iter().all(|id| [1, 3].contains(id)));
        let candidates = [(0, f64::NEG_INFINITY), (1, 0.0), (2, f64::NEG_INFINITY)];
        for at in [0.0, 0.999_999_999, 1.0] {
            assert_eq!(draw(&candidates.map(|(id, logit)| Candidate { id, logit }), at), 1);
        }
    }

    #[test]
    fn several_answers_differ_and_the_first_is_the_single_one() {
        let logits: Vec<f32> = (0..50).map(|id| (id as f32).cos()).collect();
        let sampling = sampling(1.0, 0, 1.0, 7);
        let answer = |index| -> Vec<u32> {
            let mut sampler = sampling.sampler(&[], index);
            (0..40).map(|_| sampler.choose(&logits).unwrap()).collect()
        };
        assert_eq!(answer(0), draws(&sampling, &logits, 40));
        assert_ne!(answer(0), answer(1));
        assert_ne!(answer(1), answer(2));
    }

    #[test]
    fn rules_come_before_the_choice_and_see_what_was_chosen() {
        let logits = [3.0, 2.0, 1.0];
        let frequency = SamplingParameters { frequency_penalty: 1.5, ..SamplingParameters::default() };
        assert_eq!(draws(&Sampling::new(&frequency).unwrap(), &logits, 4), [0, 1, 0, 2]);
        let unrepeated = SamplingParameters { no_repeat_ngram_size: 1, ..SamplingParameters::default() };
        let mut sampler = Sampling::new(&unrepeated).unwrap().sampler(&[0], 0);
        let chosen = [(); 3].map(|()| sampler.choose(&logits));
        assert_eq!(chosen, [Some(1), Some(2), None], "then no token is left");
    }

    #[test]
    fn values_out_of_range_are_refused_with_field_and_value() {
        let plain = SamplingParameters::default;
        let cases = [
            (drawing(-0.5, 0, 1.0, 0), "temperature", "-0.5"),
            (drawing(f32::NAN, 0, 1.0, 0), "temperature", "NaN"),
            (drawing(f32::INFINITY, 0, 1.0, 0), "temperature", "inf"),
            (drawing(100.5, 0, 1.0, 0), "temperature", "100.5"),
            (drawing(1.0, 0, 0.0, 0), "top_p", "0"),
            (drawing(1.0, 0, 1.5, 0), "top_p", "1.5"),
            (drawing(1.0, 0, f32::NAN, 0), "top_p", "NaN"),
            (SamplingParameters { min_p: -0.1, ..plain() }, "min_p", "-0.1"),
            (SamplingParameters { min_p: f32::NAN, ..plain() }, "min_p", "NaN"),
            (SamplingParameters { repetition_penalty: 0.0, ..plain() }, "repetition_penalty", "0"),
            (SamplingParameters { repetition_penalty: f32::INFINITY, ..plain() }, "repetition_penalty", "inf"),
            (SamplingParameters { presence_penalty: 2.5, ..plain() }, "presence_penalty", "2.5"),
            (SamplingParameters { frequency_penalty: f32::NAN, ..plain() }, "frequency_penalty", "NaN"),
            (SamplingParameters { logit_bias: [(7, 101.0)].into(), ..plain() }, "logit_bias.7", "101"),
            (SamplingParameters { logit_bias: [(7, f32::NAN)].into(), ..plain() }, "logit_bias.7", "NaN"),
            (
                SamplingParameters { logit_bias: (0..2000).map(|id| (id, 1.0)).collect(), ..plain() },
                "logit_bias",
                "2000",
            ),
            (SamplingParameters { beams: Some(Beams::of_width(4)), ..drawing(1.0, 0, 1.0, 0) }, "beam_width", "4"),
            (SamplingParameters { beams: Some(Beams::of_width(0)), ..plain() }, "beam_width", "0"),
        ];
        for (parameters, field, value) in cases {
            let error = Sampling::new(&parameters).unwrap_err();
            assert_eq!(error.field(), Some(field));
            assert!(error.to_string().contains(&format!("`{value}`")), "{error}");
        }
        let biased = SamplingParameters { logit_bias: [(50, 1.0)].into(), ..plain() };
        let biased = Sampling::new(&biased).unwrap();
        assert_eq!(biased.check_vocabulary(50).unwrap_err().field(), Some("logit_bias"));
        biased.check_vocabulary(51).unwrap();
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -p seedhouse-engine cost_of -- --ignored --nocapture"]
    fn cost_of_a_token_of_a_large_vocabulary() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        // The sum of twelve is nearly normal; the scale is that of a small language model.
        let logits: Vec<f32> = (0..50_000).map(|_| ((0..12).map(|_| random()).sum::<f32>() - 6.0) * 3.0).collect();
        let penalties =
            SamplingParameters { repetition_penalty: 1.2, no_repeat_ngram_size: 3, ..SamplingParameters::default() };
        for (name, parameters) in [
            ("greedy", SamplingParameters::default()),
            ("greedy, penalties", penalties),
            ("temperature", drawing(0.8, 0, 1.0, 1)),
            ("top-k 50", drawing(0.8, 50, 1.0, 1)),
            ("top-p 0.95", drawing(0.8, 0, 0.95, 1)),
            ("top-k 50, top-p 0.95", drawing(0.8, 50, 0.95, 1)),
            ("min-p 0.05", SamplingParameters { min_p: 0.05, ..drawing(0.8, 0, 1.0, 1) }),
        ] {
            const TOKENS: u32 = 2000;
            let mut sampler = Sampling::new(&parameters).unwrap().sampler(&[5; 500], 0);
            let started = std::time::Instant::now();
            for _ in 0..TOKENS {
                assert!(sampler.choose(&logits).is_some());
            }
            println!("{name:<22} {:6.1} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(TOKENS));
        }
    }

    /// The chain on everything, as its definition has it.
    fn plainly(draw: &Draw, logits: &[f32]) -> Vec<u32> {
        let kept = (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit: f64::from(logit) }).collect();
        let mut candidates = Candidates { kept, rest: 0.0 };
        draw.filters().for_each(|filter| filter.apply(&mut candidates));
        let mut ids: Vec<u32> = candidates.kept.iter().map(|candidate| candidate.id).collect();
        ids.sort_unstable();
        ids
    }

    proptest! {
        #[test]
        fn what_is_left_out_early_would_have_been_filtered_out(
            logits in prop::collection::vec(prop_oneof![-40.0..20.0f32, (-3..3i8).prop_map(f32::from)], 1..500),
            temperature in prop_oneof![Just(1.0f32), 0.05..5.0f32],
            top_k in prop_oneof![Just(0usize), 1..600usize],
            top_p in prop_oneof![Just(1.0f32), 0.05..0.99f32],
            min_p in prop_oneof![Just(0.0f32), 0.001..0.9f32],
        ) {
            let draw = Draw { temperature, top_k, top_p, min_p, seed: 0 };
            let expected = plainly(&draw, &logits);
            let mut candidates = draw.candidates(&logits, largest(&logits));
            draw.filters().for_each(|filter| filter.apply(&mut candidates));
            let mut actual: Vec<u32> = candidates.kept.iter().map(|candidate| candidate.id).collect();
            actual.sort_unstable();
            // What has no chance at all may be missing; at the edge of a filter, rounding may decide about one.
            let best = largest(&logits);
            let has_chance = |id: &&u32| (logits[**id as usize] - best) / temperature >= -41.0;
            let missing = expected.iter().filter(|id| !actual.contains(id)).filter(has_chance).count();
            let extra = actual.iter().filter(|id| !expected.contains(id)).count();
            prop_assert!(missing <= 1 && extra <= 1, "{actual:?} and {expected:?}");
        }
    }
}
