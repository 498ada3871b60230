//! Where a search may begin: the index of texts and labels, the values of a key, the index of a column.

use std::collections::BTreeSet;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use seedhouse_core::Query;
use seedhouse_core::query::{Comparison, Condition, Field, FieldPath, Test, Value};

use super::predicate::{Predicate, key_of, typed_column};
use crate::search_tokens::{cover, label_token, words};
use crate::sqlite::search_index::{BASE_LABEL, FRAMEWORK_LABEL, STATUS_LABEL, TYPE_LABEL, value_token};

/// A set of rows that contains all that match.
pub(super) struct Source {
    /// The tables to begin with.
    pub(super) from: String,
    /// What joins the row `s` of `version_search`, where that is needed.
    pub(super) row_join: String,
    /// The number of the version's row.
    pub(super) id: &'static str,
    /// What must hold of the tables to begin with.
    pub(super) conditions: Vec<String>,
    /// The parameters of those.
    pub(super) parameters: Vec<SqlValue>,
    /// The conditions of the query that hold for all of the set.
    pub(super) settled: BTreeSet<usize>,
    /// The words that occur in all of the set.
    pub(super) settled_words: BTreeSet<String>,
    /// Whether it can be walked in order of registration.
    pub(super) is_ordered: bool,
    /// Whether it is the index of texts and labels.
    pub(super) is_text: bool,
    /// Whether nothing has been narrowed.
    pub(super) is_everything: bool,
    /// Whether it was counted and is small enough to be collected.
    pub(super) is_few: bool,
}

impl Source {
    /// Returns the set of all versions.
    pub(super) fn everything() -> Source {
        Source { is_everything: true, is_ordered: true, ..Source::of("version_search s", "", "s.id") }
    }

    fn of(from: impl Into<String>, row_join: &str, id: &'static str) -> Source {
        Source {
            from: from.into(),
            row_join: row_join.into(),
            id,
            conditions: Vec::new(),
            parameters: Vec::new(),
            settled: BTreeSet::new(),
            settled_words: BTreeSet::new(),
            is_ordered: false,
            is_text: false,
            is_everything: false,
            is_few: false,
        }
    }

    fn narrowed(mut self, predicate: Predicate, settles: usize) -> Source {
        self.conditions.push(predicate.sql);
        self.parameters.extend(predicate.parameters);
        self.settled.insert(settles);
        self
    }

    /// Counts the set, to at most `most`.
    pub(super) fn count(&self, connection: &Connection, most: i64) -> rusqlite::Result<i64> {
        let conditions = self.conditions.join(" AND ");
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} WHERE {conditions} LIMIT ?)", self.from);
        let parameters = self.parameters.iter().cloned().chain([SqlValue::Integer(most)]);
        connection.prepare_cached(&sql)?.query_row(params_from_iter(parameters), |row| row.get(0))
    }
}

/// Returns everything that a query can begin with; the index of texts and labels comes first.
pub(super) fn sources(connection: &Connection, query: &Query, words: &[String]) -> rusqlite::Result<Vec<Source>> {
    let labels = labels(connection, query)?;
    let mut found: Vec<Source> = text_source(query, words, &labels).into_iter().collect();
    for (index, condition) in query.filter.conditions.iter().enumerate() {
        if !labels.iter().any(|(labelled, _)| *labelled == index) {
            found.extend(condition_source(connection, index, condition)?);
        }
    }
    Ok(found)
}

/// Returns the index of a field to walk in its order, and the expression of the field there.
pub(super) fn ordered_source(connection: &Connection, field: &Field) -> rusqlite::Result<(Source, String)> {
    Ok(match field {
        Field::Path(path) => {
            let mut source = values_of(key_of(connection, path)?);
            source.settled = BTreeSet::new();
            (source, "d.value".into())
        }
        typed => {
            let from =
                format!("version_search s INDEXED BY {}", column_index(typed).unwrap_or("version_search_by_name"));
            (Source::of(from, "", "s.id"), format!("s.{}", typed_column(typed)))
        }
    })
}

/// Returns the conditions that the index of labels settles, each with the tokens of which one must be there.
fn labels(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<(usize, Vec<String>)>> {
    let mut found = Vec::new();
    for (index, Condition { field, test }) in query.filter.conditions.iter().enumerate() {
        let values = match test {
            Test::Compare(Comparison::Equal, value) => std::slice::from_ref(value),
            Test::In(values) => values,
            _ => continue,
        };
        let tokens: Option<Vec<String>> = match field {
            Field::Path(path) => {
                let key = key_of(connection, path)?;
                values.iter().map(|value| value_token(path, key, value)).collect()
            }
            typed => label_of(typed).and_then(|label| values.iter().map(|value| text_token(label, value)).collect()),
        };
        found.extend(tokens.map(|tokens| (index, tokens)));
    }
    Ok(found)
}

fn text_token(label: &str, value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => label_token(label, text),
        _ => None,
    }
}

