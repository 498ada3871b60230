//! An earlier state of the registry, from its own history: the last event about each version and each alias up to a time.

use std::collections::HashMap;

use seedhouse_core::{
    Alias, Error, Event, MetadataStore, ModelId, ModelName, Progress, ProgressUnit, Record, Result, Timestamp,
    TrialKind,
};
use serde_json::Value;

use super::plan::Present;
use super::target::{Target, TargetVersion};

const PAGE: usize = 1000;

/// What the events up to a time say.
pub(super) struct Past {
    /// The last record of each version.
    records: HashMap<String, Value>,
    /// Where each alias (`base@alias`) points.
    aliases: HashMap<String, Value>,
}

impl Past {
    /// Reads the history up to a time, checking that its chain is intact.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time before the history begins, [`Error::CorruptState`] naming a damaged event.
    pub(super) fn read(store: &dyn MetadataStore, at: Timestamp, progress: &dyn Progress) -> Result<Past> {
        let mut past = Past { records: HashMap::new(), aliases: HashMap::new() };
        let mut last = None;
        progress.stage("reading the history", None, ProgressUnit::Items);
        loop {
            progress.check()?;
            let events = store.events(last.map_or(0, |(sequence, _)| sequence), PAGE)?;
            if last.is_none() {
                check_begun(events.first(), at)?;
            }
            let count = events.len() as u64;
            for event in events {
                if event.happening.at > at {
                    return Ok(past);
                }
                event.check(last.as_ref())?;
                last = Some((event.sequence, event.digest));
                past.note(event);
            }
            progress.advance(count);
            if count == 0 {
                return Ok(past);
            }
        }
    }

    fn note(&mut self, event: Event) {
        let happening = event.happening;
        match happening.action.as_str() {
            "move_alias" | "remove_alias" => self.aliases.insert(happening.subject, happening.after),
            "set_aside" => None,
            // They end where the restoration moves the alias, and stay where it does not.
            trial if TrialKind::of_event(trial).is_some() => None,
            _ => self.records.insert(happening.subject, happening.after),
        };
    }

    /// Returns the state, with models and ordinals as the registry knows them: these never change.
    pub(super) fn target(&self, present: &Present) -> Result<Target> {
        let mut aliases = self.aliases_by_version()?;
        let mut versions = Vec::new();
        for entry in &present.entries {
            let model_id = &entry.record.model_id;
            let Some(value) = self.records.get(model_id.as_str()) else { continue };
            let mut record: Record = serde_json::from_value(value.clone()).map_err(|error| Error::CorruptState {
                what: format!("the history of `{model_id}`"),
                reason: error.to_string(),
            })?;
            record.aliases().iter().for_each(|alias| record.set_alias(alias, false));
            for alias in aliases.remove(model_id).unwrap_or_default() {
                record.set_alias(&alias, true);
            }
            versions.push(TargetVersion { base: entry.base.clone(), ordinal: Some(entry.ordinal), record });
        }
        Ok(Target { versions, proven: true })
    }

    fn aliases_by_version(&self) -> Result<HashMap<ModelId, Vec<Alias>>> {
        let mut by_version: HashMap<ModelId, Vec<Alias>> = HashMap::new();
        for (subject, holder) in &self.aliases {
            let Some(holder) = holder.as_str() else { continue };
            let (_, alias) = subject.rsplit_once('@').ok_or_else(|| Error::CorruptState {
                what: format!("the history of `{subject}`"),
                reason: "it is no alias".into(),
            })?;
            by_version.entry(holder.parse()?).or_default().push(alias.parse()?);
        }
        by_version.values_mut().for_each(|aliases| aliases.sort());
        Ok(by_version)
    }
}

fn check_begun(first: Option<&Event>, at: Timestamp) -> Result<()> {
    match first {
        Some(first) if first.happening.at <= at => Ok(()),
        Some(first) => {
            let rule = format!("lies before the history begins, {}", first.happening.at);
            Err(Error::invalid("as_of", at, rule))
        }
        None => Err(Error::invalid("as_of", at, "the registry has no history")),
    }
}

/// Returns the name under which the history knows an alias.
pub(super) fn alias_subject(base: &ModelName, alias: &Alias) -> String {
    format!("{base}@{alias}")
}
