//! Which rows of a block may match: sets of rows, one per token and per condition, and what they leave in doubt.

use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension, params};
use seedhouse_core::Error;
use seedhouse_core::query::{Comparison, Condition, Field, Test, Value};

use crate::search_tokens::{Token, cover, words};
use crate::sqlite::column_cache::ColumnCache;
use crate::sqlite::connection::carried;
use crate::sqlite::loose::Loose;
use crate::sqlite::rows::{VERSION_COLUMNS, VersionRow};
use crate::sqlite::search_index::block::column_of;
use crate::sqlite::search_index::column::Column;
use crate::sqlite::search_index::rows::Rows;
use crate::sqlite::search_index::terms::{CUT_OFF, bucket_of, rows_of};
use crate::sqlite::search_index::texts::text_at;
use crate::sqlite::search_index::{block_of, bucket_row, place_of, text_row};

/// So few rows are proved one by one, rather than narrowed by more tokens.
const FEW: usize = 2;

/// The conditions of a query, in the order in which they narrow a block.
pub(super) struct Candidates<'a> {
    connection: &'a Connection,
    pub(super) columns: Columns<'a>,
    words: Vec<String>,
    /// Tokens of a word, or of a part of a pattern.
    narrowing: Vec<Narrowing>,
    /// Versions with the digests asked for, ascending; of several conditions, one list each.
    by_digest: Vec<Vec<i64>>,
    /// Conditions on columns, with the names of these.
    on_columns: Vec<(String, &'a Test)>,
    /// Words that tokens do not prove.
    in_doubt: Vec<Finder<'static>>,
    /// Conditions that only the record proves.
    on_record: Vec<&'a Condition>,
    /// Rows of texts of the block that is being looked at.
    texts: HashMap<i64, Vec<u8>>,
    /// The row that was used last: neighbours are proved one after the other.
    last_texts: (i64, Vec<u8>),
}

/// The columns of the moment that a search sees.
pub(super) struct Columns<'a> {
    pub(super) connection: &'a Connection,
    pub(super) cache: &'a ColumnCache,
    pub(super) loose: Arc<Loose>,
}

impl Columns<'_> {
    /// Returns the column of a field, if any version of the block has it.
    pub(super) fn of(&self, block: i64, field: &str) -> rusqlite::Result<Option<Arc<Column>>> {
        let revision = self.loose.blocks.get(&block).copied().unwrap_or_default();
        if let Some(known) = self.cache.find(field, block, revision) {
            return Ok(known);
        }
        let sql = "SELECT content FROM search_column WHERE block = ?1 AND field = ?2";
        let read = |row: &rusqlite::Row<'_>| Ok(Column::read(row.get_ref(0)?.as_blob()?));
        let column = match self.connection.prepare_cached(sql)?.query_row(params![block, field], read).optional()? {
            None => None,
            Some(Some(column)) => Some(Arc::new(column)),
            Some(None) => return Err(damaged("search_column", block)),
        };
        self.cache.add(field, block, revision, column.clone());
        Ok(column)
    }
}

