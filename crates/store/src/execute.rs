//! Executes a change. The order of the checks, the time, the ordinal and the events are decided here, once for every adapter;
//! an adapter answers questions about what it holds and writes down what came out.

mod restore;
mod trials;

use seedhouse_core::{
    Action, Adoption, Alias, AliasMove, AliasRemoval, Applied, Change, Completion, Deletion, DeletionGuard, Digest,
    Entry, Error, Event, Examination, ExpectedHolder, Happening, Kind, ModelId, ModelName, Record, Registration,
    Result, SetAside, Timestamp, Update, Version,
};
use serde_json::{Map, Value};

/// What an adapter holds, seen from inside its transaction. Deleted versions count: their names stay taken.
pub(crate) trait Ledger {
    /// Returns the newest version of a base by version order.
    fn newest_version(&self, base: &ModelName) -> Result<Option<Version>>;

    /// Returns the highest ordinal of a base, 0 when there is none.
    fn last_ordinal(&self, base: &ModelName) -> Result<u64>;

    /// Returns the end of the history.
    fn last_event(&self) -> Result<Option<LastEvent>>;

    /// Returns a version by its id.
    fn by_id(&self, model_id: &ModelId) -> Result<Option<Entry>>;

    /// Returns when the version whose files stand under this name was registered.
    fn conventional_name_since(&self, name: &str) -> Result<Option<Timestamp>>;

    /// Returns when the version of this base with this label was registered.
    fn version_since(&self, base: &ModelName, version: &Version) -> Result<Option<Timestamp>>;

    /// Returns the version that an alias points at.
    fn alias_holder(&self, base: &ModelName, alias: &Alias) -> Result<Option<Entry>>;

    /// Returns the versions of a base that aliases point at.
    fn aliased(&self, base: &ModelName) -> Result<Vec<Entry>>;

    /// Returns the ids of the versions, not deleted, whose `parent` is this version.
    fn children(&self, model_id: &ModelId) -> Result<Vec<ModelId>>;

    /// Returns what was registered with an idempotency key.
    fn remembered(&self, key: &str) -> Result<Option<Remembered>>;

    /// Remembers what was registered with an idempotency key.
    fn remember(&mut self, key: &str, remembered: &Remembered) -> Result<()>;

    /// Adds a version.
    fn insert(&mut self, entry: &Entry) -> Result<()>;

    /// Writes a version anew.
    fn replace(&mut self, entry: &Entry) -> Result<()>;

    /// Adds an event to the end of the history.
    fn append(&mut self, event: &Event) -> Result<()>;
}

/// The end of the history.
pub(crate) struct LastEvent {
    /// Its number, which is the revision of the registry.
    pub(crate) sequence: u64,
    /// Its digest, which the next event names.
    pub(crate) digest: Digest,
    /// When it happened; nothing later may carry an earlier time.
    pub(crate) at: Timestamp,
}

/// What was registered with an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    /// The version that it made.
    pub(crate) model_id: ModelId,
    /// What was asked for: [`Registration::fingerprint`].
    pub(crate) fingerprint: Digest,
}

/// Executes a change inside the adapter's transaction.
pub(crate) fn execute(ledger: &mut dyn Ledger, change: Change) -> Result<Applied> {
    let last = ledger.last_event()?;
    let at = last.as_ref().map_or(change.at, |last| last.at.max(change.at));
    let end = last.map(|last| (last.sequence, last.digest));
    let mut writing = Writing { ledger, at, actor: change.actor, reason: change.reason, end };
    let entry = match change.action {
        Action::Register(registration) => writing.register(*registration)?,
        Action::Adopt(adoption) => writing.adopt(*adoption)?,
        Action::Import(adoptions) => writing.import(adoptions)?,
        Action::SetAside(set_aside) => writing.set_aside(set_aside)?,
        Action::Update(update) => writing.update(update)?,
        Action::Complete(completion) => writing.complete(*completion)?,
        Action::Examine(examination) => writing.examine(&examination)?,
        Action::MoveAlias(alias_move) => writing.move_alias(alias_move)?,
        Action::RemoveAlias(removal) => writing.remove_alias(&removal)?,
        Action::SetTrial(setting) => writing.set_trial(setting)?,
        Action::Delete(deletion) => writing.delete(&deletion)?,
        Action::Undelete(model_id) => writing.undelete(&model_id)?,
        Action::Restore(restoration) => writing.restore(*restoration)?,
    };
    Ok(Applied { entry, revision: writing.end.map_or(0, |(sequence, _)| sequence) })
}

