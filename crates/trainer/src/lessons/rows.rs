//! Tables: networks of named features, in the format of docs/tabular.md.
//!
//! ```text
//! declared    what the network takes and gives: found in the training part, or said by the version to begin with
//! ```

mod declared;

use std::collections::HashMap;

use seedhouse_core::dataset::{Column, ColumnValues, SplitPart, TableDataset};
use seedhouse_core::tabular::{Encoding, Feature, FeatureKind, Outcome, Table, Target};
use seedhouse_core::training::TrainTask;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use self::declared::Declared;
use super::{Batch, Lesson, Places, Prepared, check_classes, parameters_of};
use crate::hyper_parameters::HyperParameters;
use crate::networks::table_network::TableNetwork;
use crate::start::Weights;
use crate::tape::{Loss, Tape};

/// The name of the note with the declaration.
const NOTE: &str = "seedhouse.tabular";

struct Rows {
    declared: Declared,
    widths: Vec<usize>,
    places: Places,
    /// Inputs of the network, a row for each row of the table.
    inputs: Vec<f32>,
    answers: Answers,
    network: TableNetwork,
    dropout: f32,
    smoothing: f32,
}

enum Answers {
    Classes(Vec<u32>),
    /// Standardised, a row for each row of the table.
    Targets(Vec<f32>),
}

/// Reads the task.
pub(super) fn prepare(task: &TrainTask<'_>, data: &TableDataset, start: Option<&Weights>) -> Result<Prepared<'static>> {
    let asked = HyperParameters(task.metadata);
    let places = Places::new(&data.parts);
    check_table(data, &places)?;
    let declared = match start {
        Some(weights) => Declared::by_version(asked, task.model_type, (weights, data), &places)?,
        None => Declared::by_data(asked, task.model_type, data, &places)?,
    };
    let table = Table::read("metadata.", &declared.fields)?;
    let features = table.features.iter().map(|feature| column(data, &feature.name)).collect::<Result<Vec<_>>>()?;
    let inputs = encoded(&table, &features, data.parts.len())?;
    let answers = match &table.outcome {
        Outcome::Classes(classes) => {
            asked.agrees("num_classes", classes.len(), "the target")?;
            Answers::Classes(labels(classes, data, &places)?)
        }
        Outcome::Targets(targets) => Answers::Targets(standardised(targets, data)?),
    };
    let hidden = asked.sizes("hidden_sizes", 65_536, 32)?.or_else(|| start.map(hidden_sizes));
    let hidden = hidden.unwrap_or_else(|| vec![64, 64]);
    let widths: Vec<usize> =
        std::iter::once(table.input_width()).chain(hidden).chain(std::iter::once(table.output_width())).collect();
    let mut parameters = parameters_of(task);
    let network = TableNetwork::new(&widths, declared.activation.1, &mut parameters);
    let (dropout, smoothing) = (task.settings.dropout as f32, task.settings.label_smoothing as f32);
    let lesson = Rows { declared, widths, places, inputs, answers, network, dropout, smoothing };
    Ok(Prepared { lesson: Box::new(lesson), parameters })
}

/// Returns the widths between the layers of a version.
fn hidden_sizes(weights: &Weights) -> Vec<usize> {
    let width = |layer: usize| weights.shape(&format!("layers.{layer}.weight"))?.first().copied();
    let mut widths: Vec<usize> = (0..).map_while(width).collect();
    widths.pop();
    widths
}

fn check_table(data: &TableDataset, places: &Places) -> Result<()> {
    if data.features.is_empty() {
        return Err(Error::invalid("dataset.features", "none", "there must be at least one feature"));
    }
    if data.targets.is_empty() {
        return Err(Error::invalid("dataset.targets", "none", "there must be a column to predict"));
    }
    if places.train.is_empty() {
        return Err(Error::invalid("dataset.split", "0 rows to train on", "there must be at least one"));
    }
    for column in &data.columns {
        let length = match &column.values {
            ColumnValues::Numbers(numbers) => numbers.len(),
            ColumnValues::Categories { codes, .. } => codes.len(),
        };
        if length != data.parts.len() {
            let rule = format!("must have {} values, one for each row", data.parts.len());
            return Err(Error::invalid(&column.name, length, rule));
        }
    }
    Ok(())
}

fn column<'d>(data: &'d TableDataset, name: &str) -> Result<&'d Column> {
    let names = || data.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = data.columns.iter().find(|column| column.name == name);
    found.ok_or_else(|| Error::invalid("column", name, format!("the dataset has {}", names())))
}

