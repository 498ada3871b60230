//! Executes a change. The order of the checks, the time, the ordinal and the event are decided here, once for every adapter;
//! an adapter answers questions about what it holds and inserts what came out.

use serde_json::Value;

use seedhouse_core::{
    Action, Applied, Change, Digest, Entry, Error, Event, Kind, ModelId, ModelName, Record, Registration, Result,
    Timestamp, Version,
};

/// What an adapter holds, seen from inside its transaction.
pub(crate) trait Ledger {
    /// Returns the newest version of a base by version order.
    fn newest_version(&self, base: &ModelName) -> Result<Option<Version>>;

    /// Returns the highest ordinal of a base, 0 when there is none.
    fn last_ordinal(&self, base: &ModelName) -> Result<u64>;

    /// Returns the end of the history.
    fn last_event(&self) -> Result<Option<LastEvent>>;

    /// Returns when the version with this id was registered.
    fn model_id_since(&self, model_id: &ModelId) -> Result<Option<Timestamp>>;

    /// Returns when the version of this base with this label was registered.
    fn version_since(&self, base: &ModelName, version: &Version) -> Result<Option<Timestamp>>;

    /// Adds a version and the event about it.
    fn insert(&mut self, entry: &Entry, event: &Event) -> Result<()>;
}

/// The end of the history.
pub(crate) struct LastEvent {
    /// Its number, which is the revision of the registry.
    pub(crate) sequence: u64,
    /// Its digest, which the next event names.
    pub(crate) digest: Digest,
    /// When it happened; nothing later may carry an earlier time.
    pub(crate) at: Timestamp,
}

/// Executes a change inside the adapter's transaction.
pub(crate) fn execute(ledger: &mut dyn Ledger, change: Change) -> Result<Applied> {
    let last = ledger.last_event()?;
    let at = last.as_ref().map_or(change.at, |last| last.at.max(change.at));
    let action = change.action.as_str();
    let entry = match change.action {
        Action::Register(registration) => registered(ledger, *registration, at)?,
    };
    let after = serde_json::to_value(&entry.record).expect("a record has string keys only");
    let last = last.map(|last| (last.sequence, last.digest));
    let model_id = entry.record.model_id.to_string();
    let event = Event::following(last.as_ref(), at, change.actor, action, model_id, after);
    ledger.insert(&entry, &event)?;
    Ok(Applied { entry, revision: event.sequence })
}

fn registered(ledger: &dyn Ledger, registration: Registration, at: Timestamp) -> Result<Entry> {
    check_fields(&registration)?;
    let base = registration.base.clone();
    let newest = ledger.newest_version(&base)?;
    let record = registration.settle(newest.as_ref(), at)?;
    check_size(&record)?;
    // The version before the id: of a default id both are taken, and `base:version` says more.
    if let Some(since) = ledger.version_since(&base, &record.version)? {
        return Err(Error::AlreadyExists { kind: Kind::Version, name: format!("{base}:{}", record.version), since });
    }
    if let Some(since) = ledger.model_id_since(&record.model_id)? {
        return Err(Error::AlreadyExists { kind: Kind::ModelId, name: record.model_id.to_string(), since });
    }
    let ordinal = ledger.last_ordinal(&base)? + 1;
    Ok(Entry { base, ordinal, record })
}

/// A required field among the further ones would silently replace the typed one when the record is written.
fn check_fields(registration: &Registration) -> Result<()> {
    const TYPED: [&str; 8] = ["model_id", "name", "type", "framework", "version", "status", "created_at", "updated_at"];
    match TYPED.into_iter().find_map(|key| Some((key, registration.fields.get(key)?))) {
        Some((key, value)) => Err(Error::invalid(key, value, "it may not stand among the further fields as well")),
        None => Ok(()),
    }
}

/// Databases count in signed 64 bits.
fn check_size(record: &Record) -> Result<()> {
    match record.fields.get("size_bytes").and_then(Value::as_u64) {
        Some(size) if i64::try_from(size).is_err() => {
            Err(Error::invalid("size_bytes", size, format!("must be at most {}", i64::MAX)))
        }
        _ => Ok(()),
    }
}
