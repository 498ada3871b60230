//! Restoring: a version becomes what it was at another time, or is added as it was.

use seedhouse_core::{AliasRemoval, Entry, Error, Record, Restoration, Result};

use super::Writing;

impl Writing<'_> {
    pub(super) fn restore(&mut self, restoration: Restoration) -> Result<Entry> {
        match self.ledger.by_id(&restoration.record.model_id)? {
            Some(entry) => self.restore_over(entry, restoration),
            None => self.restore_missing(restoration),
        }
    }

    fn restore_over(&mut self, mut entry: Entry, restoration: Restoration) -> Result<Entry> {
        if let Some(reason) = restoration.contradiction(&entry) {
            return Err(refused(&restoration.record, reason));
        }
        let mut record = restoration.record;
        let deleted_at = match (record.deleted_at(), entry.record.deleted_at()) {
            (None, _) => None,
            (Some(_), Some(already)) => Some(already),
            // Its retention begins now: a restoration by mistake must not let the next collection take its bytes.
            (Some(_), None) => Some(self.at),
        };
        if deleted_at.is_some() {
            for alias in entry.record.aliases() {
                entry = self.remove_alias(&AliasRemoval { base: entry.base.clone(), alias })?;
            }
        }
        record.set_deleted_at(deleted_at);
        if deleted_at.is_some() {
            self.end_trials_of(&entry)?;
        }
        without_aliases(&mut record);
        entry.record.aliases().iter().for_each(|alias| record.set_alias(alias, true));
        record.set_trials_of(Some(&entry.record));
        record.updated_at = entry.record.updated_at;
        self.replace(entry, record, "restore")
    }

    fn restore_missing(&mut self, restoration: Restoration) -> Result<Entry> {
        let Restoration { base, ordinal, mut record } = restoration;
        let next = self.ledger.last_ordinal(&base)? + 1;
        if let Some(ordinal) = ordinal.filter(|ordinal| *ordinal != next) {
            let reason = format!("its ordinal is {ordinal}, but the next one of `{base}` is {next}");
            return Err(refused(&record, reason));
        }
        without_aliases(&mut record);
        self.insert(base, record, "restore")
    }
}

fn without_aliases(record: &mut Record) {
    record.aliases().iter().for_each(|alias| record.set_alias(alias, false));
    record.set_trials_of(None);
}

fn refused(record: &Record, reason: String) -> Error {
    Error::NotRestorable { what: format!("version `{}`", record.model_id), reason }
}
