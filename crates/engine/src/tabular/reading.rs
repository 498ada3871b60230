//! From a row to raw numbers, held against what the features declare.

use std::collections::HashMap;
use std::sync::Arc;

use seedhouse_core::tabular::{Feature, FeatureKind, Table};
use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::nearest::nearest;
use super::row::{Cell, Row};

/// What is done about values that the model was not made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TabularPolicies {
    /// Numbers beyond the range of their feature.
    pub out_of_range: OutOfRange,
    /// Words that are none of the categories of their feature.
    pub unknown_category: UnknownCategory,
    /// Names that no feature has.
    pub unknown_feature: UnknownFeature,
}

/// What is done about a number beyond the range of its feature.
///
/// A network answers everything, also where nobody ever looked whether it is right, and its probabilities do not show it. So a row is
/// refused unless the caller says that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutOfRange {
    /// The row is refused.
    #[default]
    Refuse,
    /// The row is computed, and the answer lists the number with the range.
    Flag,
}

/// What is done about a word that is none of the categories of its feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCategory {
    /// The row is refused.
    #[default]
    Refuse,
    /// The value counts as missing; where nothing is declared for missing ones, the row is refused.
    Missing,
}

/// What is done about a name that no feature has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFeature {
    /// The row is refused.
    #[default]
    Refuse,
    /// The value is left aside: a table may have columns that the model does not take.
    Ignore,
}

/// A number beyond the range of its feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flag {
    /// The feature.
    pub feature: String,
    /// The number.
    pub value: f64,
    /// The smallest number that the model was made for.
    pub low: Option<f64>,
    /// The greatest.
    pub high: Option<f64>,
    /// What it is measured in.
    pub unit: Option<String>,
}

/// What is known about a row before it is computed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    /// Features whose value is missing, in the order of the model.
    pub(super) missing: Vec<Arc<str>>,
    pub(super) out_of_range: Vec<Flag>,
}

/// Reads rows for a table.
pub(super) struct Reader<'t> {
    table: &'t Table,
    /// Of features, shared by all rows.
    names: &'t [Arc<str>],
    policies: TabularPolicies,
    places: HashMap<&'t str, usize>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(table: &'t Table, names: &'t [Arc<str>], policies: TabularPolicies) -> Reader<'t> {
        let places = table.features.iter().enumerate().map(|(place, feature)| (feature.name.as_str(), place));
        Reader { table, names, policies, places: places.collect() }
    }

    /// Adds the raw numbers of a row, one for each feature, to `raw`. After an error nothing was added.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the feature, with the value and the rule that it breaks.
    pub(super) fn read(&self, row: &Row, raw: &mut Vec<f32>) -> Result<Found> {
        let mut cells: Vec<Option<&Cell>> = vec![None; self.table.features.len()];
        for (name, cell) in &row.0 {
            match self.places.get(name.as_str()) {
                Some(place) if cells[*place].is_some() => {
                    return Err(Error::invalid(name, "given twice", "a feature is given once"));
                }
                Some(place) => cells[*place] = Some(cell),
                None if self.policies.unknown_feature == UnknownFeature::Ignore => {}
                None => return Err(self.unknown(name)),
            }
        }
        let (start, mut found) = (raw.len(), Found::default());
        for ((feature, name), cell) in self.table.features.iter().zip(self.names).zip(cells) {
            match self.value(feature, name, cell, &mut found) {
                Ok(value) => raw.push(value),
                Err(error) => {
                    raw.truncate(start);
                    return Err(error);
                }
            }
        }
        Ok(found)
    }

    fn value(&self, feature: &Feature, name: &Arc<str>, cell: Option<&Cell>, found: &mut Found) -> Result<f32> {
        let value = match cell.unwrap_or(&Cell::Missing) {
            Cell::Missing => None,
            Cell::Untyped(text) if text.trim().is_empty() => None,
            cell => self.given(feature, cell, found)?,
        };
        match value {
            Some(value) => Ok(value),
            None if feature.missing.is_none() => {
                let rule = format!("it is required: nothing is declared for missing values ({})", kind_text(feature));
                Err(Error::invalid(&feature.name, cell.map_or("missing".into(), ToString::to_string), rule))
            }
            None => {
                found.missing.push(Arc::clone(name));
                Ok(f32::NAN)
            }
        }
    }

    /// Returns the raw number of a value that is there; nothing where it counts as missing.
    fn given(&self, feature: &Feature, cell: &Cell, found: &mut Found) -> Result<Option<f32>> {
        match &feature.kind {
            FeatureKind::Numeric { .. } => self.number(feature, cell, found).map(Some),
            FeatureKind::Boolean => {
                let flag = flag_of(cell).ok_or_else(|| wrong_kind(feature, cell))?;
                Ok(Some(f32::from(u8::from(flag))))
            }
            FeatureKind::Categorical { categories, .. } => {
                let word = word_of(cell).ok_or_else(|| wrong_kind(feature, cell))?;
                match categories.iter().position(|category| *category == word) {
                    Some(place) => Ok(Some(place as f32)),
                    None if self.policies.unknown_category == UnknownCategory::Missing => Ok(None),
                    None => Err(unknown_category(feature, &word, categories)),
                }
            }
        }
    }

    fn number(&self, feature: &Feature, cell: &Cell, found: &mut Found) -> Result<f32> {
        let number = match cell {
            Cell::Number(number) => Some(*number),
            Cell::Untyped(text) => text.trim().parse().ok(),
            Cell::Bool(_) | Cell::Text(_) | Cell::Missing | Cell::Other(_) => None,
        };
        let number = number.ok_or_else(|| wrong_kind(feature, cell))?;
        let raw = number as f32;
        if !raw.is_finite() {
            return Err(Error::invalid(&feature.name, number, "must be finite, and a number that f32 holds"));
        }
        let FeatureKind::Numeric { unit, range, .. } = &feature.kind else { return Ok(raw) };
        if !range.contains(number) {
            match self.policies.out_of_range {
                OutOfRange::Refuse => {
                    let unit = unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
                    let rule = format!(
                        "the model was made for {}{unit}; with `out_of_range` = `flag` it answers all the same",
                        range.text()
                    );
                    return Err(Error::invalid(&feature.name, number, rule));
                }
                OutOfRange::Flag => found.out_of_range.push(Flag {
                    feature: feature.name.clone(),
                    value: number,
                    low: range.low,
                    high: range.high,
                    unit: unit.clone(),
                }),
            }
        }
        Ok(raw)
    }

    fn unknown(&self, name: &str) -> Error {
        let known = || self.table.features.iter().map(|feature| feature.name.as_str());
        let meant = nearest(name, known()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        Error::invalid(
            name.escape_debug().to_string(),
            "given",
            format!("{meant}the model takes {}; with `unknown_feature` = `ignore` it is left aside", listed(known())),
        )
    }
}