/// Executes changes in their order inside one transaction of the adapter, which undoes all when one fails.
pub(crate) fn execute_all(
    ledger: &mut dyn Ledger,
    changes: Vec<Change>,
    expected_revision: Option<u64>,
) -> Result<Vec<Applied>> {
    if let Some(expected) = expected_revision {
        let revision = ledger.last_event()?.map_or(0, |last| last.sequence);
        if expected != revision {
            let [expected, actual] = [expected, revision].map(|revision| format!("revision {revision}"));
            return Err(Error::Changed { what: "the registry".into(), expected, actual });
        }
    }
    changes.into_iter().map(|change| execute(ledger, change)).collect()
}

/// A change being written: who, when and why are the same for all its events.
struct Writing<'a> {
    ledger: &'a mut dyn Ledger,
    at: Timestamp,
    actor: String,
    reason: Option<String>,
    /// Number and digest of the last event.
    end: Option<(u64, Digest)>,
}

impl Writing<'_> {
    fn register(&mut self, registration: Registration) -> Result<Entry> {
        check_field_names(&registration.fields)?;
        let key = registration.idempotency_key.clone();
        let fingerprint = registration.fingerprint();
        if let Some(key) = &key
            && let Some(remembered) = self.ledger.remembered(key)?
        {
            return self.replayed(key, &remembered, fingerprint);
        }
        let base = registration.base.clone();
        let newest = self.ledger.newest_version(&base)?;
        let record = registration.settle(newest.as_ref(), self.at)?;
        let entry = self.insert(base, record, "register")?;
        if let Some(key) = &key {
            let remembered = Remembered { model_id: entry.record.model_id.clone(), fingerprint };
            self.ledger.remember(key, &remembered)?;
        }
        Ok(entry)
    }

    /// The same key with the same request returns what the first one made; with another request it is a mistake.
    fn replayed(&self, key: &str, remembered: &Remembered, fingerprint: Digest) -> Result<Entry> {
        if remembered.fingerprint != fingerprint {
            let rule = format!("was used before for another request, which made `{}`", remembered.model_id);
            return Err(Error::invalid("idempotency_key", key, rule));
        }
        self.existing(&remembered.model_id)
    }

    fn adopt(&mut self, adoption: Adoption) -> Result<Entry> {
        // Before the first event, because an adapter without savepoints keeps what was written.
        check_free(self.ledger, &adoption.base, &adoption.record)?;
        for not_chosen in adoption.not_chosen {
            let subject = adoption.record.model_id.to_string();
            self.append("set_aside", subject, Value::Null, not_chosen)?;
        }
        self.insert(adoption.base, adoption.record, "adopt")
    }

    /// Whatever can be refused is refused before the first event, because an adapter without savepoints keeps what was
    /// written. Returns the last version.
    fn import(&mut self, adoptions: Vec<Adoption>) -> Result<Entry> {
        Adoption::check_distinct(&adoptions)?;
        adoptions.iter().try_for_each(|adoption| check_free(self.ledger, &adoption.base, &adoption.record))?;
        let mut last = None;
        for Adoption { base, record, not_chosen } in adoptions {
            for value in not_chosen {
                self.append("set_aside", record.model_id.to_string(), Value::Null, value)?;
            }
            last = Some(self.insert(base, record, "import")?);
        }
        last.ok_or_else(|| Error::Internal("an import without a version".into()))
    }

    /// Only the history grows; the version keeps its record and its revision.
    fn set_aside(&mut self, set_aside: SetAside) -> Result<Entry> {
        let SetAside { model_id, values } = set_aside;
        let entry = self.ledger.by_id(&model_id)?.ok_or_else(|| Error::not_found(Kind::ModelId, &model_id))?;
        for value in values {
            self.append("set_aside", model_id.to_string(), Value::Null, value)?;
        }
        Ok(entry)
    }

    fn insert(&mut self, base: ModelName, record: Record, action: &str) -> Result<Entry> {
        check_free(self.ledger, &base, &record)?;
        let ordinal = self.ledger.last_ordinal(&base)? + 1;
        let subject = record.model_id.to_string();
        let revision = self.append(action, subject, Value::Null, json_of(&record))?;
        let entry = Entry { base, ordinal, revision, record };
        self.ledger.insert(&entry)?;
        Ok(entry)
    }

    fn update(&mut self, update: Update) -> Result<Entry> {
        let entry = self.existing(&update.model_id)?;
        if let Some(expected) = update.expected_revision.filter(|expected| *expected != entry.revision) {
            return Err(Error::Changed {
                what: format!("version `{}`", update.model_id),
                expected: format!("revision {expected}"),
                actual: format!("revision {}", entry.revision),
            });
        }
        let mut record = entry.record.clone();
        update.edits.iter().try_for_each(|edit| record.edit(edit))?;
        self.replace(entry, record, "update")
    }

    /// Files are given once: a version's bytes never change.
    fn complete(&mut self, completion: Completion) -> Result<Entry> {
        let Completion { model_id, manifest, framework, fields, edits } = completion;
        let entry = self.existing(&model_id)?;
        if let Some(digest) = entry.record.digest() {
            return Err(Error::Changed {
                what: format!("version `{model_id}`"),
                expected: "no files".into(),
                actual: format!("files with the digest {digest}"),
            });
        }
        check_field_names(&fields)?;
        let mut record = entry.record.clone();
        record.framework = framework;
        for (name, value) in fields {
            match value {
                Value::Null => record.fields.shift_remove(&name),
                value => record.fields.insert(name, value),
            };
        }
        record.set_files(&manifest);
        if let Some(name) = record.conventional_name()
            && let Some(since) = self.ledger.conventional_name_since(&name)?
        {
            return Err(Error::AlreadyExists { kind: Kind::File, name, since });
        }
        edits.iter().try_for_each(|edit| record.edit(edit))?;
        self.replace(entry, record, "complete")
    }

    /// An examination that shows nothing new leaves no event.
    fn examine(&mut self, examination: &Examination) -> Result<Entry> {
        let entry = self.existing(&examination.model_id)?;
        let mut record = entry.record.clone();
        record.set_examined(examination, self.at);
        if record == entry.record {
            return Ok(entry);
        }
        let action = if record.is_corrupt() { "found_corrupt" } else { "found_whole" };
        self.replace(entry, record, action)
    }

    fn move_alias(&mut self, alias_move: AliasMove) -> Result<Entry> {
        let AliasMove { alias, model_id, expected } = alias_move;
        let entry = self.existing(&model_id)?;
        let holder = self.ledger.alias_holder(&entry.base, &alias)?;
        let held_by = holder.as_ref().map(|holder| holder.record.model_id.clone());
        if let ExpectedHolder::Exactly(expected) = expected
            && expected != held_by
        {
            let name = |holder: Option<ModelId>| holder.map_or("no version".to_owned(), |id| format!("`{id}`"));
            let what = format!("alias `{}@{alias}`", entry.base);
            return Err(Error::Changed { what, expected: name(expected), actual: name(held_by) });
        }
        if held_by.as_ref() == Some(&model_id) {
            return Ok(entry);
        }
        let (before, after) = (id_of(held_by.as_ref()), id_of(Some(&model_id)));
        let holder = holder.map(|holder| self.end_trials(holder, &alias)).transpose()?;
        let revision = self.append("move_alias", format!("{}@{alias}", entry.base), before, after)?;
        if let Some(holder) = holder {
            self.point(holder, &alias, false, revision)?;
        }
        self.point(entry, &alias, true, revision)
    }

    fn remove_alias(&mut self, removal: &AliasRemoval) -> Result<Entry> {
        let AliasRemoval { base, alias } = removal;
        let holder = self.ledger.alias_holder(base, alias)?;
        let holder = holder.ok_or_else(|| Error::not_found(Kind::Alias, format!("{base}@{alias}")))?;
        let holder = self.end_trials(holder, alias)?;
        let before = id_of(Some(&holder.record.model_id));
        let revision = self.append("remove_alias", format!("{base}@{alias}"), before, Value::Null)?;
        self.point(holder, alias, false, revision)
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<Entry> {
        let mut entry = self.existing(&deletion.model_id)?;
        if deletion.guard == DeletionGuard::RefuseIfNeeded {
            self.check_not_needed(&entry)?;
        }
        self.end_trials_of(&entry)?;
        for alias in entry.record.aliases() {
            entry = self.remove_alias(&AliasRemoval { base: entry.base.clone(), alias })?;
        }
        let mut record = entry.record.clone();
        record.set_deleted_at(Some(self.at));
        self.replace(entry, record, "delete")
    }

    fn check_not_needed(&self, entry: &Entry) -> Result<()> {
        let aliases = entry.record.aliases().into_iter().map(|alias| format!("alias `{}@{alias}`", entry.base));
        let trials = self.trials_of(entry)?;
        let trials = trials.iter().map(|(_, alias, kind)| format!("{kind} of alias `{}@{alias}`", entry.base));
        let children = self.ledger.children(&entry.record.model_id)?;
        let children = children.iter().map(|child| format!("version `{child}`"));
        let needed_by: Vec<String> = aliases.chain(trials).chain(children).collect();
        if needed_by.is_empty() {
            return Ok(());
        }
        Err(Error::StillNeeded { model_id: entry.record.model_id.to_string(), needed_by: needed_by.join(", ") })
    }

    fn undelete(&mut self, model_id: &ModelId) -> Result<Entry> {
        let entry = self.ledger.by_id(model_id)?.ok_or_else(|| Error::not_found(Kind::ModelId, model_id))?;
        if entry.record.deleted_at().is_none() {
            return Err(Error::invalid("model_id", model_id, "names a version that is not deleted"));
        }
        let mut record = entry.record.clone();
        record.set_deleted_at(None);
        self.replace(entry, record, "undelete")
    }

    /// Returns a version that is not deleted.
    fn existing(&self, model_id: &ModelId) -> Result<Entry> {
        let entry = self.ledger.by_id(model_id)?.filter(|entry| entry.record.deleted_at().is_none());
        entry.ok_or_else(|| Error::not_found(Kind::ModelId, model_id))
    }

    /// Writes a version's changed record and the event about it.
    fn replace(&mut self, entry: Entry, mut record: Record, action: &str) -> Result<Entry> {
        record.updated_at = record.updated_at.max(self.at);
        record.check_storable()?;
        let subject = record.model_id.to_string();
        let revision = self.append(action, subject, json_of(&entry.record), json_of(&record))?;
        let entry = Entry { revision, record, ..entry };
        self.ledger.replace(&entry)?;
        Ok(entry)
    }

    /// Writes where an alias points; the event about it is written by the caller.
    fn point(&mut self, entry: Entry, alias: &Alias, points_here: bool, revision: u64) -> Result<Entry> {
        self.rewrite(entry, revision, |record| record.set_alias(alias, points_here))
    }

    /// Writes a version's record as of an event that is not about the version itself.
    fn rewrite(&mut self, entry: Entry, revision: u64, change: impl FnOnce(&mut Record)) -> Result<Entry> {
        let mut record = entry.record;
        change(&mut record);
        record.updated_at = record.updated_at.max(self.at);
        let entry = Entry { revision, record, ..entry };
        self.ledger.replace(&entry)?;
        Ok(entry)
    }

    /// Adds an event and returns its number.
    fn append(&mut self, action: &str, subject: String, before: Value, after: Value) -> Result<u64> {
        let happening = Happening {
            at: self.at,
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject,
            reason: self.reason.clone(),
            before,
            after,
        };
        let event = Event::following(self.end.as_ref(), happening);
        self.ledger.append(&event)?;
        self.end = Some((event.sequence, event.digest));
        Ok(event.sequence)
    }
}

