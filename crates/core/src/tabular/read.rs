//! Declarations as they are written: JSON, held against the rules.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Encoding, Feature, FeatureKind, Missing, Outcome, Range, Standard, Table, Target};
use crate::{Error, Result};

/// More than tables have; a record lists all of them.
const MOST_FEATURES: usize = 4096;

/// Of all features together, and of classes and targets.
const MOST_WORDS: usize = 65_536;

/// The longest name, unit or category.
const MOST_NAME_BYTES: usize = 256;

/// The most numbers of an embedding.
const MOST_EMBEDDING: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFeature {
    name: String,
    #[serde(default)]
    kind: WrittenKind,
    unit: Option<String>,
    range: Option<[Option<f64>; 2]>,
    mean: Option<f64>,
    scale: Option<f64>,
    categories: Option<Vec<String>>,
    encoding: Option<WrittenEncoding>,
    embedding_width: Option<usize>,
    missing: Option<WrittenMissing>,
}

#[derive(Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenKind {
    #[default]
    Numeric,
    Boolean,
    Categorical,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenEncoding {
    Index,
    OneHot,
    Embedding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMissing {
    fill: Option<Value>,
    #[serde(default)]
    indicator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    name: String,
    unit: Option<String>,
    mean: Option<f64>,
    scale: Option<f64>,
}

impl Table {
    /// Reads `features`, and `classes` (or `labels`) or `targets`. A feature or target that is a text alone has that name and nothing
    /// else. `prefix` stands before the names of fields in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field that breaks a rule.
    pub fn read(prefix: &str, declared: &Map<String, Value>) -> Result<Table> {
        let field = |name: &str| format!("{prefix}{name}");
        let features: Vec<Feature> = items(declared, &field("features"), "features")?
            .iter()
            .enumerate()
            .map(|(place, value)| feature(&format!("{prefix}features[{place}]"), value))
            .collect::<Result<_>>()?;
        check_count(&field("features"), features.len(), 1, MOST_FEATURES)?;
        check_distinct(&field("features"), features.iter().map(|feature| feature.name.as_str()))?;
        let words = features.iter().map(|feature| match &feature.kind {
            FeatureKind::Categorical { categories, .. } => categories.len(),
            FeatureKind::Numeric { .. } | FeatureKind::Boolean => 0,
        });
        check_count(&field("features"), words.sum(), 0, MOST_WORDS)?;
        Ok(Table { features, outcome: outcome(prefix, declared)? })
    }
}

fn outcome(prefix: &str, declared: &Map<String, Value>) -> Result<Outcome> {
    let is_there = |name: &str| declared.get(name).is_some_and(|value| !value.is_null());
    let field = |name: &str| format!("{prefix}{name}");
    let classes = ["labels", "classes"].into_iter().find(|name| is_there(name));
    match (classes, is_there("targets")) {
        (Some(name), false) => {
            let classes = words(&field(name), &declared[name])?;
            check_count(&field(name), classes.len(), 2, MOST_WORDS)?;
            Ok(Outcome::Classes(classes))
        }
        (None, true) => {
            let targets: Vec<Target> = items(declared, &field("targets"), "targets")?
                .iter()
                .enumerate()
                .map(|(place, value)| target(&format!("{prefix}targets[{place}]"), value))
                .collect::<Result<_>>()?;
            check_count(&field("targets"), targets.len(), 1, MOST_WORDS)?;
            check_distinct(&field("targets"), targets.iter().map(|target| target.name.as_str()))?;
            Ok(Outcome::Targets(targets))
        }
        (Some(name), true) => {
            Err(Error::invalid(field("targets"), "given", format!("`{name}` is given too: a model has one of them")))
        }
        (None, false) => Err(Error::invalid(
            field("classes"),
            "missing",
            "`features` are declared: `classes` (names) or `targets` must be declared with them",
        )),
    }
}

fn feature(field: &str, value: &Value) -> Result<Feature> {
    let written: WrittenFeature = match value {
        Value::String(name) => from_value(field, serde_json::json!({ "name": name }))?,
        other => from_value(field, other.clone())?,
    };
    check_word(&format!("{field}.name"), &written.name)?;
    let superfluous = |name: &str, kind: &str| {
        Err(Error::invalid(format!("{field}.{name}"), "given", format!("a {kind} feature has none")))
    };
    let numeric_only = [
        ("unit", written.unit.is_some()),
        ("range", written.range.is_some()),
        ("mean", written.mean.is_some()),
        ("scale", written.scale.is_some()),
    ];
    let categorical_only = [
        ("categories", written.categories.is_some()),
        ("encoding", written.encoding.is_some()),
        ("embedding_width", written.embedding_width.is_some()),
    ];
    let given = |fields: &[(&'static str, bool)]| fields.iter().find(|(_, is_given)| *is_given).map(|(name, _)| *name);
    let kind = match written.kind {
        WrittenKind::Numeric => {
            if let Some(name) = given(&categorical_only) {
                return superfluous(name, "numeric");
            }
            FeatureKind::Numeric {
                unit: unit(field, written.unit)?,
                range: range(field, written.range)?,
                standard: standard(field, written.mean, written.scale)?,
            }
        }
        WrittenKind::Boolean => match given(&numeric_only).or_else(|| given(&categorical_only)) {
            Some(name) => return superfluous(name, "boolean"),
            None => FeatureKind::Boolean,
        },
        WrittenKind::Categorical => {
            if let Some(name) = given(&numeric_only) {
                return superfluous(name, "categorical");
            }
            let categories = written.categories.unwrap_or_default();
            check_words(&format!("{field}.categories"), &categories)?;
            check_count(&format!("{field}.categories"), categories.len(), 1, MOST_WORDS)?;
            FeatureKind::Categorical {
                categories,
                encoding: encoding(field, written.encoding, written.embedding_width)?,
            }
        }
    };
    let missing = written.missing.map(|written| missing(field, &kind, written)).transpose()?;
    Ok(Feature { name: written.name, kind, missing })
}

fn encoding(field: &str, encoding: Option<WrittenEncoding>, width: Option<usize>) -> Result<Encoding> {
    let field = format!("{field}.embedding_width");
    match (encoding.unwrap_or(WrittenEncoding::OneHot), width) {
        (WrittenEncoding::Embedding, Some(width)) => {
            check_count(&field, width, 1, MOST_EMBEDDING)?;
            Ok(Encoding::Embedding(width))
        }
        (WrittenEncoding::Embedding, None) => Err(Error::invalid(field, "missing", "an embedding has a width")),
        (_, Some(width)) => Err(Error::invalid(field, width, "only an embedding has a width")),
        (WrittenEncoding::Index, None) => Ok(Encoding::Index),
        (WrittenEncoding::OneHot, None) => Ok(Encoding::OneHot),
    }
}

fn missing(field: &str, kind: &FeatureKind, written: WrittenMissing) -> Result<Missing> {
    let field = format!("{field}.missing");
    let fill = written.fill.filter(|fill| !fill.is_null()).map(|fill| raw_fill(&field, kind, &fill)).transpose()?;
    match (fill, written.indicator) {
        (None, false) => Err(Error::invalid(&field, "empty", "must have `fill`, or `indicator` that is true")),
        (fill, indicator) => Ok(Missing { fill, indicator }),
    }
}

fn raw_fill(field: &str, kind: &FeatureKind, fill: &Value) -> Result<f32> {
    let field = format!("{field}.fill");
    match kind {
        FeatureKind::Numeric { .. } => {
            let number = fill.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
            number.ok_or_else(|| Error::invalid(field, fill, "must be a number that f32 holds"))
        }
        FeatureKind::Boolean => {
            let flag = fill.as_bool().ok_or_else(|| Error::invalid(field, fill, "must be true or false"))?;
            Ok(f32::from(u8::from(flag)))
        }
        FeatureKind::Categorical { categories, .. } => {
            let place = fill.as_str().and_then(|word| categories.iter().position(|category| category == word));
            let place = place.ok_or_else(|| Error::invalid(field, fill, "must be one of the categories"))?;
            Ok(place as f32)
        }
    }
}

fn target(field: &str, value: &Value) -> Result<Target> {
    let written: WrittenTarget = match value {
        Value::String(name) => from_value(field, serde_json::json!({ "name": name }))?,
        other => from_value(field, other.clone())?,
    };
    check_word(&format!("{field}.name"), &written.name)?;
    Ok(Target {
        unit: unit(field, written.unit)?,
        standard: standard(field, written.mean, written.scale)?,
        name: written.name,
    })
}

fn unit(field: &str, unit: Option<String>) -> Result<Option<String>> {
    unit.iter().try_for_each(|unit| check_word(&format!("{field}.unit"), unit))?;
    Ok(unit)
}

fn range(field: &str, range: Option<[Option<f64>; 2]>) -> Result<Range> {
    let [low, high] = range.unwrap_or_default();
    match (low, high) {
        (Some(low), Some(high)) if low >= high => {
            let rule = "the first number must be below the second";
            Err(Error::invalid(format!("{field}.range"), format!("[{low}, {high}]"), rule))
        }
        _ => Ok(Range { low, high }),
    }
}

fn standard(field: &str, mean: Option<f64>, scale: Option<f64>) -> Result<Standard> {
    let standard = Standard { mean: mean.unwrap_or(0.0), scale: scale.unwrap_or(1.0) };
    match standard.scale > 0.0 {
        true => Ok(standard),
        false => Err(Error::invalid(format!("{field}.scale"), standard.scale, "must be above 0")),
    }
}

fn items<'v>(declared: &'v Map<String, Value>, field: &str, name: &str) -> Result<&'v [Value]> {
    match declared.get(name) {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Error::invalid(field, other, "must be an array")),
        None => Err(Error::invalid(field, "missing", "is required")),
    }
}

