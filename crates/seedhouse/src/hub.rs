//! The hub port: a server that speaks the protocol of the Hugging Face Hub, asked over HTTP.
//!
//! ```text
//! GET /api/models/{repository}/revision/{revision}     which commit it is
//! GET /api/models/{repository}/tree/{commit}           its files, page by page
//! GET /{repository}/resolve/{commit}/{path}            the bytes, from an offset
//! ```

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use seedhouse_core::{
    Checksum, ChecksumAlgorithm, Code, Error, Hub, HubDigest, HubFile, HubSnapshot, HubSource, Result,
};
use seedhouse_service::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::{HeaderMap, Request, Response, StatusCode};

use crate::web_address::{check_url, encoded};

const PUBLIC_HUB: &str = "https://huggingface.co";

/// The longest answer that is no file.
const MOST_ANSWER_BYTES: u64 = 64 << 20;

/// The most files of a repository.
const MOST_FILES: usize = 100_000;

/// How long a connection may take to come about, and to give the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which hub, and how to get in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HubArguments {
    /// The hub that `hf:` means
    #[arg(long = "hub", global = true, value_name = "URL", env = "HF_ENDPOINT", default_value = PUBLIC_HUB)]
    endpoint: String,

    /// A file with the secret of the hub's token; without it HF_TOKEN is the secret, if there is one
    #[arg(long = "hub-token-file", global = true, value_name = "FILE", env = "HF_TOKEN_PATH")]
    token_file: Option<PathBuf>,
}

/// A hub that can be asked. Nothing is sent before it is.
pub(crate) struct HuggingFaceHub {
    arguments: HubArguments,
    agent: ureq::Agent,
}

/// What a hub says of a revision.
#[derive(Deserialize)]
struct Revision {
    id: String,
    sha: String,
}

/// What a hub says of a file or folder.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<LargeFile>,
}

/// What a hub says of a file that it keeps beside Git.
#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

