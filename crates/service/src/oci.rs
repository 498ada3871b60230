//! OCI image layouts of one version, by the CNCF ModelPack specification (`modelpack/model-spec`), which registries for
//! containers store and other tools read. Export only.
//!
//! ```text
//! oci-layout             the version of the layout
//! index.json             the manifest's digest, and the version's id as its name
//! blobs/sha256/<digest>  the manifest, its config, and each file of the version as a layer of its own
//! ```
//!
//! What is written depends on nothing but the record.

mod config;
mod layers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use seedhouse_core::{Digest, Entry, Error, HoldKind, Manifest, Progress, ProgressUnit, Result};
use serde_json::{Value, json};

use crate::archive::{ArchiveWriter, BlobEntry};
use crate::{ExportReport, ExportRequest, Service};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const ARTIFACT_TYPE: &str = "application/vnd.cncf.model.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.cncf.model.config.v1+json";

/// A blob of a layout: a file of the version, or a document made for it.
enum Content {
    File,
    Document(Vec<u8>),
}

/// Everything that a layout holds.
struct Layout {
    index: Value,
    blobs: BTreeMap<Digest, (u64, Content)>,
}

impl Service {
    /// Writes one version as an OCI image layout, in a tar archive.
    ///
    /// # Errors
    /// Those of [`export`](Service::export); [`Error::Invalid`] for a selection of several versions or of one without files.
    pub fn export_oci(
        &self,
        request: &ExportRequest,
        into: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<ExportReport> {
        // A collection would take the bytes of a version that is deleted meanwhile.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let entries = self.select(&request.selection)?;
        let entry = check_single(&entries)?;
        self.require_bytes(entry)?;
        let layout = Layout::of(entry)?;
        let report = ExportReport {
            versions: vec![entry.record.model_id.clone()],
            blobs: layout.blobs.len() as u64,
            size_bytes: layout.blobs.values().map(|(size_bytes, _)| size_bytes).sum(),
        };
        let mut archive = ArchiveWriter::new(into, request.compression)?;
        archive.plain_document("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
        archive.plain_document("index.json", &layout.index)?;
        progress.stage("writing the OCI image layout", Some(report.size_bytes), ProgressUnit::Bytes);
        for (digest, (size_bytes, content)) in layout.blobs {
            let blob = BlobEntry { digest, size_bytes };
            match content {
                Content::Document(bytes) => archive.blob(&blob, &mut &bytes[..], progress)?,
                Content::File => {
                    let path = self.artifacts.local_path(&digest)?;
                    let mut file = File::open(&path).map_err(Error::io("read", &path))?;
                    archive.blob(&blob, &mut file, progress)?;
                }
            }
        }
        archive.finish()?;
        Ok(report)
    }
}

/// Returns the only version of a selection.
///
/// # Errors
/// [`Error::Invalid`] for several.
pub(crate) fn check_single(entries: &[Entry]) -> Result<&Entry> {
    match entries {
        [entry] => Ok(entry),
        _ => {
            let rule = "selects several versions, and an OCI image layout holds one";
            Err(Error::invalid("references", format!("{} versions", entries.len()), rule))
        }
    }
}

impl Layout {
    fn of(entry: &Entry) -> Result<Layout> {
        let manifest = entry.record.manifest()?.ok_or_else(|| {
            Error::invalid(
                "references",
                &entry.record.model_id,
                "has no files, and an OCI image layout is made of them",
            )
        })?;
        let mut blobs: BTreeMap<Digest, (u64, Content)> =
            manifest.files().iter().map(|file| (file.digest, (file.size_bytes, Content::File))).collect();
        let mut add = |document: &Value, media_type: &str| {
            let bytes = serde_json::to_vec(document).expect("JSON values have string keys only");
            let (digest, size) = (Digest::of(&bytes), bytes.len());
            blobs.insert(digest, (size as u64, Content::Document(bytes)));
            json!({ "mediaType": media_type, "digest": digest, "size": size })
        };
        let config = add(&config::of(entry, &manifest), CONFIG_TYPE);
        let mut described = add(&image_manifest(entry, &manifest, config), MANIFEST_TYPE);
        described["artifactType"] = json!(ARTIFACT_TYPE);
        // Tools that keep several images in one layout know them by this name.
        described["annotations"] = json!({ "org.opencontainers.image.ref.name": reference_name(entry) });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described] });
        Ok(Layout { index, blobs })
    }
}

fn image_manifest(entry: &Entry, manifest: &Manifest, config: Value) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": layers::of(manifest),
        "annotations": {
            "org.opencontainers.image.created": entry.record.created_at,
            "org.opencontainers.image.title": entry.record.model_id,
            "org.opencontainers.image.version": entry.record.version,
        },
    })
}

/// Returns a name that the specification of layouts allows (`alphanum` with `-._:@/+` between), which an id in Chinese is not.
fn reference_name(entry: &Entry) -> String {
    let id = entry.record.model_id.as_str();
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte);
    let edges = [id.bytes().next(), id.bytes().last()];
    match id.bytes().all(is_allowed) && edges.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric()) {
        true => id.to_owned(),
        false => format!("v{}", entry.record.version.to_string().replace('+', "-")),
    }
}

#[cfg(test)]
mod tests;
