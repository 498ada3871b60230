//! Lineage: what a version was made from, and everything that was made from it.

use std::collections::{HashSet, VecDeque};

use seedhouse_core::{Digest, Entry, Error, ModelId, Reference, Relation, Result, Status, Version};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Service;
use crate::register::Parent;

/// A lineage longer than this is cut off, and says so.
const MOST_RELATIVES: usize = 10_000;

/// A version among its relatives.
#[derive(Debug, Clone, Serialize)]
pub struct Lineage {
    /// The version itself.
    pub version: Relative,
    /// What it was made from: its parent, the parent of that one, and so on.
    pub ancestors: Vec<Relative>,
    /// What was made from it, children before grandchildren.
    pub descendants: Vec<Relative>,
    /// Whether there are more relatives than are named here.
    pub cut_off: bool,
}

/// A version, and how it was made from its parent.
#[derive(Debug, Clone, Serialize)]
pub struct Relative {
    /// Its id.
    pub model_id: ModelId,
    /// Its label and status; nothing of a parent that the registry does not have.
    #[serde(flatten)]
    pub known: Option<KnownRelative>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ModelId>,
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
}

/// What the registry knows about a relative.
#[derive(Debug, Clone, Serialize)]
pub struct KnownRelative {
    /// Its label.
    pub version: Version,
    /// Where it stands in its life.
    pub status: Status,
    /// The digest of its files.
    pub digest: Option<Digest>,
    /// Whether it is deleted.
    pub deleted: bool,
}

impl Service {
    /// Returns the ancestors of a version, deleted ones too, and its descendants that are not deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn lineage(&self, reference: &Reference) -> Result<Lineage> {
        let entry = self.store.version(reference)?;
        let mut seen = HashSet::from([entry.record.model_id.clone()]);
        let ancestors = self.ancestors(&entry, &mut seen)?;
        let descendants = self.descendants(&entry, &mut seen)?;
        Ok(Lineage { version: Relative::of(&entry), ancestors, descendants, cut_off: seen.len() >= MOST_RELATIVES })
    }

    /// Records from elsewhere may name each other in a circle, so nobody is visited twice.
    fn ancestors(&self, entry: &Entry, seen: &mut HashSet<ModelId>) -> Result<Vec<Relative>> {
        let mut ancestors = Vec::new();
        let mut parent = entry.record.parent();
        while let Some(model_id) = parent.take_if(|model_id| seen.len() < MOST_RELATIVES && !seen.contains(model_id)) {
            seen.insert(model_id.clone());
            match self.store.version_even_deleted(&model_id) {
                Ok(entry) => {
                    ancestors.push(Relative::of(&entry));
                    parent = entry.record.parent();
                }
                Err(Error::NotFound { .. }) => ancestors.push(Relative::unknown(model_id)),
                Err(error) => return Err(error),
            }
        }
        Ok(ancestors)
    }

    fn descendants(&self, entry: &Entry, seen: &mut HashSet<ModelId>) -> Result<Vec<Relative>> {
        let mut descendants = Vec::new();
        let mut parents = VecDeque::from([entry.record.model_id.clone()]);
        while let Some(parent) = parents.pop_front() {
            for child in self.store.children(&parent)? {
                let model_id = child.record.model_id.clone();
                if seen.len() < MOST_RELATIVES && seen.insert(model_id.clone()) {
                    descendants.push(Relative::of(&child));
                    parents.push_back(model_id);
                }
            }
        }
        Ok(descendants)
    }

    /// Writes into the fields of a new version what it was made from. That is its maker's word.
    pub(crate) fn name_parent(&self, parent: &Parent, fields: &mut Map<String, Value>) -> Result<()> {
        let entry = self.store.version(&parent.reference)?;
        fields.insert("parent".into(), entry.record.model_id.to_string().into());
        fields.insert("relation".into(), parent.relation.as_str().into());
        let claims = fields.entry("claims").or_insert_with(|| Value::Array(Vec::new()));
        claims.as_array_mut().into_iter().for_each(|claims| claims.extend(["parent".into(), "relation".into()]));
        Ok(())
    }
}

impl Relative {
    fn of(entry: &Entry) -> Relative {
        let record = &entry.record;
        Relative {
            model_id: record.model_id.clone(),
            known: Some(KnownRelative {
                version: record.version.clone(),
                status: record.status,
                digest: record.digest(),
                deleted: record.deleted_at().is_some(),
            }),
            parent: record.parent(),
            relation: record.relation(),
        }
    }

    fn unknown(model_id: ModelId) -> Relative {
        Relative { model_id, known: None, parent: None, relation: None }
    }
}