impl HuggingFaceHub {
    pub(crate) fn new(arguments: &HubArguments) -> HuggingFaceHub {
        let arguments = HubArguments {
            endpoint: match arguments.endpoint.trim_end_matches('/') {
                "" => PUBLIC_HUB.to_owned(),
                endpoint => endpoint.to_owned(),
            },
            token_file: arguments.token_file.clone(),
        };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Who asks a hub over TLS is not led away from it; a token is never sent to another host.
            .https_only(arguments.endpoint.starts_with("https://"))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("seedhouse/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        HuggingFaceHub { arguments, agent }
    }

    fn endpoint(&self) -> Result<&str> {
        check_url("hub", &self.arguments.endpoint, PUBLIC_HUB)?;
        Ok(&self.arguments.endpoint)
    }

    fn secret(&self) -> Result<Option<Secret>> {
        let text = match &self.arguments.token_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(Error::io("read", path))?),
            // An argument would show in the list of processes.
            None => std::env::var("HF_TOKEN").ok(),
        };
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::presented))
    }

    /// Returns how a record names a commit.
    fn pinned(&self, repository: &str, commit: &str) -> Result<String> {
        Ok(match self.endpoint()? {
            PUBLIC_HUB => format!("{}{repository}@{commit}", HubSource::PREFIX),
            endpoint => format!("{endpoint}/{repository}@{commit}"),
        })
    }

    /// Asks for something about `what`.
    fn get(&self, url: &str, offset: u64, what: &dyn fmt::Display) -> Result<Response<Body>> {
        let mut request = Request::get(url);
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        if let Some(secret) = self.secret()? {
            request = request.header("authorization", format!("Bearer {}", secret.reveal()));
        }
        let request = request.body(()).map_err(|error| Error::invalid("hub", url, error.to_string()))?;
        let response = self.agent.run(request).map_err(|error| self.no_answer(&error))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(response.status(), response.headers(), what)),
        }
    }

    fn no_answer(&self, error: &ureq::Error) -> Error {
        Error::Unavailable { what: format!("the hub `{}`", self.arguments.endpoint), reason: error.to_string() }
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, what: &dyn fmt::Display) -> Error {
        let said = headers.get("x-error-message").and_then(|value| value.to_str().ok());
        let said: String = said.unwrap_or_default().chars().filter(|letter| !letter.is_control()).take(300).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let (code, hint) = match status.as_u16() {
            401 | 403 => (
                Code::PermissionDenied,
                Some(
                    "it does not exist, or it is private or gated; HF_TOKEN lets you in where you have been given access",
                ),
            ),
            404 => (Code::NotFound, Some("`owner/name` and the revision are spelled as in the address of its page")),
            429 | 500..=599 => (Code::Unavailable, Some("try again later")),
            _ => (Code::Invalid, None),
        };
        Error::Remote {
            code,
            message: format!("the hub `{}` answers {status} for {what}{said}", self.arguments.endpoint),
            hint: hint.map(str::to_owned),
        }
    }

    /// Reads an answer that is no file, and where the next page of it stands.
    fn json<T: DeserializeOwned>(&self, url: &str, what: &dyn fmt::Display) -> Result<(T, Option<String>)> {
        let response = self.get(url, 0, what)?;
        let next = next_page(response.headers());
        let body = response.into_body().into_with_config().limit(MOST_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| self.no_answer(&error))?;
        let answer = serde_json::from_slice(&body).map_err(|error| self.malformed(what, &error.to_string()))?;
        Ok((answer, next))
    }

    fn malformed(&self, what: &dyn fmt::Display, reason: &str) -> Error {
        Error::malformed(format!("what the hub `{}` answers for {what}", self.arguments.endpoint), reason)
    }

    fn tree(&self, repository: &str, commit: &str, what: &dyn fmt::Display) -> Result<Vec<HubFile>> {
        let endpoint = self.endpoint()?;
        let mut url = Some(format!("{endpoint}/api/models/{repository}/tree/{commit}?recursive=true"));
        let mut files = Vec::new();
        while let Some(page) = url {
            let (entries, next): (Vec<TreeEntry>, _) = self.json(&page, what)?;
            let of_files = entries.into_iter().filter(|entry| entry.kind == "file");
            for entry in of_files {
                files.push(file(entry).map_err(|error| self.malformed(what, &error.to_string()))?);
            }
            if files.len() > MOST_FILES {
                return Err(Error::TooLarge {
                    what: format!("the repository {what}"),
                    size: format!("more than {MOST_FILES} files"),
                    limit: format!("{MOST_FILES} files"),
                });
            }
            url = next;
            // The token goes along, so a page elsewhere is none; and a page without files could go on for ever.
            if let Some(next) = url.as_ref().filter(|next| !next.starts_with(&format!("{endpoint}/")) || **next == page)
            {
                return Err(self.malformed(what, &format!("its next page is `{next}`")));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

impl Hub for HuggingFaceHub {
    fn snapshot(&self, source: &HubSource) -> Result<HubSnapshot> {
        let endpoint = self.endpoint()?;
        let named = format!("`{source}`");
        let revision = encoded(source.revision().unwrap_or("main"));
        let url = format!("{endpoint}/api/models/{}/revision/{revision}", source.repository());
        let (Revision { id, sha: commit }, _) = self.json(&url, &named)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if commit.len() != 40 || !commit.bytes().all(is_digit) {
            return Err(self.malformed(&named, &format!("`{}` is no commit", commit.escape_debug())));
        }
        // The name may be an old one; what the hub calls it now must be one, too.
        let current: HubSource = format!("{}{id}", HubSource::PREFIX).parse()?;
        let repository = current.repository().to_owned();
        let files = self.tree(&repository, &commit, &named)?;
        Ok(HubSnapshot { pinned: self.pinned(&repository, &commit)?, repository, commit, files })
    }

    fn open(&self, snapshot: &HubSnapshot, file: &HubFile, offset: u64) -> Result<Box<dyn Read>> {
        let path: Vec<String> = file.path.as_str().split('/').map(encoded).collect();
        let HubSnapshot { repository, commit, pinned, .. } = snapshot;
        let url = format!("{}/{repository}/resolve/{commit}/{}", self.endpoint()?, path.join("/"));
        let what = format!("file `{}` of {pinned}", file.path);
        let response = self.get(&url, offset, &what)?;
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        if is_part && first_byte(response.headers()) != Some(offset) {
            return Err(self.malformed(&what, &format!("its bytes do not begin at {offset}")));
        }
        let mut bytes = response.into_body().into_with_config().limit(u64::MAX).reader();
        if !is_part {
            // Somebody on the way does not know of parts.
            let skipped = io::copy(&mut bytes.by_ref().take(offset), &mut io::sink());
            let skipped = skipped.map_err(|error| Error::Unavailable { what, reason: error.to_string() })?;
            debug_assert!(skipped <= offset, "`take` ends there");
        }
        Ok(Box::new(bytes))
    }
}

fn file(entry: TreeEntry) -> Result<HubFile> {
    let (size_bytes, digest) = match entry.lfs {
        Some(large) => (large.size, HubDigest::Sha256(format!("sha256:{}", large.oid).parse()?)),
        None => {
            let wrong = || Error::invalid("oid", entry.oid.escape_debug(), "must be the SHA-1 of a Git blob");
            let bytes = hex::decode(&entry.oid).map_err(|_| wrong())?;
            let checksum = Checksum::new(ChecksumAlgorithm::Sha1, bytes).map_err(|_| wrong())?;
            (entry.size, HubDigest::GitBlob(checksum))
        }
    };
    Ok(HubFile { path: entry.path.parse()?, size_bytes, digest })
}

/// Returns the address of the next page (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    Some(address.to_owned())
}

/// Returns where a part begins (RFC 9110, section 14.4).
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}
