//! Columns of the search index that were read lately, for all connections of a store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::search_index::column::Column;

/// How much a generation holds. There are two, so a store keeps at most twice as much; a column of numbers of a million versions
/// takes 13 MB.
const GENERATION_BYTES: usize = 64 << 20;

/// What was read lately. What is asked for again moves to the young generation; when that is full the old one is forgotten.
#[derive(Default)]
pub(super) struct ColumnCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
    young_bytes: usize,
}

/// By field, then by block. `None` says that no version of the block has the field.
type Generation = HashMap<String, HashMap<i64, Known>>;

#[derive(Clone)]
struct Known {
    /// The revision that the block was made from.
    revision: i64,
    column: Option<Arc<Column>>,
}

impl ColumnCache {
    /// Returns the column of a field in a block made from this revision, if it is known.
    pub(super) fn find(&self, field: &str, block: i64, revision: i64) -> Option<Option<Arc<Column>>> {
        let mut generations = self.generations();
        let is_this = |known: &&Known| known.revision == revision;
        let young = generations.young.get(field).and_then(|blocks| blocks.get(&block)).filter(is_this);
        if let Some(known) = young {
            return Some(known.column.clone());
        }
        let known = generations.old.get_mut(field)?.remove(&block).filter(|known| is_this(&known))?;
        generations.add(field, block, known.clone());
        Some(known.column)
    }

    /// Remembers a column.
    pub(super) fn add(&self, field: &str, block: i64, revision: i64, column: Option<Arc<Column>>) {
        self.generations().add(field, block, Known { revision, column });
    }

    /// A panic leaves at most a column less.
    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn add(&mut self, field: &str, block: i64, known: Known) {
        /// What an entry takes besides its column.
        const ENTRY_BYTES: usize = 128;
        self.young_bytes += ENTRY_BYTES + known.column.as_ref().map_or(0, |column| column.bytes());
        self.young.entry(field.to_owned()).or_default().insert(block, known);
        if self.young_bytes > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}
