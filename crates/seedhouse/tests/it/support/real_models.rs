//! Files that are not in the tree: real models (`scripts/fetch_models.py` fetches them) and the original system's data.

use std::path::{Path, PathBuf};

/// The folder with the real models.
pub(crate) struct RealModels(PathBuf);

impl RealModels {
    /// Returns the models, or `None` after saying that the test is skipped.
    ///
    /// # Panics
    /// When `SEEDHOUSE_TEST_REQUIRE` lists `models` and they are missing: CI may not skip.
    pub(crate) fn find() -> Option<RealModels> {
        let folder = std::env::var_os("SEEDHOUSE_TEST_MODELS").map(PathBuf::from);
        let found = folder.filter(|folder| folder.join("SmolLM2-135M-Instruct.Q4_1.gguf").is_file()).map(RealModels);
        skip_unless(found, "models", "SEEDHOUSE_TEST_MODELS names no folder with the real models")
    }

    /// Returns a file as text for the command line.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn text_model(&self) -> String {
        self.path("SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    pub(crate) fn image_model(&self) -> String {
        self.path("efficientnet-lite0-57934424.pth")
    }

    pub(crate) fn labels(&self) -> String {
        self.path("imagenet1k_label_to_names.json")
    }
}

/// The folder of a real sentence encoder, which `scripts/fetch_models.py` fetches.
pub(crate) struct EmbeddingModel(PathBuf);

impl EmbeddingModel {
    /// Returns the folder, or `None` after saying that the test is skipped.
    ///
    /// # Panics
    /// When `SEEDHOUSE_TEST_REQUIRE` lists `models` and it is missing.
    pub(crate) fn find() -> Option<EmbeddingModel> {
        let folder =
            std::env::var_os("SEEDHOUSE_TEST_MODELS").map(|folder| PathBuf::from(folder).join("all-minilm-l6-v2"));
        let found = folder.filter(|folder| folder.join("model.safetensors").is_file()).map(EmbeddingModel);
        skip_unless(found, "models", "SEEDHOUSE_TEST_MODELS names no folder with the real sentence encoder")
    }

    /// Returns the folder as text for the command line.
    pub(crate) fn folder(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    /// Returns the path of one of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// The folder with the real ONNX graphs, which `scripts/fetch_models.py onnx` fetches.
pub(crate) struct OnnxModels(PathBuf);

impl OnnxModels {
    /// Returns the graphs, or `None` after saying that the test is skipped.
    ///
    /// # Panics
    /// When `SEEDHOUSE_TEST_REQUIRE` lists `onnx` and they are missing.
    pub(crate) fn find() -> Option<OnnxModels> {
        let folder = std::env::var_os("SEEDHOUSE_TEST_MODELS").map(PathBuf::from);
        let found = folder.filter(|folder| folder.join("minilm-l6-v2.int8.onnx").is_file()).map(OnnxModels);
        let reason =
            "SEEDHOUSE_TEST_MODELS names no folder with the graphs that `scripts/fetch_models.py onnx` fetches";
        skip_unless(found, "onnx", reason)
    }

    /// Returns the path of a graph.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// The wheel of ONNX Runtime that `seedhouse runtime install` takes; `./check` downloads it.
pub(crate) struct OnnxWheel(PathBuf);

impl OnnxWheel {
    /// Returns the wheel, or `None` after saying that the test is skipped.
    ///
    /// # Panics
    /// When `SEEDHOUSE_TEST_REQUIRE` lists `onnx-runtime` and it is missing.
    pub(crate) fn find() -> Option<OnnxWheel> {
        let wheel = std::env::var_os("SEEDHOUSE_TEST_ONNX_WHEEL").map(PathBuf::from);
        let found = wheel.filter(|wheel| wheel.is_file()).map(OnnxWheel);
        skip_unless(found, "onnx-runtime", "SEEDHOUSE_TEST_ONNX_WHEEL does not name the wheel of ONNX Runtime")
    }

    /// Returns its path for the command line.
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Returns the library, which is left beside the wheel.
    pub(crate) fn unpacked(&self) -> PathBuf {
        let folder = self.0.with_file_name("unpacked");
        seedhouse_onnx::Package::for_this_machine().unwrap().unpack(&self.0, &folder).unwrap()
    }
}

/// Returns the folder with the original system's metadata files, or `None` after saying that the test is skipped.
pub(crate) fn original_files() -> Option<PathBuf> {
    let folder = std::env::var_os("SEEDHOUSE_TEST_ORIGINAL").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("models-metadata.json").is_file());
    skip_unless(found, "original", "SEEDHOUSE_TEST_ORIGINAL names no folder with the original's files")
}

fn skip_unless<T>(found: Option<T>, what: &str, reason: &str) -> Option<T> {
    if found.is_none() {
        let required = std::env::var("SEEDHOUSE_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == what), "{reason}");
        eprintln!("SKIPPED: {reason}");
    }
    found
}

/// Returns a reference answer from the tree.
pub(crate) fn reference(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
