//! Tests through the runtime port, on the tiny model of the testkit.

use std::io::Write as _;
use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, TextModel};
use seedhouse_core::{Digest, Result};
use seedhouse_testkit::tiny_gguf::GgufBuilder;
use tempfile::NamedTempFile;

use crate::NativeRuntime;

pub(crate) mod fixture_files;
mod malformed;
mod model;
mod mutation;
mod references;

/// A file of the bytes, which lives as long as the first value.
fn on_disk(bytes: &[u8]) -> (NamedTempFile, LocalFiles) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let local = LocalFile { path: "m.gguf".parse().unwrap(), local: file.path().to_owned(), digest: Digest::of(bytes) };
    (file, LocalFiles(vec![local]))
}

fn inspect(bytes: &[u8]) -> Result<Option<Inspection>> {
    let (_file, files) = on_disk(bytes);
    NativeRuntime::new().inspect(&files)
}

fn load(bytes: &[u8]) -> Result<Arc<dyn TextModel>> {
    let (_file, files) = on_disk(bytes);
    match NativeRuntime::new().load(&files, &LoadOptions::default())? {
        LoadedModel::Text(model) => Ok(model),
        _ => panic!("a GGUF is no tensor model"),
    }
}

/// Returns the error that both inspecting and loading give.
fn refusal(builder: &GgufBuilder) -> String {
    let bytes = builder.build();
    let inspected = inspect(&bytes).expect_err("inspect accepts the file").to_string();
    let loaded = load(&bytes).err().expect("load accepts the file").to_string();
    assert_eq!(inspected, loaded);
    inspected
}
