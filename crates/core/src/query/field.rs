//! The fields that queries can name.

use std::fmt;

use super::Value;
use super::parser::{Literal, parse_field};
use crate::{Error, Result, Status, Timestamp, Version, ZoneGiven};

/// A field of a version: a typed one, or a scalar somewhere below one of the open groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// The unique id.
    ModelId,
    /// The model that the version belongs to.
    Base,
    /// The name for people.
    Name,
    /// What it is for.
    Type,
    /// What it was made with.
    Framework,
    /// Where it stands in its life.
    Status,
    /// The label, in version order.
    Version,
    /// 1, 2, 3 … within the base.
    Ordinal,
    /// The digest of its files.
    Digest,
    /// The size of its files.
    SizeBytes,
    /// When it was registered.
    CreatedAt,
    /// When it last changed.
    UpdatedAt,
    /// The text for people.
    Description,
    /// A scalar below `metadata`, `metrics` and so on.
    Path(FieldPath),
}

/// The names on the way to a scalar, e.g. `metadata`, `num_classes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath(String);

/// Groups of the record whose scalars can be named.
pub(super) const GROUPS: [&str; 7] =
    ["integrity", "metadata", "metrics", "tags", "quantization", "inspected", "card_data"];

/// Scalars that stand in the record itself.
pub(super) const SCALARS: [&str; 5] = ["accuracy", "is_pretrained", "pretrained_source", "parent", "relation"];

/// Stands between the names of a path; keys of JSON objects hardly ever contain it.
const SEPARATOR: char = '\u{1f}';

const TYPED: [(&str, Field); 13] = [
    ("model_id", Field::ModelId),
    ("base", Field::Base),
    ("name", Field::Name),
    ("type", Field::Type),
    ("framework", Field::Framework),
    ("status", Field::Status),
    ("version", Field::Version),
    ("ordinal", Field::Ordinal),
    ("digest", Field::Digest),
    ("size_bytes", Field::SizeBytes),
    ("created_at", Field::CreatedAt),
    ("updated_at", Field::UpdatedAt),
    ("description", Field::Description),
];

impl FieldPath {
    pub(super) fn root(name: &str) -> FieldPath {
        FieldPath(name.to_owned())
    }

    pub(super) fn child(&self, name: &str) -> FieldPath {
        FieldPath(format!("{}{SEPARATOR}{name}", self.0))
    }

    /// Returns the path as one text, e.g. as a key of a table. Different paths have different texts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tags are texts, whatever they look like.
    fn is_tag(&self) -> bool {
        self.0.starts_with("tags\u{1f}")
    }
}

impl Field {
    /// Returns the field with these names, e.g. of `metadata.num_classes`.
    pub(super) fn from_names(names: &[String]) -> Result<Field, String> {
        let (first, below) = names.split_first().ok_or("a field was expected")?;
        let first = first.as_str();
        if let Some((_, field)) = TYPED.iter().find(|(name, _)| *name == first) {
            return match below {
                [] => Ok(field.clone()),
                [name, ..] => Err(format!("`{first}` has nothing below it, and `{name}` was asked for")),
            };
        }
        if GROUPS.contains(&first) && below.is_empty() {
            return Err(format!("`{first}` is a group: name a key below it, like `{first}.key`"));
        }
        if GROUPS.contains(&first) || SCALARS.contains(&first) {
            let path = below.iter().fold(FieldPath::root(first), |path, name| path.child(name));
            return Ok(Field::Path(path));
        }
        let typed: Vec<&str> = TYPED.iter().map(|(name, _)| *name).chain(SCALARS).collect();
        let groups: Vec<String> = GROUPS.iter().map(|name| format!("{name}.…")).collect();
        Err(format!("there is no field `{first}`; fields are {}, {}", typed.join(", "), groups.join(", ")))
    }

    /// Reads a value as this field compares it. The error says which values it takes.
    pub(super) fn value(&self, literal: &Literal) -> Result<Value, String> {
        let text = literal.text();
        let wrong = |rule: &str| format!("`{self}` is compared with {rule}, and `{text}` is none");
        match self {
            Field::ModelId | Field::Base | Field::Name | Field::Type | Field::Framework | Field::Digest => {
                Ok(Value::Text(text.to_owned()))
            }
            Field::Description => Ok(Value::Text(text.to_owned())),
            Field::Status => match text.parse::<Status>() {
                Ok(_) => Ok(Value::Text(text.to_owned())),
                Err(_) => {
                    let names: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
                    Err(wrong(&format!("a status ({})", names.join(", "))))
                }
            },
            Field::Version => {
                let version = text.parse::<Version>();
                version.map(Value::Version).map_err(|_| wrong("a version like `7` or `1.0.3`"))
            }
            Field::Ordinal | Field::SizeBytes => match text.parse::<u64>() {
                Ok(number) if i64::try_from(number).is_ok() => Ok(Value::Whole(number)),
                _ => Err(wrong(&format!("a whole number up to {}", i64::MAX))),
            },
            Field::CreatedAt | Field::UpdatedAt => match Timestamp::parse(text) {
                Ok((time, ZoneGiven::Yes | ZoneGiven::No)) => Ok(Value::Time(time)),
                Err(_) => Err(wrong("a time like '2026-03-01' or '2026-03-01T12:00:00Z'")),
            },
            Field::Path(path) => Ok(match literal {
                Literal::Word(word) if !path.is_tag() => match word.parse::<f64>() {
                    Ok(number) if number.is_finite() => Value::number(number),
                    _ => Value::Text(text.to_owned()),
                },
                Literal::Word(_) | Literal::Quoted(_) => Value::Text(text.to_owned()),
            }),
        }
    }

    /// Returns whether a value is of the kind that this field holds.
    pub(super) fn can_hold(&self, value: &Value) -> bool {
        match self {
            Field::Version => matches!(value, Value::Version(_)),
            Field::Ordinal | Field::SizeBytes => {
                matches!(value, Value::Whole(number) if i64::try_from(*number).is_ok())
            }
            Field::CreatedAt | Field::UpdatedAt => matches!(value, Value::Time(_)),
            Field::Path(_) => matches!(value, Value::Text(_) | Value::Number(_)),
            Field::ModelId | Field::Base | Field::Name | Field::Type | Field::Framework | Field::Status => {
                matches!(value, Value::Text(_))
            }
            Field::Digest | Field::Description => matches!(value, Value::Text(_)),
        }
    }

    /// Returns whether the field can hold texts that a pattern is compared with.
    pub(super) fn holds_text(&self) -> bool {
        !matches!(self, Field::Version | Field::Ordinal | Field::SizeBytes | Field::CreatedAt | Field::UpdatedAt)
    }
}

impl std::str::FromStr for Field {
    type Err = Error;

    fn from_str(text: &str) -> Result<Field> {
        parse_field(text).map_err(|rule| Error::invalid("field", text, rule))
    }
}

/// As the filter language writes it, with back-ticks where a name needs them.
impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Field::Path(path) = self else {
            let name = TYPED.iter().find(|(_, field)| field == self).map(|(name, _)| *name);
            return formatter.write_str(name.expect("every typed field stands in the table"));
        };
        for (index, name) in path.0.split(SEPARATOR).enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let is_plain = !name.is_empty() && name.chars().all(super::parser::is_name_character);
            match is_plain {
                true => write!(formatter, "{dot}{name}")?,
                false => write!(formatter, "{dot}`{}`", name.replace('`', "``"))?,
            }
        }
        Ok(())
    }
}