struct Narrowing {
    tokens: Vec<Token>,
    /// Whether texts that were cut off may match without these tokens.
    spares_cut_off: bool,
    is_exact: bool,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        columns: Columns<'a>,
        conditions: &'a [Condition],
        words: Vec<String>,
    ) -> rusqlite::Result<Candidates<'a>> {
        let mut candidates = Candidates {
            connection,
            columns,
            narrowing: Vec::new(),
            by_digest: Vec::new(),
            on_columns: Vec::new(),
            in_doubt: Vec::new(),
            on_record: Vec::new(),
            texts: HashMap::new(),
            last_texts: (-1, Vec::new()),
            words,
        };
        for word in &candidates.words {
            let cover = cover(word);
            if !cover.is_exact {
                candidates.in_doubt.push(Finder::new(word).into_owned());
            }
            let (tokens, is_exact) = (cover.tokens, cover.is_exact);
            candidates.narrowing.push(Narrowing { tokens, is_exact, spares_cut_off: false });
        }
        for condition in conditions {
            candidates.add(condition)?;
        }
        // The longest words are the rarest.
        candidates.narrowing.sort_by_key(|narrowing| std::cmp::Reverse(narrowing.tokens.len()));
        let is_range = |test: &Test| !matches!(test, Test::Compare(Comparison::Equal, _) | Test::In(_));
        candidates.on_columns.sort_by_key(|(_, test)| is_range(test));
        Ok(candidates)
    }

    fn add(&mut self, condition: &'a Condition) -> rusqlite::Result<()> {
        let Condition { field, test } = condition;
        match field {
            // Id and name stand at the beginning of a text, where nothing is cut off.
            Field::ModelId | Field::Name => self.narrow_by_text(test, false),
            Field::Description => self.narrow_by_text(test, true),
            Field::Digest => self.narrow_by_digest(test)?,
            _ => {}
        }
        match field {
            Field::Description => self.on_record.push(condition),
            field => self.on_columns.push((column_of(field), test)),
        }
        Ok(())
    }

    /// What a text must contain, its searchable form contains in lower case.
    fn narrow_by_text(&mut self, test: &Test, spares_cut_off: bool) {
        let literals = match test {
            Test::Like(pattern) => pattern.literals(),
            Test::Compare(Comparison::Equal, Value::Text(text)) => vec![text.clone()],
            _ => Vec::new(),
        };
        for word in literals.iter().flat_map(|literal| words(literal)) {
            let tokens = cover(&word).tokens;
            self.narrowing.push(Narrowing { tokens, spares_cut_off, is_exact: false });
        }
    }

    fn narrow_by_digest(&mut self, test: &Test) -> rusqlite::Result<()> {
        let digests = match test {
            Test::Compare(Comparison::Equal, value) => std::slice::from_ref(value),
            Test::In(values) => values,
            _ => return Ok(()),
        };
        let mut ids = Vec::new();
        for digest in digests {
            if let Value::Text(digest) = digest {
                let mut statement =
                    self.connection.prepare_cached("SELECT id FROM version WHERE digest = ?1 AND NOT deleted")?;
                let found: rusqlite::Result<Vec<i64>> = statement.query_map([digest], |row| row.get(0))?.collect();
                ids.extend(found?);
            }
        }
        ids.sort_unstable();
        self.by_digest.push(ids);
        Ok(())
    }

    /// Returns the words of the search.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Returns the versions of a block that were not deleted when it was made.
    pub(super) fn shown(&mut self, block: i64) -> rusqlite::Result<Rows> {
        self.texts.clear();
        let sql = "SELECT shown FROM search_block WHERE block = ?1";
        let rows = self
            .connection
            .prepare_cached(sql)?
            .query_row([block], |row| Ok(Rows::read(row.get_ref(0)?.as_blob()?)))?;
        rows.ok_or_else(|| damaged("search_block", block))
    }

    /// Keeps what all conditions allow, as far as the index can say.
    pub(super) fn narrow(&self, block: i64, mut rows: Rows) -> rusqlite::Result<Rows> {
        for ids in &self.by_digest {
            let of_block = ids.iter().filter(|id| block_of(**id) == block).map(|id| place_of(*id));
            rows.keep(&of_block.collect::<Vec<u16>>().iter().collect());
        }
        for narrowing in &self.narrowing {
            for token in &narrowing.tokens {
                if rows.is_empty() || (!narrowing.is_exact && rows.len() <= FEW) {
                    break;
                }
                let mut having = self.rows_of(block, *token)?;
                if narrowing.spares_cut_off {
                    having.add(&self.rows_of(block, CUT_OFF)?);
                }
                rows.keep(&having);
            }
        }
        for (name, test) in &self.on_columns {
            if rows.is_empty() {
                break;
            }
            let column = self.columns.of(block, name)?;
            match (test, column) {
                (Test::IsNull, Some(column)) => rows.subtract(&column.all()),
                (Test::IsNull, None) => {}
                (test, Some(column)) => rows.keep(&column.matching(test, &rows)),
                (_, None) => rows = Rows::none(),
            }
        }
        Ok(rows)
    }

    fn rows_of(&self, block: i64, token: Token) -> rusqlite::Result<Rows> {
        let sql = "SELECT content FROM search_term WHERE id = ?1";
        let row = bucket_row(block, bucket_of(token));
        let read = |row: &rusqlite::Row<'_>| Ok(rows_of(token, row.get_ref(0)?.as_blob()?));
        self.connection.prepare_cached(sql)?.query_row([row], read)?.ok_or_else(|| damaged("search_term", block))
    }

    /// Returns whether what is left by [`narrow`](Candidates::narrow) needs a proof.
    pub(super) fn need_proof(&self) -> bool {
        !self.in_doubt.is_empty() || !self.on_record.is_empty()
    }

    /// Returns whether a version that is left matches indeed.
    pub(super) fn prove(&mut self, id: i64) -> rusqlite::Result<bool> {
        if !self.in_doubt.is_empty() && !self.text_proves(id)? {
            return Ok(false);
        }
        if self.on_record.is_empty() {
            return Ok(true);
        }
        let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE id = ?1");
        let entry = self.connection.prepare_cached(&sql)?.query_row([id], VersionRow::read)?.into_entry();
        let entry = entry.map_err(carried)?;
        Ok(self.on_record.iter().all(|Condition { field, test }| test.holds(field.of(&entry).as_ref())))
    }

    fn text_proves(&mut self, id: i64) -> rusqlite::Result<bool> {
        let (row, place) = text_row(id);
        if self.last_texts.0 != row {
            let texts = match self.texts.remove(&row) {
                Some(texts) => texts,
                None => self.texts_of(row)?,
            };
            let (last, texts) = std::mem::replace(&mut self.last_texts, (row, texts));
            self.texts.insert(last, texts);
        }
        let text = text_at(&self.last_texts.1, place).ok_or_else(|| damaged("search_text", block_of(id)))?;
        Ok(self.in_doubt.iter().all(|word| word.find(text).is_some()))
    }

    fn texts_of(&self, row: i64) -> rusqlite::Result<Vec<u8>> {
        let sql = "SELECT content FROM search_text WHERE id = ?1";
        self.connection.prepare_cached(sql)?.query_row([row], |row| row.get(0))
    }
}

/// A row of the index that cannot be read.
fn damaged(table: &str, block: i64) -> rusqlite::Error {
    let what = format!("block {block} of the table `{table}` in the database");
    carried(Error::CorruptState { what, reason: "its lengths contradict each other".into() })
}
