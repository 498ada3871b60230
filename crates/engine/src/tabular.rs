//! Classification and regression of rows: named values become the input tensor of a tensor model, its results become named classes or
//! numbers with units.
//!
//! Two kinds of models take rows. A network of ours has its features in its file and takes raw numbers, so that scaling is a part of it
//! ([`seedhouse_core::tabular`]). A graph knows nothing of features; its record declares them, and the inputs that it was trained on
//! are made here. That a model is one of ours shows in what it declares: a port of its own would have the same methods as
//! `TensorModel`, and the second kind would need this pipeline all the same.
//!
//! Rows of a request are computed together, and where rows are independent with those of other callers. Each has its own answer or error.

mod ends;
mod nearest;
mod reading;
mod row;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::Tensor;
use seedhouse_core::tabular::{Encoding, FeatureKind, Outcome, Table};
use seedhouse_core::{Error, Result};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use self::ends::Ends;
pub use self::reading::{Flag, OutOfRange, TabularPolicies, UnknownCategory, UnknownFeature};
use self::reading::{Found, Reader, example, listed};
pub use self::row::{Cell, Row};
use crate::Patience;
use crate::batching::Answered;
use crate::tensors::served::ServedTensors;
use crate::vision::ranking::{Prediction, best_classes};

/// The most rows of one request.
const MOST_ROWS: usize = 65_536;

/// The most values of the rows of one request, or of what becomes of them, where these are more: a row of `{}` is two bytes of a request
/// and as many numbers as the model has features and results.
const MOST_NUMBERS: usize = 2 << 20;

/// The most rows that a model is given at a time, and the most inputs of theirs, so that what it needs in between stays small.
const ROWS_TOGETHER: usize = 4096;
const INPUTS_TOGETHER: usize = 4 << 20;

/// Rows, and what is done about values that the model was not made for.
#[derive(Debug, Clone, Default)]
pub struct TabularRequest {
    /// The rows, computed together.
    pub rows: Vec<Row>,
    /// What is done about unexpected values.
    pub policies: TabularPolicies,
}

/// What a model made of rows.
#[derive(Debug, Clone)]
pub struct TabularAnswer {
    /// For each row its answer, or why there is none.
    pub rows: Vec<Result<RowAnswer>>,
    /// What targets are measured in, by name, as far as the model says. Empty for classes.
    pub units: Vec<(String, String)>,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for reading, waiting and the model.
    pub seconds: f64,
}

impl TabularAnswer {
    /// Returns the answer of the first row, which a request of one row is about.
    ///
    /// # Errors
    /// What is wrong with that row.
    pub fn only(&self) -> Result<&RowAnswer> {
        match self.rows.first() {
            Some(Ok(row)) => Ok(row),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::Internal("a row was asked for and is not there".into())),
        }
    }
}

/// What a model made of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowAnswer {
    /// Classes or numbers.
    pub outcome: RowOutcome,
    /// Features that were missing, in the order of the model.
    pub missing: Vec<Arc<str>>,
    /// Numbers that the model was not made for.
    pub out_of_range: Vec<Flag>,
}

/// Classes or numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum RowOutcome {
    /// All classes with their names, the most likely first.
    Classes(Vec<Prediction>),
    /// The targets with their names, in the order of the model.
    Targets(Vec<(Arc<str>, f32)>),
}

/// The form in which every front end shows it.
impl Serialize for RowAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut answer = serializer.serialize_map(None)?;
        match &self.outcome {
            RowOutcome::Classes(ranked) => {
                if let Some(best) = ranked.first() {
                    answer.serialize_entry("class_name", &best.class_name.as_deref())?;
                    answer.serialize_entry("class_id", &best.class_id)?;
                    answer.serialize_entry("confidence", &shortest(best.confidence))?;
                }
                answer.serialize_entry("probabilities", &ByName(ranked, of_class))?;
            }
            RowOutcome::Targets(targets) => {
                answer.serialize_entry("targets", &ByName(targets, |(name, value)| (name, *value)))?;
            }
        }
        answer.serialize_entry("missing", &self.missing.iter().map(|name| &**name).collect::<Vec<&str>>())?;
        answer.serialize_entry("out_of_range", &self.out_of_range)?;
        answer.end()
    }
}

