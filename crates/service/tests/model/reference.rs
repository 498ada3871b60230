//! The model: what a registry is, in plain lists and maps, and the rules as `docs/registry.md` states them.

use std::collections::{BTreeMap, BTreeSet};

use seedhouse_service::core::Code;

use crate::operations::{AsOfTarget, Asked, BASES, Edited, File, Holder, Operation, Revision, Step, Target};

/// What is said about a version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) status: String,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) aliases: BTreeSet<String>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) deleted_at: Option<i64>,
}

/// A version as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) base: String,
    pub(crate) ordinal: u64,
    pub(crate) revision: u64,
    pub(crate) facts: Facts,
}

/// What comes of an operation.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Refused(Code),
    Version(Box<Seen>),
    Then(Box<Facts>),
    Garbage { removed: BTreeSet<&'static str>, kept_bytes: usize },
    Checked,
    Differs(String),
}

#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) seen: Seen,
    pub(crate) file: Option<File>,
    /// What was said about it from each time on, oldest first.
    past: Vec<(i64, Facts)>,
}

type AliasName = (&'static str, &'static str);

/// When an alias moved, from which version, to which.
type Move = (i64, Option<usize>, Option<usize>);

#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) now: i64,
    last_event_at: Option<i64>,
    pub(crate) revision: u64,
    pub(crate) versions: Vec<Version>,
    aliases: BTreeMap<AliasName, usize>,
    moves: BTreeMap<AliasName, Vec<Move>>,
    keys: BTreeMap<u8, (Asked, usize)>,
    pub(crate) stored: BTreeSet<&'static str>,
}

/// An operation with the names that its numbers mean now.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) now: i64,
    pub(crate) reference: String,
    pub(crate) expected_revision: Option<u64>,
    /// Inside: where the alias is believed to point.
    pub(crate) expected_holder: Option<Option<String>>,
    pub(crate) at: i64,
}

/// Where a label stands: the number parts, whether it is a release, the pre-release, build and scheme.
type Rank = ([u64; 3], bool, String, String, bool);

fn rank(label: &str) -> Rank {
    let (rest, build) = label.split_once('+').unwrap_or((label, ""));
    let (numbers, pre) = rest.split_once('-').unwrap_or((rest, ""));
    let mut parts = [0; 3];
    numbers.split('.').zip(&mut parts).for_each(|(number, part)| *part = number.parse().unwrap());
    (parts, pre.is_empty(), pre.to_owned(), build.to_owned(), label.contains('.'))
}

fn following(label: &str) -> String {
    let ([major, minor, patch], .., semantic) = rank(label);
    if semantic { format!("{major}.{minor}.{}", patch + 1) } else { (major + 1).to_string() }
}

/// The table of `docs/registry.md`.
fn may_become(from: &str, to: &str) -> bool {
    let next = match from {
        "registered" => "imported ready training pretrained stopped failed archived",
        "imported" | "pretrained" | "trained" => "ready training stopped failed archived",
        "ready" => "training stopped failed archived",
        "training" => "trained stopped failed",
        "quantized" => "ready stopped failed archived",
        "stopped" => "ready training archived",
        "failed" => "registered training archived",
        "archived" => "stopped",
        _ => panic!("{from} is no status"),
    };
    next.split(' ').any(|next| next == to)
}

fn is_servable(status: &str) -> bool {
    ["imported", "ready", "trained", "pretrained", "quantized"].contains(&status)
}

fn can_be_loaded(file: Option<File>) -> bool {
    file.is_some_and(|file| file.name.ends_with(".fake-text"))
}

