//! The hub port: repositories of models on other servers, of which a commit names one state.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Checksum, Digest, Error, ManifestPath, Progress, Result};

/// A server with repositories of models. What it sends is verified before it is used. Calls block.
pub trait Hub: Send + Sync {
    /// Finds out which commit a revision is, and what stands in it. `progress` is asked whether to stop.
    ///
    /// # Errors
    /// [`Error::Remote`] when the hub says no, [`Error::Unavailable`] when it cannot be asked now, [`Error::Malformed`] for an answer that
    /// cannot be understood.
    fn snapshot(&self, source: &HubSource, progress: &dyn Progress) -> Result<HubSnapshot>;

    /// Begins to read a file at an offset in bytes. Reading may break off at any time.
    ///
    /// # Errors
    /// Those of [`snapshot`](Hub::snapshot).
    fn open(&self, snapshot: &HubSnapshot, file: &HubFile, offset: u64) -> Result<Box<dyn Read>>;
}

/// How a user names what is in a hub: `hf:owner/name`, or `hf:owner/name@revision` for a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubSource {
    repository: String,
    revision: Option<String>,
}

/// One state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSnapshot {
    /// `owner/name`, as the hub spells it.
    pub repository: String,
    /// The commit: 40 lower-case hexadecimal digits.
    pub commit: String,
    /// How a record names it: the hub, the repository and the commit.
    pub pinned: String,
    /// Its files, in order of their paths.
    pub files: Vec<HubFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Where it stands.
    pub path: ManifestPath,
    /// Its length.
    pub size_bytes: u64,
    /// What its bytes hash to.
    pub digest: HubDigest,
}

/// What a hub says that bytes hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubDigest {
    /// SHA-256 of a large file's bytes.
    Sha256(Digest),
    /// SHA-1 of a small file as a Git blob: `blob`, a space, the length in digits, a zero byte, and the bytes.
    GitBlob(Checksum),
}

impl HubSource {
    /// What stands before the name of a repository.
    pub const PREFIX: &str = "hf:";

    /// Returns `owner/name`, or the name alone.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the name without its owner.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().expect("rsplit gives at least one part")
    }

    /// Returns the branch, tag or commit, where one is named.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }
}

impl FromStr for HubSource {
    type Err = Error;

    /// By the rules of the Hugging Face Hub: one or two parts of at most 96 letters, digits, `-`, `_` and `.`.
    fn from_str(text: &str) -> Result<HubSource> {
        let refuse = |rule: &str| Err(Error::invalid("source", text.escape_debug(), rule));
        let Some(named) = text.strip_prefix(HubSource::PREFIX) else {
            return refuse("must begin with `hf:`, like `hf:owner/name` or `hf:owner/name@revision`");
        };
        let (repository, revision) = match named.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (named, None),
        };
        if repository.split('/').count() > 2 || !repository.split('/').all(is_part) {
            return refuse(
                "a repository is `owner/name`, each of 1 to 96 letters, digits, `-`, `_` and `.`, and begins and ends with a letter, a digit or `_`",
            );
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return refuse(
                "a revision is a branch, a tag or a commit, of 1 to 255 visible ASCII characters without `..`",
            );
        }
        Ok(HubSource { repository: repository.to_owned(), revision: revision.map(str::to_owned) })
    }
}

fn is_part(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = part.as_bytes();
    bytes.len() <= 96
        && bytes.iter().copied().all(allowed)
        && edge(bytes.first())
        && edge(bytes.last())
        && !part.contains("..")
}

fn is_revision(revision: &str) -> bool {
    (1..=255).contains(&revision.len())
        && revision.bytes().all(|byte| byte.is_ascii_graphic())
        && !revision.split('/').any(|part| matches!(part, "" | "." | ".."))
        && !revision.contains("..")
}

impl fmt::Display for HubSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", HubSource::PREFIX, self.repository)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(formatter, "@{revision}"))
    }
}

impl TryFrom<String> for HubSource {
    type Error = Error;

    fn try_from(text: String) -> Result<HubSource> {
        text.parse()
    }
}

impl From<HubSource> for String {
    fn from(source: HubSource) -> String {
        source.to_string()
    }
}

impl fmt::Display for HubDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubDigest::Sha256(digest) => fmt::Display::fmt(digest, formatter),
            HubDigest::GitBlob(checksum) => write!(formatter, "{checksum} as a Git blob"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_round_trip() {
        for text in ["hf:gpt2", "hf:owner/name", "hf:HuggingFaceTB/SmolLM2-135M@main", "hf:a/b.c_d@refs/pr/1"] {
            assert_eq!(text.parse::<HubSource>().unwrap().to_string(), text);
        }
        let source: HubSource = "hf:owner/name@v1.0".parse().unwrap();
        assert_eq!((source.repository(), source.name(), source.revision()), ("owner/name", "name", Some("v1.0")));
    }

    #[test]
    fn source_that_leads_elsewhere_is_refused() {
        let hostile = [
            "",
            "owner/name",
            "hf:",
            "hf:/name",
            "hf:owner/",
            "hf:a/b/c",
            "hf:../name",
            "hf:a/..",
            "hf:a/.b",
            "hf:a b/c",
            "hf:a/b?x",
            "hf:a/b#c",
            "hf:a/小麦",
            "hf:a/b@",
            "hf:a/b@../c",
            "hf:a/b@a b",
            "hf:a/b@\n",
            "hf:a/b@/x",
            "hf://evil/x",
            "hf:a%2f/b",
        ];
        for text in hostile {
            assert_eq!(text.parse::<HubSource>().unwrap_err().field(), Some("source"), "{text:?}");
        }
        assert!(format!("hf:a/{}", "b".repeat(97)).parse::<HubSource>().is_err());
    }
}
