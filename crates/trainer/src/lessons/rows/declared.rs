//! What a network for tables takes and gives: found in the training part, or said by the version to begin with.

use seedhouse_core::dataset::{Column, ColumnValues, TableDataset};
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value, json};

use super::{NOTE, class_of_rows, column, numbers};
use crate::hyper_parameters::HyperParameters;
use crate::lessons::Places;
use crate::numbers::Activation;
use crate::start::Weights;

const ACTIVATIONS: [(&str, Activation); 4] = [
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
];

/// What a network takes and gives.
pub(super) struct Declared {
    /// `features`, and `classes` or `targets`, as they are written into the file.
    pub(super) fields: Map<String, Value>,
    /// What follows every layer but the last, and its name.
    pub(super) activation: (&'static str, Activation),
}

impl Declared {
    /// Describes a table by its training part alone; whether values may be missing, by all parts.
    pub(super) fn by_data(
        asked: HyperParameters<'_>,
        model_type: &ModelType,
        data: &TableDataset,
        places: &Places,
    ) -> Result<Declared> {
        let features = data.features.iter().map(|name| feature(asked, column(data, name)?, places));
        let features: Vec<Value> = features.collect::<Result<_>>()?;
        let outcome = match model_type {
            ModelType::Classification => ("classes", json!(class_of_rows(data)?.0)),
            _ => {
                let targets = data.targets.iter().map(|name| target(asked, column(data, name)?, places));
                ("targets", targets.collect::<Result<Vec<Value>>>()?.into())
            }
        };
        let fields = Map::from_iter([("features".to_owned(), features.into()), (outcome.0.to_owned(), outcome.1)]);
        let activation = activation(asked.text("activation")?.unwrap_or("relu"))?;
        Ok(Declared { fields, activation })
    }

    /// Takes what a version declares: its weights mean its order of features and classes, its categories and its scaling, whatever those
    /// of the data would be. The ranges grow by the new rows.
    pub(super) fn by_version(
        asked: HyperParameters<'_>,
        model_type: &ModelType,
        (weights, data): (&Weights, &TableDataset),
        places: &Places,
    ) -> Result<Declared> {
        let malformed =
            |reason: String| Error::malformed(format!("the note `{NOTE}` of the version to begin with"), reason);
        let text = weights.note(NOTE);
        let text = text.ok_or_else(|| {
            Error::invalid("start", "a file of another family", format!("its weights must have the note `{NOTE}`"))
        })?;
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let layers = fields.remove("layers");
        let activation = activation_of(layers.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice))?;
        if let Some(said) = asked.text("activation")?.filter(|said| *said != activation.0) {
            let rule = format!("the version to begin with has `{}`", activation.0);
            return Err(Error::invalid("metadata.activation", said, rule));
        }
        check_format(&mut fields)?;
        let gives_classes = !fields.contains_key("targets");
        if gives_classes != (*model_type == ModelType::Classification) {
            let gives = if gives_classes { "classes" } else { "targets" };
            let rule = format!("the version to begin with has {gives}");
            return Err(Error::invalid("type", model_type.as_str(), rule));
        }
        check_names("features", fields.get("features"), &data.features)?;
        if !gives_classes {
            check_names("targets", fields.get("targets"), &data.targets)?;
        }
        for feature in fields.get_mut("features").and_then(Value::as_array_mut).into_iter().flatten() {
            widen(feature, data, places)?;
        }
        Ok(Declared { fields, activation })
    }
}

/// Takes what says nothing of the features and the outcome out of a declaration, whose fields are a closed list.
fn check_format(fields: &mut Map<String, Value>) -> Result<()> {
    let version = fields.remove("format_version").unwrap_or(Value::Null);
    if version != json!(1) {
        return Err(Error::unsupported(format!("the format {version} of the note `{NOTE}`"), "1 is read"));
    }
    fields.remove("task");
    let is_known = |name: &String| ["features", "classes", "labels", "targets"].contains(&name.as_str());
    match fields.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let what = format!("training with the field `{}` of the note `{NOTE}`", name.escape_debug());
            Err(Error::unsupported(what, "what it does to the arithmetic is not known"))
        }
    }
}

fn activation(name: &str) -> Result<(&'static str, Activation)> {
    let found = ACTIVATIONS.into_iter().find(|(known, _)| *known == name);
    found.ok_or_else(|| Error::invalid("metadata.activation", name, "must be relu, silu, gelu or gelu_tanh"))
}

/// Returns what follows the layers of a version: the same after each but the last.
fn activation_of(layers: &[Value]) -> Result<(&'static str, Activation)> {
    let name = |layer: &Value| layer.get("activation").and_then(Value::as_str).unwrap_or("none").to_owned();
    let names: Vec<String> = layers.iter().map(name).collect();
    let hidden = names.split_last().map_or(&[][..], |(_, hidden)| hidden);
    match hidden {
        [] => activation("relu"),
        [first, others @ ..] if others.iter().all(|other| other == first) => {
            let rule = "relu, silu, gelu and gelu_tanh are trained";
            activation(first).map_err(|_| {
                Error::unsupported(format!("training with the activation `{}`", first.escape_debug()), rule)
            })
        }
        _ => Err(Error::unsupported(
            format!("training with the activations {}", hidden.join(", ").escape_debug()),
            "the same after each layer is trained",
        )),
    }
}

fn name_of(item: &Value) -> &str {
    item.as_str().or_else(|| item.get("name")?.as_str()).unwrap_or_default()
}

/// Checks that a version and the data have features or targets of the same names, in any order.
fn check_names(list: &str, declared: Option<&Value>, found: &[String]) -> Result<()> {
    let declared = declared.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let declared: Vec<&str> = declared.iter().map(name_of).collect();
    let is_declared = |name: &String| declared.contains(&name.as_str());
    if declared.len() == found.len() && found.iter().all(is_declared) {
        return Ok(());
    }
    let rule = format!("the version to begin with has {}", declared.join(", "));
    Err(Error::invalid(format!("dataset.{list}"), found.join(", "), rule))
}

/// Widens the range of a feature to the numbers of the training part.
fn widen(feature: &mut Value, data: &TableDataset, places: &Places) -> Result<()> {
    let ColumnValues::Numbers(numbers) = &column(data, name_of(feature))?.values else { return Ok(()) };
    let Some((least, greatest, ..)) = moments(numbers, &places.train) else { return Ok(()) };
    // A side that is open stays open.
    if let Some([low, high]) = feature.get_mut("range").and_then(Value::as_array_mut).map(Vec::as_mut_slice) {
        if let Some(said) = low.as_f64() {
            *low = said.min(least).into();
        }
        if let Some(said) = high.as_f64() {
            *high = said.max(greatest).into();
        }
    }
    Ok(())
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

fn target(asked: HyperParameters<'_>, target: &Column, places: &Places) -> Result<Value> {
    let name = &target.name;
    let (least, greatest, mean, deviation) =
        moments(numbers(target)?, &places.train).ok_or_else(|| Error::invalid(name, "missing", "has no value"))?;
    if least == greatest {
        let rule = "is the same in every row of the training part: nothing can be learned";
        return Err(Error::invalid(name, least, rule));
    }
    let mut described = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("mean".to_owned(), mean.into()),
        ("scale".to_owned(), deviation.into()),
    ]);
    if let Some(unit) = unit(asked, "targets", name) {
        described.insert("unit".into(), unit);
    }
    Ok(described.into())
}
