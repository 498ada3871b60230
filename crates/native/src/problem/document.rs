//! The file as its writer wrote it: fields of the right types, none that nobody knows.

use seedhouse_core::runtime::{Direction, Relation, VariableKind};
use seedhouse_core::{Error, Result};
use serde::{Deserialize, Deserializer};

use super::number::{Coefficients, NumberText};

/// The longest document.
pub(super) const LONGEST_BYTES: usize = 4 << 20;

/// What `seedhouse` says in the version of the format that is read here.
pub(super) const FORMAT: &str = "optimization/1";

/// A problem.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "seedhouse")]
    _format: serde::de::IgnoredAny,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) parameters: Vec<ParameterText>,
    pub(super) variables: Vec<VariableText>,
    pub(super) objective: ObjectiveText,
    #[serde(default)]
    pub(super) constraints: Vec<ConstraintText>,
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Head {
    seedhouse: String,
}

/// A number that a request may choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParameterText {
    pub(super) name: String,
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) default: f64,
    pub(super) lowest: Option<f64>,
    pub(super) highest: Option<f64>,
}

/// What is to be found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VariableText {
    pub(super) name: String,
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default = "continuous", deserialize_with = "kind")]
    pub(super) kind: VariableKind,
    /// Left out it is 0; null is no bound.
    #[serde(default, deserialize_with = "present")]
    pub(super) lower: Option<Option<NumberText>>,
    pub(super) upper: Option<NumberText>,
}

/// What is to be made large or small.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectiveText {
    #[serde(deserialize_with = "direction")]
    pub(super) direction: Direction,
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) coefficients: Coefficients,
    pub(super) constant: Option<NumberText>,
}

/// What must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConstraintText {
    pub(super) name: String,
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) coefficients: Coefficients,
    #[serde(deserialize_with = "relation")]
    pub(super) relation: Relation,
    pub(super) right_side: NumberText,
}

fn continuous() -> VariableKind {
    VariableKind::Continuous
}

/// Tells a null from a field that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<NumberText>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VariableKind, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Continuous,
        Integer,
        Binary,
    }
    Word::deserialize(deserializer).map(|word| match word {
        Word::Continuous => VariableKind::Continuous,
        Word::Integer => VariableKind::Integer,
        Word::Binary => VariableKind::Binary,
    })
}

fn direction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Direction, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        #[serde(alias = "maximize")]
        Maximise,
        #[serde(alias = "minimize")]
        Minimise,
    }
    Word::deserialize(deserializer).map(|word| match word {
        Word::Maximise => Direction::Maximise,
        Word::Minimise => Direction::Minimise,
    })
}

fn relation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Relation, D::Error> {
    #[derive(Deserialize)]
    enum Word {
        #[serde(rename = "<=")]
        AtMost,
        #[serde(rename = ">=")]
        AtLeast,
        #[serde(rename = "=")]
        Equal,
    }
    Word::deserialize(deserializer).map(|word| match word {
        Word::AtMost => Relation::AtMost,
        Word::AtLeast => Relation::AtLeast,
        Word::Equal => Relation::Equal,
    })
}

impl Document {
    /// Reads a document; errors call it `what`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and [`Error::Malformed`] naming the field.
    pub(super) fn read(what: &str, bytes: &[u8]) -> Result<Document> {
        if bytes.len() > LONGEST_BYTES {
            let (size, limit) = (format!("{} bytes", bytes.len()), format!("{LONGEST_BYTES} bytes"));
            return Err(Error::TooLarge { what: what.to_owned(), size, limit });
        }
        // A later version may have fields that nobody knows here: that it is one says more than the first of them.
        if let Ok(Head { seedhouse }) = serde_json::from_slice(bytes)
            && seedhouse != FORMAT
        {
            let found = crate::quote::quote(&seedhouse);
            return Err(Error::unsupported(what, format!("its format is {found}, and this runtime reads `{FORMAT}`")));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let document: Document = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let (path, reason) = (error.path().to_string(), error.inner().to_string());
            let place = if path == "." { String::new() } else { format!("`{path}`: ") };
            Error::malformed(what, format!("{place}{reason}"))
        })?;
        deserializer.end().map_err(|error| Error::malformed(what, error.to_string()))?;
        Ok(document)
    }
}
