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
    Checksum, ChecksumAlgorithm, Code, Error, Hub, HubDigest, HubFile, HubSnapshot, HubSource, Progress, Result,
};
use seedhouse_service::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Request, Response, StatusCode};

use crate::web_address::{check_url, encoded};

const PUBLIC_HUB: &str = "https://huggingface.co";

/// The longest answer that is no file.
const MOST_ANSWER_BYTES: u64 = 64 << 20;

/// The most files and folders of a repository.
const MOST_ENTRIES: usize = 100_000;

/// The most pages of a list of files.
const MOST_PAGES: usize = 1000;

/// How long a connection may take to come about, and to give the next bytes: less than the lease of a job, which is not renewed meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which hub, and how to get in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HubArguments {
    /// The hub that `hf:` means
    #[arg(long = "hub", global = true, value_name = "URL", env = "HF_ENDPOINT", default_value = PUBLIC_HUB)]
    endpoint: String,

    /// A file with the secret of the hub's token; without it HF_TOKEN is the secret, or the file that HF_TOKEN_PATH names has it
    #[arg(long = "hub-token-file", global = true, value_name = "FILE")]
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
            // Who asks a hub over TLS is not led away from it, and a token is sent to no other host.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
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
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Error::invalid("hub-token-file", path.display(), format!("the file cannot be read: {error}"))
            })?),
            // An argument would show in the list of processes.
            None => std::env::var("HF_TOKEN").ok().filter(|text| !text.trim().is_empty()).or_else(|| {
                // As the hub's own programs have it: the file may be missing.
                std::fs::read_to_string(std::env::var_os("HF_TOKEN_PATH")?).ok()
            }),
        };
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if text.as_ref().is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::invalid("HF_TOKEN", "a text", "must be visible ASCII characters"));
        }
        Ok(text.map(Secret::presented))
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
        let next = next_page(response.headers()).map_err(|reason| self.malformed(what, &reason))?;
        let body = response.into_body().into_with_config().limit(MOST_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| self.no_answer(&error))?;
        let answer = serde_json::from_slice(&body).map_err(|error| self.malformed(what, &error.to_string()))?;
        Ok((answer, next))
    }

    fn malformed(&self, what: &dyn fmt::Display, reason: &str) -> Error {
        Error::malformed(format!("what the hub `{}` answers for {what}", self.arguments.endpoint), reason)
    }

    fn tree(
        &self,
        repository: &str,
        commit: &str,
        what: &dyn fmt::Display,
        progress: &dyn Progress,
    ) -> Result<Vec<HubFile>> {
        let endpoint = self.endpoint()?;
        let mut url = Some(format!("{endpoint}/api/models/{repository}/tree/{commit}?recursive=true"));
        let (mut files, mut listed, mut pages) = (Vec::new(), 0, 0);
        while let Some(page) = url {
            progress.check()?;
            progress.advance(0);
            let (entries, next): (Vec<TreeEntry>, _) = self.json(&page, what)?;
            listed += entries.len();
            pages += 1;
            let of_files = entries.into_iter().filter(|entry| entry.kind == "file");
            for entry in of_files {
                files.push(file(entry).map_err(|error| self.malformed(what, &error.to_string()))?);
            }
            if listed > MOST_ENTRIES || pages > MOST_PAGES {
                return Err(Error::TooLarge {
                    what: format!("the list of files of {what}"),
                    size: format!("{listed} entries on {pages} pages, or more"),
                    limit: format!("{MOST_ENTRIES} entries on {MOST_PAGES} pages"),
                });
            }
            url = next;
            // The token goes along, so a page elsewhere is none.
            if let Some(next) = url.as_ref().filter(|next| !next.starts_with(&format!("{endpoint}/"))) {
                return Err(self.malformed(what, &format!("its next page is `{next}`")));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

impl Hub for HuggingFaceHub {
    fn snapshot(&self, source: &HubSource, progress: &dyn Progress) -> Result<HubSnapshot> {
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
        let current: Result<HubSource> = format!("{}{id}", HubSource::PREFIX).parse();
        let current = current.map_err(|error| self.malformed(&named, &error.to_string()))?;
        let repository = current.repository().to_owned();
        let files = self.tree(&repository, &commit, &named, progress)?;
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
            skipped.map_err(|error| Error::Unavailable { what, reason: error.to_string() })?;
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
fn next_page(headers: &HeaderMap) -> std::result::Result<Option<String>, String> {
    for value in headers.get_all("link") {
        let mut rest = value.to_str().map_err(|_| "its `Link` is no text".to_owned())?;
        while let Some((_, link)) = rest.split_once('<') {
            let unfinished = || format!("its `Link` is `{}`", rest.escape_debug());
            let (address, parameters) = link.split_once('>').ok_or_else(unfinished)?;
            let of_this = parameters.split('<').next().unwrap_or_default();
            if of_this.split([';', ',']).any(|part| matches!(part.trim(), "rel=next" | "rel=\"next\"")) {
                return Ok(Some(address.to_owned()));
            }
            rest = parameters;
        }
    }
    Ok(None)
}

/// Returns where a part begins (RFC 9110, section 14.4).
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_was_lost_behind_a_comma_or_without_quotes() {
        for (links, expected) in [
            (&["<http://h/a?x=1,2>; rel=\"next\""][..], Some("http://h/a?x=1,2")),
            (&["<http://h/1>; rel=prev, <http://h/3>; rel=next"], Some("http://h/3")),
            (&["<http://h/1>; rel=\"prev\"", "<http://h/3>; title=\"x\"; rel=\"next\""], Some("http://h/3")),
            (&["<http://h/1>; rel=\"nextish\""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for link in links {
                headers.append("link", link.parse().unwrap());
            }
            assert_eq!(next_page(&headers).unwrap().as_deref(), expected, "{links:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append("link", "<http://h/1".parse().unwrap());
        assert!(next_page(&headers).is_err());
    }
}
