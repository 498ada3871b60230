//! The history: what happened to a version or alias, what stood there at a time, and whether the chain is intact.

use std::collections::HashMap;

use seedhouse_core::{
    Alias, Digest, Entry, Error, Event, Happening, Kind, ModelId, ModelName, Record, Reference, Result, Selector,
    Timestamp, Trial, TrialKind,
};
use serde::Serialize;
use serde_json::Value;

use crate::Service;

/// How many events are read at a time.
const PAGE: usize = 10_000;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Events checked.
    pub events: u64,
    /// Versions compared with their last event.
    pub versions: u64,
    /// Digest of the last event: keep it elsewhere, and a later audit that still finds it proves that nothing before it changed.
    pub head: Option<Digest>,
    /// What is wrong; empty when all is well.
    pub findings: Vec<String>,
}

impl Service {
    /// Returns what happened to a version, or to an alias where the reference names one, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing ever happened to it.
    pub fn history(&self, reference: &Reference) -> Result<Vec<Event>> {
        let subject = match &reference.selector {
            Selector::Alias(alias) => format!("{}@{alias}", reference.name),
            _ => match self.store.version(reference) {
                Ok(entry) => entry.record.model_id.to_string(),
                // A deleted version still has its history.
                Err(Error::NotFound { .. }) => reference.name.to_string(),
                Err(error) => return Err(error),
            },
        };
        let events = self.store.history(&subject)?;
        if events.is_empty() {
            return Err(Error::not_found(Kind::Version, reference));
        }
        Ok(events)
    }

    /// Returns the record of the version that a reference pointed at, as it was at a time.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it pointed at nothing then; [`Error::Unsupported`] for references that need the order of
    /// all versions of that time (a bare base, a label, a number).
    pub fn as_of(&self, reference: &Reference, at: Timestamp) -> Result<Record> {
        let nothing = || Error::not_found(Kind::Version, format!("{reference} as of {at}"));
        let model_id = match &reference.selector {
            Selector::Alias(alias) => self.alias_as_of(&reference.name, alias, at)?.ok_or_else(nothing)?,
            _ => self.version_id_of(reference)?,
        };
        let history = self.store.history(model_id.as_str())?;
        let then = last_before(&history, at, |happening| happening.action != "set_aside").ok_or_else(nothing)?;
        let mut record: Record = read_record(&then.after, &model_id)?;
        if record.deleted_at().is_some() {
            return Err(nothing());
        }
        self.move_aliases_until(at, &mut record)?;
        Ok(record)
    }

    /// Alias moves and trials write a version's record, but have events of their own: what a version's last event says about its
    /// aliases may be out of date.
    fn move_aliases_until(&self, at: Timestamp, record: &mut Record) -> Result<()> {
        let base = self.store.version_even_deleted(&record.model_id)?.base;
        record.set_trials_of(None);
        for Event { happening, .. } in self.store.alias_history(&base)? {
            if let (true, Some(kind)) = (happening.at <= at, TrialKind::of_event(&happening.action)) {
                set_trial(record, &happening, kind)?;
                continue;
            }
            let id = record.model_id.as_str();
            let (before, after) = (happening.before == id, happening.after == id);
            if happening.at <= at
                && (before || after)
                && let Some((_, alias)) = happening.subject.split_once('@')
            {
                record.set_alias(&alias.parse()?, after);
                record.updated_at = record.updated_at.max(happening.at);
            }
        }
        Ok(())
    }

    fn alias_as_of(&self, base: &ModelName, alias: &Alias, at: Timestamp) -> Result<Option<ModelId>> {
        let history = self.store.history(&format!("{base}@{alias}"))?;
        let then = last_before(&history, at, Happening::points_alias);
        then.and_then(|happening| happening.after.as_str()).map(str::parse).transpose()
    }

    /// Ids, labels and ordinals never change their meaning; only a bare base does.
    fn version_id_of(&self, reference: &Reference) -> Result<ModelId> {
        if let (Selector::Newest, Ok(model_id)) = (&reference.selector, reference.name.as_str().parse::<ModelId>())
            && !self.store.history(model_id.as_str())?.is_empty()
        {
            return Ok(model_id);
        }
        match &reference.selector {
            Selector::Newest => Err(Error::unsupported(
                format!("`{reference}` as of a time"),
                "name a version (`base:1.0.3`), or an alias (`base@champion`)",
            )),
            _ => Ok(self.store.version(reference)?.record.model_id),
        }
    }

