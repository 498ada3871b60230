//! Rows of a file with a JSON object on each line. Names are those of all lines, in the order in which they first appear; what a line
//! does not have is missing there.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use seedhouse_core::{Error, Result};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

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
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (line, text) in file.lines() {
            for (name, _) in file.object(line, text)?.0 {
                if seen.insert(name.to_string()) {
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
                cells[places[&*name]] = value;
            }
            visit(Place::Line(line), &cells)?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = (u64, &str)> {
        (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim().is_empty())
    }

    fn object<'t>(&self, line: u64, text: &'t str) -> Result<Members<'t>> {
        serde_json::from_str(text)
            .map_err(|error| Error::malformed(Place::Line(line).in_file(&self.name), reason(&error)))
    }
}

/// Returns what is wrong with a line. The place that the library names is within the line: of its two numbers the first is always 1.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_suffix(&format!(" at line {} column {}", error.line(), error.column())) {
        Some(what) => format!("{what}, at byte {}", error.column()),
        None => text,
    }
}

/// The members of an object, each name once.
struct Members<'t>(Vec<(Cow<'t, str>, Cell<'t>)>);

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
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        while let Some(Name(name)) = map.next_key::<Name<'t>>()? {
            if !seen.insert(name.clone()) {
                return Err(M::Error::custom(format!("`{name}` stands there twice")));
            }
            within("the line", seen.len() as u64, MOST_COLUMNS as u64, "names").map_err(M::Error::custom)?;
            let value = map.next_value_seed(ValueOf(&name))?;
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// Reads the value of a name, and refuses one with values in it before they are read.
struct ValueOf<'n>(&'n str);

impl ValueOf<'_> {
    fn refused<E: serde::de::Error>(&self, found: &str) -> E {
        let name = self.0;
        E::custom(format!("`{name}` is {found}; values must be numbers, texts, truth values or null"))
    }
}

impl<'t> DeserializeSeed<'t> for ValueOf<'_> {
    type Value = Cell<'t>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Cell<'t>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for ValueOf<'_> {
    type Value = Cell<'t>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, a text, a truth value or null")
    }

    fn visit_unit<E>(self) -> Result<Cell<'t>, E> {
        Ok(Cell::Missing)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Cell<'t>, E> {
        Ok(Cell::Boolean(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Cell<'t>, E> {
        Ok(Cell::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Cell<'t>, E> {
        Ok(Cell::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Cell<'t>, E> {
        Ok(Cell::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Cell<'t>, E> {
        Ok(Cell::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell<'t>, E> {
        Ok(Cell::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<S: SeqAccess<'t>>(self, _values: S) -> Result<Cell<'t>, S::Error> {
        Err(self.refused("a list"))
    }

    fn visit_map<M: MapAccess<'t>>(self, _members: M) -> Result<Cell<'t>, M::Error> {
        Err(self.refused("an object"))
    }
}

/// A name, borrowed from the line where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);
