//! Changes: every write to the registry is a value, executed atomically by a metadata store.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::SCHEMA;
use crate::{
    Alias, Card, Digest, Error, Examination, Framework, Manifest, ModelId, ModelName, ModelType, Record, Restoration,
    Result, Status, Timestamp, TrialSetting, Version,
};

/// A write, with who asked for it, when and why.
#[derive(Debug, Clone)]
pub struct Change {
    /// When it was asked for; becomes `updated_at` unless the registry has already seen a later time.
    pub at: Timestamp,
    /// Who asked, e.g. `cli` or the name of a token.
    pub actor: String,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// What to do.
    pub action: Action,
}

/// What a change does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Adds a version.
    Register(Box<Registration>),
    /// Takes a record over whole, with its own times and status.
    Adopt(Box<Adoption>),
    /// Takes records over from another registry of this kind, all of them or none.
    Import(Vec<Adoption>),
    /// Keeps in the history what a file says about a version that the registry knows better.
    SetAside(SetAside),
    /// Changes what may change of a version.
    Update(Update),
    /// Gives a version that has no files those that a job made for it.
    Complete(Box<Completion>),
    /// Marks a version whose bytes were found damaged, or takes the mark away when they were found whole.
    Examine(Examination),
    /// Points an alias at a version.
    MoveAlias(AliasMove),
    /// Removes an alias.
    RemoveAlias(AliasRemoval),
    /// Begins, changes or ends a trial of an alias.
    SetTrial(TrialSetting),
    /// Hides a version; its bytes and its names stay.
    Delete(Deletion),
    /// Shows a deleted version again.
    Undelete(ModelId),
    /// Makes a version what it was at another time, or adds it as it was.
    Restore(Box<Restoration>),
}

impl Action {
    /// Returns the name of the action in the history.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Register(_) => "register",
            Action::Adopt(_) => "adopt",
            Action::Import(_) => "import",
            Action::SetAside(_) => "set_aside",
            Action::Update(_) => "update",
            Action::Complete(_) => "complete",
            Action::Examine(_) => "examine",
            Action::MoveAlias(_) => "move_alias",
            Action::RemoveAlias(_) => "remove_alias",
            Action::SetTrial(setting) => setting.event(),
            Action::Delete(_) => "delete",
            Action::Undelete(_) => "undelete",
            Action::Restore(_) => "restore",
        }
    }
}

/// A record from another registry.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The model it belongs to.
    pub base: ModelName,
    /// What becomes the version's record.
    pub record: Record,
    /// What other files said about the same version, and was not chosen. The history keeps it.
    pub not_chosen: Vec<Value>,
}

impl Adoption {
    /// Checks that versions which come together do not take each other's names.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what stands there twice.
    pub fn check_distinct(adoptions: &[Adoption]) -> Result<()> {
        let (mut labels, mut files) = (HashSet::new(), HashSet::new());
        let mut base_of: HashMap<&str, &ModelName> = HashMap::new();
        let twice = |field: &str, value: &str| Err(Error::invalid(field, value, "stands twice among what is imported"));
        for Adoption { base, record, .. } in adoptions {
            if base_of.insert(record.model_id.as_str(), base).is_some() {
                return twice("model_id", record.model_id.as_str());
            }
            if !labels.insert((base, &record.version)) {
                return twice("version", &format!("{base}:{}", record.version));
            }
            if let Some(name) = record.conventional_name()
                && !files.insert(name.clone())
            {
                return twice("file_path", &name);
            }
        }
        // A bare name is a `model_id` or a base, never both.
        let is_ambiguous = |base: &ModelName| base_of.get(base.as_str()).is_some_and(|of| *of != base);
        match adoptions.iter().find(|adoption| is_ambiguous(&adoption.base)) {
            Some(Adoption { base, .. }) => {
                Err(Error::invalid("name", base, "is also the id of another model's version"))
            }
            None => Ok(()),
        }
    }
}

/// What files say about a version of the registry, and was not chosen. The version stays as it is.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// The version, deleted or not.
    pub model_id: ModelId,
    /// What the history keeps.
    pub values: Vec<Value>,
}

/// Changes to a version.
#[derive(Debug, Clone)]
pub struct Update {
    /// The version.
    pub model_id: ModelId,
    /// The revision of the version that the caller saw; the change is refused if there was another since.
    pub expected_revision: Option<u64>,
    /// What to change, in this order.
    pub edits: Vec<Edit>,
}

/// Files for a version that has none, and what is known since they are there.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The version.
    pub model_id: ModelId,
    /// The files, already in the artifact store.
    pub manifest: Manifest,
    /// Their format.
    pub framework: Framework,
    /// Fields that are set; null removes one.
    pub fields: Map<String, Value>,
    /// Further changes, the status among them, in this order.
    pub edits: Vec<Edit>,
}

