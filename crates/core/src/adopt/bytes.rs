//! Bytes: a file that was found settles what was only claimed about it.

use serde_json::{Map, Value, json};

use super::claims::base_name;
use super::{Conflict, NotChosen, Rule, Statement, Taken};
use crate::hyper_parameters::same_value;
use crate::runtime::Inspection;
use crate::{Manifest, ManifestPath, Status};

impl Taken {
    /// Returns the name of the file that the record speaks of, without its folders; `None` when it names none.
    pub fn file_name(&self) -> Option<ManifestPath> {
        let path = self.record.fields.get("file_path")?.as_str()?;
        base_name(path).parse().ok()
    }

    /// Says why a file that was found is not taken.
    pub fn refuse_file(&mut self, reason: &str) {
        for claim in self.unverified.iter_mut().filter(|claim| matches!(claim.field.as_str(), "hash" | "file_path")) {
            claim.reason = format!("{}; the file that was found is not taken: {reason}", claim.reason);
        }
    }

    /// Describes the version from its bytes. Where a claim contradicts them, the record takes what the bytes say and the
    /// history keeps the record as it was.
    pub fn take_files(&mut self, manifest: &Manifest, inspection: Option<&Inspection>) {
        let conflicts_before = self.conflicts.len();
        let claimed = self.record.fields.clone();
        self.record.set_files(manifest);
        self.verified("file_path");
        let hash = self.record.fields["hash"].clone();
        self.settle("hash", claimed.get("hash"), &hash);
        if let Some(size) = claimed.get("size") {
            let actual = json!(manifest.size_bytes());
            self.settle("size", Some(size), &actual);
            self.record.fields.insert("size".into(), actual);
        }
        if let Some(inspection) = inspection {
            self.take_inspection(inspection);
        }
        if self.conflicts.len() > conflicts_before {
            self.not_chosen.push(NotChosen { source: self.source.clone(), rule: Rule::BytesOverClaim });
        }
    }

    /// Notes whether the version could be loaded. `ready` means that it was.
    pub fn note_readiness(&mut self, inspection: Option<&Inspection>, not_servable_because: Option<&str>) {
        if let Some(inspection) = inspection {
            self.record.fields.insert("inspected".into(), inspection.to_field(not_servable_because));
        }
        if let Some(reason) = not_servable_because.filter(|_| self.record.status == Status::Ready) {
            self.record.status = Status::Registered;
            self.contradicted(
                "status",
                Some(&json!(Status::Ready)),
                &json!(Status::Registered),
                &format!("the file ({reason})"),
            );
            self.not_chosen.push(NotChosen { source: self.source.clone(), rule: Rule::BytesOverClaim });
            self.not_chosen.dedup();
        }
    }

    fn take_inspection(&mut self, inspection: &Inspection) {
        let framework = json!(inspection.framework);
        let claimed = json!(self.record.framework);
        self.settle("framework", Some(&claimed), &framework);
        self.record.framework = inspection.framework.clone();
        let claimed = self.record.fields.insert("model_format".into(), framework.clone());
        self.settle("model_format", claimed.as_ref().filter(|claimed| !claimed.is_null()), &framework);
        if inspection.architecture.is_some() {
            let claimed = json!(self.record.model_type);
            self.settle("type", Some(&claimed), &json!(inspection.model_type));
            self.record.model_type = inspection.model_type.clone();
        }
        let mut metadata = self.record.metadata();
        for (name, found) in &inspection.hyper_parameters {
            let claimed = metadata.insert(name.clone(), found.clone());
            self.settle(&format!("metadata.{name}"), claimed.as_ref(), found);
        }
        self.drop_wrong_labels(&mut metadata);
        self.record.fields.insert("metadata".into(), metadata.into());
    }

    /// Labels are a claim, but there is one for each class.
    fn drop_wrong_labels(&mut self, metadata: &mut Map<String, Value>) {
        let count = match metadata.get("labels") {
            Some(Value::Array(labels)) => labels.len() as u64,
            Some(Value::Object(labels)) => labels.len() as u64,
            _ => return,
        };
        let Some(classes) = metadata.get("num_classes").and_then(Value::as_u64).filter(|classes| *classes != count)
        else {
            return;
        };
        metadata.shift_remove("labels");
        self.verified("metadata.labels");
        let (claimed, found) = (json!(format!("{count} labels")), json!(format!("{classes} classes")));
        self.contradicted("metadata.labels", Some(&claimed), &found, "the file");
    }

    /// Notes that `found` was computed, and whether the claim was another value.
    fn settle(&mut self, field: &str, claimed: Option<&Value>, found: &Value) {
        self.verified(field);
        // `unknown` is no claim.
        let claimed = claimed.filter(|claimed| !claimed.is_null() && **claimed != "unknown");
        if claimed.is_some_and(|claimed| !same_value(claimed, found)) {
            self.contradicted(field, claimed, found, "the file");
        }
    }

    fn contradicted(&mut self, field: &str, claimed: Option<&Value>, found: &Value, source: &str) {
        self.conflicts.push(Conflict {
            model_id: self.record.model_id.clone(),
            field: field.to_owned(),
            chosen: Statement { source: source.to_owned(), value: Some(found.clone()) },
            other: Statement { source: self.source.name(), value: claimed.cloned() },
            rule: Rule::BytesOverClaim,
        });
    }

    fn verified(&mut self, field: &str) {
        self.unverified.retain(|claim| claim.field != field);
        let mut claims: Vec<String> = self.record.claims().into_iter().map(str::to_owned).collect();
        claims.retain(|path| path != field);
        if claims.is_empty() {
            self.record.fields.shift_remove("claims");
        } else {
            self.record.fields.insert("claims".into(), claims.into());
        }
    }
}
