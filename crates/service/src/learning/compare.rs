//! Two versions on the same examples: what the second one loses, and how much faster it is. How long single calls take.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use seedhouse_core::dataset::Dataset;
use seedhouse_core::{Progress, ProgressUnit, Result, Unwatched};
use seedhouse_engine::scoring::{TextScore, compare_texts};
use seedhouse_engine::{ImageInput, ImagineRequest, Patience, Slot, TabularRequest, Takes};
use serde_json::{Value, json};

use super::measure::{Examples, Measured, POLICIES, dataset_rows, measure, picture, texts_at};

/// How often both are timed, one after the other.
const ROUNDS: usize = 15;

/// Calls of a measurement of latency.
const CALLS_TIMED: usize = 40;

/// How long calls are timed before they are enough, where there were [`LEAST_CALLS`] of them: those of a long text take seconds each.
const LONGEST_TIMING: Duration = Duration::from_secs(20);
const LEAST_CALLS: usize = 5;

/// The least time of one timing; calls are repeated until it is over.
const LEAST_TIME: Duration = Duration::from_millis(40);

/// Examples of a timed call.
const PICTURES_TIMED: usize = 8;
const ROWS_TIMED: usize = 256;
const TEXTS_TIMED: usize = 1;

/// How two versions compare.
#[derive(Debug, Clone)]
pub(crate) struct Compared {
    pub(crate) first: Measured,
    pub(crate) second: Measured,
    /// Figures about both: agreement, divergence.
    pub(crate) both: BTreeMap<String, f64>,
}

/// Measures both on the same examples.
pub(crate) fn compare(
    first: &Slot,
    second: &Slot,
    examples: Examples<'_>,
    progress: &dyn Progress,
) -> Result<Compared> {
    let (Takes::Text, Dataset::Text(texts)) = (first.takes(), examples.dataset) else {
        let (first, second) = (measure(first, examples, progress)?, measure(second, examples, progress)?);
        return Ok(Compared { first, second, both: BTreeMap::new() });
    };
    // What both predict is computed once, for their own figures and for how far they agree.
    let places = examples.places()?;
    progress.stage("measuring both", Some(places.len() as u64), ProgressUnit::Items);
    let started = Instant::now();
    let (one, other, agreement) = compare_texts(first, second, &texts_at(texts, &places), progress)?;
    let seconds = started.elapsed().as_secs_f64() / 2.0;
    let measured = |score: &TextScore| Measured::of_texts(score, places.len(), seconds);
    let figures = [("top1_agreement", agreement.same_choice_share()), ("kl_divergence", agreement.mean_divergence())];
    let both = figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Ok(Compared { first: measured(&one), second: measured(&other), both })
}

/// The figure by which a loss is told, and whether more of it is better.
const QUALITIES: [(&str, Better); 4] =
    [("accuracy", Better::More), ("r2", Better::More), ("denoising_loss", Better::Less), ("perplexity", Better::Less)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

impl Compared {
    /// Returns how much worse the second one is, and in what: accuracy, R2 or the denoising loss.
    pub(crate) fn drop(&self) -> Option<(&'static str, f64)> {
        QUALITIES.into_iter().find_map(|(name, better)| {
            let (first, second) = (self.first.quality.get(name)?, self.second.quality.get(name)?);
            let drop = match better {
                Better::More => first - second,
                Better::Less => second - first,
            };
            Some((name, drop))
        })
    }
}

/// How much faster the second one is, from timings of both in turns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Speedup {
    /// The median of the ratios of old time to new time.
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// What a call was, and the median times of both.
    pub(crate) details: Value,
}

/// Times both in turns on the first examples.
pub(crate) fn time_both(
    first: &Slot,
    second: &Slot,
    examples: Examples<'_>,
    progress: &dyn Progress,
) -> Result<Speedup> {
    let call = Call::of(first, examples, usize::MAX)?;
    progress.stage("timing both in turns", Some(ROUNDS as u64), ProgressUnit::Items);
    // The first call of a version finds nothing in caches.
    call.seconds(first, Duration::ZERO)?;
    call.seconds(second, Duration::ZERO)?;
    let (mut ratios, mut times) = (Vec::new(), [Vec::new(), Vec::new()]);
    let begun = Instant::now();
    for round in 0..ROUNDS {
        progress.check()?;
        if is_enough(round, begun) {
            break;
        }
        // Whoever is first finds the processor cooler; they take turns at it.
        let (old, new) = if round % 2 == 0 {
            let old = call.seconds(first, LEAST_TIME)?;
            (old, call.seconds(second, LEAST_TIME)?)
        } else {
            let new = call.seconds(second, LEAST_TIME)?;
            (call.seconds(first, LEAST_TIME)?, new)
        };
        ratios.push(old / new);
        times[0].push(old);
        times[1].push(new);
        progress.advance(1);
    }
    let [old, new] = times.map(|mut times| median(&mut times));
    let median = median(&mut ratios);
    let details = json!({ "call": call.name(), "rounds": ratios.len(), "old_ms": old * 1e3, "new_ms": new * 1e3 });
    Ok(Speedup { median, least: ratios[0], most: ratios[ratios.len() - 1], details })
}

