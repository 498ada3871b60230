//! Values of queries as SQLite compares them, and the one function that it lacks.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value as SqlValue, ValueRef};
use seedhouse_core::query::{Pattern, Value};

use crate::version_key::version_key;

/// Returns the value as the columns hold it. SQLite sorts numbers before texts, as [`Value`] does.
pub(super) fn sql_value(value: &Value) -> SqlValue {
    match value {
        Value::Number(number) => SqlValue::Real(*number),
        Value::Whole(number) => SqlValue::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Time(time) => SqlValue::Integer(time.as_microseconds()),
        Value::Version(version) => SqlValue::Blob(version_key(version)),
        Value::Text(text) => SqlValue::Text(text.clone()),
    }
}

/// Makes `fits(text, pattern)` known: the pattern of `LIKE`, case by case, which SQLite's own is not.
pub(super) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("fits", 2, flags, |context| {
        let pattern: Arc<Pattern> = context.get_or_create_aux(1, |value| value.as_str().map(Pattern::new))?;
        Ok(match context.get_raw(0) {
            ValueRef::Text(text) => std::str::from_utf8(text).is_ok_and(|text| pattern.matches(text)),
            _ => false,
        })
    })
}
