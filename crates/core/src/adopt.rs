//! Adoption: what the files of other registries say about versions becomes records of this one, and nothing is lost.
//!
//! ```text
//! files ──> gather (one group per model_id) ──> plan (choose, compare) ──> naming (base, label) ──> claims
//!                                                                                                     │
//!                                                     bytes (a file that was found checks the claims) ┘
//! ```
//!
//! No I/O happens here. The rules by which one statement is chosen over another are the variants of [`Rule`]. Whatever is
//! not chosen goes into the history whole, with the file it came from, the rule, and the digest by which a second
//! adoption of the same file knows that it was seen before.

mod bytes;
mod claims;
mod compare;
mod gather;
mod naming;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use plan::plan;

use crate::{Digest, Entry, ModelId, ModelName, Record, RegistryFile};

/// A file to adopt, and the name that the report and the history give it.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// Its name.
    pub name: String,
    /// What it says.
    pub content: RegistryFile,
}

/// A version that the registry has, deleted or not.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The version.
    pub entry: Entry,
    /// Digests of what earlier adoptions took or set aside about it: [`digests_of`] its events.
    pub seen: HashSet<Digest>,
}

/// Why one statement was chosen over another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Of two records, the one with the newer `updated_at` is taken.
    NewerUpdate,
    /// Of two records with the same `updated_at`, the one in the file given first is taken.
    FirstFile,
    /// An entry of `versions` never beats a record of `models`.
    RecordOverVersions,
    /// What the registry has stays.
    RegistryStays,
    /// What the bytes say beats what somebody claims about them.
    BytesOverClaim,
    /// A label belongs to the version of the model that was registered first; the next gets build metadata (`1.0.0+2`).
    LabelTaken,
    /// A name means one thing: where a base is the id of another model's version, or the reverse, the id is its own base.
    NameTaken,
    /// A field of the whole file is kept in the history of the first version that the file names.
    FieldOfFile,
}

impl Rule {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::NewerUpdate => "newer_update",
            Rule::FirstFile => "first_file",
            Rule::RecordOverVersions => "record_over_versions",
            Rule::RegistryStays => "registry_stays",
            Rule::BytesOverClaim => "bytes_over_claim",
            Rule::LabelTaken => "label_taken",
            Rule::NameTaken => "name_taken",
            Rule::FieldOfFile => "field_of_file",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Two statements about one field of one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// The version.
    pub model_id: ModelId,
    /// The field, e.g. `status` or `metadata.d_model`.
    pub field: String,
    /// The statement that was chosen.
    pub chosen: Statement,
    /// The other, which the history keeps.
    pub other: Statement,
    /// Why.
    pub rule: Rule,
}

/// What somebody says about a field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// Who: a file, a part of it, or the registry.
    pub source: String,
    /// What; `None` when the field is missing there.
    pub value: Option<Value>,
}

/// A value that nobody computed or measured here, and why it cannot be verified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnverifiedClaim {
    /// The version.
    pub model_id: ModelId,
    /// The field, e.g. `hash` or `metrics.accuracy`.
    pub field: String,
    /// What is claimed.
    pub value: Value,
    /// Why it cannot be verified.
    pub reason: String,
}

/// What a file says about a version, whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The file.
    pub file: String,
    /// Which part of it.
    pub part: Part,
    /// What stands there.
    pub value: Value,
    /// The digest of `value`, whatever the order of its fields.
    pub digest: Digest,
}

/// A part of a registry file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A record of `models`, or of the flat form.
    Record,
    /// An entry of `versions`, with its base.
    VersionsEntry,
    /// Fields of the whole file that we do not know.
    FileFields,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Part::Record => "record",
            Part::VersionsEntry => "versions_entry",
            Part::FileFields => "file_fields",
        }
    }
}

impl Source {
    fn new(file: &str, part: Part, value: Value) -> Source {
        let mut canonical = value.clone();
        canonical.sort_all_objects();
        let digest = Digest::of(canonical.to_string());
        Source { file: file.to_owned(), part, value, digest }
    }

    /// Returns how a conflict names this source.
    fn name(&self) -> String {
        match self.part {
            Part::Record | Part::FileFields => self.file.clone(),
            Part::VersionsEntry => format!("{} (versions)", self.file),
        }
    }
}

/// What was not chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotChosen {
    /// What it is.
    #[serde(flatten)]
    pub source: Source,
    /// Why it was not chosen.
    pub rule: Rule,
}

impl NotChosen {
    /// Returns what the history keeps.
    pub fn to_history(&self) -> Value {
        let Source { file, part, value, digest } = &self.source;
        json!({ "file": file, "rule": self.rule, "digest": digest, part.as_str(): value })
    }
}

/// A version to be taken into the registry.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The model it belongs to.
    pub base: ModelName,
    /// Its record.
    pub record: Record,
    /// Where the record comes from, before anything was changed.
    pub source: Source,
    /// What the history keeps beside it.
    pub not_chosen: Vec<NotChosen>,
    /// Which statements contradicted each other.
    pub conflicts: Vec<Conflict>,
    /// What nobody computed or measured here.
    pub unverified: Vec<UnverifiedClaim>,
}

/// What files say about a version of the registry, and is kept as history.
#[derive(Debug, Clone)]
pub struct KeptAside {
    /// The version.
    pub model_id: ModelId,
    /// What the history keeps.
    pub not_chosen: Vec<NotChosen>,
    /// Which statements contradicted the registry.
    pub conflicts: Vec<Conflict>,
}

/// What an adoption does.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Versions to be taken, oldest first.
    pub taken: Vec<Taken>,
    /// What is kept as history of versions that the registry has.
    pub set_aside: Vec<KeptAside>,
    /// Versions about which the files say nothing new.
    pub already_there: Vec<ModelId>,
}

/// Returns the digests of what adoptions took or set aside, given what stands there after each event of a version.
pub fn digests_of<'a>(after: impl IntoIterator<Item = &'a Value>) -> HashSet<Digest> {
    let digest = |value: &Value| value.get("digest")?.as_str()?.parse().ok();
    let of_event = |after: &'a Value| after.get("adopted").and_then(digest).into_iter().chain(set_aside_digest(after));
    after.into_iter().flat_map(of_event).collect()
}

/// A record has a `digest` too, of its files; what was set aside has a rule beside it.
fn set_aside_digest(after: &Value) -> Option<Digest> {
    after.get("rule")?;
    after.get("digest")?.as_str()?.parse().ok()
}

fn object_of(value: impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value).expect("a record has string keys only") {
        Value::Object(object) => object,
        other => unreachable!("records and entries are objects, not {other}"),
    }
}
