//! Planning: which statement about a version is chosen, which contradict it, and what the registry has already.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::compare::{self, Difference};
use super::gather::{Candidate, Group, ListedVersion, gather};
use super::naming::Names;
use super::{
    Conflict, KeptAside, NamedFile, NotChosen, Plan, Registered, Rule, Source, Statement, Taken, claims, object_of,
};
use crate::{Digest, Error, ModelId, ModelName, Record, Result};

const REGISTRY: &str = "the registry";

/// Decides what adopting `files` does to a registry that holds `registered`.
///
/// # Errors
/// [`Error::Malformed`] naming file and entry when a record cannot be stored.
pub fn plan(files: &[NamedFile], registered: &[Registered]) -> Result<Plan> {
    let by_id: HashMap<&ModelId, &Registered> =
        registered.iter().map(|registered| (&registered.entry.record.model_id, registered)).collect();
    let mut plan = Plan::default();
    for (model_id, group) in gather(files) {
        match by_id.get(&model_id) {
            Some(registered) => match beside(registered, group) {
                aside if aside.not_chosen.is_empty() => plan.already_there.push(model_id),
                aside => plan.set_aside.push(aside),
            },
            None => plan.taken.push(chosen(group)),
        }
    }
    // Ordinals and labels go to the version that was registered first.
    plan.taken.sort_by_key(|taken| taken.record.created_at);
    let mut names = Names::of(registered);
    for taken in &mut plan.taken {
        let storable = names.settle(taken).and_then(|()| {
            claims::mark(taken);
            taken.record.check_storable()
        });
        storable.map_err(|error| {
            Error::malformed(&taken.source.file, format!("entry `{}`: {error}", taken.record.model_id))
        })?;
    }
    Ok(plan)
}

/// What is said about one version, weighed against one record.
struct Weighing {
    base: ModelName,
    chosen: Record,
    chosen_source: String,
    seen: HashSet<Digest>,
    not_chosen: Vec<NotChosen>,
    conflicts: Vec<Conflict>,
}

impl Weighing {
    fn reject(&mut self, source: &Source, differences: Vec<Difference>, rule: Rule) {
        if differences.is_empty() || !self.seen.insert(source.digest) {
            return;
        }
        let statement = |source: String, value| Statement { source, value };
        self.conflicts.extend(differences.into_iter().map(|difference| Conflict {
            model_id: self.chosen.model_id.clone(),
            field: difference.field,
            chosen: statement(self.chosen_source.clone(), difference.chosen),
            other: statement(source.name(), Some(difference.other)),
            rule,
        }));
        self.not_chosen.push(NotChosen { source: source.clone(), rule });
    }

    /// An entry that agrees with the record of its own file says nothing beyond it.
    fn reject_entries(&mut self, entries: &[ListedVersion], records: &[Candidate], rule: Rule) {
        for listed in entries {
            let own = records.iter().find(|candidate| candidate.source.file == listed.source.file);
            let repeats_own = own.is_some_and(|own| differences(listed, own.base.as_ref(), &own.record).is_empty());
            if !repeats_own {
                self.reject(&listed.source, differences(listed, Some(&self.base), &self.chosen), rule);
            }
        }
    }

    fn keep_file_fields(&mut self, file_fields: Vec<Source>) {
        for source in file_fields {
            if self.seen.insert(source.digest) {
                self.not_chosen.push(NotChosen { source, rule: Rule::FieldOfFile });
            }
        }
    }
}

fn differences(listed: &ListedVersion, base: Option<&ModelName>, record: &Record) -> Vec<Difference> {
    let mut differences = compare::statements(&object_of(record), &listed.statements());
    if let Some(base) = base.filter(|base| **base != listed.base) {
        let (chosen, other) = (Some(json!(base)), json!(listed.base));
        differences.push(Difference { field: "base".into(), chosen, other });
    }
    differences
}

/// What the files say beside a version that the registry has.
fn beside(registered: &Registered, group: Group) -> KeptAside {
    let Registered { entry, seen } = registered;
    let mut weighing = Weighing {
        base: entry.base.clone(),
        chosen: entry.record.clone(),
        chosen_source: REGISTRY.into(),
        seen: seen.clone(),
        not_chosen: Vec::new(),
        conflicts: Vec::new(),
    };
    for candidate in &group.records {
        let differences = compare::records(&entry.record, &candidate.record);
        weighing.reject(&candidate.source, differences, Rule::RegistryStays);
    }
    weighing.reject_entries(&group.entries, &group.records, Rule::RegistryStays);
    weighing.keep_file_fields(group.file_fields);
    let Weighing { not_chosen, conflicts, .. } = weighing;
    KeptAside { model_id: entry.record.model_id.clone(), not_chosen, conflicts }
}

/// Chooses the record of a version that the registry does not have.
fn chosen(mut group: Group) -> Taken {
    if group.records.is_empty() {
        group.records = group.entries.drain(..).map(|listed| listed.to_candidate()).collect();
    }
    let place = newest(&group.records);
    let winner = group.records.remove(place);
    let listed_base = group.entries.first().map(|listed| listed.base.clone());
    let base = winner.base.clone().or(listed_base).unwrap_or_else(|| winner.record.model_id.base());
    let mut weighing = Weighing {
        base: base.clone(),
        chosen: winner.record.clone(),
        chosen_source: winner.source.name(),
        seen: HashSet::from([winner.source.digest]),
        not_chosen: Vec::new(),
        conflicts: Vec::new(),
    };
    for loser in &group.records {
        let rule = match loser.record.updated_at < winner.record.updated_at {
            true => Rule::NewerUpdate,
            false => Rule::FirstFile,
        };
        weighing.reject(&loser.source, compare::records(&winner.record, &loser.record), rule);
    }
    group.records.push(winner);
    weighing.reject_entries(&group.entries, &group.records, Rule::RecordOverVersions);
    weighing.keep_file_fields(group.file_fields);
    let winner = group.records.pop().expect("pushed above");
    let Weighing { not_chosen, conflicts, .. } = weighing;
    let Candidate { record, source, .. } = winner;
    Taken { base, record, source, not_chosen, conflicts, unverified: Vec::new() }
}

/// Returns the place of the record with the newest `updated_at`, the first of several.
fn newest(candidates: &[Candidate]) -> usize {
    let newest = |a: usize, b: usize| match candidates[b].record.updated_at > candidates[a].record.updated_at {
        true => b,
        false => a,
    };
    (0..candidates.len()).reduce(newest).expect("a group has a record or an entry")
}
