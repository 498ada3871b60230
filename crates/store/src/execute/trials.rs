//! Trials of aliases: another version that gets a share of the requests. They stand in the record of the version that the alias points
//! at, and end when it points elsewhere.

use seedhouse_core::{Alias, Entry, Error, Kind, ModelId, Result, TrialKind, TrialSetting};
use serde_json::Value;

use super::Writing;

impl Writing<'_> {
    /// A setting that says what is there already leaves no event.
    pub(super) fn set_trial(&mut self, setting: TrialSetting) -> Result<Entry> {
        let TrialSetting { base, alias, kind, trial } = &setting;
        let holder = self.ledger.alias_holder(base, alias)?;
        let holder = holder.ok_or_else(|| Error::not_found(Kind::Alias, format!("{base}@{alias}")))?;
        if let Some(trial) = trial {
            let model_id = &trial.model_id;
            let entry = self.existing(model_id)?;
            if entry.base != *base {
                let rule = format!("is a version of `{}`, and the alias is one of `{base}`", entry.base);
                return Err(Error::invalid("model_id", model_id, rule));
            }
            if *model_id == holder.record.model_id {
                return Err(Error::invalid("model_id", model_id, format!("is what `{base}@{alias}` points at")));
            }
        }
        if holder.record.trial(alias, *kind) == *trial {
            return Ok(holder);
        }
        self.write_trial(holder, setting)
    }

    /// Ends the trials of an alias, which is about to point elsewhere than at `holder`.
    pub(super) fn end_trials(&mut self, mut holder: Entry, alias: &Alias) -> Result<Entry> {
        for kind in TrialKind::ALL {
            if holder.record.trial(alias, kind).is_some() {
                let setting = TrialSetting { base: holder.base.clone(), alias: alias.clone(), kind, trial: None };
                holder = self.write_trial(holder, setting)?;
            }
        }
        Ok(holder)
    }

    /// Ends the trials in which this version is tried: it is about to go.
    pub(super) fn end_trials_of(&mut self, entry: &Entry) -> Result<()> {
        for (model_id, alias, kind) in self.trials_of(entry)? {
            let holder = self.existing(&model_id)?;
            self.write_trial(holder, TrialSetting { base: entry.base.clone(), alias, kind, trial: None })?;
        }
        Ok(())
    }

    /// Returns the trials in which this version is tried: whose record has them, and which they are.
    pub(super) fn trials_of(&self, entry: &Entry) -> Result<Vec<(ModelId, Alias, TrialKind)>> {
        let mut found = Vec::new();
        for holder in self.ledger.aliased(&entry.base)? {
            for alias in holder.record.aliases() {
                for kind in TrialKind::ALL {
                    let trial = holder.record.trial(&alias, kind);
                    if trial.is_some_and(|trial| trial.model_id == entry.record.model_id) {
                        found.push((holder.record.model_id.clone(), alias.clone(), kind));
                    }
                }
            }
        }
        Ok(found)
    }

    fn write_trial(&mut self, holder: Entry, setting: TrialSetting) -> Result<Entry> {
        let event = setting.event();
        let TrialSetting { base, alias, kind, trial } = setting;
        let before = holder.record.trial(&alias, kind).map_or(Value::Null, |before| before.to_json(kind));
        let after = trial.as_ref().map_or(Value::Null, |after| after.to_json(kind));
        let revision = self.append(event, format!("{base}@{alias}"), before, after)?;
        self.rewrite(holder, revision, |record| record.set_trial(&alias, kind, trial.as_ref()))
    }
}