fn label_of(field: &Field) -> Option<&'static str> {
    match field {
        Field::Base => Some(BASE_LABEL),
        Field::Type => Some(TYPE_LABEL),
        Field::Framework => Some(FRAMEWORK_LABEL),
        Field::Status => Some(STATUS_LABEL),
        _ => None,
    }
}

fn text_source(query: &Query, searched: &[String], labels: &[(usize, Vec<String>)]) -> Option<Source> {
    let mut source = Source::of("version_text t", " CROSS JOIN version_search s ON s.id = t.rowid", "t.rowid");
    let mut terms = BTreeSet::new();
    for word in searched {
        let cover = cover(word);
        terms.extend(cover.tokens.iter().map(quoted));
        if cover.is_exact {
            source.settled_words.insert(word.clone());
        }
    }
    for (index, tokens) in labels {
        let any: Vec<String> = tokens.iter().map(quoted).collect();
        terms.insert(format!("({})", any.join(" OR ")));
        source.settled.insert(*index);
    }
    for literal in query.filter.conditions.iter().flat_map(searched_literals) {
        terms.extend(words(&literal).iter().flat_map(|word| cover(word).tokens).map(|token| quoted(&token)));
    }
    if terms.is_empty() {
        return None;
    }
    source.is_ordered = true;
    source.is_text = true;
    source.conditions.push("t.version_text MATCH ?".into());
    source.parameters.push(SqlValue::Text(terms.into_iter().collect::<Vec<_>>().join(" AND ")));
    Some(source)
}

/// Returns texts that the searchable text of every version contains for which a condition holds. Id and name stand at its
/// beginning, where nothing is cut off.
fn searched_literals(condition: &Condition) -> Vec<String> {
    match (&condition.field, &condition.test) {
        (Field::ModelId | Field::Name, Test::Like(pattern)) => pattern.literals(),
        _ => Vec::new(),
    }
}

/// Tokens have no quotes: those are mapped to private characters.
fn quoted(token: &String) -> String {
    format!("\"{token}\"")
}

fn condition_source(connection: &Connection, index: usize, condition: &Condition) -> rusqlite::Result<Option<Source>> {
    let Condition { field, test } = condition;
    let is_equality = matches!(test, Test::Compare(Comparison::Equal, _));
    let narrows = match test {
        Test::Compare(comparison, _) => *comparison != Comparison::NotEqual,
        Test::In(_) => true,
        Test::Like(_) | Test::IsNull | Test::IsNotNull => false,
    };
    if !narrows {
        return Ok(None);
    }
    Ok(match field {
        Field::Path(path) => {
            let mut source = path_source(connection, path)?.narrowed(Predicate::on("d.value", test), index);
            // Rows with one key and one value stand in order of registration.
            source.is_ordered = is_equality;
            Some(source)
        }
        Field::Digest => {
            // Joined in any case: a row of `version` that was removed from the index may not be found.
            let from = "version d INDEXED BY version_by_digest CROSS JOIN version_search s ON s.id = d.id";
            let source = Source::of(from, "", "d.id");
            Some(source.narrowed(Predicate::on("d.digest", test), index))
        }
        typed => column_index(typed).map(|name| {
            let source = Source::of(format!("version_search s INDEXED BY {name}"), "", "s.id");
            let expression = format!("s.{}", typed_column(typed));
            let mut source = source.narrowed(Predicate::on(&expression, test), index);
            source.is_ordered = is_equality;
            source
        }),
    })
}

fn path_source(connection: &Connection, path: &FieldPath) -> rusqlite::Result<Source> {
    Ok(values_of(key_of(connection, path)?))
}

/// Returns the values of one key.
fn values_of(key: i64) -> Source {
    let from = "version_value d INDEXED BY version_value_by_key";
    let mut source = Source::of(from, " CROSS JOIN version_search s ON s.id = d.version_id", "d.version_id");
    source.conditions.push(format!("d.key_id = {key}"));
    source
}

fn column_index(field: &Field) -> Option<&'static str> {
    match field {
        Field::ModelId => Some("version_search_by_model_id"),
        Field::Name => Some("version_search_by_name"),
        Field::Version => Some("version_search_by_version"),
        Field::SizeBytes => Some("version_search_by_size"),
        Field::CreatedAt => Some("version_search_by_created"),
        Field::UpdatedAt => Some("version_search_by_updated"),
        _ => None,
    }
}
