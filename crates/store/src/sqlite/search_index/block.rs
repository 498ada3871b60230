//! The index of one block, made from the versions in it. Nothing is read or written here.

use std::collections::HashMap;

use seedhouse_core::Entry;
use seedhouse_core::query::{Field, scalars};

use super::column::write_column;
use super::rows::{BLOCK_ROWS, Rows};
use super::sort_key::sort_key;
use super::terms::{CUT_OFF, write_buckets};
use super::texts::{TEXTS, write_texts};
use crate::search_tokens::{INDEXED_TEXT_BYTES, Token, search_text, tokens_of_text};

/// The typed fields that have columns; only the description has none.
const TYPED: [Field; 12] = [
    Field::ModelId,
    Field::Base,
    Field::Name,
    Field::Type,
    Field::Framework,
    Field::Status,
    Field::Version,
    Field::Ordinal,
    Field::Digest,
    Field::SizeBytes,
    Field::CreatedAt,
    Field::UpdatedAt,
];

/// Collects the versions of one block.
pub(in crate::sqlite) struct BlockBuilder {
    shown: Rows,
    columns: HashMap<String, Vec<(Vec<u8>, u16)>>,
    tokens: Vec<(Token, u16)>,
    texts: Vec<String>,
}

/// What is kept of a block.
pub(in crate::sqlite) struct BlockContent {
    /// The rows of versions that are not deleted.
    pub(in crate::sqlite) shown: Rows,
    /// Names of fields and their columns.
    pub(in crate::sqlite) columns: Vec<(String, Vec<u8>)>,
    /// Buckets of tokens.
    pub(in crate::sqlite) terms: Vec<Vec<u8>>,
    /// Rows of texts.
    pub(in crate::sqlite) texts: Vec<Vec<u8>>,
}

impl BlockBuilder {
    pub(in crate::sqlite) fn new() -> BlockBuilder {
        let texts = vec![String::new(); BLOCK_ROWS];
        BlockBuilder { shown: Rows::none(), columns: HashMap::new(), tokens: Vec::new(), texts }
    }

    /// Adds the version at a place of the block; no place may come twice.
    pub(in crate::sqlite) fn add(&mut self, place: u16, entry: &Entry) {
        self.shown.insert(place);
        for field in TYPED {
            if let Some(value) = field.of(entry) {
                self.column(&column_of(&field)).push((sort_key(&value), place));
            }
        }
        for (path, value) in scalars(&entry.record) {
            let column = self.column(path.as_str());
            // Of two values under one name, which only control characters in names can bring about, the first one counts.
            if column.last().is_none_or(|(_, last)| *last != place) {
                column.push((sort_key(&value), place));
            }
        }
        let text = search_text(&entry.record);
        self.tokens.extend(tokens_of_text(&text).into_iter().map(|token| (token, place)));
        // A character has at most four bytes, so a text that was cut off ends less than four before the limit.
        if text.len() > INDEXED_TEXT_BYTES - 4 {
            self.tokens.push((CUT_OFF, place));
        }
        self.texts[usize::from(place)] = text;
    }

    pub(in crate::sqlite) fn build(self) -> BlockContent {
        BlockContent {
            shown: self.shown,
            columns: self.columns.into_iter().map(|(name, values)| (name, write_column(values))).collect(),
            terms: write_buckets(self.tokens),
            texts: self.texts.chunks(TEXTS).map(write_texts).collect(),
        }
    }

    fn column(&mut self, name: &str) -> &mut Vec<(Vec<u8>, u16)> {
        if !self.columns.contains_key(name) {
            self.columns.insert(name.to_owned(), Vec::new());
        }
        self.columns.get_mut(name).expect("inserted above if it was missing")
    }
}

/// Returns the name of a field's column. No path is named like a typed field.
pub(in crate::sqlite) fn column_of(field: &Field) -> String {
    match field {
        Field::Path(path) => path.as_str().to_owned(),
        typed => typed.to_string(),
    }
}
