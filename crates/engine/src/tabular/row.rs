//! Rows as callers write them: values by the names of features.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A row: names of features and their values, in any order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row(pub Vec<(String, Cell)>);

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// A text out of a form that has nothing else, such as CSV: what it means is the feature's to say. Nothing is missing.
    Untyped(String),
    /// There is no value.
    Missing,
    /// What is no value of a row, such as a list. It is kept so that the other rows of a request are answered.
    Other(&'static str),
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Number(number) => write!(formatter, "{number}"),
            Cell::Bool(flag) => write!(formatter, "{flag}"),
            Cell::Text(text) | Cell::Untyped(text) => write!(formatter, "{}", text.escape_debug()),
            Cell::Missing => formatter.write_str("missing"),
            Cell::Other(what) => formatter.write_str(what),
        }
    }
}

/// A name that is there twice stays so: an object that says two things is a mistake, whoever would win.
impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object from feature to value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Row, A::Error> {
        let mut cells = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            cells.push(entry);
        }
        Ok(Row(cells))
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, a text, true, false or null")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::Number(number as f64))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cell, E> {
        Ok(Cell::Number(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell, E> {
        Ok(Cell::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Cell, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_become_rows_and_keep_what_is_there_twice() {
        let row: Row = serde_json::from_str(
            r#"{"pH": 6, "a": 0.5, "b": true, "c": null, "d": "x", "e": [1, [2]], "pH": {"z": 1}}"#,
        )
        .unwrap();
        let cells = [
            ("pH", Cell::Number(6.0)),
            ("a", Cell::Number(0.5)),
            ("b", Cell::Bool(true)),
            ("c", Cell::Missing),
            ("d", Cell::Text("x".into())),
            ("e", Cell::Other("a list")),
            ("pH", Cell::Other("an object")),
        ];
        assert_eq!(row, Row(cells.map(|(name, cell)| (name.to_owned(), cell)).to_vec()));
        let error = serde_json::from_str::<Row>("[1]").unwrap_err().to_string();
        assert!(error.contains("an object from feature to value"), "{error}");
    }
}
