//! Asking a running server, instead of opening its registry.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use seedhouse_core::{Code, Error, Reference, Result};
use seedhouse_service::Secret;
use serde_json::Value;

use crate::web_address::{self, check_url};

/// Which server, and how to get in.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The server to ask
    #[arg(long, value_name = "URL", env = "SEEDHOUSE_SERVER", default_value = "http://127.0.0.1:7333")]
    pub(crate) server: String,

    /// A file with the token's secret; without it SEEDHOUSE_TOKEN is the secret, if there is one
    #[arg(long, value_name = "FILE", env = "SEEDHOUSE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A server that can be asked.
pub(crate) struct Remote {
    url: String,
    secret: Option<Secret>,
    agent: ureq::Agent,
}

/// Loading a large version for the first time hashes it, which takes a minute or two on a slow disk.
const PATIENCE: Duration = Duration::from_secs(600);

impl Remote {
    /// Returns the server that the arguments name. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none, [`Error::Io`] when the file cannot be read.
    pub(crate) fn new(arguments: &ServerArguments) -> Result<Remote> {
        let url = arguments.server.trim_end_matches('/');
        check_url("server", url, "http://127.0.0.1:7333")?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Ok(Remote { url: url.to_owned(), secret: secret(arguments)?, agent })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`Error::NoServer`] when nobody answers, [`Error::Remote`] when the answer is a no.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`get`](Remote::get).
    pub(crate) fn post(&self, path: &str) -> Result<Value> {
        self.send("POST", path)
    }

    fn send(&self, method: &str, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(secret) = &self.secret {
            request = request.header("authorization", format!("Bearer {}", secret.reveal()));
        }
        let request = request.body(()).map_err(|error| Error::invalid("server", &url, error.to_string()))?;
        let no_server = |error: ureq::Error| Error::NoServer { url: self.url.clone(), reason: error.to_string() };
        let mut response = self.agent.run(request).map_err(no_server)?;
        let status = response.status();
        let text = response.body_mut().read_to_string().map_err(no_server)?;
        let body: Option<Value> = serde_json::from_str(&text).ok();
        match body {
            Some(body) if status.is_success() => Ok(body),
            Some(problem) if problem["type"].as_str().is_some_and(|kind| kind.starts_with(PROBLEM)) => {
                Err(refusal(&problem))
            }
            _ => Err(Error::NoServer {
                url: self.url.clone(),
                reason: format!("what is there answered {status}, and not as Seedhouse does"),
            }),
        }
    }
}

/// Kinds of problems begin with it.
const PROBLEM: &str = "urn:seedhouse:error:";

fn refusal(problem: &Value) -> Error {
    let text = |field: &str| problem[field].as_str().map(str::to_owned);
    let name = problem["type"].as_str().and_then(|kind| kind.strip_prefix(PROBLEM)).unwrap_or_default();
    Error::Remote {
        code: Code::ALL.into_iter().find(|code| code.as_str() == name).unwrap_or(Code::Internal),
        message: text("detail").unwrap_or_else(|| "the server gave no reason".into()),
        hint: text("hint"),
    }
}

fn secret(arguments: &ServerArguments) -> Result<Option<Secret>> {
    let text = match &arguments.token_file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(Error::io("read", path))?),
        // An argument would show in the list of processes.
        None => std::env::var("SEEDHOUSE_TOKEN").ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::presented))
}

/// Returns a reference as a part of a path.
pub(crate) fn encoded(reference: &Reference) -> String {
    web_address::encoded(&reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(server: &str) -> Result<Remote> {
        Remote::new(&ServerArguments { server: server.to_owned(), token_file: None })
    }

    #[test]
    fn address_is_checked_before_anything_is_sent() {
        for server in ["a:7333", "ftp://a", "http://a b", "http://", ""] {
            let error = named(server).err().unwrap();
            assert_eq!(error.field(), Some("server"));
            assert!(error.to_string().contains("URL"), "{error}");
        }
        assert_eq!(named("https://seeds.example/").unwrap().url, "https://seeds.example");
        assert_eq!(named("http://127.0.0.1:7333/").unwrap().url, "http://127.0.0.1:7333");
    }

    #[test]
    fn no_of_a_server_keeps_its_code_and_hint() {
        let problem = serde_json::json!({"type": "urn:seedhouse:error:not_found", "detail": "gone", "hint": "look"});
        let error = refusal(&problem);
        assert_eq!(
            (error.code(), error.to_string(), error.hint()),
            (Code::NotFound, "gone".into(), Some("look".into()))
        );
    }

    #[test]
    fn references_are_one_part_of_a_path() {
        let reference: Reference = "小麦/3".parse().unwrap();
        assert_eq!(encoded(&reference), "%E5%B0%8F%E9%BA%A6%2F3");
    }
}