/// Returns the class of each row.
fn labels(classes: &[String], data: &TableDataset, places: &Places) -> Result<Vec<u32>> {
    let (names, labels) = class_of_rows(data)?;
    let place = places_among(classes, &names);
    let label =
        |label: u32| place[label as usize].ok_or_else(|| unknown(&data.targets[0], &names[label as usize], classes));
    let labels = labels.into_iter().map(label).collect::<Result<Vec<u32>>>()?;
    check_classes(classes, |row| labels[row as usize], places)?;
    Ok(labels)
}

/// Returns where each name stands among those that are known.
fn places_among(known: &[String], names: &[String]) -> Vec<Option<u32>> {
    let places: HashMap<&str, u32> = known.iter().map(String::as_str).zip(0..).collect();
    names.iter().map(|name| places.get(name.as_str()).copied()).collect()
}

fn unknown(column: &str, name: &str, known: &[String]) -> Error {
    Error::invalid(column, name, format!("the version to begin with has {}", known.join(", ")))
}

/// Returns the names of the classes and the class of each row.
fn class_of_rows(data: &TableDataset) -> Result<(Vec<String>, Vec<u32>)> {
    let [name] = &data.targets[..] else {
        return Err(Error::invalid("dataset.targets", data.targets.join(", "), "a classification has one target"));
    };
    let target = column(data, name)?;
    let missing = |row: usize| Error::invalid(name, "missing", format!("row {row} has no class"));
    Ok(match &target.values {
        ColumnValues::Categories { names, codes } => {
            let label = |(row, code): (usize, &Option<u32>)| code.ok_or_else(|| missing(row));
            (names.clone(), codes.iter().enumerate().map(label).collect::<Result<Vec<u32>>>()?)
        }
        // Numbers that are classes: 0, 1 and so on, or any few whole numbers.
        ColumnValues::Numbers(numbers) => {
            if let Some(row) = numbers.iter().position(|number| number.is_nan()) {
                return Err(missing(row));
            }
            if let Some(number) = numbers.iter().find(|number| number.fract() != 0.0) {
                return Err(Error::invalid(name, number, "classes must be names or whole numbers"));
            }
            let mut distinct: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let label = |number: &f64| distinct.binary_search(&(*number as i64)).unwrap_or(0) as u32;
            let labels = numbers.iter().map(label).collect();
            (distinct.iter().map(ToString::to_string).collect(), labels)
        }
    })
}

/// Returns the numbers to predict, standardised, row by row.
fn standardised(targets: &[Target], data: &TableDataset) -> Result<Vec<f32>> {
    let mut columns = Vec::new();
    for Target { name, standard, .. } in targets {
        let numbers = numbers(column(data, name)?)?;
        columns.push(
            numbers.iter().map(|number| ((number - standard.mean) / standard.scale) as f32).collect::<Vec<f32>>(),
        );
    }
    Ok((0..data.parts.len()).flat_map(|row| columns.iter().map(move |column| column[row])).collect())
}

/// Returns the numbers of a column to predict.
fn numbers(target: &Column) -> Result<&[f64]> {
    let Column { name, values } = target;
    let ColumnValues::Numbers(numbers) = values else {
        return Err(Error::invalid(name, "categories", "a regression predicts numbers"));
    };
    match numbers.iter().position(|number| number.is_nan()) {
        Some(row) => Err(Error::invalid(name, "missing", format!("row {row} has no value to predict"))),
        None => Ok(numbers),
    }
}

/// Returns the inputs of the network, as it computes them itself once it is served.
fn encoded(table: &Table, columns: &[&Column], rows: usize) -> Result<Vec<f32>> {
    if let Some(feature) = table.features.iter().find(|feature| is_embedded(feature)) {
        let what =
            format!("training from a version with the encoding `embedding` of `{}`", feature.name.escape_debug());
        return Err(Error::unsupported(what, "`one_hot` and `index` are trained"));
    }
    let width = table.input_width();
    let mut inputs = vec![0.0; rows * width];
    let mut start = 0;
    for (feature, column) in table.features.iter().zip(columns) {
        let own = Feature::width(feature);
        for (row, raw) in raw_numbers(feature, column)?.into_iter().enumerate() {
            feature
                .check_raw(raw)
                .map_err(|rule| Error::invalid(&feature.name, format!("{raw} in row {row}"), rule))?;
            feature.encode(raw, &[], &mut inputs[row * width + start..][..own]);
        }
        start += own;
    }
    Ok(inputs)
}