/// Class names: an array, or an object from class id to name, as labels of images are.
fn words(field: &str, value: &Value) -> Result<Vec<String>> {
    let by_id = |names: &Map<String, Value>| (0..names.len()).map(|id| names.get(&id.to_string()).cloned()).collect();
    let names: Option<Vec<Value>> = match value {
        Value::Array(names) => Some(names.clone()),
        Value::Object(names) => by_id(names),
        _ => None,
    };
    let rule = "must be an array of names, or an object from class id to name";
    let names = names.ok_or_else(|| Error::invalid(field, value, rule))?;
    let name = |name: &Value| name.as_str().map(str::to_owned).ok_or_else(|| Error::invalid(field, name, rule));
    let names: Vec<String> = names.iter().map(name).collect::<Result<_>>()?;
    check_words(field, &names)?;
    Ok(names)
}

fn check_words(field: &str, words: &[String]) -> Result<()> {
    words.iter().try_for_each(|word| check_word(field, word))?;
    check_distinct(field, words.iter().map(String::as_str))
}

fn check_word(field: &str, word: &str) -> Result<()> {
    if word.trim().is_empty() || word.len() > MOST_NAME_BYTES || word.contains(char::is_control) {
        let rule = format!("must have 1 to {MOST_NAME_BYTES} bytes, not only spaces, and no control characters");
        return Err(Error::invalid(field, word.escape_debug(), rule));
    }
    Ok(())
}

fn check_distinct<'w>(field: &str, words: impl Iterator<Item = &'w str>) -> Result<()> {
    let mut seen = HashSet::new();
    match words.into_iter().find(|word| !seen.insert(*word)) {
        Some(twice) => Err(Error::invalid(field, twice, "each name must be there once")),
        None => Ok(()),
    }
}

fn check_count(field: &str, count: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(field, count, format!("there must be {least} to {most}")))
}

fn from_value<T: serde::de::DeserializeOwned>(field: &str, value: Value) -> Result<T> {
    serde_json::from_value(value.clone())
        .map_err(|error| Error::invalid(field, value, format!("it is not understood: {error}")))
}
