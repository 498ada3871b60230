//! Restoring a version: its record becomes what it was at another time, as one more event, so that the history keeps both.

use crate::{Entry, ModelName, Record};

/// A version as it was at another time, or in a backup.
///
/// Its aliases and their trials are no part of it: they have events of their own. The time of the restoration becomes `updated_at` of a
/// version that the registry has, and `deleted_at` of one that it hides.
#[derive(Debug, Clone, PartialEq)]
pub struct Restoration {
    /// The model it belongs to.
    pub base: ModelName,
    /// Its ordinal; `None` takes the one it has, or the next one.
    pub ordinal: Option<u64>,
    /// What becomes the version's record.
    pub record: Record,
}

impl Restoration {
    /// Returns why this cannot be the same version as the registry's of the same id, with both values: what never changes
    /// of a version must agree.
    pub fn contradiction(&self, entry: &Entry) -> Option<String> {
        let differs = |what: &str, here: String, there: String| {
            (here != there).then(|| format!("its {what} is {here} here and {there} in what is restored"))
        };
        let digest = |record: &Record| record.digest().map_or_else(|| "missing".into(), |digest| digest.to_string());
        let (here, there) = (&entry.record, &self.record);
        differs("digest", digest(here), digest(there))
            .or_else(|| differs("model", format!("`{}`", entry.base), format!("`{}`", self.base)))
            .or_else(|| differs("version", format!("`{}`", here.version), format!("`{}`", there.version)))
            .or_else(|| {
                differs("ordinal", entry.ordinal.to_string(), self.ordinal.unwrap_or(entry.ordinal).to_string())
            })
            .or_else(|| differs("created_at", here.created_at.to_string(), there.created_at.to_string()))
    }

    /// Returns whether restoring it changes anything of the version: aliases, and the times that a restoration sets, do not
    /// count.
    pub fn changes(&self, entry: &Entry) -> bool {
        let is_deleted = |record: &Record| record.deleted_at().is_some();
        is_deleted(&self.record) != is_deleted(&entry.record) || lasting(&self.record) != lasting(&entry.record)
    }
}

fn lasting(record: &Record) -> Record {
    let mut lasting = record.clone();
    lasting.fields.shift_remove("aliases");
    lasting.set_trials_of(None);
    lasting.fields.shift_remove("deleted_at");
    lasting.updated_at = lasting.created_at;
    lasting
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Digest, Timestamp};

    fn entry() -> Entry {
        let record = json!({
            "model_id": "小麦_v1", "name": "小麦", "type": "vision", "framework": "gguf", "version": "1", "status": "ready",
            "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z",
            "digest": Digest::of("here").to_string(),
        });
        let record = serde_json::from_value(record).unwrap();
        Entry { base: "小麦".parse().unwrap(), ordinal: 3, revision: 7, record }
    }

    fn restoration() -> Restoration {
        Restoration { base: entry().base, ordinal: Some(3), record: entry().record }
    }

    #[test]
    fn what_never_changes_of_a_version_must_agree() {
        let time = Timestamp::parse("2027-01-01T00:00:00Z").unwrap().0;
        type Change = Box<dyn Fn(&mut Restoration)>;
        let cases: [(&str, &str, Change); 5] = [
            ("digest", "missing", Box::new(|other| drop(other.record.fields.shift_remove("digest")))),
            ("model", "`b`", Box::new(|other| other.base = "b".parse().unwrap())),
            ("version", "`2`", Box::new(|other| other.record.version = "2".parse().unwrap())),
            ("ordinal", "4", Box::new(|other| other.ordinal = Some(4))),
            ("created_at", "2027", Box::new(move |other| other.record.created_at = time)),
        ];
        assert_eq!(restoration().contradiction(&entry()), None);
        for (what, value, change) in cases {
            let mut other = restoration();
            change(&mut other);
            let reason = other.contradiction(&entry()).unwrap();
            assert!(reason.starts_with(&format!("its {what} is ")) && reason.contains(value), "{reason}");
        }
    }

    #[test]
    fn aliases_and_times_are_no_change_of_a_version() {
        let mut same = restoration();
        same.record.updated_at = Timestamp::now();
        same.record.set_alias(&"best".parse().unwrap(), true);
        assert!(!same.changes(&entry()));
        let mut hidden = restoration();
        hidden.record.set_deleted_at(Some(Timestamp::now()));
        assert!(hidden.changes(&entry()));
        let mut renamed = restoration();
        renamed.record.name = "大麦".into();
        assert!(renamed.changes(&entry()));
    }
}
