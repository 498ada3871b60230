//! What this program wrote last, so that its own `metadata.json` is told from one that somebody edited.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use seedhouse_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use crate::durable::replace_file;

/// Written before `metadata.json` itself: a crash in between leaves a file whose digest is still among the known ones.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The revision of the registry that the newest content shows.
    pub(super) revision: u64,
    /// Contents of ours: the one being replaced, if any, and last the newest.
    pub(super) digests: Vec<Digest>,
    /// How long writing the newest took. Whoever comes next rests from it, be it another process or the next life of this one.
    #[serde(default)]
    pub(super) took_ms: u64,
}

impl State {
    /// Reads the state file. One that cannot be understood counts as none, so that no content passes as ours by mistake.
    pub(super) fn read(path: &Path) -> Result<Option<State>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        match serde_json::from_slice(&text) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the state of metadata.json is damaged and is made again");
                Ok(None)
            }
        }
    }

    /// Replaces the state file.
    pub(super) fn write(&self, path: &Path, beside: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("a state has string keys only");
        replace_file(path, beside, &text)
    }

    /// Returns whether content is ours.
    pub(super) fn knows(&self, content: &Digest) -> bool {
        self.digests.contains(content)
    }

    /// Returns whether content is ours, the newest, and shows this revision.
    pub(super) fn is_newest(&self, content: Option<&Digest>, revision: u64) -> bool {
        self.revision == revision && content.is_some() && self.digests.last() == content
    }
}