/// Returns the middle number; sorts.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
        _ => numbers[middle],
    }
}

/// How long a call for one example takes, in milliseconds: the median, and what 95 of 100 calls stay below.
pub(crate) fn latency(slot: &Slot, examples: Examples<'_>, progress: &dyn Progress) -> Result<(f64, f64)> {
    let call = Call::of(slot, examples, 1)?;
    progress.stage("timing single examples", Some(CALLS_TIMED as u64), ProgressUnit::Items);
    call.seconds(slot, Duration::ZERO)?;
    let mut times = Vec::with_capacity(CALLS_TIMED);
    let begun = Instant::now();
    for call_number in 0..CALLS_TIMED {
        progress.check()?;
        if is_enough(call_number, begun) {
            break;
        }
        times.push(call.seconds(slot, Duration::ZERO)? * 1e3);
        progress.advance(1);
    }
    let median = median(&mut times);
    Ok((median, times[times.len() * 95 / 100]))
}

fn is_enough(calls: usize, begun: Instant) -> bool {
    calls >= LEAST_CALLS && begun.elapsed() > LONGEST_TIMING
}

/// A call that is timed.
enum Call<'d> {
    Rows(TabularRequest),
    Pictures(Vec<ImageInput>),
    Texts(Vec<&'d str>),
    /// One step for so many images.
    Drawing(usize),
}

impl<'d> Call<'d> {
    /// Returns a call for the first examples, at most so many.
    fn of(slot: &Slot, examples: Examples<'d>, most: usize) -> Result<Call<'d>> {
        let places = examples.places()?;
        let first = |count: usize| &places[..places.len().min(count).min(most)];
        Ok(match examples.dataset {
            Dataset::Table(table) => {
                let rows = dataset_rows(table, first(ROWS_TIMED))?;
                Call::Rows(TabularRequest { rows, policies: POLICIES })
            }
            Dataset::Images(_) if matches!(slot.takes(), Takes::Wishes) => Call::Drawing(first(PICTURES_TIMED).len()),
            Dataset::Images(images) => {
                let inputs = first(PICTURES_TIMED).iter().map(|place| picture(images, *place).map(ImageInput::Pixels));
                Call::Pictures(inputs.collect::<Result<_>>()?)
            }
            Dataset::Text(texts) => Call::Texts(texts_at(texts, first(TEXTS_TIMED))),
        })
    }

    fn name(&self) -> String {
        match self {
            Call::Rows(request) => format!("{} rows", request.rows.len()),
            Call::Pictures(pictures) => format!("{} pictures", pictures.len()),
            Call::Texts(texts) => format!("scoring {} text", texts.len()),
            Call::Drawing(samples) => format!("a denoising step of {samples} pictures"),
        }
    }

    /// Returns the mean time of calls that together take at least so long.
    fn seconds(&self, slot: &Slot, least: Duration) -> Result<f64> {
        let (started, mut calls) = (Instant::now(), 0_u32);
        loop {
            self.run(slot)?;
            calls += 1;
            if started.elapsed() >= least {
                return Ok(started.elapsed().as_secs_f64() / f64::from(calls));
            }
        }
    }

    fn run(&self, slot: &Slot) -> Result<()> {
        match self {
            Call::Rows(request) => slot.predict_rows(request, &Patience::default()).map(drop),
            Call::Pictures(pictures) => slot.classify_all(pictures, Some(1), &Patience::default()).map(drop),
            Call::Texts(texts) => slot.score_texts(texts, &Unwatched).map(drop),
            Call::Drawing(samples) => {
                let request = ImagineRequest { samples: *samples, steps: Some(1), ..ImagineRequest::default() };
                slot.imagine(&request, &mut |_| ControlFlow::Continue(())).map(drop)
            }
        }
    }
}
