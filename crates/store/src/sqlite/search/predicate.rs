//! Conditions as SQL over one version. They are checked row by row: no index is used.

use rusqlite::Connection;
use rusqlite::types::Value as SqlValue;
use seedhouse_core::query::{Comparison, Condition, Field, FieldPath, Test, Value};

use crate::sqlite::search_index::key_id;
use crate::sqlite::values::sql_value;

/// A condition in SQL, with the parameters of its question marks.
pub(super) struct Predicate {
    pub(super) sql: String,
    pub(super) parameters: Vec<SqlValue>,
}

impl Predicate {
    /// Returns the predicate of a condition on the version whose number is `id`, and whether it needs the row `s`.
    pub(super) fn of(connection: &Connection, condition: &Condition, id: &str) -> rusqlite::Result<(Predicate, bool)> {
        let expression = match &condition.field {
            Field::Path(path) => {
                let key = key_of(connection, path)?;
                format!("(SELECT value FROM version_value WHERE version_id = {id} AND key_id = {key})")
            }
            Field::Ordinal => format!("(SELECT ordinal FROM version WHERE id = {id})"),
            Field::Digest => format!("(SELECT digest FROM version WHERE id = {id})"),
            Field::Description => DESCRIPTION.replace("{id}", id),
            // The plus keeps SQLite from walking an index of the column instead of the source that was chosen.
            typed => format!("+s.{}", typed_column(typed)),
        };
        Ok((Predicate::on(&expression, &condition.test), expression.starts_with("+s.")))
    }

    /// Returns the predicate of a test on an expression; where there is nothing the expression must be NULL.
    pub(super) fn on(expression: &str, test: &Test) -> Predicate {
        match test {
            Test::Compare(comparison, value) => {
                Predicate { sql: compared(expression, *comparison, value), parameters: vec![sql_value(value)] }
            }
            Test::In(values) => Predicate {
                sql: format!("{expression} IN ({})", vec!["?"; values.len()].join(", ")),
                parameters: values.iter().map(sql_value).collect(),
            },
            Test::Like(pattern) => Predicate {
                sql: format!("fits({expression}, ?)"),
                parameters: vec![SqlValue::Text(pattern.as_str().to_owned())],
            },
            Test::IsNull => Predicate { sql: format!("{expression} IS NULL"), parameters: Vec::new() },
            Test::IsNotNull => Predicate { sql: format!("{expression} IS NOT NULL"), parameters: Vec::new() },
        }
    }
}

/// The description stands in the record only, and counts if it is a text.
const DESCRIPTION: &str = "(SELECT CASE json_type(record, '$.description') WHEN 'text'
     THEN json_extract(record, '$.description') END FROM version WHERE id = {id})";

/// To SQLite every number is less than every text, and the empty text is the least: it fences the two off.
fn compared(expression: &str, comparison: Comparison, value: &Value) -> String {
    let sign = comparison.as_str();
    let fence = match (comparison, value) {
        (Comparison::Greater | Comparison::AtLeast, Value::Number(_)) => format!(" AND {expression} < ''"),
        (Comparison::Less | Comparison::AtMost, Value::Text(_)) => format!(" AND {expression} >= ''"),
        _ => String::new(),
    };
    format!("{expression} {sign} ?{fence}")
}

/// Returns the column of `version_search` that holds a typed field.
pub(super) fn typed_column(field: &Field) -> &'static str {
    match field {
        Field::ModelId => "model_id",
        Field::Base => "base",
        Field::Name => "name",
        Field::Type => "type",
        Field::Framework => "framework",
        Field::Status => "status",
        Field::Version => "version_key",
        Field::SizeBytes => "size_bytes",
        Field::CreatedAt => "created_at_us",
        Field::UpdatedAt => "updated_at_us",
        Field::Ordinal | Field::Digest | Field::Description | Field::Path(_) => {
            unreachable!("it is read elsewhere, and nothing is ordered by it")
        }
    }
}

/// Returns the number of a key; for one that no version has, a number that no key has.
pub(super) fn key_of(connection: &Connection, path: &FieldPath) -> rusqlite::Result<i64> {
    Ok(key_id(connection, path)?.unwrap_or(-1))
}
