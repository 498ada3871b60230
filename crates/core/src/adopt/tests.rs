//! Each rule, each kind of claim, and that a second adoption finds nothing new.

use serde_json::json;

use super::*;
use crate::runtime::Inspection;
use crate::{FileEntry, Framework, Manifest, ModelType, Status};

const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn record(model_id: &str, change: Value) -> Value {
    let mut value = json!({
        "model_id": model_id, "name": "农业分类模型", "type": "classification", "framework": "pytorch", "version": "1.0.0",
        "status": "trained", "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00Z",
    });
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    value
}

fn entry(model_id: &str, version: &str, status: &str) -> Value {
    json!({"model_id": model_id, "version": version, "created_at": "2025-01-01T00:00:00Z", "status": status})
}

fn file(name: &str, records: &[Value], versions: Value) -> NamedFile {
    let models: Map<String, Value> =
        records.iter().map(|record| (record["model_id"].as_str().unwrap().to_owned(), record.clone())).collect();
    let text = json!({ "models": models, "versions": versions }).to_string();
    NamedFile { name: name.into(), content: RegistryFile::parse(name, &text).unwrap() }
}

/// What a store would hold after the plan, history included.
fn after(plan: &Plan) -> Vec<Registered> {
    let registered = |(taken, ordinal): (&Taken, u64)| {
        let history: Vec<Value> = taken.not_chosen.iter().map(NotChosen::to_history).collect();
        let record = serde_json::to_value(&taken.record).unwrap();
        Registered {
            entry: Entry { base: taken.base.clone(), ordinal, revision: ordinal, record: taken.record.clone() },
            seen: digests_of(history.iter().chain([&record])),
        }
    };
    plan.taken.iter().zip(1..).map(registered).collect()
}

fn only(plan: Plan) -> Taken {
    let [taken] = <[Taken; 1]>::try_from(plan.taken).unwrap();
    taken
}

fn conflict<'a>(conflicts: &'a [Conflict], field: &str) -> &'a Conflict {
    conflicts.iter().find(|conflict| conflict.field == field).unwrap()
}

fn reason<'a>(taken: &'a Taken, field: &str) -> &'a str {
    &taken.unverified.iter().find(|claim| claim.field == field).unwrap().reason
}

#[test]
fn newer_record_wins_and_the_other_is_kept_whole() {
    let old = record("a_v1", json!({"status": "ready", "size": 7}));
    let new = record("a_v1", json!({"updated_at": "2025-01-03T00:00:00Z", "accuracy": 0.85}));
    for (files, chosen) in [([&old, &new], "second"), ([&new, &old], "first")] {
        let [first, second] = files.map(std::slice::from_ref);
        let taken = only(plan(&[file("first", first, json!({})), file("second", second, json!({}))], &[]).unwrap());
        assert_eq!(taken.source.file, chosen);
        assert_eq!(taken.record.status, Status::Trained);
        let status = conflict(&taken.conflicts, "status");
        assert_eq!((&status.chosen.value, &status.other.value), (&Some(json!("trained")), &Some(json!("ready"))));
        assert_eq!(status.rule, Rule::NewerUpdate);
        assert_eq!(conflict(&taken.conflicts, "size").chosen.value, None);
        assert!(taken.conflicts.iter().all(|conflict| conflict.field != "accuracy"), "nothing contradicts it");
        assert_eq!(taken.not_chosen[0].to_history()["record"], old);
    }
}

#[test]
fn equally_new_records_are_decided_by_the_order_of_the_files() {
    let (one, two) = (record("a_v1", json!({"name": "一"})), record("a_v1", json!({"name": "二"})));
    let taken = only(plan(&[file("one", &[one], json!({})), file("two", &[two], json!({}))], &[]).unwrap());
    assert_eq!(taken.record.name, "一");
    assert_eq!(conflict(&taken.conflicts, "name").rule, Rule::FirstFile);
}

#[test]
fn same_record_in_two_files_is_no_conflict() {
    let files = ["one", "two"].map(|name| file(name, &[record("a_v1", json!({}))], json!({})));
    let taken = only(plan(&files, &[]).unwrap());
    assert!(taken.conflicts.is_empty() && taken.not_chosen.is_empty());
}

#[test]
fn entry_of_versions_never_beats_a_record() {
    let versions = json!({"a": [entry("a_v1", "1.0.0", "ready")]});
    let taken = only(plan(&[file("f", &[record("a_v1", json!({}))], versions)], &[]).unwrap());
    assert_eq!(taken.record.status, Status::Trained);
    let status = conflict(&taken.conflicts, "status");
    assert_eq!((status.rule, status.other.source.as_str()), (Rule::RecordOverVersions, "f (versions)"));
    assert_eq!(taken.not_chosen[0].to_history()["versions_entry"]["status"], "ready");
}