impl Registry {
    /// Says what an operation asks for in words, before it is done.
    pub(crate) fn request(&self, step: &Step) -> Request {
        let now = self.now + step.seconds * 1_000_000;
        let mut request =
            Request { now, reference: String::new(), expected_revision: None, expected_holder: None, at: 0 };
        match &step.operation {
            Operation::Show(target) | Operation::Delete { target, .. } => request.reference = self.text(target),
            Operation::Update { target, expected, .. } => {
                request.reference = self.text(target);
                request.expected_revision = self.expected_revision(target, *expected);
            }
            Operation::MoveAlias { target, alias, expected } => {
                request.reference = self.text(target);
                let holder = self.expected_holder(target, alias, *expected);
                request.expected_holder = holder.map(|holder| holder.map(|at| self.id(at)));
            }
            Operation::Undelete(number) => request.reference = self.text(&Target::Id(*number)),
            Operation::AsOf { target, seconds_ago } => {
                request.at = now - seconds_ago * 1_000_000;
                request.reference = match target {
                    AsOfTarget::Id(number) => self.text(&Target::Id(*number)),
                    AsOfTarget::Alias(base, alias) => format!("{base}@{alias}"),
                };
            }
            Operation::Register(_)
            | Operation::RollBack { .. }
            | Operation::RemoveAlias { .. }
            | Operation::Collect { .. }
            | Operation::Check => {}
        }
        request
    }

    /// Does an operation.
    pub(crate) fn step(&mut self, step: &Step) -> Outcome {
        self.now += step.seconds * 1_000_000;
        let outcome = match &step.operation {
            Operation::Register(asked) => self.register(asked),
            Operation::Show(target) => self.resolve(target),
            Operation::Update { target, expected, edits } => self.update(target, *expected, edits),
            Operation::MoveAlias { target, alias, expected } => self.resolve(target).and_then(|at| {
                let expected = self.expected_holder(target, alias, *expected);
                self.move_alias(at, alias, expected)
            }),
            Operation::RollBack { base, alias } => self.roll_back((base, alias)),
            Operation::RemoveAlias { base, alias } => self.remove_alias((base, alias)),
            Operation::Delete { target, force } => self.delete(target, *force),
            Operation::Undelete(number) => self.undelete(*number),
            Operation::Collect { retention_seconds, dry } => return self.collect(*retention_seconds, *dry),
            Operation::AsOf { target, seconds_ago } => return self.as_of(target, *seconds_ago),
            Operation::Check => return Outcome::Checked,
        };
        match outcome {
            Ok(at) => Outcome::Version(Box::new(self.versions[at].seen.clone())),
            Err(code) => Outcome::Refused(code),
        }
    }

    fn register(&mut self, asked: &Asked) -> Result<usize, Code> {
        let taken = |version: &&Version| !version.is_deleted();
        let derived = asked.label.map(|label| format!("{}_v{label}", asked.base));
        let named = asked.id.map(str::to_owned).or(derived);
        let mut shown = self.versions.iter().filter(taken);
        // Only who has no key is refused before anything is stored.
        if asked.key.is_none()
            && shown.any(|version| {
                Some(&version.seen.facts.id) == named.as_ref()
                    || version.seen.base == asked.base && Some(&*version.seen.facts.label) == asked.label
            })
        {
            return Err(Code::AlreadyExists);
        }
        let loads = can_be_loaded(asked.file);
        let status = asked.status.unwrap_or(if loads { "ready" } else { "registered" });
        if let Some(status) = asked.status
            && (["training", "trained", "quantized", "failed"].contains(&status) || is_servable(status) && !loads)
        {
            return Err(Code::Invalid);
        }
        self.stored.extend(asked.file.map(|file| file.content));
        let settled = Asked { status: Some(status), key: None, ..asked.clone() };
        if let Some((before, at)) = asked.key.and_then(|key| self.keys.get(&key)) {
            return match *before == settled {
                true if self.versions[*at].is_deleted() => Err(Code::NotFound),
                true => Ok(*at),
                false => Err(Code::Invalid),
            };
        }
        let label = asked.label.map_or_else(|| self.next_label(asked.base), str::to_owned);
        let id = asked.id.map_or_else(|| format!("{}_v{label}", asked.base), str::to_owned);
        self.check_free(asked.base, &label, &id)?;
        let at = self.add(asked, label, id, status);
        self.keys.extend(asked.key.map(|key| (key, (settled, at))));
        Ok(at)
    }

