//! Rows of a file with a JSON object on each line. Names are those of all lines, in the order in which they first appear; what a line
//! does not have is missing there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use seedhouse_core::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::cell::Cell;
use super::{Place, Visit};
use crate::limits::{MOST_COLUMNS, within};
use crate::source::{Source, text_of};

/// A file of JSON lines.
pub(crate) struct JsonFile {
    pub(crate) names: Vec<String>,
    name: String,
    text: String,
}

impl JsonFile {
    pub(crate) fn open(source: &Source<'_>) -> Result<JsonFile> {
        let text = text_of(source.name, source.bytes()?)?;
        let mut file = JsonFile { names: Vec::new(), name: source.name.to_owned(), text };
        let mut places: HashMap<String, ()> = HashMap::new();
        let mut names = Vec::new();
        for (line, text) in file.lines() {
            for (name, _) in file.object(line, text)?.0 {
                if places.insert(name.to_string(), ()).is_none() {
                    names.push(name.into_owned());
                    within(
                        format!("the number of columns of `{}`", file.name),
                        names.len() as u64,
                        MOST_COLUMNS as u64,
                        "columns",
                    )?;
                }
            }
        }
        if names.is_empty() {
            return Err(Error::malformed(format!("`{}`", file.name), "it has no line with a value"));
        }
        file.names = names;
        Ok(file)
    }

    pub(crate) fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        let places: HashMap<&str, usize> =
            self.names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        for (line, text) in self.lines() {
            let mut cells = vec![Cell::Missing; self.names.len()];
            for (name, value) in self.object(line, text)?.0 {
                cells[places[&*name]] = self.cell(line, &name, value)?;
            }
            visit(Place::Line(line), &cells)?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = (u64, &str)> {
        (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim().is_empty())
    }

    fn object<'t>(&self, line: u64, text: &'t str) -> Result<Members<'t>> {
        let members: Members<'t> = serde_json::from_str(text)
            .map_err(|error| Error::malformed(Place::Line(line).in_file(&self.name), error.to_string()))?;
        Ok(members)
    }

    fn cell(&self, line: u64, name: &str, value: Value) -> Result<Cell<'static>> {
        Ok(match value {
            Value::Null => Cell::Missing,
            Value::Bool(truth) => Cell::Boolean(truth),
            Value::Number(number) => Cell::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Cell::Text(Cow::Owned(text)),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::unsupported(
                    format!("the value of `{name}` in {}", Place::Line(line).in_file(&self.name)),
                    "values must be numbers, texts, truth values or null, not lists or objects",
                ));
            }
        })
    }
}

/// Returns whether an object has a text under `text` and nothing else.
pub(crate) fn is_text_only(line: &str) -> bool {
    match serde_json::from_str::<Members<'_>>(line) {
        Ok(Members(members)) => matches!(members.as_slice(), [(name, Value::String(_))] if name == "text"),
        Err(_) => false,
    }
}

/// The members of an object, each name once.
struct Members<'t>(Vec<(Cow<'t, str>, Value)>);

impl<'t> Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Members<'t>, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'t> Visitor<'t> for MembersVisitor {
    type Value = Members<'t>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<Members<'t>, M::Error> {
        let mut members: Vec<(Cow<'t, str>, Value)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'t>, Value>()? {
            if !seen.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("`{name}` stands there twice")));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// A name, borrowed from the line where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);
