//! What may be asked. The words are few, so that operations meet each other.

use proptest::prelude::*;
use proptest::sample::select;

/// One base is called as the first version of another.
pub(crate) const BASES: [&str; 4] = ["a", "b", "小麦", "a_v1"];
const LABELS: [&str; 9] = ["1", "2", "3", "7", "1.0.0", "1.0.1", "2.0.0-rc.1", "1.0.0+b", "1.0.10"];
/// Ids that a version may be given; most look like those that others get by themselves.
const IDS: [&str; 6] = ["special", "b", "a_v2", "b_v1.0.0", "小麦_v9", "a_v1_v1"];
pub(crate) const ALIASES: [&str; 2] = ["champion", "冠军"];
const STATUSES: [&str; 10] = [
    "registered",
    "imported",
    "ready",
    "training",
    "trained",
    "pretrained",
    "quantized",
    "stopped",
    "failed",
    "archived",
];
/// Names and contents; the runtime of the test can load what ends in `.fake-text`.
const FILES: [File; 5] = [
    File { name: "x.fake-text", content: "one" },
    File { name: "x.fake-text", content: "two" },
    File { name: "weights.bin", content: "one" },
    File { name: "weights.bin", content: "three" },
    File { name: "deep/weights.bin", content: "two" },
];
pub(crate) const DESCRIPTIONS: [&str; 3] = ["a zebra", "斑马 zebra", ""];

/// An operation, and how far the clock goes before it: it may stand still, and it may be set back.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) seconds: i64,
    pub(crate) operation: Operation,
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Register(Asked),
    Show(Target),
    Update { target: Target, expected: Revision, edits: Vec<Edited> },
    MoveAlias { target: Target, alias: &'static str, expected: Holder },
    RollBack { base: &'static str, alias: &'static str },
    RemoveAlias { base: &'static str, alias: &'static str },
    Delete { target: Target, force: bool },
    Undelete(usize),
    Collect { retention_seconds: u64, dry: bool },
    AsOf { target: AsOfTarget, seconds_ago: i64 },
    Check,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) base: &'static str,
    pub(crate) label: Option<&'static str>,
    pub(crate) id: Option<&'static str>,
    pub(crate) status: Option<&'static str>,
    pub(crate) description: Option<&'static str>,
    pub(crate) file: Option<File>,
    pub(crate) key: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) content: &'static str,
}

/// Which version is meant. Numbers count the versions there are, deleted or not, and start again beyond the last.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Id(usize),
    Base(&'static str),
    Ordinal(&'static str, u64),
    Label(&'static str, &'static str),
    Alias(&'static str, &'static str),
}

#[derive(Debug, Clone)]
pub(crate) enum AsOfTarget {
    Id(usize),
    Alias(&'static str, &'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Revision {
    Any,
    Right,
    Wrong,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder {
    Any,
    Right,
    Nobody,
    Version(usize),
}

#[derive(Debug, Clone)]
pub(crate) enum Edited {
    Status(&'static str),
    Description(&'static str),
    Tag(&'static str, Option<&'static str>),
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![2 => Just(0), 6 => Just(1), 2 => Just(20), 1 => Just(-5)];
    (seconds, any_operation()).prop_map(|(seconds, operation)| Step { seconds, operation })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let (base, alias) = (|| select(&BASES[..]), || select(&ALIASES[..]));
    let revision = prop_oneof![4 => Just(Revision::Any), 2 => Just(Revision::Right), 1 => Just(Revision::Wrong)];
    let holder = prop_oneof![
        4 => Just(Holder::Any), 3 => Just(Holder::Right), 1 => Just(Holder::Nobody), 1 => (0..9_usize).prop_map(Holder::Version)
    ];
    let as_of = prop_oneof![
        any_version().prop_map(AsOfTarget::Id),
        (base(), alias()).prop_map(|(base, alias)| AsOfTarget::Alias(base, alias)),
    ];
    prop_oneof![
        12 => any_asked().prop_map(Operation::Register),
        3 => any_target().prop_map(Operation::Show),
        5 => (any_target(), revision, proptest::collection::vec(any_edit(), 0..3))
            .prop_map(|(target, expected, edits)| Operation::Update { target, expected, edits }),
        5 => (any_target(), alias(), holder)
            .prop_map(|(target, alias, expected)| Operation::MoveAlias { target, alias, expected }),
        2 => (base(), alias()).prop_map(|(base, alias)| Operation::RollBack { base, alias }),
        1 => (base(), alias()).prop_map(|(base, alias)| Operation::RemoveAlias { base, alias }),
        4 => (any_target(), any::<bool>()).prop_map(|(target, force)| Operation::Delete { target, force }),
        3 => any_version().prop_map(Operation::Undelete),
        2 => (select(&[0, 5, 30][..]), any::<bool>())
            .prop_map(|(retention_seconds, dry)| Operation::Collect { retention_seconds, dry }),
        3 => (as_of, -2..300_i64).prop_map(|(target, seconds_ago)| Operation::AsOf { target, seconds_ago }),
        1 => Just(Operation::Check),
    ]
}

fn any_version() -> impl Strategy<Value = usize> {
    0..200_usize
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let label = prop_oneof![2 => Just(None), 1 => select(&LABELS[..]).prop_map(Some)];
    let id = prop_oneof![6 => Just(None), 1 => select(&IDS[..]).prop_map(Some)];
    let status = prop_oneof![6 => Just(None), 1 => select(&STATUSES[..]).prop_map(Some)];
    let description = proptest::option::of(select(&DESCRIPTIONS[..]));
    let key = prop_oneof![2 => Just(None), 1 => (0..6_u8).prop_map(Some)];
    let file = proptest::option::of(select(&FILES[..]));
    (select(&BASES[..]), label, id, status, description, file, key).prop_map(
        |(base, label, id, status, description, file, key)| Asked { base, label, id, status, description, file, key },
    )
}

fn any_target() -> impl Strategy<Value = Target> {
    let base = || select(&BASES[..]);
    prop_oneof![
        5 => any_version().prop_map(Target::Id),
        1 => base().prop_map(Target::Base),
        1 => (base(), 1..9_u64).prop_map(|(base, ordinal)| Target::Ordinal(base, ordinal)),
        1 => (base(), select(&LABELS[..])).prop_map(|(base, label)| Target::Label(base, label)),
        1 => (base(), select(&ALIASES[..])).prop_map(|(base, alias)| Target::Alias(base, alias)),
    ]
}

fn any_edit() -> impl Strategy<Value = Edited> {
    prop_oneof![
        3 => select(&STATUSES[..]).prop_map(Edited::Status),
        1 => select(&DESCRIPTIONS[..]).prop_map(Edited::Description),
        2 => (select(&["crop", "作物", ""][..]), proptest::option::of(select(&["x", "y"][..])))
            .prop_map(|(key, value)| Edited::Tag(key, value)),
    ]
}