    fn next_label(&self, base: &str) -> String {
        let labels = self.of_base(base).map(|version| version.seen.facts.label.clone());
        labels.max_by_key(|label| rank(label)).map_or("1".into(), |newest| following(&newest))
    }

    fn check_free(&self, base: &str, label: &str, id: &str) -> Result<(), Code> {
        // An id that ends in a version of this base must say the same as the label; `_v1` agrees with `1.0.0`.
        if let Some(suffix) = id.strip_prefix(base).and_then(|rest| rest.strip_prefix("_v"))
            && !suffix.contains("_v")
            && suffix != label
            && !(label.contains('.') && !suffix.contains('.') && rank(suffix).0[0] == rank(label).0[0])
        {
            return Err(Code::Invalid);
        }
        if self.of_base(base).any(|version| version.seen.facts.label == label) {
            return Err(Code::AlreadyExists);
        }
        if self.versions.iter().any(|version| version.seen.facts.id == id) {
            return Err(Code::AlreadyExists);
        }
        let means_two = id != base && self.of_base(id).next().is_some()
            || self.versions.iter().any(|version| version.seen.facts.id == base && version.seen.base != base);
        if means_two { Err(Code::Invalid) } else { Ok(()) }
    }

    fn add(&mut self, asked: &Asked, label: String, id: String, status: &str) -> usize {
        let (at, revision) = self.event();
        let facts = Facts {
            id,
            label,
            status: status.into(),
            description: asked.description.unwrap_or_default().into(),
            tags: BTreeMap::new(),
            aliases: BTreeSet::new(),
            created_at: at,
            updated_at: at,
            deleted_at: None,
        };
        let ordinal = self.of_base(asked.base).count() as u64 + 1;
        let past = vec![(at, facts.clone())];
        let seen = Seen { base: asked.base.into(), ordinal, revision, facts };
        self.versions.push(Version { seen, file: asked.file, past });
        self.versions.len() - 1
    }

    fn update(&mut self, target: &Target, expected: Revision, edits: &[Edited]) -> Result<usize, Code> {
        let at = self.resolve(target)?;
        let loads = can_be_loaded(self.versions[at].file);
        let not_for_users =
            |status: &str| status == "trained" || status == "quantized" || is_servable(status) && !loads;
        if edits.iter().any(|edit| matches!(edit, Edited::Status(status) if not_for_users(status))) {
            return Err(Code::Invalid);
        }
        if self.expected_revision(target, expected).is_some_and(|expected| expected != self.versions[at].seen.revision)
        {
            return Err(Code::Conflict);
        }
        let mut facts = self.versions[at].seen.facts.clone();
        for edit in edits {
            match edit {
                Edited::Status(status) if facts.status != *status && !may_become(&facts.status, status) => {
                    return Err(Code::FailedPrecondition);
                }
                Edited::Status(status) => facts.status = (*status).into(),
                Edited::Description(text) => facts.description = (*text).into(),
                Edited::Tag("", _) => return Err(Code::Invalid),
                Edited::Tag(key, Some(value)) => drop(facts.tags.insert((*key).into(), (*value).into())),
                Edited::Tag(key, None) => drop(facts.tags.remove(*key)),
            }
        }
        let event = self.event();
        self.write(at, event, |then| *then = facts);
        Ok(at)
    }

    fn move_alias(&mut self, at: usize, alias: &'static str, expected: Option<Option<usize>>) -> Result<usize, Code> {
        if self.versions[at].is_deleted() {
            return Err(Code::NotFound);
        }
        let base = BASES.into_iter().find(|base| *base == self.versions[at].seen.base).unwrap();
        let holder = self.aliases.get(&(base, alias)).copied();
        if expected.is_some_and(|expected| expected != holder) {
            return Err(Code::Conflict);
        }
        if holder != Some(at) {
            let event = self.event();
            self.moves.entry((base, alias)).or_default().push((event.0, holder, Some(at)));
            if let Some(holder) = holder {
                self.write(holder, event, |facts| facts.aliases.retain(|held| held != alias));
            }
            self.write(at, event, |facts| facts.aliases.extend([alias.into()]));
            self.aliases.insert((base, alias), at);
        }
        Ok(at)
    }

