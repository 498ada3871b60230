//! Layouts, checked by a reader that shares nothing with the writer: a tar library, digests, sizes and media types.

use std::collections::BTreeMap;
use std::io::Read;

use seedhouse_core::Unwatched;
use serde_json::json;

use super::*;
use crate::Selection;
use crate::archive::Compression;
use crate::bundle::tests::{Registry, registry};

fn exported(registry: &Registry, references: &[&str]) -> Result<Vec<u8>> {
    let references = references.iter().map(|reference| reference.parse().unwrap()).collect();
    let selection = Selection { references, ..Selection::default() };
    let mut bytes = Vec::new();
    let request = ExportRequest { selection, compression: Compression::None };
    registry.service.export_oci(&request, &mut bytes, &Unwatched)?;
    Ok(bytes)
}

fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

/// Returns what a descriptor describes, after checking digest and size.
fn described<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value, media_type: &str) -> &'a [u8] {
    assert_eq!(descriptor["mediaType"], media_type);
    let digest = descriptor["digest"].as_str().unwrap();
    let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(Digest::of(content).to_string(), digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

const FOLDER: [(&str, &str); 5] = [
    ("a.fake-text", "weights"),
    ("LICENSE", "free"),
    ("README.md", "# 小麦"),
    ("config.json", "{}"),
    ("tokenizer/vocab.txt", "a b"),
];

#[test]
fn layout_is_whole_and_names_every_file_by_its_kind() {
    let registry = registry();
    registry.register("小麦", &FOLDER, json!({"d_model": 64}));
    let archive = exported(&registry, &["小麦"]).unwrap();
    let files = files(&archive);
    assert_eq!(json_of(&files["oci-layout"]), json!({"imageLayoutVersion": "1.0.0"}));
    let index = json_of(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "v1", "Chinese is not allowed there");
    let manifest = json_of(described(&files, entry, "application/vnd.oci.image.manifest.v1+json"));
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let config = json_of(described(&files, &manifest["config"], "application/vnd.cncf.model.config.v1+json"));
    let layers = manifest["layers"].as_array().unwrap();
    let expected = [
        ("LICENSE", "doc"),
        ("README.md", "doc"),
        ("a.fake-text", "weight"),
        ("config.json", "weight.config"),
        ("tokenizer/vocab.txt", "weight.config"),
    ];
    assert_eq!(layers.len(), expected.len());
    for (number, (layer, (path, kind))) in layers.iter().zip(expected).enumerate() {
        let content = described(&files, layer, &format!("application/vnd.cncf.model.{kind}.v1.raw"));
        assert_eq!(layer["annotations"]["org.cncf.model.filepath"], path);
        assert_eq!(content, FOLDER.iter().find(|(name, _)| *name == path).unwrap().1.as_bytes());
        assert_eq!(config["modelfs"]["diffIds"][number], layer["digest"]);
    }
    assert_eq!(config["modelfs"]["type"], "layers");
    assert_eq!((&config["descriptor"]["name"], &config["descriptor"]["version"]), (&json!("小麦"), &json!("1")));
    assert_eq!(
        (&config["config"]["format"], &config["config"]["architecture"]),
        (&json!("fake"), &json!("transformer"))
    );
    // Nothing else: two documents, the layout's two files, and the layers.
    assert_eq!(files.len(), 4 + expected.len());
    assert_eq!(exported(&registry, &["小麦"]).unwrap(), archive, "the same version gives the same bytes");
}

#[test]
fn claims_are_not_told_to_others_as_facts() {
    let registry = registry();
    let received = registry.service.receive("notes.bin".parse().unwrap(), &mut "unreadable".as_bytes()).unwrap();
    let mut request = crate::RegisterRequest::new("notes".parse().unwrap(), "test");
    request.framework = Some("tensorflow".into());
    request.model_type = Some("transformer".into());
    registry.service.register(request, vec![received]).unwrap();
    let files = files(&exported(&registry, &["notes"]).unwrap());
    let entry = &json_of(&files["index.json"])["manifests"][0];
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "notes_v1");
    let manifest = json_of(described(&files, entry, MANIFEST_TYPE));
    assert_eq!(json_of(described(&files, &manifest["config"], CONFIG_TYPE))["config"], json!({}));
}

#[test]
fn layout_of_several_versions_or_of_no_files_is_refused() {
    let registry = registry();
    registry.register("one", &[("a.bin", "1")], json!({}));
    registry.register("two", &[("b.bin", "2")], json!({}));
    registry.register("idea", &[], json!({}));
    for (references, expected) in [(&["one", "two"][..], "2 versions"), (&["idea"], "`idea_v1`, but has no files")] {
        let error = exported(&registry, references).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
