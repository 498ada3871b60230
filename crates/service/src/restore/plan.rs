//! What has to happen to get from what is to what was: actions in an order in which each is allowed, and every reason why
//! that cannot be.

use std::collections::{BTreeMap, HashMap, HashSet};

use seedhouse_core::{
    Action, Alias, AliasMove, AliasRemoval, Entry, Error, ExpectedHolder, FileEntry, ModelId, ModelName, Restoration,
    Result, Snapshot, Timestamp,
};

use super::past::alias_subject;
use super::target::{Target, TargetVersion};
use super::{KeptVersion, RestoreReport};

/// The registry as it is.
pub(super) struct Present {
    pub(super) revision: u64,
    /// Deleted versions too, oldest registration first.
    pub(super) entries: Vec<Entry>,
}

impl Present {
    pub(super) fn of(snapshot: &mut dyn Snapshot) -> Result<Present> {
        const PAGE: usize = 1000;
        let mut entries = Vec::new();
        loop {
            let page = snapshot.next_entries(PAGE)?;
            if page.is_empty() {
                return Ok(Present { revision: snapshot.revision(), entries });
            }
            entries.extend(page);
        }
    }
}

/// The way from what is to what was.
#[derive(Default)]
pub(super) struct Plan {
    /// Aliases that leave, then versions, then aliases that arrive.
    pub(super) actions: Vec<Action>,
    /// Why it cannot be done; empty when it can.
    pub(super) problems: Vec<String>,
    added: Vec<ModelId>,
    changed: Vec<ModelId>,
    undeleted: Vec<ModelId>,
    deleted: Vec<ModelId>,
    aliases: Vec<String>,
    kept: Vec<KeptVersion>,
    unchanged: u64,
}

/// Where aliases point.
type Holders = BTreeMap<(ModelName, Alias), ModelId>;

impl Plan {
    pub(super) fn new(target: &Target, present: &Present, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let by_id: HashMap<&ModelId, &Entry> =
            present.entries.iter().map(|entry| (&entry.record.model_id, entry)).collect();
        let mut ordinals: HashMap<ModelName, u64> = HashMap::new();
        for entry in &present.entries {
            let last = ordinals.entry(entry.base.clone()).or_default();
            *last = entry.ordinal.max(*last);
        }
        for version in &target.versions {
            match by_id.get(&version.record.model_id) {
                Some(entry) => plan.put_back(version, entry, target.proven),
                None => plan.add(version, ordinals.entry(version.base.clone()).or_default()),
            }
        }
        plan.hide_others(target, present, now);
        plan.move_aliases(target, present);
        plan
    }

    fn put_back(&mut self, version: &TargetVersion, entry: &Entry, proven: bool) {
        let model_id = &entry.record.model_id;
        if !proven && entry.record.digest().is_some() {
            // The bytes say more than a file that nobody can prove.
            let reason = "the backup is unproven, and the bytes of the version are known here".to_owned();
            return self.kept.push(KeptVersion { model_id: model_id.clone(), reason });
        }
        let restoration = restoration(version);
        if let Some(reason) = restoration.contradiction(entry) {
            return self.problems.push(format!("version `{model_id}`: {reason}"));
        }
        if !restoration.changes(entry) || (!proven && says_the_same(&restoration, entry)) {
            self.unchanged += 1;
            return;
        }
        let kind = match (entry.record.deleted_at().is_some(), version.record.deleted_at().is_some()) {
            (true, false) => &mut self.undeleted,
            (false, true) => &mut self.deleted,
            _ => &mut self.changed,
        };
        kind.push(model_id.clone());
        self.actions.push(Action::Restore(Box::new(restoration)));
    }

    fn add(&mut self, version: &TargetVersion, last_ordinal: &mut u64) {
        let next = *last_ordinal + 1;
        if let Some(ordinal) = version.ordinal.filter(|ordinal| *ordinal != next) {
            let (model_id, base) = (&version.record.model_id, &version.base);
            let reason = format!("its ordinal is {ordinal}, but the next one of `{base}` is {next}");
            return self.problems.push(format!("version `{model_id}`: {reason}"));
        }
        *last_ordinal = next;
        self.added.push(version.record.model_id.clone());
        self.actions.push(Action::Restore(Box::new(restoration(version))));
    }

