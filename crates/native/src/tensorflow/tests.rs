//! What TensorFlow and Keras wrote (`scripts/make_tensorflow_references.py`); what is broken or hostile stands in [`hostile`].

mod hostile;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{LoadOptions, Runtime};
use seedhouse_core::{Digest, ModelType};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::NativeRuntime;

/// The files of a version, which tests change before they are written.
#[derive(Clone, Default)]
pub(super) struct Folder(BTreeMap<String, Vec<u8>>);

impl Folder {
    /// Reads a folder of the fixtures, without what is expected of it.
    fn fixture(name: &str) -> Folder {
        let root = fixtures().join(name);
        let (mut folder, mut waiting) = (Folder::default(), vec![root.clone()]);
        while let Some(place) = waiting.pop() {
            for entry in std::fs::read_dir(place).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                match path.is_dir() {
                    true => waiting.push(path),
                    false if name == "expected.json" => {}
                    false => folder = folder.with(&name, &std::fs::read(path).unwrap()),
                }
            }
        }
        folder
    }

    fn with(mut self, path: &str, bytes: &[u8]) -> Folder {
        self.0.insert(path.to_owned(), bytes.to_vec());
        self
    }

    fn without(mut self, path: &str) -> Folder {
        self.0.remove(path).unwrap_or_else(|| panic!("{path} is there"));
        self
    }

    fn bytes(&self, path: &str) -> &[u8] {
        &self.0[path]
    }

    /// Writes the files where a runtime finds them.
    fn on_disk(&self) -> (TempDir, LocalFiles) {
        let folder = TempDir::new().unwrap();
        let files = self.0.iter().enumerate().map(|(number, (path, bytes))| {
            let local = folder.path().join(number.to_string());
            std::fs::write(&local, bytes).unwrap();
            LocalFile { path: path.parse().unwrap(), local, digest: Digest::of(bytes) }
        });
        let files = LocalFiles(files.collect());
        (folder, files)
    }

    /// Inspects them through the port.
    fn inspect(&self) -> Result<Option<Inspection>> {
        let (_folder, files) = self.on_disk();
        NativeRuntime::new().inspect(&files)
    }

    /// Inspects them with other bytes in one file, each of `variants` in turn, and calls `check` with the bytes and what came of them.
    fn inspect_each(
        &self,
        path: &str,
        variants: impl Iterator<Item = Vec<u8>>,
        check: impl Fn(&[u8], Result<Option<Inspection>>),
    ) {
        let (_folder, files) = self.on_disk();
        for bytes in variants {
            let place = &at(&files, path).unwrap().local;
            // A file that is cut and written again goes to the disk at once on some systems; a new one does not.
            std::fs::remove_file(place).unwrap();
            std::fs::write(place, &bytes).unwrap();
            check(&bytes, NativeRuntime::new().inspect(&files));
        }
    }

    fn described(&self) -> Inspection {
        self.inspect().unwrap().expect("the format is known")
    }

    fn refusal(&self) -> String {
        self.inspect().expect_err("these files must be refused").to_string()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tensorflow")
}

/// Returns what TensorFlow itself said about a folder.
fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name).join("expected.json")).unwrap()).unwrap()
}

#[test]
fn what_tensorflow_wrote_is_described_as_tensorflow_reads_it() {
    let cases = [
        ("linear", 5, 6 + 3 + 1),
        ("without-variables", 0, 0),
        // `export` of Keras has every variable twice, in its own list and in that of TensorFlow.
        ("exported", 8, 2 * (12 + 3 + 6 + 2)),
        ("checkpoint", 2, 20 + 1),
    ];
    for (name, tensors, parameters) in cases {
        let inspection = Folder::fixture(name).described();
        assert_eq!((inspection.tensor_count, inspection.parameter_count), (tensors, parameters), "{name}");
        assert_eq!(inspection.framework, Framework::Tensorflow, "{name}");
        assert_eq!(inspection.model_type, ModelType::Other("unknown".into()), "{name}");
        assert_eq!(Value::Object(inspection.hyper_parameters), expected(name), "{name}");
    }
}

