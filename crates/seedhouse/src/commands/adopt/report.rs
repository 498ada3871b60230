//! The report of an adoption, for people.

use std::io;

use seedhouse_core::adopt::{Conflict, Part, Rule, Statement, UnverifiedClaim};
use seedhouse_service::{AdoptReport, TakenVersion};
use serde_json::Value;

use crate::output::print_line;

pub(super) fn print(report: &AdoptReport) -> io::Result<()> {
    section("Taken", &report.taken, print_taken)?;
    section("Conflicts", &report.conflicts, print_conflict)?;
    print_rules(&report.conflicts)?;
    print_unverified(&report.unverified)?;
    section("Set aside, kept in the history", &report.set_aside, |aside| {
        let source = &aside.not_chosen.source;
        let what = match source.part {
            Part::Record => "the record",
            Part::VersionsEntry => "the entry of `versions`",
            Part::FileFields => "the fields of the whole file",
        };
        print_line(&format!("  {}  {what} in {}  ({})", aside.model_id, source.file, aside.not_chosen.rule))
    })?;
    section("Already there, nothing new", &report.already_there, |model_id| print_line(&format!("  {model_id}")))?;
    print_counts(report)
}

fn section<T>(title: &str, items: &[T], print: impl Fn(&T) -> io::Result<()>) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    print_line(&format!("{title}:"))?;
    items.iter().try_for_each(print)?;
    print_line("")
}

fn print_taken(taken: &TakenVersion) -> io::Result<()> {
    let TakenVersion { model_id, base, version, status, source, digest } = taken;
    let files = match digest {
        Some(digest) => digest.to_string(),
        None => "no files, so it cannot be served".to_owned(),
    };
    let made = match source.part {
        Part::VersionsEntry => ", made from the entry of `versions` alone",
        Part::Record | Part::FileFields => "",
    };
    print_line(&format!("  {model_id}  `{base}` {version}, {status}; {files}"))?;
    print_line(&format!("    from {}{made}", source.file))
}

fn print_conflict(conflict: &Conflict) -> io::Result<()> {
    let Conflict { model_id, field, chosen, other, rule } = conflict;
    print_line(&format!("  {model_id}  {field}  ({rule})"))?;
    print_line(&format!("    chosen  {}", said(chosen)))?;
    print_line(&format!("    other   {}", said(other)))
}

fn said(statement: &Statement) -> String {
    let value = statement.value.as_ref().map_or_else(|| "nothing".to_owned(), text);
    format!("{value}  {}", statement.source)
}

/// Strings of others are quoted and escaped, so that they cannot rewrite the terminal.
fn text(value: &Value) -> String {
    value.to_string()
}

/// Says what the rules mean that were applied.
fn print_rules(conflicts: &[Conflict]) -> io::Result<()> {
    let mut rules: Vec<Rule> = Vec::new();
    for conflict in conflicts {
        if !rules.contains(&conflict.rule) {
            rules.push(conflict.rule);
        }
    }
    section("Rules that chose", &rules, |rule| print_line(&format!("  {rule}: {}", meaning(*rule))))
}

fn meaning(rule: Rule) -> &'static str {
    match rule {
        Rule::NewerUpdate => "the record with the newer `updated_at` is taken",
        Rule::FirstFile => "of records with the same `updated_at`, the one in the file given first is taken",
        Rule::RecordOverVersions => "an entry of `versions` never beats a record",
        Rule::RegistryStays => "what the registry has stays",
        Rule::BytesOverClaim => "what the bytes say beats what is claimed about them",
        Rule::LabelTaken => "a label belongs to the version registered first; the next gets build metadata",
        Rule::NameTaken => "a name means one thing; where it would mean two, the id is its own base",
        Rule::FieldOfFile => "fields of the whole file are kept with its first version",
    }
}

/// One line for each reason a version has: most have a dozen claims and two reasons.
fn print_unverified(claims: &[UnverifiedClaim]) -> io::Result<()> {
    let mut groups: Vec<(&UnverifiedClaim, Vec<String>)> = Vec::new();
    for claim in claims {
        let named = match claim.field.as_str() {
            "hash" | "file_path" => format!("{} {}", claim.field, text(&claim.value)),
            field => field.to_owned(),
        };
        let same = |(first, _): &&mut (&UnverifiedClaim, Vec<String>)| {
            first.model_id == claim.model_id && first.reason == claim.reason
        };
        match groups.iter_mut().find(same) {
            Some((_, fields)) => fields.push(named),
            None => groups.push((claim, vec![named])),
        }
    }
    section("Claims that could not be verified", &groups, |(claim, fields)| {
        print_line(&format!("  {}  {}", claim.model_id, fields.join(", ")))?;
        print_line(&format!("    {}", claim.reason))
    })
}

fn print_counts(report: &AdoptReport) -> io::Result<()> {
    let counts = [
        (report.taken.len(), "taken"),
        (report.conflicts.len(), "conflicts"),
        (report.unverified.len(), "claims not verified"),
        (report.set_aside.len(), "set aside"),
        (report.already_there.len(), "already there"),
    ];
    let counts: Vec<String> = counts.iter().map(|(count, what)| format!("{count} {what}")).collect();
    let would = if report.dry_run { "  (dry run: nothing was changed)" } else { "" };
    print_line(&format!("{}{would}", counts.join(", ")))
}