fn of_class(class: &Prediction) -> (&str, f32) {
    (class.class_name.as_deref().unwrap_or_default(), class.confidence)
}

/// An object of numbers by name, written without being made one first.
struct ByName<'r, T>(&'r [T], fn(&T) -> (&str, f32));

impl<T> Serialize for ByName<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ByName(items, named) = self;
        serializer.collect_map(items.iter().map(named).map(|(name, number)| (name, shortest(number))))
    }
}

/// Returns the number with the digits that an f32 has: JSON has f64, in which others would follow.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// A tensor model with what is known of its features and results.
pub(crate) struct TabularModel {
    model_id: String,
    served: Arc<ServedTensors>,
    table: Table,
    names: Names,
    takes: Takes,
    gives: Gives,
    ends: Ends,
}

/// Names of the table as answers have them, shared by all rows.
struct Names {
    features: Vec<Arc<str>>,
    /// Of classes or targets.
    results: Vec<Arc<str>>,
}

impl Names {
    fn of(table: &Table) -> Names {
        let features = table.features.iter().map(|feature| feature.name.as_str().into()).collect();
        let results = match &table.outcome {
            Outcome::Classes(classes) => classes.iter().map(|class| class.as_str().into()).collect(),
            Outcome::Targets(targets) => targets.iter().map(|target| target.name.as_str().into()).collect(),
        };
        Names { features, results }
    }
}

/// What a model is given for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Raw numbers: it scales them and knows its categories.
    RawNumbers,
    /// What the declaration makes of them.
    Inputs,
}

/// What the numbers of a row of results are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Logits,
    /// The same, but nobody said so.
    ProbablyLogits,
    Probabilities,
    /// One number, the logit of the second of two classes.
    OneLogit,
    /// One number, the probability of the second of two classes.
    OneProbability,
    Targets,
}

/// A row of raw numbers, and what a model makes of it.
pub(crate) struct RowExample {
    pub(crate) row: Vec<f32>,
    pub(crate) results: Vec<f32>,
}

/// What a tensor model can do with rows.
pub(crate) enum TabularTask {
    Ready(Box<TabularModel>),
    /// Nothing, for this reason.
    Impossible(String),
}

impl TabularModel {
    /// Reads what the files or else the metadata declare, and compares it with the model.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a declaration breaks a rule, [`Error::Contradiction`] when the model disagrees with it.
    pub(crate) fn of_model(
        model_id: &str,
        served: Arc<ServedTensors>,
        metadata: &Map<String, Value>,
    ) -> Result<TabularTask> {
        let model = served.model();
        let declared = model.declared();
        let is_array = |declared: &Map<String, Value>| declared.get("features").is_some_and(Value::is_array);
        let takes = match (is_array(&declared), is_array(metadata)) {
            (true, _) => Takes::RawNumbers,
            (false, true) => Takes::Inputs,
            (false, false) => {
                let reason = "its features are unknown: declare `metadata.features`, and `metadata.classes` or `metadata.targets`";
                return Ok(TabularTask::Impossible(reason.into()));
            }
        };
        let wanted = metadata.get("output").and_then(Value::as_str).filter(|_| takes == Takes::Inputs);
        let ends = match Ends::of_model(model, wanted) {
            Ok(ends) => ends,
            Err(reason) => return Ok(TabularTask::Impossible(reason)),
        };
        let table = match takes {
            Takes::RawNumbers => Table::read("", &with_labels(declared, metadata))?,
            Takes::Inputs => Table::read("metadata.", metadata)?,
        };
        check_inputs(&table, takes, &ends)?;
        let gives = Gives::of(&table, takes, metadata, ends.outputs)?;
        let model_id = model_id.to_owned();
        let names = Names::of(&table);
        Ok(TabularTask::Ready(Box::new(TabularModel { model_id, served, table, names, takes, gives, ends })))
    }

