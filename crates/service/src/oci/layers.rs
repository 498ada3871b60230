//! Layers: each file of a version as it is, with a media type that says what it is for.

use seedhouse_core::{FileEntry, Manifest};
use serde_json::{Value, json};

const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
const CODE: &str = "application/vnd.cncf.model.code.v1.raw";

/// Returns one descriptor per file, in the order of the manifest.
pub(super) fn of(manifest: &Manifest) -> Vec<Value> {
    manifest.files().iter().map(descriptor).collect()
}

fn descriptor(file: &FileEntry) -> Value {
    json!({
        "mediaType": media_type(file),
        "digest": file.digest,
        "size": file.size_bytes,
        "annotations": {
            "org.cncf.model.filepath": file.path,
            // Tools that know nothing of models name the file by this.
            "org.opencontainers.image.title": file.path,
        },
    })
}

fn media_type(file: &FileEntry) -> &'static str {
    let extension = file.path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "json" | "jsonl" | "yaml" | "yml" | "toml" | "ini" | "txt" | "model" | "tiktoken" | "jinja" => WEIGHT_CONFIG,
        "md" | "rst" | "html" | "pdf" => DOC,
        "py" | "ipynb" | "sh" => CODE,
        _ if is_notice(file) => DOC,
        _ => WEIGHT,
    }
}

/// `LICENSE`, `NOTICE.apache` and the like are texts for people.
fn is_notice(file: &FileEntry) -> bool {
    let name = file.path.file_name().to_ascii_uppercase();
    ["LICENSE", "LICENCE", "NOTICE", "README", "COPYING"].iter().any(|notice| name.starts_with(notice))
}
