//! Gathering: everything that the files say about one id, in one place, in the order of the files.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{NamedFile, Part, Source, object_of};
use crate::{Framework, ModelId, ModelName, ModelType, Record, VersionEntry};

/// What the files say about one id.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) records: Vec<Candidate>,
    pub(super) entries: Vec<ListedVersion>,
    pub(super) file_fields: Vec<Source>,
}

/// What could become the record.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) record: Record,
    /// The model under which the same file lists the version.
    pub(super) base: Option<ModelName>,
    pub(super) source: Source,
}

/// An entry of `versions`.
#[derive(Debug)]
pub(super) struct ListedVersion {
    pub(super) base: ModelName,
    pub(super) entry: VersionEntry,
    pub(super) source: Source,
}

impl ListedVersion {
    /// Returns what the entry says, in the names of the record's fields.
    pub(super) fn statements(&self) -> Map<String, Value> {
        let mut fields = object_of(&self.entry);
        fields.shift_remove("assumed_utc");
        fields
    }

    /// Returns a record that says no more than the entry.
    pub(super) fn to_candidate(&self) -> Candidate {
        let VersionEntry { model_id, version, created_at, status, fields } = &self.entry;
        let record = Record {
            model_id: model_id.clone(),
            name: self.base.to_string(),
            model_type: ModelType::Other("unknown".into()),
            framework: Framework::Unknown,
            version: version.clone(),
            status: *status,
            created_at: *created_at,
            updated_at: *created_at,
            fields: fields.clone(),
        };
        Candidate { record, base: Some(self.base.clone()), source: self.source.clone() }
    }
}

/// Groups by id, in the order in which the ids appear.
pub(super) fn gather(files: &[NamedFile]) -> Vec<(ModelId, Group)> {
    let mut groups = Groups::default();
    for file in files {
        let bases: HashMap<&ModelId, &ModelName> =
            listed(file).rev().map(|(base, entry)| (&entry.model_id, base)).collect();
        for record in &file.content.models {
            let source = Source::new(&file.name, Part::Record, Value::Object(object_of(record)));
            let base = bases.get(&record.model_id).map(|base| (*base).clone());
            groups.of(&record.model_id).records.push(Candidate { record: record.clone(), base, source });
        }
        for (base, entry) in listed(file) {
            let mut value = json!({ "base": base });
            value.as_object_mut().expect("made an object above").extend(object_of(entry));
            let source = Source::new(&file.name, Part::VersionsEntry, value);
            let listed = ListedVersion { base: base.clone(), entry: entry.clone(), source };
            groups.of(&entry.model_id).entries.push(listed);
        }
        let first = file.content.models.first().map(|record| &record.model_id);
        let first = first.or_else(|| listed(file).next().map(|(_, entry)| &entry.model_id));
        if let Some(first) = first.filter(|_| !file.content.fields.is_empty()) {
            let source = Source::new(&file.name, Part::FileFields, Value::Object(file.content.fields.clone()));
            groups.of(first).file_fields.push(source);
        }
    }
    groups.in_order
}

fn listed(file: &NamedFile) -> impl DoubleEndedIterator<Item = (&ModelName, &VersionEntry)> {
    file.content.versions.iter().flat_map(|(base, entries)| entries.iter().map(move |entry| (base, entry)))
}

#[derive(Default)]
struct Groups {
    in_order: Vec<(ModelId, Group)>,
    places: HashMap<ModelId, usize>,
}

impl Groups {
    fn of(&mut self, model_id: &ModelId) -> &mut Group {
        let next = self.in_order.len();
        let place = *self.places.entry(model_id.clone()).or_insert(next);
        if place == next {
            self.in_order.push((model_id.clone(), Group::default()));
        }
        &mut self.in_order[place].1
    }
}