    /// Computes rows as one batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows or too many of them, and those of the queue; what is wrong with a row stands in its place.
    pub(crate) fn answer(&self, request: &TabularRequest, patience: &Patience) -> Result<TabularAnswer> {
        let started = Instant::now();
        let TabularRequest { rows, policies } = request;
        let widest = self.table.features.len().max(self.table.output_width()).max(1);
        let most = (MOST_NUMBERS / widest).clamp(1, MOST_ROWS);
        if rows.is_empty() || rows.len() > most {
            let why = match most {
                MOST_ROWS => String::new(),
                _ => format!(
                    ", as a row has {widest} values or results, and those of a request are at most {MOST_NUMBERS}"
                ),
            };
            return Err(Error::invalid("rows", rows.len(), format!("must be 1 to {most} rows{why}")));
        }
        let reader = Reader::new(&self.table, &self.names.features, *policies);
        let mut raw = Vec::with_capacity(rows.len() * self.table.features.len());
        let found: Vec<Result<Found>> = rows.iter().map(|row| reader.read(row, &mut raw)).collect();
        let Answered { output: results, queued } = self.compute(&raw, patience)?;
        let mut results = results.chunks_exact(self.result_width());
        let answered = found.into_iter().map(|found| {
            let found = found?;
            let results =
                results.next().ok_or_else(|| Error::Internal("a row was computed and is not there".into()))?;
            let outcome = self.outcome(results)?;
            Ok(RowAnswer { outcome, missing: found.missing, out_of_range: found.out_of_range })
        });
        let rows = answered.collect();
        let (queue_seconds, seconds) = (queued.as_secs_f64(), started.elapsed().as_secs_f64());
        Ok(TabularAnswer { rows, units: self.units(), queue_seconds, seconds })
    }

    /// Computes a row of ordinary values.
    ///
    /// # Errors
    /// Those of a model that does not work.
    pub(crate) fn warm_up(&self) -> Result<()> {
        self.outcome(&self.compute(&example(&self.table), &Patience::default())?.output).map(drop)
    }

    /// Returns an ordinary row of raw numbers, and what the model makes of it: probabilities of the classes by number, or targets.
    pub(crate) fn example(&self) -> Result<RowExample> {
        let row = example(&self.table);
        let results = match self.outcome(&self.compute(&row, &Patience::default())?.output)? {
            RowOutcome::Targets(targets) => targets.into_iter().map(|(_, value)| value).collect(),
            RowOutcome::Classes(mut classes) => {
                classes.sort_by_key(|class| class.class_id);
                classes.into_iter().map(|class| class.confidence).collect()
            }
        };
        Ok(RowExample { row, results })
    }

    /// Returns the error of a request that is no row.
    pub(crate) fn asks_for_a_row(&self) -> Error {
        let names = listed(self.table.features.iter().map(|feature| feature.name.as_str()));
        let rule = format!("`{}` takes rows (`--row`, `--rows`; /api/inference/tabular) of {names}", self.model_id);
        Error::invalid("row", "missing", rule)
    }

    fn units(&self) -> Vec<(String, String)> {
        match &self.table.outcome {
            Outcome::Classes(_) => Vec::new(),
            Outcome::Targets(targets) => {
                targets.iter().filter_map(|target| Some((target.name.clone(), target.unit.clone()?))).collect()
            }
        }
    }

    fn result_width(&self) -> usize {
        match self.gives {
            Gives::Logits | Gives::ProbablyLogits | Gives::Probabilities | Gives::Targets => self.table.output_width(),
            Gives::OneLogit | Gives::OneProbability => 1,
        }
    }