    fn roll_back(&mut self, name: AliasName) -> Result<usize, Code> {
        let (_, from, to) = *self.moves.get(&name).and_then(|moves| moves.last()).ok_or(Code::NotFound)?;
        self.move_alias(from.ok_or(Code::NotFound)?, name.1, Some(to))
    }

    fn remove_alias(&mut self, name: AliasName) -> Result<usize, Code> {
        let holder = self.aliases.remove(&name).ok_or(Code::NotFound)?;
        let event = self.event();
        self.moves.entry(name).or_default().push((event.0, Some(holder), None));
        self.write(holder, event, |facts| facts.aliases.retain(|held| held != name.1));
        Ok(holder)
    }

    fn delete(&mut self, target: &Target, force: bool) -> Result<usize, Code> {
        let at = self.resolve(target)?;
        let aliases: Vec<AliasName> = self.aliases.iter().filter(|held| *held.1 == at).map(|held| *held.0).collect();
        if !aliases.is_empty() && !force {
            return Err(Code::FailedPrecondition);
        }
        for alias in aliases {
            self.remove_alias(alias)?;
        }
        let event = self.event();
        self.write(at, event, |facts| facts.deleted_at = Some(event.0));
        Ok(at)
    }

    fn undelete(&mut self, number: usize) -> Result<usize, Code> {
        let at = self.number(number).ok_or(Code::NotFound)?;
        if self.versions[at].file.is_some_and(|file| !self.stored.contains(file.content)) {
            return Err(Code::Corrupt);
        }
        if !self.versions[at].is_deleted() {
            return Err(Code::Invalid);
        }
        let event = self.event();
        self.write(at, event, |facts| facts.deleted_at = None);
        Ok(at)
    }

    fn collect(&mut self, retention_seconds: u64, dry: bool) -> Outcome {
        let oldest = self.now - i64::try_from(retention_seconds).unwrap() * 1_000_000;
        let needs = |version: &&Version| version.seen.facts.deleted_at.is_none_or(|at| at > oldest);
        let needed: BTreeSet<&str> =
            self.versions.iter().filter(needs).filter_map(|version| Some(version.file?.content)).collect();
        let removed: BTreeSet<&str> = self.stored.difference(&needed).copied().collect();
        let kept_bytes = self.stored.intersection(&needed).map(|content| content.len()).sum();
        if !dry {
            self.stored.retain(|content| !removed.contains(content));
        }
        Outcome::Garbage { removed, kept_bytes }
    }

    fn as_of(&self, target: &AsOfTarget, seconds_ago: i64) -> Outcome {
        let time = self.now - seconds_ago * 1_000_000;
        let at = match target {
            // What is no id may be a base, and which of its versions was the newest then is not answered.
            AsOfTarget::Id(_) if self.versions.is_empty() => return Outcome::Refused(Code::Unsupported),
            AsOfTarget::Id(number) => self.number(*number),
            AsOfTarget::Alias(base, alias) => {
                let moves = self.moves.get(&(*base, *alias)).into_iter().flatten();
                moves.rev().find(|(at, ..)| *at <= time).and_then(|(_, _, to)| *to)
            }
        };
        let then = at.and_then(|at| self.versions[at].past.iter().rfind(|(since, _)| *since <= time));
        match then {
            Some((_, facts)) if facts.deleted_at.is_none() => Outcome::Then(Box::new(facts.clone())),
            _ => Outcome::Refused(Code::NotFound),
        }
    }