/// Checks that a record can be stored, and that nothing that it would be found by is taken.
pub(crate) fn check_free(ledger: &dyn Ledger, base: &ModelName, record: &Record) -> Result<()> {
    record.check_storable()?;
    // The version before the id: of a default id both are taken, and `base:version` says more.
    if let Some(since) = ledger.version_since(base, &record.version)? {
        return Err(Error::AlreadyExists { kind: Kind::Version, name: format!("{base}:{}", record.version), since });
    }
    if let Some(taken) = ledger.by_id(&record.model_id)? {
        let (name, since) = (record.model_id.to_string(), taken.record.created_at);
        return Err(Error::AlreadyExists { kind: Kind::ModelId, name, since });
    }
    if let Some(name) = record.conventional_name()
        && let Some(since) = ledger.conventional_name_since(&name)?
    {
        return Err(Error::AlreadyExists { kind: Kind::File, name, since });
    }
    check_unambiguous(ledger, base, record)
}

/// A bare name is a `model_id` or a base; were it both, registering one model would redirect the requests for another.
fn check_unambiguous(ledger: &dyn Ledger, base: &ModelName, record: &Record) -> Result<()> {
    let model_id = &record.model_id;
    if model_id.as_str() != base.as_str()
        && let Ok(other) = model_id.as_str().parse::<ModelName>()
        && ledger.last_ordinal(&other)? > 0
    {
        return Err(Error::invalid("model_id", model_id, "is the name of another model"));
    }
    if let Ok(id) = base.as_str().parse::<ModelId>()
        && let Some(other) = ledger.by_id(&id)?.filter(|other| other.base != *base)
    {
        return Err(Error::invalid("name", base, format!("is the id of a version of `{}`", other.base)));
    }
    Ok(())
}

fn json_of(record: &Record) -> Value {
    serde_json::to_value(record).expect("a record has string keys only")
}

fn id_of(model_id: Option<&ModelId>) -> Value {
    model_id.map_or(Value::Null, |model_id| model_id.as_str().into())
}

/// A required field among the further ones would silently replace the typed one when the record is written, and some
/// fields have actions of their own.
fn check_field_names(fields: &Map<String, Value>) -> Result<()> {
    const TYPED: [&str; 8] = ["model_id", "name", "type", "framework", "version", "status", "created_at", "updated_at"];
    const WITH_ACTIONS: [&str; 4] = ["aliases", "deleted_at", "integrity", "restored_at"];
    match TYPED.into_iter().chain(WITH_ACTIONS).find_map(|key| Some((key, fields.get(key)?))) {
        Some((key, value)) => Err(Error::invalid(key, value, "it may not stand among the further fields")),
        None => Ok(()),
    }
}