#[test]
fn types_of_variables_are_counted() {
    let types = Folder::fixture("linear").described().tensor_types;
    let expected = [("float32", 3), ("int64", 1), ("string", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(types, BTreeMap::from(expected));
}

#[test]
fn every_kind_says_why_it_is_not_served_and_what_to_do() {
    let keras = Folder::fixture("keras");
    let alone = |name: &str| Folder::default().with(name, keras.bytes(name));
    let cases = [
        (Folder::fixture("linear"), "TensorFlow SavedModel", "python -m tf2onnx.convert --saved-model"),
        (Folder::fixture("checkpoint"), "TensorFlow checkpoint", "tf2onnx"),
        (alone("model.keras"), "a Keras model, ", "model.export("),
        (alone("model.h5"), "HDF5", "model.export("),
        (alone("model.weights.h5"), "HDF5", "model.export("),
        (Folder::default().with("m.tflite", b"\x1c\0\0\0TFL3\0\0"), "TensorFlow Lite", "--tflite"),
    ];
    for (folder, what, advice) in cases {
        let inspection = folder.described();
        let reason = inspection.not_servable_because.expect("a reason");
        assert_eq!(inspection.framework, Framework::Tensorflow);
        assert!(reason.contains(what) && reason.contains(advice), "{what}: {reason}");
        let (_folder, files) = folder.on_disk();
        assert!(NativeRuntime::new().load(&files, &LoadOptions::default()).is_err(), "{what}");
    }
}

#[test]
fn model_is_found_by_its_content_wherever_it_stands() {
    let model = Folder::fixture("without-variables");
    let renamed = Folder::default().with("1/graph", model.bytes("saved_model.pb"));
    assert_eq!(renamed.described().hyper_parameters["tags"], serde_json::json!(["serve"]));
    let mut moved = Folder::default().with("README.md", b"# Linear");
    for (path, bytes) in &Folder::fixture("linear").0 {
        moved = moved.with(&format!("exports/7/{path}"), bytes);
    }
    assert_eq!(moved.described().tensor_count, 5);
}

#[test]
fn what_is_no_file_of_tensorflow_is_left_to_others() {
    let cases: [&[u8]; 9] = [
        b"",
        b"\x08\x01",
        b"\x08\x01\x12\x00",
        b"\x08\x01\x12\x02\x0a\x05",
        // A Core ML model: a version, a description that begins with an input, then a network.
        b"\x08\x01\x12\x05\x0a\x03\x0a\x01x\xa2\x1f\x00",
        b"\x89HDF\r\n\x1a\n another container",
        b"PK\x03\x04metadata.json",
        b"TFL3",
        &[0; 64],
    ];
    for bytes in cases {
        assert_eq!(Folder::default().with("model.index", bytes).inspect().unwrap(), None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn several_models_are_kept_and_said_to_be_several() {
    let (model, checkpoint) = (Folder::fixture("without-variables"), Folder::fixture("checkpoint"));
    let two_models = Folder::default()
        .with("1/saved_model.pb", model.bytes("saved_model.pb"))
        .with("2/saved_model.pb", model.bytes("saved_model.pb"));
    let (index, data) = (checkpoint.bytes("model.ckpt.index"), checkpoint.bytes("model.ckpt.data-00000-of-00001"));
    let two_checkpoints = checkpoint.clone().with("b.index", index).with("b.data-00000-of-00001", data);
    for (folder, names) in [
        (two_models, "(`1/saved_model.pb` and `2/saved_model.pb`)"),
        (two_checkpoints, "(`b.index` and `model.ckpt.index`)"),
    ] {
        let inspection = folder.described();
        assert_eq!(inspection.framework, Framework::Tensorflow);
        let reason = inspection.not_servable_because.expect("a reason");
        assert!(reason.contains(names), "{reason}");
    }
}

#[test]
fn folder_that_also_holds_what_is_served_is_served() {
    let tiny = seedhouse_testkit::tiny_gguf::tiny_llama_gguf(1);
    let folder = Folder::fixture("linear").with("model.gguf", &tiny);
    assert_eq!(folder.described().framework, Framework::Gguf);
}
