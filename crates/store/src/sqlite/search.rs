//! Searches: block after block of the index, and the loose versions one by one.
//!
//! ```text
//! of a block   shown ∩ rows of each token ∩ rows of each condition, given up as soon as nothing is left
//! in order of registration    blocks in that order, until the page is full
//! in order of a field         of every block the first in order, as long as they beat the worst of the page so far
//! ```
//!
//! The first page and a deep one begin with a binary search of the place in each block, and cost the same.

mod candidates;

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use seedhouse_core::Query;
use seedhouse_core::query::{Direction, Field, OrderBy, Position};

use self::candidates::{Candidates, Columns};
use super::column_cache::ColumnCache;
use super::loose::Loose;
use super::search_index::block::column_of;
use super::search_index::column::Column;
use super::search_index::rows::Rows;
use super::search_index::sort_key::sort_key;
use super::search_index::{block_of, place_of, row_at};
use crate::search_tokens::words;

/// A query, and what answers it.
pub(super) struct Search<'a> {
    query: &'a Query,
    candidates: Candidates<'a>,
    loose: Arc<Loose>,
}

/// Where a version stands in the order of a field: its value, and its row.
type Place = (Vec<u8>, i64);

impl<'a> Search<'a> {
    /// Prepares a query for a connection with an open transaction.
    pub(super) fn new(
        connection: &'a Connection,
        loose: Arc<Loose>,
        columns: &'a ColumnCache,
        query: &'a Query,
    ) -> rusqlite::Result<Search<'a>> {
        let words = words(query.text.as_deref().unwrap_or_default());
        let columns = Columns { connection, cache: columns, loose: loose.clone() };
        let candidates = Candidates::new(connection, columns, &query.filter.conditions, words)?;
        Ok(Search { query, candidates, loose })
    }

    /// Returns the rows of at most `limit` versions that match and stand behind a position, in the order of the query.
    pub(super) fn ids(&mut self, position: Option<&Position>, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let OrderBy::Field(field) = &self.query.order.by else {
            return self.by_registration(None, position, limit);
        };
        let field = field.clone();
        let in_missing = position.is_some_and(|position| position.value.is_none());
        let mut ids = if in_missing { Vec::new() } else { self.by_field(&field, position, limit)? };
        if ids.len() < limit {
            let position = position.filter(|_| in_missing);
            ids.extend(self.by_registration(Some(&field), position, limit - ids.len())?);
        }
        Ok(ids)
    }

    /// Returns the number of versions that match, counting to at most `most`.
    pub(super) fn count(&mut self, most: usize) -> rusqlite::Result<usize> {
        let mut count = 0;
        for block in self.blocks() {
            let rows = self.matching(block, None)?;
            let places = if self.candidates.need_proof() { rows.places() } else { Vec::new() };
            if places.is_empty() {
                count += rows.len();
            }
            for place in places {
                count += usize::from(self.candidates.prove(row_at(block, place))?);
                if count >= most {
                    break;
                }
            }
            count += self.loose_of(block, None).len();
            if count >= most {
                return Ok(most);
            }
        }
        Ok(count)
    }

    /// Returns the versions in order of registration; those without a field, if one is given.
    fn by_registration(
        &mut self,
        without: Option<&Field>,
        position: Option<&Position>,
        limit: usize,
    ) -> rusqlite::Result<Vec<i64>> {
        let behind = position.map(row_number);
        let mut ids = Vec::new();
        for block in self.blocks() {
            if behind.is_some_and(|behind| self.is_before(block, block_of(behind))) {
                continue;
            }
            let unproved = self.matching(block, without)?;
            let mut rows = unproved.clone();
            self.loose_of(block, without).into_iter().for_each(|place| rows.insert(place));
            for place in self.directed(rows.places()) {
                let id = row_at(block, place);
                let is_behind = behind.is_none_or(|behind| self.is_before(behind, id));
                if is_behind && (!unproved.contains(place) || self.candidates.prove(id)?) {
                    ids.push(id);
                    if ids.len() == limit {
                        return Ok(ids);
                    }
                }
            }
        }
        Ok(ids)
    }

    /// Returns the versions that have a field, in its order.
    fn by_field(&mut self, field: &Field, position: Option<&Position>, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let behind = position.and_then(|position| Some((sort_key(position.value.as_ref()?), row_number(position))));
        let mut page = Page { best: BTreeSet::new(), limit, direction: self.query.order.direction };
        for (id, document) in &self.loose.documents {
            if let Some(value) = document.value(field)
                && document.matches(&self.query.filter.conditions, self.candidates.words())
            {
                let place = (sort_key(&value), *id);
                if behind.as_ref().is_none_or(|behind| page.is_before(behind, &place)) {
                    page.offer(place);
                }
            }
        }
        let name = column_of(field);
        for block in self.loose.clone().blocks.keys().rev() {
            if let Some(column) = self.candidates.columns.of(*block, &name)? {
                self.offer_block(*block, &column, behind.as_ref(), &mut page)?;
            }
        }
        Ok(page.into_ids())
    }

    /// Offers the versions of a block in order, until they cannot get onto the page any more.
    fn offer_block(
        &mut self,
        block: i64,
        column: &Column,
        behind: Option<&Place>,
        page: &mut Page,
    ) -> rusqlite::Result<()> {
        let mut matching: Option<Rows> = None;
        let values = match (self.query.order.direction, behind) {
            (Direction::Ascending, Some((key, _))) => column.first_from(key)..column.values(),
            (Direction::Descending, Some((key, _))) => 0..column.first_behind(key),
            (_, None) => 0..column.values(),
        };
        let count = values.len();
        for step in 0..count {
            let value = self.step(values.start, count, step);
            let key = column.key(value);
            if page.is_full_of_better(key) {
                break;
            }
            let matching = match &matching {
                Some(matching) => matching,
                None => matching.insert(self.matching(block, None)?),
            };
            if matching.is_empty() {
                break;
            }
            let places = column.places(value..value + 1);
            for step in 0..places.len() {
                let place = places[self.step(0, places.len(), step)];
                if matching.contains(place) {
                    let place = (key.to_vec(), row_at(block, place));
                    if behind.is_none_or(|behind| page.is_before(behind, &place))
                        && page.takes(&place)
                        && self.candidates.prove(place.1)?
                    {
                        page.offer(place);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the number of a step through `count` numbers from `first` on, in the direction of the query.
    fn step(&self, first: usize, count: usize, step: usize) -> usize {
        match self.query.order.direction {
            Direction::Ascending => first + step,
            Direction::Descending => first + count - 1 - step,
        }
    }

    /// Returns the rows of a block that may match, without the loose ones.
    fn matching(&mut self, block: i64, without: Option<&Field>) -> rusqlite::Result<Rows> {
        if !self.loose.blocks.contains_key(&block) {
            return Ok(Rows::none());
        }
        let mut rows = self.candidates.shown(block)?;
        for id in self.loose.documents.range(row_at(block, 0)..row_at(block + 1, 0)).map(|(id, _)| *id) {
            rows.remove(place_of(id));
        }
        if let Some(field) = without
            && let Some(column) = self.candidates.columns.of(block, &column_of(field))?
        {
            rows.subtract(&column.all());
        }
        self.candidates.narrow(block, rows)
    }

    /// Returns the places of the loose versions of a block that match; those without a field, if one is given.
    fn loose_of(&self, block: i64, without: Option<&Field>) -> Vec<u16> {
        let of_block = self.loose.documents.range(row_at(block, 0)..row_at(block + 1, 0));
        let lacks = |document: &super::loose::Document| without.is_none_or(|field| document.value(field).is_none());
        let matches = of_block.filter(|(_, document)| {
            document.matches(&self.query.filter.conditions, self.candidates.words()) && lacks(document)
        });
        matches.map(|(id, _)| place_of(*id)).collect()
    }

    /// Returns the blocks that have versions, in the direction of the query.
    fn blocks(&self) -> Vec<i64> {
        let loose = self.loose.documents.keys().map(|id| block_of(*id));
        let blocks: BTreeSet<i64> = self.loose.blocks.keys().copied().chain(loose).collect();
        self.directed(blocks.into_iter().collect())
    }

    fn directed<T>(&self, mut ascending: Vec<T>) -> Vec<T> {
        if self.query.order.direction == Direction::Descending {
            ascending.reverse();
        }
        ascending
    }

    fn is_before(&self, one: i64, other: i64) -> bool {
        match self.query.order.direction {
            Direction::Ascending => one < other,
            Direction::Descending => one > other,
        }
    }
}

/// The best versions so far, in the order of a field.
struct Page {
    best: BTreeSet<Place>,
    limit: usize,
    direction: Direction,
}

impl Page {
    fn is_before(&self, one: &Place, other: &Place) -> bool {
        match self.direction {
            Direction::Ascending => one < other,
            Direction::Descending => one > other,
        }
    }

    fn worst(&self) -> Option<&Place> {
        match self.direction {
            Direction::Ascending => self.best.last(),
            Direction::Descending => self.best.first(),
        }
    }

    /// Returns whether a version at this place would be on the page.
    fn takes(&self, place: &Place) -> bool {
        self.best.len() < self.limit || self.worst().is_some_and(|worst| self.is_before(place, worst))
    }

    /// Returns whether no version with this value, or one behind it, would be on the page.
    fn is_full_of_better(&self, key: &[u8]) -> bool {
        self.best.len() >= self.limit
            && self.worst().is_some_and(|(worst, _)| match self.direction {
                Direction::Ascending => key > worst.as_slice(),
                Direction::Descending => key < worst.as_slice(),
            })
    }

    fn offer(&mut self, place: Place) {
        if self.takes(&place) {
            self.best.insert(place);
        }
        if self.best.len() > self.limit {
            match self.direction {
                Direction::Ascending => self.best.pop_last(),
                Direction::Descending => self.best.pop_first(),
            };
        }
    }

    fn into_ids(self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.best.into_iter().map(|(_, id)| id).collect();
        if self.direction == Direction::Descending {
            ids.reverse();
        }
        ids
    }
}

fn row_number(position: &Position) -> i64 {
    i64::try_from(position.row).unwrap_or(i64::MAX)
}