    /// Checks every event of the history, and every version against the last event about it.
    ///
    /// # Errors
    /// Those of the metadata store; what is wrong with the history is a finding, not an error.
    pub fn audit(&self) -> Result<Audit> {
        let mut chain = Chain::default();
        loop {
            let events = self.store.events(chain.read, PAGE)?;
            if events.is_empty() {
                break;
            }
            events.iter().for_each(|event| chain.check(event));
        }
        let mut entries = self.store.shown()?;
        entries.extend(self.store.deleted()?);
        entries.iter().for_each(|entry| chain.check_version(entry));
        chain.check_missing();
        Ok(Audit {
            events: chain.events,
            versions: entries.len() as u64,
            head: chain.last.map(|(_, digest)| digest),
            findings: chain.findings,
        })
    }
}

fn last_before(history: &[Event], at: Timestamp, counts: impl Fn(&Happening) -> bool) -> Option<&Happening> {
    history.iter().map(|event| &event.happening).rfind(|happening| happening.at <= at && counts(happening))
}

/// Makes the trial of an alias that points at the version what the event says; a trial ends before its alias moves.
fn set_trial(record: &mut Record, happening: &Happening, kind: TrialKind) -> Result<()> {
    let Some((_, alias)) = happening.subject.split_once('@') else { return Ok(()) };
    let alias: Alias = alias.parse()?;
    if record.aliases().contains(&alias) {
        record.set_trial(&alias, kind, Trial::of_json(kind, &happening.after).as_ref());
        record.updated_at = record.updated_at.max(happening.at);
    }
    Ok(())
}

fn read_record(value: &Value, model_id: &ModelId) -> Result<Record> {
    serde_json::from_value(value.clone()).map_err(|error| Error::CorruptState {
        what: format!("the history of `{model_id}`"),
        reason: error.to_string(),
    })
}

/// The chain as far as it was read, and what it says about versions that were not looked at yet.
#[derive(Default)]
pub(crate) struct Chain {
    /// The number up to which events were read.
    read: u64,
    events: u64,
    last: Option<(u64, Digest)>,
    /// The last record of each version, and where each alias points.
    records: HashMap<String, Value>,
    aliases: HashMap<String, Value>,
    findings: Vec<String>,
}

impl Chain {
    /// Takes the next event.
    pub(crate) fn check(&mut self, event: &Event) {
        if let Err(error) = event.check(self.last.as_ref()) {
            self.findings.push(error.to_string());
        }
        self.read = self.read.max(event.sequence);
        self.events += 1;
        self.last = Some((event.sequence, event.digest));
        let happening = &event.happening;
        let (subject, after) = (happening.subject.clone(), happening.after.clone());
        match happening.action.as_str() {
            "move_alias" | "remove_alias" => self.aliases.insert(subject, after),
            "set_aside" => None,
            trial if TrialKind::of_event(trial).is_some() => None,
            _ => self.records.insert(subject, after),
        };
    }

    /// A version must be what its last event says; aliases have events of their own. A version that points beyond the end of
    /// the history proves that its end was cut off.
    pub(crate) fn check_version(&mut self, entry: &Entry) {
        let model_id = entry.record.model_id.as_str();
        let end = self.last.map_or(0, |(sequence, _)| sequence);
        if entry.revision > end {
            self.findings.push(format!(
                "version `{model_id}` is at revision {}, but the history ends with event {end}",
                entry.revision
            ));
        }
        let stored = without_aliases(serde_json::to_value(&entry.record).unwrap_or_default());
        match self.records.remove(model_id).map(without_aliases) {
            None => self.findings.push(format!("version `{model_id}` has no event")),
            Some(told) if told != stored => {
                self.findings.push(format!("the record of version `{model_id}` differs from its last event"));
            }
            Some(_) => {}
        }
        for alias in entry.record.aliases() {
            let subject = format!("{}@{alias}", entry.base);
            if self.aliases.remove(&subject).is_none_or(|told| told != model_id) {
                self.findings
                    .push(format!("alias `{subject}` points at `{model_id}`, but its last event says otherwise"));
            }
        }
    }

    /// Once every version was looked at: what the history speaks of must have been among them.
    pub(crate) fn check_missing(&mut self) {
        let mut findings: Vec<String> = self
            .records
            .keys()
            .map(|told| format!("version `{told}` is in the history, but not in the registry"))
            .collect();
        let dangling = self.aliases.iter().filter(|(_, told)| !told.is_null());
        findings.extend(dangling.map(|(alias, told)| format!("alias `{alias}` should point at {told}, but does not")));
        findings.sort();
        self.findings.append(&mut findings);
    }

    /// Returns number and digest of the last event.
    pub(crate) fn last(&self) -> Option<(u64, Digest)> {
        self.last
    }

    /// Returns how many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Returns what is wrong.
    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }
}

/// An alias move writes the two versions' lists and their time, and has one event of its own; a trial of an alias likewise.
fn without_aliases(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        fields.shift_remove("aliases");
        fields.shift_remove("trials");
        fields.shift_remove("updated_at");
    }
    record
}
