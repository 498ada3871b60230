//! What a plan depends on. Another key is another file, so that a plan is never taken for one of another model.

use seedhouse_core::Digest;
use seedhouse_core::runtime::LocalFiles;
use serde::{Deserialize, Serialize};

use super::super::options::PlanOptions;

/// The bytes that were compiled, and how. How activations meet the weights changes no packed byte and is no part of it; nor is the
/// instruction set, because all read the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanKey {
    pub(super) files: Vec<KeyFile>,
    weights: String,
    allow_non_finite: bool,
}

/// A file of the version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    path: String,
    pub(super) digest: Digest,
}

impl PlanKey {
    pub(crate) fn new(files: &LocalFiles, options: &PlanOptions) -> PlanKey {
        let file =
            |file: &seedhouse_core::runtime::LocalFile| KeyFile { path: file.path.to_string(), digest: file.digest };
        let mut files: Vec<KeyFile> = files.0.iter().map(file).collect();
        files.sort_unstable();
        PlanKey { files, weights: options.weights.name().to_owned(), allow_non_finite: options.allow_non_finite }
    }

    /// Returns the name of its file, without the ending.
    pub(crate) fn name(&self) -> String {
        Digest::of(serde_json::to_vec(self).expect("names, digests and options are JSON")).hex()
    }
}
