//! What a search reads instead of the records: an index of each block of 2,048 versions, made when the block is full.
//!
//! ```text
//! rows 1 … 2047 │ 2048 … 4095 │ 4096 … newest
//! block 0       │ block 1     │ loose: read from the records, see `loose`
//!
//! search_block     one row per block: up to which row it goes, and which of its versions are shown
//! search_column    per block and field: the values in order, each with its rows
//! search_term      per block: the tokens of the texts with their rows, in 128 buckets
//! search_text      the texts themselves, 64 in a row
//! search_pending   versions that changed after their block was made: they count as loose
//! ```
//!
//! A registration writes nothing of this; its share of a block is written once, in order, by the `indexer`. A block says
//! nothing that the records do not say, so one that is missing or old costs time and is never wrong.

pub(super) mod block;
pub(super) mod column;
pub(super) mod rows;
pub(super) mod sort_key;
pub(super) mod terms;
pub(super) mod texts;

use rusqlite::{Connection, OptionalExtension, params};

use self::block::BlockContent;
use self::rows::BLOCK_ROWS;
use self::terms::BUCKETS;
use self::texts::TEXTS;

/// The tables of the index.
pub(super) const TABLES: &str = "
    CREATE TABLE search_block (
        block    INTEGER PRIMARY KEY,
        last_id  INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        shown    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE search_column (
        block   INTEGER NOT NULL,
        field   TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (block, field)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE search_term (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
    CREATE TABLE search_text (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
    CREATE TABLE search_pending (id INTEGER PRIMARY KEY) STRICT;
";

/// How many rows of versions a block spans, as the database counts.
pub(super) const SPAN: i64 = BLOCK_ROWS as i64;

const BUCKETS_PER_BLOCK: i64 = BUCKETS as i64;
const TEXTS_PER_ROW: i64 = TEXTS as i64;

/// A block as it is stored.
pub(super) struct Block {
    pub(super) number: i64,
    /// The last row that was there when it was made, less than the end of the block only if it was made early.
    pub(super) last_id: i64,
    /// The revision of the registry that it was made from.
    pub(super) revision: i64,
    pub(super) content: BlockContent,
}

/// Returns the block of a row.
pub(super) fn block_of(id: i64) -> i64 {
    id.div_euclid(SPAN)
}

/// Returns the place of a row within its block.
pub(super) fn place_of(id: i64) -> u16 {
    u16::try_from(id.rem_euclid(SPAN)).expect("a remainder is less than 2,048")
}

/// Returns the row at a place of a block.
pub(super) fn row_at(block: i64, place: u16) -> i64 {
    block * SPAN + i64::from(place)
}

/// Returns the row of `search_term` with a bucket of a block.
pub(super) fn bucket_row(block: i64, bucket: usize) -> i64 {
    block * BUCKETS_PER_BLOCK + i64::try_from(bucket).expect("less than 128")
}

/// Returns the row of `search_text` with the text of a version, and the place there.
pub(super) fn text_row(id: i64) -> (i64, usize) {
    (id.div_euclid(TEXTS_PER_ROW), usize::try_from(id.rem_euclid(TEXTS_PER_ROW)).expect("a remainder is not negative"))
}

/// Returns up to which row blocks reach.
pub(super) fn indexed_to(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT last_id FROM search_block ORDER BY block DESC LIMIT 1";
    let last: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

/// Notes that a version changed, if a block knows it as it was; called in the transaction of the change.
pub(super) fn note_change(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    if id <= indexed_to(connection)? {
        connection.prepare_cached("INSERT OR IGNORE INTO search_pending (id) VALUES (?1)")?.execute([id])?;
    }
    Ok(())
}

/// Writes a block, unless another process has written a newer one meanwhile. Versions that changed since it was made stay
/// pending.
pub(super) fn store_block(connection: &Connection, block: &Block) -> rusqlite::Result<()> {
    let sql = "SELECT last_id, revision FROM search_block WHERE block = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let there = connection.prepare_cached(sql)?.query_row([block.number], read).optional()?;
    if there.is_some_and(|(last_id, revision)| last_id > block.last_id || revision > block.revision) {
        return Ok(());
    }
    if there.is_some() {
        remove_block(connection, block.number)?;
    }
    insert_block(connection, block)?;
    let (first, last) = (block.number * SPAN, block.last_id);
    connection
        .prepare_cached("DELETE FROM search_pending WHERE id BETWEEN ?1 AND ?2")?
        .execute(params![first, last])?;
    let changed = "INSERT INTO search_pending (id) SELECT id FROM version WHERE id BETWEEN ?1 AND ?2 AND revision > ?3";
    connection.prepare_cached(changed)?.execute(params![first, last, block.revision])?;
    Ok(())
}

fn insert_block(connection: &Connection, block: &Block) -> rusqlite::Result<()> {
    let Block { number, last_id, revision, content } = block;
    let mut shown = Vec::new();
    content.shown.write(&mut shown);
    connection
        .prepare_cached("INSERT INTO search_block (block, last_id, revision, shown) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![number, last_id, revision, shown])?;
    let mut columns: Vec<_> = content.columns.iter().collect();
    columns.sort_unstable();
    for (field, column) in columns {
        connection
            .prepare_cached("INSERT INTO search_column (block, field, content) VALUES (?1, ?2, ?3)")?
            .execute(params![number, field, column])?;
    }
    for (bucket, terms) in content.terms.iter().enumerate() {
        connection
            .prepare_cached("INSERT INTO search_term (id, content) VALUES (?1, ?2)")?
            .execute(params![bucket_row(*number, bucket), terms])?;
    }
    for (row, texts) in (number * SPAN / TEXTS_PER_ROW..).zip(&content.texts) {
        connection
            .prepare_cached("INSERT INTO search_text (id, content) VALUES (?1, ?2)")?
            .execute(params![row, texts])?;
    }
    Ok(())
}

fn remove_block(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let remove = |sql, from: i64, to: i64| connection.prepare_cached(sql)?.execute([from, to]);
    remove("DELETE FROM search_block WHERE block BETWEEN ?1 AND ?2", number, number)?;
    remove("DELETE FROM search_column WHERE block BETWEEN ?1 AND ?2", number, number)?;
    let (first, next) = (bucket_row(number, 0), bucket_row(number + 1, 0));
    remove("DELETE FROM search_term WHERE id >= ?1 AND id < ?2", first, next)?;
    let (first, next) = (text_row(number * SPAN).0, text_row((number + 1) * SPAN).0);
    remove("DELETE FROM search_text WHERE id >= ?1 AND id < ?2", first, next)?;
    Ok(())
}