    /// Returns the results of rows of raw numbers, one row after the other.
    fn compute(&self, raw: &[f32], patience: &Patience) -> Result<Answered<Vec<f32>>> {
        let features = self.table.features.len();
        let fitting = (INPUTS_TOGETHER / self.table.input_width().max(1)).clamp(1, ROWS_TOGETHER);
        let together = if self.ends.takes_batches { fitting } else { 1 };
        let mut results = Vec::with_capacity(raw.len() / features * self.result_width());
        let mut queued = Duration::ZERO;
        for rows in raw.chunks(features * together) {
            let count = rows.len() / features;
            let inputs = match self.takes {
                Takes::RawNumbers => rows.to_vec(),
                Takes::Inputs => self.encoded(rows),
            };
            let input = Tensor::new(vec![count, inputs.len() / count], inputs);
            let of_rows = self.run(input, patience)?;
            queued += of_rows.queued;
            results.extend(of_rows.output);
        }
        Ok(Answered { output: results, queued })
    }

    fn encoded(&self, raw: &[f32]) -> Vec<f32> {
        let width = self.table.input_width();
        let mut inputs = vec![0.0; raw.len() / self.table.features.len() * width];
        for (row, mut inputs) in raw.chunks(self.table.features.len()).zip(inputs.chunks_mut(width)) {
            for (feature, raw) in self.table.features.iter().zip(row) {
                let (own, rest) = inputs.split_at_mut(feature.width());
                feature.encode(*raw, &[], own);
                inputs = rest;
            }
        }
        inputs
    }

    fn run(&self, input: Tensor, patience: &Patience) -> Result<Answered<Vec<f32>>> {
        let count = input.shape[0];
        let Answered { output: mut outputs, queued } =
            self.served.run(vec![(self.served.model().inputs()[0].name.as_str(), input)], patience)?;
        let output = outputs.get_mut(self.ends.output).map(|output| (output.shape.clone(), output.f32s()));
        match output {
            Some((_, Some(values))) if values.len() == count * self.result_width() => {
                Ok(Answered { output: values.to_vec(), queued })
            }
            found => {
                let (id, width) = (&self.model_id, self.result_width());
                let shape = found.map(|(shape, _)| shape);
                Err(Error::Internal(format!("`{id}` gave results of shape {shape:?} for {count} rows of {width}")))
            }
        }
    }

    fn outcome(&self, results: &[f32]) -> Result<RowOutcome> {
        if let Some(place) = results.iter().position(|result| !result.is_finite()) {
            let rule = format!(
                "a result must be finite; result {place} of `{}` is not: its inputs are too great",
                self.model_id
            );
            return Err(Error::invalid("row", results[place], rule));
        }
        let classes = match &self.table.outcome {
            Outcome::Targets(targets) => {
                let standard = |target: &seedhouse_core::tabular::Target, result: f32| match self.takes {
                    Takes::RawNumbers => result,
                    Takes::Inputs => target.standard.undo(result),
                };
                let named = targets.iter().zip(&self.names.results).zip(results);
                let named = named.map(|((target, name), result)| (Arc::clone(name), standard(target, *result)));
                return Ok(RowOutcome::Targets(named.collect()));
            }
            Outcome::Classes(classes) => classes,
        };
        // Logarithms of probabilities are logits of the same probabilities; the smallest number stands for none.
        let logarithm = |share: f32| share.max(f32::MIN_POSITIVE).ln();
        let logits: Vec<f32> = match self.gives {
            Gives::Probabilities => results.iter().copied().map(logarithm).collect(),
            Gives::OneLogit => vec![0.0, results[0]],
            Gives::OneProbability => vec![logarithm(1.0 - results[0]), logarithm(results[0])],
            Gives::ProbablyLogits => {
                refuse_probabilities(results)?;
                results.to_vec()
            }
            Gives::Logits | Gives::Targets => results.to_vec(),
        };
        let mut ranked = best_classes(&self.model_id, &logits, classes.len())?;
        ranked.iter_mut().for_each(|class| class.class_name = Some(Arc::clone(&self.names.results[class.class_id])));
        Ok(RowOutcome::Classes(ranked))
    }
}

