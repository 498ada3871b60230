//! Changes: every write to the registry is a value, executed atomically by a metadata store.

use serde_json::{Map, Value};

use crate::record::SCHEMA;
use crate::{Framework, Manifest, ModelId, ModelName, ModelType, Record, Result, Status, Timestamp, Version};

/// A write, with who asked for it and when.
#[derive(Debug, Clone)]
pub struct Change {
    /// When it was asked for; becomes `updated_at` unless the registry has already seen a later time.
    pub at: Timestamp,
    /// Who asked, e.g. `cli` or the name of a token.
    pub actor: String,
    /// What to do.
    pub action: Action,
}

/// What a change does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Adds a version.
    Register(Box<Registration>),
}

impl Action {
    /// Returns the name of the action in the history.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Register(_) => "register",
        }
    }
}

/// A version to be added. What is left open is settled inside the transaction, where nobody can come between.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The model it belongs to; made when it does not exist.
    pub base: ModelName,
    /// The label; by default the successor of the newest version, `1` for the first.
    pub version: Option<Version>,
    /// The id; by default `<base>_v<version>`.
    pub model_id: Option<ModelId>,
    /// The name for people; by default the base name.
    pub name: Option<String>,
    /// What the model is for.
    pub model_type: ModelType,
    /// What it was made with.
    pub framework: Framework,
    /// The first status.
    pub status: Status,
    /// The files, already in the artifact store.
    pub manifest: Option<Manifest>,
    /// Further fields of the record.
    pub fields: Map<String, Value>,
}

/// The outcome of a change.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The version as it is now.
    pub entry: Entry,
    /// The revision of the registry after the change.
    pub revision: u64,
}

/// A version as the registry keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The model it belongs to.
    pub base: ModelName,
    /// 1, 2, 3 … in order of registration, without gaps.
    pub ordinal: u64,
    /// What is said about it.
    pub record: Record,
}

impl Registration {
    /// Settles what was left open, given the newest version of the base. Every metadata store calls this inside its transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the version cannot grow or the id becomes too long.
    pub fn settle(self, newest: Option<&Version>, at: Timestamp) -> Result<Record> {
        let version = match (self.version, newest) {
            (Some(version), _) => version,
            (None, Some(newest)) => newest.successor()?,
            // MLflow clients expect the first version to be 1.
            (None, None) => Version::Integer(1),
        };
        let model_id = match self.model_id {
            Some(model_id) => model_id,
            None => ModelId::of_version(&self.base, &version)?,
        };
        let mut fields = self.fields;
        if let Some(manifest) = &self.manifest {
            insert_files(&mut fields, &model_id, manifest);
        }
        fields.insert("schema".into(), SCHEMA.into());
        Ok(Record {
            name: self.name.unwrap_or_else(|| self.base.to_string()),
            model_id,
            model_type: self.model_type,
            framework: self.framework,
            version,
            status: self.status,
            created_at: at,
            updated_at: at,
            fields,
        })
    }
}

fn insert_files(fields: &mut Map<String, Value>, model_id: &ModelId, manifest: &Manifest) {
    let digest = manifest.digest();
    let hash = match manifest.files() {
        [only] => only.digest,
        _ => digest,
    };
    fields.insert("file_path".into(), manifest.conventional_name(model_id).into());
    fields.insert("hash".into(), hash.hex().into());
    fields.insert("digest".into(), digest.to_string().into());
    fields.insert("size_bytes".into(), manifest.size_bytes().into());
    let files = serde_json::to_value(manifest).expect("a manifest has string keys only");
    fields.insert("files".into(), files);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, FileEntry};

    fn registration(base: &str) -> Registration {
        Registration {
            base: base.parse().unwrap(),
            version: None,
            model_id: None,
            name: None,
            model_type: ModelType::Vision,
            framework: Framework::Pytorch,
            status: Status::Ready,
            manifest: None,
            fields: Map::new(),
        }
    }

    #[test]
    fn next_version_follows_the_newest() {
        let cases = [(None, "1"), (Some("7"), "8"), (Some("1.0.3"), "1.0.4")];
        for (newest, expected) in cases {
            let newest = newest.map(|text| text.parse::<Version>().unwrap());
            let record = registration("视觉").settle(newest.as_ref(), Timestamp::now()).unwrap();
            assert_eq!(record.version.to_string(), expected);
            assert_eq!(record.model_id.as_str(), format!("视觉_v{expected}"));
        }
    }

    #[test]
    fn files_are_described_from_their_manifest() {
        let file = |path: &str| FileEntry { path: path.parse().unwrap(), size_bytes: 3, digest: Digest::of("abc") };
        let mut one = registration("a");
        one.manifest = Some(Manifest::new(vec![file("weights.gguf")]).unwrap());
        let record = one.settle(None, Timestamp::now()).unwrap();
        assert_eq!(record.fields["file_path"], "a_v1.gguf");
        assert_eq!(record.fields["hash"], Digest::of("abc").hex());
        assert_eq!(record.size_bytes(), Some(3));

        let mut two = registration("a");
        two.manifest = Some(Manifest::new(vec![file("x"), file("y")]).unwrap());
        let record = two.settle(None, Timestamp::now()).unwrap();
        assert_eq!(record.fields["file_path"], "a_v1/");
        assert_eq!(record.manifest().unwrap().unwrap().digest(), record.digest().unwrap());
    }
}