fn is_embedded(feature: &Feature) -> bool {
    matches!(feature.kind, FeatureKind::Categorical { encoding: Encoding::Embedding(_), .. })
}

/// Returns the raw number of each row.
fn raw_numbers(feature: &Feature, column: &Column) -> Result<Vec<f32>> {
    match (&feature.kind, &column.values) {
        (FeatureKind::Numeric { .. } | FeatureKind::Boolean, ColumnValues::Numbers(numbers)) => {
            Ok(numbers.iter().map(|number| *number as f32).collect())
        }
        (FeatureKind::Categorical { categories, .. }, ColumnValues::Categories { names, codes }) => {
            let places = places_among(categories, names);
            let raw = |code: &Option<u32>| match code {
                None => Ok(f32::NAN),
                Some(code) => {
                    let code = *code as usize;
                    places[code]
                        .map(|place| place as f32)
                        .ok_or_else(|| unknown(&column.name, &names[code], categories))
                }
            };
            codes.iter().map(raw).collect()
        }
        (FeatureKind::Categorical { .. }, ColumnValues::Numbers(_)) => {
            Err(Error::invalid(&column.name, "numbers", "the version to begin with has categories there"))
        }
        (FeatureKind::Numeric { .. } | FeatureKind::Boolean, ColumnValues::Categories { .. }) => {
            Err(Error::invalid(&column.name, "categories", "the version to begin with has numbers there"))
        }
    }
}

impl Lesson for Rows {
    fn examples(&self, part: SplitPart) -> usize {
        self.places.of(part).len()
    }

    fn loss(&self, tape: &mut Tape<'_>, batch: &Batch<'_>) -> Loss {
        let width = self.widths[0];
        let rows: Vec<usize> =
            batch.places.iter().map(|place| self.places.of(batch.part)[*place as usize] as usize).collect();
        let mut inputs = tape.buffer(rows.len() * width);
        let from = rows.iter().map(|row| &self.inputs[row * width..][..width]);
        inputs.chunks_exact_mut(width).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
        let inputs = tape.input(inputs, width);
        let hidden = self.network.run(tape, inputs, self.dropout);
        let last = self.network.last();
        match &self.answers {
            Answers::Classes(labels) => {
                let labels: Vec<u32> = rows.iter().map(|row| labels[*row]).collect();
                let smoothing = if tape.is_training() { self.smoothing } else { 0.0 };
                tape.classify(hidden, last, &labels, smoothing)
            }
            Answers::Targets(numbers) => {
                let columns = numbers.len() * self.widths[0] / self.inputs.len();
                let wanted: Vec<f32> =
                    rows.iter().flat_map(|row| &numbers[row * columns..][..columns]).copied().collect();
                let found = tape.linear(hidden, last.weight, last.bias);
                tape.squared_error(found, &wanted)
            }
        }
    }

    fn notes(&self) -> Vec<(String, String)> {
        let layers = self.widths.len() - 1;
        let activation = |layer: usize| if layer + 1 == layers { "none" } else { self.declared.activation.0 };
        let task = if matches!(self.answers, Answers::Classes(_)) { "classification" } else { "regression" };
        let mut text = Map::from_iter([("format_version".to_owned(), 1.into()), ("task".to_owned(), task.into())]);
        text.extend(self.declared.fields.clone());
        text.insert("layers".into(), (0..layers).map(|layer| json!({"activation": activation(layer)})).collect());
        vec![(NOTE.to_owned(), Value::Object(text).to_string())]
    }

    fn metadata(&self) -> Map<String, Value> {
        let mut metadata = self.declared.fields.clone();
        let features = metadata.get("features").and_then(Value::as_array).map_or(0, Vec::len);
        metadata.insert("num_features".into(), features.into());
        let outcome = if matches!(self.answers, Answers::Classes(_)) { "num_classes" } else { "num_targets" };
        metadata.insert(outcome.into(), self.widths[self.widths.len() - 1].into());
        let hidden = &self.widths[1..self.widths.len() - 1];
        metadata.insert("hidden_sizes".into(), json!(hidden));
        metadata.insert("activation".into(), self.declared.activation.0.into());
        metadata
    }
}
