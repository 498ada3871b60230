//! Tables: networks of named features, in the format of docs/tabular.md.

use seedhouse_core::dataset::{Column, ColumnValues, SplitPart, TableDataset};
use seedhouse_core::tabular::{Feature, Table};
use seedhouse_core::training::TrainTask;
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value, json};

use super::{Batch, Lesson, Places, Prepared, check_classes};
use crate::hyper_parameters::HyperParameters;
use crate::networks::table_network::TableNetwork;
use crate::numbers::Activation;
use crate::parameters::Parameters;
use crate::tape::{Loss, Tape};

struct Rows {
    /// What the network takes and gives, as it is written into the file.
    declaration: Map<String, Value>,
    widths: Vec<usize>,
    activation: &'static str,
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
pub(super) fn prepare(task: &TrainTask<'_>, data: &TableDataset) -> Result<Prepared<'static>> {
    let asked = HyperParameters(task.metadata);
    let places = Places::new(&data.parts);
    check_table(data, &places)?;
    let features: Vec<&Column> = data.features.iter().map(|name| column(data, name)).collect::<Result<_>>()?;
    let targets: Vec<&Column> = data.targets.iter().map(|name| column(data, name)).collect::<Result<_>>()?;
    let mut declaration = Map::new();
    let described: Vec<Value> = features.iter().map(|column| feature(asked, column, &places)).collect::<Result<_>>()?;
    declaration.insert("features".into(), described.into());
    let answers = match task.model_type {
        ModelType::Classification => {
            let (classes, labels) = classes(&targets, &places)?;
            asked.agrees("num_classes", classes.len(), "the target")?;
            declaration.insert("classes".into(), json!(classes));
            Answers::Classes(labels)
        }
        _ => {
            let (described, numbers) = numbers(asked, &targets, &places)?;
            declaration.insert("targets".into(), described);
            Answers::Targets(numbers)
        }
    };
    let table = Table::read("metadata.", &declaration)?;
    let inputs = encoded(&table, &features, data.parts.len())?;
    let hidden = asked.sizes("hidden_sizes", 65_536, 32)?.unwrap_or_else(|| vec![64, 64]);
    let widths: Vec<usize> =
        std::iter::once(table.input_width()).chain(hidden).chain(std::iter::once(table.output_width())).collect();
    let (activation, function) = match asked.text("activation")?.unwrap_or("relu") {
        "relu" => ("relu", Activation::Relu),
        "silu" => ("silu", Activation::Silu),
        "gelu" => ("gelu", Activation::Gelu),
        "gelu_tanh" => ("gelu_tanh", Activation::GeluTanh),
        other => return Err(Error::invalid("metadata.activation", other, "must be relu, silu, gelu or gelu_tanh")),
    };
    let mut parameters = Parameters::new(task.settings.seed);
    let network = TableNetwork::new(&widths, function, &mut parameters);
    let (dropout, smoothing) = (task.settings.dropout as f32, task.settings.label_smoothing as f32);
    let lesson = Rows { declaration, widths, activation, places, inputs, answers, network, dropout, smoothing };
    Ok(Prepared { lesson: Box::new(lesson), parameters })
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

/// Returns the least, greatest, mean and deviation of the numbers of a part that are there.
fn moments(numbers: &[f64], places: &[u32]) -> Option<(f64, f64, f64, f64)> {
    let there: Vec<f64> =
        places.iter().map(|place| numbers[*place as usize]).filter(|number| !number.is_nan()).collect();
    let count = there.len() as f64;
    let mean = there.iter().sum::<f64>() / count;
    let variance = there.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
    let least = there.iter().copied().reduce(f64::min)?;
    Some((least, there.iter().copied().reduce(f64::max)?, mean, variance.sqrt()))
}

/// Returns what somebody said of a feature or target in the record, e.g. its unit.
fn unit(asked: HyperParameters<'_>, list: &str, name: &str) -> Option<Value> {
    let items = asked.get(list)?.as_array()?;
    let item = items.iter().find(|item| item.get("name").and_then(Value::as_str) == Some(name))?;
    item.get("unit").filter(|unit| !unit.is_null()).cloned()
}

/// Describes a feature by the training part alone; whether values may be missing, by all parts.
fn feature(asked: HyperParameters<'_>, column: &Column, places: &Places) -> Result<Value> {
    let name = &column.name;
    let mut described = Map::from_iter([("name".to_owned(), json!(name))]);
    match &column.values {
        ColumnValues::Numbers(numbers) => {
            let (least, greatest, mean, deviation) = moments(numbers, &places.train)
                .ok_or_else(|| Error::invalid(name, "missing", "has no value in any row of the training part"))?;
            if let Some(unit) = unit(asked, "features", name) {
                described.insert("unit".into(), unit);
            }
            if least < greatest {
                described.insert("range".into(), json!([least, greatest]));
            }
            // A column that is constant says nothing; it is moved to 0.
            let scale = if deviation > 0.0 { deviation } else { 1.0 };
            described.insert("mean".into(), mean.into());
            described.insert("scale".into(), scale.into());
            if numbers.iter().any(|number| number.is_nan()) {
                described.insert("missing".into(), json!({"fill": mean, "indicator": true}));
            }
        }
        ColumnValues::Categories { names, codes } => {
            described.insert("kind".into(), "categorical".into());
            described.insert("categories".into(), json!(names));
            described.insert("encoding".into(), "one_hot".into());
            if codes.iter().any(Option::is_none) {
                described.insert("missing".into(), json!({"indicator": true}));
            }
        }
    }
    Ok(described.into())
}

/// Returns the names of the classes and the class of each row.
fn classes(targets: &[&Column], places: &Places) -> Result<(Vec<String>, Vec<u32>)> {
    let [target] = targets else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(Error::invalid("dataset.targets", names.join(", "), "a classification has one target"));
    };
    let name = &target.name;
    let missing = |row: usize| Error::invalid(name, "missing", format!("row {row} has no class"));
    let (classes, labels) = match &target.values {
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
    };
    check_classes(&classes, |place| labels[place as usize], places)?;
    Ok((classes, labels))
}

/// Describes the targets and returns their standardised numbers, row by row.
fn numbers(asked: HyperParameters<'_>, targets: &[&Column], places: &Places) -> Result<(Value, Vec<f32>)> {
    let mut described = Vec::new();
    let mut columns = Vec::new();
    for target in targets {
        let name = &target.name;
        let ColumnValues::Numbers(numbers) = &target.values else {
            return Err(Error::invalid(name, "categories", "a regression predicts numbers"));
        };
        if let Some(row) = numbers.iter().position(|number| number.is_nan()) {
            return Err(Error::invalid(name, "missing", format!("row {row} has no value to predict")));
        }
        let (least, greatest, mean, deviation) =
            moments(numbers, &places.train).ok_or_else(|| Error::invalid(name, "missing", "has no value"))?;
        if least == greatest {
            return Err(Error::invalid(
                name,
                least,
                "is the same in every row of the training part: nothing can be learned",
            ));
        }
        let mut target = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("mean".to_owned(), mean.into()),
            ("scale".to_owned(), deviation.into()),
        ]);
        if let Some(unit) = unit(asked, "targets", name) {
            target.insert("unit".into(), unit);
        }
        described.push(Value::Object(target));
        columns.push(numbers.iter().map(|number| ((number - mean) / deviation) as f32).collect::<Vec<f32>>());
    }
    let rows = columns.first().map_or(0, Vec::len);
    let numbers = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    Ok((described.into(), numbers))
}