    /// Writes the next event: no event is earlier than the one before it.
    fn event(&mut self) -> (i64, u64) {
        let at = self.last_event_at.map_or(self.now, |last| last.max(self.now));
        self.last_event_at = Some(at);
        self.revision += 1;
        (at, self.revision)
    }

    fn write(&mut self, at: usize, (time, revision): (i64, u64), change: impl FnOnce(&mut Facts)) {
        let version = &mut self.versions[at];
        change(&mut version.seen.facts);
        version.seen.facts.updated_at = time;
        version.seen.revision = revision;
        version.past.push((time, version.seen.facts.clone()));
    }

    /// Returns the versions of a base, deleted or not, in order of registration.
    fn of_base<'a>(&'a self, base: &'a str) -> impl Iterator<Item = &'a Version> {
        self.versions.iter().filter(move |version| version.seen.base == base)
    }

    fn number(&self, number: usize) -> Option<usize> {
        (!self.versions.is_empty()).then(|| number % self.versions.len())
    }

    fn id(&self, at: usize) -> String {
        self.versions[at].seen.facts.id.clone()
    }

    fn text(&self, target: &Target) -> String {
        match target {
            Target::Id(number) => self.number(*number).map_or("nothing".into(), |at| self.id(at)),
            Target::Base(base) => (*base).into(),
            Target::Ordinal(base, ordinal) => format!("{base}/{ordinal}"),
            Target::Label(base, label) => format!("{base}:{label}"),
            Target::Alias(base, alias) => format!("{base}@{alias}"),
        }
    }

    fn resolve(&self, target: &Target) -> Result<usize, Code> {
        let shown = |wanted: &dyn Fn(&Seen) -> bool| {
            self.versions.iter().position(|version| !version.is_deleted() && wanted(&version.seen))
        };
        let found = match target {
            Target::Id(_) | Target::Base(_) => {
                let name = self.text(target);
                shown(&|seen| seen.facts.id == name).or_else(|| self.newest(&name))
            }
            Target::Ordinal(base, ordinal) => shown(&|seen| seen.base == *base && seen.ordinal == *ordinal),
            Target::Label(base, label) => shown(&|seen| seen.base == *base && seen.facts.label == *label),
            Target::Alias(base, alias) => self.aliases.get(&(*base, *alias)).copied(),
        };
        found.ok_or(Code::NotFound)
    }

    /// The newest that can be served, else the newest.
    fn newest(&self, base: &str) -> Option<usize> {
        let shown = self.versions.iter().enumerate().filter(|(_, version)| !version.is_deleted());
        let of_base = shown.filter(|(_, version)| version.seen.base == base);
        let key = |version: &Version| (is_servable(&version.seen.facts.status), rank(&version.seen.facts.label));
        of_base.max_by_key(|(_, version)| key(version)).map(|(at, _)| at)
    }

    fn expected_revision(&self, target: &Target, expected: Revision) -> Option<u64> {
        let right = self.resolve(target).map_or(0, |at| self.versions[at].seen.revision);
        match expected {
            Revision::Any => None,
            Revision::Right => Some(right),
            Revision::Wrong => Some(right + 1),
        }
    }

    fn expected_holder(&self, target: &Target, alias: &str, expected: Holder) -> Option<Option<usize>> {
        let base = self.resolve(target).ok().map(|at| &self.versions[at].seen.base);
        let held = |name: &AliasName| Some(name.0) == base.map(String::as_str) && name.1 == alias;
        match expected {
            Holder::Any => None,
            Holder::Right => Some(self.aliases.iter().find(|(name, _)| held(name)).map(|(_, at)| *at)),
            Holder::Nobody => Some(None),
            Holder::Version(number) => Some(self.number(number)),
        }
    }
}

impl Version {
    pub(crate) fn is_deleted(&self) -> bool {
        self.seen.facts.deleted_at.is_some()
    }

    pub(crate) fn rank(&self) -> Rank {
        rank(&self.seen.facts.label)
    }
}
