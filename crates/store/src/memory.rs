//! Metadata in memory, for tests and for registries that end with the process.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::vec;

use seedhouse_core::query::{Direction, Position, Value};
use seedhouse_core::{
    Alias, Applied, Change, Count, Cursor, Entry, Error, Event, Kind, MetadataStore, ModelId, ModelName, Page, Query,
    Reference, RememberedKey, Result, Selector, Snapshot, Statistics, Timestamp, Version,
};

use crate::execute::{LastEvent, Ledger, Remembered, execute, execute_all};
use crate::fill::fill;
use crate::resolve::{BaseFound, missing, resolved};
use crate::search_tokens::{search_text, words};

/// A metadata store without a file. It keeps every promise of the port but durability.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// In order of registration.
    entries: Vec<Entry>,
    /// Positions in `entries`.
    by_model_id: HashMap<ModelId, usize>,
    /// Positions in `entries`, in order of registration.
    by_base: HashMap<ModelName, Vec<usize>>,
    events: Vec<Event>,
    idempotency: HashMap<String, Remembered>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        // A panic while the state was held may have left half a change.
        self.state.lock().map_err(|_| Error::Internal("a change to the metadata in memory was interrupted".into()))
    }
}

impl State {
    fn of_base(&self, base: &ModelName) -> impl DoubleEndedIterator<Item = &Entry> {
        let positions = self.by_base.get(base).map(Vec::as_slice).unwrap_or_default();
        positions.iter().map(|position| &self.entries[*position])
    }

    /// Returns the versions of a base that are not deleted.
    fn shown_of_base(&self, base: &ModelName) -> Vec<&Entry> {
        self.of_base(base).filter(shown).collect()
    }

    /// Returns the positions of the entries that match.
    fn matching(&self, query: &Query) -> impl Iterator<Item = usize> {
        let words = words(query.text.as_deref().unwrap_or_default());
        let matches = move |entry: &Entry| {
            let text = if words.is_empty() { String::new() } else { search_text(&entry.record) };
            shown(&entry) && words.iter().all(|word| text.contains(word)) && query.filter.matches(entry)
        };
        self.entries.iter().enumerate().filter(move |(_, entry)| matches(entry)).map(|(row, _)| row)
    }
}

fn shown(entry: &&Entry) -> bool {
    entry.record.deleted_at().is_none()
}

fn is_child_of(entry: &Entry, model_id: &ModelId) -> bool {
    entry.record.fields.get("parent").is_some_and(|parent| parent == model_id.as_str())
}

/// Where a version stands in an order.
#[derive(Clone)]
struct Place {
    row: usize,
    value: Option<Value>,
}

impl Place {
    fn of(query: &Query, row: usize, entries: &[Entry]) -> Place {
        Place { row, value: query.order.value_of(&entries[row]) }
    }

    /// Compares as a page shows them: what has no value comes last in both directions.
    fn compare(&self, other: &Place, direction: Direction) -> Ordering {
        let directed = |ordering: Ordering| match direction {
            Direction::Ascending => ordering,
            Direction::Descending => ordering.reverse(),
        };
        let by_value = match (&self.value, &other.value) {
            (Some(own), Some(other)) => directed(own.cmp(other)),
            (own, other) => own.is_none().cmp(&other.is_none()),
        };
        by_value.then(directed(self.row.cmp(&other.row)))
    }
}

/// Copies of everything, given out piece by piece.
struct MemorySnapshot {
    revision: u64,
    events: vec::IntoIter<Event>,
    entries: vec::IntoIter<Entry>,
    keys: vec::IntoIter<RememberedKey>,
}

impl MemorySnapshot {
    fn of(state: &State) -> MemorySnapshot {
        let remembered = state.idempotency.iter().map(|(key, Remembered { model_id, fingerprint })| RememberedKey {
            key: key.clone(),
            model_id: model_id.clone(),
            fingerprint: *fingerprint,
        });
        let mut keys: Vec<RememberedKey> = remembered.collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        MemorySnapshot {
            revision: state.events.last().map_or(0, |event| event.sequence),
            events: state.events.clone().into_iter(),
            entries: state.entries.clone().into_iter(),
            keys: keys.into_iter(),
        }
    }
}

