//! Naming: every id gets a base and a label that are free, by the store's rules, without giving up what it was called.

use std::collections::{HashMap, HashSet};

use super::{Conflict, Registered, Rule, Statement, Taken};
use crate::{Error, ModelId, ModelName, Record, Result, Version};

/// The names that are taken, by the registry or by what was planned before.
#[derive(Debug, Default)]
pub(super) struct Names {
    base_of_id: HashMap<String, ModelName>,
    bases: HashSet<String>,
    labels: HashSet<(ModelName, Version)>,
}

impl Names {
    pub(super) fn of(registered: &[Registered]) -> Names {
        let mut names = Names::default();
        for Registered { entry, .. } in registered {
            names.take(&entry.base, &entry.record);
        }
        names
    }

    /// Settles base and label of a version and takes them.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the id is too long to be its own base.
    pub(super) fn settle(&mut self, taken: &mut Taken) -> Result<()> {
        let model_id = taken.record.model_id.clone();
        if !self.is_unambiguous(&model_id, &taken.base) {
            let own = model_id.as_str().parse::<ModelName>()?;
            let before = std::mem::replace(&mut taken.base, own);
            let after = taken.base.to_string();
            taken.conflicts.push(renamed(taken, "base", after, before.to_string(), Rule::NameTaken));
        }
        let label = self.free_label(&taken.base, &taken.record.version)?;
        if label != taken.record.version {
            let before = std::mem::replace(&mut taken.record.version, label.clone());
            taken.conflicts.push(renamed(taken, "version", label.to_string(), before.to_string(), Rule::LabelTaken));
        }
        self.take(&taken.base, &taken.record);
        Ok(())
    }

    fn take(&mut self, base: &ModelName, record: &Record) {
        self.base_of_id.insert(record.model_id.to_string(), base.clone());
        self.bases.insert(base.to_string());
        self.labels.insert((base.clone(), record.version.clone()));
    }

    /// The store refuses an id that is another model's name, and a base that is the id of another model's version.
    fn is_unambiguous(&self, model_id: &ModelId, base: &ModelName) -> bool {
        let id_is_free = model_id.as_str() == base.as_str() || !self.bases.contains(model_id.as_str());
        id_is_free && self.base_of_id.get(base.as_str()).is_none_or(|other| other == base)
    }

    fn free_label(&self, base: &ModelName, wanted: &Version) -> Result<Version> {
        let is_free = |label: &Version| !self.labels.contains(&(base.clone(), label.clone()));
        if is_free(wanted) {
            return Ok(wanted.clone());
        }
        // One more label than the base can have taken: one of them is free.
        let numbers = 2..=self.labels.len() + 2;
        let mut labels = numbers.map(|number| with_build_number(wanted, number));
        let free = labels.find(|label| label.as_ref().map_or(true, is_free));
        free.expect("there are more numbers than labels")
    }
}

fn with_build_number(version: &Version, number: usize) -> Result<Version> {
    let text = match version {
        Version::Integer(integer) => format!("{integer}.0.0+{number}"),
        Version::Semantic(semantic) if semantic.build.is_empty() => format!("{semantic}+{number}"),
        Version::Semantic(semantic) => format!("{semantic}.{number}"),
    };
    text.parse().map_err(|_| Error::invalid("version", version, "has no free label beside it"))
}

fn renamed(taken: &Taken, field: &str, chosen: String, before: String, rule: Rule) -> Conflict {
    Conflict {
        model_id: taken.record.model_id.clone(),
        field: field.to_owned(),
        chosen: Statement { source: "the registry".into(), value: Some(chosen.into()) },
        other: Statement { source: taken.source.name(), value: Some(before.into()) },
        rule,
    }
}