/// Returns the inputs of the network, as it computes them itself once it is served.
fn encoded(table: &Table, columns: &[&Column], rows: usize) -> Result<Vec<f32>> {
    let width = table.input_width();
    let mut inputs = vec![0.0; rows * width];
    let mut start = 0;
    for (feature, column) in table.features.iter().zip(columns) {
        let own = Feature::width(feature);
        for row in 0..rows {
            let raw = match &column.values {
                ColumnValues::Numbers(numbers) => numbers[row] as f32,
                ColumnValues::Categories { codes, .. } => codes[row].map_or(f32::NAN, |code| code as f32),
            };
            feature
                .check_raw(raw)
                .map_err(|rule| Error::invalid(&feature.name, format!("{raw} in row {row}"), rule))?;
            feature.encode(raw, &[], &mut inputs[row * width + start..][..own]);
        }
        start += own;
    }
    Ok(inputs)
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
        let activation = |layer: usize| if layer + 1 == layers { "none" } else { self.activation };
        let task = if matches!(self.answers, Answers::Classes(_)) { "classification" } else { "regression" };
        let mut text = Map::from_iter([("format_version".to_owned(), 1.into()), ("task".to_owned(), task.into())]);
        text.extend(self.declaration.clone());
        text.insert("layers".into(), (0..layers).map(|layer| json!({"activation": activation(layer)})).collect());
        vec![("seedhouse.tabular".to_owned(), Value::Object(text).to_string())]
    }

    fn metadata(&self) -> Map<String, Value> {
        let mut metadata = self.declaration.clone();
        let features = metadata.get("features").and_then(Value::as_array).map_or(0, Vec::len);
        metadata.insert("num_features".into(), features.into());
        let outcome = if matches!(self.answers, Answers::Classes(_)) { "num_classes" } else { "num_targets" };
        metadata.insert(outcome.into(), self.widths[self.widths.len() - 1].into());
        let hidden = &self.widths[1..self.widths.len() - 1];
        metadata.insert("hidden_sizes".into(), json!(hidden));
        metadata.insert("activation".into(), self.activation.into());
        metadata
    }
}