/// A row of what somebody could send: numbers in the middle of their range, first categories.
pub(super) fn example(table: &Table) -> Vec<f32> {
    let value = |feature: &Feature| match &feature.kind {
        FeatureKind::Numeric { range, standard, .. } => match (range.low, range.high) {
            (Some(low), Some(high)) => (low / 2.0 + high / 2.0) as f32,
            (Some(side), None) | (None, Some(side)) => side as f32,
            (None, None) => standard.mean as f32,
        },
        FeatureKind::Boolean | FeatureKind::Categorical { .. } => 0.0,
    };
    table.features.iter().map(value).collect()
}

fn flag_of(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Bool(flag) => Some(*flag),
        Cell::Number(number) if *number == 0.0 || *number == 1.0 => Some(*number == 1.0),
        Cell::Untyped(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        Cell::Number(_) | Cell::Text(_) | Cell::Missing | Cell::Other(_) => None,
    }
}

/// Categories are words; a number or a flag is the word that JSON writes for it (a zone `3` is often written as a number).
fn word_of(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Untyped(text) => Some(text.trim().to_owned()),
        Cell::Number(_) | Cell::Bool(_) => Some(cell.to_string()),
        Cell::Missing | Cell::Other(_) => None,
    }
}

fn wrong_kind(feature: &Feature, cell: &Cell) -> Error {
    let written = match cell {
        Cell::Text(text) => format!("\"{}\"", text.escape_debug()),
        other => other.to_string(),
    };
    Error::invalid(&feature.name, written, format!("must be {}", kind_text(feature)))
}

fn unknown_category(feature: &Feature, word: &str, categories: &[String]) -> Error {
    let known = || categories.iter().map(String::as_str);
    let meant = nearest(word, known()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let policy = feature.missing.map_or("", |_| "; with `unknown_category` = `missing` it counts as missing");
    let rule = format!("{meant}the categories are {}{policy}", listed(known()));
    Error::invalid(&feature.name, word.escape_debug(), rule)
}

fn kind_text(feature: &Feature) -> String {
    match &feature.kind {
        FeatureKind::Numeric { unit: Some(unit), .. } => format!("a number, in {unit}"),
        FeatureKind::Numeric { unit: None, .. } => "a number".into(),
        FeatureKind::Boolean => "true or false".into(),
        FeatureKind::Categorical { categories, .. } => {
            format!("one of {}", listed(categories.iter().map(String::as_str)))
        }
    }
}

/// Names for messages: not more than somebody reads.
pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const MOST: usize = 20;
    let names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).collect();
    match names.len().saturating_sub(MOST) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}