/// One change to a version.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Moves the version along the status table.
    Status(Status),
    /// Changes the name for people.
    Name(String),
    /// Changes the text for people.
    Description(String),
    /// Sets the model card, or removes it.
    Card(Option<Card>),
    /// Sets a tag, or removes it.
    Tag {
        /// Its key.
        key: String,
        /// Its value; `None` removes the tag.
        value: Option<String>,
    },
    /// Sets a figure that somebody claims.
    ClaimedMetric {
        /// Its name; `accuracy` is also written to the field of that name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// Sets figures that somebody claims, and says where they come from.
    ReportedMetrics {
        /// Names and values.
        metrics: Vec<(String, f64)>,
        /// What they say: a run, a data digest, a command.
        source: Value,
    },
    /// Sets figures that a run measured.
    MeasuredMetrics {
        /// Names and values.
        metrics: Vec<(String, f64)>,
        /// Where they come from: data digest, host, time, command.
        receipt: Value,
    },
}

/// Points an alias at a version.
#[derive(Debug, Clone)]
pub struct AliasMove {
    /// The alias.
    pub alias: Alias,
    /// The version it shall point at.
    pub model_id: ModelId,
    /// Where the caller believes it to point; the move is refused if it does not.
    pub expected: ExpectedHolder,
}

/// Removes an alias.
#[derive(Debug, Clone)]
pub struct AliasRemoval {
    /// The model.
    pub base: ModelName,
    /// Its alias.
    pub alias: Alias,
}

/// Where the caller of an alias move believes the alias to point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedHolder {
    /// They do not care.
    Any,
    /// At this version, or at nothing.
    Exactly(Option<ModelId>),
}

/// Hides a version.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The version.
    pub model_id: ModelId,
    /// Whether an alias that points at it, or a version made from it, stands in the way.
    pub guard: DeletionGuard,
}

/// Whether what needs a version keeps it from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionGuard {
    /// It does.
    RefuseIfNeeded,
    /// It does not; aliases that point at the version are removed.
    Force,
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
    /// A word chosen by the caller: registering again with the same word returns the version made the first time.
    pub idempotency_key: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The model it belongs to.
    pub base: ModelName,
    /// 1, 2, 3 … in order of registration, without gaps.
    pub ordinal: u64,
    /// The number of the last event about it.
    pub revision: u64,
    /// What is said about it.
    pub record: Record,
}

impl Registration {
    /// Returns a digest of what was asked for; two requests with one idempotency key must have the same.
    pub fn fingerprint(&self) -> Digest {
        let asked = (&self.base, &self.version, &self.model_id, &self.name, &self.model_type, &self.framework);
        let rest = (self.status, self.manifest.as_ref().map(Manifest::digest), &self.fields);
        Digest::of(serde_json::to_vec(&(asked, rest)).expect("a registration has string keys only"))
    }

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
            Some(model_id) => agreeing(model_id, &self.base, &version)?,
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

/// An id that ends in a version says the same as the label; the original's `_v1` for `1.0.0` counts as the same.
fn agreeing(model_id: ModelId, base: &ModelName, version: &Version) -> Result<ModelId> {
    let same = |suffix: &Version| match (suffix, version) {
        (Version::Integer(number), Version::Semantic(semantic)) => *number == semantic.major,
        _ => suffix == version,
    };
    match model_id.version() {
        Some(suffix) if model_id.base() == *base && !same(&suffix) => {
            Err(Error::invalid("version", version, format!("the id `{model_id}` says `{suffix}`")))
        }
        _ => Ok(model_id),
    }
}

impl Record {
    /// Describes the version's files from their manifest.
    pub fn set_files(&mut self, manifest: &Manifest) {
        insert_files(&mut self.fields, &self.model_id, manifest);
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
    use crate::FileEntry;

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
            idempotency_key: None,
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
    fn id_and_label_may_not_contradict_each_other() {
        let settled = |model_id: &str, version: &str| {
            let mut registration = registration("q");
            registration.model_id = Some(model_id.parse().unwrap());
            registration.version = Some(version.parse().unwrap());
            registration.settle(None, Timestamp::now())
        };
        for (model_id, version) in
            [("q_v1", "1"), ("q_v1", "1.0.0"), ("q_v1.0.3", "1.0.3"), ("special", "7"), ("r_v1", "2")]
        {
            assert!(settled(model_id, version).is_ok(), "{model_id} {version}");
        }
        let error = settled("q_v1", "2").unwrap_err().to_string();
        assert!(error.contains("`q_v1`") && error.contains("`2`"), "{error}");
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
