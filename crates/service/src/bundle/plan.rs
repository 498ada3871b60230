//! Planning an import: what is there already, what is new, and under which names.

use std::collections::HashMap;

use seedhouse_core::{
    Alias, Digest, Entry, Error, Kind, ModelId, ModelName, Record, Reference, Result, Selector, Version,
};
use serde_json::{Value, json};

use super::{BundledVersion, ImportOptions};
use crate::Service;

/// What an import does.
#[derive(Default)]
pub(super) struct Plan {
    /// Versions to be added, in the order of the bundle.
    pub(super) new: Vec<Planned>,
    /// Versions that are there with the same bytes.
    pub(super) already_present: Vec<ModelId>,
    /// Aliases that the source had, and the version that each points at.
    pub(super) aliases: Vec<(ModelName, Alias, ModelId)>,
}

/// A version to be added.
pub(super) struct Planned {
    pub(super) base: ModelName,
    pub(super) record: Record,
    /// What it was called in the bundle, where that is something else.
    pub(super) renamed_from: Option<ModelId>,
}

/// What becomes of a version of a bundle.
enum Fate {
    New,
    Present(ModelId),
}

impl Service {
    /// Decides what to do with each version of a bundle.
    ///
    /// # Errors
    /// [`Error::OtherBytes`] naming both digests, where the options do not say what to do about it.
    pub(super) fn plan_import(&self, versions: Vec<BundledVersion>, options: &ImportOptions) -> Result<Plan> {
        check_one_base(&versions, options)?;
        let mut plan = Plan::default();
        let (mut names, mut newest) = (HashMap::new(), HashMap::new());
        let brought = newest_labels(&versions, options);
        for mut version in versions {
            let source = version.record.model_id.clone();
            let aliases = version.record.aliases();
            aliases.iter().for_each(|alias| version.record.set_alias(alias, false));
            if let Some(base) = &options.rename_to {
                let label = version.record.version.clone();
                rename(&mut version, base.clone(), label)?;
            }
            let fate = self.fate(&mut version, options, &brought, &mut newest)?;
            let BundledVersion { base, record } = version;
            let model_id = match fate {
                Fate::Present(model_id) => {
                    plan.already_present.push(model_id.clone());
                    model_id
                }
                Fate::New => {
                    let model_id = record.model_id.clone();
                    let renamed_from = (source != model_id).then(|| source.clone());
                    plan.new.push(Planned { base: base.clone(), record, renamed_from });
                    model_id
                }
            };
            plan.aliases.extend(aliases.into_iter().map(|alias| (base.clone(), alias, model_id.clone())));
            names.insert(source, model_id);
        }
        plan.new.iter_mut().for_each(|planned| rename_parent(&mut planned.record, &names));
        Ok(plan)
    }

    fn fate(
        &self,
        version: &mut BundledVersion,
        options: &ImportOptions,
        brought: &HashMap<ModelName, Version>,
        newest: &mut HashMap<ModelName, Version>,
    ) -> Result<Fate> {
        let there = match self.store.version_even_deleted(&version.record.model_id) {
            Ok(entry) => entry,
            Err(Error::NotFound { .. }) => return Ok(Fate::New),
            Err(error) => return Err(error),
        };
        if there.base == version.base && there.record.digest() == version.record.digest() {
            return present(&there);
        }
        if !options.next_version {
            return Err(taken(&there, version));
        }
        if let Some(twin) = self.twin(version)? {
            return Ok(Fate::Present(twin));
        }
        let last = match newest.get(&version.base) {
            Some(version) => version.clone(),
            // Labels that the bundle brings are taken, too, whether or not their versions have come already.
            None => {
                let there = self.newest_label(&version.base)?;
                let brought = brought.get(&version.base).unwrap_or(&version.record.version);
                there.map_or_else(|| brought.clone(), |there| there.max(brought.clone()))
            }
        };
        let label = last.successor()?;
        newest.insert(version.base.clone(), label.clone());
        let base = version.base.clone();
        rename(version, base, label)?;
        Ok(Fate::New)
    }

    /// Returns the version of the same base with the same bytes.
    fn twin(&self, version: &BundledVersion) -> Result<Option<ModelId>> {
        let Some(digest) = version.record.digest() else { return Ok(None) };
        let reference = Reference { name: version.base.clone(), selector: Selector::Digest(digest) };
        match self.store.version(&reference) {
            Ok(entry) => Ok(Some(entry.record.model_id)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the newest label of a base. Those of deleted versions stay taken.
    fn newest_label(&self, base: &ModelName) -> Result<Option<Version>> {
        let shown = match self.store.versions(base) {
            Ok(entries) => entries,
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let deleted = self.store.deleted()?.into_iter().filter(|entry| entry.base == *base);
        Ok(shown.into_iter().chain(deleted).map(|entry| entry.record.version).max())
    }
}

fn present(there: &Entry) -> Result<Fate> {
    let model_id = &there.record.model_id;
    match there.record.deleted_at() {
        None => Ok(Fate::Present(model_id.clone())),
        Some(at) => {
            let rule = format!("that version was deleted {at}; `seedhouse undelete` brings it back as it was");
            Err(Error::invalid("model_id", model_id, rule))
        }
    }
}

fn taken(there: &Entry, version: &BundledVersion) -> Error {
    let name = |digest: Option<Digest>| digest.map_or("no files".to_owned(), |digest| digest.to_string());
    let (model_id, brought) = (there.record.model_id.to_string(), version.record.digest());
    match there.record.digest() {
        digest if digest == brought => {
            Error::AlreadyExists { kind: Kind::ModelId, name: model_id, since: there.record.created_at }
        }
        digest => Error::OtherBytes { model_id, there: name(digest), brought: name(brought) },
    }
}

/// Returns the newest label of each base in a bundle, by the name that the base gets.
fn newest_labels(versions: &[BundledVersion], options: &ImportOptions) -> HashMap<ModelName, Version> {
    let mut newest: HashMap<ModelName, Version> = HashMap::new();
    for version in versions {
        let base = options.rename_to.as_ref().unwrap_or(&version.base);
        let label = &version.record.version;
        if newest.get(base).is_none_or(|known| known < label) {
            newest.insert(base.clone(), label.clone());
        }
    }
    newest
}

/// One name cannot be that of several models.
fn check_one_base(versions: &[BundledVersion], options: &ImportOptions) -> Result<()> {
    let other = versions.iter().find(|version| version.base != versions[0].base);
    match (&options.rename_to, other) {
        (Some(name), Some(other)) => {
            let rule = format!("the bundle has versions of `{}` and of `{}`", versions[0].base, other.base);
            Err(Error::invalid("rename_to", name, rule))
        }
        _ => Ok(()),
    }
}

/// Gives a version another base and label, and the id that follows from them.
fn rename(version: &mut BundledVersion, base: ModelName, label: Version) -> Result<()> {
    let record = &mut version.record;
    record.model_id = ModelId::of_version(&base, &label)?;
    record.version = label;
    if record.name == version.base.as_str() {
        record.name = base.to_string();
    }
    version.base = base;
    Ok(())
}

/// A parent that came in the same bundle is meant by its new name.
fn rename_parent(record: &mut Record, names: &HashMap<ModelId, ModelId>) {
    let parent = record.fields.get("parent").and_then(Value::as_str).and_then(|parent| parent.parse::<ModelId>().ok());
    if let Some(renamed) = parent.and_then(|parent| names.get(&parent)) {
        record.fields.insert("parent".into(), json!(renamed));
    }
}
