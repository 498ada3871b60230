//! What was found when stored bytes were examined, as the record of a version keeps it.
//!
//! The field `integrity` stands in the record only while some of the version's bytes are damaged. `restored_at` says when
//! they were last found whole after that: whoever holds the version in memory since before loads it again.

use serde::{Deserialize, Serialize};

use crate::{Digest, ManifestPath, ModelId, Record, Timestamp};

/// What examining a version's files showed.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The version.
    pub model_id: ModelId,
    /// Files that are damaged.
    pub damaged: Vec<DamagedFile>,
    /// Files that are what the record says. Files of neither list were not examined.
    pub whole: Vec<ManifestPath>,
}

/// A file of a version whose stored bytes are not what the record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedFile {
    /// The file within the version.
    pub path: ManifestPath,
    /// What is wrong with it.
    pub finding: Damage,
    /// What its bytes should hash to.
    pub expected: Digest,
    /// What they hash to, where they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Digest>,
}

/// How stored bytes can be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// They are others.
    Corrupt,
    /// They are gone.
    Missing,
    /// The system cannot read them.
    Unreadable,
}

/// The field `integrity` of a version that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    state: Corrupt,
    /// When the first of the files was found damaged.
    pub found_at: Timestamp,
    /// The damaged files, by path.
    pub files: Vec<DamagedFile>,
}

/// The only state: what is whole has no such field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Corrupt {
    Corrupt,
}

const FIELD: &str = "integrity";
const RESTORED_AT: &str = "restored_at";

impl Damage {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Damage::Corrupt => "corrupt",
            Damage::Missing => "missing",
            Damage::Unreadable => "unreadable",
        }
    }
}

impl Record {
    /// Returns what is damaged, if anything is known to be.
    pub fn integrity(&self) -> Option<Integrity> {
        serde_json::from_value(self.fields.get(FIELD)?.clone()).ok()
    }

    /// Returns whether some of the version's bytes are known to be damaged.
    pub fn is_corrupt(&self) -> bool {
        // Most records have no such field, and this is asked for every request.
        self.fields.contains_key(FIELD) && self.integrity().is_some()
    }

    /// Returns when the version's bytes were last found whole after they had been damaged.
    pub fn restored_at(&self) -> Option<&str> {
        self.fields.get(RESTORED_AT)?.as_str()
    }

    /// Writes down what an examination showed. One that shows nothing new changes nothing.
    pub fn set_examined(&mut self, examination: &Examination, at: Timestamp) {
        let before = self.integrity();
        let examined = |path: &ManifestPath| {
            examination.whole.contains(path) || examination.damaged.iter().any(|file| file.path == *path)
        };
        let known = before.iter().flat_map(|integrity| &integrity.files);
        let mut files: Vec<DamagedFile> = known.filter(|file| !examined(&file.path)).cloned().collect();
        files.extend(examination.damaged.iter().cloned());
        files.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
        match before {
            None if files.is_empty() => {}
            Some(_) if files.is_empty() => {
                self.fields.shift_remove(FIELD);
                self.fields.insert(RESTORED_AT.into(), at.to_string().into());
            }
            before => {
                let found_at = before.map_or(at, |integrity| integrity.found_at);
                let integrity = Integrity { state: Corrupt::Corrupt, found_at, files };
                let value = serde_json::to_value(integrity).expect("it has string keys only");
                self.fields.insert(FIELD.into(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        serde_json::from_value(json!({
            "model_id": "a_v1", "name": "a", "type": "vision", "framework": "gguf", "version": "1", "status": "ready",
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn examination(damaged: &[&str], whole: &[&str]) -> Examination {
        let damaged = damaged.iter().map(|path| DamagedFile {
            path: path.parse().unwrap(),
            finding: Damage::Missing,
            expected: Digest::of(path),
            actual: None,
        });
        let whole = whole.iter().map(|path| path.parse().unwrap());
        Examination { model_id: "a_v1".parse().unwrap(), damaged: damaged.collect(), whole: whole.collect() }
    }

    #[test]
    fn damage_stays_until_each_file_was_found_whole() {
        let [first, second] =
            ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"].map(|text| text.parse::<Timestamp>().unwrap());
        let mut record = record();
        record.set_examined(&examination(&["b"], &["a"]), first);
        record.set_examined(&examination(&["a"], &[]), second);
        let integrity = record.integrity().unwrap();
        assert_eq!(integrity.found_at, first);
        assert_eq!(integrity.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(record.fields["integrity"]["state"], "corrupt");
        record.set_examined(&examination(&[], &["a"]), second);
        assert!(record.is_corrupt() && record.restored_at().is_none());
        record.set_examined(&examination(&[], &["b", "c"]), second);
        assert!(!record.is_corrupt() && !record.fields.contains_key("integrity"));
        assert_eq!(record.restored_at(), Some("2026-01-02T00:00:00Z"));
    }

    #[test]
    fn examination_that_shows_nothing_new_changes_nothing() {
        let untouched = record();
        let mut record = record();
        record.set_examined(&examination(&[], &["a"]), Timestamp::now());
        assert_eq!(record, untouched);
        record.set_examined(&examination(&["a"], &[]), Timestamp::now());
        let marked = record.clone();
        record.set_examined(&examination(&["a"], &["b"]), Timestamp::now());
        assert_eq!(record, marked);
    }

    #[test]
    fn field_of_the_same_name_in_an_adopted_record_is_not_taken_for_ours() {
        let mut record = record();
        record.fields.insert("integrity".into(), json!("99 %"));
        assert!(!record.is_corrupt());
    }
}