impl Gives {
    /// Compares what is declared of results with their number.
    fn of(table: &Table, takes: Takes, metadata: &Map<String, Value>, outputs: Option<usize>) -> Result<Gives> {
        let activation = metadata.get("output_activation").and_then(Value::as_str).filter(|_| takes == Takes::Inputs);
        let (declared, field, what) = match &table.outcome {
            Outcome::Classes(classes) => (classes.len(), "metadata.classes", "classes"),
            Outcome::Targets(targets) => (targets.len(), "metadata.targets", "targets"),
        };
        let is_one_of_two = what == "classes" && declared == 2 && outputs == Some(1);
        if outputs.is_some_and(|outputs| outputs != declared) && !is_one_of_two {
            return Err(Error::Contradiction {
                field: field.into(),
                claimed: format!("{declared} {what}"),
                found: format!("{} results", outputs.unwrap_or_default()),
                file: "the output of the model".into(),
            });
        }
        let refused =
            |activation: &str, rule: &str| Err(Error::invalid("metadata.output_activation", activation, rule));
        match (&table.outcome, activation) {
            (Outcome::Targets(_), None | Some("none")) => Ok(Gives::Targets),
            (Outcome::Targets(_), Some(other)) => refused(other, "targets are told as they are: leave it out"),
            (Outcome::Classes(_), None | Some("none")) if is_one_of_two => Ok(Gives::OneLogit),
            (Outcome::Classes(_), None) if takes == Takes::Inputs => Ok(Gives::ProbablyLogits),
            (Outcome::Classes(_), None | Some("none")) => Ok(Gives::Logits),
            (Outcome::Classes(_), Some("sigmoid")) if is_one_of_two => Ok(Gives::OneProbability),
            (Outcome::Classes(_), Some("softmax")) if !is_one_of_two => Ok(Gives::Probabilities),
            (Outcome::Classes(_), Some(other)) => refused(
                other,
                "must be `none`, `softmax` for a probability for each class, or `sigmoid` for that of the second of two classes",
            ),
        }
    }
}

/// Probabilities that were taken for logits would be wrong and look right.
fn refuse_probabilities(results: &[f32]) -> Result<()> {
    let sum: f32 = results.iter().sum();
    let is_share = |result: &f32| (0.0..=1.0).contains(result);
    if results.iter().all(is_share) && (sum - 1.0).abs() <= 1e-6 * results.len() as f32 {
        let rule = "the results of a row are between 0 and 1 and sum to 1: `softmax` says that they are probabilities, `none` that they are \
            logits";
        return Err(Error::invalid("metadata.output_activation", "missing", rule));
    }
    Ok(())
}

/// A record may name classes in another language than the file does.
fn with_labels(mut declared: Map<String, Value>, metadata: &Map<String, Value>) -> Map<String, Value> {
    if let Some(labels) = metadata.get("labels").filter(|labels| !labels.is_null() && declared.contains_key("classes"))
    {
        declared.insert("labels".into(), labels.clone());
    }
    declared
}

fn check_inputs(table: &Table, takes: Takes, ends: &Ends) -> Result<()> {
    let features = table.features.len();
    let expected = match takes {
        Takes::RawNumbers => features,
        Takes::Inputs => table.input_width(),
    };
    let embeds = |kind: &FeatureKind| {
        matches!(kind, FeatureKind::Categorical { encoding: Encoding::Embedding(_), .. }) && takes == Takes::Inputs
    };
    if let Some(place) = table.features.iter().position(|feature| embeds(&feature.kind)) {
        let rule = "a graph embeds by itself: it is given `index` or `one_hot`";
        return Err(Error::invalid(format!("metadata.features[{place}].encoding"), "embedding", rule));
    }
    match ends.inputs {
        Some(found) if found != expected => Err(Error::Contradiction {
            field: "metadata.features".into(),
            claimed: format!("{features} features that are {expected} inputs"),
            found: format!("{found} inputs"),
            file: "the input of the model".into(),
        }),
        _ => Ok(()),
    }
}