impl Snapshot for MemorySnapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn next_events(&mut self, limit: usize) -> Result<Vec<Event>> {
        Ok(self.events.by_ref().take(limit).collect())
    }

    fn next_entries(&mut self, limit: usize) -> Result<Vec<Entry>> {
        Ok(self.entries.by_ref().take(limit).collect())
    }

    fn next_keys(&mut self, limit: usize) -> Result<Vec<RememberedKey>> {
        Ok(self.keys.by_ref().take(limit).collect())
    }
}

impl Ledger for State {
    fn newest_version(&self, base: &ModelName) -> Result<Option<Version>> {
        Ok(self.of_base(base).map(|entry| &entry.record.version).max().cloned())
    }

    fn last_ordinal(&self, base: &ModelName) -> Result<u64> {
        Ok(self.of_base(base).next_back().map_or(0, |entry| entry.ordinal))
    }

    fn last_event(&self) -> Result<Option<LastEvent>> {
        let last = self.events.last();
        Ok(last.map(|event| LastEvent { sequence: event.sequence, digest: event.digest, at: event.happening.at }))
    }

    fn by_id(&self, model_id: &ModelId) -> Result<Option<Entry>> {
        Ok(self.by_model_id.get(model_id).map(|position| self.entries[*position].clone()))
    }

    fn version_since(&self, base: &ModelName, version: &Version) -> Result<Option<Timestamp>> {
        let taken = self.of_base(base).find(|entry| entry.record.version == *version);
        Ok(taken.map(|entry| entry.record.created_at))
    }

    fn conventional_name_since(&self, name: &str) -> Result<Option<Timestamp>> {
        let taken = self.entries.iter().find(|entry| entry.record.conventional_name().as_deref() == Some(name));
        Ok(taken.map(|entry| entry.record.created_at))
    }

    fn alias_holder(&self, base: &ModelName, alias: &Alias) -> Result<Option<Entry>> {
        Ok(self.of_base(base).find(|entry| entry.record.aliases().contains(alias)).cloned())
    }

    fn aliased(&self, base: &ModelName) -> Result<Vec<Entry>> {
        Ok(self.of_base(base).filter(|entry| !entry.record.aliases().is_empty()).cloned().collect())
    }

    fn children(&self, model_id: &ModelId) -> Result<Vec<ModelId>> {
        let children = self.entries.iter().filter(shown).filter(|entry| is_child_of(entry, model_id));
        Ok(children.map(|entry| entry.record.model_id.clone()).collect())
    }

    fn remembered(&self, key: &str) -> Result<Option<Remembered>> {
        Ok(self.idempotency.get(key).cloned())
    }

    fn remember(&mut self, key: &str, remembered: &Remembered) -> Result<()> {
        self.idempotency.insert(key.to_owned(), remembered.clone());
        Ok(())
    }

    fn insert(&mut self, entry: &Entry) -> Result<()> {
        let position = self.entries.len();
        self.by_model_id.insert(entry.record.model_id.clone(), position);
        self.by_base.entry(entry.base.clone()).or_default().push(position);
        self.entries.push(entry.clone());
        Ok(())
    }

    fn replace(&mut self, entry: &Entry) -> Result<()> {
        let model_id = &entry.record.model_id;
        let position = self.by_model_id.get(model_id).ok_or_else(|| Error::not_found(Kind::ModelId, model_id))?;
        self.entries[*position] = entry.clone();
        Ok(())
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        self.events.push(event.clone());
        Ok(())
    }
}

impl MetadataStore for MemoryStore {
    fn apply(&self, change: Change) -> Result<Applied> {
        execute(&mut *self.state()?, change)
    }

    fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>> {
        let mut state = self.state()?;
        let mut changed = state.clone();
        let applied = execute_all(&mut changed, changes, expected_revision)?;
        *state = changed;
        Ok(applied)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(MemorySnapshot::of(&*self.state()?)))
    }

    fn fill(&self, source: &mut dyn Snapshot) -> Result<u64> {
        let mut state = self.state()?;
        let (versions, events) = (state.entries.len() as u64, state.events.len() as u64);
        if (versions, events) != (0, 0) {
            return Err(Error::NotEmpty { versions, events });
        }
        let mut filled = State::default();
        let revision = fill(&mut filled, source)?;
        *state = filled;
        Ok(revision)
    }

    fn version(&self, reference: &Reference) -> Result<Entry> {
        let state = self.state()?;
        if reference.selector == Selector::Newest
            // A base may have a name that no id can have, e.g. `metadata`.
            && let Ok(model_id) = reference.name.as_str().parse::<ModelId>()
            && let Some(entry) = state.by_id(&model_id)?.filter(|entry| shown(&entry))
        {
            return Ok(entry);
        }
        let of_base = state.shown_of_base(&reference.name);
        let base = if of_base.is_empty() { BaseFound::No } else { BaseFound::Yes };
        resolved(&reference.selector, &of_base).cloned().ok_or_else(|| missing(reference, base))
    }

    fn versions(&self, base: &ModelName) -> Result<Vec<Entry>> {
        let state = self.state()?;
        let mut entries = state.shown_of_base(base);
        if entries.is_empty() {
            return Err(Error::not_found(Kind::Model, base));
        }
        entries.sort_by(|a, b| b.record.version.cmp(&a.record.version));
        Ok(entries.into_iter().cloned().collect())
    }

    fn search(&self, query: &Query) -> Result<Page> {
        let position = query.check()?;
        let limit = query.limit.unwrap_or(usize::MAX);
        let state = self.state()?;
        let mut places: Vec<Place> = state.matching(query).map(|row| Place::of(query, row, &state.entries)).collect();
        places.sort_by(|a, b| a.compare(b, query.order.direction));
        if let Some(Position { row, value }) = position {
            let last = Place { row: usize::try_from(row).unwrap_or(usize::MAX), value };
            places.retain(|place| place.compare(&last, query.order.direction) == Ordering::Greater);
        }
        let next = (places.len() > limit).then(|| {
            let Place { row, value } = places[limit - 1].clone();
            Cursor::new(query, &Position { row: row as u64, value })
        });
        places.truncate(limit);
        Ok(Page { entries: places.iter().map(|place| state.entries[place.row].clone()).collect(), next })
    }

    fn count(&self, query: &Query, most: u64) -> Result<Count> {
        query.check()?;
        let number = self.state()?.matching(query).count() as u64;
        Ok(Count { number: number.min(most), exact: number <= most })
    }

    fn statistics(&self) -> Result<Statistics> {
        let state = self.state()?;
        let mut statistics = Statistics::default();
        let mut bases = HashSet::new();
        for Entry { base, record, .. } in state.entries.iter().filter(shown) {
            bases.insert(base);
            statistics.total_models += 1;
            *statistics.by_type.entry(record.model_type.to_string()).or_default() += 1;
            *statistics.by_status.entry(record.status.to_string()).or_default() += 1;
            *statistics.by_framework.entry(record.framework.to_string()).or_default() += 1;
            statistics.size_bytes = statistics.size_bytes.saturating_add(record.size_bytes().unwrap_or(0));
        }
        statistics.total_bases = bases.len() as u64;
        Ok(statistics)
    }

    fn revision(&self) -> Result<u64> {
        Ok(self.state()?.events.last().map_or(0, |event| event.sequence))
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        let state = self.state()?;
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(state.events.iter().skip(skipped).take(limit).cloned().collect())
    }

    fn history(&self, subject: &str) -> Result<Vec<Event>> {
        let state = self.state()?;
        Ok(state.events.iter().filter(|event| event.happening.subject == subject).cloned().collect())
    }

    fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>> {
        let prefix = format!("{base}@");
        let about = |event: &&Event| event.happening.subject.starts_with(&prefix);
        Ok(self.state()?.events.iter().filter(about).cloned().collect())
    }

    fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
        self.state()?.by_id(model_id)?.ok_or_else(|| Error::not_found(Kind::ModelId, model_id))
    }

    fn shown(&self) -> Result<Vec<Entry>> {
        Ok(self.state()?.entries.iter().filter(shown).cloned().collect())
    }

    fn deleted(&self) -> Result<Vec<Entry>> {
        let state = self.state()?;
        Ok(state.entries.iter().filter(|entry| !shown(entry)).cloned().collect())
    }

    fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>> {
        let state = self.state()?;
        Ok(state.entries.iter().filter(shown).filter(|entry| is_child_of(entry, model_id)).cloned().collect())
    }

    fn remembered(&self, key: &str) -> Result<Option<RememberedKey>> {
        let state = self.state()?;
        let remembered = Ledger::remembered(&*state, key)?;
        Ok(remembered.map(|Remembered { model_id, fingerprint }| RememberedKey {
            key: key.to_owned(),
            model_id,
            fingerprint,
        }))
    }
}