    fn hide_others(&mut self, target: &Target, present: &Present, now: Timestamp) {
        let then: HashSet<&ModelId> = target.versions.iter().map(|version| &version.record.model_id).collect();
        let others = present.entries.iter().filter(|entry| !then.contains(&entry.record.model_id));
        for entry in others {
            if entry.record.deleted_at().is_some() {
                self.unchanged += 1;
                continue;
            }
            let mut record = entry.record.clone();
            record.set_deleted_at(Some(now));
            self.deleted.push(record.model_id.clone());
            let restoration = Restoration { base: entry.base.clone(), ordinal: Some(entry.ordinal), record };
            self.actions.push(Action::Restore(Box::new(restoration)));
        }
    }

    fn move_aliases(&mut self, target: &Target, present: &Present) {
        let kept: HashSet<&ModelId> = self.kept.iter().map(|kept| &kept.model_id).collect();
        let now = holders(present.entries.iter().map(|entry| (&entry.base, &entry.record)));
        let mut then = holders(
            target
                .versions
                .iter()
                .filter(|version| !kept.contains(&version.record.model_id))
                .map(|version| (&version.base, &version.record)),
        );
        // What is left alone keeps its aliases, too.
        then.extend(
            now.iter().filter(|(_, holder)| kept.contains(holder)).map(|(key, holder)| (key.clone(), holder.clone())),
        );
        let hidden: HashSet<ModelId> = self.deleted.iter().cloned().collect();
        let mut removals = Vec::new();
        for ((base, alias), holder) in now.iter().filter(|(key, _)| !then.contains_key(*key)) {
            self.aliases.push(alias_subject(base, alias));
            // Hiding a version removes its aliases by itself.
            if !hidden.contains(holder) {
                removals.push(Action::RemoveAlias(AliasRemoval { base: base.clone(), alias: alias.clone() }));
            }
        }
        for ((base, alias), model_id) in then.iter().filter(|(key, holder)| now.get(*key) != Some(*holder)) {
            self.aliases.push(alias_subject(base, alias));
            let (alias, model_id) = (alias.clone(), model_id.clone());
            self.actions.push(Action::MoveAlias(AliasMove { alias, model_id, expected: ExpectedHolder::Any }));
        }
        self.actions.splice(0..0, removals);
    }

    /// Returns the files of the versions that will be shown and are not now, or are not as they are.
    pub(super) fn needs(&self) -> Result<Vec<(ModelId, FileEntry)>> {
        let mut needs = Vec::new();
        for action in &self.actions {
            let Action::Restore(restoration) = action else { continue };
            let record = &restoration.record;
            if record.deleted_at().is_some() {
                continue;
            }
            let files = record.manifest()?.map(Vec::from).unwrap_or_default();
            needs.extend(files.into_iter().map(|file| (record.model_id.clone(), file)));
        }
        Ok(needs)
    }

    /// Returns what it does.
    pub(super) fn report(&self, revision: u64) -> RestoreReport {
        RestoreReport {
            proven: true,
            revision,
            added: self.added.clone(),
            changed: self.changed.clone(),
            undeleted: self.undeleted.clone(),
            deleted: self.deleted.clone(),
            aliases: self.aliases.clone(),
            unchanged: self.unchanged,
            kept: self.kept.clone(),
            ..RestoreReport::default()
        }
    }
}

/// An unproven record differs by where it comes from and by what is marked as claimed, whatever it says.
fn says_the_same(restoration: &Restoration, entry: &Entry) -> bool {
    let mut same = restoration.clone();
    for field in ["adopted", "claims"] {
        match entry.record.fields.get(field) {
            Some(value) => same.record.fields.insert(field.into(), value.clone()),
            None => same.record.fields.shift_remove(field),
        };
    }
    !same.changes(entry)
}

fn restoration(version: &TargetVersion) -> Restoration {
    Restoration { base: version.base.clone(), ordinal: version.ordinal, record: version.record.clone() }
}

fn holders<'a>(versions: impl Iterator<Item = (&'a ModelName, &'a seedhouse_core::Record)>) -> Holders {
    let shown = versions.filter(|(_, record)| record.deleted_at().is_none());
    shown
        .flat_map(|(base, record)| {
            record.aliases().into_iter().map(move |alias| ((base.clone(), alias), record.model_id.clone()))
        })
        .collect()
}

/// Refuses what has problems, naming as many as a message can hold.
pub(super) fn refuse(problems: Vec<String>) -> Result<()> {
    const MOST_NAMED: usize = 20;
    if problems.is_empty() {
        return Ok(());
    }
    let mut reason = problems[..problems.len().min(MOST_NAMED)].join("; ");
    if problems.len() > MOST_NAMED {
        reason.push_str(&format!("; and {} more", problems.len() - MOST_NAMED));
    }
    Err(Error::NotRestorable { what: "the state".into(), reason })
}