#[test]
fn entry_without_a_record_becomes_one_under_its_own_base() {
    let versions = json!({"小麦": [entry("special", "1.0.1", "registered")]});
    let taken = only(plan(&[file("f", &[], versions)], &[]).unwrap());
    assert_eq!((taken.base.as_str(), taken.record.model_id.as_str()), ("小麦", "special"));
    assert_eq!(taken.record.framework, Framework::Unknown);
    assert_eq!(taken.source.part, Part::VersionsEntry);
}

#[test]
fn label_goes_to_the_version_registered_first_and_the_next_gets_build_metadata() {
    let records = [
        record("m_v1", json!({"created_at": "2025-01-05T00:00:00Z", "version": "v1.0.0"})),
        record("m", json!({"created_at": "2025-01-01T00:00:00Z"})),
    ];
    let plan = plan(&[file("f", &records, json!({}))], &[]).unwrap();
    let named: Vec<_> =
        plan.taken.iter().map(|taken| format!("{} {}", taken.record.model_id, taken.record.version)).collect();
    assert_eq!(named, ["m 1.0.0", "m_v1 1.0.0+2"]);
    assert_eq!(conflict(&plan.taken[1].conflicts, "version").rule, Rule::LabelTaken);
    assert_eq!(plan.taken[1].record.fields["adopted"]["version"], "1.0.0");
}

#[test]
fn id_that_would_be_ambiguous_is_its_own_base() {
    let versions = json!({"b": [entry("a", "1", "ready")]});
    let taken = plan(&[file("f", &[record("a_v1", json!({"version": "1"}))], versions)], &[]).unwrap().taken;
    let bases: Vec<_> = taken.iter().map(|taken| format!("{} {}", taken.record.model_id, taken.base)).collect();
    assert_eq!(bases, ["a_v1 a", "a a"]);
    assert_eq!(conflict(&taken[1].conflicts, "base").rule, Rule::NameTaken);
    assert_eq!(taken[1].record.version.to_string(), "1.0.0+2");
}

#[test]
fn second_adoption_finds_nothing_new_even_after_changes_here() {
    let versions = json!({"a": [entry("a_v1", "1.0.0", "ready"), entry("a_v2", "2.0.0", "ready")]});
    let old = record("a_v1", json!({"status": "ready"}));
    let new = record("a_v1", json!({"updated_at": "2025-01-03T00:00:00Z"}));
    let files = [file("one", &[old], json!({})), file("two", &[new], versions)];
    let mut registered = after(&plan(&files, &[]).unwrap());
    for registered in &mut registered {
        registered.entry.record.status = Status::Archived;
    }
    let again = plan(&files, &registered).unwrap();
    assert!(again.taken.is_empty() && again.set_aside.is_empty(), "{again:?}");
    assert_eq!(again.already_there.len(), 2);
}

#[test]
fn registry_stays_and_the_file_becomes_history() {
    let first = plan(&[file("f", &[record("a_v1", json!({}))], json!({}))], &[]).unwrap();
    let newer = record("a_v1", json!({"status": "ready", "updated_at": "2030-01-01T00:00:00Z"}));
    let again = plan(&[file("g", std::slice::from_ref(&newer), json!({}))], &after(&first)).unwrap();
    let aside = &again.set_aside[0];
    let status = conflict(&aside.conflicts, "status");
    assert_eq!((status.rule, &status.chosen.value), (Rule::RegistryStays, &Some(json!("trained"))));
    assert_eq!(aside.not_chosen[0].to_history()["record"], newer);
}

#[test]
fn fields_of_the_whole_file_are_kept_with_its_first_version() {
    let mut named = file("f", &[record("a_v1", json!({}))], json!({}));
    named.content.fields.insert("generator".into(), "原系统".into());
    let taken = only(plan(&[named], &[]).unwrap());
    assert_eq!(taken.not_chosen[0].to_history()["file_fields"], json!({"generator": "原系统"}));
}

#[test]
fn each_kind_of_untrue_hash_is_told_apart() {
    let empty = Digest::of("").hex();
    let cases = [
        (NOTHING.to_owned(), "it is the MD5 of nothing"),
        (empty.to_uppercase(), "it is the SHA-256 of nothing"),
        (Digest::of("小麦_v1").hex(), "it is the SHA-256 of the model_id `小麦_v1`, not of a file"),
        (Digest::of("农业分类模型").hex(), "it is the SHA-256 of the name `农业分类模型`, not of a file"),
        (Digest::of("小麦").hex(), "it is the SHA-256 of the base name `小麦`, not of a file"),
        (Digest::of("小麦_v1.pth").hex(), "it is the SHA-256 of the text `小麦_v1.pth`, not of a file"),
        (Digest::of("weights").hex(), "there is no file to check it against"),
        ("none".to_owned(), "it is no digest"),
    ];
    for (hash, expected) in cases {
        let taken = only(plan(&[file("f", &[record("小麦_v1", json!({"hash": hash}))], json!({}))], &[]).unwrap());
        assert_eq!(reason(&taken, "hash"), expected);
        assert_eq!(taken.record.fields["hash"], hash, "the value stays where the original's readers look for it");
    }
}

