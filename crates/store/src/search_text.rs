//! What a text search looks at. One definition for every adapter, so that they find the same versions.

use seedhouse_core::Record;

/// Keeps a search from matching across the border of two fields.
const BORDER: char = '\u{1f}';

/// Returns the searchable text of a record: id, name, type and description, in lower case as far as ASCII goes.
pub(crate) fn search_text(record: &Record) -> String {
    let parts = [record.model_id.as_str(), &record.name, record.model_type.as_str(), record.description()];
    folded(&parts.join(&BORDER.to_string()))
}

/// Returns `text` as [`search_text`] writes it; a query must be folded the same way.
pub(crate) fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}
