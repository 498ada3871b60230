//! Takes the whole state of another store over as it is: what every adapter does inside its one transaction.

use std::collections::HashMap;

use seedhouse_core::{Entry, Error, ModelName, RememberedKey, Result, Snapshot};

use crate::execute::{Ledger, Remembered, check_free};

/// How many versions or events are read at a time.
const PAGE: usize = 1000;

/// Writes everything that a snapshot shows into an empty ledger and returns its revision. The chain of events is checked
/// while it is read; whether versions are what their last events say is for the caller to know.
pub(crate) fn fill(ledger: &mut dyn Ledger, source: &mut dyn Snapshot) -> Result<u64> {
    let end = fill_events(ledger, source)?;
    fill_entries(ledger, source, end)?;
    loop {
        let keys = source.next_keys(PAGE)?;
        if keys.is_empty() {
            return Ok(end);
        }
        keys.iter().try_for_each(|key| fill_key(ledger, key))?;
    }
}

fn fill_events(ledger: &mut dyn Ledger, source: &mut dyn Snapshot) -> Result<u64> {
    let mut last = None;
    loop {
        let events = source.next_events(PAGE)?;
        if events.is_empty() {
            break;
        }
        for event in events {
            event.check(last.as_ref())?;
            ledger.append(&event)?;
            last = Some((event.sequence, event.digest));
        }
    }
    let end = last.map_or(0, |(sequence, _)| sequence);
    if end != source.revision() {
        let reason = format!("it ends with event {end}, but its revision is {}", source.revision());
        return Err(Error::CorruptState { what: "the history".into(), reason });
    }
    Ok(end)
}

fn fill_entries(ledger: &mut dyn Ledger, source: &mut dyn Snapshot, end: u64) -> Result<()> {
    let mut ordinals: HashMap<ModelName, u64> = HashMap::new();
    loop {
        let entries = source.next_entries(PAGE)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let last = ordinals.entry(entry.base.clone()).or_default();
            check_place(&entry, *last, end)?;
            *last = entry.ordinal;
            check_free(ledger, &entry.base, &entry.record).map_err(|error| corrupt(&entry, error.to_string()))?;
            ledger.insert(&entry)?;
        }
    }
}

fn check_place(entry: &Entry, last_ordinal: u64, end: u64) -> Result<()> {
    if entry.ordinal != last_ordinal + 1 {
        let reason =
            format!("its ordinal is {}, but the next one of `{}` is {}", entry.ordinal, entry.base, last_ordinal + 1);
        return Err(corrupt(entry, reason));
    }
    if entry.revision == 0 || entry.revision > end {
        let reason = format!("it is at revision {}, but the history has the events 1 to {end}", entry.revision);
        return Err(corrupt(entry, reason));
    }
    Ok(())
}

fn fill_key(ledger: &mut dyn Ledger, key: &RememberedKey) -> Result<()> {
    let what = || format!("idempotency key `{}`", key.key.escape_debug());
    if ledger.by_id(&key.model_id)?.is_none() {
        let reason = format!("it made `{}`, which is not there", key.model_id);
        return Err(Error::CorruptState { what: what(), reason });
    }
    if let Some(other) = ledger.remembered(&key.key)? {
        let reason = format!("it made `{}` and `{}`", other.model_id, key.model_id);
        return Err(Error::CorruptState { what: what(), reason });
    }
    ledger.remember(&key.key, &Remembered { model_id: key.model_id.clone(), fingerprint: key.fingerprint })
}

fn corrupt(entry: &Entry, reason: String) -> Error {
    Error::CorruptState { what: format!("version `{}`", entry.record.model_id), reason }
}