#[test]
fn claims_are_listed_and_another_registrys_files_are_not_ours() {
    let claimed = json!({
        "file_path": "d:\\1.5\\models\\a_v1.pth", "size": 102_400_000, "metrics": {"loss": 0.23}, "accuracy": 0.92,
        "metadata": {"d_model": 512}, "digest": Digest::of("x").to_string(), "size_bytes": 9, "aliases": ["best"],
    });
    let taken = only(plan(&[file("f", &[record("a_v1", claimed)], json!({}))], &[]).unwrap());
    assert_eq!(
        taken.record.claims(),
        ["file_path", "type", "framework", "size", "metadata.d_model", "metrics.loss", "accuracy"]
    );
    assert!(reason(&taken, "file_path").contains("absolute path of another machine"));
    assert!(reason(&taken, "accuracy").contains("receipt"));
    assert!(reason(&taken, "aliases").contains("another registry"));
    assert_eq!(taken.record.digest(), None);
    assert_eq!(taken.record.fields["adopted"]["fields"]["size_bytes"], 9);
}

#[test]
fn record_that_cannot_be_stored_is_named_with_its_file() {
    let error = plan(&[file("f.json", &[record("a_v1", json!({"name": "bell\u{7}"}))], json!({}))], &[]).unwrap_err();
    assert!(error.to_string().contains("f.json") && error.to_string().contains("`a_v1`"), "{error}");
}

fn manifest() -> Manifest {
    let file = FileEntry { path: "a_v1.pth".parse().unwrap(), size_bytes: 3, digest: Digest::of("abc") };
    Manifest::new(vec![file]).unwrap()
}

fn inspection() -> Inspection {
    Inspection {
        framework: Framework::Pytorch,
        model_type: ModelType::Vision,
        architecture: Some("efficientnet_lite0".into()),
        hyper_parameters: json!({"num_classes": 3}).as_object().unwrap().clone(),
        tensor_count: 1,
        parameter_count: 1,
        tensor_types: [].into(),
        not_servable_because: None,
        needs_library_because: None,
        quantization: None,
    }
}

#[test]
fn bytes_beat_claims_and_what_they_say_is_no_claim_any_more() {
    let claimed = json!({
        "type": "vision", "file_path": "d:\\a_v1.pth", "hash": NOTHING, "size": 7, "status": "ready",
        "metadata": {"num_classes": 10, "image_size": 224, "labels": ["小麦"]},
    });
    let source = record("a_v1", claimed);
    let mut taken = only(plan(&[file("f", std::slice::from_ref(&source), json!({}))], &[]).unwrap());
    assert_eq!(taken.file_name().unwrap().as_str(), "a_v1.pth");
    taken.take_files(&manifest(), Some(&inspection()));
    taken.note_readiness(Some(&inspection()), Some("it has no tokenizer"));
    let fields: Vec<_> = taken.conflicts.iter().map(|conflict| conflict.field.as_str()).collect();
    assert_eq!(fields, ["hash", "size", "metadata.num_classes", "metadata.labels", "status"]);
    assert!(taken.conflicts.iter().all(|conflict| conflict.rule == Rule::BytesOverClaim));
    assert_eq!(taken.record.metadata()["num_classes"], 3);
    assert_eq!(taken.record.fields["hash"], Digest::of("abc").hex());
    assert_eq!(taken.record.fields["file_path"], "a_v1.pth");
    assert_eq!(taken.record.status, Status::Registered);
    assert_eq!(taken.record.claims(), ["metadata.image_size"]);
    assert_eq!(taken.not_chosen.len(), 1);
    assert_eq!(taken.not_chosen[0].to_history()["record"], source);
}

#[test]
fn claims_that_the_bytes_confirm_are_no_conflict() {
    let claimed = json!({"type": "vision", "file_path": "a_v1.pth", "hash": Digest::of("abc").hex(), "size": 3,
                         "metadata": {"num_classes": 3.0}});
    let mut taken = only(plan(&[file("f", &[record("a_v1", claimed)], json!({}))], &[]).unwrap());
    taken.take_files(&manifest(), Some(&inspection()));
    taken.note_readiness(Some(&inspection()), None);
    assert!(taken.conflicts.is_empty() && taken.not_chosen.is_empty(), "{:?}", taken.conflicts);
    assert!(taken.record.claims().is_empty());
}
